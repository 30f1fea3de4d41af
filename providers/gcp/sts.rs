//! Google's Security Token Service and the credentials of service accounts: the tokens, each with its real end.

use std::time::Duration;

use grantd_provider_api::{ErrorKind, ProviderError, Secret};
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::base::SCOPE;
use crate::error::Call;
use crate::http::{Ask, Body};
use crate::limits::MAX_TOKEN;
use crate::link::Link;

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// A token, and when it dies.
#[derive(Debug)]
pub(crate) struct Token {
    pub secret: Secret,
    pub until: Timestamp,
}

#[derive(Deserialize)]
struct Exchanged {
    access_token: String,
    expires_in: Option<u64>,
    token_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Generated {
    access_token: String,
    expire_time: Timestamp,
}

/// Exchanges an assertion of ours for a token of the principal that it is about.
pub(crate) async fn federate(link: &Link, caller: &str, assertion: &Secret) -> Result<Token, ProviderError> {
    let audience = link.config.sts_audience();
    let fields = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("audience", audience.as_str()),
        ("scope", SCOPE),
        ("requested_token_type", ACCESS_TOKEN),
        ("subject_token", assertion.expose()),
        ("subject_token_type", JWT),
    ];
    exchange(link, &link.call("sts.token", &audience, caller), &fields, None).await
}

/// Exchanges a token for one that Cloud Storage lets do no more than `boundary` says. It dies with the first one.
pub(crate) async fn bound(link: &Link, caller: &str, token: &Token, boundary: &Value) -> Result<Token, ProviderError> {
    let options = boundary.to_string();
    let fields = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("requested_token_type", ACCESS_TOKEN),
        ("subject_token", token.secret.expose()),
        ("subject_token_type", ACCESS_TOKEN),
        ("options", options.as_str()),
    ];
    exchange(link, &link.call("sts.token", "a Credential Access Boundary", caller), &fields, Some(token.until)).await
}

async fn exchange(
    link: &Link,
    call: &Call<'_>,
    fields: &[(&str, &str)],
    known_end: Option<Timestamp>,
) -> Result<Token, ProviderError> {
    let mut form = Zeroizing::new(String::new());
    for (name, value) in fields {
        if !form.is_empty() {
            form.push('&');
        }
        form.push_str(name);
        form.push('=');
        form.extend(utf8_percent_encode(value, NON_ALPHANUMERIC));
    }
    let url = format!("{}/v1/token", link.config.service("sts.googleapis.com"));
    let before = link.clock.now();
    let ask = Ask { body: Body::Form(form), ..Ask::get(url, None) };
    let body = link.http.fetch(call, Ask { method: reqwest::Method::POST, ..ask }).await?;
    let taken: Exchanged = serde_json::from_slice(&body).map_err(|_| call.senseless("it has no token"))?;
    let secret = Secret::new(taken.access_token);
    if secret.expose().is_empty() || !taken.token_type.eq_ignore_ascii_case("bearer") {
        return Err(call.senseless("its token is none to bear"));
    }
    // The field is absent when the token given has an end of its own, which the new one shares (STS, `token` method).
    let until = match (taken.expires_in, known_end) {
        (Some(seconds), _) if seconds > MAX_TOKEN.as_secs() => {
            return Err(call.senseless("its token would live for more than an hour"));
        }
        (Some(seconds), None) => before.checked_add(Duration::from_secs(seconds)).ok(),
        (Some(seconds), Some(end)) => before.checked_add(Duration::from_secs(seconds)).ok().map(|at| at.max(end)),
        (None, end) => end,
    };
    Ok(Token { secret, until: until.ok_or_else(|| call.senseless("it does not say when its token ends"))? })
}

/// A token of a service account that lives for `lifetime`.
pub(crate) async fn impersonate(link: &Link, email: &str, lifetime: Duration) -> Result<Token, ProviderError> {
    let call = link.call("iamcredentials.generateAccessToken", email, link.base.words());
    let base = link.base.token().await?;
    let url = format!(
        "{}/v1/projects/-/serviceAccounts/{email}:generateAccessToken",
        link.config.service("iamcredentials.googleapis.com")
    );
    let body = json!({ "scope": [SCOPE], "lifetime": format!("{}s", lifetime.as_secs()) });
    let body = link.http.fetch(&call, Ask::json(reqwest::Method::POST, url, &base, body)).await?;
    let taken: Generated = serde_json::from_slice(&body).map_err(|_| call.senseless("it has no token, or no end"))?;
    let token = Token { secret: Secret::new(taken.access_token), until: taken.expire_time };
    let latest = link.clock.now().checked_add(lifetime.saturating_add(link.clock_skew)).unwrap_or(token.until);
    if token.secret.expose().is_empty() {
        return Err(call.senseless("its token is empty"));
    }
    if token.until > latest {
        return Err(call.error(
            ErrorKind::ClockSkew,
            "the token ends later than was asked for, by more than clock_skew: check time synchronisation",
        ));
    }
    Ok(token)
}
