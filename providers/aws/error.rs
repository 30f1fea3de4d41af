//! What an SDK error proves, and in whose words it is told.
//!
//! Nothing that a server wrote is repeated as it came: a broken or hostile endpoint could echo a request, token and
//! all (promise P9). Only an error code, ARNs, known action names and a percentage pass, each by its own syntax.

use std::error::Error as StdError;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::{ConnectorError, SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use grantd_provider_api::{ErrorKind, ProviderError};

use crate::federation;

/// The call that failed, for the message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    /// The account's configured name.
    pub account: &'a str,
    /// The action, e.g. `sts:AssumeRole`.
    pub action: &'static str,
    /// On what: a role or policy ARN.
    pub on: &'a str,
    /// Whose credentials it was made with, in words.
    pub caller: &'a str,
}

impl Call<'_> {
    /// An error of this call.
    pub fn error(&self, kind: ErrorKind, what: impl std::fmt::Display) -> ProviderError {
        ProviderError::new(kind, format!("account \"{}\": {} on {}: {what}", self.account, self.action, self.on))
    }

    /// A source of credentials that gives none.
    pub fn status(&self, status: u16) -> ProviderError {
        let kind = if status >= 500 || status == 429 { ErrorKind::Unreachable } else { ErrorKind::Config };
        self.error(kind, format!("it answers with status {status}"))
    }

    /// What `error` proves.
    pub fn sdk<E: ProvideErrorMetadata>(&self, error: &SdkError<E, HttpResponse>) -> ProviderError {
        match error {
            SdkError::ConstructionFailure(_) => self.error(
                ErrorKind::Config,
                "the request could not be built, so nothing was sent: check account, region and role in the configuration",
            ),
            SdkError::TimeoutError(_) => {
                self.error(ErrorKind::Unknown, "no answer in time; whether it was done is unknown")
            }
            SdkError::DispatchFailure(failure) => match failure.as_connector_error() {
                Some(error) => self.connection(error),
                None => self.error(ErrorKind::Unknown, "the request was lost; whether it was done is unknown"),
            },
            SdkError::ResponseError(response) => {
                let status = response.raw().status().as_u16();
                self.error(
                    ErrorKind::Unknown,
                    format!("the answer (status {status}) makes no sense; whether it was done is unknown"),
                )
            }
            SdkError::ServiceError(service) => {
                let error = service.err();
                self.answer(service.raw().status().as_u16(), error.code(), error.message().unwrap_or_default())
            }
            _ => self.error(ErrorKind::Unknown, "it failed in a way that is not known here"),
        }
    }

    /// What a lost connection proves.
    pub fn connection(&self, error: &ConnectorError) -> ProviderError {
        if never_connected(error) {
            return self
                .error(ErrorKind::Unreachable, "no connection, so nothing was sent: check network and endpoint");
        }
        if error.is_user() {
            return self.error(ErrorKind::Config, "the request could not be built, so nothing was sent");
        }
        let how = if error.is_timeout() { "no answer in time" } else { "the connection broke before the answer" };
        self.error(ErrorKind::Unknown, format!("{how}; whether it was done is unknown"))
    }

    /// What an error answer proves.
    fn answer(&self, status: u16, code: Option<&str>, message: &str) -> ProviderError {
        let code = code.filter(|code| is_code(code)).unwrap_or_default();
        if status >= 500 {
            let code = if code.is_empty() { "no error code" } else { code };
            return self.error(
                ErrorKind::Unknown,
                format!("the server failed (status {status}, {code}); whether it was done is unknown"),
            );
        }
        if status == 429 {
            return self.error(ErrorKind::Throttled, "too many requests: nothing was done, try again later");
        }
        if code.is_empty() || status < 400 {
            // No AWS service answers like this, so something on the way did; what AWS did is anybody's guess.
            return self.error(
                ErrorKind::Unknown,
                format!(
                    "an answer with status {status} and no error code is not from AWS; whether it was done is unknown"
                ),
            );
        }
        self.code(code, message)
    }

    fn code(&self, code: &str, message: &str) -> ProviderError {
        use ErrorKind as K;
        let base = self.caller;
        match code {
            "Throttling"
            | "ThrottlingException"
            | "ThrottledException"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "RequestLimitExceeded"
            | "TooManyRequestsException"
            | "SlowDown" => self.error(K::Throttled, format!("{code}: nothing was done, try again later")),
            "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" | "AuthorizationError" => {
                self.error(K::Refused, self.denied(code, message))
            }
            "RequestExpired" | "RequestTimeTooSkewed" | "RequestInTheFuture" => {
                self.error(K::ClockSkew, format!("{code}: this machine's clock is wrong: check time synchronisation"))
            }
            "SignatureDoesNotMatch" if message.contains("Signature expired") || message.contains("not yet current") => {
                self.error(K::ClockSkew, format!("{code}: this machine's clock is wrong: check time synchronisation"))
            }
            "InvalidIdentityToken" | "IDPRejectedClaim" | "ExpiredTokenException" if self.action == federation::ACTION => self
                .error(
                    K::Config,
                    format!(
                        "{code}: AWS does not accept {base}: has the account an identity provider of that URL and audience, \
                         are the keys published (grantctl issuer publish), and is this machine's clock right?"
                    ),
                ),
            "IDPCommunicationError" => self.error(
                K::Unreachable,
                format!("{code}: AWS cannot fetch the keys that {base} is verified with: nothing was done, try again"),
            ),
            "ExpiredToken" | "ExpiredTokenException" => {
                self.error(K::Config, format!("{code}: {base} has expired: renew it at its source"))
            }
            "InvalidClientTokenId"
            | "UnrecognizedClientException"
            | "InvalidAccessKeyId"
            | "NotSignedUp"
            | "SignatureDoesNotMatch"
            | "IncompleteSignature"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "InvalidIdentityToken"
            | "IDPRejectedClaim"
            | "OptInRequired" => {
                self.error(K::Config, format!("{code}: AWS does not accept {base}: replace it in the configuration"))
            }
            "RegionDisabledException" => {
                self.error(K::Config, format!("{code}: activate STS in this account's region, or configure another"))
            }
            "PackedPolicyTooLarge" => {
                let by = percentage(message).map_or_else(String::new, |n| format!(" ({n}% of what AWS packs)"));
                self.error(
                    K::Unsupported,
                    format!(
                        "{code}: session policy and tags are too large{by}: use a shorter prefix or fewer networks"
                    ),
                )
            }
            "MalformedPolicyDocument" | "MalformedPolicyDocumentException" => self.error(
                K::Unsupported,
                format!("{code}: AWS does not take the policy: check resource name and entitlement map"),
            ),
            "ValidationError" | "ValidationException" | "InvalidParameterValue" | "InvalidInput" => self.error(
                K::Unsupported,
                format!(
                    "{code}: AWS does not take a parameter: check max_session against the role's MaxSessionDuration"
                ),
            ),
            "NoSuchEntity" | "NoSuchEntityException" => self.error(K::NotFound, format!("{code}: it does not exist")),
            "LimitExceeded" | "LimitExceededException" => {
                self.error(K::Conflict, format!("{code}: another writer took the last place for a version"))
            }
            "ConcurrentModification"
            | "ConcurrentModificationException"
            | "DeleteConflict"
            | "EntityTemporarilyUnmodifiable" => {
                self.error(K::Conflict, format!("{code}: somebody else is changing it"))
            }
            _ => self.error(K::Refused, format!("{code}: AWS refuses it")),
        }
    }

    fn denied(&self, code: &str, message: &str) -> String {
        let caller = caller_arn(message).unwrap_or(self.caller);
        let says = |action: &str| message.contains(&format!("to perform: {action} "));
        let on = self.on;
        if says("sts:TagSession") {
            return format!(
                "{code}: {caller} may not tag sessions: allow sts:TagSession in the trust policy of {on} and to the \
                 base, or configure tags = false"
            );
        }
        if says("sts:SetSourceIdentity") {
            return format!(
                "{code}: {caller} may not set a source identity: allow sts:SetSourceIdentity in the trust policy of \
                 {on} and to the base, or configure source_identity = false"
            );
        }
        if self.action == federation::ACTION {
            return format!(
                "{code}: the trust policy of {on} does not trust {caller}: compare its audience and subject with grantctl \
                 bootstrap aws; tags and a source identity need sts:TagSession and sts:SetSourceIdentity there, too"
            );
        }
        if self.action == "sts:AssumeRole" {
            return format!(
                "{code}: the trust policy of {on} does not trust {caller}, or that identity may not call \
                 sts:AssumeRole: whoever owns the role has to allow both"
            );
        }
        format!("{code}: {caller} may not do that: allow {} on {on} to it", self.action)
    }
}

/// Whether the connection was never made: name resolution, TCP connect or TLS handshake failed, or took too long.
fn never_connected(error: &ConnectorError) -> bool {
    let mut next: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<hyper_util::client::legacy::Error>() {
            return error.is_connect();
        }
        next = error.source();
    }
    false
}

/// An AWS error code: letters, digits and full stops.
fn is_code(code: &str) -> bool {
    (1..=64).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.')
}

/// The identity in "User: arn:… is not authorized to perform: …".
fn caller_arn(message: &str) -> Option<&str> {
    let word = message.strip_prefix("User: ")?.split(' ').next()?;
    let plain = word.bytes().all(|b| b.is_ascii_alphanumeric() || b":/_+=,.@-".contains(&b));
    (plain && word.len() <= 256 && word.starts_with("arn:")).then_some(word)
}

/// The number before the first per cent sign, if it is a small number.
fn percentage(message: &str) -> Option<u16> {
    let (before, _) = message.split_once('%')?;
    before.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: Call<'static> = Call {
        account: "prod",
        action: "sts:AssumeRole",
        on: "arn:aws:iam::123456789012:role/grantd",
        caller: "the base identity",
    };

    #[test]
    fn each_code_says_what_it_proves() {
        use ErrorKind as K;
        for (status, code, kind) in [
            (403, "AccessDenied", K::Refused),
            (400, "Throttling", K::Throttled),
            (429, "", K::Throttled),
            (503, "Throttling", K::Unknown),
            (500, "InternalFailure", K::Unknown),
            (400, "PackedPolicyTooLarge", K::Unsupported),
            (400, "MalformedPolicyDocument", K::Unsupported),
            (400, "ValidationError", K::Unsupported),
            (403, "ExpiredToken", K::Config),
            (403, "InvalidClientTokenId", K::Config),
            (403, "RegionDisabledException", K::Config),
            (403, "SignatureDoesNotMatch", K::Config),
            (400, "RequestExpired", K::ClockSkew),
            (404, "NoSuchEntity", K::NotFound),
            (409, "LimitExceeded", K::Conflict),
            (409, "ConcurrentModification", K::Conflict),
            (418, "SomethingNew", K::Refused),
            (403, "", K::Unknown),
            (302, "Moved", K::Unknown),
            (403, "not a code <html>", K::Unknown),
        ] {
            assert_eq!(CALL.answer(status, Some(code), "").kind, kind, "{status} {code}");
        }
        let skewed = CALL.answer(403, Some("SignatureDoesNotMatch"), "Signature expired: 2026 is now earlier than");
        assert_eq!(skewed.kind, K::ClockSkew);
    }

    #[test]
    fn a_refusal_names_who_must_fix_what() {
        let message = "User: arn:aws:iam::123456789012:user/grantd is not authorized to perform: sts:TagSession on x";
        let text = CALL.answer(403, Some("AccessDenied"), message).to_string();
        assert!(text.contains("user/grantd may not tag sessions") && text.contains("tags = false"), "{text}");
        let text = CALL.answer(403, Some("AccessDenied"), "").to_string();
        assert!(text.contains("the trust policy of arn:aws:iam::123456789012:role/grantd does not trust"), "{text}");
        let message = "Packed policy consumes 112% of allotted space, please use smaller policy.";
        let text = CALL.answer(400, Some("PackedPolicyTooLarge"), message).to_string();
        assert!(text.contains("112%"), "{text}");
    }

    #[test]
    fn p9_nothing_a_server_wrote_is_repeated() {
        let secret = "wJalrXUtnFEMI/K7MDENG";
        for (status, code) in [(403, "AccessDenied"), (400, "PackedPolicyTooLarge"), (500, secret), (400, secret)] {
            for message in [format!("User: {secret} is"), format!("User: arn:{secret}\n is"), format!("{secret}%")] {
                let error = CALL.answer(status, Some(code), &message);
                assert!(!format!("{error} {error:?}").contains(secret), "{error}");
            }
        }
    }
}
