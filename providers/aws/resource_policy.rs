//! Whether a bucket's own policy shuts out the sessions of grantd without meaning to.
//!
//! A `Deny` with `NotPrincipal` denies every principal that has a permissions boundary, also one that it names (IAM User
//! Guide, "AWS JSON policy elements: NotPrincipal"): of a role that carries sessions of grantd nobody gets through.

use grantd_provider_api::{ErrorKind, Finding, ProviderError, ResourceRef, Standing};
use serde_json::Value;

use crate::account::Account;
use crate::arn::Arn;
use crate::error::Call;
use crate::http::Http;
use crate::sign::{Ask, signed};

const CHECK: &str = "resource.policy";

/// Looks at the policies of those of `resources` that are buckets; of the others nothing is said.
pub(crate) async fn examine(account: &Account, http: &Http, resources: &[ResourceRef], findings: &mut Vec<Finding>) {
    for resource in resources {
        let Ok(bucket) = resource.native.parse::<Arn>() else { continue };
        if bucket.service() == "s3" {
            findings.push(judged(&resource.native, account.iam().1.words(), read(account, http, &bucket).await));
        }
    }
}

/// The policy; none when there is none.
async fn read(account: &Account, http: &Http, bucket: &Arn) -> Result<Option<String>, ProviderError> {
    let (_, credentials) = account.iam();
    let call = Call {
        account: &account.config.name,
        action: "s3:GetBucketPolicy",
        on: bucket.as_str(),
        caller: credentials.words(),
    };
    credentials.refresh().await?;
    let current = credentials.current();
    let current = current.ok_or_else(|| call.error(ErrorKind::Config, "there are no credentials to ask with"))?;
    let target = format!("/{}?policy", bucket.resource());
    let ask = Ask { service: "s3", method: "GET", target, headers: Vec::new(), body: String::new() };
    let (status, body) = http.exchange(&call, signed(&call, account, &ask, bucket, &current)?).await?;
    let body = String::from_utf8_lossy(&body).into_owned();
    match status {
        200 => Ok(Some(body)),
        404 if body.contains("NoSuchBucketPolicy") => Ok(None),
        404 => Err(call.error(ErrorKind::NotFound, "there is no such bucket")),
        403 => Err(call.error(ErrorKind::Refused, "it may not be looked at")),
        _ => Err(call.status(status)),
    }
}

fn judged(about: &str, who: &str, answer: Result<Option<String>, ProviderError>) -> Finding {
    let text = match answer {
        Ok(None) => return Finding::ok(about, CHECK, "it has no policy of its own"),
        Ok(Some(text)) => text,
        Err(error) => match error.kind {
            ErrorKind::Refused => {
                return Finding::not_checked(about, CHECK, format!("needs s3:GetBucketPolicy for {who}"));
            }
            _ => return Finding::not_checked(about, CHECK, error.message),
        },
    };
    match shuts_out(&text) {
        None => Finding::not_checked(about, CHECK, "its policy is not understood"),
        Some(false) => Finding::ok(about, CHECK, "its policy has no deny with NotPrincipal"),
        Some(true) => Finding::bad(
            about,
            CHECK,
            Standing::Problem,
            "its policy denies all but some principals by NotPrincipal, and with that everybody who has a permissions \
             boundary: every session of grantd",
            "deny Principal \"*\" with a condition on aws:PrincipalArn in place of NotPrincipal",
        ),
    }
}

/// Whether a policy has a deny with `NotPrincipal`; none when it is no policy.
fn shuts_out(text: &str) -> Option<bool> {
    let policy: Value = serde_json::from_str(text).ok()?;
    let statements = match policy.get("Statement")? {
        Value::Array(many) => many.clone(),
        one @ Value::Object(_) => vec![one.clone()],
        _ => return None,
    };
    let denies = |s: &Value| s.get("Effect").and_then(Value::as_str) == Some("Deny") && s.get("NotPrincipal").is_some();
    Some(statements.iter().any(denies))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const BUCKET: &str = "arn:aws:s3:::reports";

    fn found(policy: Value) -> Standing {
        judged(BUCKET, "the base", Ok(Some(policy.to_string()))).standing
    }

    #[test]
    fn a_deny_with_not_principal_is_a_problem_and_nothing_else_is() {
        let deny = json!({ "Effect": "Deny", "NotPrincipal": { "AWS": "arn:aws:iam::123456789012:role/grantd-1" },
            "Action": "s3:*", "Resource": "*" });
        let plain = json!({ "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*" });
        let allow = json!({ "Effect": "Allow", "NotPrincipal": "*", "Action": "s3:*", "Resource": "*" });
        assert_eq!(found(json!({ "Statement": [plain, deny] })), Standing::Problem);
        assert_eq!(found(json!({ "Statement": deny })), Standing::Problem);
        assert_eq!(found(json!({ "Statement": [plain, allow] })), Standing::Ok);
    }

    #[test]
    fn what_was_not_seen_is_not_called_good() {
        let unseen = |answer| judged(BUCKET, "the base", answer);
        assert_eq!(unseen(Ok(Some("<html>".to_owned()))).standing, Standing::NotChecked);
        assert_eq!(unseen(Ok(Some("{}".to_owned()))).standing, Standing::NotChecked);
        let refused = unseen(Err(ProviderError::new(ErrorKind::Refused, "no")));
        assert_eq!((refused.standing, refused.found.contains("s3:GetBucketPolicy")), (Standing::NotChecked, true));
        assert_eq!(unseen(Ok(None)).standing, Standing::Ok);
    }
}
