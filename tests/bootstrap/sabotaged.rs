//! `grantctl doctor` on accounts that were set up and then tampered with: each change is found, with what to do about it, and
//! nothing else is.

use grantd_testkit::{FakeFederation, FakeGoogle};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::stage::{ISSUER, Stage};
use crate::{azure, gcp};

const READER: &str = "acdd72a7-3385-48ef-bd42-f606fba81ae7";
const OWNER: &str = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635";

/// The one problem that there is: its check, and what was found.
fn the_problem(stage: &Stage, check: &str, words: &[&str]) {
    let found = stage.problems();
    let [problem] = found.as_slice() else { panic!("{check}: {found:#?}") };
    let text = problem["found"].as_str().unwrap();
    assert!(
        problem["check"] == check && words.iter().all(|word| text.contains(word)),
        "{check} {words:?}: {problem:#?}"
    );
    assert!(problem["fix"].as_str().is_some_and(|fix| !fix.is_empty()), "{problem:#?}");
    let told = stage.root().grantctl(&["doctor", "--metadata", "127.0.0.1:1"]);
    assert_eq!(told.status.code(), Some(12), "{told}");
    assert!(told.stdout.contains("what to change"), "{told}");
}

#[test]
fn each_thing_that_was_tampered_with_in_azure_is_found() {
    let fake = azure::tenant();
    let stage = azure::stage(&fake, true);
    let (_, printed) = stage.bootstrap(&["azure"]);
    fake.publish(ISSUER, stage.keys());
    azure::apply(&fake, &printed);
    assert_eq!(stage.problems(), Vec::<Value>::new());
    let (base, slot) = (azure::id(0x33), azure::id(5));
    let trust = |client: u128, issuer: &str, subject: &str| {
        let one = FakeFederation { issuer: issuer.to_owned(), subject: subject.to_owned() };
        fake.trust(azure::id(client), &[one]).unwrap();
    };

    // A slot that has more than its leases give it.
    let scope = format!("/subscriptions/{}", azure::id(2));
    let foreign = fake.assign(&scope, READER.parse().unwrap(), slot, Some("for the migration"));
    the_problem(&stage, "slot.assignments", &[&foreign]);
    fake.unassign(&foreign);

    // A slot that takes somebody else's word, or that word about somebody else.
    trust(4, "https://other.example.com", "slot-1");
    the_problem(&stage, "slot.token", &["AADSTS700211"]);
    trust(4, ISSUER, "slot-one");
    the_problem(&stage, "slot.token", &["AADSTS700213"]);
    trust(4, ISSUER, "slot-1");
    assert_eq!(stage.problems(), Vec::<Value>::new());

    // A base with more than its bounded right.
    fake.assign_on(&scope, OWNER.parse::<Uuid>().unwrap(), base, None).unwrap();
    let found = stage.problems();
    assert!(found.len() == 2 && found.iter().all(|one| one["check"] == "base.delegation"), "{found:#?}");
    assert!(found.iter().all(|one| one["found"].as_str().unwrap().contains("Owner")), "{found:#?}");

    // A base without it: nothing can be listed then, and what was not seen is not good.
    fake.strip(base);
    let ran = stage.root().grantctl(&["--json", "doctor", "--account", "azure-main", "--metadata", "127.0.0.1:1"]);
    let events: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |check: &str| events.iter().find(|one| one["check"] == check).cloned().unwrap_or_default();
    assert_eq!((&of("base.delegation")["standing"], &of("slot.token")["standing"]), (&json!("problem"), &json!("ok")));
    assert_eq!(of("slot.assignments")["standing"], "not_checked", "{events:#?}");
    assert!(of("base.delegation")["found"].as_str().unwrap().contains("AuthorizationFailed"), "{events:#?}");
}

#[test]
fn each_thing_that_was_tampered_with_in_google_cloud_is_found() {
    let fake = gcp::cloud();
    let stage = gcp::stage(&fake, false);
    let (_, printed) = stage.bootstrap(&["gcp"]);
    let keys = stage.keys();
    gcp::apply(&fake, &printed, &keys);
    assert_eq!(stage.problems(), Vec::<Value>::new());
    let good = FakeGoogle::provider(ISSUER, &keys);
    let set = |audience: &str, change: Value| {
        let mut provider = good.clone();
        provider.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        fake.control("setup", &json!({ "providers": { audience: provider } }));
    };
    let own = FakeGoogle::audience();
    for (change, words) in [
        (json!({ "attributeCondition": "true" }), ["not the one", "lets in"]),
        (json!({ "attributeCondition": null }), ["no attribute condition", "every subject"]),
        (
            json!({ "attributeMapping": { "google.subject": "assertion.sub", "google.groups": "[assertion.aud]" } }),
            ["google.groups", "granted to"],
        ),
        (
            json!({ "attributeMapping": { "google.subject": "assertion.iss + assertion.sub" } }),
            ["makes the principal", "lease"],
        ),
        (
            json!({ "allowedAudiences": [format!("https:{own}"), "https://other.example.com"] }),
            ["https://other.example.com", "somebody else"],
        ),
    ] {
        set(&own, change.clone());
        let found: Vec<Value> = stage.problems().into_iter().filter(|one| one["check"] == "pool.provider").collect();
        // Who cannot become the daemon any more cannot look either.
        let mapped = change["attributeMapping"]["google.subject"].as_str().is_some_and(|text| text.contains('+'));
        if mapped {
            assert!(stage.problems().iter().any(|one| one["standing"] == "problem"), "{change}");
        } else {
            let [problem] = found.as_slice() else { panic!("{change}: {found:#?}") };
            assert!(words.iter().all(|word| problem["found"].as_str().unwrap().contains(word)), "{problem:#?}");
        }
        set(&own, json!({}));
    }
    assert_eq!(stage.problems(), Vec::<Value>::new());

    // A second way into the pool.
    let other = own.replace("/providers/grantd", "/providers/backdoor");
    set(&other, json!({ "issuer": "https://other.example.com" }));
    the_problem(&stage, "pool.providers", &["backdoor"]);
}

/// What a token of the daemon cannot do any more is found at the resource, and at the project.
#[test]
fn a_missing_right_of_the_daemon_in_google_cloud_is_found() {
    let fake = gcp::cloud();
    let stage = gcp::stage(&fake, false);
    let (_, printed) = stage.bootstrap(&["gcp"]);
    gcp::apply(&fake, &printed, &stage.keys());
    let project = "//cloudresourcemanager.googleapis.com/projects/acme-prod";
    let policy = fake.policy(project);
    let without = |part: &str| {
        let all = policy["bindings"].as_array().unwrap();
        let kept: Vec<Value> =
            all.iter().filter(|one| !one["role"].as_str().unwrap().contains(part)).cloned().collect();
        assert!(kept.len() < all.len(), "{policy}");
        fake.control("setup", &json!({ "policies": { project: { "bindings": kept } } }));
    };
    without("grantd_admin");
    let found = stage.problems();
    assert!(found.len() == 2 && found.iter().all(|one| one["check"] == "policy.write"), "{found:#?}");
    without("grantd_reader");
    let found = stage.problems();
    assert!(found.len() == 2 && found.iter().all(|one| one["check"] == "policy.read"), "{found:#?}");

    // A right without its bound.
    let mut wide = policy.clone();
    for binding in wide["bindings"].as_array_mut().unwrap() {
        binding.as_object_mut().unwrap().remove("condition");
    }
    fake.control("setup", &json!({ "policies": { project: wide } }));
    the_problem(&stage, "admin.constrained", &["without a limit"]);
}
