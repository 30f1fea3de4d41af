//! The way to one account: who calls, by which client, under which clock. Cheap to clone.

use std::sync::Arc;
use std::time::Duration;

use grantd_provider_api::{Clock, ErrorKind, ProviderError};
use reqwest::Method;

use crate::base::Base;
use crate::config::AccountConfig;
use crate::error::Call;
use crate::http::{Ask, Body};
use crate::policy::Policy;
use crate::resource::{Resource, Way};

/// What every call of an account needs.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub config: Arc<AccountConfig>,
    pub http: crate::http::Http,
    pub base: Base,
    pub clock: Arc<dyn Clock>,
    pub clock_skew: Duration,
}

impl Link {
    /// A call, for its errors.
    pub fn call<'a>(&'a self, action: &'a str, on: &'a str, caller: &'a str) -> Call<'a> {
        Call { account: &self.config.name, action, on, caller }
    }

    /// The allow policy of `resource` with its conditions. Reading changes nothing, so no error means that something may
    /// have been done.
    pub async fn read(&self, resource: &Resource) -> Result<Policy, ProviderError> {
        let (action, on) = (resource.action("getIamPolicy"), resource.to_string());
        let call = self.call(&action, &on, self.base.words());
        let outcome = async {
            let body = self.ask(&call, resource, resource.read()).await?;
            Policy::parse(&body).ok_or_else(|| call.senseless("it is no allow policy with an etag"))
        };
        outcome.await.map_err(nothing_done)
    }

    /// Replaces the allow policy of `resource` by one that was read before.
    pub async fn write(&self, resource: &Resource, policy: &Policy) -> Result<Policy, ProviderError> {
        let (action, on) = (resource.action("setIamPolicy"), resource.to_string());
        let call = self.call(&action, &on, self.base.words());
        let body = self.ask(&call, resource, resource.write(policy.to_write())).await?;
        Policy::parse(&body).ok_or_else(|| call.senseless("it is no allow policy with an etag"))
    }

    async fn ask(
        &self,
        call: &Call<'_>,
        resource: &Resource,
        way: Way,
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, ProviderError> {
        let token = self.base.token().await?;
        let url = format!("{}{}", self.config.service(&resource.host()), way.path);
        // Google refuses a POST without a length (411); an empty body has one.
        let body = way.body.map_or(Body::Empty, Body::Json);
        let headers: &[_] = match (&way.method, &body) {
            (&Method::POST, Body::Empty) => &[("content-length", "0")],
            _ => &[],
        };
        self.http.fetch(call, Ask { method: way.method, url, token: Some(&token), headers, body }).await
    }
}

/// The same error, for a step that cannot have changed anything.
pub(crate) fn nothing_done(error: ProviderError) -> ProviderError {
    let kind = if error.may_have_happened() { ErrorKind::Unreachable } else { error.kind };
    ProviderError::new(kind, error.message)
}
