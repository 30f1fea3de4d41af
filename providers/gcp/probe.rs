//! Trying a session: one harmless read that its plan allows, made with its token, to see whether Google lets it.

use grantd_provider_api::{ErrorKind, Plan, ProviderError, Secret, Trial};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde::Deserialize;

use crate::http::{Ask, Body};
use crate::link::Link;
use crate::plan::{Binding, Native};
use crate::resource::Resource;

/// Reads a list of at most one object of a bucket, below the plan's prefix.
const LIST: &str = "storage.objects.list";

/// What can be tried for a binding.
struct Harmless {
    binding: Binding,
    on: Resource,
    action: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Tested {
    permissions: Vec<String>,
}

/// The native name of what is tried: listing a bucket where the session may, else asking which permissions it has.
pub(crate) fn harmless(plan: &Plan) -> Option<String> {
    found(plan).map(|harmless| harmless.action)
}

fn found(plan: &Plan) -> Option<Harmless> {
    let native = Native::of(plan).ok()?;
    let lists = |binding: &&Binding| binding.permissions.iter().any(|permission| permission == LIST);
    if let Some(binding) = native.bindings.iter().find(lists) {
        let on: Resource = binding.policy.parse().ok()?;
        if on.is_bucket() {
            return Some(Harmless { binding: binding.clone(), on, action: LIST.to_owned() });
        }
    }
    // A condition on the name of an object does not hold for its bucket, so nothing can be asked there.
    native.bindings.iter().find(|binding| binding.condition.is_none() && !binding.permissions.is_empty()).and_then(
        |binding| {
            let on: Resource = binding.policy.parse().ok()?;
            let action = binding.permissions.first()?.clone();
            Some(Harmless { binding: binding.clone(), on, action })
        },
    )
}

/// Whether Google lets the token do what is harmless now.
///
/// # Errors
/// Any; the answer was neither, which proves nothing.
pub(crate) async fn try_token(link: &Link, plan: &Plan, token: &Secret) -> Result<Trial, ProviderError> {
    let Some(Harmless { binding, on, action }) = found(plan) else {
        let text = "no harmless call is known for this plan: try one without a condition, or object storage";
        return Err(ProviderError::new(ErrorKind::Unsupported, text));
    };
    let name = on.to_string();
    let call = link.call(&action, &name, "the session");
    let service = link.config.service(&on.host());
    if action == LIST {
        let prefix = binding.prefix.as_deref().unwrap_or_default();
        let prefix = utf8_percent_encode(prefix, NON_ALPHANUMERIC);
        let url = format!("{service}/storage/v1/b/{}/o?maxResults=1&prefix={prefix}", on.name());
        let answer = link.http.exchange(&call, Ask::get(url, Some(token))).await?;
        return match answer.status {
            200 => Ok(Trial::Allowed),
            401 | 403 => Ok(Trial::Refused),
            status => Err(call.answer(status, &answer.body)),
        };
    }
    let way = on.test(&[&action]);
    let body = way.body.map_or(Body::Empty, Body::Json);
    let ask = Ask { method: way.method, url: format!("{service}{}", way.path), token: Some(token), headers: &[], body };
    let answer = link.http.exchange(&call, ask).await?;
    match answer.status {
        200 => {
            let tested: Tested =
                serde_json::from_slice(&answer.body).map_err(|_| call.senseless("it is no list of permissions"))?;
            let has = tested.permissions.contains(&action);
            Ok(if has { Trial::Allowed } else { Trial::Refused })
        }
        401 | 403 => Ok(Trial::Refused),
        status => Err(call.answer(status, &answer.body)),
    }
}

/// For the doctor: which of `permissions` the daemon itself has on a resource.
pub(crate) async fn own_permissions(
    link: &Link,
    on: &Resource,
    permissions: &[&str],
) -> Result<Vec<String>, ProviderError> {
    let name = on.to_string();
    let call = link.call("testIamPermissions", &name, link.base.words());
    let way = on.test(permissions);
    let token = link.base.token().await?;
    let url = format!("{}{}", link.config.service(&on.host()), way.path);
    let body = way.body.map_or(Body::Empty, Body::Json);
    let method: Method = way.method;
    let body = link.http.fetch(&call, Ask { method, url, token: Some(&token), headers: &[], body }).await?;
    let tested: Tested = serde_json::from_slice(&body).map_err(|_| call.senseless("it is no list of permissions"))?;
    Ok(tested.permissions)
}
