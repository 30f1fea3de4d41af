//! The Azure adapter: sessions are access tokens of a slot principal to which a role is assigned for the time of one lease,
//! and taken back by removing that assignment.
//!
//! A token of Azure's is its principal's, cannot be shortened and cannot be taken back. So each live lease has a service
//! principal of its own, a slot; what it can do stands in role assignments alone; and the slot rests until every token of
//! it is dead and the removal is felt everywhere. A slot is a deny scope with one place, so the store keeps all that.
//!
//! It never asks the environment: credentials, endpoints, proxies and certificate authorities come from grantd's
//! own configuration or not at all.
#![forbid(unsafe_code)]

mod account;
mod arm;
mod bootstrap;
mod cloud;
mod config;
mod credential;
mod delegation;
mod doctor;
mod error;
mod escalating;
mod http;
mod limits;
mod map;
mod names;
mod pim;
mod plan;
mod probe;
mod raw;
mod revoke;
mod session;
mod template;
#[cfg(test)]
mod testing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use grantd_provider_api::{
    AccountHealth, AccountNeeds, Assertions, Capabilities, CapabilityMap, Clock, Cloud, Confirmation, Credential,
    DenyEntry, DenyScope, Entitlement, ErrorKind, Finding, IssueRequest, Issued, Mark, Placement, Plan, Provider,
    ProviderError, Purpose, ResourceRef, RevokeReceipt, Target, Trial,
};
use jiff::Timestamp;

pub use crate::config::{Config, ConfigError};

use crate::account::Account;
use crate::http::Http;
use crate::plan::Native;
use crate::revoke::{Gone, principal};

/// The shortest access that is worth a role assignment.
const MIN_TTL: Duration = Duration::from_secs(1);

/// Azure, for every configured account.
#[derive(Debug)]
pub struct AzureProvider {
    accounts: BTreeMap<String, Account>,
    gone: Gone,
}

impl AzureProvider {
    /// Sets up the clients. Reads the certificate authorities; sends nothing.
    ///
    /// # Errors
    /// `Config` when there are no certificate authorities to trust, or an address cannot be used.
    pub fn new(config: Config, clock: Arc<dyn Clock>, assertions: Arc<dyn Assertions>) -> Result<Self, ProviderError> {
        let http = Http::new(&config)?;
        let mut accounts = BTreeMap::new();
        for (name, account) in &config.accounts {
            let account = Account::new(account.clone(), &config, &http, &clock, &assertions)?;
            accounts.insert(name.clone(), account);
        }
        Ok(Self { accounts, gone: Gone::default() })
    }

    fn account(&self, name: &str) -> Result<&Account, ProviderError> {
        self.accounts.get(name).ok_or_else(|| {
            ProviderError::new(ErrorKind::Config, format!("no azure account is configured under the name \"{name}\""))
        })
    }

    fn scope_account(&self, scope: &DenyScope) -> Result<&Account, ProviderError> {
        if scope.cloud == Cloud::Azure {
            // Configured, or once configured and still needed to take back what was issued on it.
            principal(&scope.name)?;
            return self.account(&scope.account);
        }
        Err(ProviderError::new(ErrorKind::Config, format!("{scope} is not in azure")))
    }
}

#[async_trait]
impl Provider for AzureProvider {
    fn cloud(&self) -> Cloud {
        Cloud::Azure
    }

    fn capabilities(&self, account: &str) -> Result<Capabilities, ProviderError> {
        let account = self.account(account)?;
        Ok(Capabilities {
            min_ttl: MIN_TTL,
            max_ttl: account.config.max_session,
            expected_propagation: account.config.propagation.expected,
            worst_propagation: account.config.propagation.worst,
            entry_grace: account.cool_down,
            // A slot has one lease: there is nothing to gather.
            batch_window: Duration::ZERO,
        })
    }

    fn check_map(&self, map: &CapabilityMap) -> Result<(), ProviderError> {
        map::check_map(map)
    }

    fn plan(&self, entitlement: &Entitlement, map: &CapabilityMap) -> Result<Plan, ProviderError> {
        plan::plan(&self.account(&entitlement.resource.account)?.config, entitlement, map)
    }

    /// One of the configured slots each; those on which something foreign was found come last.
    fn targets(&self, plan: &Plan) -> Result<Vec<Target>, ProviderError> {
        let account = self.account(&plan.account)?;
        let mut slots: Vec<_> =
            plan.targets.iter().filter_map(|name| account.slot(name)).map(|slot| slot.object_id).collect();
        slots.sort_by_key(|slot| account.is_avoided(*slot));
        let target = |slot: uuid::Uuid| {
            let name = slot.to_string();
            let scope = DenyScope { cloud: Cloud::Azure, account: account.config.name.clone(), name: name.clone() };
            Target { name, scope, capacity: 1 }
        };
        Ok(slots.into_iter().map(target).collect())
    }

    fn scopes(&self) -> Vec<DenyScope> {
        let of = |account: &Account| -> Vec<DenyScope> {
            let scope = |slot: &config::SlotConfig| DenyScope {
                cloud: Cloud::Azure,
                account: account.config.name.clone(),
                name: slot.object_id.to_string(),
            };
            account.config.slots.iter().map(scope).collect()
        };
        self.accounts.values().flat_map(of).collect()
    }

    fn capacity(&self, scope: &DenyScope) -> Result<u32, ProviderError> {
        self.scope_account(scope).map(|_| 1)
    }

    fn place(&self, request: &IssueRequest<'_>) -> Result<Placement, ProviderError> {
        let account = self.account(&request.plan.account)?;
        session::prepare(account, request).map(|prepared| prepared.placement())
    }

    async fn issue(&self, request: &IssueRequest<'_>) -> Result<Issued, ProviderError> {
        let account = self.account(&request.plan.account)?;
        account.admit()?;
        let outcome = session::issue(account, request).await;
        account.record(Purpose::Issue, &outcome);
        outcome
    }

    async fn deny(
        &self,
        scope: &DenyScope,
        entries: &[DenyEntry],
        _as_of: Timestamp,
    ) -> Result<RevokeReceipt, ProviderError> {
        let account = self.scope_account(scope)?;
        let outcome = revoke::deny(account, &self.gone, &scope.name, entries).await;
        account.record(Purpose::Revoke, &outcome);
        outcome
    }

    async fn confirm(&self, scope: &DenyScope, entries: &[DenyEntry]) -> Result<Vec<Confirmation>, ProviderError> {
        let account = self.scope_account(scope)?;
        let outcome = revoke::confirm(account, entries).await;
        account.record(Purpose::Revoke, &outcome);
        outcome
    }

    async fn marked(&self, scope: &DenyScope) -> Result<Vec<Mark>, ProviderError> {
        revoke::marked(self.scope_account(scope)?, &scope.name).await
    }

    async fn remove(&self, scope: &DenyScope, marks: &[Mark]) -> Result<(), ProviderError> {
        revoke::remove_marked(self.scope_account(scope)?, &scope.name, marks).await
    }

    fn health(&self) -> Vec<AccountHealth> {
        self.accounts.values().map(Account::health).collect()
    }

    fn bootstrap(&self, accounts: &[AccountNeeds]) -> Result<String, ProviderError> {
        let mut configured = Vec::new();
        for needs in accounts {
            let account = self.account(&needs.account)?;
            configured.push((&account.config, account.assertions.issuer(), needs));
        }
        bootstrap::terraform(&configured)
    }

    async fn examine(&self, account: &str, _resources: &[ResourceRef]) -> Result<Vec<Finding>, ProviderError> {
        Ok(doctor::examine(self.account(account)?).await)
    }

    fn harmless(&self, plan: &Plan) -> Option<String> {
        probe::harmless(&Native::of(plan).ok()?).map(str::to_owned)
    }

    async fn try_session(&self, plan: &Plan, credential: &Credential) -> Result<Trial, ProviderError> {
        probe::try_session(self.account(&plan.account)?, &Native::of(plan)?, credential).await
    }
}
