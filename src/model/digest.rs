//! Canonical hashes. The canonical form is RFC 8785 (JSON Canonicalization Scheme), the hash SHA-256.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest, written as 64 lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest before the first record of a chain.
    pub const ZERO: Self = Self([0; 32]);

    /// The digest of `domain`, a newline and `bytes`. The domain keeps one kind of digest from passing for another.
    #[must_use]
    pub fn of(domain: &str, bytes: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(domain.as_bytes());
        hasher.update(b"\n");
        hasher.update(bytes);
        Self(hasher.finalize().into())
    }

    /// The digest of the canonical form of `value` under `domain`.
    ///
    /// # Errors
    /// When `value` cannot be JSON at all, e.g. a map with keys that are not text.
    pub fn of_json<T: Serialize>(domain: &str, value: &T) -> Result<Self, serde_json::Error> {
        Ok(Self::of(domain, &canonical_json(value)?))
    }
}

/// The RFC 8785 form of `value`.
///
/// # Errors
/// When `value` cannot be JSON at all.
pub fn canonical_json<T: Serialize>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    serde_json_canonicalizer::to_vec(value)
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 lowercase hexadecimal digits")]
pub struct ParseDigestError;

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| ParseDigestError)?;
        Ok(Self(bytes.try_into().map_err(|_| ParseDigestError)?))
    }
}

impl TryFrom<String> for Digest {
    type Error = ParseDigestError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canonical_form_ignores_order_and_space() {
        let a: serde_json::Value = serde_json::from_str(r#"{"b": 1, "a": [true, "é"]}"#).unwrap();
        let b: serde_json::Value = serde_json::from_str(r#"{"a":[true,"é"],"b":1}"#).unwrap();
        assert_eq!(canonical_json(&a).unwrap(), r#"{"a":[true,"é"],"b":1}"#.as_bytes());
        assert_eq!(Digest::of_json("t", &a).unwrap(), Digest::of_json("t", &b).unwrap());
        assert_ne!(Digest::of_json("t", &a).unwrap(), Digest::of_json("u", &a).unwrap());
    }

    #[test]
    fn a_digest_is_what_sha256sum_prints() {
        // printf 'd\n{}' | sha256sum
        let expected = "9cef9f818dcd5ac14ad2b4e4f202e04a6137bc1a4cf885f4a19be17018319ada";
        assert_eq!(Digest::of("d", b"{}").to_string(), expected);
        assert_eq!(Digest::of("d", b"{}").to_string().parse(), Ok(Digest::of("d", b"{}")));
        assert!("xyz".parse::<Digest>().is_err());
    }
}
