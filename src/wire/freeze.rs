//! Freezes and mass revocation on the wire.

use serde::{Deserialize, Serialize};

/// What is meant: exactly one member is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoverBody {
    /// Everything.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// Whatever this daemon vends.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub host: bool,
    /// A person or a workload, by its configured name; under every identity that is theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// A resource, by its name in the catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
}

/// `POST /v1/freezes`: stop vending; and `POST /v1/revocations`: end grants and sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoverRequest {
    /// What is meant.
    pub cover: CoverBody,
    /// Why; the audit keeps it, and whoever is stopped reads it.
    pub reason: String,
}

/// `POST /v1/freezes/{id}/thaw`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThawRequest {
    /// Why it is safe to go on.
    pub reason: String,
}

/// A freeze.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreezeView {
    /// Its name.
    pub id: String,
    /// What it covers, in words.
    pub covers: String,
    /// Whether it still stands.
    pub stands: bool,
    /// Why it was set.
    pub reason: String,
    /// Who set it.
    pub by: String,
    /// When.
    pub at: String,
    /// Who wants it lifted.
    pub thaws: Vec<ThawView>,
    /// How many more people it takes.
    pub thaws_missing: u64,
    /// The people who could; empty when it is lifted.
    pub can_thaw: Vec<String>,
    /// When it was lifted, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifted_at: Option<String>,
}

/// One person's voice for lifting a freeze.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThawView {
    /// The person.
    pub person: String,
    /// When.
    pub at: String,
    /// Why.
    pub reason: String,
}

/// `GET /v1/freezes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreezeQuery {
    /// Lifted ones too.
    #[serde(default)]
    pub lifted: bool,
}

/// Some freezes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreezeList {
    /// Newest first.
    pub freezes: Vec<FreezeView>,
}

/// The answer to `POST /v1/revocations`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MassRevoked {
    /// How many grants were revoked.
    pub grants: u64,
    /// How many sessions have to end.
    pub leases: u64,
    /// How many documents the cloud has to take for it.
    pub scopes: u64,
}
