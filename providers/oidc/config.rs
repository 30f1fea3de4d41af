//! The `[oidc]` table of the configuration: read, checked once, and never doubted again. Pure: it opens no file.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use grantd_provider_api::{ErrorKind, ProviderError};
use serde::Deserialize;

use crate::limits::{AUDIENCE_BYTES, LONGEST_LIFETIME, MIN_TTL, PREFIX_BYTES, USUAL_LIFETIME};
use crate::raw::{RawAccount, RawConfig};

/// What a subject begins with where nothing is configured.
const USUAL_PREFIX: &str = "grantd";

/// Everything that the adapter was told. Deserialises from the `[oidc]` table and is valid once it exists.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawConfig")]
pub struct Config {
    pub(crate) accounts: BTreeMap<String, AccountConfig>,
}

/// One account: a profile of tokens, and for whom they are.
#[derive(Debug, Clone)]
pub(crate) struct AccountConfig {
    pub name: String,
    pub prefix: String,
    pub max_lifetime: Duration,
    /// Whether what its holder gets for a token is of the audience's own making, by audience.
    pub audiences: BTreeMap<String, Taker>,
}

/// What whoever takes a token does with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taker {
    /// Looks at it each time: the token is the access.
    Service,
    /// Gives something else for it, which may outlive it.
    TokenService,
}

/// Something in the `[oidc]` table is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("oidc: {0}")]
pub struct ConfigError(String);

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

    /// The longest that any token of it lives.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.accounts.values().map(|account| account.max_lifetime).max().unwrap_or_default()
    }
}

impl TryFrom<RawConfig> for Config {
    type Error = ConfigError;

    fn try_from(raw: RawConfig) -> Result<Self, Self::Error> {
        let mut accounts = BTreeMap::new();
        for raw in raw.account {
            let account = account(raw)?;
            if let Some(twin) = accounts.insert(account.name.clone(), account) {
                return wrong(format!("account name \"{}\" is used twice", twin.name));
            }
        }
        if accounts.is_empty() {
            return wrong("it has no [[oidc.account]], so nothing could ever be issued");
        }
        Ok(Self { accounts })
    }
}

fn account(raw: RawAccount) -> Result<AccountConfig, ConfigError> {
    let name = raw.name;
    if name.is_empty() || name.len() > 64 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        return wrong(format!("account name {name:?} is 1 to 64 letters, digits, hyphens, underscores and full stops"));
    }
    let at = |what: String| ConfigError(format!("account \"{name}\": {what}"));
    let prefix = raw.subject.unwrap_or_else(|| USUAL_PREFIX.to_owned());
    // Without a colon, which parts it from the kind of the subject.
    let plain = prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b));
    if prefix.is_empty() || prefix.len() > PREFIX_BYTES || !plain {
        return Err(at(format!(
            "subject {prefix:?} is 1 to {PREFIX_BYTES} letters, digits, hyphens, underscores, full stops and slashes"
        )));
    }
    let max_lifetime = match raw.max_lifetime {
        None => USUAL_LIFETIME,
        Some(span) => Duration::try_from(span)
            .ok()
            .filter(|span| (MIN_TTL..=LONGEST_LIFETIME).contains(span) && span.subsec_nanos() == 0)
            .ok_or_else(|| {
                at(format!(
                    "max_lifetime is whole seconds from {} s to {} s: nobody can take a token back before its end",
                    MIN_TTL.as_secs(),
                    LONGEST_LIFETIME.as_secs()
                ))
            })?,
    };
    let mut audiences = BTreeMap::new();
    let plain = raw.audiences.into_iter().map(|audience| (audience, Taker::Service));
    let exchanged = raw.exchange_audiences.into_iter().map(|audience| (audience, Taker::TokenService));
    let mut seen = BTreeSet::new();
    for (audience, taker) in plain.chain(exchanged) {
        check_audience(&audience, taker).map_err(&at)?;
        if !seen.insert(audience.clone()) {
            return Err(at(format!("audience {audience:?} is named twice")));
        }
        audiences.insert(audience, taker);
    }
    if audiences.is_empty() {
        return Err(at("it has no audiences, so nothing could ever be issued".to_owned()));
    }
    Ok(AccountConfig { name, prefix, max_lifetime, audiences })
}

fn check_audience(audience: &str, taker: Taker) -> Result<(), String> {
    let odd = |c: char| c.is_whitespace() || c.is_control() || "*?{}\"\\".contains(c);
    if audience.is_empty() || audience.len() > AUDIENCE_BYTES || audience.contains(odd) {
        return Err(format!(
            "audience {audience:?} is 1 to {AUDIENCE_BYTES} bytes without white space, quotes, braces, * and ?: one audience, \
             letter by letter"
        ));
    }
    if taker == Taker::Service && is_token_service(audience) {
        return Err(format!(
            "audience {audience:?} is a cloud's token service, which gives credentials for a token that grantd never sees: \
             name it in exchange_audiences if that is wanted"
        ));
    }
    Ok(())
}

/// The audiences that the clouds' token services take unless they are told otherwise (IAM User Guide, "Create an OpenID
/// Connect identity provider"; Microsoft Entra, "Workload identity federation"; Google Cloud, "Workload Identity Federation").
pub(crate) fn is_token_service(audience: &str) -> bool {
    let audience = audience.to_ascii_lowercase();
    let bare = audience.trim_start_matches("https:").trim_start_matches("//");
    bare == "sts.amazonaws.com"
        || bare.starts_with("sts.amazonaws.")
        || bare.starts_with("api://azureadtokenexchange")
        || bare.starts_with("iam.googleapis.com/")
        || bare.starts_with("sts.googleapis.com")
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
