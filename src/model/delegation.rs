//! Absence: a person's voice lent to another one for a time. Pure.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{DelegationId, NodeId, Subject};

/// The longest absence, in seconds: 90 days. Whoever is away longer is to be replaced in the catalogue.
pub const MAX_ABSENCE: u64 = 90 * 86_400;

/// A delegation: `to` may approve for `from`, in whatever capacities `from` has then. What was lent cannot be lent on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegation {
    /// Its name.
    pub id: DelegationId,
    /// The node on which it was made.
    pub node: NodeId,
    /// The absent person.
    pub from: String,
    /// The identity with which that person made it.
    pub by: Subject,
    /// The person who may approve.
    pub to: String,
    /// On this resource only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Since when.
    pub at: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Who took it back, if somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revoked>,
    /// Grows by one when it is taken back.
    pub version: u64,
}

/// A delegation was taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// When.
    pub at: Timestamp,
    /// By which identity.
    pub by: Subject,
}

impl Delegation {
    /// Whether it stands at `now`.
    #[must_use]
    pub fn stands(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && now < self.until
    }

    /// Whether it is about this resource.
    #[must_use]
    pub fn covers(&self, resource: &str) -> bool {
        self.resource.as_deref().is_none_or(|only| only == resource)
    }

    /// The delegation taken back; nothing when it is already.
    #[must_use]
    pub fn taken_back(&self, at: Timestamp, by: Subject) -> Option<Self> {
        let version = self.version.saturating_add(1);
        self.revoked.is_none().then(|| Self { revoked: Some(Revoked { at, by }), version, ..self.clone() })
    }
}
