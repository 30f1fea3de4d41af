use grantd_provider_api::{Cloud, ErrorKind};

use super::*;
use crate::names::custom_role;
use crate::testing::{
    BLOB_READER, READ_BLOB, SLOTS, SUBSCRIPTION, config, container, entitlement, machine, map, map_with, secret,
};

fn account() -> AccountConfig {
    config("", "").unwrap().accounts.remove("main").unwrap()
}

fn planned(capability: &str, native: &str, prefix: Option<&str>) -> Result<Plan, ProviderError> {
    plan(&account(), &entitlement(capability, native, prefix), &map())
}

#[test]
fn p8_a_capability_becomes_one_role_at_the_exact_scope() {
    let plan = planned("object-storage:read", &container("logs"), Some("app/")).unwrap();
    let native = Native::of(&plan).unwrap();
    assert_eq!(native.audiences, ["https://storage.azure.com"]);
    let [grant] = native.assignments.as_slice() else { panic!("{native:?}") };
    assert_eq!(grant.scope, container("logs"));
    assert_eq!(grant.role_definition_id, role_definition(SUBSCRIPTION, Uuid::try_parse(BLOB_READER).unwrap()));
    let condition = grant.condition.as_deref().unwrap();
    assert!(condition.contains("StringStartsWith 'app/'") && condition.contains(READ_BLOB), "{condition}");
    assert_eq!(plan.targets, SLOTS.map(|(_, object)| object.to_string()));
    assert_eq!(plan, planned("object-storage:read", &container("logs"), Some("app/")).unwrap(), "pure");
}

#[test]
fn p3_the_plan_says_who_ends_it_and_how_late() {
    let plan = planned("secret:read", &secret(), None).unwrap();
    assert_eq!(plan.ending, Ending::Daemon { outlives: 1_800 });
    let words = plan.words.join("\n");
    for said in ["read a secret", "Key Vault Secrets User", secret().as_str(), "1800 s", "can be taken back"] {
        assert!(words.contains(said), "{said} is missing in {words}");
    }
}

#[test]
fn a_custom_role_has_an_id_of_its_own_in_each_subscription() {
    let plan = planned("virtual-machine:admin", &machine(), None).unwrap();
    let native = Native::of(&plan).unwrap();
    assert_eq!(native.assignments.len(), 2);
    assert!(
        native.assignments[0].role_definition_id.ends_with(&custom_role(SUBSCRIPTION, "machine-power").to_string())
    );
    assert_ne!(custom_role(SUBSCRIPTION, "machine-power"), custom_role(Uuid::from_u128(1), "machine-power"));
}

#[test]
fn what_cannot_be_narrowed_as_asked_is_refused() {
    let error = planned("secret:read", &secret(), Some("app/")).unwrap_err();
    assert!(error.kind == ErrorKind::Invalid && error.message.contains("without the prefix"), "{error}");
    for bad in ["a'b", "*", "x\\", "a\"", "../up"] {
        assert_eq!(planned("object-storage:read", &container("logs"), Some(bad)).unwrap_err().kind, ErrorKind::Invalid);
    }
    let mut networks = entitlement("secret:read", &secret(), None);
    networks.narrowing.source_networks = vec!["192.0.2.0/24".to_owned()];
    assert_eq!(plan(&account(), &networks, &map()).unwrap_err().kind, ErrorKind::Unsupported);
}

#[test]
fn what_is_elsewhere_or_something_else_is_refused() {
    let elsewhere = container("logs").replace(&SUBSCRIPTION.to_string(), &Uuid::from_u128(9).to_string());
    assert_eq!(planned("object-storage:read", &elsewhere, None).unwrap_err().kind, ErrorKind::Unsupported);
    assert_eq!(planned("object-storage:write", &container("logs"), None).unwrap_err().kind, ErrorKind::Unsupported);
    let mut other = entitlement("secret:read", &secret(), None);
    other.resource.kind = "object-storage".to_owned();
    assert_eq!(plan(&account(), &other, &map()).unwrap_err().kind, ErrorKind::Unsupported);
    let mut aws = entitlement("secret:read", &secret(), None);
    aws.resource.cloud = Cloud::Aws;
    assert_eq!(plan(&account(), &aws, &map()).unwrap_err().kind, ErrorKind::Unsupported);
}

#[test]
fn one_role_twice_at_one_place_cannot_be() {
    let role = format!("role = \"{BLOB_READER}\"\ntitle = \"t\"\non = \"{{native}}\"\n");
    let twice = map_with(&format!("{role}[[capability.\"object-storage:read\".roles]]\n{role}"));
    let asked = entitlement("object-storage:read", &container("logs"), None);
    assert_eq!(plan(&account(), &asked, &twice).unwrap_err().kind, ErrorKind::Config);
}

/// The kinds of the shipped map, each by a name as its comments say.
#[test]
fn every_capability_of_the_shipped_map_can_be_planned() {
    let shipped: CapabilityMap = toml::from_str(include_str!("../../config/entitlements/azure.toml")).unwrap();
    for capability in shipped.capability.keys() {
        let below = match capability.resource_type() {
            "object-storage" => "Microsoft.Storage/storageAccounts/a/blobServices/default/containers/c",
            "secret" => "Microsoft.KeyVault/vaults/v/secrets/s",
            "kms-key" => "Microsoft.KeyVault/vaults/v/keys/k",
            "database" => "Microsoft.Sql/servers/s/databases/d",
            "queue" => "Microsoft.Storage/storageAccounts/a/queueServices/default/queues/q",
            "service-bus-queue" => "Microsoft.ServiceBus/namespaces/n/queues/q",
            "container-registry" => "Microsoft.ContainerRegistry/registries/r",
            "kubernetes-cluster" => "Microsoft.ContainerService/managedClusters/c",
            "virtual-machine" => "Microsoft.Compute/virtualMachines/vm",
            "function" => "Microsoft.Web/sites/f",
            "dns-zone" => "Microsoft.Network/dnszones/example.com",
            "iam-role" => "Microsoft.ManagedIdentity/userAssignedIdentities/i",
            kind => panic!("{kind}: which name?"),
        };
        let native = format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/{below}");
        let asked = entitlement(capability.as_str(), &native, None);
        let planned = plan(&account(), &asked, &shipped);
        let plan = planned.unwrap_or_else(|error| panic!("{capability}: {error}"));
        assert!(plan.words.len() > 1, "{capability}: {plan:?}");
    }
}
