//! The daemon's own word for who a session is, as clouds that federate with it want it.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::{ErrorKind, ProviderError, Secret};

/// What a token is to say.
#[derive(Debug, Clone)]
pub struct Assertion<'a> {
    /// For whom it is: exactly one audience.
    pub audience: &'a str,
    /// About whom: a slot, or a lease.
    pub subject: &'a str,
    /// How long it is good for. It never leaves the daemon but to the cloud that it is for, so a minute is enough.
    pub lifetime: Duration,
    /// Further claims. The standard ones cannot be set by this.
    pub claims: &'a [(&'a str, Value)],
}

/// Mints the daemon's own identity tokens: JSON Web Tokens, signed by a key that the cloud knows by the published key set.
pub trait Assertions: fmt::Debug + Send + Sync {
    /// The issuer's URL, as the cloud has it configured; empty where there is no issuer.
    fn issuer(&self) -> &str;

    /// A token that says so.
    ///
    /// # Errors
    /// `Config` when there is no issuer or no usable key; `Invalid` when a claim cannot be said.
    fn mint(&self, assertion: &Assertion<'_>) -> Result<Secret, ProviderError>;
}

/// Where no issuer is configured: it mints nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoAssertions;

impl Assertions for NoAssertions {
    fn issuer(&self) -> &str {
        ""
    }

    fn mint(&self, _: &Assertion<'_>) -> Result<Secret, ProviderError> {
        let why = "the daemon is no issuer of tokens: add [issuer] to grantd.toml";
        Err(ProviderError::new(ErrorKind::Config, why))
    }
}
