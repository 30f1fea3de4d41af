//! What an answer proves, and in whose words it is told.
//!
//! Nothing that a server wrote is repeated as it came: a broken or hostile endpoint could echo a request, token and
//! all (promise P9). Only error codes pass, by their own syntax.

use std::error::Error as StdError;

use azure_core::error::{Error as AzureError, ErrorKind as AzureKind};
use grantd_provider_api::{ErrorKind, ProviderError};
use serde::Deserialize;

/// The call that failed, for the message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    /// The account's configured name.
    pub account: &'a str,
    /// What was to be done, e.g. `write the role assignment`.
    pub action: &'static str,
    /// On what.
    pub on: &'a str,
    /// Whose token it was done with, in words.
    pub caller: &'a str,
}

/// What Entra says in place of a token (RFC 6749, section 5.2; `error_codes` are Entra's own).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TokenRefusal {
    error: String,
    error_codes: Vec<u32>,
}

/// What Resource Manager says (Azure Resource Manager, "Common API details").
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ArmRefusal {
    error: ArmError,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ArmError {
    code: String,
}

impl Call<'_> {
    /// An error of this call.
    pub fn error(&self, kind: ErrorKind, what: impl std::fmt::Display) -> ProviderError {
        ProviderError::new(kind, format!("account \"{}\": {} {}: {what}", self.account, self.action, self.on))
    }

    /// What it proves that no token was to be had. A token by itself is no access, so never that something was made.
    pub fn no_token(&self, error: &AzureError) -> ProviderError {
        let chain = || {
            let first: &(dyn StdError + 'static) = error;
            std::iter::successors(Some(first), |error: &&(dyn StdError + 'static)| (*error).source())
        };
        // Our own issuer, or a file of ours, said no.
        if let Some(own) = chain().find_map(|error| error.downcast_ref::<ProviderError>()) {
            return ProviderError::new(certain(own.kind), format!("account \"{}\": {own}", self.account));
        }
        let azure: Vec<&AzureError> = chain().filter_map(|error| error.downcast_ref::<AzureError>()).collect();
        for error in &azure {
            match error.kind() {
                AzureKind::HttpResponse { status, raw_response, .. } => {
                    let body = raw_response.as_ref().map(|raw| raw.body().as_ref()).unwrap_or_default();
                    return self.token_refused(u16::from(*status), body);
                }
                AzureKind::Connection => {
                    let why = "no connection to where tokens are issued: check network and endpoint";
                    return self.error(ErrorKind::Unreachable, why);
                }
                AzureKind::Io => {
                    return self
                        .error(ErrorKind::Unreachable, "no answer, or a broken one, from where tokens are issued");
                }
                _ => {}
            }
        }
        self.error(ErrorKind::Unreachable, "the answer in place of a token makes no sense")
    }

    /// What an error answer of Entra's token endpoint proves.
    pub fn token_refused(&self, status: u16, body: &[u8]) -> ProviderError {
        use ErrorKind as K;
        let refusal: TokenRefusal = serde_json::from_slice(body).unwrap_or_default();
        let code = refusal.error_codes.first().copied().unwrap_or_default();
        let caller = self.caller;
        let said = if code == 0 { format!("status {status}") } else { format!("AADSTS{code}") };
        // Microsoft Entra authentication and authorization error codes.
        let (kind, why) = match code {
            700_016 => (K::Config, format!("the tenant has no application with the client_id of {caller}")),
            90_002 => (K::Config, "there is no such tenant: check tenant and cloud".to_owned()),
            70_021 | 700_211 | 700_212 | 700_213 | 700_238 => (
                K::Config,
                format!(
                    "no federated credential of {caller} takes the daemon's word: its issuer, subject and audience must be \
                     exactly those that grantctl bootstrap prints"
                ),
            ),
            50_013 | 700_027 | 700_030 | 5_000_611 => (
                K::Config,
                "the signature of the daemon's assertion is not accepted: is the published key set the one in use?"
                    .to_owned(),
            ),
            700_024 | 500_133 => (
                K::Config,
                "the assertion is not valid at this time: this machine's clock is wrong: check time synchronisation"
                    .to_owned(),
            ),
            7_000_112 | 50_057 => (K::Config, format!("{caller} is disabled")),
            500_011 | 70_011 | 650_057 | 1_002_012 => {
                (K::Config, "the tenant knows no such audience: check the entitlement map".to_owned())
            }
            53_003 | 53_000 | 530_034 | 53_011 => {
                (K::Refused, format!("a conditional access policy of the tenant stands against {caller}"))
            }
            _ if status == 429 => (K::Throttled, "too many requests: try again later".to_owned()),
            _ if status >= 500 => (K::Unreachable, "the issuer of tokens failed".to_owned()),
            _ if refusal.error.is_empty() => (K::Unreachable, "the answer is not from Entra".to_owned()),
            _ => (K::Refused, format!("no token for {caller}")),
        };
        self.error(kind, format!("{said}: {why}"))
    }

    /// What it proves that Resource Manager gave no answer. `sent` tells whether an earlier try may have got through.
    pub fn no_answer(&self, error: &AzureError) -> ProviderError {
        match error.kind() {
            AzureKind::Connection => {
                self.error(ErrorKind::Unreachable, "no connection, so nothing was sent: check network and endpoint")
            }
            AzureKind::Credential => self.no_token(error),
            AzureKind::Io => {
                self.error(ErrorKind::Unknown, "no answer, or a broken one; whether it was done is unknown")
            }
            _ => self.error(ErrorKind::Unknown, "it failed in a way that is not known here"),
        }
    }

    /// What an error answer of Resource Manager proves.
    pub fn refused(&self, status: u16, body: &[u8]) -> ProviderError {
        use ErrorKind as K;
        let code = code_of(body);
        let code = code.as_str();
        if status >= 500 || status == 408 {
            let code = if code.is_empty() { "no error code" } else { code };
            let why = format!("the server failed (status {status}, {code}); whether it was done is unknown");
            return self.error(K::Unknown, why);
        }
        if status == 429 {
            return self.error(K::Throttled, "too many requests: nothing was done, try again later");
        }
        if code.is_empty() || status < 400 {
            let why = format!(
                "an answer with status {status} and no error code is not from Azure; whether it was done is unknown"
            );
            return self.error(K::Unknown, why);
        }
        let caller = self.caller;
        let (kind, why) = match code {
            "AuthorizationFailed" | "LinkedAuthorizationFailed" | "Forbidden" => (
                K::Refused,
                format!(
                    "{caller} may not do that: does it have the role that grantctl bootstrap prints, and is this role \
                         and this slot named in its condition?"
                ),
            ),
            "InvalidAuthenticationToken"
            | "ExpiredAuthenticationToken"
            | "InvalidAuthenticationTokenTenant"
            | "AuthenticationFailed" => {
                (K::Config, format!("the token of {caller} is not accepted: check tenant and cloud"))
            }
            "RoleAssignmentExists" => {
                (K::Conflict, "somebody assigned the same role to the slot on the same scope".to_owned())
            }
            "RoleAssignmentUpdateNotPermitted" => (K::Conflict, "another assignment has this name already".to_owned()),
            "RoleAssignmentLimitExceeded" => {
                (K::Capacity, "the subscription has no room for another role assignment".to_owned())
            }
            "PrincipalNotFound" => {
                (K::Config, "the tenant has no service principal with the slot's object_id".to_owned())
            }
            "RoleDefinitionDoesNotExist" => {
                (K::Config, "there is no such role definition: apply what grantctl bootstrap prints".to_owned())
            }
            "PrincipalTypeNotSupported" | "UnmatchedPrincipalType" => {
                (K::Config, "the slot's object_id is no service principal".to_owned())
            }
            "ScopeLocked" | "ReadOnlyDisabledSubscription" => {
                (K::Refused, "a lock, or the state of the subscription, forbids changes there".to_owned())
            }
            "SubscriptionNotFound" | "InvalidSubscriptionId" => {
                (K::Config, "the tenant has no such subscription, or shows it to others only".to_owned())
            }
            "RoleAssignmentNotFound" | "ResourceNotFound" | "ResourceGroupNotFound" | "NotFound" => {
                (K::NotFound, "it does not exist".to_owned())
            }
            "AadPremiumLicenseRequired" => (
                K::Config,
                "pim_backstop needs a licence of Entra ID P2 or ID Governance in the tenant: get one, or turn it off".to_owned(),
            ),
            "RoleAssignmentRequestPolicyValidationFailed" => (
                K::Config,
                "the role's PIM policy on the resource is against it: let active assignments expire as late as the longest \
                 lease, and want no approval and no ticket for them"
                    .to_owned(),
            ),
            "TooManyRequests" | "RequestThrottled" | "OperationNotAllowed" => {
                (K::Throttled, "nothing was done, try again later".to_owned())
            }
            "BadRequestFormat"
            | "InvalidRequestContent"
            | "BadRequest"
            | "InvalidCondition"
            | "ConditionNotSupported"
            | "InvalidRoleAssignmentCondition" => {
                (K::Unsupported, "azure does not take the request: check condition and scope in the map".to_owned())
            }
            _ if status == 409 => (K::Conflict, "somebody else is changing it".to_owned()),
            _ => (K::Refused, "azure refuses it".to_owned()),
        };
        self.error(kind, format!("{code}: {why}"))
    }
}

/// The error code of an answer of Resource Manager; empty when it has none that can be one.
pub(crate) fn code_of(body: &[u8]) -> String {
    let refusal: ArmRefusal = serde_json::from_slice(body).unwrap_or_default();
    let code = refusal.error.code;
    let plain = (1..=64).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric());
    if plain { code } else { String::new() }
}

/// The kind of an error that came before anything was sent.
pub(crate) fn certain(kind: ErrorKind) -> ErrorKind {
    match kind {
        ErrorKind::Unknown => ErrorKind::Unreachable,
        ErrorKind::ClockSkew => ErrorKind::Config,
        kind => kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: Call<'static> =
        Call { account: "main", action: "write the role assignment", on: "/subscriptions/x", caller: "the base" };

    fn body(code: &str, message: &str) -> Vec<u8> {
        serde_json::json!({ "error": { "code": code, "message": message } }).to_string().into_bytes()
    }

    #[test]
    fn each_code_says_what_it_proves() {
        use ErrorKind as K;
        for (status, code, kind) in [
            (403, "AuthorizationFailed", K::Refused),
            (401, "InvalidAuthenticationToken", K::Config),
            (409, "RoleAssignmentExists", K::Conflict),
            (400, "RoleAssignmentLimitExceeded", K::Capacity),
            (400, "PrincipalNotFound", K::Config),
            (400, "RoleDefinitionDoesNotExist", K::Config),
            (409, "ScopeLocked", K::Refused),
            (404, "SubscriptionNotFound", K::Config),
            (404, "RoleAssignmentNotFound", K::NotFound),
            (429, "TooManyRequests", K::Throttled),
            (500, "InternalServerError", K::Unknown),
            (503, "ServerBusy", K::Unknown),
            (403, "", K::Unknown),
            (404, "", K::Unknown),
            (302, "Moved", K::Unknown),
            (403, "not a code <html>", K::Unknown),
            (418, "SomethingNew", K::Refused),
        ] {
            assert_eq!(CALL.refused(status, &body(code, "")).kind, kind, "{status} {code}");
        }
        assert_eq!(CALL.refused(403, b"<html>forbidden</html>").kind, K::Unknown);
    }

    #[test]
    fn a_refused_token_names_what_to_put_right_and_never_means_that_something_was_made() {
        for (status, code, says) in [
            (400, 700_016, "client_id"),
            (401, 700_213, "federated credential"),
            (401, 50_013, "key set"),
            (401, 700_024, "clock"),
            (400, 500_011, "audience"),
            (400, 90_002, "tenant"),
            (429, 0, "later"),
            (503, 0, "failed"),
            (400, 123, "no token"),
        ] {
            let answer = serde_json::json!({ "error": "invalid_client", "error_codes": [code] }).to_string();
            let answer = answer.replace("[0]", "[]");
            let error = CALL.token_refused(status, answer.as_bytes());
            assert!(error.message.contains(says) && !error.may_have_happened(), "{code}: {error}");
        }
    }

    #[test]
    fn p9_nothing_a_server_wrote_is_repeated() {
        let secret = "eyJ0eXAiOiJKV1Qi.secret";
        for (status, code) in [(403, "AuthorizationFailed"), (500, secret), (400, secret)] {
            let error = CALL.refused(status, &body(code, secret));
            assert!(!format!("{error} {error:?}").contains(secret), "{error}");
        }
        let answer = serde_json::json!({ "error": secret, "error_description": secret, "error_codes": [1] });
        let error = CALL.token_refused(400, answer.to_string().as_bytes());
        assert!(!format!("{error} {error:?}").contains(secret), "{error}");
    }
}
