//! What went through the proxy, and the ledger of every session that the cloud issued. No secret is in a record; the
//! ledger holds them, because tests use them to see whether an ended session is really refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use grantd_provider_api::Secret;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::rule::Fault;
use crate::query::{parse_form, xml_text};
use crate::serve::Call;

/// One request.
#[derive(Debug, Clone, Serialize)]
pub struct Record {
    /// When it arrived.
    pub at: Timestamp,
    /// Its `Action` parameter, or method and path for what has none (S3).
    pub action: String,
    /// Its parameters, tokens left out.
    pub parameters: BTreeMap<String, String>,
    /// The access key that signed it.
    pub access_key: Option<String>,
    /// What was done to it.
    pub fault: Option<Fault>,
    /// What the cloud answered; `None` if it was not asked or has not answered yet.
    pub upstream_status: Option<u16>,
    /// What the client was told; `None` if nothing, or nothing yet.
    pub status: Option<u16>,
}

impl Record {
    pub(super) fn of(call: &Call, action: String, fault: Option<Fault>, at: Timestamp) -> Self {
        let mut parameters = if has_form(call) { parse_form(&call.body) } else { BTreeMap::new() };
        for hidden in ["WebIdentityToken", "SAMLAssertion", "TokenCode"] {
            if let Some(value) = parameters.get_mut(hidden) {
                "[secret]".clone_into(value);
            }
        }
        let access_key = access_key(call);
        Self { at, action, parameters, access_key, fault, upstream_status: None, status: None }
    }
}

fn has_form(call: &Call) -> bool {
    let kind = call.head.headers.get(hyper::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"))
}

/// The `Action` of a call, or its method and path.
pub(super) fn action_of(call: &Call) -> String {
    let named = has_form(call).then(|| parse_form(&call.body).remove("Action")).flatten();
    named.unwrap_or_else(|| format!("{} {}", call.head.method, call.head.uri.path()))
}

/// The access key in `Authorization: AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, …`.
fn access_key(call: &Call) -> Option<String> {
    let value = call.head.headers.get(hyper::header::AUTHORIZATION)?.to_str().ok()?;
    Some(value.split_once("Credential=")?.1.split_once('/')?.0.to_owned())
}

/// A session that the cloud issued, whether or not anybody heard of it.
#[derive(Debug)]
pub struct Session {
    /// When the cloud answered.
    pub at: Timestamp,
    /// The role.
    pub role_arn: String,
    /// The session's name, which ends in the lease's suffix.
    pub session_name: String,
    /// The access key id.
    pub access_key_id: String,
    /// The secret access key.
    pub secret_access_key: Secret,
    /// The session token.
    pub session_token: Secret,
    /// When it expires by itself, as the cloud wrote it.
    pub expiration: String,
}

impl Session {
    /// Reads a successful answer to `AssumeRole` or `AssumeRoleWithWebIdentity`.
    pub(super) fn of(parameters: &BTreeMap<String, String>, body: &str, at: Timestamp) -> Option<Arc<Self>> {
        Some(Arc::new(Self {
            at,
            role_arn: parameters.get("RoleArn")?.clone(),
            session_name: parameters.get("RoleSessionName")?.clone(),
            access_key_id: xml_text(body, "AccessKeyId")?,
            secret_access_key: Secret::new(xml_text(body, "SecretAccessKey")?),
            session_token: Secret::new(xml_text(body, "SessionToken")?),
            expiration: xml_text(body, "Expiration")?,
        }))
    }

    /// The session as JSON, secrets included: for the admin port and for the programs that try it.
    #[must_use]
    pub fn exposed(&self) -> serde_json::Value {
        json!({
            "at": self.at,
            "role_arn": self.role_arn,
            "session_name": self.session_name,
            "access_key_id": self.access_key_id,
            "secret_access_key": self.secret_access_key.expose(),
            "session_token": self.session_token.expose(),
            "expiration": self.expiration,
        })
    }
}
