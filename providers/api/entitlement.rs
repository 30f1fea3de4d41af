//! The cloud-neutral words for access, and the data that maps them to native permissions.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The text is not acceptable as the name of something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} \"{text}\" is not valid: {why}")]
pub struct InvalidName {
    /// Which kind of name, e.g. `capability`.
    pub what: &'static str,
    /// The offending text, cut to 64 characters.
    pub text: String,
    /// What it should look like.
    pub why: &'static str,
}

/// A cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cloud {
    /// Amazon Web Services.
    Aws,
    /// Microsoft Azure.
    Azure,
    /// Google Cloud.
    Gcp,
    /// No cloud: whoever takes tokens of the daemon's own for its audience.
    Oidc,
}

impl fmt::Display for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aws => "aws",
            Self::Azure => "azure",
            Self::Gcp => "gcp",
            Self::Oidc => "oidc",
        })
    }
}

/// A cloud-neutral permission, `<resource type>:<verb>`, e.g. `object-storage:read`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Capability {
    text: String,
    colon: usize,
}

impl Capability {
    /// The resource type, e.g. `object-storage`.
    #[must_use]
    pub fn resource_type(&self) -> &str {
        self.text.get(..self.colon).unwrap_or_default()
    }

    /// The verb, e.g. `read`.
    #[must_use]
    pub fn verb(&self) -> &str {
        self.text.get(self.colon.saturating_add(1)..).unwrap_or_default()
    }

    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Capability {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = |s: &str| {
            !s.is_empty()
                && s.len() <= 40
                && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        match text.split_once(':') {
            Some((kind, verb)) if word(kind) && word(verb) => Ok(Self { text: text.to_owned(), colon: kind.len() }),
            _ => Err(InvalidName {
                what: "capability",
                text: text.chars().take(64).collect(),
                why: "it is <resource type>:<verb> in lowercase letters, digits and hyphens, such as object-storage:read",
            }),
        }
    }
}

impl TryFrom<String> for Capability {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Capability> for String {
    fn from(capability: Capability) -> Self {
        capability.text
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// One exact cloud asset, as the catalogue names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceRef {
    /// The cloud it lives in.
    pub cloud: Cloud,
    /// The configured account that serves it.
    pub account: String,
    /// The resource type of the capability, e.g. `object-storage`.
    pub kind: String,
    /// The exact native name: an ARN, an Azure resource ID, a GCP full resource name, the audience of a token.
    pub native: String,
}

/// A narrowing of an entitlement to less than the whole resource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Narrowing {
    /// Only keys that start with this prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Only from these source networks (CIDR).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_networks: Vec<String>,
}

/// A capability on a resource, optionally narrowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entitlement {
    /// What may be done.
    pub capability: Capability,
    /// On what.
    pub resource: ResourceRef,
    /// On how much of it.
    #[serde(default)]
    pub narrowing: Narrowing,
}

/// How access under a capability can be taken back before it expires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Revocation {
    /// The cloud refuses the very next call.
    Immediate,
    /// The cloud refuses after its propagation time.
    Eventual,
    /// Nothing but the expiry ends it.
    ExpiryOnly,
    /// Something obtained with it lives on for at most this many seconds.
    Residual(u64),
}

/// Whether the holder can leave behind something that outlives the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Persistence {
    /// Nothing outlives the lease.
    None,
    /// Keys, grants or signed links can be created. Forbidden unless policy permits it.
    CanCreate,
}

/// Native permissions and the form of resource name they apply to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NativeRule {
    /// Native action names, e.g. `s3:GetObject`.
    pub actions: Vec<String>,
    /// The resource name as a template: `{native}` is the catalogue's native name, `{prefix}` the key prefix.
    pub on: String,
    /// When set, the rule applies to keys through this condition key instead of the name, e.g. `s3:prefix`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_condition: Option<String>,
}

/// A role, and where it is assigned: how Azure and Google Cloud grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NativeRole {
    /// The role: on Azure the GUID of a built-in role definition, on Google Cloud `roles/<name>`; on both `custom:<name>`
    /// for one that `bootstrap` defines, which has exactly `permissions` and `data_permissions`.
    pub role: String,
    /// Its documented title.
    pub title: String,
    /// What it is given for. Each is among those that the vendor documents for the role.
    #[serde(default)]
    pub permissions: Vec<String>,
    /// The same for what Azure calls data actions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_permissions: Vec<String>,
    /// Where it is assigned, as a template: `{native}` is the catalogue's native name, the other words are the adapter's.
    pub on: String,
    /// The condition of the assignment as a template in the cloud's own language, without the time of its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// The same where a key prefix narrows it, as `{prefix}`. Without this a prefix cannot be asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_condition: Option<String>,
}

/// What ends access when the time of a lease is up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expiry {
    /// The cloud, to the second, whatever becomes of the daemon.
    #[default]
    Cloud,
    /// The daemon, by taking the access back: it is late by what that takes, and by as long as the daemon is down.
    Daemon,
}

/// What carries a session on Google Cloud.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Carrier {
    /// A principal of the lease's own, by workload identity federation.
    #[default]
    Principal,
    /// A service account out of a pool, by impersonation.
    ServiceAccount,
}

/// What one capability is in one cloud.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Permission {
    /// In words, for approvers.
    pub summary: String,
    /// How it can be taken back.
    pub revocation: Revocation,
    /// Whether something can be left behind.
    pub persistence: Persistence,
    /// What the cloud cannot express narrowly, in words. Refused unless policy permits it.
    #[serde(default)]
    pub widens: Vec<String>,
    /// What ends access when its time is up.
    #[serde(default)]
    pub expiry: Expiry,
    /// The native rules: on AWS.
    #[serde(default)]
    pub rules: Vec<NativeRule>,
    /// The roles: on Azure and Google Cloud.
    #[serde(default)]
    pub roles: Vec<NativeRole>,
    /// For whom its tokens are: on Azure, e.g. `https://storage.azure.com`. The first is the one that clients are given
    /// unasked.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// What carries the session: on Google Cloud.
    #[serde(default)]
    pub carrier: Carrier,
}

/// One cloud's map from capability to native permission: `config/entitlements/<cloud>.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapabilityMap {
    /// By capability.
    pub capability: BTreeMap<Capability, Permission>,
}

impl Revocation {
    /// How long something obtained under the capability may live on after the end of the lease.
    #[must_use]
    pub fn residual(&self) -> Duration {
        match self {
            Self::Residual(seconds) => Duration::from_secs(*seconds),
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_is_type_and_verb() {
        let read: Capability = "object-storage:read".parse().unwrap();
        assert_eq!((read.resource_type(), read.verb()), ("object-storage", "read"));
        for bad in ["", "read", ":", "a:", ":b", "A:b", "a:b:c", "a b:c", "é:x"] {
            let error = bad.parse::<Capability>().unwrap_err().to_string();
            assert!(error.contains("object-storage:read"), "{bad}: {error}");
        }
    }
}
