//! Role assignments by Azure Resource Manager, over the SDK's pipeline (Azure REST API reference, "Role Assignments",
//! version 2022-04-01).
//!
//! Each call here can be repeated without harm - a name is computed beforehand, and removing twice is removing - so calls
//! are tried again within their time, at the pace the cloud asks for.

use std::sync::Arc;
use std::time::Duration;

use azure_core::credentials::TokenCredential;
use azure_core::http::headers::{CONTENT_TYPE, RETRY_AFTER};
use azure_core::http::policies::Policy;
use azure_core::http::policies::auth::BearerTokenAuthorizationPolicy;
use azure_core::http::{Context, Method, Pipeline, PipelineSendOptions, RawResponse, Request, Url};
use grantd_provider_api::setting::Timeouts;
use grantd_provider_api::{Clock, ErrorKind, ProviderError};
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::config::AccountConfig;
use crate::credential::{base_words, client_options, scope_of};
use crate::error::{Call, code_of};
use crate::http::Http;
use crate::names::ASSIGNMENTS;

/// The version of the interface.
pub(crate) const API_VERSION: &str = "2022-04-01";

/// How often a call is tried.
const TRIES: u32 = 4;

/// How long to wait before the second try when the cloud names no time; twice as long each time.
const BACKOFF: Duration = Duration::from_millis(200);

/// How many pages of a list are read.
const PAGES: usize = 50;

/// Answers that prove that an assignment is not there: it is gone, or what it was on is.
const ABSENT: [&str; 3] = ["RoleAssignmentNotFound", "ResourceNotFound", "ResourceGroupNotFound"];

/// Resource Manager, with the daemon's own token.
#[derive(Debug)]
pub(crate) struct Arm {
    account: String,
    caller: String,
    endpoint: Url,
    pipeline: Pipeline,
    clock: Arc<dyn Clock>,
    timeouts: Timeouts,
}

/// A role assignment as Azure tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Assignment {
    /// Its resource ID.
    pub id: String,
    /// What it says.
    pub properties: Properties,
}

/// What a role assignment says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Properties {
    /// The resource ID of the role definition.
    pub role_definition_id: String,
    /// To whom.
    pub principal_id: String,
    /// Where.
    #[serde(default)]
    pub scope: String,
    /// On which condition.
    #[serde(default)]
    pub condition: Option<String>,
    /// For people, and our mark.
    #[serde(default)]
    pub description: Option<String>,
}

/// A role assignment that is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub id: String,
    pub role_definition_id: String,
    pub principal_id: Uuid,
    pub condition: Option<String>,
    pub description: String,
}

/// What removing something found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removed {
    /// It was there, and is not any more.
    Now,
    /// It was not there.
    Before,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page<T> {
    value: Vec<T>,
    #[serde(default)]
    next_link: Option<String>,
}

impl Wanted {
    /// The request's body, in the words of `RoleAssignmentCreateParameters`.
    fn body(&self) -> Value {
        let mut properties = json!({
            "roleDefinitionId": self.role_definition_id,
            "principalId": self.principal_id,
            "principalType": "ServicePrincipal",
            "description": self.description,
        });
        if let (Some(condition), Some(fields)) = (&self.condition, properties.as_object_mut()) {
            fields.insert("condition".to_owned(), json!(condition));
            fields.insert("conditionVersion".to_owned(), json!("2.0"));
        }
        json!({ "properties": properties })
    }

    /// Whether what stands there is exactly this.
    pub fn is(&self, found: &Assignment) -> bool {
        let role = |id: &str| id.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
        let there = &found.properties;
        found.id.eq_ignore_ascii_case(&self.id)
            && role(&there.role_definition_id) == role(&self.role_definition_id)
            && there.principal_id.eq_ignore_ascii_case(&self.principal_id.to_string())
            && there.condition == self.condition
            && there.description.as_deref() == Some(self.description.as_str())
    }
}

impl Arm {
    /// Sets up the pipeline. Sends nothing.
    pub fn new(
        account: &AccountConfig,
        http: &Http,
        credential: Arc<dyn TokenCredential>,
        clock: &Arc<dyn Clock>,
        timeouts: Timeouts,
    ) -> Self {
        let scope = scope_of(account.endpoints.resource_manager_audience());
        let authorize: Arc<dyn Policy> = Arc::new(BearerTokenAuthorizationPolicy::new(credential, [scope]));
        let pipeline = Pipeline::new(
            Some("grantd"),
            option_env!("CARGO_PKG_VERSION"),
            client_options(&account.endpoints, http),
            Vec::new(),
            vec![authorize],
            None,
        );
        Self {
            account: account.name.clone(),
            caller: base_words(&account.base),
            endpoint: account.endpoints.resource_manager.clone(),
            pipeline,
            clock: Arc::clone(clock),
            timeouts,
        }
    }

    /// Whose token it uses, in words.
    pub fn caller(&self) -> &str {
        &self.caller
    }

    /// The call, for messages.
    pub fn call<'a>(&'a self, action: &'static str, on: &'a str) -> Call<'a> {
        Call { account: &self.account, action, on, caller: &self.caller }
    }

    /// Assigns a role. What stands there already and is exactly this is as good.
    ///
    /// # Errors
    /// `Unknown` when it may stand there; `Conflict` when something else is in its way; else nothing was made.
    pub async fn assign(&self, wanted: &Wanted) -> Result<(), ProviderError> {
        let call = self.call("write the role assignment", &wanted.id);
        let answer = self.send(&call, Method::Put, &wanted.id, &[], Some(&wanted.body())).await?;
        match u16::from(answer.status()) {
            200 | 201 => {
                let found: Assignment = parsed(&call, &answer)?;
                if wanted.is(&found) {
                    return Ok(());
                }
                Err(call.error(ErrorKind::Unknown, "what azure says that it made is not what was asked for"))
            }
            409 if code_of(answer.body().as_ref()) == "RoleAssignmentExists" => match self.assignment(&wanted.id).await
            {
                Ok(Some(found)) if wanted.is(&found) => Ok(()),
                Ok(_) => Err(call.refused(409, answer.body().as_ref())),
                Err(error) => Err(call.error(ErrorKind::Unknown, format!("it may stand there already: {error}"))),
            },
            status => Err(call.refused(status, answer.body().as_ref())),
        }
    }

    /// Removes an assignment, whoever made it.
    ///
    /// # Errors
    /// Any; it may still stand.
    pub async fn remove(&self, id: &str) -> Result<Removed, ProviderError> {
        let call = self.call("remove the role assignment", id);
        let answer = self.send(&call, Method::Delete, id, &[], None).await?;
        match u16::from(answer.status()) {
            200 => Ok(Removed::Now),
            204 => Ok(Removed::Before),
            404 if is_absent(&answer) => Ok(Removed::Before),
            status => Err(call.refused(status, answer.body().as_ref())),
        }
    }

    /// The assignment of that name; `None` when it is certain that there is none. "Forbidden" proves nothing.
    ///
    /// # Errors
    /// Any; then nothing is known.
    pub async fn assignment(&self, id: &str) -> Result<Option<Assignment>, ProviderError> {
        let call = self.call("read the role assignment", id);
        let answer = self.send(&call, Method::Get, id, &[], None).await?;
        match u16::from(answer.status()) {
            200 => parsed(&call, &answer).map(Some),
            404 if is_absent(&answer) => Ok(None),
            status => Err(call.refused(status, answer.body().as_ref())),
        }
    }

    /// Every assignment of a principal in a subscription: at, above or below it.
    ///
    /// # Errors
    /// Any; then nothing is known.
    pub async fn assignments(&self, subscription: Uuid, principal: Uuid) -> Result<Vec<Assignment>, ProviderError> {
        let path = format!("/subscriptions/{subscription}{}", ASSIGNMENTS.trim_end_matches('/'));
        let call = self.call("list the role assignments of a slot in", &path);
        let filter = format!("principalId eq '{principal}'");
        let all: Vec<Assignment> = self.listed(&call, API_VERSION, &path, &filter).await?;
        // What a filter lets through is believed only where it is what was asked for.
        let own = |one: &Assignment| one.properties.principal_id.eq_ignore_ascii_case(&principal.to_string());
        match all.iter().all(own) {
            true => Ok(all),
            false => Err(call.error(ErrorKind::Unknown, "the answer tells of others than were asked for")),
        }
    }

    /// Everything on a list, page by page.
    ///
    /// # Errors
    /// Any; then nothing is known.
    pub async fn listed<T: DeserializeOwned>(
        &self,
        call: &Call<'_>,
        version: &str,
        path: &str,
        filter: &str,
    ) -> Result<Vec<T>, ProviderError> {
        let mut answer = self.send_as(call, version, Method::Get, path, &[("$filter", filter)], None).await?;
        let mut all = Vec::new();
        for _ in 0..PAGES {
            if u16::from(answer.status()) != 200 {
                return Err(call.refused(answer.status().into(), answer.body().as_ref()));
            }
            let page: Page<T> = parsed(call, &answer)?;
            all.extend(page.value);
            let Some(next) = page.next_link.filter(|link| !link.is_empty()) else { return Ok(all) };
            let url = Url::parse(&next).ok().filter(|url| url.origin() == self.endpoint.origin());
            let url = url.ok_or_else(|| call.error(ErrorKind::Unknown, "the list goes on at another address"))?;
            answer = self.exchange(call, Request::new(url, Method::Get)).await?;
        }
        Err(call.error(ErrorKind::Unknown, "the list does not end"))
    }

    /// Sends a request below the endpoint.
    pub async fn send(
        &self,
        call: &Call<'_>,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<RawResponse, ProviderError> {
        self.send_as(call, API_VERSION, method, path, query, body).await
    }

    /// The same in another version of the interface.
    pub async fn send_as(
        &self,
        call: &Call<'_>,
        version: &str,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<RawResponse, ProviderError> {
        let mut url = self.endpoint.clone();
        // Every path is made of resource IDs, which were checked to mean themselves.
        url.set_path(path);
        {
            let mut pairs = url.query_pairs_mut();
            pairs.append_pair("api-version", version);
            for (name, value) in query {
                pairs.append_pair(name, value);
            }
        }
        let mut request = Request::new(url, method);
        request.insert_header("accept", "application/json");
        if let Some(body) = body {
            request.insert_header(CONTENT_TYPE, "application/json");
            request.set_body(body.to_string());
        }
        self.exchange(call, request).await
    }

    /// Tries until there is an answer that trying again would not change, or the time is up.
    async fn exchange(&self, call: &Call<'_>, request: Request) -> Result<RawResponse, ProviderError> {
        let begun = self.clock.now();
        let (mut backoff, mut doubtful, mut last) = (BACKOFF, false, None);
        let work = async {
            for attempt in 1..=TRIES {
                let mut request = request.clone();
                let options = PipelineSendOptions { skip_checks: true, ..PipelineSendOptions::default() };
                let sent = self.pipeline.send(&Context::new(), &mut request, Some(options)).await;
                let (error, pause) = match sent {
                    Ok(answer) if !is_passing(answer.status().into()) => return Ok(answer),
                    Ok(answer) => {
                        let error = call.refused(answer.status().into(), answer.body().as_ref());
                        (error, retry_after(&answer, self.clock.now()))
                    }
                    Err(error) => (call.no_answer(&error), None),
                };
                doubtful |= error.may_have_happened();
                let error = in_doubt(call, error, doubtful);
                if !error.retryable() {
                    return Err(error);
                }
                let pause = pause.unwrap_or(backoff).max(backoff);
                let spent = Duration::try_from(self.clock.now().duration_since(begun)).unwrap_or_default();
                // Nobody is served by waiting for a moment that is too late.
                if attempt == TRIES || spent.saturating_add(pause) >= self.timeouts.operation {
                    return Err(error);
                }
                last = Some(error);
                tokio::time::sleep(pause).await;
                backoff = backoff.saturating_mul(2);
            }
            Err(call.error(ErrorKind::Unknown, "no answer"))
        };
        let outcome = tokio::time::timeout(self.timeouts.operation, work).await;
        outcome.unwrap_or_else(|_| Err(late(call, last, &request)))
    }
}

/// What it proves that the time was up. A request that only reads has nothing to leave behind.
fn late(call: &Call<'_>, last: Option<ProviderError>, request: &Request) -> ProviderError {
    match last {
        Some(last) if matches!(request.method(), Method::Get) => last,
        _ => call.error(ErrorKind::Unknown, "no answer in time; whether it was done is unknown"),
    }
}

/// After one try whose end is unknown, no other answer proves that nothing was done.
fn in_doubt(call: &Call<'_>, error: ProviderError, doubtful: bool) -> ProviderError {
    if doubtful && !error.may_have_happened() {
        return call.error(ErrorKind::Unknown, format!("an earlier try may have been carried out: {error}"));
    }
    error
}

/// Statuses after which trying again can help.
fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

/// How long the cloud asks us to wait (RFC 9110, section 10.2.3): seconds, or a date.
fn retry_after(answer: &RawResponse, now: Timestamp) -> Option<Duration> {
    let text = answer.headers().get_optional_str(&RETRY_AFTER)?;
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Duration::try_from(at.duration_since(now)).ok()
}

fn is_absent(answer: &RawResponse) -> bool {
    ABSENT.contains(&code_of(answer.body().as_ref()).as_str())
}

/// What an answer holds.
pub(crate) fn parsed<'a, T: Deserialize<'a>>(call: &Call<'_>, answer: &'a RawResponse) -> Result<T, ProviderError> {
    serde_json::from_slice(answer.body().as_ref())
        .map_err(|_| call.error(ErrorKind::Unknown, "the answer makes no sense; whether it was done is unknown"))
}

#[cfg(test)]
#[path = "arm_tests.rs"]
mod tests;
