//! Telling by HTTP: one POST, which follows no redirect and asks no proxy.

use std::time::Duration;

use aws_lc_rs::hmac;
use data_encoding::BASE64;
use grantd_provider_api::Secret;
use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, redirect};

use super::target::Failure;

/// What a key is prefixed with where it is written (Standard Webhooks, "Signature scheme").
const KEY_PREFIX: &str = "whsec_";

/// The one client for all targets.
///
/// # Errors
/// In words: the host's certificate authorities cannot be read.
pub(super) fn client() -> Result<Client, String> {
    Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .connect_timeout(Duration::from_secs(5))
        .pool_max_idle_per_host(1)
        .user_agent(concat!("grantd/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|_| "the HTTP client cannot be set up: are the distribution's ca-certificates installed?".to_owned())
}

/// A key of a webhook: `whsec_` and base64, of 24 to 64 bytes.
///
/// # Errors
/// In words, without the key.
pub(super) fn key(text: &str) -> Result<hmac::Key, String> {
    let encoded = text.trim().strip_prefix(KEY_PREFIX).unwrap_or_default();
    let bytes = zeroize::Zeroizing::new(BASE64.decode(encoded.as_bytes()).unwrap_or_default());
    if (24..=64).contains(&bytes.len()) {
        Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
    } else {
        Err(format!("write {KEY_PREFIX} and base64 of 24 to 64 random bytes into it"))
    }
}

/// The headers that prove who sent `body`, and when (Standard Webhooks 1.0).
pub(super) fn signature(key: &hmac::Key, id: &str, at: Timestamp, body: &str) -> HeaderMap {
    let seconds = at.as_second();
    let tag = hmac::sign(key, format!("{id}.{seconds}.{body}").as_bytes());
    let mut headers = HeaderMap::new();
    let texts = [
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", seconds.to_string()),
        ("webhook-signature", format!("v1,{}", BASE64.encode(tag.as_ref()))),
    ];
    for (name, text) in texts {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    }
    headers
}

/// Sends `body`, and says whether it was taken: any status from 200 to 299.
pub(super) async fn post(
    client: &Client,
    url: &Secret,
    headers: HeaderMap,
    content_type: &'static str,
    body: String,
    timeout: Duration,
) -> Result<(), Failure> {
    let request = client.post(url.expose()).headers(headers).header(CONTENT_TYPE, content_type).timeout(timeout);
    // The error of the client names the address, which may be a secret.
    let response = request.body(body).send().await.map_err(|error| {
        let why = match (error.is_connect(), error.is_timeout(), error.is_builder()) {
            (true, _, _) => "no connection",
            (_, true, _) => "no answer in time",
            (_, _, true) => "the address cannot be used",
            _ => "the connection broke before the answer",
        };
        Failure::away(why)
    })?;
    let status = response.status();
    match status.as_u16() {
        200..=299 => Ok(()),
        300..=399 => Err(Failure::refused(format!("it answered {status}, and no redirect is followed"))),
        408 | 425 | 429 | 500..=599 => Err(Failure::away(format!("it answered {status}"))),
        _ => Err(Failure::refused(format!("it answered {status}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_one_that_the_standard_shows() {
        // The example of the Standard Webhooks specification's reference libraries.
        let key = key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let at = Timestamp::from_second(1_614_265_330).unwrap();
        let headers = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, r#"{"test": 2432232314}"#);
        assert_eq!(headers["webhook-signature"], "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(headers["webhook-timestamp"], "1614265330");
    }

    #[test]
    fn a_key_is_long_enough_and_never_shown() {
        for bad in ["", "whsec_", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!!!"] {
            let error = key(bad).unwrap_err();
            assert!(bad.len() < 7 || !error.contains(bad), "{error}");
        }
    }
}
