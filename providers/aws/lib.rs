//! The AWS adapter: sessions by `AssumeRole` with an inline session policy, taken back by a permissions boundary or, where
//! configured, by an inline policy of the role.
//!
//! It never asks the environment: credentials, endpoints, proxies and certificate authorities come from grantd's
//! own configuration or not at all.
#![forbid(unsafe_code)]

mod account;
mod alarms;
mod arn;
mod base;
mod bootstrap;
mod boundary;
mod config;
mod denials;
mod doctor;
mod document;
mod endpoint;
mod error;
mod federation;
mod hcl;
mod http;
mod inline;
mod limits;
mod map;
mod names;
mod narrow;
mod plan;
mod probe;
mod raw;
mod resource_policy;
mod revoke;
mod rights;
mod session;
mod sign;
#[cfg(test)]
mod testing;
mod trust;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use grantd_provider_api::{
    AccountHealth, AccountNeeds, Assertions, Capabilities, CapabilityMap, Clock, Cloud, Confirmation, Credential,
    DenyEntry, DenyScope, Entitlement, ErrorKind, Finding, IssueRequest, Issued, Mark, Placement, Plan, Provider,
    ProviderError, Purpose, ResourceRef, RevokeReceipt, Target, Trial,
};
use jiff::Timestamp;

pub use crate::arn::{Arn, ArnError};
pub use crate::config::{Config, ConfigError};

use crate::account::Account;
use crate::http::Http;
use crate::limits::{ENTRY_GRACE, MIN_SESSION};

/// AWS, for every configured account.
#[derive(Debug)]
pub struct AwsProvider {
    config: Config,
    http: Http,
    accounts: BTreeMap<String, Account>,
    issuer: String,
}

impl AwsProvider {
    /// Sets up the clients. Reads the certificate authorities; sends nothing.
    ///
    /// # Errors
    /// `Config` when there are no certificate authorities to trust, or an account is to be used with tokens of the daemon's
    /// own and there are none.
    pub fn new(config: Config, clock: Arc<dyn Clock>, assertions: Arc<dyn Assertions>) -> Result<Self, ProviderError> {
        let tokens = config.accounts.values().find(|account| account.web_identity.is_some());
        if let (Some(account), "") = (tokens, assertions.issuer()) {
            let text = format!("account \"{}\": issue = \"web_identity\" needs [issuer] in grantd.toml", account.name);
            return Err(ProviderError::new(ErrorKind::Config, text));
        }
        let http = Http::new(&config)?;
        let accounts = config
            .accounts
            .iter()
            .map(|(name, account)| (name.clone(), Account::new(account.clone(), &config, &http, &clock, &assertions)))
            .collect();
        Ok(Self { config, http, accounts, issuer: assertions.issuer().to_owned() })
    }

    fn account(&self, name: &str) -> Result<&Account, ProviderError> {
        self.accounts.get(name).ok_or_else(|| {
            ProviderError::new(ErrorKind::Config, format!("no aws account is configured under the name \"{name}\""))
        })
    }

    fn scope_account(&self, scope: &DenyScope) -> Result<&Account, ProviderError> {
        if scope.cloud == Cloud::Aws {
            return self.account(&scope.account);
        }
        Err(ProviderError::new(ErrorKind::Config, format!("{scope} is not in aws")))
    }
}

#[async_trait]
impl Provider for AwsProvider {
    fn cloud(&self) -> Cloud {
        Cloud::Aws
    }

    fn capabilities(&self, account: &str) -> Result<Capabilities, ProviderError> {
        let account = &self.account(account)?.config;
        Ok(Capabilities {
            min_ttl: std::time::Duration::from_secs(1),
            max_ttl: account.roles.iter().map(|role| role.max_session).max().unwrap_or(MIN_SESSION),
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
        plan::plan(&self.account(&entitlement.resource.account)?.config, entitlement, map)
    }

    fn targets(&self, plan: &Plan) -> Result<Vec<Target>, ProviderError> {
        let account = self.account(&plan.account)?;
        let configured = |name: &String| account.config.roles.iter().find(|role| role.arn.as_str() == name.as_str());
        let target = |role: &config::RoleConfig| {
            let (account_name, name) = (account.config.name.clone(), role.scope_name().to_owned());
            let capacity = account.revoker(&name)?.capacity();
            let scope = DenyScope { cloud: Cloud::Aws, account: account_name, name };
            Ok(Target { name: role.arn.to_string(), scope, capacity })
        };
        plan.targets.iter().filter_map(configured).map(target).collect()
    }

    fn scopes(&self) -> Vec<DenyScope> {
        let of = |account: &Account| -> Vec<DenyScope> {
            let name = &account.config.name;
            let scope =
                |document: &str| DenyScope { cloud: Cloud::Aws, account: name.clone(), name: document.to_owned() };
            account.config.roles.iter().map(|role| scope(role.scope_name())).collect()
        };
        let mut scopes: Vec<DenyScope> = self.accounts.values().flat_map(of).collect();
        scopes.sort();
        scopes.dedup();
        scopes
    }

    fn capacity(&self, scope: &DenyScope) -> Result<u32, ProviderError> {
        Ok(self.scope_account(scope)?.revoker(&scope.name)?.capacity())
    }

    fn place(&self, request: &IssueRequest<'_>) -> Result<Placement, ProviderError> {
        let account = &self.account(&request.plan.account)?.config;
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
        as_of: Timestamp,
    ) -> Result<RevokeReceipt, ProviderError> {
        let account = self.scope_account(scope)?;
        let outcome = account.revoker(&scope.name)?.deny(entries, as_of).await;
        account.record(Purpose::Revoke, &outcome);
        outcome
    }

    async fn confirm(&self, scope: &DenyScope, entries: &[DenyEntry]) -> Result<Vec<Confirmation>, ProviderError> {
        let account = self.scope_account(scope)?;
        let outcome = account.revoker(&scope.name)?.confirm(entries).await;
        account.record(Purpose::Revoke, &outcome);
        outcome
    }

    /// Nothing of a lease stays in an account but its line in a deny document, and that is rendered anew each time.
    async fn marked(&self, scope: &DenyScope) -> Result<Vec<Mark>, ProviderError> {
        self.scope_account(scope)?.revoker(&scope.name).map(|_| Vec::new())
    }

    async fn remove(&self, scope: &DenyScope, _marks: &[Mark]) -> Result<(), ProviderError> {
        self.scope_account(scope)?.revoker(&scope.name).map(|_| ())
    }

    fn health(&self) -> Vec<AccountHealth> {
        self.accounts.values().map(Account::health).collect()
    }

    fn bootstrap(&self, accounts: &[AccountNeeds]) -> Result<String, ProviderError> {
        let mut configured = Vec::new();
        for needs in accounts {
            configured.push((&self.account(&needs.account)?.config, needs));
        }
        bootstrap::terraform(&configured, &self.issuer)
    }

    async fn examine(&self, account: &str, resources: &[ResourceRef]) -> Result<Vec<Finding>, ProviderError> {
        let account = self.account(account)?;
        let mut findings = doctor::examine(account, self.config.clock_skew).await;
        resource_policy::examine(account, &self.http, resources, &mut findings).await;
        Ok(findings)
    }

    fn harmless(&self, plan: &Plan) -> Option<String> {
        probe::harmless(plan).map(|(action, _)| action.to_owned())
    }

    async fn try_session(&self, plan: &Plan, credential: &Credential) -> Result<Trial, ProviderError> {
        probe::probe(self.account(&plan.account)?, &self.http, plan, credential).await
    }
}

#[cfg(test)]
#[path = "provider_tests.rs"]
mod tests;
