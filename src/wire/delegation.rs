//! Absence on the wire.

use serde::{Deserialize, Serialize};

/// `POST /v1/delegations`: lend your voice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelegationCreate {
    /// The person who is to approve for you, by the name in the people table.
    pub to: String,
    /// Until when (RFC 3339), 90 days ahead at most.
    pub until: String,
    /// On this resource only; on whatever is yours when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
}

/// A delegation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelegationView {
    /// Its name.
    pub id: String,
    /// The absent person.
    pub from: String,
    /// The person who may approve.
    pub to: String,
    /// On this resource only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// `standing`, `over` or `revoked`.
    pub state: String,
    /// When it was made.
    pub at: String,
    /// Until when.
    pub until: String,
    /// When it was taken back, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<String>,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_by: Option<String>,
}

/// `GET /v1/delegations`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelegationQuery {
    /// Those that are over, too.
    #[serde(default)]
    pub over: bool,
}

/// Some delegations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelegationList {
    /// Newest first.
    pub delegations: Vec<DelegationView>,
}
