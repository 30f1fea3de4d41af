//! The audit on the wire.

use serde::{Deserialize, Serialize};

/// `GET /v1/audit`; for administrators and auditors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// Records after this one; from the first when left out.
    #[serde(default)]
    pub after: u64,
    /// At most this many; 500 when left out, 5000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// A stretch of one node's chain, exactly as it was hashed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditPage {
    /// Whose chain.
    pub node: String,
    /// How many records the chain has in all.
    pub head_seq: u64,
    /// The hash of its last record.
    pub head_hash: String,
    /// The records, oldest first.
    pub records: Vec<serde_json::Value>,
}
