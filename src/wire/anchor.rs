//! Registered anchors on the wire.

use serde::{Deserialize, Serialize};

/// `POST /v1/anchors`: watch a process; leases taken by it or by what it starts end when it exits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnchorCreate {
    /// An ancestor of the caller, of the same user; the caller's parent when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
}

/// A registered anchor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnchorView {
    /// Its name.
    pub id: String,
    /// The process.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// Since when it is watched.
    pub created_at: String,
}
