//! Setting up and looking over a cloud account on the wire.

use serde::{Deserialize, Serialize};

/// `GET /v1/bootstrap/{cloud}`; the answer is the text itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootstrapQuery {
    /// Only this account; every configured one when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The native name of the daemon's identity in it, where the configuration cannot tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
}
