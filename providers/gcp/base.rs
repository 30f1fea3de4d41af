//! Who the daemon is in one account: its own token, and assertions exchanged for the tokens of leases' principals.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use grantd_provider_api::{Assertion, Assertions, Clock, ErrorKind, ProviderError, Secret};

use crate::config::{AccountConfig, BaseConfig};
use crate::credential::Credential;
use crate::http::Http;
use crate::link::Link;
use crate::sts;

/// Everything that IAM allows, and nothing that it does not: bindings narrow, scopes do not.
pub(crate) const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// How long an assertion is good for: it goes to Google at once.
pub(crate) const ASSERTION_LIFETIME: Duration = Duration::from_secs(60);

/// The daemon in an account. Clones share what was fetched.
#[derive(Clone)]
pub(crate) struct Base(Arc<Inner>);

struct Inner {
    account: Arc<AccountConfig>,
    words: String,
    http: Http,
    clock: Arc<dyn Clock>,
    clock_skew: Duration,
    assertions: Arc<dyn Assertions>,
    own: Credential,
}

impl fmt::Debug for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of account \"{}\"", self.0.words, self.0.account.name)
    }
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
            own: Credential::new(account, assertions, operation),
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

    /// A token of the daemon's own, with some life left.
    ///
    /// # Errors
    /// `Config`, `Refused`, `Throttled` or `Unreachable`; never one that means that something may have been done with it.
    pub async fn token(&self) -> Result<Secret, ProviderError> {
        let link = self.link();
        self.0.own.token(&link.call("the token", self.words(), self.words())).await.map_err(|error| {
            // Whatever became of the fetch: what the token was for has not been sent.
            let kind = if error.may_have_happened() { ErrorKind::Unreachable } else { error.kind };
            ProviderError::new(kind, error.message)
        })
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
}
