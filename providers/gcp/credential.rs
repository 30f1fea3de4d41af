//! The daemon's own token in one account, by `google-cloud-auth`: it fetches the token, keeps it, and renews it before it
//! ends. A lease's token does not come from here, since that library does not tell when a token ends.
//!
//! The library has no timeouts, renews on tasks of its own, and keeps an error that it thinks final for ever. So it
//! works on a runtime of its own, and after an error both are given up: whatever it had begun ends with them, and the
//! next call begins anew.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use google_cloud_auth::credentials::external_account::ProgrammaticBuilder;
use google_cloud_auth::credentials::subject_token::{self, SubjectToken, SubjectTokenProvider};
use google_cloud_auth::credentials::{CacheableResource, Credentials, mds};
use google_cloud_auth::errors::{CredentialsError, SubjectTokenProviderError};
use grantd_provider_api::{Assertion, Assertions, ErrorKind, ProviderError, Secret};
use reqwest::header::AUTHORIZATION;
use tokio::runtime::Runtime;

use crate::base::{ASSERTION_LIFETIME, SCOPE};
use crate::config::{AccountConfig, BaseConfig};
use crate::error::Call;

/// What the library wraps an answer's body into.
const BODY: &str = "body=<";

/// Where the daemon's own tokens come from. Shared by all calls of an account.
pub(crate) struct Credential {
    account: Arc<AccountConfig>,
    assertions: Arc<dyn Assertions>,
    patience: Duration,
    session: Mutex<Option<Arc<Session>>>,
}

/// The library at work.
struct Session {
    runtime: Option<Runtime>,
    credentials: Credentials,
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Credential {
    /// The configured one. Sends nothing, and starts nothing.
    pub fn new(account: &Arc<AccountConfig>, assertions: &Arc<dyn Assertions>, patience: Duration) -> Self {
        let (account, assertions) = (Arc::clone(account), Arc::clone(assertions));
        Self { account, assertions, patience, session: Mutex::default() }
    }

    /// A token with at least a few minutes of life left, unless Google gives out shorter ones.
    ///
    /// # Errors
    /// What `call` makes of it.
    pub async fn token(&self, call: &Call<'_>) -> Result<Secret, ProviderError> {
        let session = self.session(call)?;
        let headers = tokio::time::timeout(self.patience, session.credentials.headers(http::Extensions::new())).await;
        let outcome = match headers {
            Err(_) => Err(call.error(ErrorKind::Unreachable, "no answer in time")),
            Ok(Err(error)) => Err(told(call, &error)),
            Ok(Ok(CacheableResource::NotModified)) => Err(call.senseless("it has no token")),
            Ok(Ok(CacheableResource::New { data, .. })) => {
                bearer(&data).ok_or_else(|| call.senseless("it has no token"))
            }
        };
        if outcome.is_err() {
            self.forget(&session);
        }
        outcome
    }

    fn session(&self, call: &Call<'_>) -> Result<Arc<Session>, ProviderError> {
        let mut current = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = current.as_ref() {
            return Ok(Arc::clone(session));
        }
        let session = Arc::new(self.begin(call)?);
        *current = Some(Arc::clone(&session));
        Ok(session)
    }

    /// Gives up `session`, unless another call has already begun anew.
    fn forget(&self, session: &Arc<Session>) {
        let mut current = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|now| Arc::ptr_eq(now, session)) {
            *current = None;
        }
    }

    fn begin(&self, call: &Call<'_>) -> Result<Session, ProviderError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("gcp-credential")
            .enable_all()
            .build()
            .map_err(|error| call.error(ErrorKind::Unreachable, format!("no thread for it: {error}")))?;
        // What the library starts, it starts where it is built.
        let built = {
            let _inside = runtime.enter();
            match &self.account.base {
                BaseConfig::Assertion { subject } => {
                    let assertions = Arc::clone(&self.assertions);
                    let audience = self.account.assertion_audience();
                    ProgrammaticBuilder::new(Arc::new(Minter { assertions, audience, subject: subject.clone() }))
                        .with_audience(self.account.sts_audience())
                        .with_subject_token_type("urn:ietf:params:oauth:token-type:jwt")
                        .with_token_url(format!("{}/v1/token", self.account.service("sts.googleapis.com")))
                        .with_scopes([SCOPE])
                        .build()
                }
                BaseConfig::Metadata { endpoint } => {
                    mds::Builder::default().with_endpoint(endpoint.to_string()).with_scopes([SCOPE]).build()
                }
            }
        };
        match built {
            Ok(credentials) => Ok(Session { runtime: Some(runtime), credentials }),
            Err(_) => {
                runtime.shutdown_background();
                Err(call.error(ErrorKind::Config, "google-cloud-auth does not take the account's settings"))
            }
        }
    }
}

/// The token of `Authorization: Bearer ...`.
fn bearer(headers: &http::HeaderMap) -> Option<Secret> {
    let text = headers.get(AUTHORIZATION)?.to_str().ok()?;
    text.strip_prefix("Bearer ").filter(|token| !token.is_empty()).map(|token| Secret::new(token.to_owned()))
}

/// What an error of the library proves. Nothing of its text is repeated: it quotes the whole answer (promise P9).
fn told(call: &Call<'_>, error: &CredentialsError) -> ProviderError {
    let mut body: Option<String> = None;
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(NotMinted(error)) = error.downcast_ref() {
            return error.clone();
        }
        if let Some(error) = error.downcast_ref::<reqwest::Error>() {
            return match error.status() {
                Some(status) => call.answer(status.as_u16(), body.unwrap_or_default().as_bytes()),
                None if error.is_decode() => call.senseless("it has no token, or no end"),
                None => call.transport(error),
            };
        }
        let text = error.to_string();
        let quoted = text.split_once(BODY).and_then(|(_, rest)| rest.rsplit_once('>')).map(|(body, _)| body.to_owned());
        body = body.or(quoted);
        next = error.source();
    }
    call.senseless("google-cloud-auth cannot make a token of it")
}

/// Gives the library assertions of the daemon's own.
#[derive(Debug)]
struct Minter {
    assertions: Arc<dyn Assertions>,
    audience: String,
    subject: String,
}

impl SubjectTokenProvider for Minter {
    type Error = NotMinted;

    async fn subject_token(&self) -> Result<SubjectToken, NotMinted> {
        let (audience, subject) = (self.audience.as_str(), self.subject.as_str());
        let asked = Assertion { audience, subject, lifetime: ASSERTION_LIFETIME, claims: &[] };
        let minted = self.assertions.mint(&asked).map_err(NotMinted)?;
        Ok(subject_token::Builder::new(minted.expose()).build())
    }
}

/// There is no assertion.
#[derive(Debug)]
struct NotMinted(ProviderError);

impl fmt::Display for NotMinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for NotMinted {}

impl SubjectTokenProviderError for NotMinted {
    fn is_transient(&self) -> bool {
        false
    }
}

#[cfg(test)]
#[path = "credential_tests.rs"]
mod tests;
