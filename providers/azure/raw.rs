//! The `[azure]` table as it is written. Every unknown field is an error; nothing here has been checked yet.

use std::path::PathBuf;

use grantd_provider_api::setting::{RawPropagation, RawTimeouts};
use jiff::SignedDuration;
use serde::Deserialize;

use crate::cloud::CloudName;

/// The `[azure]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawConfig {
    /// `[[azure.account]]`.
    #[serde(default)]
    pub account: Vec<RawAccount>,
    pub propagation: Option<RawPropagation>,
    pub timeouts: Option<RawTimeouts>,
    /// How long an issue waits for its role assignment to be felt.
    pub readiness: Option<SignedDuration>,
    /// How long a slot rests beyond the death of its last token.
    pub cool_down: Option<SignedDuration>,
    /// A PEM file with the certificate authorities to trust; the distribution's file otherwise.
    pub ca_bundle: Option<PathBuf>,
}

/// `[[azure.account]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawAccount {
    pub name: String,
    /// The directory, by its id.
    pub tenant: String,
    /// By their ids.
    pub subscriptions: Vec<String>,
    #[serde(default)]
    pub cloud: CloudName,
    #[serde(default)]
    pub endpoints: RawEndpoints,
    pub base: RawBase,
    pub propagation: Option<RawPropagation>,
    /// The longest lease.
    pub max_session: Option<SignedDuration>,
    /// Whether Azure ends role assignments too, by Privileged Identity Management.
    #[serde(default)]
    pub pim_backstop: bool,
    /// The longest that the tenant lets an access token live.
    pub token_lifetime: Option<SignedDuration>,
    /// `[[azure.account.slot]]`, in order of preference.
    #[serde(default)]
    pub slot: Vec<RawSlot>,
}

/// `endpoints = { ... }`: for a private cloud, or a stand-in.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawEndpoints {
    pub authority: Option<String>,
    pub resource_manager: Option<String>,
    pub blob: Option<String>,
    pub vault: Option<String>,
}

/// `[azure.account.base]`: who writes the role assignments.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum RawBase {
    /// An application that trusts this daemon as an issuer.
    Federation { client_id: String, subject: String },
    /// An application that trusts whoever writes the token file, such as a Kubernetes cluster.
    TokenFile { client_id: String, token_file: PathBuf },
    /// The managed identity of the host, by the instance metadata service.
    ManagedIdentity {
        client_id: Option<String>,
        endpoint: Option<String>,
        #[serde(default)]
        allow_instance_metadata_reachable: bool,
    },
}

/// `[[azure.account.slot]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSlot {
    /// The application's id.
    pub client_id: String,
    /// The service principal's id in the tenant.
    pub object_id: String,
    /// The subject of its federated credential.
    pub subject: String,
}
