//! The exact native grant that an entitlement becomes.

use serde::{Deserialize, Serialize};

use crate::{Cloud, Persistence, Revocation};

/// What approvers see, what the digest covers, what the session gets. Pure data: the same entitlement and the same
/// map always make the same plan, and it names no lease and no time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The cloud.
    pub cloud: Cloud,
    /// The configured account.
    pub account: String,
    /// The native identities that may carry the session (role ARNs, slots), in order of preference.
    pub targets: Vec<String>,
    /// The native document: on AWS the statements of the session policy, without the time that each lease adds.
    pub native: serde_json::Value,
    /// The same in words.
    pub words: Vec<String>,
    /// How access can be taken back.
    pub revocation: Revocation,
    /// Whether something can be left behind.
    pub persistence: Persistence,
    /// What the cloud cannot express narrowly.
    pub widens: Vec<String>,
    /// What ends access when its time is up.
    #[serde(default, skip_serializing_if = "Ending::is_cloud")]
    pub ending: Ending,
}

/// What ends access when the time of a lease is up, and how late that can be (promise P3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Ending {
    /// The cloud, to the second, whatever becomes of the daemon.
    #[default]
    Cloud,
    /// The daemon takes the access back.
    Daemon {
        /// How long after its time access may still be felt while the daemon runs, in seconds.
        outlives: u64,
    },
    /// The daemon takes the access back, and the cloud does if the daemon does not.
    Backed {
        /// How long after its time access may still be felt while the daemon runs, in seconds.
        outlives: u64,
        /// How long after its time access may still be felt if the daemon is down, in seconds.
        without_daemon: u64,
    },
    /// Whoever verifies the credential, by the end that is written in it. Nobody can take it back before that.
    Verifier,
}

impl Ending {
    /// Whether the cloud ends access: what is so is not written down.
    #[must_use]
    pub fn is_cloud(&self) -> bool {
        *self == Self::Cloud
    }

    /// Whether access ends to the second, whatever becomes of the daemon.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        matches!(self, Self::Cloud | Self::Verifier)
    }

    /// Whether there is anybody who could refuse a session before its time.
    #[must_use]
    pub fn is_deniable(&self) -> bool {
        *self != Self::Verifier
    }

    /// The same where it was measured that a removal can take so many seconds to be felt.
    #[must_use]
    pub fn at_least(mut self, seconds: u64) -> Self {
        match &mut self {
            Self::Cloud | Self::Verifier => {}
            Self::Daemon { outlives } => *outlives = seconds.max(*outlives),
            Self::Backed { outlives, without_daemon } => {
                *without_daemon = without_daemon.saturating_add(seconds.saturating_sub(*outlives));
                *outlives = seconds.max(*outlives);
            }
        }
        self
    }

    /// How long after its time access may still be felt while the daemon runs, in seconds.
    #[must_use]
    pub fn outlives(&self) -> u64 {
        match self {
            Self::Cloud | Self::Verifier => 0,
            Self::Daemon { outlives } | Self::Backed { outlives, .. } => *outlives,
        }
    }
}
