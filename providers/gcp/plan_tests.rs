use super::*;
use crate::testing::{ALPHA, READ, config, entitlement, map, read_map};

fn account() -> AccountConfig {
    config("").accounts.remove("prod").unwrap()
}

fn planned(capability: &str, native: &str, prefix: Option<&str>, map: &CapabilityMap) -> Result<Plan, ProviderError> {
    plan(&account(), &entitlement(capability, native, prefix), map)
}

#[test]
fn a_plan_says_what_is_bound_where_and_until_when() {
    let plan = planned("object-storage:read", ALPHA, Some("in/"), &read_map()).unwrap();
    let native = Native::of(&plan).unwrap();
    assert_eq!((native.bindings.len(), native.bindings[0].policy.as_str()), (1, ALPHA));
    assert_eq!(native.bindings[0].role, "roles/storage.objectViewer");
    assert_eq!(
        native.bindings[0].condition.as_deref().unwrap(),
        "resource.name.startsWith(\"projects/_/buckets/alpha/objects/in/\") || \
         api.getAttribute(\"storage.googleapis.com/objectListPrefix\", \"\").startsWith(\"in/\")"
    );
    assert_eq!(plan.targets, [account().pool_principal()]);
    assert_eq!(plan.ending, Ending::Cloud);
    assert!(plan.words.iter().any(|word| word.contains("to the second")), "{:?}", plan.words);
    assert!(plan.words.iter().any(|word| word.contains("roles/storage.objectViewer") && word.contains(ALPHA)));
    // The same entitlement makes the same plan; it names no lease and no time.
    assert_eq!(planned("object-storage:read", ALPHA, Some("in/"), &read_map()).unwrap(), plan);
    let whole = planned("object-storage:read", ALPHA, None, &read_map()).unwrap();
    assert_eq!(Native::of(&whole).unwrap().bindings[0].condition, None);
}

#[test]
fn no_prefix_can_end_the_string_that_it_stands_in() {
    for bad in ["", "/x", "a\") || true || (\"", "a\\", "a'", "a\nb", "{name}", "*", "a\u{0}"] {
        let error = planned("object-storage:read", ALPHA, Some(bad), &read_map()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{bad:?}");
    }
    for good in ["in/", "a b/ü", "2026-11-22/"] {
        assert!(planned("object-storage:read", ALPHA, Some(good), &read_map()).is_ok(), "{good:?}");
    }
}

#[test]
fn what_cannot_be_narrowed_as_asked_is_refused() {
    let unnarrowed = map(
        "object-storage:read",
        &READ.lines().filter(|line| !line.starts_with("prefix_")).collect::<Vec<_>>().join("\n"),
        "",
    );
    assert_eq!(planned("object-storage:read", ALPHA, Some("in/"), &unnarrowed).unwrap_err().kind, ErrorKind::Invalid);
    let mut networks = entitlement("object-storage:read", ALPHA, None);
    networks.narrowing.source_networks = vec!["10.0.0.0/8".to_owned()];
    assert_eq!(plan(&account(), &networks, &read_map()).unwrap_err().kind, ErrorKind::Invalid);
    for native in ["//cloudresourcemanager.googleapis.com/projects/other-project", "arn:aws:s3:::x", "alpha"] {
        let error = planned("object-storage:read", native, None, &read_map()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unsupported, "{native}");
    }
}

#[test]
fn impersonation_of_cloud_storage_is_bounded_by_the_token_too() {
    let map = map("object-storage:read", READ, "carrier = \"service_account\"");
    let plan = planned("object-storage:read", ALPHA, Some("in/"), &map).unwrap();
    let native = Native::of(&plan).unwrap();
    let rule = &native.boundary.unwrap()["accessBoundary"]["accessBoundaryRules"][0];
    assert_eq!(rule["availableResource"], ALPHA);
    assert_eq!(rule["availablePermissions"][0], "inRole:roles/storage.objectViewer");
    assert!(rule["availabilityCondition"]["expression"].as_str().unwrap().contains("objects/in/"));
    assert_eq!(plan.targets.len(), 2);
}

#[test]
fn p3_what_only_the_daemon_ends_says_so() {
    let roles = "[[capability.\"queue:read\".roles]]\nrole = \"roles/pubsub.subscriber\"\ntitle = \"Pub/Sub Subscriber\"\n\
                 permissions = [\"pubsub.subscriptions.consume\"]\non = \"{native}\"";
    let map = map("queue:read", roles, "expiry = \"daemon\"");
    let native = "//pubsub.googleapis.com/projects/acme-prod/subscriptions/jobs";
    let mut account = account();
    account.propagation.worst = std::time::Duration::from_secs(420);
    let plan = plan(&account, &entitlement("queue:read", native, None), &map).unwrap();
    assert_eq!(plan.ending, Ending::Daemon { outlives: 420 });
    assert!(plan.words.iter().any(|word| word.contains("has no end in Google Cloud") && word.contains("420 s")));
}

#[test]
fn templates_take_project_and_location_from_the_name() {
    let roles = "[[capability.\"kms-key:decrypt\".roles]]\nrole = \"custom:decrypter\"\ntitle = \"t\"\n\
                 permissions = [\"cloudkms.cryptoKeyVersions.useToDecrypt\"]\n\
                 on = \"//cloudkms.googleapis.com/projects/{project}/locations/{location}/keyRings/r/cryptoKeys/{name}\"";
    let map = map("kms-key:decrypt", roles, "widens = [\"w\"]");
    let native = "//cloudkms.googleapis.com/projects/acme-prod/locations/europe-west1/keyRings/r/cryptoKeys/k";
    let plan = planned("kms-key:decrypt", native, None, &map).unwrap();
    let binding = Native::of(&plan).unwrap().bindings.remove(0);
    assert_eq!((binding.policy.as_str(), binding.role.as_str()), (native, "projects/acme-prod/roles/grantd.decrypter"));
}

/// The kinds of the shipped map, each by a name as its comments say.
#[test]
fn every_capability_of_the_shipped_map_can_be_planned() {
    let shipped: CapabilityMap = toml::from_str(include_str!("../../config/entitlements/gcp.toml")).unwrap();
    for capability in shipped.capability.keys().map(|capability| capability.as_str().to_owned()) {
        let native = match capability.as_str() {
            "queue:write" => "//pubsub.googleapis.com/projects/acme-prod/topics/jobs",
            other => match other.split(':').next().unwrap() {
                "object-storage" => ALPHA,
                "secret" => "//secretmanager.googleapis.com/projects/acme-prod/secrets/db",
                "kms-key" => "//cloudkms.googleapis.com/projects/acme-prod/locations/eu/keyRings/r/cryptoKeys/k",
                "database" | "database-user" => "//cloudsql.googleapis.com/projects/acme-prod/instances/main",
                "queue" => "//pubsub.googleapis.com/projects/acme-prod/subscriptions/jobs",
                "container-registry" => {
                    "//artifactregistry.googleapis.com/projects/acme-prod/locations/eu/repositories/images"
                }
                "kubernetes-cluster" => "//container.googleapis.com/projects/acme-prod/locations/eu/clusters/main",
                "virtual-machine" => "//compute.googleapis.com/projects/acme-prod/zones/eu-a/instances/vm",
                "function" => "//cloudfunctions.googleapis.com/projects/acme-prod/locations/eu/functions/f",
                "dns-zone" => "//dns.googleapis.com/projects/acme-prod/managedZones/z",
                "iam-role" => {
                    "//iam.googleapis.com/projects/acme-prod/serviceAccounts/x@acme-prod.iam.gserviceaccount.com"
                }
                kind => panic!("{kind}: which name?"),
            },
        };
        let plan = planned(&capability, native, None, &shipped).unwrap_or_else(|error| panic!("{capability}: {error}"));
        assert!(plan.words.len() > 1, "{capability}: {plan:?}");
    }
}
