//! The `[aws]` table as it is written. Every unknown field is an error; nothing here has been checked yet.

use std::path::PathBuf;

use grantd_provider_api::setting::RawPropagation;
use jiff::SignedDuration;
use serde::Deserialize;

/// The `[aws]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawConfig {
    /// `[[aws.account]]`.
    #[serde(default)]
    pub account: Vec<RawAccount>,
    pub propagation: Option<RawPropagation>,
    pub timeouts: Option<RawTimeouts>,
    /// How long revocations are gathered before one write.
    pub batch_window: Option<SignedDuration>,
    /// At most one write of one boundary document in this time.
    pub write_interval: Option<SignedDuration>,
    /// How far the cloud's clock and ours may disagree.
    pub clock_skew: Option<SignedDuration>,
    /// A PEM file with the certificate authorities to trust; the distribution's file otherwise.
    pub ca_bundle: Option<PathBuf>,
}

/// `timeouts = { connect = "2s", read = "5s", attempt = "6s", operation = "12s" }`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawTimeouts {
    pub connect: Option<SignedDuration>,
    pub read: Option<SignedDuration>,
    pub attempt: Option<SignedDuration>,
    pub operation: Option<SignedDuration>,
}

/// `[[aws.account]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawAccount {
    pub name: String,
    pub id: String,
    pub partition: Option<String>,
    pub region: String,
    pub endpoint: Option<String>,
    /// Left out, the daemon is in the account by its own tokens alone.
    pub base: Option<RawBase>,
    /// How sessions are made.
    #[serde(default)]
    pub issue: RawIssue,
    pub web_identity: Option<RawWebIdentity>,
    pub revoker: Option<RawRevoker>,
    /// Whether the base credentials are themselves an assumed role.
    pub chained: Option<bool>,
    pub propagation: Option<RawPropagation>,
    /// `[[aws.account.role]]`, in order of preference.
    #[serde(default)]
    pub role: Vec<RawRole>,
}

/// `issue = "web_identity"`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawIssue {
    /// With the base identity.
    #[default]
    AssumeRole,
    /// With a token of the daemon's own, for each session.
    WebIdentity,
}

/// `[aws.account.web_identity]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawWebIdentity {
    /// Whom its tokens are for, as the account's identity provider has it.
    pub audience: Option<String>,
    /// Whom they are about, as the trust policies of the roles have it.
    pub subject: Option<String>,
}

/// `[aws.account.base]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum RawBase {
    /// Static keys in shared credentials files, under `[profile]`; in a file named `config`, under `[profile profile]`.
    Profile { files: Vec<PathBuf>, profile: String },
    /// A container credentials endpoint.
    Container { uri: String, token_file: Option<PathBuf> },
    /// A projected OIDC token.
    WebIdentity { role_arn: String, token_file: PathBuf, session_name: String },
    /// The EC2 instance metadata service.
    InstanceMetadata {
        endpoint: Option<String>,
        #[serde(default)]
        allow_instance_metadata_reachable: bool,
    },
}

/// `[aws.account.revoker]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawRevoker {
    pub role_arn: String,
}

/// `[[aws.account.role]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawRole {
    pub arn: String,
    /// The managed policy that is its permissions boundary.
    pub boundary: Option<String>,
    /// Instead of a boundary.
    pub revocation: Option<RawRevocation>,
    /// Characters of the role's inline policies that revocations may take, when `revocation = "inline"`.
    pub inline_characters: Option<usize>,
    pub max_session: Option<SignedDuration>,
    #[serde(default)]
    pub tags: bool,
    #[serde(default)]
    pub source_identity: bool,
    pub external_id: Option<String>,
}

/// `revocation = "inline"`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawRevocation {
    /// In an inline policy of the role.
    Inline,
}
