//! The Google Cloud adapter: each lease is a principal of its own by workload identity federation, or a service account out
//! of a pool, and has its access by conditional bindings that are removed again.
//!
//! It never asks the environment: credentials, endpoints, proxies and certificate authorities come from grantd's
//! own configuration or not at all. Google's own client libraries look for each of these in the environment, keep tokens
//! and make new ones unasked, and tell no token's end: so the few calls are made here.
#![forbid(unsafe_code)]

mod account;
mod base;
mod bootstrap;
mod config;
mod credential;
mod doctor;
mod endpoint;
mod error;
mod escalating;
mod http;
mod limits;
mod link;
mod map;
mod plan;
mod policy;
mod pool;
mod probe;
mod raw;
mod resource;
mod revoke;
mod session;
mod sts;
#[cfg(test)]
mod testing;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use grantd_provider_api::{
    AccountHealth, AccountNeeds, Assertions, Capabilities, CapabilityMap, Carrier, Clock, Cloud, Confirmation,
    Credential, DenyEntry, DenyScope, Entitlement, ErrorKind, Finding, IssueRequest, Issued, Mark, Placement, Plan,
    Provider, ProviderError, Purpose, ResourceRef, RevokeReceipt, Target, Trial,
};
use jiff::Timestamp;

pub use crate::config::{Config, ConfigError};

use crate::account::{Account, ScopeKind};
use crate::http::Http;
use crate::limits::{ENTRY_GRACE, MAX_TOKEN, POLICY_PLACES};
use crate::plan::Native;

/// Google Cloud, for every configured account.
#[derive(Debug)]
pub struct GcpProvider {
    config: Config,
    accounts: BTreeMap<String, Account>,
}

impl GcpProvider {
    /// Sets up the clients. Reads the certificate authorities; sends nothing.
    ///
    /// # Errors
    /// `Config` when there are no certificate authorities to trust.
    pub fn new(config: Config, clock: Arc<dyn Clock>, assertions: Arc<dyn Assertions>) -> Result<Self, ProviderError> {
        let http = Http::new(&config)?;
        let made = |account: &config::AccountConfig| Account::new(account.clone(), &config, &http, &clock, &assertions);
        let accounts = config.accounts.iter().map(|(name, account)| (name.clone(), made(account))).collect();
        Ok(Self { config, accounts })
    }

    fn account(&self, name: &str) -> Result<&Account, ProviderError> {
        self.accounts.get(name).ok_or_else(|| {
            ProviderError::new(ErrorKind::Config, format!("no gcp account is configured under the name \"{name}\""))
        })
    }

    fn scope_account(&self, scope: &DenyScope) -> Result<&Account, ProviderError> {
        if scope.cloud == Cloud::Gcp {
            return self.account(&scope.account);
        }
        Err(ProviderError::new(ErrorKind::Config, format!("{scope} is not in gcp")))
    }
}

fn scope(account: &Account, name: String) -> DenyScope {
    DenyScope { cloud: Cloud::Gcp, account: account.config().name.clone(), name }
}

#[async_trait]
impl Provider for GcpProvider {
    fn cloud(&self) -> Cloud {
        Cloud::Gcp
    }

    fn capabilities(&self, account: &str) -> Result<Capabilities, ProviderError> {
        let account = self.account(account)?.config();
        Ok(Capabilities {
            min_ttl: account.share_expiry.max(Duration::from_secs(1)),
            max_ttl: MAX_TOKEN,
            expected_propagation: account.propagation.expected,
            worst_propagation: account.propagation.worst,
            entry_grace: ENTRY_GRACE,
            batch_window: self.config.batch_window,
        })
    }

    fn check_map(&self, map: &CapabilityMap) -> Result<(), ProviderError> {
        map::check_map(map)
    }

    fn plan(&self, entitlement: &Entitlement, map: &CapabilityMap) -> Result<Plan, ProviderError> {
        plan::plan(self.account(&entitlement.resource.account)?.config(), entitlement, map)
    }

    fn targets(&self, plan: &Plan) -> Result<Vec<Target>, ProviderError> {
        let account = self.account(&plan.account)?;
        let native = Native::of(plan)?;
        let policies: Vec<String> = native.policies()?.iter().map(ToString::to_string).collect();
        let config = account.config();
        let target = |name: &String| match native.carrier {
            Carrier::Principal => {
                (*name == config.pool_principal()).then(|| (scope(account, policies.join(", ")), POLICY_PLACES))
            }
            Carrier::ServiceAccount => {
                config.service_accounts.contains(name).then(|| (scope(account, format!("serviceAccount:{name}")), 1))
            }
        };
        let found = plan
            .targets
            .iter()
            .filter_map(|name| target(name).map(|(scope, capacity)| Target { name: name.clone(), scope, capacity }));
        Ok(found.collect())
    }

    /// The pool and the service accounts. The scopes of leases are the policies that their bindings stand in, which only
    /// their plans name.
    fn scopes(&self) -> Vec<DenyScope> {
        let of = |account: &Account| -> Vec<DenyScope> {
            let emails = account.config().service_accounts.iter().map(|email| format!("serviceAccount:{email}"));
            let names = emails.chain([account.config().pool_principal()]);
            names.map(|name| scope(account, name)).collect()
        };
        let mut scopes: Vec<DenyScope> = self.accounts.values().flat_map(of).collect();
        scopes.sort();
        scopes
    }

    fn capacity(&self, scope: &DenyScope) -> Result<u32, ProviderError> {
        Ok(match self.scope_account(scope)?.scope(&scope.name)? {
            ScopeKind::ServiceAccount(_) => 1,
            ScopeKind::Pool | ScopeKind::Policies(_) => POLICY_PLACES,
        })
    }

    fn place(&self, request: &IssueRequest<'_>) -> Result<Placement, ProviderError> {
        let account = self.account(&request.plan.account)?.config();
        session::prepare(&self.config, account, request).map(|prepared| prepared.placement())
    }

    async fn issue(&self, request: &IssueRequest<'_>) -> Result<Issued, ProviderError> {
        let account = self.account(&request.plan.account)?;
        account.admit()?;
        let outcome = session::issue(&self.config, account, request).await;
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
        let outcome = revoke::deny(account, entries).await;
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
        revoke::marked(self.scope_account(scope)?, scope).await
    }

    async fn remove(&self, scope: &DenyScope, marks: &[Mark]) -> Result<(), ProviderError> {
        revoke::remove(self.scope_account(scope)?, marks).await
    }

    fn health(&self) -> Vec<AccountHealth> {
        self.accounts.values().map(Account::health).collect()
    }

    fn bootstrap(&self, accounts: &[AccountNeeds]) -> Result<String, ProviderError> {
        let mut configured = Vec::new();
        for needs in accounts {
            configured.push((self.account(&needs.account)?, needs));
        }
        bootstrap::terraform(&configured, self.accounts.values().map(Account::config))
    }

    async fn examine(&self, account: &str, resources: &[ResourceRef]) -> Result<Vec<Finding>, ProviderError> {
        Ok(doctor::examine(self.account(account)?, resources).await)
    }

    fn harmless(&self, plan: &Plan) -> Option<String> {
        probe::harmless(plan)
    }

    async fn try_session(&self, plan: &Plan, credential: &Credential) -> Result<Trial, ProviderError> {
        let account = self.account(&plan.account)?;
        match credential {
            Credential::Gcp { access_token, .. } => probe::try_token(&account.link, plan, access_token).await,
            _ => Err(ProviderError::new(ErrorKind::Config, "this is no session of Google Cloud")),
        }
    }
}

#[cfg(test)]
#[path = "provider_tests.rs"]
mod tests;
