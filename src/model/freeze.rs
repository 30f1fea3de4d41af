//! A freeze: nothing is vended for what it covers, until two people have thawed it. Pure.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Actor, FreezeId, NodeId, Subject};

/// How many different people it takes to lift a freeze. Setting one takes one: stopping is urgent, going on is not.
pub const THAW_QUORUM: usize = 2;

/// A freeze that was set, standing or lifted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// Its name.
    pub id: FreezeId,
    /// What it covers.
    pub target: FreezeTarget,
    /// Why.
    pub reason: String,
    /// Who set it.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
    /// Who wants it lifted, one entry a person.
    pub thaws: Vec<Thaw>,
    /// When it was lifted, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifted_at: Option<Timestamp>,
    /// Grows by one with each thaw.
    pub version: u64,
}

/// What a freeze covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FreezeTarget {
    /// Everything.
    All,
    /// Whatever one daemon vends.
    Host {
        /// The daemon's node.
        node: NodeId,
    },
    /// One person or workload, under every identity.
    Subject {
        /// The configured name.
        name: String,
        /// The identities, as `issuer:id`, that it had when the freeze was set: renaming or moving one lifts nothing.
        identities: BTreeSet<String>,
    },
    /// One resource.
    Resource {
        /// The catalogue's name.
        name: String,
    },
}

/// One person's wish to lift a freeze.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thaw {
    /// The person.
    pub person: String,
    /// The identity that the person used.
    pub subject: Subject,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// A thaw that does not apply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ThawError {
    /// It is lifted already.
    #[error("{0} is lifted already")]
    Lifted(FreezeId),
    /// The person said so already.
    #[error("{person} has thawed {freeze} already: another person has to")]
    Again {
        /// Which freeze.
        freeze: FreezeId,
        /// Who.
        person: String,
    },
}

impl Freeze {
    /// Whether it still stands.
    #[must_use]
    pub fn stands(&self) -> bool {
        self.lifted_at.is_none()
    }

    /// The freeze after one person's thaw; lifted when that completes the quorum.
    ///
    /// # Errors
    /// When it is lifted already, or the person has thawed it already.
    pub fn thawed(&self, thaw: Thaw) -> Result<Self, ThawError> {
        if !self.stands() {
            return Err(ThawError::Lifted(self.id));
        }
        if self.thaws.iter().any(|before| before.person == thaw.person) {
            return Err(ThawError::Again { freeze: self.id, person: thaw.person });
        }
        let mut after = self.clone();
        let at = thaw.at;
        after.thaws.push(thaw);
        after.lifted_at = (after.thaws.len() >= THAW_QUORUM).then_some(at);
        after.version = self.version.saturating_add(1);
        Ok(after)
    }
}

impl FreezeTarget {
    /// Whether it covers what `subject` would be vended for `resource` by `node`.
    #[must_use]
    pub fn covers(&self, node: &NodeId, subject: &Subject, resource: &str) -> bool {
        match self {
            Self::All => true,
            Self::Host { node: frozen } => frozen == node,
            Self::Subject { .. } => self.covers_subject(subject),
            Self::Resource { name } => name == resource,
        }
    }

    /// Whether it covers everything that `subject` could be vended by `node`.
    #[must_use]
    pub fn covers_all_of(&self, node: &NodeId, subject: &Subject) -> bool {
        !matches!(self, Self::Resource { .. }) && self.covers(node, subject, "")
    }

    fn covers_subject(&self, subject: &Subject) -> bool {
        match self {
            Self::Subject { name, identities } => {
                *name == subject.name || identities.contains(&format!("{}:{}", subject.issuer, subject.id))
            }
            _ => false,
        }
    }
}

impl fmt::Display for FreezeTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("everything"),
            Self::Host { node } => write!(f, "host {node}"),
            Self::Subject { name, .. } => write!(f, "subject \"{name}\""),
            Self::Resource { name } => write!(f, "resource \"{name}\""),
        }
    }
}

/// A number that differs between any two states of all freezes ever set: every freeze and every thaw adds one.
#[must_use]
pub fn freeze_epoch<'a>(freezes: impl IntoIterator<Item = &'a Freeze>) -> u64 {
    freezes.into_iter().fold(0, |sum, freeze| sum.saturating_add(freeze.version.saturating_add(1)))
}

#[cfg(test)]
#[path = "freeze_tests.rs"]
mod tests;
