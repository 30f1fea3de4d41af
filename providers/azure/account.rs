//! One account's clients, health and breaker. Accounts share the HTTP client and nothing else: what goes wrong in one
//! does not touch another (promise P11).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use azure_core::credentials::TokenCredential;
use grantd_provider_api::{AccountHealth, Assertions, Clock, Cloud, ErrorKind, ProviderError};
use jiff::Timestamp;
use uuid::Uuid;

use crate::arm::Arm;
use crate::config::{AccountConfig, Config, SlotConfig, Timeouts};
use crate::credential;
use crate::http::Http;

/// After so many calls in a row without a usable answer, issuing fails at once for [`PAUSE`].
const BREAK_AFTER: u32 = 5;

/// How long issuing pauses; then one call tries whether the cloud is back.
const PAUSE: Duration = Duration::from_secs(5);

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
    health: Mutex<Health>,
    avoided: Mutex<BTreeMap<Uuid, Timestamp>>,
}

/// What a call was for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Service {
    Issue,
    Revoke,
}

#[derive(Debug, Default)]
struct Health {
    issue: Option<String>,
    revoke: Option<String>,
    silent: u32,
    paused_until: Option<Timestamp>,
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
            health: Mutex::default(),
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
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        match health.paused_until {
            Some(until) if now < until => Err(ProviderError::new(
                ErrorKind::Unreachable,
                format!(
                    "account \"{}\": paused after {} calls without an answer, nothing was sent: {}",
                    self.config.name,
                    health.silent,
                    health.issue.as_deref().unwrap_or("try again in a few seconds")
                ),
            )),
            Some(_) => {
                // This call tries; the others keep waiting.
                health.paused_until = now.checked_add(PAUSE).ok();
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Keeps what a call said about the account.
    pub fn record<T>(&self, service: Service, outcome: &Result<T, ProviderError>) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let error = match outcome {
            Ok(_) => None,
            // These say something of the request, not of the account.
            Err(error) if matches!(error.kind, ErrorKind::Invalid | ErrorKind::Unsupported | ErrorKind::Capacity) => {
                return;
            }
            Err(error) => Some(error),
        };
        match service {
            Service::Revoke => health.revoke = error.map(|error| error.message.clone()),
            Service::Issue => {
                health.issue = error.map(|error| error.message.clone());
                let silent = error.is_some_and(|e| matches!(e.kind, ErrorKind::Unknown | ErrorKind::Unreachable));
                health.silent = if silent { health.silent.saturating_add(1) } else { 0 };
                let pause = health.silent >= BREAK_AFTER;
                health.paused_until = if pause { self.clock.now().checked_add(PAUSE).ok() } else { None };
            }
        }
    }

    /// How the account is doing.
    pub fn health(&self) -> AccountHealth {
        let health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let errors: Vec<&str> = [&health.issue, &health.revoke].into_iter().flatten().map(String::as_str).collect();
        AccountHealth {
            cloud: Cloud::Azure,
            account: self.config.name.clone(),
            last_error: (!errors.is_empty()).then(|| errors.join("; ")),
        }
    }
}
