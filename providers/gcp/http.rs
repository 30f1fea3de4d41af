//! The one HTTP client that everything here shares. No proxy, no certificate, no address from the environment, no redirect.

use std::path::{Path, PathBuf};
use std::time::Duration;

use grantd_provider_api::{ErrorKind, ProviderError, Secret};
use jiff::Timestamp;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderValue};
use reqwest::{Certificate, Client, Method, redirect};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::config::Config;
use crate::error::Call;

/// Where the distributions keep their certificate authorities: Debian, Fedora and Red Hat, Alpine and Arch. Named here
/// because the usual search reads `SSL_CERT_FILE` from the environment.
const CA_BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// The largest answer that is read. An allow policy is at most a few hundred kilobytes.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// The client, with its pool of connections.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    client: Client,
}

/// What is sent.
#[derive(Debug)]
pub(crate) enum Body {
    Empty,
    Json(Value),
    /// `application/x-www-form-urlencoded`, encoded; it may hold a secret.
    Form(Zeroizing<String>),
}

/// One request.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    pub method: Method,
    pub url: String,
    pub token: Option<&'a Secret>,
    pub headers: &'a [(&'static str, &'static str)],
    pub body: Body,
}

impl<'a> Ask<'a> {
    /// A read.
    pub fn get(url: String, token: Option<&'a Secret>) -> Self {
        Self { method: Method::GET, url, token, headers: &[], body: Body::Empty }
    }

    /// A request with a body in JSON.
    pub fn json(method: Method, url: String, token: &'a Secret, body: Value) -> Self {
        Self { method, url, token: Some(token), headers: &[], body: Body::Json(body) }
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub body: Zeroizing<Vec<u8>>,
    /// The server's own clock.
    pub date: Option<Timestamp>,
}

impl Http {
    /// Builds the client; reads the file with the certificate authorities.
    pub fn new(config: &Config) -> Result<Self, ProviderError> {
        let wrong = |why: &str| ProviderError::new(ErrorKind::Config, format!("gcp: {why}"));
        let certificates = match authorities(config)? {
            Some(pem) => Certificate::from_pem_bundle(&pem).map_err(|_| {
                wrong("the certificate authorities cannot be used: see the distribution's ca-certificates")
            })?,
            None => Vec::new(),
        };
        let client = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .tls_certs_only(certificates)
            .connect_timeout(config.timeouts.connect)
            .timeout(config.timeouts.attempt)
            .pool_idle_timeout(Duration::from_secs(30))
            .user_agent(concat!("grantd/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|_| wrong("the HTTP client cannot be set up: see the distribution's ca-certificates"))?;
        Ok(Self { client })
    }

    /// Sends a request and returns whatever answer there is. Never repeats it.
    pub async fn exchange(&self, call: &Call<'_>, ask: Ask<'_>) -> Result<Answer, ProviderError> {
        let unsendable = || call.error(ErrorKind::Config, "the request could not be built, so nothing was sent");
        let mut request = self.client.request(ask.method, ask.url).header(ACCEPT, "application/json");
        if let Some(token) = ask.token {
            let text = Zeroizing::new(format!("Bearer {}", token.expose()));
            let mut value = HeaderValue::from_str(&text).map_err(|_| unsendable())?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        for (name, value) in ask.headers {
            request = request.header(*name, *value);
        }
        request = match ask.body {
            Body::Empty => request,
            Body::Json(body) => request.header(CONTENT_TYPE, "application/json").body(body.to_string()),
            Body::Form(form) => {
                request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form.as_bytes().to_vec())
            }
        };
        let mut response = request.send().await.map_err(|error| call.transport(&error))?;
        let status = response.status().as_u16();
        let date = response.headers().get(DATE).and_then(|value| value.to_str().ok()).and_then(http_date);
        let mut body = Zeroizing::new(Vec::new());
        while let Some(part) = response.chunk().await.map_err(|error| call.transport(&error))? {
            if body.len().saturating_add(part.len()) > MAX_ANSWER {
                return Err(call.senseless("it is too long"));
            }
            body.extend_from_slice(&part);
        }
        Ok(Answer { status, body, date })
    }

    /// Sends a request and returns the body of a 200 answer.
    pub async fn fetch(&self, call: &Call<'_>, ask: Ask<'_>) -> Result<Zeroizing<Vec<u8>>, ProviderError> {
        let answer = self.exchange(call, ask).await?;
        if answer.status == 200 { Ok(answer.body) } else { Err(call.answer(answer.status, &answer.body)) }
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7).
fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(&text.replace("GMT", "+0000")).ok().map(|at| at.timestamp())
}

/// The certificate authorities, or none when no account speaks TLS and none are configured.
fn authorities(config: &Config) -> Result<Option<Vec<u8>>, ProviderError> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| {
            let text = format!("gcp: the certificate authorities in {} cannot be read: {error}", path.display());
            ProviderError::new(ErrorKind::Config, text)
        })
    };
    let plain = |endpoint: &crate::endpoint::Endpoint| endpoint.as_str().starts_with("http://");
    match CA_BUNDLES.iter().map(PathBuf::from).find(|path| path.exists()) {
        Some(path) => read(&path).map(Some),
        None if config.accounts.values().all(|account| account.endpoint.as_ref().is_some_and(plain)) => Ok(None),
        None => Err(ProviderError::new(
            ErrorKind::Config,
            format!("gcp: no certificate authorities at {}: install ca-certificates", CA_BUNDLES.join(", ")),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_clock_is_read() {
        let at = http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(at.to_string(), "1994-11-06T08:49:37Z");
        assert_eq!(http_date("yesterday"), None);
    }
}
