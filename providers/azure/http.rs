//! The one HTTP client that everything here shares. No proxy, no certificate, no address from the environment, and no
//! redirect is followed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::Result as AzureResult;
use azure_core::error::{Error as AzureError, ErrorKind as AzureKind};
use azure_core::http::headers::{HeaderName, HeaderValue, Headers};
use azure_core::http::{AsyncRawResponse, Body, HttpClient, Method, Request, Transport};
use grantd_provider_api::{ErrorKind, ProviderError};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::config::Config;

/// Where the distributions keep their certificate authorities: Debian, Fedora and Red Hat, Alpine and Arch.
/// Named here because the usual search reads `SSL_CERT_FILE` from the environment.
const CA_BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// The largest answer that is read.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// How long an idle connection is kept; one that is closed while we write costs a call.
const IDLE: Duration = Duration::from_secs(10);

/// The client, with its pool of connections.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// For one request and its whole answer.
    attempt: Duration,
}

impl Http {
    /// Builds the client; reads the file with the certificate authorities.
    ///
    /// # Errors
    /// `Config` when there are none to trust.
    pub fn new(config: &Config) -> Result<Self, ProviderError> {
        let unusable = |why: &dyn std::fmt::Display| ProviderError::new(ErrorKind::Config, format!("azure: {why}"));
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&error))?
            .with_root_certificates(authorities(config)?)
            .with_no_client_auth();
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(config.timeouts.connect));
        connector.set_nodelay(true);
        // Plain HTTP is for the instance metadata service alone; every other address was checked to be https.
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self { client, attempt: config.timeouts.attempt })
    }

    /// The client as the SDK's pipelines want it.
    pub fn transport(&self) -> Transport {
        Transport::new(Arc::new(self.clone()))
    }

    async fn exchange(&self, request: &Request) -> AzureResult<AsyncRawResponse> {
        let unsendable = |error: hyper::http::Error| {
            AzureError::with_error(AzureKind::DataConversion, error, "the request could not be built")
        };
        let no_method = || AzureError::with_message(AzureKind::DataConversion, "the method is not known here");
        let method = method(request.method()).ok_or_else(no_method)?;
        let mut built = hyper::Request::builder().method(method).uri(request.url().as_str());
        for (name, value) in request.headers().iter() {
            built = built.header(name.as_str(), value.as_str());
        }
        let body = match request.body() {
            Body::Bytes(bytes) => bytes.clone(),
            Body::SeekableStream(_) => {
                return Err(AzureError::with_message(AzureKind::DataConversion, "streams are not sent"));
            }
        };
        let request = built.body(Full::new(body)).map_err(unsendable)?;
        let response = self.client.request(request).await.map_err(|error| {
            let kind = if error.is_connect() { AzureKind::Connection } else { AzureKind::Io };
            AzureError::with_error(kind, error, "the request was not answered")
        })?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER)
            .collect()
            .await
            .map_err(|error| AzureError::with_error(AzureKind::Io, error, "the answer broke off or is too long"))?;
        let mut headers = Headers::new();
        for (name, value) in &head.headers {
            if let Ok(value) = value.to_str() {
                headers.insert(HeaderName::from(name.as_str().to_owned()), HeaderValue::from(value.to_owned()));
            }
        }
        Ok(AsyncRawResponse::from_bytes(head.status.as_u16().into(), headers, body.to_bytes()))
    }
}

#[async_trait]
impl HttpClient for Http {
    async fn execute_request(&self, request: &Request) -> AzureResult<AsyncRawResponse> {
        let outcome = tokio::time::timeout(self.attempt, self.exchange(request)).await;
        outcome.unwrap_or_else(|_| Err(AzureError::with_message(AzureKind::Io, "no answer in time")))
    }
}

fn method(method: Method) -> Option<hyper::Method> {
    Some(match method {
        Method::Delete => hyper::Method::DELETE,
        Method::Get => hyper::Method::GET,
        Method::Head => hyper::Method::HEAD,
        Method::Patch => hyper::Method::PATCH,
        Method::Post => hyper::Method::POST,
        Method::Put => hyper::Method::PUT,
        _ => return None,
    })
}

/// The certificate authorities.
fn authorities(config: &Config) -> Result<RootCertStore, ProviderError> {
    let wrong = |text: String| ProviderError::new(ErrorKind::Config, text);
    let found = match &config.ca_bundle {
        Some(path) => Some(path.clone()),
        None => CA_BUNDLES.iter().map(PathBuf::from).find(|path| path.exists()),
    };
    let path: PathBuf = found.ok_or_else(|| {
        wrong(format!("azure: no certificate authorities at {}: install them or set ca_bundle", CA_BUNDLES.join(", ")))
    })?;
    let store = read(&path).map_err(|why| {
        wrong(format!("azure: the certificate authorities in {} cannot be used: {why}", path.display()))
    })?;
    if store.is_empty() {
        return Err(wrong(format!("azure: there are no certificate authorities in {}", path.display())));
    }
    Ok(store)
}

fn read(path: &Path) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
    let certificates: Result<Vec<_>, _> = certificates.collect();
    // One that this library cannot read is not trusted; the others are.
    store.add_parsable_certificates(certificates.map_err(|error| error.to_string())?);
    Ok(store)
}
