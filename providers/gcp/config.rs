//! The `[gcp]` table of the configuration: read, checked once, and never doubted again. Pure: it opens no file.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use grantd_provider_api::setting::{Propagation, Timeouts, account_name, bounded_or, propagation};
use grantd_provider_api::{ErrorKind, LeaseId, ProviderError};
use serde::Deserialize;

use crate::endpoint::Endpoint;
use crate::limits::SUBJECT_BYTES;
use crate::raw::{RawAccount, RawBase, RawConfig};

/// How long a new allow policy takes to be felt (IAM, "Access change propagation": typically 2 minutes, potentially 7
/// or more).
const PROPAGATION: Propagation = Propagation { expected: secs(120), worst: secs(420) };

/// The longest that may be configured.
const LONGEST_PROPAGATION: Propagation = Propagation { expected: secs(900), worst: secs(3_600) };

/// Everything that the adapter was told. Deserialises from the `[gcp]` table and is valid once it exists.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawConfig")]
pub struct Config {
    pub(crate) accounts: BTreeMap<String, AccountConfig>,
    pub(crate) timeouts: Timeouts,
    pub(crate) batch_window: Duration,
    pub(crate) write_interval: Duration,
    pub(crate) clock_skew: Duration,
}

/// One account: the projects that one workload identity pool serves.
#[derive(Debug, Clone)]
pub(crate) struct AccountConfig {
    pub name: String,
    pub projects: Vec<String>,
    pub number: String,
    pub pool: String,
    pub provider: String,
    pub endpoint: Option<Endpoint>,
    pub base: BaseConfig,
    pub share_expiry: Duration,
    pub ready_within: Duration,
    pub asset_search: bool,
    pub propagation: Propagation,
    pub service_accounts: Vec<String>,
}

impl AccountConfig {
    /// The pool's full resource name without its service.
    fn pool_path(&self) -> String {
        format!("projects/{}/locations/global/workloadIdentityPools/{}", self.number, self.pool)
    }

    /// What every principal of the pool starts with; also the name of the target that is a principal of the lease's own.
    pub fn pool_principal(&self) -> String {
        format!("principal://iam.googleapis.com/{}", self.pool_path())
    }

    /// What every principal of the pool starts with, subject excluded.
    pub fn subject_prefix(&self) -> String {
        format!("{}/subject/", self.pool_principal())
    }

    /// The principal of a lease.
    pub fn principal_of(&self, lease: LeaseId) -> String {
        format!("{}{lease}", self.subject_prefix())
    }

    /// For whom STS is asked for a token: the provider's full resource name.
    pub fn sts_audience(&self) -> String {
        format!("//iam.googleapis.com/{}/providers/{}", self.pool_path(), self.provider)
    }

    /// For whom our assertions are: what the provider accepts when it has no allowed audiences of its own (IAM,
    /// `workloadIdentityPools.providers`: `oidc.allowedAudiences`).
    pub fn assertion_audience(&self) -> String {
        format!("https:{}", self.sts_audience())
    }

    /// Where a service is.
    pub fn service(&self, host: &str) -> String {
        match &self.endpoint {
            Some(endpoint) => format!("{endpoint}/{host}"),
            None => format!("https://{host}"),
        }
    }
}

/// Where the daemon's own tokens come from. Always named here, never found in the environment.
#[derive(Debug, Clone)]
pub(crate) enum BaseConfig {
    Assertion { subject: String },
    Metadata { endpoint: Endpoint },
}

/// Something in the `[gcp]` table is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("gcp: {0}")]
pub struct ConfigError(String);

impl From<String> for ConfigError {
    fn from(what: String) -> Self {
        Self(what)
    }
}

impl From<ConfigError> for ProviderError {
    fn from(error: ConfigError) -> Self {
        Self::new(ErrorKind::Config, error)
    }
}

fn wrong<T>(what: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError(what.into()))
}

impl Config {
    /// The names of the configured accounts.
    pub fn accounts(&self) -> impl Iterator<Item = &str> {
        self.accounts.keys().map(String::as_str)
    }

    /// The accounts that cannot work without the daemon's own issuer.
    pub fn federated(&self) -> impl Iterator<Item = &str> {
        let assertion = |account: &&AccountConfig| matches!(account.base, BaseConfig::Assertion { .. });
        self.accounts.values().filter(assertion).map(|account| account.name.as_str())
    }
}

impl TryFrom<RawConfig> for Config {
    type Error = ConfigError;

    fn try_from(raw: RawConfig) -> Result<Self, Self::Error> {
        let default = propagation(raw.propagation.as_ref(), PROPAGATION, LONGEST_PROPAGATION)?;
        let mut accounts = BTreeMap::new();
        let (mut pools, mut carriers) = (BTreeSet::new(), BTreeSet::new());
        for raw in raw.account {
            let account = account(raw, default)?;
            if !pools.insert((account.number.clone(), account.pool.clone())) {
                return wrong(format!("pool {} is configured twice: each pool has one writer", account.pool_path()));
            }
            if let Some(email) = account.service_accounts.iter().find(|email| !carriers.insert((*email).clone())) {
                return wrong(format!("service account {email} is used twice: it carries one session at a time"));
            }
            if let Some(twin) = accounts.insert(account.name.clone(), account) {
                return wrong(format!("account name \"{}\" is used twice", twin.name));
            }
        }
        Ok(Self {
            accounts,
            timeouts: raw.timeouts.unwrap_or_default().checked(secs(20))?,
            batch_window: bounded_or(
                "batch_window",
                raw.batch_window,
                Duration::from_millis(200),
                Duration::ZERO,
                secs(10),
            )?,
            write_interval: bounded_or("write_interval", raw.write_interval, secs(1), Duration::ZERO, secs(60))?,
            clock_skew: bounded_or("clock_skew", raw.clock_skew, secs(60), secs(1), secs(300))?,
        })
    }
}

fn account(raw: RawAccount, default: Propagation) -> Result<AccountConfig, ConfigError> {
    let name = raw.name.clone();
    account_name(&name)?;
    checked_account(raw, default).map_err(|error| ConfigError(format!("account \"{name}\": {}", error.0)))
}

fn checked_account(raw: RawAccount, default: Propagation) -> Result<AccountConfig, ConfigError> {
    if raw.projects.is_empty() {
        return wrong("it has no projects, so nothing could ever be issued");
    }
    if let Some(bad) = raw.projects.iter().find(|id| !is_project_id(id)) {
        return wrong(format!("project {bad:?} is no project id: 6 to 30 lowercase letters, digits and hyphens"));
    }
    if raw.number.is_empty() || raw.number.len() > 20 || !raw.number.bytes().all(|b| b.is_ascii_digit()) {
        return wrong(format!(
            "number {:?} is no project number: digits, as gcloud projects describe shows",
            raw.number
        ));
    }
    for (what, id) in [("pool", &raw.pool), ("provider", &raw.provider)] {
        if !is_pool_id(id) {
            let text = "is 4 to 32 lowercase letters, digits and hyphens, and does not start with gcp-";
            return wrong(format!("{what} {id:?} {text}"));
        }
    }
    let endpoint = raw.endpoint.map(|text| Endpoint::parse(&text, &[])).transpose().map_err(ConfigError)?;
    let mut service_accounts = Vec::new();
    for account in raw.service_account {
        let email = account.email;
        if !is_service_account(&email) {
            return wrong(format!("service account {email:?} is not <name>@<project>.iam.gserviceaccount.com"));
        }
        if service_accounts.contains(&email) {
            return wrong(format!("service account {email} is configured twice"));
        }
        service_accounts.push(email);
    }
    Ok(AccountConfig {
        name: raw.name,
        projects: raw.projects,
        number: raw.number,
        pool: raw.pool,
        provider: raw.provider,
        endpoint,
        base: base(raw.base)?,
        share_expiry: bounded_or("share_expiry", raw.share_expiry, secs(1), secs(1), secs(60))?,
        ready_within: bounded_or("ready_within", raw.ready_within, secs(5), Duration::ZERO, secs(60))?,
        asset_search: raw.asset_search.unwrap_or(true),
        propagation: propagation(raw.propagation.as_ref(), default, LONGEST_PROPAGATION)?,
        service_accounts,
    })
}

fn base(raw: RawBase) -> Result<BaseConfig, ConfigError> {
    match raw {
        RawBase::Assertion { subject } => {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
            if subject.is_empty() || subject.len() > SUBJECT_BYTES || !subject.bytes().all(plain) {
                return wrong(format!("base.subject {subject:?} is 1 to {SUBJECT_BYTES} letters, digits and -_."));
            }
            if subject.parse::<LeaseId>().is_ok() {
                return wrong(format!("base.subject {subject:?} could be a lease's"));
            }
            Ok(BaseConfig::Assertion { subject })
        }
        RawBase::Metadata { allow_metadata_reachable: false, .. } => wrong(
            "base: metadata gives the machine's service account to any process that can reach 169.254.169.254, so every \
             job could take what grantd exists to guard: use type = \"assertion\", or block it for all uids but the \
             daemon's and then write allow_metadata_reachable = true",
        ),
        RawBase::Metadata { endpoint, .. } => {
            let hosts = ["169.254.169.254", "metadata.google.internal"];
            let text = endpoint.as_deref().unwrap_or("http://169.254.169.254");
            Ok(BaseConfig::Metadata { endpoint: Endpoint::parse(text, &hosts).map_err(ConfigError)? })
        }
    }
}

/// A project id (Resource Manager, "Creating and managing projects"). Domain-scoped ones are not served.
pub(crate) fn is_project_id(id: &str) -> bool {
    (6..=30).contains(&id.len())
        && id.starts_with(|c: char| c.is_ascii_lowercase())
        && !id.ends_with('-')
        && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_pool_id(id: &str) -> bool {
    (4..=32).contains(&id.len())
        && !id.starts_with("gcp-")
        && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_service_account(email: &str) -> bool {
    let Some((name, project)) = email.strip_suffix(".iam.gserviceaccount.com").and_then(|rest| rest.split_once('@'))
    else {
        return false;
    };
    is_project_id(name) && is_project_id(project)
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
