//! Owners who do not answer: after half of the time that approvers have, stewards are asked in their place. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::Approval;

/// How far it has come with a request that policy lets escalate. Where there is none, nobody is ever asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "escalation", rename_all = "snake_case")]
pub enum Escalation {
    /// Stewards are asked at this moment, if an owner is missing then.
    Due {
        /// When.
        at: Timestamp,
    },
    /// Stewards may approve in the owner's place.
    Asked {
        /// Since when.
        at: Timestamp,
        /// Who could then, by name. Who counts is judged whenever it matters.
        stewards: Vec<String>,
    },
    /// The moment passed, and nobody was asked.
    NotAsked {
        /// When that was found.
        at: Timestamp,
        /// Why not.
        why: String,
    },
}

impl Escalation {
    /// Of a request made at `from` that lapses after `within`.
    #[must_use]
    pub fn halfway(from: Timestamp, within: Duration) -> Self {
        let half = SignedDuration::try_from(within / 2).unwrap_or(SignedDuration::MAX);
        Self::Due { at: from.checked_add(half).unwrap_or(Timestamp::MAX) }
    }

    /// When it is due, if that is still to come.
    #[must_use]
    pub fn due_at(&self) -> Option<Timestamp> {
        match self {
            Self::Due { at } => Some(*at),
            Self::Asked { .. } | Self::NotAsked { .. } => None,
        }
    }

    /// Whether an approval was given when stewards could stand in.
    #[must_use]
    pub fn covers(&self, approval: &Approval) -> bool {
        matches!(self, Self::Asked { at, .. } if approval.at >= *at)
    }

    /// Whether `next` may follow at all: what was due is asked or not, once, and never early.
    #[must_use]
    pub fn may_become(&self, next: &Self) -> bool {
        match (self, next) {
            (Self::Due { at: due }, Self::Asked { at, stewards }) => at >= due && !stewards.is_empty(),
            (Self::Due { at: due }, Self::NotAsked { at, .. }) => at >= due,
            _ => false,
        }
    }
}
