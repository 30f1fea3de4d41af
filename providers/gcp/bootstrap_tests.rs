use std::sync::Arc;

use grantd_provider_api::{Need, Provider as _};
use grantd_testkit::Signer;

use super::*;
use crate::testing::{ALPHA, READ, adapter, entitlement, map};

fn printed(maps: &[(&str, &str)]) -> Result<String, ProviderError> {
    let signer = Arc::new(Signer::new("https://issuer.example.com").unwrap());
    let gcp = adapter("http://127.0.0.1:1", &signer, "", "0s");
    let needs = maps
        .iter()
        .map(|(roles, more)| {
            let map = map("object-storage:read", roles, more);
            let wanted = entitlement("object-storage:read", ALPHA, None);
            Need {
                resource: "alpha".to_owned(),
                capability: wanted.capability.clone(),
                plan: gcp.plan(&wanted, &map).unwrap(),
            }
        })
        .collect();
    gcp.bootstrap(&[AccountNeeds { account: "prod".to_owned(), base: None, needs }])
}

#[test]
fn the_daemon_may_grant_what_its_entitlements_need_to_its_own_pool_and_nothing_else() {
    let custom = READ.replace("roles/storage.objectViewer", "custom:reader");
    let text = printed(&[(READ, ""), (&custom, "")]).unwrap();
    for part in [
        "hasOnly(['projects/acme-prod/roles/grantd.reader', 'roles/storage.objectViewer'])",
        "issuer_uri = \"https://issuer.example.com\"",
        "assertion.sub == 'grantd' || assertion.sub.matches('^lease-[a-z2-7]{26}$')",
        "\"storage.buckets.setIamPolicy\"",
        "iam.managed.allowedPolicyMembers",
        "\"//iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/grantd\"",
        "roles/iam.serviceAccountTokenCreator",
        "account_id = \"grantd-2\"",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(!text.contains("roles/owner") && !text.contains("roles/storage.admin"));
}

#[test]
fn more_roles_than_a_condition_takes_are_refused_with_the_number() {
    let many: Vec<String> =
        (0..11).map(|n| READ.replace("roles/storage.objectViewer", &format!("roles/storage.r{n}"))).collect();
    let maps: Vec<(&str, &str)> = many.iter().map(|roles| (roles.as_str(), "")).collect();
    let error = printed(&maps).unwrap_err();
    assert!(error.message.contains("11 roles") && error.kind == ErrorKind::Unsupported, "{error}");
}

#[test]
fn a_string_means_itself() {
    assert_eq!(quoted("a\"b\\c"), r#""a\"b\\c""#);
    assert_eq!(quoted("^x{26}$"), "\"^x{26}$\"");
    assert_eq!(quoted("${x} %{y} 5% $"), "\"$${x} %%{y} 5% $\"");
}
