//! The `[gcp]` table as it is written. Every unknown field is an error; nothing here has been checked yet.

use grantd_provider_api::setting::{RawPropagation, RawTimeouts};
use jiff::SignedDuration;
use serde::Deserialize;

/// The `[gcp]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawConfig {
    /// `[[gcp.account]]`.
    #[serde(default)]
    pub account: Vec<RawAccount>,
    pub propagation: Option<RawPropagation>,
    pub timeouts: Option<RawTimeouts>,
    /// How long revocations are gathered before one write.
    pub batch_window: Option<SignedDuration>,
    /// At most one write of one allow policy in this time.
    pub write_interval: Option<SignedDuration>,
    /// How far the cloud's clock and ours may disagree.
    pub clock_skew: Option<SignedDuration>,
}

/// `[[gcp.account]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawAccount {
    pub name: String,
    /// The ids of the projects whose resources it serves.
    pub projects: Vec<String>,
    /// The number of the project that has the workload identity pool.
    pub number: String,
    pub pool: String,
    pub provider: String,
    /// Instead of Google, for tests: each service is below it under its own host name.
    pub endpoint: Option<String>,
    pub base: RawBase,
    /// Bindings end at whole multiples of this, so that leases can share them.
    pub share_expiry: Option<SignedDuration>,
    /// How long an issue waits for the access to be felt.
    pub ready_within: Option<SignedDuration>,
    /// Whether the sweep asks Cloud Asset Inventory which policies hold something of ours.
    pub asset_search: Option<bool>,
    pub propagation: Option<RawPropagation>,
    /// `[[gcp.account.service_account]]`, the pool for impersonation.
    #[serde(default)]
    pub service_account: Vec<RawServiceAccount>,
}

/// `[gcp.account.base]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum RawBase {
    /// A principal of the pool: our own assertion, exchanged at STS.
    Assertion { subject: String },
    /// The metadata server of the machine.
    Metadata {
        endpoint: Option<String>,
        #[serde(default)]
        allow_metadata_reachable: bool,
    },
}

/// `[[gcp.account.service_account]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawServiceAccount {
    pub email: String,
}
