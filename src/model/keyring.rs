//! The keys of a token issuer over their lives, without the secret part: which one signs, which ones verifiers have to know,
//! and what is due. Pure.
//!
//! A key is made, published, signs, and is published on until every token that it signed is dead. Verifiers keep copies of
//! what is published, so a key does not sign before it has been published for long enough.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How long after its last token's end a key stays published, for verifiers whose clocks are late.
const LEEWAY: Duration = Duration::from_secs(5 * 60);

/// How long after a key should have been replaced that is worth waking somebody: publishing is done by people.
const FORBEARANCE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How tokens are signed (RFC 7518, section 3.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeyAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256: what every cloud takes.
    #[default]
    #[serde(rename = "RS256")]
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
}

impl KeyAlgorithm {
    /// Its registered name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }
}

/// Where a key is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum KeyPhase {
    /// To be published, and to sign once it was for long enough.
    Next,
    /// The one that signs.
    Signing {
        /// Since when.
        since: Timestamp,
        /// The longest life, in seconds, that a token of it can have.
        longest: u64,
    },
    /// It signs no more, and is published until its tokens are dead.
    Retired {
        /// Since when.
        since: Timestamp,
        /// Until when.
        until: Timestamp,
    },
}

impl KeyPhase {
    /// The phase as one word.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Signing { .. } => "signing",
            Self::Retired { .. } => "retired",
        }
    }
}

/// One key, as everybody may know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RingKey {
    /// The thumbprint of its public part (RFC 7638).
    pub id: String,
    /// How it signs.
    pub algorithm: KeyAlgorithm,
    /// Its public part, as it is published (RFC 7517).
    pub public: serde_json::Value,
    /// Since when it is here.
    pub made_at: Timestamp,
    /// When an administrator first said that it is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_at: Option<Timestamp>,
    /// Where it is in its life.
    pub phase: KeyPhase,
}

/// The keys of one issuer, oldest first. At most one signs, and at most one is next unless they come from files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRing {
    keys: Vec<RingKey>,
    /// The ids that were published last.
    #[serde(default)]
    published: Vec<String>,
}

/// What can happen to a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RingEvent {
    /// A key was made, or came from a file.
    Made {
        /// Its id.
        id: String,
        /// How it signs.
        algorithm: KeyAlgorithm,
        /// Its public part.
        public: serde_json::Value,
    },
    /// A key begins to sign, and the one before is retired.
    TakesOver {
        /// Which.
        id: String,
        /// The longest life that a token of it can have.
        longest: Duration,
        /// Whether the one before is not to be published any more either: it leaked.
        drop_old: bool,
    },
    /// Tokens of the signing key may live longer than until now.
    Lengthened {
        /// How long.
        longest: Duration,
    },
    /// An administrator published exactly these.
    Published {
        /// Which.
        ids: Vec<String>,
    },
    /// A key that does not sign goes.
    Forgotten {
        /// Which.
        id: String,
    },
}

/// The event does not fit the ring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// There is no such key.
    #[error("there is no key {0}")]
    Unknown(String),
    /// There is such a key already.
    #[error("key {0} is there already")]
    Twice(String),
    /// It signs, and may not go.
    #[error("key {0} signs")]
    Signs(String),
    /// It signed once, and never does again.
    #[error("key {0} is retired")]
    Retired(String),
    /// What was published is not what is to be.
    #[error("what was published are not the keys that there are now: publish again")]
    Outdated,
}

/// How keys are to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyLife {
    /// How new keys sign.
    pub algorithm: KeyAlgorithm,
    /// How long a key signs before the next one is made.
    pub rotate_after: Duration,
    /// How long a key has to be published before it signs: as long as verifiers may keep a copy of what was published.
    pub publish_ahead: Duration,
    /// The longest life of a token.
    pub longest: Duration,
}

/// What is wrong with a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RingAlarm {
    /// No key signs.
    NoKey,
    /// The key that signs was never published, so that nobody can verify what it signs.
    Unknown,
    /// The key that signs should have been replaced a week ago or longer.
    Overdue {
        /// Since when it signs.
        since: Timestamp,
        /// When it should have been replaced.
        due: Timestamp,
    },
}

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RingDue {
    /// A new key.
    Make,
    /// That this one begins to sign.
    TakeOver(String),
    /// That this one goes.
    Forget(String),
    /// That tokens may live longer.
    Lengthen,
}

impl KeyRing {
    /// Every key, oldest first: all of them are to be published.
    #[must_use]
    pub fn keys(&self) -> &[RingKey] {
        &self.keys
    }

    /// One key.
    #[must_use]
    pub fn key(&self, id: &str) -> Option<&RingKey> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// The one that signs.
    #[must_use]
    pub fn signing(&self) -> Option<&RingKey> {
        self.keys.iter().find(|key| matches!(key.phase, KeyPhase::Signing { .. }))
    }

    /// Those that are to sign later.
    pub fn next(&self) -> impl Iterator<Item = &RingKey> {
        self.keys.iter().filter(|key| key.phase == KeyPhase::Next)
    }

    /// The keys that verifiers cannot know, as far as an administrator said what is published.
    pub fn unpublished(&self) -> impl Iterator<Item = &RingKey> {
        self.keys.iter().filter(|key| !self.published.contains(&key.id))
    }

    /// Whether what was published last is what is to be published now.
    #[must_use]
    pub fn is_published(&self) -> bool {
        self.unpublished().next().is_none() && self.published.iter().all(|id| self.key(id).is_some())
    }

    /// Since when the key that signs does.
    #[must_use]
    pub fn signs_since(&self) -> Option<Timestamp> {
        self.keys.iter().find_map(|key| match key.phase {
            KeyPhase::Signing { since, .. } => Some(since),
            _ => None,
        })
    }

    /// Whether the key that signs was never published.
    #[must_use]
    pub fn signs_unknown(&self) -> bool {
        self.unpublished().any(|key| matches!(key.phase, KeyPhase::Signing { .. }))
    }

    /// Whether a key that is to sign waits for somebody to publish it.
    #[must_use]
    pub fn waits_for_publishing(&self) -> bool {
        self.unpublished().any(|key| key.phase == KeyPhase::Next)
    }

    /// What is wrong at `now`.
    #[must_use]
    pub fn alarms(&self, now: Timestamp, life: &KeyLife) -> Vec<RingAlarm> {
        let Some(since) = self.signs_since() else { return vec![RingAlarm::NoKey] };
        let due = later(later(since, life.rotate_after), life.publish_ahead);
        let overdue = later(due, FORBEARANCE) <= now;
        let unknown = self.signs_unknown().then_some(RingAlarm::Unknown);
        unknown.into_iter().chain(overdue.then_some(RingAlarm::Overdue { since, due })).collect()
    }

    /// When the next key may sign, if it is published.
    #[must_use]
    pub fn takes_over_at(&self, key: &RingKey, life: &KeyLife) -> Option<Timestamp> {
        (key.phase == KeyPhase::Next).then_some(key.published_at)?.map(|at| later(at, life.publish_ahead))
    }

    /// What is due at `now` for keys that are made here.
    #[must_use]
    pub fn due(&self, now: Timestamp, life: &KeyLife) -> Option<RingDue> {
        if let Some(due) = self.due_always(now, life) {
            return Some(due);
        }
        let Some((signing, since)) = self.keys.iter().find_map(|key| match key.phase {
            KeyPhase::Signing { since, .. } => Some((key, since)),
            _ => None,
        }) else {
            // Nothing was ever published, so nobody has an old copy.
            return Some(self.next().next().map_or(RingDue::Make, |key| RingDue::TakeOver(key.id.clone())));
        };
        if let Some(other) = self.next().find(|key| key.algorithm != life.algorithm) {
            return Some(RingDue::Forget(other.id.clone()));
        }
        match self.next().next() {
            Some(next) => {
                self.takes_over_at(next, life).filter(|at| *at <= now).map(|_| RingDue::TakeOver(next.id.clone()))
            }
            None => {
                let old = later(since, life.rotate_after) <= now || signing.algorithm != life.algorithm;
                old.then_some(RingDue::Make)
            }
        }
    }

    /// What is due at `now` wherever the keys come from.
    #[must_use]
    pub fn due_always(&self, now: Timestamp, life: &KeyLife) -> Option<RingDue> {
        self.keys.iter().find_map(|key| match key.phase {
            KeyPhase::Retired { until, .. } if until <= now => Some(RingDue::Forget(key.id.clone())),
            KeyPhase::Signing { longest, .. } if longest < life.longest.as_secs() => Some(RingDue::Lengthen),
            _ => None,
        })
    }

    /// The ring after `event` at `at`.
    ///
    /// # Errors
    /// When it does not fit.
    pub fn after(&self, event: &RingEvent, at: Timestamp) -> Result<Self, RingError> {
        let mut ring = self.clone();
        match event {
            RingEvent::Made { id, algorithm, public } => {
                if ring.key(id).is_some() {
                    return Err(RingError::Twice(id.clone()));
                }
                ring.keys.push(RingKey {
                    id: id.clone(),
                    algorithm: *algorithm,
                    public: public.clone(),
                    made_at: at,
                    published_at: None,
                    phase: KeyPhase::Next,
                });
            }
            RingEvent::TakesOver { id, longest, drop_old } => {
                match ring.key(id).map(|key| key.phase) {
                    None => return Err(RingError::Unknown(id.clone())),
                    Some(KeyPhase::Next) => {}
                    Some(KeyPhase::Signing { .. }) => return Err(RingError::Signs(id.clone())),
                    Some(KeyPhase::Retired { .. }) => return Err(RingError::Retired(id.clone())),
                }
                for key in &mut ring.keys {
                    if key.id == *id {
                        key.phase = KeyPhase::Signing { since: at, longest: longest.as_secs() };
                    } else if let KeyPhase::Signing { longest, .. } = key.phase {
                        let dead = later(later(at, Duration::from_secs(longest)), LEEWAY);
                        key.phase = KeyPhase::Retired { since: at, until: if *drop_old { at } else { dead } };
                    }
                }
                if *drop_old {
                    ring.keys.retain(|key| !matches!(key.phase, KeyPhase::Retired { .. }));
                }
            }
            RingEvent::Lengthened { longest } => {
                for key in &mut ring.keys {
                    if let KeyPhase::Signing { since, longest: known } = key.phase {
                        key.phase = KeyPhase::Signing { since, longest: known.max(longest.as_secs()) };
                    }
                }
            }
            RingEvent::Published { ids } => {
                let same = ids.len() == ring.keys.len() && ring.keys.iter().all(|key| ids.contains(&key.id));
                if !same {
                    return Err(RingError::Outdated);
                }
                for key in &mut ring.keys {
                    key.published_at.get_or_insert(at);
                }
                ring.published.clone_from(ids);
            }
            RingEvent::Forgotten { id } => {
                let key = ring.key(id).ok_or_else(|| RingError::Unknown(id.clone()))?;
                if matches!(key.phase, KeyPhase::Signing { .. }) {
                    return Err(RingError::Signs(id.clone()));
                }
                ring.keys.retain(|key| key.id != *id);
            }
        }
        Ok(ring)
    }
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| at.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
#[path = "keyring_tests.rs"]
mod tests;
