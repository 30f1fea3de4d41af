//! `GET /v1/status`.

use serde::{Deserialize, Serialize};

/// How the daemon is. What concerns other users is left out for callers who are no administrators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// `ready`, `degraded`, `draining` or `stopping`.
    pub state: String,
    /// What is wrong, in words; empty when nothing is.
    #[serde(default)]
    pub alarms: Vec<String>,
    /// The node's name.
    pub node: String,
    /// Who the caller is to the daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub you: Option<String>,
    /// The policy in force.
    pub policy_version: String,
    /// Since when the daemon runs.
    pub started_at: String,
    /// How many audit records there are.
    pub audit_seq: u64,
    /// How many leases are live.
    pub live_leases: u64,
    /// How revocation is doing.
    pub revocation: RevocationStatus,
    /// How the accounts are doing.
    #[serde(default)]
    pub accounts: Vec<AccountStatus>,
    /// What protects the daemon's memory, in words.
    #[serde(default)]
    pub hardening: Vec<String>,
}

/// How revocation is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationStatus {
    /// How many leases have to end and are not refused by the cloud for certain.
    pub unconfirmed: u64,
    /// Since when the oldest of them has to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_requested_at: Option<String>,
    /// How many intents are open.
    pub open_intents: u64,
}

/// How one account is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountStatus {
    /// The cloud.
    pub cloud: String,
    /// The configured name.
    pub account: String,
    /// What it said last, if that was no success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// How long a revocation is reckoned to take there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub propagation: Option<crate::PropagationView>,
}
