//! The one HTTP connector that everything here shares. No proxy, no certificate, no address from the environment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use grantd_provider_api::{ErrorKind, ProviderError};

use crate::config::Config;
use crate::error::Call;

/// Where the distributions keep their certificate authorities: Debian, Fedora and Red Hat, Alpine and Arch.
/// Named here because the usual search reads `SSL_CERT_FILE` from the environment.
const CA_BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// The largest answer that a credentials endpoint may give.
const MAX_ANSWER: usize = 64 * 1024;

/// The connector, with its pool of connections.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    connector: SharedHttpConnector,
}

impl Http {
    /// Builds the connector; reads the file with the certificate authorities.
    pub fn new(config: &Config) -> Result<Self, ProviderError> {
        let mut store = TrustStore::empty();
        if let Some(pem) = authorities(config)? {
            store.add_pem_certificate(pem);
        }
        let context = TlsContext::builder().with_trust_store(store).build().map_err(|_| {
            ProviderError::new(ErrorKind::Config, "aws: the certificate authorities cannot be used: check ca_bundle")
        })?;
        let settings = HttpConnectorSettings::builder()
            .connect_timeout(config.timeouts.connect)
            .read_timeout(config.timeouts.read)
            .build();
        let connector = Connector::builder()
            .connector_settings(settings)
            // AWS closes idle connections after some 20 s; one that is closed while we write costs a lease.
            .pool_idle_timeout(Duration::from_secs(10))
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(context)
            .build();
        Ok(Self { connector: SharedHttpConnector::new(connector) })
    }

    /// The connector as the SDK's clients want it.
    pub fn client(&self) -> SharedHttpClient {
        let connector = self.connector.clone();
        http_client_fn(move |_, _| connector.clone())
    }

    /// Sends a request to a credentials endpoint and returns the body of a 200 answer.
    pub async fn fetch(&self, call: &Call<'_>, request: HttpRequest) -> Result<Vec<u8>, ProviderError> {
        let (status, body) = self.exchange(call, request).await?;
        if status == 200 { Ok(body) } else { Err(call.status(status)) }
    }

    /// Sends a request and returns status and body of whatever answer there is.
    pub async fn exchange(&self, call: &Call<'_>, request: HttpRequest) -> Result<(u16, Vec<u8>), ProviderError> {
        let mut response = self.connector.call(request).await.map_err(|error| call.connection(&error))?;
        let status = response.status().as_u16();
        let body = collect(response.body_mut())
            .await
            .ok_or_else(|| call.error(ErrorKind::Unreachable, "its answer broke off or is too long"))?;
        Ok((status, body))
    }
}

async fn collect(body: &mut SdkBody) -> Option<Vec<u8>> {
    let stream = aws_smithy_types::byte_stream::ByteStream::new(std::mem::replace(body, SdkBody::taken()));
    let mut stream = stream;
    let mut all = Vec::new();
    while let Some(part) = stream.next().await {
        let part = part.ok()?;
        if all.len().saturating_add(part.len()) > MAX_ANSWER {
            return None;
        }
        all.extend_from_slice(&part);
    }
    Some(all)
}

/// The certificate authorities, or none when no account speaks TLS and none are configured.
fn authorities(config: &Config) -> Result<Option<Vec<u8>>, ProviderError> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| {
            let text = format!("aws: the certificate authorities in {} cannot be read: {error}", path.display());
            ProviderError::new(ErrorKind::Config, text)
        })
    };
    if let Some(path) = &config.ca_bundle {
        return read(path).map(Some);
    }
    let found = CA_BUNDLES.iter().map(PathBuf::from).find(|path| path.exists());
    match found {
        Some(path) => read(&path).map(Some),
        None if config.accounts.values().all(|account| account.endpoint.as_ref().is_some_and(|e| !e.is_https())) => {
            Ok(None)
        }
        None => Err(ProviderError::new(
            ErrorKind::Config,
            format!("aws: no certificate authorities at {}: install them or set ca_bundle", CA_BUNDLES.join(", ")),
        )),
    }
}
