//! AWS: that the actions exist and are for the resources that the map names, and what the plans allow, as an evaluator and
//! a linter of the policy language see it.

use std::collections::BTreeSet;
use std::sync::Arc;

use grantd_provider_api::{
    Capability, Cloud, Entitlement, Narrowing, NoAssertions, Plan, Provider, ResourceRef, SystemClock,
};
use grantd_provider_aws::{AwsProvider, Config};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::maps::{map, native};
use crate::tool;

/// The adapter with one account; nothing is ever sent.
fn adapter() -> AwsProvider {
    let config: Config = toml::from_str(
        "[[account]]\nname = \"prod\"\nid = \"123456789012\"\nregion = \"eu-west-1\"\n\
         [account.base]\ntype = \"profile\"\nfiles = [\"/nonexistent\"]\nprofile = \"grantd\"\n\
         [[account.role]]\narn = \"arn:aws:iam::123456789012:role/grantd-1\"\n\
         boundary = \"arn:aws:iam::123456789012:policy/grantd-boundary\"\n",
    )
    .unwrap();
    AwsProvider::new(config, Arc::new(SystemClock::new()), Arc::new(NoAssertions)).unwrap()
}

fn entitlement(capability: &Capability, native: &str, prefix: Option<&str>) -> Entitlement {
    Entitlement {
        capability: capability.clone(),
        resource: ResourceRef {
            cloud: Cloud::Aws,
            account: "prod".to_owned(),
            kind: capability.resource_type().to_owned(),
            native: native.to_owned(),
        },
        narrowing: Narrowing { prefix: prefix.map(str::to_owned), source_networks: Vec::new() },
    }
}

/// The resource of a rule for one native name. A wildcard of the template stands for `key`.
fn resource(on: &str, native: &str, prefix: &str, key: &str) -> String {
    let on = on.replace("{native}", native).replace("{prefix}", prefix).replace("{partition}", "aws");
    let on = on.replace("{region}", "eu-west-1").replace("{account}", "123456789012");
    if on == "*" { on } else { on.replace('*', key) }
}

#[test]
fn each_action_exists_and_is_for_its_resource() {
    let mut questions = Vec::new();
    for (capability, permission) in map(Cloud::Aws).capability {
        let native = native(Cloud::Aws, capability.as_str(), "example");
        for rule in permission.rules {
            let on = resource(&rule.on, &native, "", "x");
            let asked = |action| json!({ "action": action, "on": on, "key": rule.prefix_condition, "of": capability });
            questions.extend(rule.actions.iter().map(asked));
        }
    }
    assert!(questions.len() > 100, "{}", questions.len());
    for (question, answer) in questions.iter().zip(tool::iam("facts", &json!(questions))) {
        assert_eq!(answer, Value::Null, "{question}");
    }
    // The check itself notices.
    let wrong = json!([
        { "action": "s3:GetObjekt", "on": "arn:aws:s3:::a/x" },
        { "action": "s3:getobject", "on": "arn:aws:s3:::a/x" },
        { "action": "s3:GetObject", "on": "arn:aws:sqs:eu-west-1:123456789012:q" },
        { "action": "s3:GetObject", "on": "*" },
        { "action": "s3:ListBucket", "on": "arn:aws:s3:::a", "key": "s3:prefx" },
    ]);
    assert!(tool::iam("facts", &wrong).iter().all(Value::is_string));
}

#[test]
fn a_linter_finds_nothing_in_the_plans_but_what_is_put_there() {
    let (adapter, map) = (adapter(), map(Cloud::Aws));
    let mut plans = Vec::new();
    for capability in map.capability.keys() {
        let native = native(Cloud::Aws, capability.as_str(), "example");
        for prefix in [None, Some("logs/")] {
            if let Ok(plan) = adapter.plan(&entitlement(capability, &native, prefix), &map) {
                plans.push((capability.clone(), plan.native));
            }
        }
    }
    assert!(plans.len() > map.capability.len(), "nothing was narrowed");
    let policies: Vec<&Value> = plans.iter().map(|(_, plan)| plan).collect();
    for ((capability, plan), found) in plans.iter().zip(tool::python("policies.py", &json!(policies))) {
        assert_eq!(found, json!([]), "{capability}: {plan}");
    }
    let text = json!(policies).to_string();
    for (right, slip) in
        [("\"StringLike\"", "\"StringLyke\""), ("s3:prefix", "s3:prefx"), ("sqs:PurgeQueue", "sqs:PurgeQueues")]
    {
        assert!(text.contains(right), "{right}");
        let slipped: Value = serde_json::from_str(&text.replace(right, slip)).unwrap();
        let found = tool::python("policies.py", &slipped);
        let changed = policies.iter().zip(&found).filter(|(plan, _)| plan.to_string().contains(right));
        assert!(changed.into_iter().all(|(_, found)| *found != json!([])), "{slip} was not noticed");
    }
}

/// One request under one entitlement.
#[derive(Debug, Clone)]
struct Case {
    which: prop::sample::Index,
    of_action: prop::sample::Index,
    own: bool,
    name: String,
    elsewhere: Option<String>,
    prefix: Option<String>,
    key: String,
    inside: bool,
}

fn cases() -> impl Strategy<Value = Case> {
    (
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        any::<bool>(),
        "[a-z][a-z0-9]{2,10}",
        proptest::option::of("[a-z0-9]{0,3}"),
        proptest::option::of("[a-zA-Z0-9/_.=-]{1,12}"),
        "[a-zA-Z0-9/_.=-]{1,12}",
        any::<bool>(),
    )
        .prop_map(|(which, of_action, own, name, elsewhere, prefix, key, inside)| Case {
            which,
            of_action,
            own,
            name,
            elsewhere,
            prefix,
            key,
            inside,
        })
}

/// A case that can be planned: what to ask, and whether it is inside the entitlement.
fn asked(adapter: &AwsProvider, case: &Case) -> Option<(Value, bool)> {
    let map = map(Cloud::Aws);
    let (capability, permission) = map.capability.iter().nth(case.which.index(map.capability.len())).unwrap();
    let own = native(Cloud::Aws, capability.as_str(), &case.name);
    let plan = match adapter.plan(&entitlement(capability, &own, case.prefix.as_deref()), &map) {
        Ok(plan) => plan,
        Err(error) => {
            assert!(case.prefix.is_some(), "{capability}: {error}");
            return None;
        }
    };
    denies_are_there(&plan);
    // An action of any rule of the map, or of the capability's own, on a resource that the action is for.
    let of = if case.own { vec![(capability, permission)] } else { map.capability.iter().collect() };
    let rules: Vec<_> = of.iter().flat_map(|(c, p)| p.rules.iter().map(move |rule| (c.as_str(), rule))).collect();
    let actions: Vec<_> = rules.iter().flat_map(|(c, rule)| rule.actions.iter().map(move |a| (*c, *rule, a))).collect();
    let (kind, rule, action) = actions[case.of_action.index(actions.len())];
    let beside = case.elsewhere.as_ref().map(|end| format!("{}{end}x", case.name));
    let there = native(Cloud::Aws, kind, beside.as_deref().unwrap_or(&case.name));
    let prefix = case.prefix.as_deref().unwrap_or_default();
    let key = if case.inside { format!("{prefix}{}", case.key) } else { case.key.clone() };
    // The template's own place for the prefix takes the whole key here.
    let on = resource(&rule.on.replace("{prefix}*", "*"), &there, "", &key);
    let inside = permission.rules.iter().filter(|rule| rule.actions.contains(action)).any(|rule| {
        let pattern = resource(&rule.on, &own, prefix, "*");
        like(&pattern, &on) && (rule.prefix_condition.is_none() || key.starts_with(prefix))
    });
    let context = if action == "s3:ListBucket" || action == "s3:ListBucketVersions" {
        json!({ "s3:prefix": key })
    } else {
        json!({})
    };
    Some((json!({ "session": plan.native, "action": action, "resource": on, "context": context }), inside))
}

/// Whatever a resource's own policy grants, only an explicit deny stops: each action that is not named, and each that is
/// named on what is not.
fn denies_are_there(plan: &Plan) {
    let list = |value: &Value| -> BTreeSet<String> {
        match value {
            Value::String(one) => BTreeSet::from([one.clone()]),
            many => many.as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect(),
        }
    };
    let statements = plan.native["Statement"].as_array().unwrap();
    let (allows, denies): (Vec<&Value>, Vec<&Value>) = statements.iter().partition(|s| s["Effect"] == "Allow");
    let allowed: BTreeSet<String> = allows.iter().flat_map(|s| list(&s["Action"])).collect();
    let rest = denies.iter().filter_map(|s| s.get("NotAction")).map(list).collect::<Vec<_>>();
    assert_eq!(rest, std::slice::from_ref(&allowed), "{}", plan.native);
    for action in allowed {
        let places: BTreeSet<String> =
            allows.iter().filter(|s| list(&s["Action"]).contains(&action)).flat_map(|s| list(&s["Resource"])).collect();
        let shut = denies.iter().any(|s| {
            let meant = s.get("Action").map(list).unwrap_or_default();
            (meant.contains("*") || meant.contains(&action)) && s.get("NotResource").map(list) == Some(places.clone())
        });
        assert!(shut || places.contains("*"), "{action} is not denied elsewhere: {}", plan.native);
    }
}

fn like(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => {
            text.strip_prefix(before).is_some_and(|rest| (0..=rest.len()).any(|at| like(after, &rest[at..])))
        }
    }
}

/// P3: whatever is asked, the session may do what is inside its entitlement, and is denied the rest by a statement.
#[test]
fn p3_nothing_outside_the_entitlement_passes_on_aws() {
    let (adapter, mut runner) = (adapter(), TestRunner::default());
    let mut all: Vec<(Option<Case>, Value, bool)> = (0..1500)
        .map(|_| cases().new_tree(&mut runner).unwrap().current())
        .filter_map(|case| asked(&adapter, &case).map(|(asked, inside)| (Some(case), asked, inside)))
        .collect();
    // What no capability has, under every plan.
    let map = map(Cloud::Aws);
    for capability in map.capability.keys() {
        let plan = adapter
            .plan(&entitlement(capability, &native(Cloud::Aws, capability.as_str(), "own"), None), &map)
            .unwrap();
        for (action, on) in [
            ("sts:AssumeRole", "arn:aws:iam::123456789012:role/grantd-1"),
            ("iam:CreateUser", "arn:aws:iam::123456789012:user/x"),
            ("kms:CreateGrant", "arn:aws:kms:eu-west-1:123456789012:key/own"),
            ("s3:ListAllMyBuckets", "*"),
        ] {
            let asked = json!({ "session": plan.native, "action": action, "resource": on, "context": {} });
            all.push((None, asked, false));
        }
    }
    let answers = tool::iam("simulate", &Value::Array(all.iter().map(|(_, asked, _)| asked.clone()).collect()));
    let mut passed = 0;
    for ((case, asked, inside), answer) in all.iter().zip(&answers) {
        let wanted = if *inside { "Allowed" } else { "ExplicitlyDenied" };
        assert_eq!(*answer, json!({ "verdict": wanted }), "{case:?}: {asked}");
        passed += usize::from(*inside);
    }
    assert!(passed > 100 && all.len() - passed > 300, "{passed} of {} are inside: too few to tell", all.len());
}
