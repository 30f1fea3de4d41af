//! Azure: the applications' trust, grantd's own roles, and the daemon's right, whose condition is evaluated.

use std::collections::BTreeMap;

use grantd_testkit::{FakeApplication, FakeAzure, FakeAzureSettings, FakeFederation, FakeRoleDefinition};
use grantd_tests::{Scene, User};
use serde_json::Value;
use uuid::Uuid;

use crate::abac::{Condition, DELEGATED, Request};
use crate::printed::{Printed, referred, text, texts};
use crate::stage::{ISSUER, Stage, example, resource, shipped};

const GROUP: &str = "/subscriptions/00000000-0000-0000-0000-000000000002/resourceGroups/rg/providers";
const AUDIENCE: &str = "api://AzureADTokenExchange";

/// What hands out everything: Owner, User Access Administrator, Role Based Access Control Administrator.
const PRIVILEGED: [&str; 3] = [
    "8e3af657-a8ff-443c-a75c-2fe8c4bcb635",
    "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9",
    "f58310d9-a9f6-439a-9e8d-f62e7b41a168",
];

/// The ids of the example: `id(3)` is the base's application, `id(4)` and `id(5)` are a slot.
pub fn id(last: u128) -> Uuid {
    Uuid::from_u128(last)
}

/// The service principal of each application.
fn principals() -> BTreeMap<Uuid, Uuid> {
    BTreeMap::from([(id(3), id(0x33)), (id(4), id(5)), (id(6), id(7)), (id(8), id(9)), (id(10), id(11))])
}

fn container(name: &str) -> String {
    format!("{GROUP}/Microsoft.Storage/storageAccounts/store/blobServices/default/containers/{name}")
}

/// A tenant with the applications and nothing that they are trusted with.
pub fn tenant() -> FakeAzure {
    let application = |(client_id, object_id)| FakeApplication { client_id, object_id, federated: Vec::new() };
    FakeAzure::start(FakeAzureSettings {
        tenant: id(1),
        subscriptions: vec![id(2)],
        applications: principals().into_iter().map(application).collect(),
        key_sets: BTreeMap::new(),
        roles: Vec::new(),
        resources: vec![container("logs"), container("other")],
        blobs: ["logs", "other"].into_iter().map(|name| (format!("store/{name}/a"), name.to_owned())).collect(),
        assignments: Vec::new(),
        token_lifetime: 3_600,
    })
    .unwrap()
}

/// One of each kind of the map, in the example's account; `other` is in the second one.
fn catalog(second: bool) -> String {
    let mut all = resource("azure", "azure-main", "object-storage", "logs", &container("logs"));
    for (kind, native) in [
        ("secret", "Microsoft.KeyVault/vaults/v/secrets/s"),
        ("kms-key", "Microsoft.KeyVault/vaults/v/keys/k"),
        ("database", "Microsoft.Sql/servers/s/databases/d"),
        ("queue", "Microsoft.Storage/storageAccounts/store/queueServices/default/queues/q"),
        ("service-bus-queue", "Microsoft.ServiceBus/namespaces/n/queues/q"),
        ("container-registry", "Microsoft.ContainerRegistry/registries/r"),
        ("kubernetes-cluster", "Microsoft.ContainerService/managedClusters/c"),
        ("virtual-machine", "Microsoft.Compute/virtualMachines/m"),
        ("function", "Microsoft.Web/sites/f"),
        ("dns-zone", "Microsoft.Network/dnszones/example.com"),
        ("iam-role", "Microsoft.ManagedIdentity/userAssignedIdentities/i"),
    ] {
        all.push_str(&resource("azure", "azure-main", kind, kind, &format!("{GROUP}/{native}")));
    }
    if second {
        all.push_str(&resource("azure", "second", "object-storage", "other", &container("other")));
    }
    all
}

/// The commented example, in front of the fake; with further accounts that share its base and its subscription.
pub fn stage(fake: &FakeAzure, second: bool) -> Stage {
    stage_with(fake, second, &[])
}

/// The same with more slots in the second account.
fn stage_with(fake: &FakeAzure, second: bool, more: &[(u128, u128)]) -> Stage {
    let scene = Scene::new();
    let ca = scene.write("config/azure-ca.pem", fake.authority_pem(), User::Root, 0o644);
    let url = fake.url();
    let here = format!(
        "endpoints = {{ authority = \"{url}\", resource_manager = \"{url}\", blob = \"{url}/blob/{{name}}\" }}\n"
    );
    let (own, ca) = ("propagation = { expected = \"2m\", worst = \"30m\" }", ca.display());
    let mut table = example("azure");
    assert!(table.contains(own), "{table}");
    table = table.replace(own, &format!("propagation = {{ expected = \"0s\", worst = \"0s\" }}\nca_bundle = \"{ca}\""));
    table = table.replace("name = \"azure-main\"\n", &format!("name = \"azure-main\"\n{here}"));
    if second {
        table.push_str(&format!(
            "[[azure.account]]\nname = \"second\"\ntenant = \"{}\"\nsubscriptions = [\"{}\"]\n{here}\
             base = {{ type = \"federation\", client_id = \"{}\", subject = \"grantd\" }}\n\
             [[azure.account.slot]]\nclient_id = \"{}\"\nobject_id = \"{}\"\nsubject = \"slot-${{2}}\"\n\
             [[azure.account.slot]]\nclient_id = \"{}\"\nobject_id = \"{}\"\nsubject = \"slot-3\"\n",
            id(1),
            id(2),
            id(3),
            id(6),
            id(7),
            id(8),
            id(9)
        ));
    }
    for (client, object) in more {
        let (client_id, object_id) = (id(*client), id(*object));
        table.push_str(&format!(
            "[[azure.account.slot]]\nclient_id = \"{client_id}\"\nobject_id = \"{object_id}\"\nsubject = \"slot-{client}\"\n"
        ));
    }
    Stage::new("azure", &catalog(second), scene, &table)
}

/// Makes in the fake exactly what is printed.
pub fn apply(fake: &FakeAzure, printed: &Printed) {
    for (_, body) in printed.resources("azurerm_role_definition") {
        let permissions = &body["permissions"][0];
        let (actions, data_actions) = (texts(&permissions["actions"]), texts(&permissions["data_actions"]));
        let role =
            FakeRoleDefinition::new(text(&body["role_definition_id"]), text(&body["name"]), &actions, &data_actions);
        fake.define(role).unwrap();
    }
    let mut trusted: BTreeMap<Uuid, Vec<FakeFederation>> = BTreeMap::new();
    let mut titles = Vec::new();
    for (_, body) in printed.resources("azuread_application_federated_identity_credential") {
        assert_eq!(texts(&body["audiences"]), [AUDIENCE]);
        let name = referred(&body["application_id"], "data.azuread_application");
        let client: Uuid = text(&printed.data("azuread_application", name)["client_id"]).parse().unwrap();
        let title = (client, text(&body["display_name"]).to_owned());
        assert!(!titles.contains(&title), "{title:?} is there twice");
        titles.push(title);
        let federation =
            FakeFederation { issuer: text(&body["issuer"]).to_owned(), subject: text(&body["subject"]).to_owned() };
        trusted.entry(client).or_default().push(federation);
    }
    for (client, federated) in &trusted {
        fake.trust(*client, federated).unwrap();
    }
    for (_, body) in printed.resources("azurerm_role_assignment") {
        let role = text(&body["role_definition_id"]).rsplit('/').next().unwrap().parse().unwrap();
        assert_eq!(body["condition_version"], "2.0");
        fake.assign_on(text(&body["scope"]), role, principal(printed, body), body["condition"].as_str()).unwrap();
    }
}

/// To whom an assignment is: the service principal that its data names, which the configuration was checked against.
fn principal(printed: &Printed, body: &serde_json::Map<String, Value>) -> Uuid {
    let name = referred(&body["principal_id"], "data.azuread_service_principal");
    let data = printed.data("azuread_service_principal", name);
    principals()[&text(&data["client_id"]).parse::<Uuid>().unwrap()]
}

/// The ids of the roles that a set of capabilities needs: built-in ones as the map says, grantd's own as they are printed.
fn roles(printed: &Printed, kinds: &dyn Fn(&str) -> bool) -> Vec<String> {
    let map: toml::Table = shipped("azure").parse().unwrap();
    let defined: BTreeMap<&str, &str> = printed
        .resources("azurerm_role_definition")
        .into_iter()
        .map(|(_, body)| (text(&body["name"]), text(&body["role_definition_id"])))
        .collect();
    let mut all = Vec::new();
    for (capability, permission) in map["capability"].as_table().unwrap() {
        if !kinds(capability.split(':').next().unwrap()) {
            continue;
        }
        for role in permission["roles"].as_array().unwrap() {
            let role = role["role"].as_str().unwrap();
            all.push(match role.strip_prefix("custom:") {
                None => role.to_owned(),
                Some(name) => defined[format!("grantd {name} in {}", id(2)).as_str()].to_owned(),
            });
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// Whether a condition lets its holder do that.
fn lets(condition: &Condition, action: &str, source: &str, role: &str, principal: Uuid) -> bool {
    let of = |name: &str| *DELEGATED.iter().find(|one| one.contains(source) && one.contains(name)).unwrap();
    let attributes = [(of("PrincipalId"), principal.to_string()), (of("RoleDefinitionId"), role.to_owned())];
    condition.holds(&Request {
        action: format!("Microsoft.Authorization/roleAssignments/{action}"),
        suboperation: None,
        attributes: attributes.into_iter().collect(),
    })
}

/// The condition allows exactly these roles to exactly these slots, for what is asked for and for what stands there.
fn is_bound_to(condition: &str, allowed: &[String], slots: &[Uuid]) {
    let condition = Condition::parse(condition).unwrap_or_else(|why| panic!("{why}: {condition}"));
    let everybody: Vec<Uuid> = principals().into_values().chain([id(0xbad)]).collect();
    let other = id(0x1234).to_string();
    let all: Vec<&str> = allowed.iter().map(String::as_str).chain(PRIVILEGED).chain([other.as_str()]).collect();
    for (action, source) in [("write", "@Request"), ("delete", "@Resource")] {
        for role in &all {
            for principal in &everybody {
                let wanted = allowed.iter().any(|one| one == role) && slots.contains(principal);
                let found = lets(&condition, action, source, role, *principal);
                assert_eq!(found, wanted, "{action} of {role} to {principal}");
            }
        }
        let elsewhere = if source == "@Request" { "@Resource" } else { "@Request" };
        assert!(!lets(&condition, action, elsewhere, &allowed[0], slots[0]), "{action} is judged by {source}");
    }
    assert!(allowed.len() > 1 && PRIVILEGED.iter().all(|role| !allowed.iter().any(|one| one == role)));
}

fn works(stage: &Stage, fake: &FakeAzure, resource: &str, slots: &[Uuid]) {
    let answer = stage.vend(resource);
    assert_eq!(answer.status, 200, "{answer:?}");
    let token = text(&answer.body["credential"]["tokens"][0]["token"]).to_owned();
    let ca = stage.scene.config().join("azure-ca.pem").display().to_string();
    let read = |container: &str| {
        let (url, header) =
            (format!("{}/blob/store/{container}/a", fake.url()), format!("Authorization: Bearer {token}"));
        let arguments =
            ["--silent", "--show-error", "--cacert", &ca, "-H", "x-ms-version: 2023-11-03", "-H", &header, &url];
        stage.scene.caller(User::Alice).run("curl", &arguments).stdout
    };
    assert_eq!(read(resource), resource);
    let other = if resource == "logs" { "other" } else { "logs" };
    assert!(read(other).contains("AuthorizationPermissionMismatch"), "{}", read(other));
    let standing = || slots.iter().map(|slot| fake.assignments_of(*slot).len()).sum::<usize>();
    assert_eq!(standing(), 1);
    stage.end(&answer.body["lease"]["id"]);
    assert_eq!(standing(), 0);
    assert!(read(resource).contains("AuthorizationPermissionMismatch"));
}

#[test]
fn the_example_for_azure_is_set_up_by_what_bootstrap_prints_and_by_no_more() {
    let fake = tenant();
    let stage = stage(&fake, false);
    let (_, printed) = stage.bootstrap(&["azure"]);
    fake.publish(ISSUER, stage.keys());
    // Before it is applied, nothing can be had, and the doctor says what is missing.
    assert_ne!(stage.vend("logs").status, 200);
    let missing: Vec<Value> = stage.problems();
    assert!(missing.iter().any(|one| one["check"] == "base.token"), "{missing:#?}");
    apply(&fake, &printed);
    assert_eq!(stage.problems(), Vec::<Value>::new());

    let assignments = printed.resources("azurerm_role_assignment");
    let [(_, right)] = assignments.as_slice() else { panic!("{assignments:?}") };
    assert_eq!(
        (text(&right["scope"]), principal(&printed, right)),
        (format!("/subscriptions/{}", id(2)).as_str(), id(0x33))
    );
    let all = roles(&printed, &|_| true);
    assert!(all.len() > 25, "{all:?}");
    is_bound_to(text(&right["condition"]), &all, &[id(5)]);
    // Its own role is what it needs to assign and remove, and nothing else.
    let definitions = printed.resources("azurerm_role_definition");
    let own: Vec<_> = definitions.iter().filter(|(_, body)| text(&body["name"]).contains("base of")).collect();
    let [(_, own)] = own.as_slice() else { panic!("{own:?}") };
    let actions = texts(&own["permissions"][0]["actions"]);
    let short: Vec<&str> = actions.iter().map(|one| one.trim_start_matches("Microsoft.Authorization/")).collect();
    assert_eq!(
        short,
        ["roleAssignments/delete", "roleAssignments/read", "roleAssignments/write", "roleDefinitions/read"]
    );
    assert!(texts(&own["permissions"][0]["data_actions"]).is_empty());
    works(&stage, &fake, "logs", &[id(5)]);
}

/// One user cannot take every slot: the last of three is for somebody else.
#[test]
fn p11_one_user_cannot_take_all_slots() {
    let fake = tenant();
    let stage = stage_with(&fake, true, &[(10, 11)]);
    let (_, printed) = stage.bootstrap(&["azure"]);
    fake.publish(ISSUER, stage.keys());
    apply(&fake, &printed);
    for _ in 0..2 {
        let answer = stage.vend("other");
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let full = stage.vend("other");
    full.is_problem(503, "capacity", &["you have 2", "of 2"]);
    let answer = stage.vend_as(User::Bob, "other");
    assert_eq!(answer.status, 200, "somebody else has the last one: {answer:?}");
    // A slot of another account is no part of it.
    assert_eq!(stage.vend("logs").status, 200);
}

#[test]
fn accounts_that_share_a_base_and_a_subscription_are_set_up_together() {
    let fake = tenant();
    let stage = stage(&fake, true);
    let (text_of_it, printed) = stage.bootstrap(&["azure"]);
    fake.publish(ISSUER, stage.keys());
    apply(&fake, &printed);
    let problems = stage.problems();
    assert_eq!(problems, Vec::<Value>::new(), "{text_of_it}");
    let rights = printed.resources("azurerm_role_assignment");
    assert_eq!(rights.len(), 2);
    for (name, right) in rights {
        let first = name.contains("azure_main");
        let slots: &[Uuid] = if first { &[id(5)] } else { &[id(7), id(9)] };
        let allowed = roles(&printed, &|kind| first || kind == "object-storage");
        is_bound_to(text(&right["condition"]), &allowed, slots);
    }
    works(&stage, &fake, "logs", &[id(5)]);
    works(&stage, &fake, "other", &[id(7), id(9)]);
    // Each by itself is whole, too.
    for account in ["azure-main", "second"] {
        stage.bootstrap(&["azure", "--account", account]);
    }
}
