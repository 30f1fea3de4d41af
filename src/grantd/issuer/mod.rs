//! The daemon as an issuer of tokens: its own keys, what is published of them, and the tokens that they sign.
//!
//! A cloud that is told to trust the issuer takes such a token in place of a secret, so no secret of a cloud has to be on
//! the host. Keys come from files, such as systemd credentials, or are made here and kept in the state directory. A key is
//! used once the audit has its record, and no earlier: the broker records each [`Change`] before it is applied.

mod alarm;
mod documents;
mod file;
mod key;
mod source;
mod tally;
mod token;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use grantd_model::{KeyLife, KeyPhase, KeyRing, RingDue, RingError, RingEvent, RingKey};
use grantd_provider_api::{
    Assertion, Assertions, Clock, ErrorKind, IdSource, Passport, Passports, ProviderError, Secret, Signed,
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use self::file::PrivateKeys;
use self::key::PrivateKey;
use self::source::Source;
use self::tally::Tally;
use crate::config::IssuerSettings;
use crate::sys::files::Owners;

pub use documents::Document;
pub use tally::IssuerFigures;

/// The issuer whose tokens clouds take in place of a secret.
pub const FEDERATION: &str = "federation";

/// The issuer whose tokens are handed out.
pub const OIDC: &str = "oidc";

/// The longest life of a token that is handed out, since nobody can take one back.
pub const LONGEST_PASSPORT: Duration = Duration::from_secs(3_600);

/// The longest life of a token that a cloud takes for a session: it never leaves the daemon but to that cloud.
pub const LONGEST_ASSERTION: Duration = Duration::from_secs(60);

/// What an issuer rests on.
#[derive(Debug, Clone)]
pub struct Ground {
    /// Where keys that are made here are kept.
    pub state_dir: PathBuf,
    /// Who may own what is trusted.
    pub owners: Owners,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ids, for tokens.
    pub ids: Arc<dyn IdSource>,
}

/// One issuer with its keys.
pub struct Issuer {
    name: &'static str,
    url: String,
    life: KeyLife,
    path: PathBuf,
    source: Source,
    ground: Ground,
    held: RwLock<Held>,
    tally: Tally,
}

#[derive(Default)]
struct Held {
    opened: bool,
    ring: KeyRing,
    private: PrivateKeys,
}

/// A change of the keys that is to be recorded, and then [applied](Issuer::apply).
#[derive(Debug)]
pub struct Change {
    event: RingEvent,
    at: Timestamp,
    ring: KeyRing,
    fresh: Option<PrivateKey>,
}

impl Change {
    /// The kind of its audit record.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.event {
            RingEvent::Made { .. } => "issuer.key_made",
            RingEvent::TakesOver { .. } => "issuer.key_signs",
            RingEvent::Lengthened { .. } => "issuer.lifetime_raised",
            RingEvent::Published { .. } => "issuer.published",
            RingEvent::Forgotten { .. } => "issuer.key_retired",
        }
    }

    /// What its audit record tells.
    #[must_use]
    pub fn detail(&self, issuer: &Issuer) -> Value {
        let mut detail = json!({ "issuer": issuer.name, "url": issuer.url });
        let more = match &self.event {
            RingEvent::Made { id, algorithm, public } => {
                json!({ "key": id, "algorithm": algorithm, "public": public, "from": issuer.source.words() })
            }
            RingEvent::TakesOver { id, drop_old, .. } => {
                let retired = self.ring.keys().iter().find_map(|key| match key.phase {
                    KeyPhase::Retired { since, until } if since == self.at => Some((key.id.clone(), until)),
                    _ => None,
                });
                let (old, until) = retired.unzip();
                json!({ "key": id, "old": old, "old_published_until": until, "old_dropped": drop_old })
            }
            RingEvent::Lengthened { longest } => json!({ "longest_seconds": longest.as_secs() }),
            RingEvent::Published { ids } => json!({ "keys": ids }),
            RingEvent::Forgotten { id } => json!({ "key": id }),
        };
        if let (Some(detail), Value::Object(more)) = (detail.as_object_mut(), more) {
            detail.extend(more);
        }
        detail
    }
}

/// Why keys do not change.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// What was asked does not fit how the keys stand.
    #[error("issuer {issuer}: {why}")]
    State {
        /// Which issuer.
        issuer: &'static str,
        /// What to do.
        why: String,
    },
    /// They cannot be read, made or kept.
    #[error("the keys of issuer {issuer}: {why}")]
    Keys {
        /// Which issuer.
        issuer: &'static str,
        /// What is wrong.
        why: String,
    },
}

impl Issuer {
    /// The issuer `name` as it is configured; no token lives longer than `longest`. Reads keys that come from files, and
    /// nothing of what is kept: see [`Issuer::open`].
    ///
    /// # Errors
    /// In words: a file that is no key, or that others could read or write.
    pub fn new(
        name: &'static str,
        settings: &IssuerSettings,
        longest: Duration,
        ground: Ground,
    ) -> Result<Self, IssuerError> {
        let source = Source::read(&settings.keys, &ground.owners);
        Ok(Self {
            name,
            url: settings.url.clone(),
            life: KeyLife {
                algorithm: settings.algorithm,
                rotate_after: settings.rotate_after,
                publish_ahead: settings.publish_ahead,
                longest,
            },
            path: ground.state_dir.join(format!("{name}-keys.json")),
            source: source.map_err(|why| IssuerError::Keys { issuer: name, why })?,
            ground,
            held: RwLock::default(),
            tally: Tally::default(),
        })
    }

    /// Reads what is kept. To be called once, before anything is asked of it.
    ///
    /// # Errors
    /// When it is not as it was left, or others could read it.
    pub fn open(&self) -> Result<(), IssuerError> {
        let (ring, private) =
            file::read(&self.path, &self.ground.owners).map_err(|why| IssuerError::Keys { issuer: self.name, why })?;
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        *held = Held { opened: true, ring, private };
        Ok(())
    }

    /// Its name: `federation` or `oidc`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// That `self` and `other` have nothing in common by which a token of the one could pass for one of the other.
    ///
    /// # Errors
    /// When they have the same URL, or a key that comes from a file is a key of both.
    pub fn is_apart_from(&self, other: &Self) -> Result<(), IssuerError> {
        if self.url == other.url {
            let name = other.name;
            return self.refuse(format!("its url is that of issuer {name}: give each its own, so that no verifier of one takes the tokens of the other"));
        }
        let ids = |issuer: &Self| -> BTreeSet<String> {
            let ring = issuer.ring();
            issuer.source.ids().map(str::to_owned).chain(ring.keys().iter().map(|key| key.id.clone())).collect()
        };
        match ids(self).intersection(&ids(other)).next() {
            Some(id) => self.refuse(format!("key {id} is a key of issuer {}, too: make one of its own", other.name)),
            None => Ok(()),
        }
    }

    /// How its keys are to live.
    #[must_use]
    pub fn life(&self) -> &KeyLife {
        &self.life
    }

    /// Where its keys come from, in words.
    #[must_use]
    pub fn source(&self) -> String {
        self.source.words()
    }

    /// Its keys as they stand.
    #[must_use]
    pub fn ring(&self) -> KeyRing {
        self.held.read().unwrap_or_else(PoisonError::into_inner).ring.clone()
    }

    /// How it stands, in numbers.
    #[must_use]
    pub fn figures(&self) -> IssuerFigures {
        self.tally.figures(self.name, &self.ring())
    }

    /// What is to be served at its URL.
    #[must_use]
    pub fn documents(&self) -> Vec<Document> {
        documents::of(&self.url, &self.ring())
    }

    /// What is due by time or by configuration. May make a key: not for an async thread.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn due(&self) -> Result<Option<Change>, IssuerError> {
        let (now, longest) = (self.ground.clock.now(), self.life.longest);
        let (ring, known) = {
            let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
            (held.ring.clone(), held.private.keys().cloned().collect::<BTreeSet<_>>())
        };
        let due = match &self.source {
            Source::Files(keys) => match source::event(&ring, keys, longest) {
                Some(event) => return self.change(event, now, None).map(Some),
                None => ring.due_always(now, &self.life),
            },
            Source::Made => {
                // What came from a file that is not named any more can sign nothing, nor be made to.
                let lost = |key: &&RingKey| !known.contains(&key.id);
                match (ring.next().find(lost), ring.signing().filter(lost), ring.next().next()) {
                    (Some(next), ..) => Some(RingDue::Forget(next.id.clone())),
                    (None, Some(_), Some(next)) => Some(RingDue::TakeOver(next.id.clone())),
                    (None, Some(_), None) => Some(RingDue::Make),
                    (None, None, _) => ring.due(now, &self.life),
                }
            }
        };
        let event = match due {
            None => return Ok(None),
            Some(RingDue::Make) => return self.made(now).map(Some),
            Some(RingDue::TakeOver(id)) => RingEvent::TakesOver { id, longest, drop_old: false },
            Some(RingDue::Forget(id)) => RingEvent::Forgotten { id },
            Some(RingDue::Lengthen) => RingEvent::Lengthened { longest },
        };
        self.change(event, now, None).map(Some)
    }

    /// A new key, by hand. Makes one: not for an async thread.
    ///
    /// # Errors
    /// When its keys come from files, or one is waiting already.
    pub fn rotate(&self) -> Result<Change, IssuerError> {
        if let Source::Files(_) = &self.source {
            return self.refuse("its keys come from files: put a new one behind the first, publish, then put it first");
        }
        let ring = self.ring();
        if let Some(next) = ring.next().next() {
            let id = &next.id;
            return self.refuse(match ring.takes_over_at(next, &self.life) {
                Some(at) => format!("key {id} is published, and signs from {at} on"),
                None => format!("key {id} waits to be published: grantctl issuer publish"),
            });
        }
        self.made(self.ground.clock.now())
    }

    /// The next key signs at once, and the one before is published no more: it leaked. There has to be a next one.
    ///
    /// # Errors
    /// When there is none.
    pub fn drop_signing(&self) -> Result<Change, IssuerError> {
        let Some(id) = self.ring().next().next().map(|key| key.id.clone()) else {
            return self.refuse("there is no next key");
        };
        let event = RingEvent::TakesOver { id, longest: self.life.longest, drop_old: true };
        self.change(event, self.ground.clock.now(), None)
    }

    /// An administrator published exactly these keys.
    ///
    /// # Errors
    /// When others are to be published by now.
    pub fn published(&self, ids: Vec<String>) -> Result<Change, IssuerError> {
        self.change(RingEvent::Published { ids }, self.ground.clock.now(), None)
    }

    /// Makes a change that is on record true: on disk, then in memory. Waits for the disk: not for an async thread.
    ///
    /// # Errors
    /// When it cannot be written; then nothing changed.
    pub fn apply(&self, change: Change) -> Result<(), IssuerError> {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        if !held.opened || held.ring.after(&change.event, change.at).ok().as_ref() != Some(&change.ring) {
            return self.refuse("its keys changed meanwhile: try again");
        }
        let fresh = change.fresh.iter();
        let kept = held.private.values().chain(fresh).filter(|key| can_sign(&change.ring, &key.id));
        file::write(&self.path, &change.ring, kept).map_err(|why| IssuerError::Keys { issuer: self.name, why })?;
        held.private.extend(change.fresh.map(|key| (key.id.clone(), key)));
        // The secret part of a key that signs no more is wiped here.
        held.private.retain(|id, _| can_sign(&change.ring, id));
        held.ring = change.ring;
        Ok(())
    }

    fn made(&self, at: Timestamp) -> Result<Change, IssuerError> {
        let key = PrivateKey::generate(self.life.algorithm);
        let key = key.map_err(|why| IssuerError::Keys { issuer: self.name, why })?;
        let event = RingEvent::Made { id: key.id.clone(), algorithm: key.algorithm, public: key.public.clone() };
        self.change(event, at, Some(key))
    }

    fn change(&self, event: RingEvent, at: Timestamp, fresh: Option<PrivateKey>) -> Result<Change, IssuerError> {
        match self.ring().after(&event, at) {
            Ok(ring) => Ok(Change { event, at, ring, fresh }),
            Err(error @ (RingError::Outdated | RingError::Signs(_) | RingError::Retired(_))) => {
                self.refuse(error.to_string())
            }
            Err(error) => Err(IssuerError::Keys { issuer: self.name, why: error.to_string() }),
        }
    }

    fn refuse<T>(&self, why: impl Into<String>) -> Result<T, IssuerError> {
        Err(IssuerError::State { issuer: self.name, why: why.into() })
    }
}

impl Issuer {
    /// The claims as a token, and the id of the key that signed it.
    fn sign_now(&self, claims: &Map<String, Value>) -> Result<Signed, ProviderError> {
        let config = |why: String| ProviderError::new(ErrorKind::Config, format!("issuer {}: {why}", self.name));
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let id = held.ring.signing().map(|key| key.id.as_str());
        let key = id.and_then(|id| held.private.get(id).or_else(|| self.source.key(id)));
        let key = key.ok_or_else(|| config("it has no key that signs: see grantctl issuer show".to_owned()))?;
        Ok(Signed { token: key.sign(claims).map_err(config)?, key: key.id.clone() })
    }

    fn assert(&self, assertion: &Assertion<'_>) -> Result<Secret, ProviderError> {
        self.must_be(FEDERATION)?;
        let claims = token::claims(&self.url, assertion, &self.life, self.ground.clock.now(), self.ground.ids.fresh())?;
        self.sign_now(&claims).map(|signed| signed.token)
    }

    fn vouch(&self, passport: &Passport<'_>) -> Result<Signed, ProviderError> {
        self.must_be(OIDC)?;
        self.sign_now(&token::passport(&self.url, passport, &self.life, self.ground.clock.now())?)
    }

    /// That it is asked for what it is there for: a token of the one issuer must never be of use to whoever trusts the
    /// other.
    fn must_be(&self, name: &str) -> Result<(), ProviderError> {
        if self.name == name {
            return Ok(());
        }
        let why = format!("issuer {} does not sign what issuer {name} is there for", self.name);
        Err(ProviderError::new(ErrorKind::Config, why))
    }
}

impl Assertions for Issuer {
    fn issuer(&self) -> &str {
        &self.url
    }

    fn mint(&self, assertion: &Assertion<'_>) -> Result<Secret, ProviderError> {
        let signed = self.assert(assertion);
        self.tally.count(assertion.audience, signed.is_ok());
        signed
    }
}

impl Passports for Issuer {
    fn url(&self) -> &str {
        &self.url
    }

    fn longest(&self) -> Duration {
        self.life.longest
    }

    fn sign(&self, passport: &Passport<'_>) -> Result<Signed, ProviderError> {
        let signed = self.vouch(passport);
        self.tally.count(passport.audience, signed.is_ok());
        signed
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("name", &self.name).field("url", &self.url).finish_non_exhaustive()
    }
}

/// Whether the secret part of a key is of any more use.
fn can_sign(ring: &KeyRing, id: &str) -> bool {
    ring.key(id).is_some_and(|key| !matches!(key.phase, KeyPhase::Retired { .. }))
}

#[cfg(test)]
#[path = "issuer_tests.rs"]
mod tests;
