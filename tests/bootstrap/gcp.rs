//! Google Cloud: the pool, its provider, the daemon's rights and the bounds of both.

use std::collections::BTreeMap;

use grantd_testkit::FakeGoogle;
use grantd_tests::Scene;
use serde_json::{Map, Value, json};

use crate::printed::{Printed, referred, text, texts};
use crate::stage::{ISSUER, Stage, example, resource};

const PROJECT: &str = "//cloudresourcemanager.googleapis.com/projects/acme-prod";

fn bucket(name: &str) -> String {
    format!("//storage.googleapis.com/projects/_/buckets/{name}")
}

/// Buckets without any binding, and nobody who may do anything.
pub fn cloud() -> FakeGoogle {
    let fake = FakeGoogle::start().unwrap();
    let email = "//iam.googleapis.com/projects/acme-prod/serviceAccounts/grantd-1@acme-prod.iam.gserviceaccount.com";
    fake.control(
        "setup",
        &json!({
            "numbers": { FakeGoogle::NUMBER: FakeGoogle::PROJECT },
            "policies": { PROJECT: {}, bucket("alpha"): {}, bucket("beta"): {}, email: {},
                          "//pubsub.googleapis.com/projects/acme-prod/topics/events": {} },
            "projects_of": { bucket("alpha"): FakeGoogle::PROJECT, bucket("beta"): FakeGoogle::PROJECT },
            "objects": { "alpha": { "a": "alpha" }, "beta": { "a": "beta" } },
        }),
    );
    fake
}

/// The commented example, in front of the fake; with a second account that serves the same project by another pool.
pub fn stage(fake: &FakeGoogle, second: bool) -> Stage {
    let endpoint = format!("endpoint = \"{}\"\n", fake.url());
    let mut table = "[gcp]\npropagation = { expected = \"0s\", worst = \"0s\" }\n".to_owned() + &example("gcp");
    table = table.replace("name = \"prod\"\n", &format!("name = \"prod\"\n{endpoint}"));
    let mut catalog = resource("gcp", "prod", "object-storage", "alpha", &bucket("alpha"));
    catalog.push_str(&resource(
        "gcp",
        "prod",
        "queue",
        "events",
        "//pubsub.googleapis.com/projects/acme-prod/topics/events",
    ));
    if second {
        table.push_str(&format!(
            "[[gcp.account]]\nname = \"second\"\n{endpoint}projects = [\"acme-prod\"]\nnumber = \"{}\"\npool = \"other\"\n\
             provider = \"daemon\"\nbase = {{ type = \"assertion\", subject = \"grantd-b\" }}\n",
            FakeGoogle::NUMBER
        ));
        catalog.push_str(&resource("gcp", "second", "object-storage", "beta", &bucket("beta")));
    }
    Stage::new("gcp", &catalog, Scene::new(), &table)
}

/// Makes in the fake exactly what is printed.
pub fn apply(fake: &FakeGoogle, printed: &Printed, jwks: &Value) {
    let mut providers = Map::new();
    for (_, body) in printed.resources("google_iam_workload_identity_pool_provider") {
        let pool = referred(&body["workload_identity_pool_id"], "google_iam_workload_identity_pool");
        let pools = printed.resources("google_iam_workload_identity_pool");
        let (_, pool) = pools.into_iter().find(|(name, _)| *name == pool).unwrap();
        let audience = format!(
            "//iam.googleapis.com/projects/{}/locations/global/workloadIdentityPools/{}/providers/{}",
            text(&body["project"]),
            text(&pool["workload_identity_pool_id"]),
            text(&body["workload_identity_pool_provider_id"])
        );
        assert_eq!(body["oidc"][0]["issuer_uri"], ISSUER);
        let made = json!({
            "issuer": body["oidc"][0]["issuer_uri"], "jwks": jwks,
            "attributeMapping": body["attribute_mapping"], "attributeCondition": body["attribute_condition"],
        });
        assert!(providers.insert(audience, made).is_none());
    }
    let (mut roles, mut ids) = (Map::new(), BTreeMap::new());
    for (name, body) in printed.resources("google_project_iam_custom_role") {
        let role = format!("projects/{}/roles/{}", text(&body["project"]), text(&body["role_id"]));
        assert!(!texts(&body["permissions"]).is_empty(), "{name} can do nothing");
        assert!(roles.insert(role.clone(), body["permissions"].clone()).is_none(), "{role} is there twice");
        ids.insert(name, role);
    }
    let mut bindings = Vec::new();
    for (_, body) in printed.resources("google_project_iam_member") {
        assert!(["acme-prod", FakeGoogle::NUMBER].contains(&text(&body["project"])));
        let role = match text(&body["role"]).starts_with("${") {
            true => ids[referred(&body["role"], "google_project_iam_custom_role")].clone(),
            false => text(&body["role"]).to_owned(),
        };
        let mut binding = json!({ "role": role, "members": [body["member"]] });
        if let Some(condition) = body.get("condition") {
            binding["condition"] = condition[0].clone();
        }
        bindings.push(binding);
    }
    let mut policies = json!({ PROJECT: { "bindings": bindings } });
    for (_, body) in printed.resources("google_service_account_iam_member") {
        let account = referred(&body["service_account_id"], "google_service_account");
        let accounts = printed.resources("google_service_account");
        let (_, account) = accounts.into_iter().find(|(name, _)| *name == account).unwrap();
        let project = text(&account["project"]);
        let email = format!("{}@{project}.iam.gserviceaccount.com", text(&account["account_id"]));
        policies[format!("//iam.googleapis.com/projects/{project}/serviceAccounts/{email}")] =
            json!({ "bindings": [{ "role": body["role"], "members": [body["member"]] }] });
    }
    let bounds = printed.resources("google_org_policy_policy");
    let [(_, bound)] = bounds.as_slice() else { panic!("one project has one such policy: {bounds:?}") };
    assert_eq!(text(&bound["name"]), "projects/acme-prod/policies/iam.managed.allowedPolicyMembers");
    let sets = texts(&bound["spec"][0]["rules"][0]["parameters"]["jsonencode"]["allowedPrincipalSets"]);
    assert_eq!(sets[0], "//cloudresourcemanager.googleapis.com/organizations/${var.organization}");
    let members: Vec<String> = sets.iter().skip(1).map(|pool| format!("principal:{pool}/subject/")).collect();
    let setup = json!({
        "providers": providers, "roles": roles, "policies": policies,
        "allowed_members": members.into_iter().chain(["serviceAccount:".to_owned()]).collect::<Vec<_>>(),
    });
    fake.control("setup", &setup);
}

fn works(stage: &Stage, fake: &FakeGoogle, name: &str) {
    let answer = stage.vend(name);
    assert_eq!(answer.status, 200, "{answer:?}");
    let token = text(&answer.body["credential"]["access_token"]);
    let other = if name == "alpha" { "beta" } else { "alpha" };
    assert_eq!((fake.read(token, name, "a"), fake.read(token, other, "a")), (200, 403));
    stage.end(&answer.body["lease"]["id"]);
    assert_eq!((fake.read(token, name, "a"), fake.bindings(name)), (403, Vec::new()));
}

/// What a daemon that was taken over can write into a policy: the status of each attempt.
fn written(fake: &FakeGoogle, subject: &str, role: &str, member: &str) -> u64 {
    let member_of_daemon = FakeGoogle::principal(subject);
    let name = bucket("alpha");
    let given = json!({ "as": member_of_daemon, "name": name, "binding": { "role": role, "members": [member] } });
    fake.control("try_binding", &given)["status"].as_u64().unwrap()
}

#[test]
fn the_example_for_google_cloud_is_set_up_by_what_bootstrap_prints_and_by_no_more() {
    let fake = cloud();
    let stage = stage(&fake, false);
    let (_, printed) = stage.bootstrap(&["gcp"]);
    let keys = stage.keys();
    assert_ne!(stage.vend("alpha").status, 200, "nothing is set up yet");
    apply(&fake, &printed, &keys);
    assert_eq!(stage.problems(), Vec::<Value>::new());
    works(&stage, &fake, "alpha");

    // Whoever takes the daemon over can give the roles of the catalogue to principals of the pool, and nothing else to
    // nobody else.
    let lease = FakeGoogle::principal("lease-aaaaaaaaaaaaaaaaaaaaaaaaaa");
    assert_eq!(written(&fake, "grantd", "roles/storage.objectViewer", &lease), 200);
    assert_eq!(written(&fake, "grantd", "roles/storage.admin", &lease), 403);
    assert_eq!(written(&fake, "grantd", "roles/storage.objectViewer", "user:mallory@example.com"), 400);
    // And nobody else in the pool can give anything.
    assert_eq!(written(&fake, "lease-aaaaaaaaaaaaaaaaaaaaaaaaaa", "roles/storage.objectViewer", &lease), 403);
}

#[test]
fn accounts_that_share_a_project_are_set_up_together() {
    let fake = cloud();
    let stage = stage(&fake, true);
    let (printed_text, printed) = stage.bootstrap(&["gcp"]);
    apply(&fake, &printed, &stage.keys());
    assert_eq!(stage.problems(), Vec::<Value>::new(), "{printed_text}");
    works(&stage, &fake, "alpha");
    works(&stage, &fake, "beta");
    // Each by itself is whole, and does not shut the other's pool out.
    for account in ["prod", "second"] {
        let (_, alone) = stage.bootstrap(&["gcp", "--account", account]);
        let bounds = alone.resources("google_org_policy_policy");
        let sets = texts(&bounds[0].1["spec"][0]["rules"][0]["parameters"]["jsonencode"]["allowedPrincipalSets"]);
        assert_eq!(sets.len(), 3, "{sets:?}");
    }
}
