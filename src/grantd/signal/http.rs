//! Asking by HTTP: one GET, which follows no redirect, asks no proxy, and reads so much and no more.

use std::time::Duration;

use grantd_provider_api::Secret;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Client, Response, redirect};

use super::Failure;

/// The largest answer, in bytes.
pub(super) const LARGEST: usize = 1024 * 1024;

/// The one client for all sources.
///
/// # Errors
/// In words: the host's certificate authorities cannot be read.
pub(super) fn client() -> Result<Client, String> {
    Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .connect_timeout(Duration::from_secs(3))
        .pool_max_idle_per_host(2)
        .user_agent(concat!("grantd/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|_| "the HTTP client cannot be set up: are the distribution's ca-certificates installed?".to_owned())
}

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `application/json`, or anything `+json`.
    Json,
    /// `text/calendar`.
    Calendar,
}

/// Asks, and gives the text of the answer. `proof` is a header that proves who asks. Whoever calls sets the time limit.
pub(super) async fn get(
    client: &Client,
    url: &str,
    proof: Option<(&HeaderName, &Secret)>,
    form: Form,
) -> Result<String, Failure> {
    let accept = match form {
        Form::Json => "application/json",
        Form::Calendar => "text/calendar",
    };
    let mut request = client.get(url).header(ACCEPT, accept);
    if let Some((name, secret)) = proof {
        let value = HeaderValue::from_str(secret.expose());
        let mut value = value.map_err(|_| Failure::away("its secret cannot stand in a header"))?;
        value.set_sensitive(true);
        request = request.header(name, value);
    }
    // The error of the client names the address, which may be a secret.
    let response = request.send().await.map_err(|error| {
        Failure::away(match (error.is_connect(), error.is_timeout(), error.is_builder()) {
            (true, _, _) => "no connection",
            (_, true, _) => "no answer in time",
            (_, _, true) => "the address cannot be used",
            _ => "the connection broke before the answer",
        })
    })?;
    let status = response.status();
    match status.as_u16() {
        200 => {}
        // To another place for good, as a ticket that somebody moved; other redirects are such as those to a page to log in.
        301 | 308 => {
            return Err(Failure::unfit(format!(
                "it answered {status}: it is somewhere else, and no redirect is followed"
            )));
        }
        300..=399 => return Err(Failure::away(format!("it answered {status}, and no redirect is followed"))),
        401 | 403 => return Err(Failure::away(format!("it answered {status}: the daemon may not ask it"))),
        404 | 410 => {
            return Err(Failure::gone(format!("it answered {status}: it does not have it, or does not show it")));
        }
        _ => return Err(Failure::away(format!("it answered {status}"))),
    }
    if !fits(response.headers().get(CONTENT_TYPE), form) {
        return Err(Failure::away(format!("its answer is not of type {accept}")));
    }
    text(response).await
}

fn fits(said: Option<&HeaderValue>, form: Form) -> bool {
    let said = said.and_then(|value| value.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    let kind = said.split(';').next().unwrap_or_default().trim();
    match form {
        Form::Json => kind == "application/json" || kind.starts_with("application/") && kind.ends_with("+json"),
        Form::Calendar => kind == "text/calendar",
    }
}

async fn text(mut response: Response) -> Result<String, Failure> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len().saturating_add(chunk.len()) > LARGEST => {
                return Err(Failure::unfit(format!("its answer is larger than {LARGEST} bytes")));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(_) => return Err(Failure::away("the connection broke in the answer")),
        }
    }
    String::from_utf8(body).map_err(|_| Failure::away("its answer is not UTF-8"))
}
