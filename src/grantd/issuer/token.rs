//! What a token says. Pure.

use std::time::Duration;

use grantd_model::KeyLife;
use grantd_provider_api::{Assertion, ErrorKind, Passport, ProviderError};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// The claims that only the issuer sets (RFC 7519, section 4.1).
const STANDARD: [&str; 7] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];

/// How long before its making a token is dated, so that a verifier whose clock is a little late does not take it for one of
/// the future. It is part of the token's life, and lengthens it by nothing.
const BACK: Duration = Duration::from_secs(5);

/// The longest audience and subject, in bytes: those of OpenID Connect have no bound but the subject's 255 characters.
const LONGEST_TEXT: usize = 255;

/// The claims of a token for a cloud, checked.
pub(super) fn claims(
    issuer: &str,
    asked: &Assertion<'_>,
    life: &KeyLife,
    now: Timestamp,
    id: Uuid,
) -> Result<Map<String, Value>, ProviderError> {
    named(asked.audience, asked.subject)?;
    if asked.lifetime <= BACK || asked.lifetime > life.longest {
        return invalid(format!(
            "a token lives more than {} s and at most {} s, not {} s",
            BACK.as_secs(),
            life.longest.as_secs(),
            asked.lifetime.as_secs()
        ));
    }
    let from = dated(now);
    let standard = [
        ("iss", json!(issuer)),
        ("sub", json!(asked.subject)),
        ("aud", json!(asked.audience)),
        ("iat", json!(from)),
        ("nbf", json!(from)),
        ("exp", json!(from.saturating_add(seconds(asked.lifetime)))),
        ("jti", json!(id.to_string())),
    ];
    whole(standard, asked.claims)
}

/// The claims of a token that is handed out, checked. It ends when it is to end, whenever it is made.
pub(super) fn passport(
    issuer: &str,
    asked: &Passport<'_>,
    life: &KeyLife,
    now: Timestamp,
) -> Result<Map<String, Value>, ProviderError> {
    named(asked.audience, asked.subject)?;
    let left = asked.until.as_second().saturating_sub(now.as_second());
    if asked.until <= now || left > seconds(life.longest) {
        return invalid(format!(
            "a token ends after now and in {} s at the latest, not in {left} s",
            life.longest.as_secs()
        ));
    }
    let from = dated(now);
    let standard = [
        ("iss", json!(issuer)),
        ("sub", json!(asked.subject)),
        ("aud", json!(asked.audience)),
        ("iat", json!(from)),
        ("nbf", json!(from)),
        ("exp", json!(asked.until.as_second())),
        ("jti", json!(asked.id)),
    ];
    whole(standard, asked.claims)
}

fn named(audience: &str, subject: &str) -> Result<(), ProviderError> {
    for (name, text) in [("audience", audience), ("subject", subject)] {
        if text.is_empty() || text.len() > LONGEST_TEXT || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return invalid(format!("the {name} of a token is 1 to {LONGEST_TEXT} bytes without white space"));
        }
    }
    Ok(())
}

fn dated(now: Timestamp) -> i64 {
    now.as_second().saturating_sub(seconds(BACK))
}

fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

fn whole(standard: [(&str, Value); 7], more: &[(&str, Value)]) -> Result<Map<String, Value>, ProviderError> {
    let mut claims: Map<String, Value> = standard.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    for (name, value) in more {
        if STANDARD.contains(name) || name.is_empty() || claims.contains_key(*name) {
            return invalid(format!("the claim {name:?} cannot be set: it is the issuer's own, or set twice"));
        }
        claims.insert((*name).to_owned(), value.clone());
    }
    Ok(claims)
}

fn invalid<T>(what: String) -> Result<T, ProviderError> {
    Err(ProviderError::new(ErrorKind::Invalid, what))
}
