//! The adapter for tokens of the daemon's own: a lease is a JSON Web Token for one configured audience, signed by an issuer
//! that no cloud trusts for the daemon's sake.
//!
//! It asks nobody, so nothing of it can be slow, late or unknown. What it hands out, nobody can take back: it says so in its
//! plans and capabilities, and never confirms a denial.
#![forbid(unsafe_code)]

mod bootstrap;
mod config;
mod doctor;
mod limits;
mod map;
mod plan;
mod raw;
mod revoke;
mod session;
#[cfg(test)]
mod testing;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use grantd_provider_api::{
    AccountHealth, AccountNeeds, Capabilities, CapabilityMap, Cloud, Confirmation, Credential, DenyEntry, DenyScope,
    Entitlement, ErrorKind, Finding, IssueRequest, Issued, Mark, Passports, Placement, Plan, Provider, ProviderError,
    ResourceRef, RevokeReceipt, Target, Trial,
};
use jiff::Timestamp;

pub use crate::config::{Config, ConfigError};

use crate::config::AccountConfig;
use crate::limits::{MIN_TTL, PLACES};

/// Tokens of the daemon's own, for every configured account.
#[derive(Debug)]
pub struct OidcProvider {
    config: Config,
    passports: Arc<dyn Passports>,
}

impl OidcProvider {
    /// Tokens as `config` says, signed by `passports`.
    ///
    /// # Errors
    /// `Config` when a token could be configured to live longer than one can be signed for.
    pub fn new(config: Config, passports: Arc<dyn Passports>) -> Result<Self, ProviderError> {
        if config.longest() > passports.longest() {
            let text =
                format!("oidc: its issuer signs for {} s at most: lower max_lifetime", passports.longest().as_secs());
            return Err(ProviderError::new(ErrorKind::Config, text));
        }
        Ok(Self { config, passports })
    }

    fn account(&self, name: &str) -> Result<&AccountConfig, ProviderError> {
        self.config.accounts.get(name).ok_or_else(|| {
            ProviderError::new(ErrorKind::Config, format!("no oidc account is configured under the name \"{name}\""))
        })
    }

    fn checked(&self, scope: &DenyScope) -> Result<(), ProviderError> {
        if scope.cloud == Cloud::Oidc {
            return self.account(&scope.account).map(|_| ());
        }
        Err(ProviderError::new(ErrorKind::Config, format!("{scope} is not in oidc")))
    }

    /// One for each account: nothing is ever written there.
    fn scope(&self, account: &AccountConfig) -> DenyScope {
        DenyScope { cloud: Cloud::Oidc, account: account.name.clone(), name: self.passports.url().to_owned() }
    }
}

#[async_trait]
impl Provider for OidcProvider {
    fn cloud(&self) -> Cloud {
        Cloud::Oidc
    }

    fn capabilities(&self, account: &str) -> Result<Capabilities, ProviderError> {
        Ok(Capabilities {
            min_ttl: MIN_TTL,
            max_ttl: self.account(account)?.max_lifetime,
            // Nothing is denied, so nothing spreads.
            expected_propagation: Duration::ZERO,
            worst_propagation: Duration::ZERO,
            entry_grace: Duration::ZERO,
            batch_window: Duration::ZERO,
        })
    }

    fn check_map(&self, map: &CapabilityMap) -> Result<(), ProviderError> {
        map::check_map(map)
    }

    fn plan(&self, entitlement: &Entitlement, map: &CapabilityMap) -> Result<Plan, ProviderError> {
        plan::plan(self.account(&entitlement.resource.account)?, self.passports.url(), entitlement, map)
    }

    fn targets(&self, plan: &Plan) -> Result<Vec<Target>, ProviderError> {
        let account = self.account(&plan.account)?;
        let ours = plan.targets.iter().filter(|name| *name == self.passports.url());
        Ok(ours.map(|name| Target { name: name.clone(), scope: self.scope(account), capacity: PLACES }).collect())
    }

    fn scopes(&self) -> Vec<DenyScope> {
        self.config.accounts.values().map(|account| self.scope(account)).collect()
    }

    fn capacity(&self, scope: &DenyScope) -> Result<u32, ProviderError> {
        self.checked(scope).map(|()| PLACES)
    }

    fn place(&self, request: &IssueRequest<'_>) -> Result<Placement, ProviderError> {
        let account = self.account(&request.plan.account)?;
        session::prepare(account, self.passports.url(), request).map(|(_, placement)| placement)
    }

    async fn issue(&self, request: &IssueRequest<'_>) -> Result<Issued, ProviderError> {
        session::issue(self.account(&request.plan.account)?, self.passports.as_ref(), request)
    }

    async fn deny(
        &self,
        scope: &DenyScope,
        entries: &[DenyEntry],
        _as_of: Timestamp,
    ) -> Result<RevokeReceipt, ProviderError> {
        self.checked(scope)?;
        revoke::deny(entries)
    }

    async fn confirm(&self, scope: &DenyScope, entries: &[DenyEntry]) -> Result<Vec<Confirmation>, ProviderError> {
        self.checked(scope)?;
        Ok(revoke::confirm(entries))
    }

    /// Nothing of a token is anywhere but with its holder.
    async fn marked(&self, scope: &DenyScope) -> Result<Vec<Mark>, ProviderError> {
        self.checked(scope).map(|()| Vec::new())
    }

    async fn remove(&self, scope: &DenyScope, _marks: &[Mark]) -> Result<(), ProviderError> {
        self.checked(scope)
    }

    fn health(&self) -> Vec<AccountHealth> {
        let well = |account: &AccountConfig| AccountHealth {
            cloud: Cloud::Oidc,
            account: account.name.clone(),
            last_error: None,
        };
        self.config.accounts.values().map(well).collect()
    }

    fn bootstrap(&self, accounts: &[AccountNeeds]) -> Result<String, ProviderError> {
        let mut configured = Vec::new();
        for needs in accounts {
            configured.push((self.account(&needs.account)?, needs));
        }
        Ok(bootstrap::page(&configured, self.passports.url()))
    }

    async fn examine(&self, account: &str, resources: &[ResourceRef]) -> Result<Vec<Finding>, ProviderError> {
        Ok(doctor::examine(self.account(account)?, resources))
    }

    /// A denial cannot be seen to work where there is none.
    fn harmless(&self, _plan: &Plan) -> Option<String> {
        None
    }

    async fn try_session(&self, _plan: &Plan, _credential: &Credential) -> Result<Trial, ProviderError> {
        Err(ProviderError::new(ErrorKind::Unsupported, "whoever takes a token is not the daemon's to ask"))
    }
}

#[cfg(test)]
#[path = "provider_tests.rs"]
mod tests;
