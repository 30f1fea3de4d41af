//! One account's clients, writers, health and breaker. Accounts share the HTTP client and nothing else: what goes wrong in
//! one does not touch another (promise P11).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use grantd_provider_api::{AccountHealth, Assertions, Breaker, Clock, Cloud, ErrorKind, ProviderError, Purpose};

use crate::base::Base;
use crate::config::{AccountConfig, Config};
use crate::http::Http;
use crate::link::Link;
use crate::resource::Resource;
use crate::writer::{Change, Done, Pace, Writer};

/// What the name of a scope stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ScopeKind {
    /// The whole pool: for the sweep alone, no lease has it.
    Pool,
    /// A service account, which carries one lease at a time.
    ServiceAccount(String),
    /// The policies that principals of leases are bound in.
    Policies(Vec<Resource>),
}

/// One account at work.
#[derive(Debug)]
pub(crate) struct Account {
    pub link: Link,
    write_interval: Duration,
    operation: Duration,
    pace: Arc<Pace>,
    writers: Mutex<BTreeMap<Resource, Arc<Writer>>>,
    breaker: Breaker,
}

impl Account {
    /// Sets up the account. Sends nothing.
    pub fn new(
        config: AccountConfig,
        all: &Config,
        http: &Http,
        clock: &Arc<dyn Clock>,
        assertions: &Arc<dyn Assertions>,
    ) -> Self {
        let config = Arc::new(config);
        let base = Base::new(&config, http, clock, assertions, (all.timeouts.operation, all.clock_skew));
        let (http, clock) = (http.clone(), Arc::clone(clock));
        Self {
            link: Link { config, http, base, clock, clock_skew: all.clock_skew },
            write_interval: all.write_interval,
            operation: all.timeouts.operation,
            pace: Arc::default(),
            writers: Mutex::default(),
            breaker: Breaker::default(),
        }
    }

    /// Its configuration.
    pub fn config(&self) -> &AccountConfig {
        &self.link.config
    }

    /// Has a policy changed by its one writer, which goes on when the time for it is over.
    ///
    /// # Errors
    /// As [`Writer::change`]; `Unknown` when it took too long.
    pub async fn change(&self, policy: &Resource, change: Change) -> Result<Done, ProviderError> {
        let writer = self.writer(policy);
        let changed = writer.change(change);
        tokio::time::timeout(self.operation, changed).await.unwrap_or_else(|_| {
            let text = format!(
                "account \"{}\": changing the policy of {policy} takes too long; whether it is done is unknown",
                self.config().name
            );
            Err(ProviderError::new(ErrorKind::Unknown, text))
        })
    }

    fn writer(&self, policy: &Resource) -> Arc<Writer> {
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        let new =
            || Arc::new(Writer::new(self.link.clone(), policy.clone(), self.write_interval, Arc::clone(&self.pace)));
        Arc::clone(writers.entry(policy.clone()).or_insert_with(new))
    }

    /// The policies that were worked on since the start.
    pub fn known_policies(&self) -> BTreeSet<Resource> {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// What a scope stands for: configured, or once configured and still needed to take back what was issued under it.
    ///
    /// # Errors
    /// `Config` when it is none of this account.
    pub fn scope(&self, name: &str) -> Result<ScopeKind, ProviderError> {
        if name == self.config().pool_principal() {
            return Ok(ScopeKind::Pool);
        }
        if let Some(email) = name.strip_prefix("serviceAccount:") {
            return Ok(ScopeKind::ServiceAccount(email.to_owned()));
        }
        let policies: Option<Vec<Resource>> = name.split(", ").map(|policy| policy.parse().ok()).collect();
        policies.map(ScopeKind::Policies).ok_or_else(|| {
            let text = format!("account \"{}\": {name:?} is no scope of the gcp adapter", self.config().name);
            ProviderError::new(ErrorKind::Config, text)
        })
    }

    /// Refuses at once while the account is known to be silent. Revoking is never refused.
    ///
    /// # Errors
    /// `Unreachable`: nothing is sent.
    pub fn admit(&self) -> Result<(), ProviderError> {
        self.breaker.admit(&self.config().name, self.link.clock.now())
    }

    /// Keeps what a call said about the account.
    pub fn record<T>(&self, purpose: Purpose, outcome: &Result<T, ProviderError>) {
        // What is not there says nothing of the account.
        if !matches!(outcome, Err(error) if error.kind == ErrorKind::NotFound) {
            self.breaker.record(purpose, outcome, self.link.clock.now());
        }
    }

    /// How the account is doing.
    pub fn health(&self) -> AccountHealth {
        let (account, last_error) = (self.config().name.clone(), self.breaker.last_error());
        AccountHealth { cloud: Cloud::Gcp, account, last_error }
    }
}
