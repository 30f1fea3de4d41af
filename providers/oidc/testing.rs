//! What the tests of this crate have in common.

use std::sync::Mutex;
use std::time::Duration;

use grantd_provider_api::{
    CapabilityMap, Cloud, Entitlement, ErrorKind, Narrowing, Passport, Passports, ProviderError, ResourceRef, Secret,
    Signed,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::config::Config;

pub(crate) const ISSUER: &str = "https://tokens.example.com/grantd-oidc";

/// An account with one audience that takes tokens as they are, and one that exchanges them.
pub(crate) fn config() -> Config {
    toml::from_str(
        "[[account]]\nname = \"services\"\nsubject = \"acme\"\naudiences = [\"https://billing.example.com\"]\n\
         exchange_audiences = [\"sts.amazonaws.com\"]",
    )
    .unwrap()
}

pub(crate) fn shipped_map() -> CapabilityMap {
    toml::from_str(include_str!("../../config/entitlements/oidc.toml")).unwrap()
}

pub(crate) fn entitlement(capability: &str, audience: &str) -> Entitlement {
    Entitlement {
        capability: capability.parse().unwrap(),
        resource: ResourceRef {
            cloud: Cloud::Oidc,
            account: "services".to_owned(),
            kind: "oidc-audience".to_owned(),
            native: audience.to_owned(),
        },
        narrowing: Narrowing::default(),
    }
}

/// Keeps what it was asked to sign; signs nothing after `broken`.
#[derive(Debug, Default)]
pub(crate) struct Minter {
    pub asked: Mutex<Vec<(Timestamp, Value)>>,
    pub broken: bool,
}

impl Passports for Minter {
    fn url(&self) -> &str {
        ISSUER
    }

    fn longest(&self) -> Duration {
        Duration::from_secs(3_600)
    }

    fn sign(&self, passport: &Passport<'_>) -> Result<Signed, ProviderError> {
        if self.broken {
            return Err(ProviderError::new(ErrorKind::Config, "it has no key that signs"));
        }
        let mut said = json!({ "jti": passport.id, "aud": passport.audience, "sub": passport.subject });
        for (name, value) in passport.claims {
            said[*name] = value.clone();
        }
        self.asked.lock().unwrap().push((passport.until, said));
        Ok(Signed { token: Secret::new("signed".to_owned()), key: "key-1".to_owned() })
    }
}
