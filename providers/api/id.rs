//! Identifiers: a prefix that says what the thing is, and a `UUIDv7` in lowercase base32 (26 characters).

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// What an [`Id`] identifies.
pub trait IdKind: 'static {
    /// The prefix in the written form, without the hyphen.
    const PREFIX: &'static str;
}

/// Marks the id of a lease.
#[derive(Debug)]
pub enum LeaseKind {}

impl IdKind for LeaseKind {
    const PREFIX: &'static str = "lease";
}

/// The id of a lease: the name from which every cloud-side name is computed, before anything exists in the cloud.
pub type LeaseId = Id<LeaseKind>;

/// An identifier of kind `K`. A name, not a secret (promise P5). Ordered by time of creation.
pub struct Id<K> {
    uuid: Uuid,
    kind: PhantomData<fn() -> K>,
}

impl<K: IdKind> Id<K> {
    /// Wraps `uuid`.
    #[must_use]
    pub fn new(uuid: Uuid) -> Self {
        Self { uuid, kind: PhantomData }
    }

    /// The bare `UUID`.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// Ten base32 characters (50 bits) from the random end of the id, for cloud-side names with little room.
    #[must_use]
    pub fn suffix(&self) -> String {
        let text = BASE32_NOPAD.encode(&self.uuid.as_bytes()[8..]).to_ascii_lowercase();
        // 8 bytes are 13 characters; the first two carry the UUID variant, the last is only four bits wide.
        text.chars().skip(2).take(10).collect()
    }
}

impl<K: IdKind> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", K::PREFIX, BASE32_NOPAD.encode(self.uuid.as_bytes()).to_ascii_lowercase())
    }
}

impl<K: IdKind> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not an id of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not a {kind} id: it looks like {kind}- and 26 characters")]
pub struct ParseIdError {
    text: String,
    kind: &'static str,
}

impl<K: IdKind> FromStr for Id<K> {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseIdError { text: text.chars().take(64).collect(), kind: K::PREFIX };
        let body = text.strip_prefix(K::PREFIX).and_then(|rest| rest.strip_prefix('-')).ok_or_else(wrong)?;
        if body.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(wrong());
        }
        let bytes = BASE32_NOPAD.decode(body.to_ascii_uppercase().as_bytes()).map_err(|_| wrong())?;
        let bytes: [u8; 16] = bytes.try_into().map_err(|_| wrong())?;
        Ok(Self::new(Uuid::from_bytes(bytes)))
    }
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Id<K> {}

impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.uuid == other.uuid
    }
}

impl<K> Eq for Id<K> {}

impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.uuid.cmp(&other.uuid)
    }
}

impl<K> Hash for Id<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.uuid.hash(state);
    }
}

impl<K: IdKind> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, K: IdKind> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Where fresh ids come from.
pub trait IdSource: fmt::Debug + Send + Sync {
    /// A `UUIDv7` that was never handed out before.
    fn fresh(&self) -> Uuid;
}

/// Ids from the kernel's random source.
#[derive(Debug, Default, Clone, Copy)]
pub struct RandomIds;

impl IdSource for RandomIds {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that makes ids")]
    fn fresh(&self) -> Uuid {
        Uuid::now_v7()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_being_written_and_read() {
        let id = LeaseId::new(RandomIds.fresh());
        assert_eq!(id.to_string().parse::<LeaseId>().unwrap(), id);
        assert_eq!(id.to_string().len(), "lease-".len() + 26);
        assert_eq!(id.suffix().len(), 10);
        assert!(id.suffix().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
    }

    #[test]
    fn an_id_has_one_written_form() {
        let id = LeaseId::new(RandomIds.fresh()).to_string();
        assert!(id.to_ascii_uppercase().parse::<LeaseId>().is_err());
        assert!(id.replace("lease-", "grant-").parse::<LeaseId>().is_err());
        assert!("lease-".parse::<LeaseId>().is_err());
    }
}
