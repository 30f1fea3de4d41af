//! `POST` and `GET /v1/drain`.

use serde::{Deserialize, Serialize};

/// How far the drain of a node is. `POST` begins it, or finds it begun; it goes on by itself, and `GET` looks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainView {
    /// Since when the node vends nothing (RFC 3339). It stays so until the daemon is started again.
    pub since: String,
    /// How many leases of this node were live, or ended and not yet refused by the cloud, when it began or since.
    pub leases: u64,
    /// Of those: the cloud took the revocation, or they are over.
    pub settled: u64,
    /// Of those: not ended yet, such as a session that was in the making.
    pub live: u64,
    /// Of those: ended, but the cloud has not taken the revocation.
    pub unaccepted: u64,
    /// Of those: ended, and expiring by themselves sooner than a revocation would be felt.
    pub expiring: u64,
    /// Until when one of them may at worst still act, if any may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst_case_until: Option<String>,
    /// Whether none is live and the cloud took every revocation.
    pub complete: bool,
}
