//! What an answer of Google proves, and in whose words it is told.
//!
//! Nothing that a server wrote is repeated as it came: a broken or hostile endpoint could echo a request, token and all
//! (promise P9). Only the canonical code of a `google.rpc.Status` and an OAuth error code pass, each by its own syntax.

use grantd_provider_api::{ErrorKind, ProviderError};
use serde_json::Value;

/// The call that failed, for the message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    /// The account's configured name.
    pub account: &'a str,
    /// The method, e.g. `storage.buckets.setIamPolicy`.
    pub action: &'a str,
    /// On what.
    pub on: &'a str,
    /// Who calls, in words.
    pub caller: &'a str,
}

impl Call<'_> {
    /// An error of this call.
    pub fn error(&self, kind: ErrorKind, what: impl std::fmt::Display) -> ProviderError {
        ProviderError::new(kind, format!("account \"{}\": {} on {}: {what}", self.account, self.action, self.on))
    }

    /// The answer is none that Google gives.
    pub fn senseless(&self, why: &str) -> ProviderError {
        self.error(ErrorKind::Unknown, format!("the answer makes no sense: {why}"))
    }

    /// What a failure on the way proves.
    pub fn transport(&self, error: &reqwest::Error) -> ProviderError {
        if error.is_connect() {
            return self
                .error(ErrorKind::Unreachable, "no connection, so nothing was sent: check network and endpoint");
        }
        if error.is_builder() || error.is_request() && error.is_redirect() {
            return self.error(ErrorKind::Config, "the request could not be built, so nothing was sent");
        }
        let how = if error.is_timeout() { "no answer in time" } else { "the connection broke before the answer" };
        self.error(ErrorKind::Unknown, format!("{how}; whether it was done is unknown"))
    }

    /// What an answer proves that is no success.
    pub fn answer(&self, status: u16, body: &[u8]) -> ProviderError {
        use ErrorKind as K;
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let code = code_of(&body);
        let named = if code.is_empty() { String::new() } else { format!("{code}: ") };
        let caller = self.caller;
        if status >= 500 {
            return self.error(
                K::Unknown,
                format!("{named}the server failed (status {status}); whether it was done is unknown"),
            );
        }
        if status == 429 || throttled(&body) {
            return self.error(K::Throttled, format!("{named}too many requests: nothing was done, try again later"));
        }
        if code.is_empty() || status < 400 {
            // No Google service answers like this, so something on the way did; what Google did is anybody's guess.
            return self.error(
                K::Unknown,
                format!("an answer with status {status} and no error code is not from Google; whether it was done is unknown"),
            );
        }
        match (status, code.as_str()) {
            (_, "invalid_grant") => self.error(
                K::Config,
                format!("{named}the pool does not take our assertion: check issuer, audience, key set and attribute condition of the provider, and this machine's clock"),
            ),
            (_, "invalid_target" | "unauthorized_client" | "invalid_client") => {
                self.error(K::Config, format!("{named}there is no such pool or provider, or it is disabled"))
            }
            (_, "invalid_request" | "invalid_scope" | "unsupported_grant_type") => {
                self.error(K::Unsupported, format!("{named}Google does not take the request"))
            }
            (401, _) => self.error(K::Config, format!("{named}Google does not accept the token of {caller}")),
            (403, _) => self.error(
                K::Refused,
                format!("{named}{caller} may not do that: grant the permission for it on the resource or its project"),
            ),
            (404, _) => self.error(K::NotFound, format!("{named}it does not exist")),
            (409 | 412, _) => self.error(K::Conflict, format!("{named}somebody else is changing it")),
            (400, "FAILED_PRECONDITION") => self.error(
                K::Refused,
                format!("{named}an organisation policy or the state of the resource forbids it: check constraints/iam.allowedPolicyMemberDomains and the pool"),
            ),
            (400, _) => self.error(
                K::Unsupported,
                format!("{named}Google does not take the request: check resource name, roles and conditions of the entitlement map"),
            ),
            _ => self.error(K::Refused, format!("{named}Google refuses it (status {status})")),
        }
    }
}

/// The canonical code, by `google.rpc.Status`, by the errors of Cloud Storage, or by RFC 6749; empty if there is none.
fn code_of(body: &Value) -> String {
    let error = body.get("error");
    let oauth = error.and_then(Value::as_str);
    let status = error.and_then(|error| error.get("status")).and_then(Value::as_str);
    let reason = error.and_then(|error| error.pointer("/errors/0/reason")).and_then(Value::as_str);
    let found = oauth.or(status).or(reason).unwrap_or_default();
    let plain = (1..=48).contains(&found.len()) && found.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_');
    if plain { found.to_owned() } else { String::new() }
}

/// Cloud Storage and older services tell a rate limit as 403 (Cloud Storage, "HTTP status and error codes").
fn throttled(body: &Value) -> bool {
    let reason = body.pointer("/error/errors/0/reason").and_then(Value::as_str).unwrap_or_default();
    matches!(reason, "rateLimitExceeded" | "userRateLimitExceeded")
        || body.pointer("/error/status").and_then(Value::as_str) == Some("RESOURCE_EXHAUSTED")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: Call<'static> =
        Call { account: "prod", action: "storage.buckets.setIamPolicy", on: "//b", caller: "the daemon's principal" };

    #[test]
    fn each_answer_says_what_it_proves() {
        use ErrorKind as K;
        for (status, body, kind) in [
            (403, r#"{"error":{"status":"PERMISSION_DENIED"}}"#, K::Refused),
            (403, r#"{"error":{"errors":[{"reason":"rateLimitExceeded"}]}}"#, K::Throttled),
            (429, "", K::Throttled),
            (500, r#"{"error":{"status":"INTERNAL"}}"#, K::Unknown),
            (503, "<html>", K::Unknown),
            (409, r#"{"error":{"status":"ABORTED"}}"#, K::Conflict),
            (412, r#"{"error":{"errors":[{"reason":"conditionNotMet"}]}}"#, K::Conflict),
            (404, r#"{"error":{"status":"NOT_FOUND"}}"#, K::NotFound),
            (404, "<html>not ours</html>", K::Unknown),
            (400, r#"{"error":{"status":"INVALID_ARGUMENT"}}"#, K::Unsupported),
            (400, r#"{"error":{"status":"FAILED_PRECONDITION"}}"#, K::Refused),
            (400, r#"{"error":"invalid_grant","error_description":"x"}"#, K::Config),
            (401, r#"{"error":{"status":"UNAUTHENTICATED"}}"#, K::Config),
            (302, "", K::Unknown),
            (403, "{}", K::Unknown),
        ] {
            assert_eq!(CALL.answer(status, body.as_bytes()).kind, kind, "{status} {body}");
        }
    }

    #[test]
    fn p9_nothing_a_server_wrote_is_repeated() {
        let secret = "ya29.c0ASRK0GZ-token";
        for body in [
            format!(r#"{{"error":{{"status":"{secret}","message":"{secret}"}}}}"#),
            format!(r#"{{"error":"{secret}","error_description":"{secret}"}}"#),
            format!(r#"{{"error":{{"errors":[{{"reason":"{secret}"}}]}}}}"#),
            secret.to_owned(),
        ] {
            for status in [400, 401, 403, 404, 409, 418, 500] {
                let error = CALL.answer(status, body.as_bytes());
                assert!(!format!("{error} {error:?}").contains(secret), "{error}");
            }
        }
    }
}
