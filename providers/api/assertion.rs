//! The daemon's own word for who a session is: as clouds that federate with it want it, and as tokens that are handed out.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
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

/// What a token that is handed out is to say.
#[derive(Debug, Clone)]
pub struct Passport<'a> {
    /// Its name, the claim `jti`: the lease's.
    pub id: &'a str,
    /// For whom it is: exactly one audience.
    pub audience: &'a str,
    /// About whom.
    pub subject: &'a str,
    /// When it ends, to the second. It never ends later, however long its making takes.
    pub until: Timestamp,
    /// Further claims. The standard ones cannot be set by this.
    pub claims: &'a [(&'a str, Value)],
}

/// A token that is handed out.
#[derive(Debug)]
pub struct Signed {
    /// Secret.
    pub token: Secret,
    /// The id of the key that signed it.
    pub key: String,
}

/// Mints tokens that leave the daemon. They are of an issuer of their own, which no cloud trusts for the daemon's sake: see
/// [`Assertions`] for the one that clouds do.
pub trait Passports: fmt::Debug + Send + Sync {
    /// The issuer's URL, as verifiers have it configured.
    fn url(&self) -> &str;

    /// The longest that a token can be made for.
    fn longest(&self) -> Duration;

    /// A token that says so.
    ///
    /// # Errors
    /// `Config` when there is no usable key; `Invalid` when a claim cannot be said, or the token would end too late or is
    /// over already. Nothing was made then.
    fn sign(&self, passport: &Passport<'_>) -> Result<Signed, ProviderError>;
}
