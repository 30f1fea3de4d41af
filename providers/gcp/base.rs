//! The daemon's own token in one account: from the one configured source, kept until shortly before it ends, and never
//! looked for anywhere else.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use grantd_provider_api::{Assertion, Assertions, Clock, ErrorKind, ProviderError, Secret};
use jiff::Timestamp;
use serde::Deserialize;

use crate::config::{AccountConfig, BaseConfig};
use crate::http::{Ask, Http};
use crate::link::Link;
use crate::sts;

/// A token is renewed when less life than this remains.
const RENEW_BEFORE: Duration = Duration::from_secs(5 * 60);

/// How long an assertion is good for: it goes to Google at once.
pub(crate) const ASSERTION_LIFETIME: Duration = Duration::from_secs(60);

/// A source and what it gave last. Clones share what was fetched.
#[derive(Clone)]
pub(crate) struct Base(Arc<Inner>);

struct Inner {
    account: Arc<AccountConfig>,
    words: String,
    http: Http,
    clock: Arc<dyn Clock>,
    clock_skew: Duration,
    assertions: Arc<dyn Assertions>,
    operation: Duration,
    fetching: tokio::sync::Mutex<()>,
    current: Mutex<Option<(Arc<Secret>, Timestamp)>>,
}

impl fmt::Debug for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of account \"{}\"", self.0.words, self.0.account.name)
    }
}

#[derive(Deserialize)]
struct Metadata {
    access_token: String,
    expires_in: u64,
}

impl Base {
    /// The configured base of `account`. Sends nothing.
    pub fn new(
        account: &Arc<AccountConfig>,
        http: &Http,
        clock: &Arc<dyn Clock>,
        assertions: &Arc<dyn Assertions>,
        (operation, clock_skew): (Duration, Duration),
    ) -> Self {
        let words = match &account.base {
            BaseConfig::Assertion { subject } => format!("{}{subject}", account.subject_prefix()),
            BaseConfig::Metadata { .. } => "the service account of the metadata server".to_owned(),
        };
        Self(Arc::new(Inner {
            account: Arc::clone(account),
            words,
            http: http.clone(),
            clock: Arc::clone(clock),
            clock_skew,
            assertions: Arc::clone(assertions),
            operation,
            fetching: tokio::sync::Mutex::new(()),
            current: Mutex::new(None),
        }))
    }

    /// Whose token it is, in words.
    pub fn words(&self) -> &str {
        &self.0.words
    }

    /// Where our assertions say that they come from.
    pub fn issuer(&self) -> &str {
        self.0.assertions.issuer()
    }

    /// A token of a lease's own principal, or of the daemon's.
    pub async fn federated(&self, subject: &str) -> Result<sts::Token, ProviderError> {
        let audience = self.0.account.assertion_audience();
        let asked = Assertion { audience: &audience, subject, lifetime: ASSERTION_LIFETIME, claims: &[] };
        let assertion = self.0.assertions.mint(&asked)?;
        sts::federate(&self.link(), &format!("the subject {subject}"), &assertion).await
    }

    /// A token with some life left.
    ///
    /// # Errors
    /// `Config`, `Refused`, `Throttled` or `Unreachable`; never one that means that something may have been done with it.
    pub async fn token(&self) -> Result<Arc<Secret>, ProviderError> {
        if let Some(token) = self.fresh() {
            return Ok(token);
        }
        let work = async {
            let _one_at_a_time = self.0.fetching.lock().await;
            if let Some(token) = self.fresh() {
                return Ok(token);
            }
            let fetched = self.fetch().await?;
            let token = Arc::new(fetched.secret);
            *self.current() = Some((Arc::clone(&token), fetched.until));
            Ok(token)
        };
        let outcome = tokio::time::timeout(self.0.operation, work).await;
        outcome.unwrap_or_else(|_| Err(self.error(ErrorKind::Unreachable, "no answer in time"))).map_err(|error| {
            // Whatever became of the fetch: what the token was for has not been sent.
            let kind = if error.may_have_happened() { ErrorKind::Unreachable } else { error.kind };
            ProviderError::new(kind, error.message)
        })
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Option<(Arc<Secret>, Timestamp)>> {
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh(&self) -> Option<Arc<Secret>> {
        let soon = self.0.clock.now().checked_add(RENEW_BEFORE).ok()?;
        self.current().as_ref().filter(|(_, until)| soon < *until).map(|(token, _)| Arc::clone(token))
    }

    fn error(&self, kind: ErrorKind, what: &str) -> ProviderError {
        ProviderError::new(kind, format!("account \"{}\": token of {}: {what}", self.0.account.name, self.0.words))
    }

    fn link(&self) -> Link {
        Link {
            config: Arc::clone(&self.0.account),
            http: self.0.http.clone(),
            base: self.clone(),
            clock: Arc::clone(&self.0.clock),
            clock_skew: self.0.clock_skew,
        }
    }

    async fn fetch(&self) -> Result<sts::Token, ProviderError> {
        match &self.0.account.base {
            BaseConfig::Assertion { subject } => self.federated(subject).await,
            BaseConfig::Metadata { endpoint } => {
                let link = self.link();
                let call = link.call("metadata token", endpoint.as_str(), "the daemon");
                let url = format!("{endpoint}/computeMetadata/v1/instance/service-accounts/default/token");
                let before = self.0.clock.now();
                let ask = Ask { headers: &[("Metadata-Flavor", "Google")], ..Ask::get(url, None) };
                let body = self.0.http.fetch(&call, ask).await?;
                let taken: Metadata =
                    serde_json::from_slice(&body).map_err(|_| call.senseless("it has no token, or no end"))?;
                let until = before.checked_add(Duration::from_secs(taken.expires_in.min(86_400)));
                Ok(sts::Token { secret: Secret::new(taken.access_token), until: until.unwrap_or(before) })
            }
        }
    }
}
