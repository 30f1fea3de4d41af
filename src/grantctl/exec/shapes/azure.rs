//! Managed identity as App Service and as a virtual machine offer it: one token for each audience.
//!
//! App Service: `GET ?api-version=2019-08-01&resource=…` with `X-IDENTITY-HEADER`, errors `{"statusCode","message"}`
//! ("How to use managed identities for App Service and Azure Functions", REST endpoint reference). Virtual machine:
//! `GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=…` with `Metadata: true`, errors
//! `{"error","error_description"}` ("How to use managed identities on an Azure VM to acquire an access token"). It has no
//! place for a secret: who is calling is the kernel's word alone. It never answers 410, after which clients retry for more
//! than a minute, and for what will not change never 404 or 429.

use hyper::header::HeaderName;
use hyper::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::json;

use super::{Asking, Problem, Reply, Wanted};
use crate::forms::azure::Azure;

/// Where App Service's clients are led.
pub(in crate::exec) const APP_SERVICE: &str = "/msi/token";

/// Where a virtual machine's clients ask.
pub(in crate::exec) const VIRTUAL_MACHINE: &str = "/metadata/identity/oauth2/token";

/// The beginning of what belongs to the virtual machine's shape.
const METADATA: &str = "/metadata/";

/// Other ways to name an identity, which a lease cannot be told by.
const OTHER_NAMES: [&str; 4] = ["object_id", "principal_id", "mi_res_id", "msi_res_id"];

pub(super) fn asked(asking: &Asking<'_>) -> Result<Wanted, Problem> {
    let bad = |code, message: String| Problem::new(StatusCode::BAD_REQUEST, code, message);
    let (wanted_version, key) = match asking.head.uri.path() {
        APP_SERVICE => (
            "2019-08-01",
            asking.has_token(HeaderName::from_static("x-identity-header")).then_some(()).ok_or_else(|| {
                let message = "the X-IDENTITY-HEADER header is not IDENTITY_HEADER";
                Problem::new(StatusCode::UNAUTHORIZED, "unauthorized_client", message)
            }),
        ),
        VIRTUAL_MACHINE => {
            let metadata = asking.header(HeaderName::from_static("metadata"));
            let said = metadata.is_some_and(|value| value.eq_ignore_ascii_case(b"true"));
            let missing = || bad("bad_request_102", "the header Metadata: true is missing".to_owned());
            ("2018-02-01", said.then_some(()).ok_or_else(missing))
        }
        _ => {
            let message = format!("there are only {APP_SERVICE} and {VIRTUAL_MACHINE} here");
            return Err(bad("invalid_request", message));
        }
    };
    key?;
    asking.direct()?;
    asking.only(&Method::GET)?;
    let version = asking.query("api-version").unwrap_or_default();
    if version != wanted_version {
        return Err(bad("invalid_request", format!("api-version is {version:?}; {wanted_version} is answered here")));
    }
    if let Some(name) = OTHER_NAMES.into_iter().find(|name| asking.query(name).is_some()) {
        let message = format!("an identity can be named by client_id here, and not by {name}; leave both out");
        return Err(bad("invalid_request", message));
    }
    let resource = asking.query("resource").filter(|resource| !resource.is_empty());
    let resource = resource.ok_or_else(|| bad("invalid_request", "the query has no resource".to_owned()))?;
    Ok(Wanted::Azure { resource, client_id: asking.query("client_id").filter(|id| !id.is_empty()) })
}

pub(super) fn given(azure: &Azure, resource: &str, client_id: Option<&str>, now: Timestamp) -> Result<Reply, Problem> {
    let bad = |code, message| Problem::new(StatusCode::BAD_REQUEST, code, message);
    if let Some(other) = client_id.filter(|id| !id.eq_ignore_ascii_case(&azure.client_id)) {
        let message = format!("identity {other} is not that of the lease, {}; name none", azure.client_id);
        return Err(bad("invalid_request", message));
    }
    let token = azure.token_for(resource).map_err(|message| bad("invalid_resource", message))?;
    azure.identity_json(token, resource, now).map(Reply::json).map_err(|_| Problem::internal())
}

pub(super) fn refused(path: &str, problem: &Problem) -> Reply {
    let Problem { status, code, message } = problem;
    Reply::says(
        *status,
        &match path.starts_with(METADATA) {
            true => json!({ "error": code, "error_description": message }),
            false => json!({ "statusCode": status.as_u16(), "message": message }),
        },
    )
}
