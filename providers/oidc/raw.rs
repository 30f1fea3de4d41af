//! The `[oidc]` table as it is written, without its issuer, which is the daemon's. Every unknown field is an error; nothing
//! here has been checked yet.

use jiff::SignedDuration;
use serde::Deserialize;

/// The `[oidc]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawConfig {
    /// `[[oidc.account]]`.
    #[serde(default)]
    pub account: Vec<RawAccount>,
}

/// `[[oidc.account]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawAccount {
    pub name: String,
    /// What every subject of its tokens begins with.
    #[serde(default)]
    pub subject: Option<String>,
    /// How long a token lives at most.
    pub max_lifetime: Option<SignedDuration>,
    /// For whom tokens are made: services that take them as they are.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// The same, of services that give something else for a token.
    #[serde(default)]
    pub exchange_audiences: Vec<String>,
}
