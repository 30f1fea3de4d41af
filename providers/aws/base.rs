//! The daemon's own credentials in one account: fetched from the one configured source, kept until shortly before
//! they expire, and never looked for anywhere else.

use std::error::Error as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::imds;
use aws_config::imds::client::error::ImdsError;
use aws_config::profile;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_types::os_shim_internal::{Env, Fs};
use grantd_provider_api::{Assertions, Clock, ErrorKind, ProviderError};
use jiff::Timestamp;
use serde::Deserialize;

use crate::arn::Arn;
use crate::config::{AccountConfig, BaseConfig, Timeouts, WebIdentity};
use crate::endpoint::Endpoint;
use crate::error::Call;
use crate::federation;
use crate::http::Http;

/// The name of the revoker's own sessions.
pub(crate) const REVOKER_SESSION: &str = "grantd-revoker";

/// Credentials are renewed when less life than this remains.
const RENEW_BEFORE: Duration = Duration::from_secs(5 * 60);

/// Keys of a profile that would start a process or lead elsewhere
/// (AWS SDKs and Tools Reference Guide, "Shared config and credentials files").
const NOT_FOLLOWED: [&str; 10] = [
    "role_arn",
    "source_profile",
    "credential_source",
    "credential_process",
    "web_identity_token_file",
    "sso_session",
    "sso_start_url",
    "login_session",
    "endpoint_url",
    "services",
];

/// Where credentials come from.
pub(crate) enum Source {
    /// Static keys in shared credentials files.
    Profile { files: Vec<PathBuf>, profile: String },
    /// A container credentials endpoint.
    Container { http: Http, uri: Endpoint, token_file: Option<PathBuf> },
    /// The EC2 instance metadata service, version 2.
    InstanceMetadata { http: Http, endpoint: Endpoint },
    /// `AssumeRoleWithWebIdentity`.
    WebIdentity { sts: aws_sdk_sts::Client, role: Arn, token_file: PathBuf, session_name: String },
    /// `AssumeRoleWithWebIdentity` with a token of the daemon's own: the revoker, where there is no other base.
    Issuer { sts: aws_sdk_sts::Client, role: Arn, assertions: Arc<dyn Assertions>, web: WebIdentity },
    /// `AssumeRole` with the credentials of another source: the revoker.
    Role { sts: aws_sdk_sts::Client, base: Base, role: Arn },
    /// Nothing: a configuration that was not parsed could say so.
    Nothing,
}

/// A source and what it gave last. Cheap to clone; clones share what was fetched.
#[derive(Clone)]
pub(crate) struct Base(Arc<Inner>);

struct Inner {
    account: String,
    words: String,
    source: Source,
    clock: Arc<dyn Clock>,
    timeouts: Timeouts,
    fetching: tokio::sync::Mutex<()>,
    current: Mutex<Option<Current>>,
}

#[derive(Clone)]
struct Current {
    credentials: Credentials,
    expires: Option<Timestamp>,
}

impl std::fmt::Debug for Base {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of account \"{}\"", self.0.words, self.0.account)
    }
}

impl Base {
    /// The configured base identity of `account`. `sts` is used by the web identity source alone, unsigned.
    pub fn new(
        account: &AccountConfig,
        http: &Http,
        sts: aws_sdk_sts::Client,
        clock: &Arc<dyn Clock>,
        timeouts: Timeouts,
        assertions: &Arc<dyn Assertions>,
    ) -> Self {
        let (words, source) = match account.base.clone() {
            BaseConfig::Issuer => match (account.revoker.clone(), account.web_identity.clone()) {
                (Some(role), Some(web)) => (
                    format!("the daemon's own token as {role}"),
                    Source::Issuer { sts, role, assertions: Arc::clone(assertions), web },
                ),
                _ => ("no base".to_owned(), Source::Nothing),
            },
            BaseConfig::Profile { files, profile } => {
                (format!("the base profile \"{profile}\""), Source::Profile { files, profile })
            }
            BaseConfig::Container { uri, token_file } => {
                (format!("the base from {uri}"), Source::Container { http: http.clone(), uri, token_file })
            }
            BaseConfig::InstanceMetadata { endpoint } => (
                "the base from instance metadata".to_owned(),
                Source::InstanceMetadata { http: http.clone(), endpoint },
            ),
            BaseConfig::WebIdentity { role, token_file, session_name } => {
                (format!("the base role {role}"), Source::WebIdentity { sts, role, token_file, session_name })
            }
        };
        Self::from_source(&account.name, words, source, clock, timeouts)
    }

    /// The revoker role of an account, assumed by `base`.
    pub fn revoker(
        account: &str,
        role: Arn,
        sts: aws_sdk_sts::Client,
        base: Self,
        clock: &Arc<dyn Clock>,
        timeouts: Timeouts,
    ) -> Self {
        let words = format!("the revoker role {role}");
        Self::from_source(account, words, Source::Role { sts, base, role }, clock, timeouts)
    }

    fn from_source(account: &str, words: String, source: Source, clock: &Arc<dyn Clock>, timeouts: Timeouts) -> Self {
        Self(Arc::new(Inner {
            account: account.to_owned(),
            words,
            source,
            clock: Arc::clone(clock),
            timeouts,
            fetching: tokio::sync::Mutex::new(()),
            current: Mutex::new(None),
        }))
    }

    /// What was fetched last, for requests that are signed here: [refresh](Self::refresh) before.
    pub fn current(&self) -> Option<Credentials> {
        let current = self.0.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().map(|current| current.credentials.clone())
    }

    /// Whose credentials they are, in words.
    pub fn words(&self) -> &str {
        &self.0.words
    }

    /// Makes sure that the SDK will find fresh credentials. Only this fetches; the SDK just takes what is there, so
    /// that an error here proves that the call itself was never sent.
    ///
    /// # Errors
    /// `Config`, `Refused`, `Throttled` or `Unreachable`; never one that means that a session may exist.
    pub async fn refresh(&self) -> Result<(), ProviderError> {
        if self.fresh() {
            return Ok(());
        }
        let work = async {
            let _one_at_a_time = self.0.fetching.lock().await;
            if self.fresh() {
                return Ok(());
            }
            let fetched = Box::pin(self.fetch()).await?;
            *self.0.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(fetched);
            Ok(())
        };
        let outcome = tokio::time::timeout(self.0.timeouts.operation, work).await;
        outcome.unwrap_or_else(|_| Err(self.error(ErrorKind::Unreachable, "no answer in time"))).map_err(|error| {
            // Whatever became of the fetch: the call that it was for has not been sent.
            let kind = if error.may_have_happened() { ErrorKind::Unreachable } else { error.kind };
            ProviderError::new(kind, error.message)
        })
    }

    fn fresh(&self) -> bool {
        let current = self.0.current.lock().unwrap_or_else(PoisonError::into_inner);
        match current.as_ref().map(|current| current.expires) {
            // Files are cheap, and keys in them are replaced by hand: read them anew each time.
            None | Some(None) => false,
            Some(Some(expires)) => self.0.clock.now().checked_add(RENEW_BEFORE).is_ok_and(|soon| soon < expires),
        }
    }

    async fn fetch(&self) -> Result<Current, ProviderError> {
        match &self.0.source {
            Source::Profile { files, profile } => self.profile(files, profile).await,
            Source::Container { http, uri, token_file } => self.container(http, uri, token_file.as_deref()).await,
            Source::InstanceMetadata { http, endpoint } => self.instance(http, endpoint).await,
            // aws-config's STS providers log what the server wrote, which could echo the token (promise P9), and the
            // one for web identities takes its endpoint from the environment alone: so the calls are made here.
            Source::WebIdentity { sts, role, token_file, session_name } => {
                let token = self.read(token_file).await?;
                let sent = sts
                    .assume_role_with_web_identity()
                    .role_arn(role.as_str())
                    .role_session_name(session_name)
                    .web_identity_token(token.trim_end())
                    .send()
                    .await;
                let out =
                    sent.map_err(|error| self.call("sts:AssumeRoleWithWebIdentity", role.as_str()).sdk(&error))?;
                self.assumed(out.credentials)
            }
            Source::Issuer { sts, role, assertions, web } => {
                let subject = federation::revoker_subject(web);
                let token = federation::token(assertions.as_ref(), &web.audience, &subject, &[], None)?;
                let sent = sts
                    .assume_role_with_web_identity()
                    .role_arn(role.as_str())
                    .role_session_name(REVOKER_SESSION)
                    .web_identity_token(token.expose())
                    .send()
                    .await;
                let out = sent.map_err(|error| self.call(federation::ACTION, role.as_str()).sdk(&error))?;
                self.assumed(out.credentials)
            }
            Source::Nothing => Err(self.error(ErrorKind::Config, "the account has neither a base nor a revoker")),
            Source::Role { sts, base, role } => {
                base.refresh().await?;
                let sent = sts.assume_role().role_arn(role.as_str()).role_session_name(REVOKER_SESSION).send().await;
                let call = Call { caller: base.words(), ..self.call("sts:AssumeRole", role.as_str()) };
                self.assumed(sent.map_err(|error| call.sdk(&error))?.credentials)
            }
        }
    }

    /// The static keys of a profile, as aws-config parses it. Its profile provider would also follow what starts a
    /// process or leads elsewhere; here that is refused. The parser sees these files and an empty environment.
    async fn profile(&self, files: &[PathBuf], name: &str) -> Result<Current, ProviderError> {
        let [mut id, mut secret, mut token] = [None, None, None];
        for path in files {
            let wrong = |what: String| self.error(ErrorKind::Config, format!("{}{what}", path.display()));
            let metadata = tokio::fs::metadata(path).await;
            if metadata.is_ok_and(|metadata| metadata.permissions().mode() & 0o027 != 0) {
                return Err(wrong(" may be read by others or written by its group: chmod 0600 it".to_owned()));
            }
            let config = path.file_name().is_some_and(|file| file == "config");
            let kind = if config { EnvConfigFileKind::Config } else { EnvConfigFileKind::Credentials };
            let file = EnvConfigFiles::builder().with_contents(kind, self.read(path).await?).build();
            let parsed = profile::load(&Fs::real(), &Env::from_slice(&[]), &file, None).await;
            let parsed = parsed.map_err(|error| {
                // Which line, and none of its text.
                let text = error.source().map_or_else(String::new, ToString::to_string);
                wrong(format!(": {}", text.replace("  ", " ").replace('\n', "")))
            })?;
            let Some(profile) = parsed.get_profile(name) else { continue };
            if let Some(key) = NOT_FOLLOWED.iter().find(|key| profile.get(key).is_some()) {
                return Err(wrong(format!(": {key} is not followed: name that source in grantd's own configuration")));
            }
            let get = |key| profile.get(key).map(str::to_owned);
            id = get("aws_access_key_id").or(id);
            secret = get("aws_secret_access_key").or(secret);
            token = get("aws_session_token").or(token);
        }
        let (Some(id), Some(secret)) = (id, secret) else {
            let text = format!(
                "no file has both its aws_access_key_id and aws_secret_access_key: they belong under [{name}], or \
                 under [profile {name}] in a file named config"
            );
            return Err(self.error(ErrorKind::Config, text));
        };
        Ok(Current { credentials: Credentials::new(id, secret, token, None, "grantd-profile"), expires: None })
    }

    /// The client is aws-config's, version 2 only, and told everything that it would ask the environment for (what is
    /// left, `AWS_EXECUTION_ENV`, shows in its user agent alone); its session token serves this fetch alone. The
    /// credentials provider on top is not used: the environment can turn that off, and it calls expired ones fresh.
    async fn instance(&self, http: &Http, endpoint: &Endpoint) -> Result<Current, ProviderError> {
        const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
        let timeouts = self.0.timeouts;
        let client = imds::Client::builder()
            .configure(&ProviderConfig::without_region().with_http_client(http.client()))
            .endpoint(endpoint.as_str())
            .map_err(|_| self.error(ErrorKind::Config, format!("{endpoint} is no endpoint: correct it")))?
            .max_attempts(2)
            .token_ttl(Duration::from_secs(5 * 60))
            .connect_timeout(timeouts.connect)
            .read_timeout(timeouts.read)
            .operation_attempt_timeout(timeouts.attempt)
            .operation_timeout(timeouts.operation)
            .build();
        let failed = |error| match error {
            ImdsError::ErrorResponse(answer) => {
                self.call("credentials", endpoint.as_str()).status(answer.response().status().as_u16())
            }
            _ => self.error(
                ErrorKind::Unreachable,
                format!("{endpoint} gives no session token or no usable answer: check that IMDSv2 is on"),
            ),
        };
        let role = client.get(ROLES).await.map_err(failed)?;
        let role = role.as_ref().lines().next().unwrap_or_default().trim();
        // Not only for the words: the client panics on a path that it cannot send.
        if role.is_empty() || !role.bytes().all(|b| b.is_ascii_alphanumeric() || b"+=,.@-_".contains(&b)) {
            return Err(self.error(ErrorKind::Config, "the instance has no role: attach an instance profile"));
        }
        self.parse(client.get(format!("{ROLES}{role}")).await.map_err(failed)?.as_ref().as_bytes())
    }

    /// aws-config's own container provider takes address and token from the environment alone, so it is not used.
    async fn container(&self, http: &Http, uri: &Endpoint, token: Option<&Path>) -> Result<Current, ProviderError> {
        let call = self.call("credentials", uri.as_str());
        let unsendable = |_| call.error(ErrorKind::Config, "the token or URI holds what cannot be sent");
        let mut request = HttpRequest::get(uri.as_str()).map_err(unsendable)?;
        if let Some(path) = token {
            let token = self.read(path).await?;
            request.headers_mut().try_insert("authorization", token.trim_end().to_owned()).map_err(unsendable)?;
        }
        self.parse(&http.fetch(&call, request).await?)
    }

    /// The answer of container and instance endpoints
    /// (Amazon EC2 User Guide, "Retrieve security credentials from instance metadata").
    fn parse(&self, body: &[u8]) -> Result<Current, ProviderError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            access_key_id: String,
            secret_access_key: String,
            token: String,
            expiration: Timestamp,
        }
        // The parser's own error could quote the body.
        let answer: Answer = serde_json::from_slice(body).map_err(|_| self.senseless())?;
        Ok(temporary(answer.access_key_id, answer.secret_access_key, answer.token, answer.expiration))
    }

    fn assumed(&self, credentials: Option<aws_sdk_sts::types::Credentials>) -> Result<Current, ProviderError> {
        let taken = credentials.ok_or_else(|| self.senseless())?;
        let expires = Timestamp::from_second(taken.expiration.secs()).map_err(|_| self.senseless())?;
        Ok(temporary(taken.access_key_id, taken.secret_access_key, taken.session_token, expires))
    }

    async fn read(&self, path: &Path) -> Result<String, ProviderError> {
        tokio::fs::read_to_string(path)
            .await
            .map_err(|error| self.error(ErrorKind::Config, format!("{} cannot be read: {error}", path.display())))
    }

    fn call<'a>(&'a self, action: &'static str, on: &'a str) -> Call<'a> {
        Call { account: &self.0.account, action, on, caller: &self.0.words }
    }

    fn senseless(&self) -> ProviderError {
        self.error(ErrorKind::Unreachable, "its source gives an answer that makes no sense")
    }

    fn error(&self, kind: ErrorKind, what: impl std::fmt::Display) -> ProviderError {
        ProviderError::new(kind, format!("account \"{}\": {}: {what}", self.0.account, self.0.words))
    }
}

impl ProvideCredentials for Base {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let current = self.0.current.lock().unwrap_or_else(PoisonError::into_inner);
        future::ProvideCredentials::ready(match current.as_ref() {
            Some(current) => Ok(current.credentials.clone()),
            None => Err(CredentialsError::not_loaded("not fetched yet")),
        })
    }
}

fn temporary(id: String, secret: String, token: String, expires: Timestamp) -> Current {
    let credentials = Credentials::new(id, secret, Some(token), None, "grantd-base");
    Current { credentials, expires: Some(expires) }
}

#[cfg(test)]
#[path = "base_tests.rs"]
mod tests;
