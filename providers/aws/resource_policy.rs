//! Whether a resource's own policy shuts out the sessions of grantd without meaning to.
//!
//! A `Deny` with `NotPrincipal` denies every principal that has a permissions boundary, also one that it names (IAM User
//! Guide, "AWS JSON policy elements: NotPrincipal"): of a role that carries sessions of grantd nobody gets through. Of the
//! services in the entitlement map these have policies that can deny; a function's can only allow.

use grantd_provider_api::{ErrorKind, Finding, ProviderError, ResourceRef, Standing};
use serde_json::{Value, json};

use crate::account::Account;
use crate::arn::Arn;
use crate::error::Call;
use crate::http::Http;
use crate::sign::{Ask, signed};

const CHECK: &str = "resource.policy";

/// How a service is asked for the policy of one of its resources.
#[derive(Debug)]
struct Asked {
    action: &'static str,
    /// What the policy's text is in, member by member; nothing where the whole answer is the policy.
    inside: &'static [&'static str],
    /// How an error says that there is none.
    none: &'static str,
}

/// By the service, as ARNs name it.
const SERVICES: [(&str, Asked); 5] = [
    ("s3", Asked { action: "s3:GetBucketPolicy", inside: &[], none: "NoSuchBucketPolicy" }),
    ("secretsmanager", Asked { action: "secretsmanager:GetResourcePolicy", inside: &["ResourcePolicy"], none: "" }),
    ("kms", Asked { action: "kms:GetKeyPolicy", inside: &["Policy"], none: "" }),
    ("sqs", Asked { action: "sqs:GetQueueAttributes", inside: &["Attributes", "Policy"], none: "" }),
    (
        "ecr",
        Asked { action: "ecr:GetRepositoryPolicy", inside: &["policyText"], none: "RepositoryPolicyNotFoundException" },
    ),
];

/// The right to read the policies of a service's resources, if they have any.
pub(crate) fn right(service: &str) -> Option<&'static str> {
    asked(service).map(|asked| asked.action)
}

fn asked(service: &str) -> Option<&'static Asked> {
    SERVICES.iter().find(|(name, _)| *name == service).map(|(_, asked)| asked)
}

/// Looks at the policies of those of `resources` that can have one; of the others nothing is said.
pub(crate) async fn examine(account: &Account, http: &Http, resources: &[ResourceRef], findings: &mut Vec<Finding>) {
    for resource in resources {
        let Ok(on) = resource.native.parse::<Arn>() else { continue };
        if let Some(asked) = asked(on.service()) {
            let answer = read(account, http, &on, asked).await;
            findings.push(judged(&resource.native, asked.action, account.iam().1.words(), answer));
        }
    }
}

/// The policy; none when there is none.
async fn read(account: &Account, http: &Http, on: &Arn, asked: &Asked) -> Result<Option<String>, ProviderError> {
    let (_, credentials) = account.iam();
    let call =
        Call { account: &account.config.name, action: asked.action, on: on.as_str(), caller: credentials.words() };
    credentials.refresh().await?;
    let current = credentials.current();
    let current = current.ok_or_else(|| call.error(ErrorKind::Config, "there are no credentials to ask with"))?;
    let (status, body) = http.exchange(&call, signed(&call, account, &ask(on), on, &current)?).await?;
    let body = String::from_utf8_lossy(&body).into_owned();
    answered(&call, asked, status, body)
}

fn ask(on: &Arn) -> Ask {
    let name = on.resource();
    match on.service() {
        "secretsmanager" => {
            Ask::json("secretsmanager", "secretsmanager.GetResourcePolicy", "1.1", &json!({ "SecretId": on.as_str() }))
        }
        "kms" => {
            let body = json!({ "KeyId": on.as_str(), "PolicyName": "default" });
            Ask::json("kms", "TrentService.GetKeyPolicy", "1.1", &body)
        }
        "sqs" => {
            let host = if on.partition() == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" };
            let url = format!("https://sqs.{}.{host}/{}/{name}", on.region(), on.account());
            let body = json!({ "QueueUrl": url, "AttributeNames": ["Policy"] });
            Ask::json("sqs", "AmazonSQS.GetQueueAttributes", "1.0", &body)
        }
        "ecr" => {
            let name = name.strip_prefix("repository/").unwrap_or(name);
            let body = json!({ "repositoryName": name, "registryId": on.account() });
            let target = "AmazonEC2ContainerRegistry_V20150921.GetRepositoryPolicy";
            Ask { host: "api.ecr", ..Ask::json("ecr", target, "1.1", &body) }
        }
        _ => Ask::bucket(name, "policy"),
    }
}

/// What an answer says: the policy, that there is none, or neither.
fn answered(call: &Call<'_>, asked: &Asked, status: u16, body: String) -> Result<Option<String>, ProviderError> {
    match status {
        200 if asked.inside.is_empty() => Ok(Some(body)),
        200 => {
            let garbled = || call.error(ErrorKind::Unknown, "its answer is not understood");
            let answer: Value = serde_json::from_str(&body).map_err(|_| garbled())?;
            let text = asked.inside.iter().try_fold(&answer, |inside, member| inside.get(member));
            match text {
                // A service that leaves the member out says that there is no policy.
                None if answer.is_object() => Ok(None),
                Some(Value::String(text)) => Ok(Some(text.clone())),
                _ => Err(garbled()),
            }
        }
        400 | 404 if !asked.none.is_empty() && body.contains(asked.none) => Ok(None),
        404 => Err(call.error(ErrorKind::NotFound, "there is no such resource")),
        403 => Err(call.error(ErrorKind::Refused, "it may not be looked at")),
        400 if body.contains("AccessDenied") => Err(call.error(ErrorKind::Refused, "it may not be looked at")),
        _ => Err(call.status(status)),
    }
}

fn judged(about: &str, action: &str, who: &str, answer: Result<Option<String>, ProviderError>) -> Finding {
    let text = match answer {
        Ok(None) => return Finding::ok(about, CHECK, "it has no policy of its own"),
        Ok(Some(text)) => text,
        Err(error) => match error.kind {
            ErrorKind::Refused => {
                return Finding::not_checked(about, CHECK, format!("needs {action} for {who}"));
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
        judged(BUCKET, "s3:GetBucketPolicy", "the base", Ok(Some(policy.to_string()))).standing
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
    fn an_answer_is_a_policy_or_says_that_there_is_none_or_proves_nothing() {
        let call = Call { account: "main", action: "a", on: "b", caller: "c" };
        let of = |service: &str, status, body: &str| answered(&call, asked(service).unwrap(), status, body.to_owned());
        let policy = Ok(Some("{}".to_owned()));
        assert_eq!(of("s3", 200, "{}"), policy);
        assert_eq!(of("secretsmanager", 200, r#"{"ARN":"x","ResourcePolicy":"{}"}"#), policy);
        assert_eq!(of("secretsmanager", 200, r#"{"ARN":"x"}"#), Ok(None));
        assert_eq!(of("kms", 200, r#"{"Policy":"{}"}"#), policy);
        assert_eq!(of("sqs", 200, r#"{"Attributes":{"Policy":"{}"}}"#), policy);
        assert_eq!(of("sqs", 200, "{}"), Ok(None));
        assert_eq!(of("ecr", 200, r#"{"policyText":"{}"}"#), policy);
        assert_eq!(of("ecr", 400, r#"{"__type":"RepositoryPolicyNotFoundException"}"#), Ok(None));
        let kind = |service, status, body| of(service, status, body).unwrap_err().kind;
        for (service, status, body) in [("sqs", 200, "[]"), ("kms", 200, "<html>"), ("kms", 200, r#"{"Policy":7}"#)] {
            assert_eq!(kind(service, status, body), ErrorKind::Unknown, "{service} {status} {body}");
        }
        assert_eq!(kind("kms", 400, r#"{"__type":"AccessDeniedException"}"#), ErrorKind::Refused);
        assert_eq!(kind("s3", 404, "NoSuchBucket"), ErrorKind::NotFound);
        assert_ne!(kind("s3", 400, "RepositoryPolicyNotFoundException"), ErrorKind::NotFound);
    }

    #[test]
    fn what_was_not_seen_is_not_called_good() {
        let unseen = |answer| judged(BUCKET, "s3:GetBucketPolicy", "the base", answer);
        assert_eq!(unseen(Ok(Some("<html>".to_owned()))).standing, Standing::NotChecked);
        assert_eq!(unseen(Ok(Some("{}".to_owned()))).standing, Standing::NotChecked);
        let refused = unseen(Err(ProviderError::new(ErrorKind::Refused, "no")));
        assert_eq!((refused.standing, refused.found.contains("s3:GetBucketPolicy")), (Standing::NotChecked, true));
        assert_eq!(unseen(Ok(None)).standing, Standing::Ok);
    }
}
