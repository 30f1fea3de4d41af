use super::*;
use proptest::prelude::*;

use crate::testing;

/// What the plan's statements make of one request, with a resource policy that admits everybody: only an explicit
/// deny stops it then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Allowed,
    Silent,
    Denied,
}

/// A small IAM evaluator: `Action`, `NotAction`, `Resource`, `NotResource` and the operators that plans use.
fn judge(policy: &Value, action: &str, resource: &str, context: &[(&str, &str)]) -> Verdict {
    let list = |value: &Value| match value {
        Value::String(one) => vec![one.clone()],
        many => many.as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect(),
    };
    let any = |value: &Value, text: &str| list(value).iter().any(|pattern| like(pattern, text));
    let mut verdict = Verdict::Silent;
    for statement in policy["Statement"].as_array().unwrap() {
        let action_hit = match (statement.get("Action"), statement.get("NotAction")) {
            (Some(patterns), None) => any(patterns, action),
            (None, Some(patterns)) => !any(patterns, action),
            _ => panic!("{statement}"),
        };
        let resource_hit = match (statement.get("Resource"), statement.get("NotResource")) {
            (Some(patterns), None) => any(patterns, resource),
            (None, Some(patterns)) => !any(patterns, resource),
            _ => panic!("{statement}"),
        };
        let conditions = statement.get("Condition").and_then(Value::as_object).cloned().unwrap_or_default();
        let condition_hit = conditions.iter().all(|(operator, keys)| {
            keys.as_object().unwrap().iter().all(|(key, wanted)| {
                let given = context.iter().find(|(name, _)| name == key).map(|(_, value)| *value);
                match (operator.as_str(), given) {
                    ("StringLike", given) => given.is_some_and(|given| any(wanted, given)),
                    ("StringNotLike", given) => !given.is_some_and(|given| any(wanted, given)),
                    ("NotIpAddress", given) => given != Some("inside"),
                    ("BoolIfExists", given) => given.is_none_or(|given| any(wanted, given)),
                    other => panic!("{other:?}"),
                }
            })
        });
        if action_hit && resource_hit && condition_hit {
            if statement["Effect"] == "Deny" {
                return Verdict::Denied;
            }
            verdict = Verdict::Allowed;
        }
    }
    verdict
}

fn like(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| like(after, &rest[at..]))
        }),
    }
}

fn account() -> AccountConfig {
    testing::config("").accounts.remove("prod").unwrap()
}

fn planned(capability: &str, native: &str, prefix: Option<&str>) -> Result<Plan, ProviderError> {
    plan(&account(), &testing::entitlement(capability, native, prefix), &testing::shipped_map())
}

const ALPHA: &str = "arn:aws:s3:::alpha";

#[test]
fn one_bucket_has_the_documented_statements() {
    let made = planned("object-storage:list", ALPHA, None).unwrap();
    let actions = json!(["s3:ListBucket", "s3:ListBucketVersions"]);
    assert_eq!(
        made.native,
        json!({ "Version": "2012-10-17", "Statement": [
            { "Effect": "Allow", "Action": actions, "Resource": ALPHA },
            { "Effect": "Deny", "NotAction": actions, "Resource": "*" },
            { "Effect": "Deny", "Action": "*", "NotResource": ALPHA },
        ] })
    );
    assert_eq!(made.targets, [testing::ROLE]);
    assert_eq!((made.revocation, made.persistence), (Revocation::Eventual, Persistence::None));
    assert!(
        made.words.iter().any(|line| line == "may do nothing else, even where the resource itself admits everybody")
    );
}

#[test]
fn a_narrowed_listing_needs_its_prefix() {
    let made = planned("object-storage:read", ALPHA, Some("logs/")).unwrap().native;
    let list = |context: &[(&str, &str)]| judge(&made, "s3:ListBucket", ALPHA, context);
    assert_eq!(list(&[("s3:prefix", "logs/2026")]), Verdict::Allowed);
    assert_eq!(list(&[("s3:prefix", "other/")]), Verdict::Denied);
    assert_eq!(list(&[]), Verdict::Denied, "listing everything");
    assert_eq!(judge(&made, "s3:GetObject", "arn:aws:s3:::alpha/logs/x", &[]), Verdict::Allowed);
    assert_eq!(judge(&made, "s3:GetObject", "arn:aws:s3:::alpha/other", &[]), Verdict::Denied);
    assert_eq!(judge(&made, "s3:GetObject", "arn:aws:s3:::alphabet/logs/x", &[]), Verdict::Denied);
    assert_eq!(judge(&made, "s3:PutObject", "arn:aws:s3:::alpha/logs/x", &[]), Verdict::Denied);
}

#[test]
fn a_wide_action_does_not_open_the_others() {
    let repository = "arn:aws:ecr:eu-west-1:123456789012:repository/app";
    let made = planned("container-registry:read", repository, None).unwrap();
    assert_eq!(judge(&made.native, "ecr:GetAuthorizationToken", "*", &[]), Verdict::Allowed);
    assert_eq!(judge(&made.native, "ecr:BatchGetImage", repository, &[]), Verdict::Allowed);
    let other = "arn:aws:ecr:eu-west-1:123456789012:repository/other";
    assert_eq!(judge(&made.native, "ecr:BatchGetImage", other, &[]), Verdict::Denied);
    assert_eq!(made.revocation, Revocation::Residual(43_200));
    assert!(made.words.iter().any(|line| line.starts_with("is wider than asked")));
}

#[test]
fn source_networks_bind_and_are_spelled_out() {
    let mut asked = testing::entitlement("object-storage:read", ALPHA, None);
    asked.narrowing.source_networks = vec!["192.0.2.0/24".to_owned()];
    let made = plan(&account(), &asked, &testing::shipped_map()).unwrap();
    let get = |context: &[(&str, &str)]| judge(&made.native, "s3:GetObject", "arn:aws:s3:::alpha/x", context);
    assert_eq!(get(&[("aws:SourceIp", "inside"), ("aws:ViaAWSService", "false")]), Verdict::Allowed);
    assert_eq!(get(&[("aws:SourceIp", "outside"), ("aws:ViaAWSService", "false")]), Verdict::Denied);
    assert_eq!(get(&[("aws:SourceIp", "outside"), ("aws:ViaAWSService", "true")]), Verdict::Allowed);
    assert_eq!(get(&[]), Verdict::Denied, "through a VPC endpoint there is no source address");
    assert!(made.words.iter().any(|line| line.contains("works only from 192.0.2.0/24")));
}

#[test]
fn what_cannot_be_expressed_is_refused() {
    for (capability, native, prefix, needle) in [
        ("object-storage:paint", ALPHA, None, "not in the entitlement map"),
        ("object-storage:read", "arn:aws:s3:::*", None, "wildcard"),
        ("object-storage:read", "alpha", None, "arn:"),
        ("object-storage:read", "arn:aws-cn:s3:::alpha", None, "partition"),
        ("object-storage:read", ALPHA, Some("a*"), "means more than itself"),
        ("object-storage:admin", ALPHA, Some("logs/"), "cannot be narrowed to a prefix"),
        ("queue:read", "arn:aws:sqs:eu-west-1:210987654321:q", None, "account id"),
    ] {
        let error = planned(capability, native, prefix).unwrap_err();
        // A narrowing that makes no sense is the caller's mistake, not a limit.
        let kind = if prefix.is_some() { ErrorKind::Invalid } else { ErrorKind::Unsupported };
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(needle), "{needle}: {error}");
    }
    let mut asked = testing::entitlement("object-storage:read", ALPHA, None);
    asked.resource.kind = "queue".to_owned();
    assert!(plan(&account(), &asked, &testing::shipped_map()).unwrap_err().message.contains("catalogued as queue"));
}

#[test]
fn a_plan_that_would_be_too_long_says_by_how_much() {
    let mut asked = testing::entitlement("object-storage:read", ALPHA, Some(&"x".repeat(500)));
    let error = plan(&account(), &asked, &testing::shipped_map()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    assert!(error.message.contains("more than the 2048"), "{error}");
    asked.narrowing.prefix = Some("x".repeat(100));
    assert!(plan(&account(), &asked, &testing::shipped_map()).is_ok());
}

#[test]
fn the_shipped_map_is_sound() {
    crate::map::check_map(&testing::shipped_map()).unwrap();
}

/// A native name for each resource type of the shipped map, with a distinct last part.
fn native_of(kind: &str, name: &str) -> String {
    let regional = |rest: String| format!("arn:aws:{rest}");
    match kind {
        "object-storage" => format!("arn:aws:s3:::{name}"),
        "secret" => regional(format!("secretsmanager:eu-west-1:123456789012:secret:{name}-AbCdEf")),
        "kms-key" => regional(format!("kms:eu-west-1:123456789012:key/{name}")),
        "queue" => regional(format!("sqs:eu-west-1:123456789012:{name}")),
        "database" => regional(format!("rds:eu-west-1:123456789012:db:{name}")),
        "database-user" => regional(format!("rds-db:eu-west-1:123456789012:dbuser:db-ABCDEFGHIJ/{name}")),
        "database-snapshot" => regional(format!("rds:eu-west-1:123456789012:snapshot:{name}")),
        "container-registry" => regional(format!("ecr:eu-west-1:123456789012:repository/{name}")),
        "function" => regional(format!("lambda:eu-west-1:123456789012:function:{name}")),
        "dns-zone" => format!("arn:aws:route53:::hostedzone/{name}"),
        "iam-role" => format!("arn:aws:iam::123456789012:role/{name}"),
        "virtual-machine" => regional(format!("ec2:eu-west-1:123456789012:instance/{name}")),
        "kubernetes-cluster" => regional(format!("eks:eu-west-1:123456789012:cluster/{name}")),
        other => panic!("no native name for {other}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// P3: whatever is asked, nothing outside it passes - neither another action nor another resource, even if
    /// every resource policy in the account admitted everybody.
    #[test]
    fn p3_nothing_outside_the_entitlement_passes(
        which in any::<prop::sample::Index>(),
        action_of in any::<prop::sample::Index>(),
        name in "[a-z][a-z0-9]{2,12}",
        other in "[a-z0-9-]{0,3}",
        prefix in proptest::option::of("[a-zA-Z0-9/_.=-]{1,20}"),
        key in "[a-zA-Z0-9/_.=-]{0,24}",
    ) {
        let map = testing::shipped_map();
        let (capability, permission) = map.capability.iter().nth(which.index(map.capability.len())).unwrap();
        let native = native_of(capability.resource_type(), &name);
        let entitlement = testing::entitlement(capability.as_str(), &native, prefix.as_deref());
        let Ok(made) = plan(&account(), &entitlement, &map) else {
            prop_assert!(prefix.is_some(), "{capability} cannot be planned at all");
            return Ok(());
        };
        let policy = &made.native;
        let all: Vec<&String> = map.capability.values().flat_map(|p| &p.rules).flat_map(|r| &r.actions).collect();
        let action = all[action_of.index(all.len())].as_str();
        let inside_prefix = prefix.as_ref().is_none_or(|prefix| key.starts_with(prefix.as_str()));

        // On the resource, under it, beside it, and on something that merely starts alike.
        let neighbour = format!("{native}{other}x");
        for resource in [native.clone(), format!("{native}/{key}"), neighbour.clone(), format!("{neighbour}/{key}")] {
            let context = [("s3:prefix", key.as_str())];
            let expected = permission.rules.iter().filter(|rule| rule.actions.iter().any(|a| a == action)).any(|rule| {
                let on = rule.on.replace("{native}", &native).replace("{prefix}", prefix.as_deref().unwrap_or(""))
                    .replace("{partition}", "aws").replace("{region}", "eu-west-1").replace("{account}", "123456789012");
                like(&on, &resource) && (rule.prefix_condition.is_none() || inside_prefix)
            });
            let verdict = judge(policy, action, &resource, &context);
            let wanted = if expected { Verdict::Allowed } else { Verdict::Denied };
            prop_assert_eq!(verdict, wanted, "{} on {} under {}", action, resource, policy);
        }
        prop_assert_eq!(judge(policy, "sts:AssumeRole", "arn:aws:iam::123456789012:role/x", &[]), Verdict::Denied);
        prop_assert_eq!(judge(policy, "iam:CreateUser", &native, &[]), Verdict::Denied);
        prop_assert!(crate::session::check_policy_size(policy, jiff::Timestamp::UNIX_EPOCH).is_ok());
    }
}
