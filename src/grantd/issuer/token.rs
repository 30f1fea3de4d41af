//! What a token says. Pure.

use std::time::Duration;

use grantd_model::KeyLife;
use grantd_provider_api::{Assertion, ErrorKind, ProviderError};
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

/// The claims of a token, checked.
pub(super) fn claims(
    issuer: &str,
    asked: &Assertion<'_>,
    life: &KeyLife,
    now: Timestamp,
    id: Uuid,
) -> Result<Map<String, Value>, ProviderError> {
    let invalid = |what: String| ProviderError::new(ErrorKind::Invalid, what);
    for (name, text) in [("audience", asked.audience), ("subject", asked.subject)] {
        if text.is_empty() || text.len() > LONGEST_TEXT || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(invalid(format!("the {name} of a token is 1 to {LONGEST_TEXT} bytes without white space")));
        }
    }
    if asked.lifetime <= BACK || asked.lifetime > life.longest {
        return Err(invalid(format!(
            "a token lives more than {} s and at most {} s, not {} s",
            BACK.as_secs(),
            life.longest.as_secs(),
            asked.lifetime.as_secs()
        )));
    }
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let from = now.as_second().saturating_sub(seconds(BACK));
    let mut claims = Map::new();
    for (name, value) in [
        ("iss", json!(issuer)),
        ("sub", json!(asked.subject)),
        ("aud", json!(asked.audience)),
        ("iat", json!(from)),
        ("nbf", json!(from)),
        ("exp", json!(from.saturating_add(seconds(asked.lifetime)))),
        ("jti", json!(id.to_string())),
    ] {
        claims.insert(name.to_owned(), value);
    }
    for (name, value) in asked.claims {
        if STANDARD.contains(name) || name.is_empty() || claims.contains_key(*name) {
            return Err(invalid(format!("the claim {name:?} cannot be set: it is the issuer's own, or set twice")));
        }
        claims.insert((*name).to_owned(), value.clone());
    }
    Ok(claims)
}
