//! One account's clients, health and breaker. Accounts share the HTTP client and nothing else: what goes wrong in one
//! does not touch another (promise P11).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use azure_core::credentials::TokenCredential;
use grantd_provider_api::setting::Timeouts;
use grantd_provider_api::{AccountHealth, Assertions, Breaker, Clock, Cloud, ProviderError, Purpose};
use jiff::Timestamp;
use uuid::Uuid;

use crate::arm::Arm;
use crate::config::{AccountConfig, Config, SlotConfig};
use crate::credential;
use crate::http::Http;

/// How long a slot on which something foreign was found is chosen last.
const AVOID: Duration = Duration::from_secs(5 * 60);

/// One account at work.
#[derive(Debug)]
pub(crate) struct Account {
    pub config: AccountConfig,
    pub clock: Arc<dyn Clock>,
    pub http: Http,
    pub assertions: Arc<dyn Assertions>,
    /// The daemon's own credential.
    pub base: Arc<dyn TokenCredential>,
    pub arm: Arm,
    pub timeouts: Timeouts,
    pub readiness: Duration,
    pub cool_down: Duration,
    breaker: Breaker,
    avoided: Mutex<BTreeMap<Uuid, Timestamp>>,
}

impl Account {
    /// Sets up the clients. Sends nothing.
    ///
    /// # Errors
    /// `Config` when the SDK does not take an address.
    pub fn new(
        config: AccountConfig,
        all: &Config,
        http: &Http,
        clock: &Arc<dyn Clock>,
        assertions: &Arc<dyn Assertions>,
    ) -> Result<Self, ProviderError> {
        let base = credential::base(&config, http, assertions)?;
        Ok(Self {
            arm: Arm::new(&config, http, Arc::clone(&base), clock, all.timeouts),
            base,
            config,
            clock: Arc::clone(clock),
            http: http.clone(),
            assertions: Arc::clone(assertions),
            timeouts: all.timeouts,
            readiness: all.readiness,
            cool_down: all.cool_down,
            breaker: Breaker::default(),
            avoided: Mutex::default(),
        })
    }

    /// The configured slot of that name.
    pub fn slot(&self, object_id: &str) -> Option<&SlotConfig> {
        self.config.slots.iter().find(|slot| slot.object_id.to_string() == object_id)
    }

    /// Has a slot chosen last for a while: something stands on it that is not ours.
    pub fn avoid(&self, slot: Uuid) {
        let until = self.clock.now().checked_add(AVOID).unwrap_or(Timestamp::MAX);
        self.avoided.lock().unwrap_or_else(PoisonError::into_inner).insert(slot, until);
    }

    /// Whether a slot is to be chosen last now.
    pub fn is_avoided(&self, slot: Uuid) -> bool {
        let avoided = self.avoided.lock().unwrap_or_else(PoisonError::into_inner);
        avoided.get(&slot).is_some_and(|until| self.clock.now() < *until)
    }

    /// Refuses at once while the account is known to be silent. Revoking is never refused.
    ///
    /// # Errors
    /// `Unreachable`: nothing is sent.
    pub fn admit(&self) -> Result<(), ProviderError> {
        self.breaker.admit(&self.config.name, self.clock.now())
    }

    /// Keeps what a call said about the account.
    pub fn record<T>(&self, purpose: Purpose, outcome: &Result<T, ProviderError>) {
        self.breaker.record(purpose, outcome, self.clock.now());
    }

    /// How the account is doing.
    pub fn health(&self) -> AccountHealth {
        let (account, last_error) = (self.config.name.clone(), self.breaker.last_error());
        AccountHealth { cloud: Cloud::Azure, account, last_error }
    }
}
