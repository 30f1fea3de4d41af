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
}
