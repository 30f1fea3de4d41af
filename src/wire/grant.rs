//! Requests and grants on the wire.

use serde::{Deserialize, Serialize};

/// `POST /v1/grants`: ask for a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantCreate {
    /// The catalogue's name of the resource.
    pub resource: String,
    /// The capability, e.g. `object-storage:read`.
    pub capability: String,
    /// Less than the whole resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub narrowing: Option<NarrowingBody>,
    /// Why, in a sentence.
    pub justification: String,
    /// The ticket it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// How long, in seconds.
    pub duration_seconds: u64,
    /// Not before this moment (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// The configured name of who will use it; the caller itself when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The piece of work it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskBody>,
}

/// Less than the whole resource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NarrowingBody {
    /// Only keys that start with this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Only from these networks (CIDR).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_networks: Vec<String>,
}

/// A piece of work, as the caller claims it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskBody {
    /// The system that runs it.
    pub system: String,
    /// Its run.
    pub run: String,
    /// Which attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<String>,
    /// Which job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
}

/// Who.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectView {
    /// `human`, `service`, `agent` or `pipeline`.
    pub kind: String,
    /// Who vouches for the id.
    pub issuer: String,
    /// The id.
    pub id: String,
    /// The configured name.
    pub name: String,
}

/// What a grant is in the cloud.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanView {
    /// The cloud.
    pub cloud: String,
    /// The configured account.
    pub account: String,
    /// The native identities that may carry it.
    pub targets: Vec<String>,
    /// In words.
    pub words: Vec<String>,
    /// The native document.
    pub native: serde_json::Value,
    /// How it can be taken back.
    pub revocation: String,
    /// What may outlive it: `none` or `can_create`.
    pub persistence: String,
    /// What the cloud cannot express narrowly.
    pub widens: Vec<String>,
}

/// A grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantView {
    /// Its name.
    pub id: String,
    /// `pending`, `scheduled`, `active`, `ended`, `denied`, `cancelled`, `lapsed` or `revoked`.
    pub state: String,
    /// Why it is over, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was requested.
    pub created_at: String,
    /// Since when it may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_since: Option<String>,
    /// Until when it may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_until: Option<String>,
    /// The catalogue's name of the resource.
    pub resource: String,
    /// How sensitive it is.
    pub tier: String,
    /// The capability.
    pub capability: String,
    /// Less than the whole resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub narrowing: Option<NarrowingBody>,
    /// Why.
    pub justification: String,
    /// The ticket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// How long, in seconds.
    pub duration_seconds: u64,
    /// Who uses it.
    pub subject: SubjectView,
    /// Who asked.
    pub requested_by: SubjectView,
    /// The piece of work, as claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskBody>,
    /// What it is in the cloud.
    pub plan: PlanView,
    /// The digest of everything asked and planned.
    pub digest: String,
    /// The policy under which it was decided.
    pub policy_version: String,
    /// The longest TTL of one lease, in seconds, if policy sets one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ttl_seconds: Option<u64>,
    /// How many tasks may use it in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_uses: Option<u32>,
    /// How many tasks may hold a lease at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<u32>,
    /// How many tasks have used it.
    pub uses: u64,
}

/// `GET /v1/grants`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantQuery {
    /// Only these states, separated by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Only this resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Those of everybody; for administrators and auditors.
    #[serde(default)]
    pub all: bool,
    /// At most this many, newest first; 100 when left out, 1000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Some grants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantList {
    /// Newest first.
    pub grants: Vec<GrantView>,
}

/// `POST /v1/grants/{id}/revoke`, `/complete` and the same of leases.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndRequest {
    /// Why; needed to revoke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
