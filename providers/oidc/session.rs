//! Making a token: nothing is asked of anybody, and nothing stands anywhere but what is handed out.

use grantd_provider_api::{
    Bearer, Credential, ErrorKind, IssueRequest, Issued, Passport, Passports, Placement, ProviderError,
};
use serde_json::{Map, Value, json};

use crate::config::{AccountConfig, Taker};
use crate::plan::{Native, OURS};

/// What is known of a token before it exists.
///
/// # Errors
/// `Unsupported` when it would live longer than the plan says, with the number that would be allowed; `Config` when the plan
/// is of another issuer or audience than are configured.
pub(crate) fn prepare(
    account: &AccountConfig,
    issuer: &str,
    request: &IssueRequest<'_>,
) -> Result<(Native, Placement), ProviderError> {
    let native = Native::of(request.plan)?;
    let taker = if native.exchange { Taker::TokenService } else { Taker::Service };
    if native.issuer != issuer || request.target != issuer || account.audiences.get(&native.audience) != Some(&taker) {
        let text =
            "the issuer or its audiences are not those of the plan any more: ask again, so that it is planned anew";
        return Err(ProviderError::new(ErrorKind::Config, text));
    }
    // A plan that was made under a longer lifetime does not outlive the shorter one.
    let most = native.max_lifetime_seconds.min(account.max_lifetime.as_secs());
    let left = request.access_until.as_second().saturating_sub(request.now.as_second());
    if left > i64::try_from(most).unwrap_or(i64::MAX) {
        let text = format!("a token for {} lives {most} s at most, and {left} s were asked for", native.audience);
        return Err(ProviderError::new(ErrorKind::Unsupported, text));
    }
    let placement = Placement { session_name: request.lease.to_string(), token_until: request.access_until };
    Ok((native, placement))
}

/// Has the token signed. It ends when the lease does, to the second.
pub(crate) fn issue(
    account: &AccountConfig,
    passports: &dyn Passports,
    request: &IssueRequest<'_>,
) -> Result<Issued, ProviderError> {
    let (native, placement) = prepare(account, passports.url(), request)?;
    let subject = native.subject_of(request.bearer.kind, request.bearer.name);
    let claims = [(OURS, ours(&placement.session_name, &request.bearer))];
    let signed = passports.sign(&Passport {
        id: &placement.session_name,
        audience: &native.audience,
        subject: &subject,
        until: request.access_until,
        claims: &claims,
    })?;
    let facts = [("key", signed.key), ("audience", native.audience.clone()), ("subject", subject.clone())];
    Ok(Issued {
        credential: Credential::Token {
            token: signed.token,
            audience: native.audience,
            issuer: native.issuer,
            subject: subject.clone(),
        },
        token_until: placement.token_until,
        native_id: subject,
        origin: None,
        facts: facts.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        notes: Vec::new(),
    })
}

/// What is grantd's to tell: where to look it up, and what the caller claims of itself under a name that says so.
fn ours(lease: &str, bearer: &Bearer<'_>) -> Value {
    let mut said = Map::new();
    for (name, value) in [("lease", lease), ("grant", bearer.grant), ("resource", bearer.resource)] {
        if !value.is_empty() {
            said.insert(name.to_owned(), json!(value));
        }
    }
    said.insert("subject".to_owned(), json!({ "kind": bearer.kind, "name": bearer.name }));
    if !bearer.task.is_empty() {
        let task: Map<String, Value> =
            bearer.task.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        said.insert("claimed_task".to_owned(), Value::Object(task));
    }
    Value::Object(said)
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
