//! What Google Cloud would let a lease do under the map: its conditions, evaluated as CEL.

use std::collections::BTreeSet;

use grantd_provider_api::{Capability, Cloud, Expiry, NativeRole};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::maps::{map, native};
use crate::tool;

/// When the leases of these tests end.
const END: &str = "2026-11-22T12:00:00Z";
const LIST_PREFIX: &str = "storage.googleapis.com/objectListPrefix";

/// The condition of a binding, as the adapter would write it: the template's, and the end of the lease. The values were
/// checked before: no quote and no backslash. None if it cannot be narrowed so.
fn condition(role: &NativeRole, native: &str, prefix: Option<&str>) -> Option<String> {
    let template = match prefix {
        Some(_) => Some(role.prefix_condition.clone()?),
        None => role.condition.clone(),
    };
    let segments: Vec<&str> = native.split('/').collect();
    let after = |collection: &str| segments.iter().position(|part| *part == collection).map(|at| segments[at + 1]);
    let mut text = template.map(|text| format!("({text}) && ")).unwrap_or_default();
    for (word, value) in [
        ("{native}", Some(native)),
        ("{name}", segments.last().copied()),
        ("{project}", after("projects")),
        ("{location}", after("locations")),
        ("{prefix}", prefix),
    ] {
        if text.contains(word) {
            text = text.replace(word, value.unwrap());
        }
    }
    Some(format!("{text}request.time < timestamp(\"{END}\")"))
}

/// Roles that have a condition beside the end.
fn conditional() -> Vec<(Capability, NativeRole)> {
    let all = map(Cloud::Gcp).capability.into_iter().flat_map(|(capability, permission)| {
        assert!(permission.roles.len() == 1, "{capability}: these tests know one role each");
        permission.roles.into_iter().map(move |role| (capability.clone(), role))
    });
    all.filter(|(_, role)| role.condition.is_some() || role.prefix_condition.is_some()).collect()
}

#[test]
fn each_condition_is_taken_with_the_end_of_a_lease() {
    let mut questions = Vec::new();
    for (capability, permission) in map(Cloud::Gcp).capability {
        for role in permission.roles.iter().filter(|_| permission.expiry == Expiry::Cloud) {
            let native = native(Cloud::Gcp, capability.as_str(), "example");
            for prefix in [None, Some("logs/")] {
                let Some(condition) = condition(role, &native, prefix) else { continue };
                let resource = json!({ "type": "x", "name": "x", "service": "x" });
                questions.push(json!({ "condition": condition, "resource": resource, "time": END }));
            }
        }
    }
    assert!(questions.len() > 20, "{}", questions.len());
    let answers = tool::python("cel.py", &json!(questions));
    for (question, answer) in questions.iter().zip(answers) {
        assert_eq!(answer, json!({ "value": false }), "at the very end of the lease: {question}");
    }
}

#[test]
fn a_slip_in_a_shipped_condition_is_noticed() {
    let words = [
        "resource.type",
        "resource.name",
        "startsWith",
        "getAttribute",
        "api",
        "objectListPrefix",
        "googleapis",
        "Bucket'",
        "Object'",
        "Instance'",
        "Cluster'",
        "&&",
        "||",
        "==",
    ];
    let (mut questions, mut hit) = (Vec::new(), BTreeSet::new());
    for (capability, role) in conditional() {
        let native = native(Cloud::Gcp, capability.as_str(), "example");
        let made = [None, Some("logs/")].into_iter().filter_map(|prefix| condition(&role, &native, prefix));
        for made in made {
            for word in words.into_iter().filter(|word| made.contains(word)) {
                let middle = word.len() / 2;
                let slipped = made.replacen(word, &format!("{}{}", &word[..middle], &word[middle + 1..]), 1);
                let resource = json!({ "type": "x", "name": "x", "service": "x" });
                questions.push(json!({ "condition": slipped, "resource": resource, "time": END }));
                hit.insert(word);
            }
        }
    }
    assert_eq!(hit.len(), words.len(), "{hit:?}");
    for (question, answer) in questions.iter().zip(tool::python("cel.py", &json!(questions))) {
        assert!(answer["error"].is_string(), "{question} was taken: {answer}");
    }
}

/// One thing that somebody asks for under a capability.
#[derive(Debug, Clone)]
struct Case {
    which: prop::sample::Index,
    name: String,
    elsewhere: Option<String>,
    prefix: Option<String>,
    key: String,
    inside: bool,
    listing: bool,
    late: bool,
}

fn cases() -> impl Strategy<Value = Case> {
    let key = "[a-zA-Z0-9/_.=+ :@()\\[\\]-]{0,12}";
    (
        any::<prop::sample::Index>(),
        "[a-z][a-z0-9]{2,10}",
        proptest::option::of("[a-z0-9-]{0,2}"),
        proptest::option::of("[a-zA-Z0-9/_.=+ :@()\\[\\]-]{1,8}"),
        key,
        any::<bool>(),
        any::<bool>(),
        proptest::bool::weighted(0.1),
    )
        .prop_map(|(which, name, elsewhere, prefix, key, inside, listing, late)| Case {
            which,
            name,
            elsewhere,
            prefix,
            key,
            inside,
            listing,
            late,
        })
}

/// The question for the evaluator, and what it has to answer. None where nothing like that can be asked.
fn question(case: &Case) -> Option<(Value, bool)> {
    let roles = conditional();
    let (capability, role) = &roles[case.which.index(roles.len())];
    let native = native(Cloud::Gcp, capability.as_str(), &case.name);
    let condition = condition(role, &native, case.prefix.as_deref())?;
    let other = case.elsewhere.as_ref().map(|end| format!("{}{end}x", case.name));
    let name = other.as_deref().unwrap_or(&case.name);
    let relative = native.strip_prefix("//").unwrap().split_once('/').unwrap().1;
    let relative = relative.strip_suffix(&case.name).unwrap();
    let prefix = case.prefix.as_deref().unwrap_or_default();
    let key = if case.inside { format!("{prefix}{}", case.key) } else { case.key.clone() };
    let begins = key.starts_with(prefix);
    let own = other.is_none();
    let (kind, resource, attributes, wanted) = match capability.resource_type() {
        // Without a prefix the binding stands on the bucket and has no condition but the end.
        "object-storage" if case.prefix.is_none() => ("storage.googleapis.com/Bucket", String::new(), json!({}), true),
        "object-storage" if case.listing => {
            let attributes = if key.is_empty() { json!({}) } else { json!({ LIST_PREFIX: key }) };
            ("storage.googleapis.com/Bucket", format!("{relative}{name}"), attributes, own && begins)
        }
        "object-storage" => {
            // The attribute is of listings; it does not make an object any other.
            let (object, given) = (format!("{relative}{name}/objects/{key}"), json!({ LIST_PREFIX: prefix }));
            ("storage.googleapis.com/Object", object, given, own && begins && capability.verb() != "list")
        }
        "kubernetes-cluster" => ("container.googleapis.com/Cluster", format!("{relative}{name}"), json!({}), own),
        _ => ("sqladmin.googleapis.com/Instance", format!("{relative}{name}"), json!({}), own),
    };
    let time = if case.late { END } else { "2026-11-22T11:59:59Z" };
    let asked = json!({
        "condition": condition, "time": time, "attributes": attributes,
        "resource": { "type": kind, "name": resource, "service": kind.split('/').next() },
    });
    Some((asked, wanted && !case.late))
}

/// P3: whatever is asked, nothing on another bucket, object, instance or cluster passes, and nothing after the end.
#[test]
fn p3_nothing_outside_the_entitlement_passes_on_google_cloud() {
    let mut runner = TestRunner::default();
    let asked: Vec<(Case, Value, bool)> = (0..1500)
        .map(|_| cases().new_tree(&mut runner).unwrap().current())
        .filter_map(|case| question(&case).map(|(asked, wanted)| (case, asked, wanted)))
        .collect();
    let answers = tool::python("cel.py", &Value::Array(asked.iter().map(|(_, asked, _)| asked.clone()).collect()));
    let mut passed = 0;
    for ((case, asked, wanted), answer) in asked.iter().zip(&answers) {
        assert_eq!(*answer, json!({ "value": wanted }), "{case:?}: {asked}");
        passed += usize::from(*wanted);
    }
    assert!(passed > 100 && asked.len() - passed > 300, "{passed} of {} are inside: too few to tell", asked.len());
}
