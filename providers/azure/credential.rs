//! Tokens: the daemon's own, with which role assignments are written, and those of a slot, which are a session.
//!
//! None of it asks the environment: the SDK's credentials for workload and managed identities do, so the assertion is
//! handed to the one credential that takes it, and the metadata service is asked here.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::cloud::CustomConfiguration;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::error::{Error as AzureError, ErrorKind as AzureKind};
use azure_core::http::{ClientMethodOptions, ClientOptions, HttpClient, Method, Request, RetryOptions, Url};
use azure_core::time::{Duration as AzureDuration, OffsetDateTime};
use azure_identity::{ClientAssertion, ClientAssertionCredential, ClientAssertionCredentialOptions};
use grantd_provider_api::{Assertion, Assertions, ErrorKind, ProviderError, Secret};
use serde::Deserialize;
use uuid::Uuid;

use crate::cloud::Endpoints;
use crate::config::{AccountConfig, BaseConfig};
use crate::http::Http;

/// How long an assertion of the daemon is good for: it goes to Entra and nowhere else.
const ASSERTION_LIFETIME: Duration = Duration::from_secs(60);

/// The largest token file.
const LARGEST_FILE: u64 = 64 * 1024;

/// What the SDK is to use, and nothing besides: address, client, and no repeating by itself.
pub(crate) fn client_options(endpoints: &Endpoints, http: &Http) -> ClientOptions {
    let mut cloud = CustomConfiguration::default();
    endpoints.authority.as_str().trim_end_matches('/').clone_into(&mut cloud.authority_host);
    ClientOptions {
        retry: RetryOptions::none(),
        transport: Some(http.transport()),
        cloud: Some(Arc::new(cloud.into())),
        ..ClientOptions::default()
    }
}

/// The scope by which a token for `audience` is asked for (Microsoft identity platform, "The .default scope").
pub(crate) fn scope_of(audience: &str) -> String {
    format!("{audience}/.default")
}

/// The daemon's own credential in an account. The pipeline keeps its token until shortly before it expires, or until it is
/// refused.
///
/// # Errors
/// `Config` when the SDK does not take an address.
pub(crate) fn base(
    account: &AccountConfig,
    http: &Http,
    assertions: &Arc<dyn Assertions>,
) -> Result<Arc<dyn TokenCredential>, ProviderError> {
    let endpoints = &account.endpoints;
    match &account.base {
        BaseConfig::Federation { client_id, subject } => {
            let assertion = Minted {
                assertions: Arc::clone(assertions),
                audience: endpoints.assertion_audience(),
                subject: subject.clone(),
            };
            Fresh::of(account, *client_id, assertion, http)
        }
        BaseConfig::TokenFile { client_id, token_file } => {
            Fresh::of(account, *client_id, Written(token_file.clone()), http)
        }
        BaseConfig::ManagedIdentity { client_id, endpoint } => {
            Ok(Arc::new(Metadata { http: http.clone(), endpoint: endpoint.clone(), client_id: *client_id }))
        }
    }
}

/// Whose token the base's is, in words.
pub(crate) fn base_words(base: &BaseConfig) -> String {
    match base {
        BaseConfig::Federation { client_id, .. } | BaseConfig::TokenFile { client_id, .. } => {
            format!("the base application {client_id}")
        }
        BaseConfig::ManagedIdentity { .. } => "the host's managed identity".to_owned(),
    }
}

/// A credential of a slot: a fresh one for each lease, because it keeps its tokens.
///
/// # Errors
/// `Config` when the SDK does not take an address.
pub(crate) fn slot(
    account: &AccountConfig,
    client_id: Uuid,
    subject: &str,
    http: &Http,
    assertions: &Arc<dyn Assertions>,
) -> Result<Arc<dyn TokenCredential>, ProviderError> {
    let assertion = Minted {
        assertions: Arc::clone(assertions),
        audience: account.endpoints.assertion_audience(),
        subject: subject.to_owned(),
    };
    Ok(by_assertion(account, client_id, assertion, http)?)
}

fn by_assertion<A: ClientAssertion + 'static>(
    account: &AccountConfig,
    client_id: Uuid,
    assertion: A,
    http: &Http,
) -> Result<Arc<ClientAssertionCredential<A>>, ProviderError> {
    let options = ClientAssertionCredentialOptions { client_options: client_options(&account.endpoints, http) };
    let (tenant, client) = (account.tenant.to_string(), client_id.to_string());
    ClientAssertionCredential::new(tenant, client, assertion, Some(options)).map_err(|error| {
        let text = format!("account \"{}\": the SDK does not take tenant or authority: {error}", account.name);
        ProviderError::new(ErrorKind::Config, text)
    })
}

/// A credential that keeps no token. The SDK's own keep theirs even when they are refused, and so would go on being
/// refused until they expire.
struct Fresh<A> {
    account: AccountConfig,
    client_id: Uuid,
    assertion: A,
    http: Http,
}

impl<A: ClientAssertion + Clone + 'static> Fresh<A> {
    fn of(
        account: &AccountConfig,
        client_id: Uuid,
        assertion: A,
        http: &Http,
    ) -> Result<Arc<dyn TokenCredential>, ProviderError> {
        // Whether the SDK takes the addresses is known at the start.
        by_assertion(account, client_id, assertion.clone(), http)?;
        Ok(Arc::new(Self { account: account.clone(), client_id, assertion, http: http.clone() }))
    }
}

impl<A> fmt::Debug for Fresh<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the credential of application {}", self.client_id)
    }
}

#[async_trait]
impl<A: ClientAssertion + Clone + 'static> TokenCredential for Fresh<A> {
    async fn get_token(
        &self,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let credential =
            by_assertion(&self.account, self.client_id, self.assertion.clone(), &self.http).map_err(own)?;
        credential.get_token(scopes, options).await
    }
}

/// The daemon's own word.
#[derive(Clone)]
struct Minted {
    assertions: Arc<dyn Assertions>,
    audience: &'static str,
    subject: String,
}

impl fmt::Debug for Minted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an assertion about {}", self.subject)
    }
}

#[async_trait]
impl ClientAssertion for Minted {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        let assertion =
            Assertion { audience: self.audience, subject: &self.subject, lifetime: ASSERTION_LIFETIME, claims: &[] };
        let minted = self.assertions.mint(&assertion).map_err(own)?;
        Ok(minted.expose().to_owned())
    }
}

/// The word of whoever writes a file, read anew each time.
#[derive(Debug, Clone)]
struct Written(PathBuf);

#[async_trait]
impl ClientAssertion for Written {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        let wrong = |why: &dyn fmt::Display| {
            let text = format!("the token file {} cannot be used: {why}", self.0.display());
            own(ProviderError::new(ErrorKind::Config, text))
        };
        let about = tokio::fs::metadata(&self.0).await.map_err(|error| wrong(&error))?;
        if about.len() > LARGEST_FILE {
            return Err(wrong(&"it is too large to be a token"));
        }
        let text = tokio::fs::read_to_string(&self.0).await.map_err(|error| wrong(&error))?;
        Ok(text.trim_end().to_owned())
    }
}

/// An error of our own on its way through the SDK.
fn own(error: ProviderError) -> AzureError {
    AzureError::new(AzureKind::Other, error)
}

/// The instance metadata service (Azure Instance Metadata Service, "Managed identities").
#[derive(Debug)]
struct Metadata {
    http: Http,
    endpoint: Url,
    client_id: Option<Uuid>,
}

/// What it answers. Numbers come as text.
#[derive(Deserialize)]
struct MetadataToken {
    access_token: String,
    expires_in: String,
}

#[async_trait]
impl TokenCredential for Metadata {
    async fn get_token(&self, scopes: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        let scope = scopes.first().copied().unwrap_or_default();
        let mut url = self.endpoint.clone();
        url.set_path("/metadata/identity/oauth2/token");
        {
            let mut query = url.query_pairs_mut();
            query.append_pair("api-version", "2018-02-01");
            query.append_pair("resource", scope.trim_end_matches("/.default"));
            if let Some(id) = self.client_id {
                query.append_pair("client_id", &id.to_string());
            }
        }
        let mut request = Request::new(url, Method::Get);
        request.insert_header("metadata", "true");
        let answer = self.http.execute_request(&request).await?.try_into_raw_response().await?;
        let status = answer.status();
        if !status.is_success() {
            let kind = AzureKind::HttpResponse { status, error_code: None, raw_response: Some(Box::new(answer)) };
            return Err(AzureError::with_message(kind, "the instance metadata service gives no token"));
        }
        let senseless = || AzureError::with_message(AzureKind::DataConversion, "the answer is no token");
        let token: MetadataToken = serde_json::from_slice(answer.body().as_ref()).map_err(|_| senseless())?;
        let lives: i64 = token.expires_in.parse().map_err(|_| senseless())?;
        Ok(AccessToken::new(token.access_token, OffsetDateTime::now_utc() + AzureDuration::seconds(lives)))
    }
}

/// What a token says of itself. Azure's own services read these claims (Microsoft identity platform, "Access token
/// claims reference").
#[derive(Debug, Deserialize)]
pub(crate) struct Claims {
    /// The principal's object id.
    pub oid: Uuid,
    /// The directory.
    pub tid: Uuid,
    /// When it expires, in seconds since 1970.
    pub exp: i64,
}

/// Reads the claims of a token without checking it: that is its audience's business. `None` when it is opaque.
pub(crate) fn claims(token: &Secret) -> Option<Claims> {
    let mut parts = token.expose().split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    let bytes = data_encoding::BASE64URL_NOPAD.decode(payload.as_bytes()).ok()?;
    serde_json::from_slice(&bytes).ok()
}
