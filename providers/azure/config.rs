//! The `[azure]` table of the configuration: read, checked once, and never doubted again. Pure: it opens no file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use azure_core::http::Url;
use grantd_provider_api::setting::{Propagation, Timeouts, absolute, account_name, bounded_or, propagation};
use grantd_provider_api::{ErrorKind, ProviderError};
use serde::Deserialize;
use uuid::Uuid;

use crate::cloud::Endpoints;
use crate::limits::{LONGEST_TOKEN, SUBJECT_CHARACTERS, TOKEN_LIFETIME};
use crate::raw::{RawAccount, RawBase, RawConfig, RawSlot};

/// How long a change of role assignments takes to be felt: up to 10 minutes (Azure RBAC, "Troubleshoot Azure RBAC"); up to
/// 30 with services that keep caches of their own, such as Event Hubs and Service Bus.
const PROPAGATION: Propagation = Propagation { expected: secs(120), worst: secs(1_800) };

/// The longest that may be configured.
const LONGEST_PROPAGATION: Propagation = Propagation { expected: secs(3_600), worst: secs(86_400) };

/// Everything that the adapter was told. Deserialises from the `[azure]` table and is valid once it exists.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawConfig")]
pub struct Config {
    pub(crate) accounts: BTreeMap<String, AccountConfig>,
    pub(crate) timeouts: Timeouts,
    pub(crate) readiness: Duration,
    pub(crate) cool_down: Duration,
    pub(crate) ca_bundle: Option<PathBuf>,
}

/// One account: a tenant, and subscriptions that trust it.
#[derive(Debug, Clone)]
pub(crate) struct AccountConfig {
    pub name: String,
    pub tenant: Uuid,
    pub subscriptions: Vec<Uuid>,
    pub endpoints: Endpoints,
    pub base: BaseConfig,
    pub propagation: Propagation,
    pub max_session: Duration,
    pub token_lifetime: Duration,
    pub pim_backstop: bool,
    pub slots: Vec<SlotConfig>,
    /// The slots of every account that the same base serves, this one's among them.
    pub of_base: BTreeSet<Uuid>,
}

/// Who writes the role assignments. Always named here, never found in the environment.
#[derive(Debug, Clone)]
pub(crate) enum BaseConfig {
    Federation { client_id: Uuid, subject: String },
    TokenFile { client_id: Uuid, token_file: PathBuf },
    ManagedIdentity { client_id: Option<Uuid>, endpoint: Url },
}

impl BaseConfig {
    /// The application, or the user-assigned identity; none for the host's own.
    pub fn client_id(&self) -> Option<Uuid> {
        match self {
            Self::Federation { client_id, .. } | Self::TokenFile { client_id, .. } => Some(*client_id),
            Self::ManagedIdentity { client_id, .. } => *client_id,
        }
    }
}

/// A service principal that carries one session at a time.
#[derive(Debug, Clone)]
pub(crate) struct SlotConfig {
    pub client_id: Uuid,
    pub object_id: Uuid,
    pub subject: String,
}

/// Something in the `[azure]` table is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("azure: {0}")]
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

    /// Every file that the adapter will read. Whoever can write one of them can become the daemon's base identity
    /// or its certificate authority: the daemon checks their owners.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let base = self.accounts.values().filter_map(|account| match &account.base {
            BaseConfig::TokenFile { token_file, .. } => Some(token_file),
            BaseConfig::Federation { .. } | BaseConfig::ManagedIdentity { .. } => None,
        });
        base.chain(&self.ca_bundle).map(PathBuf::as_path)
    }
}

impl TryFrom<RawConfig> for Config {
    type Error = ConfigError;

    fn try_from(raw: RawConfig) -> Result<Self, Self::Error> {
        let default = propagation(raw.propagation.as_ref(), PROPAGATION, LONGEST_PROPAGATION)?;
        let mut accounts = BTreeMap::new();
        let mut principals = BTreeSet::new();
        for raw in raw.account {
            let account = account(raw, default)?;
            for slot in &account.slots {
                if !principals.insert(slot.client_id) || !principals.insert(slot.object_id) {
                    return wrong(format!(
                        "slot {} is used twice, or has one id for two things: a slot carries one session at a time",
                        slot.client_id
                    ));
                }
            }
            if let Some(twin) = accounts.insert(account.name.clone(), account) {
                return wrong(format!("account name \"{}\" is used twice", twin.name));
            }
        }
        for account in accounts.values() {
            if account.base.client_id().is_some_and(|base| principals.contains(&base)) {
                return wrong(format!(
                    "account \"{}\": its base is a slot too: whoever holds a session could assign roles",
                    account.name
                ));
            }
        }
        let mut of_bases: BTreeMap<(Uuid, Option<Uuid>), BTreeSet<Uuid>> = BTreeMap::new();
        for account in accounts.values() {
            let slots = account.slots.iter().map(|slot| slot.object_id);
            of_bases.entry((account.tenant, account.base.client_id())).or_default().extend(slots);
        }
        for account in accounts.values_mut() {
            let of_base = of_bases.get(&(account.tenant, account.base.client_id()));
            account.of_base = of_base.cloned().unwrap_or_default();
        }
        if let Some(path) = raw.ca_bundle.as_deref() {
            absolute("ca_bundle", path)?;
        }
        Ok(Self {
            accounts,
            timeouts: raw.timeouts.unwrap_or_default().checked(secs(15))?,
            readiness: bounded_or("readiness", raw.readiness, secs(10), Duration::ZERO, secs(300))?,
            cool_down: bounded_or("cool_down", raw.cool_down, secs(300), Duration::ZERO, secs(86_400))?,
            ca_bundle: raw.ca_bundle,
        })
    }
}

fn account(raw: RawAccount, default: Propagation) -> Result<AccountConfig, ConfigError> {
    let name = raw.name.clone();
    account_name(&name)?;
    checked_account(raw, default).map_err(|error| ConfigError(format!("account \"{name}\": {}", error.0)))
}

fn checked_account(raw: RawAccount, default: Propagation) -> Result<AccountConfig, ConfigError> {
    let name = raw.name;
    let tenant = guid("tenant", &raw.tenant)?;
    let mut subscriptions = Vec::new();
    for text in &raw.subscriptions {
        let id = guid("subscriptions", text)?;
        if subscriptions.contains(&id) {
            return wrong(format!("subscription {id} is named twice"));
        }
        subscriptions.push(id);
    }
    if subscriptions.is_empty() {
        return wrong("it has no subscriptions, so nothing could ever be issued");
    }
    let endpoints = Endpoints::new(raw.cloud, raw.endpoints)?;
    let base = base(raw.base)?;
    let propagation = propagation(raw.propagation.as_ref(), default, LONGEST_PROPAGATION)?;
    let token_lifetime = bounded_or("token_lifetime", raw.token_lifetime, TOKEN_LIFETIME, secs(60), LONGEST_TOKEN)?;
    // Tokens live at least an hour; a lease is not to outlive the token that was handed out for it.
    let max_session = bounded_or("max_session", raw.max_session, secs(55 * 60), secs(1), LONGEST_TOKEN)?;
    if max_session > token_lifetime {
        return wrong("max_session is longer than token_lifetime: no lease outlives its token".to_owned());
    }
    let mut slots = Vec::new();
    for raw in raw.slot {
        slots.push(slot(raw)?);
    }
    if slots.is_empty() {
        return wrong("it has no [[azure.account.slot]], so nothing could ever be issued");
    }
    let of_base = BTreeSet::new();
    Ok(AccountConfig {
        name,
        tenant,
        subscriptions,
        endpoints,
        base,
        propagation,
        max_session,
        token_lifetime,
        pim_backstop: raw.pim_backstop,
        slots,
        of_base,
    })
}

fn slot(raw: RawSlot) -> Result<SlotConfig, ConfigError> {
    let client_id = guid("slot.client_id", &raw.client_id)?;
    let object_id = guid("slot.object_id", &raw.object_id)?;
    if client_id == object_id {
        return wrong(format!(
            "slot.object_id {object_id} is the client_id too: it is the service principal's own id, as \
             az ad sp show --id CLIENT_ID --query id tells it"
        ));
    }
    Ok(SlotConfig { client_id, object_id, subject: subject("slot.subject", raw.subject)? })
}

fn base(raw: RawBase) -> Result<BaseConfig, ConfigError> {
    Ok(match raw {
        RawBase::Federation { client_id, subject: text } => BaseConfig::Federation {
            client_id: guid("base.client_id", &client_id)?,
            subject: subject("base.subject", text)?,
        },
        RawBase::TokenFile { client_id, token_file } => {
            absolute("base.token_file", &token_file)?;
            BaseConfig::TokenFile { client_id: guid("base.client_id", &client_id)?, token_file }
        }
        RawBase::ManagedIdentity { allow_instance_metadata_reachable: false, .. } => {
            return wrong(
                "base: managed_identity gives the host's identity to any process that can reach 169.254.169.254, \
                 so every job could take what grantd exists to guard: use another base, or block it for all uids \
                 but the daemon's and then write allow_instance_metadata_reachable = true",
            );
        }
        RawBase::ManagedIdentity { client_id, endpoint, .. } => {
            let text = endpoint.as_deref().unwrap_or("http://169.254.169.254");
            let endpoint = Url::parse(text).ok().filter(is_metadata);
            let endpoint = endpoint.ok_or_else(|| {
                ConfigError(format!("base.endpoint {text:?} is neither http://169.254.169.254 nor on loopback"))
            })?;
            let client_id = client_id.map(|text| guid("base.client_id", &text)).transpose()?;
            BaseConfig::ManagedIdentity { client_id, endpoint }
        }
    })
}

/// The instance metadata service itself, or a stand-in on this host: it speaks plain HTTP.
fn is_metadata(url: &Url) -> bool {
    url.scheme() == "http" && matches!(url.host_str(), Some("169.254.169.254" | "127.0.0.1")) && url.query().is_none()
}

fn guid(what: &str, text: &str) -> Result<Uuid, ConfigError> {
    let wrong = || ConfigError(format!("{what} {text:?} is no id such as 00000000-0000-0000-0000-000000000001"));
    let id = Uuid::try_parse(text).map_err(|_| wrong())?;
    if id.is_nil() || text.len() != 36 { Err(wrong()) } else { Ok(id) }
}

fn subject(what: &str, text: String) -> Result<String, ConfigError> {
    let plain = text.bytes().all(|b| b.is_ascii_graphic() && !b"'\"\\*?".contains(&b));
    if text.is_empty() || text.len() > SUBJECT_CHARACTERS || !plain {
        return wrong(format!(
            "{what} {text:?} is 1 to {SUBJECT_CHARACTERS} printable characters without spaces, quotes, * and ?"
        ));
    }
    Ok(text)
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
