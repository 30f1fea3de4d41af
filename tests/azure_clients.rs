//! The fake of Azure against the vendor's own clients, unmodified: what it lets them do, what it refuses, and that the
//! requests they send are those that the adapter is held to.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that breaks must say so"
)]

use std::fs;
use std::time::Duration;

use grantd_testkit::{
    FakeAzure, FakeAzureSettings, FakeRequest, FakeRoleDefinition, TestIssuer, azure_environment, guarded,
    repository_root, run,
};
use grantd_tests::{AZURE_SLOTS as SLOTS, now};
use serde_json::{Value, json};

const ISSUER: &str = "https://issuer.test";
const TENANT: &str = "00000000-0000-4000-8000-000000007e4a";
const SUBSCRIPTION: &str = "00000000-0000-4000-8000-0000000050b5";
const BASE: (&str, &str) = ("00000000-0000-4000-8000-0000000ba5e1", "00000000-0000-4000-8000-0000000ba5e2");
const NAME: &str = "00000000-0000-4000-8000-00000000a551";
const OTHER: &str = "00000000-0000-4000-8000-00000000a552";
const CONDITION: &str =
    "(@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith 'hello')";

fn scope() -> String {
    format!(
        "/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/store/blobServices/\
         default/containers/logs"
    )
}

fn role() -> String {
    format!(
        "/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"
    )
}

fn assertion(issuer: &TestIssuer, subject: &str) -> String {
    let now = now().as_second();
    issuer.sign(&json!({
        "iss": ISSUER, "sub": subject, "aud": "api://AzureADTokenExchange", "iat": now, "nbf": now, "exp": now + 60,
    }))
}

/// Runs `tests/setup/azure_client.py`.
fn outcome(fake: &FakeAzure, issuer: &TestIssuer) -> Value {
    let ca = tempfile::NamedTempFile::new().unwrap();
    fs::write(ca.path(), fake.authority_pem()).unwrap();
    // To the second: the client writes times by its own habit.
    let at = |seconds: i64| jiff::Timestamp::from_second(now().as_second() + seconds).unwrap().to_string();
    let told = json!({
        "start": at(0), "end": at(3_600), "too_soon": at(120), "subscription_scope": format!("subscriptions/{SUBSCRIPTION}"),
        "url": fake.url(), "ca": ca.path(), "tenant": TENANT, "subscription": SUBSCRIPTION, "base": BASE.0,
        "base_principal": BASE.1, "base_assertion": assertion(issuer, "grantd"), "slot": SLOTS[0].0,
        "slot_assertion": assertion(issuer, "slot-0"), "principal": SLOTS[0].1, "container": scope(), "role": role(),
        "name": NAME, "other_name": OTHER, "description": "by the vendor's client", "condition": CONDITION,
    });
    let mut command = guarded(azure_environment().unwrap().join("bin/python"));
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent");
    command.arg("-W").arg("ignore").arg(repository_root().join("tests/setup/azure_client.py"));
    let finished = run(command, &told.to_string(), Duration::from_secs(60)).unwrap();
    assert!(finished.success(), "{finished}");
    serde_json::from_str(&finished.stdout).unwrap()
}

#[test]
fn the_vendors_clients_work_against_the_fake_and_are_refused_by_it() {
    let issuer = TestIssuer::new(ISSUER);
    let fake = FakeAzure::start(FakeAzureSettings::sample(&issuer)).unwrap();
    let schedules = FakeRoleDefinition::new(
        "00000000-0000-4000-8000-00000000b0b0",
        "schedules",
        &["Microsoft.Authorization/roleAssignmentSchedule*"],
        &[],
    );
    let (role_id, base) = (schedules.id, BASE.1.parse().unwrap());
    fake.define(schedules).unwrap();
    fake.assign_on(&format!("/subscriptions/{SUBSCRIPTION}"), role_id, base, None).unwrap();
    let seen = outcome(&fake, &issuer);
    assert!(seen["wrong_assertion"].as_str().unwrap().contains("AADSTS700213"), "{seen}");
    for (step, came_to) in [
        ("before", json!([403, "AuthorizationPermissionMismatch"])),
        ("missing", json!([404, "RoleAssignmentNotFound"])),
        ("created", json!(NAME)),
        ("same_again", json!(NAME)),
        ("same_triple", json!([409, "RoleAssignmentExists"])),
        ("not_delegated", json!([403, "AuthorizationFailed"])),
        ("listed", json!([NAME])),
        ("read", json!("hello from logs")),
        ("deleted", json!(NAME)),
        ("deleted_again", Value::Null),
        ("gone", json!([404, "RoleAssignmentNotFound"])),
        ("after", json!([403, "AuthorizationPermissionMismatch"])),
        ("pim_too_short", json!([400, "RoleAssignmentRequestPolicyValidationFailed"])),
        ("pim_asked", json!("Provisioned")),
        ("pim_asked_again", json!([400, "RoleAssignmentExists"])),
        ("pim_same_name", json!([409, "RoleAssignmentRequestExists"])),
        ("pim_get", json!("by the vendor's client")),
        ("pim_listed", json!([NAME])),
        ("pim_stands", json!(1)),
        ("pim_read", json!("hello from logs")),
        ("pim_too_early", json!([400, "ActiveDurationTooShort"])),
        ("pim_deleted", Value::Null),
        ("pim_nothing", json!([400, "RoleAssignmentDoesNotExist"])),
        ("pim_over", json!([403, "AuthorizationPermissionMismatch"])),
    ] {
        assert_eq!(seen[step], came_to, "{step}: {seen}");
    }

    // What the adapter's own tests hold the adapter to is what these clients send.
    let text = |name: &str| fs::read_to_string(repository_root().join("providers/azure/fixtures").join(name)).unwrap();
    let filled = format!("[{}, {}]", text("requests.json"), text("schedules.json"));
    let filled = filled
        .replace("{scope}", &scope())
        .replace("{name}", NAME)
        .replace("{role}", &role())
        .replace("{principal}", SLOTS[0].1)
        .replace("{subscription}", SUBSCRIPTION)
        .replace("{tenant}", TENANT)
        .replace("{client}", SLOTS[0].0)
        .replace("{description}", "by the vendor's client")
        .replace("{condition}", CONDITION);
    let filled = filled.replace("{other}", OTHER);
    let fixtures: Value = serde_json::from_str(&filled).unwrap();
    let requests: Vec<FakeRequest> = fake.requests("").into_iter().map(without_times).collect();
    for (name, fixture) in fixtures.as_array().unwrap().iter().flat_map(|all| all.as_object().unwrap()) {
        assert!(
            requests.iter().any(|request| is(request, fixture)),
            "the vendor's clients never send {name}: {fixture}"
        );
    }
}

/// When something is to begin and to end is of each request's own.
fn without_times(mut request: FakeRequest) -> FakeRequest {
    if let Some(info) = request.body.pointer_mut("/properties/scheduleInfo") {
        info["startDateTime"] = json!("{start}");
        info["expiration"]["endDateTime"] = json!("{end}");
    }
    request
}

/// Whether a request is the fixture; of a form, MSAL sends members besides that Entra does not ask for.
fn is(request: &FakeRequest, fixture: &Value) -> bool {
    let body = match fixture["body"].as_object() {
        Some(wanted) if request.path.ends_with("/token") => wanted.iter().all(|(name, value)| {
            request.body.get(name).is_some_and(|there| there == value || name == "client_assertion")
        }),
        _ => request.body == fixture["body"],
    };
    body && request.method == fixture["method"]
        && request.path == fixture["path"]
        && json!(request.query) == fixture["query"]
}
