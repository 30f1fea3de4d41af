//! Trying a session: one harmless read that its plan allows, signed with its credentials, to see whether AWS lets it.
//!
//! `sts:GetCallerIdentity` would be the obvious one and proves nothing: no policy denies it.

use aws_credential_types::Credentials;
use grantd_provider_api::{Credential, ErrorKind, Plan, ProviderError, Trial};
use serde_json::{Value, json};

use crate::account::Account;
use crate::arn::Arn;
use crate::error::Call;
use crate::http::Http;
use crate::sign::{Ask, signed};

/// The actions that can be tried: each reads a little and changes nothing.
const HARMLESS: [&str; 4] = ["s3:ListBucket", "secretsmanager:DescribeSecret", "kms:DescribeKey", "sqs:GetQueueUrl"];

/// The harmless action of a plan, and on what.
pub(crate) fn harmless(plan: &Plan) -> Option<(&'static str, Arn)> {
    let statements = plan.native.get("Statement")?.as_array()?;
    let allowed = statements.iter().filter(|s| s.get("Effect").and_then(Value::as_str) == Some("Allow"));
    allowed.filter(|s| s.get("Condition").is_none()).find_map(|statement| {
        let actions = match statement.get("Action")? {
            Value::String(one) => vec![one.as_str()],
            Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let action = HARMLESS.into_iter().find(|action| actions.contains(action))?;
        let on: Arn = statement.get("Resource")?.as_str()?.parse().ok()?;
        Some((action, on))
    })
}

/// Whether AWS lets the session do its harmless action now.
pub(crate) async fn probe(
    account: &Account,
    http: &Http,
    plan: &Plan,
    credential: &Credential,
) -> Result<Trial, ProviderError> {
    let (action, on) = harmless(plan).ok_or_else(|| {
        let text = "no harmless call is known for this plan: try object storage, a secret, a KMS key or a queue";
        ProviderError::new(ErrorKind::Unsupported, text)
    })?;
    let ask = ask(action, &on);
    let call = Call { account: &account.config.name, action, on: on.as_str(), caller: "the session" };
    let identity = identity(credential).ok_or_else(|| call.error(ErrorKind::Config, "this is no session of AWS"))?;
    let request = signed(&call, account, &ask, &on, &identity)?;
    let (status, body) = http.exchange(&call, request).await?;
    let body = String::from_utf8_lossy(&body);
    match status {
        200..=299 => Ok(Trial::Allowed),
        400 | 403 if body.contains("AccessDenied") => Ok(Trial::Refused),
        // A redirect, a missing key, a session that has expired: neither proves that it was refused.
        _ => {
            Err(call.error(ErrorKind::Unknown, format!("status {status} says neither that it may nor that it may not")))
        }
    }
}

/// None when it is a credential of another cloud.
fn identity(credential: &Credential) -> Option<Credentials> {
    let Credential::Aws { access_key_id, secret_access_key, session_token, .. } = credential else { return None };
    let token = Some(session_token.expose().to_owned());
    Some(Credentials::new(access_key_id, secret_access_key.expose(), token, None, "grantd-probe"))
}

fn ask(action: &'static str, on: &Arn) -> Ask {
    match action {
        "secretsmanager:DescribeSecret" => {
            Ask::json("secretsmanager", "secretsmanager.DescribeSecret", "1.1", &json!({ "SecretId": on.as_str() }))
        }
        "kms:DescribeKey" => Ask::json("kms", "TrentService.DescribeKey", "1.1", &json!({ "KeyId": on.as_str() })),
        "sqs:GetQueueUrl" => Ask::json(
            "sqs",
            "AmazonSQS.GetQueueUrl",
            "1.0",
            &json!({ "QueueName": on.resource(), "QueueOwnerAWSAccountId": on.account() }),
        ),
        _ => Ask::bucket(on.resource(), "list-type=2&max-keys=1"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan;
    use crate::testing::{config, entitlement, shipped_map};

    #[test]
    fn a_plan_is_tried_by_what_it_allows_on_its_own_resource() {
        let config = config("");
        let account = config.accounts.values().next().unwrap();
        let tried = |capability: &str, native: &str, prefix: Option<&str>| {
            harmless(&plan(account, &entitlement(capability, native, prefix), &shipped_map()).unwrap())
                .map(|(action, on)| (action, on.to_string()))
        };
        let bucket = "arn:aws:s3:::reports";
        for capability in ["object-storage:list", "object-storage:read", "object-storage:write"] {
            assert_eq!(tried(capability, bucket, None), Some(("s3:ListBucket", bucket.to_owned())));
        }
        assert_eq!(tried("object-storage:admin", bucket, None), None);
        // Without its prefix the call would be refused, which proves nothing.
        assert_eq!(tried("object-storage:read", bucket, Some("a/")), None);
        let key = "arn:aws:kms:eu-west-1:123456789012:key/1";
        assert_eq!(tried("kms-key:decrypt", key, None), Some(("kms:DescribeKey", key.to_owned())));
    }
}
