//! What an account's calls said last, and the pause that a silent one is given. Every adapter has one for each account.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::{ErrorKind, ProviderError};

/// After so many issues in a row without a usable answer, issuing fails at once for [`PAUSE`].
pub const BREAK_AFTER: u32 = 5;

/// How long issuing fails at once before one call tries again.
pub const PAUSE: Duration = Duration::from_secs(5);

/// What a call was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To make a session: refused at once while the account is silent.
    Issue,
    /// To take one back, or to see that it is: always tried.
    Revoke,
}

/// One account's health.
#[derive(Debug, Default)]
pub struct Breaker(Mutex<Health>);

#[derive(Debug, Default)]
struct Health {
    /// The last error of each purpose that has not been followed by a success.
    issue: Option<String>,
    revoke: Option<String>,
    silent: u32,
    paused_until: Option<Timestamp>,
}

impl Breaker {
    /// Refuses at once while the account is known to be silent. Revoking is never refused.
    ///
    /// # Errors
    /// `Unreachable`: nothing is sent.
    pub fn admit(&self, account: &str, now: Timestamp) -> Result<(), ProviderError> {
        let mut health = self.health();
        match health.paused_until {
            Some(until) if now < until => Err(ProviderError::new(
                ErrorKind::Unreachable,
                format!(
                    "account \"{account}\": paused after {} calls without an answer, nothing was sent: {}",
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
    pub fn record<T>(&self, purpose: Purpose, outcome: &Result<T, ProviderError>, now: Timestamp) {
        let error = outcome.as_ref().err();
        // These say something of the request, not of the account.
        let of_request =
            |e: &ProviderError| matches!(e.kind, ErrorKind::Invalid | ErrorKind::Unsupported | ErrorKind::Capacity);
        if error.is_some_and(of_request) {
            return;
        }
        let mut health = self.health();
        let message = error.map(|error| error.message.clone());
        match purpose {
            Purpose::Revoke => health.revoke = message,
            Purpose::Issue => {
                health.issue = message;
                let silent = error.is_some_and(|e| matches!(e.kind, ErrorKind::Unknown | ErrorKind::Unreachable));
                health.silent = if silent { health.silent.saturating_add(1) } else { 0 };
                let pause = health.silent >= BREAK_AFTER;
                health.paused_until = if pause { now.checked_add(PAUSE).ok() } else { None };
            }
        }
    }

    /// The errors that have not been followed by a success, if any.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        let health = self.health();
        let errors: Vec<&str> = [&health.issue, &health.revoke].into_iter().flatten().map(String::as_str).collect();
        (!errors.is_empty()).then(|| errors.join("; "))
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
