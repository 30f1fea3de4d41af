//! What Azure would let a slot do under the plans that the adapter makes: a role's actions and data actions, at and below the
//! scope, where the condition holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use grantd_provider_api::{
    Capability, CapabilityMap, Cloud, Entitlement, ErrorKind, Narrowing, NativeRole, NoAssertions, Permission, Plan,
    Provider, ProviderError, ResourceRef, SystemClock,
};
use grantd_provider_azure::AzureProvider;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use crate::abac::{ATTRIBUTES, Condition, Request};
use crate::maps::{map, native};

const LIST: Option<&str> = Some("Blob.List");
const REPOSITORY: &str = ATTRIBUTES[0];
const PREFIX: &str = ATTRIBUTES[1];
const PATH: &str = ATTRIBUTES[2];
const CONTAINER: &str = ATTRIBUTES[3];

/// The slots' ids: nothing may be given to anything else.
const SLOT: &str = "00000000-0000-4000-8000-0000000000b1";

/// The adapter with one account; nothing is ever sent.
fn adapter() -> &'static AzureProvider {
    static ADAPTER: LazyLock<AzureProvider> = LazyLock::new(|| {
        let config = format!(
            "[[account]]\nname = \"prod\"\ntenant = \"00000000-0000-4000-8000-0000000000aa\"\n\
             subscriptions = [\"11111111-2222-3333-4444-555555555555\"]\n\
             base = {{ type = \"token_file\", client_id = \"00000000-0000-4000-8000-0000000000ba\", token_file = \"/none\" }}\n\
             [[account.slot]]\nclient_id = \"00000000-0000-4000-8000-0000000000c1\"\nobject_id = \"{SLOT}\"\n\
             subject = \"slot-1\"\n"
        );
        let config = toml::from_str(&config).unwrap();
        AzureProvider::new(config, Arc::new(SystemClock::new()), Arc::new(NoAssertions)).unwrap()
    });
    &ADAPTER
}

fn shipped() -> &'static CapabilityMap {
    static SHIPPED: LazyLock<CapabilityMap> = LazyLock::new(|| map(Cloud::Azure));
    &SHIPPED
}

/// The plan that the adapter makes.
fn planned(capability: &Capability, native: &str, prefix: Option<&str>) -> Result<Plan, ProviderError> {
    let entitlement = Entitlement {
        capability: capability.clone(),
        resource: ResourceRef {
            cloud: Cloud::Azure,
            account: "prod".to_owned(),
            kind: capability.resource_type().to_owned(),
            native: native.to_owned(),
        },
        narrowing: Narrowing { prefix: prefix.map(str::to_owned), source_networks: Vec::new() },
    };
    adapter().plan(&entitlement, shipped())
}

/// A role assignment of a plan. A field that is not known here would be one that nobody judged.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Assignment {
    #[serde(rename = "title")]
    _title: String,
    #[serde(default)]
    custom: Option<String>,
    role_definition_id: String,
    scope: String,
    #[serde(default, rename = "permissions")]
    actions: Vec<String>,
    #[serde(default, rename = "data_permissions")]
    data_actions: Vec<String>,
    #[serde(default)]
    condition: Option<String>,
}

impl Assignment {
    /// Those of a plan.
    fn all_of(plan: &Plan) -> Vec<Self> {
        assert_eq!((plan.cloud, plan.targets.as_slice()), (Cloud::Azure, [SLOT.to_owned()].as_slice()));
        Vec::deserialize(&plan.native["assignments"]).unwrap_or_else(|why| panic!("{why}: {}", plan.native))
    }

    fn allows(&self, resource: &str, request: &Request) -> bool {
        let below = resource.strip_prefix(&self.scope).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let holds = |text: &String| Condition::parse(text).unwrap_or_else(|why| panic!("{why}: {text}")).holds(request);
        let listed = self.actions.contains(&request.action) || self.data_actions.contains(&request.action);
        below && listed && self.condition.as_ref().is_none_or(holds)
    }

    /// Whether it is the map's role, in the subscription of the resource.
    fn is_of(&self, role: &NativeRole) -> bool {
        let known = match role.role.strip_prefix("custom:") {
            Some(name) => self.custom.as_deref() == Some(name),
            None => self.custom.is_none() && self.role_definition_id.ends_with(&format!("/{}", role.role)),
        };
        let within =
            "/subscriptions/11111111-2222-3333-4444-555555555555/providers/Microsoft.Authorization/roleDefinitions/";
        known && self.role_definition_id.starts_with(within)
    }
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect()
}

/// Whether a prefix means more than itself, so that the adapter has to refuse it.
fn is_odd(prefix: &str) -> bool {
    prefix.starts_with('/') || prefix.split('/').any(|part| part == "." || part == "..")
}

/// Whether the map lets a capability be narrowed to a prefix.
fn is_narrowable(permission: &Permission) -> bool {
    permission.roles.iter().all(|role| role.prefix_condition.is_some())
}

/// Roles that have a condition of either kind.
fn conditional() -> Vec<(Capability, NativeRole)> {
    let all = map(Cloud::Azure)
        .capability
        .into_iter()
        .flat_map(|(capability, permission)| permission.roles.into_iter().map(move |role| (capability.clone(), role)));
    all.filter(|(_, role)| role.condition.is_some() || role.prefix_condition.is_some()).collect()
}

#[test]
fn each_condition_narrows_every_data_action_of_its_role_and_no_other() {
    let found = conditional();
    assert!(found.len() >= 6, "{found:?}");
    for (capability, role) in found {
        for text in [&role.condition, &role.prefix_condition].into_iter().flatten() {
            let condition = Condition::parse(text).unwrap_or_else(|why| panic!("{capability}: {why}"));
            let mut named = condition.actions();
            named.sort_unstable();
            named.dedup();
            assert_eq!(named, role.data_permissions, "{capability}: a data action that is not named is not narrowed");
            for action in &role.data_permissions {
                for suboperation in [None, LIST] {
                    let bare = Request { action: action.clone(), suboperation, ..Request::default() };
                    let listing = suboperation.is_some() && action.ends_with("/blobs/read");
                    // The list capability leaves listing alone where no prefix is asked for; nothing else passes bare.
                    let open = listing && capability.verb() == "list" && role.condition.as_ref() == Some(text);
                    let blob_list_of_another = suboperation.is_some() && !listing;
                    assert!(
                        blob_list_of_another || condition.holds(&bare) == open,
                        "{capability}: {action} {suboperation:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_slip_in_a_shipped_condition_is_noticed() {
    let words =
        ["StringStartsWith", "StringEquals", "StringNotEquals", "SubOperationMatches", "Blob.List", "ActionMatches"];
    let attributes = [
        "containers:name",
        "blobs:path",
        "blobs:prefix",
        "repositories:name",
        "@Resource",
        "@Request",
        " OR ",
        " AND ",
    ];
    let (mut tried, mut hit) = (0, BTreeMap::new());
    for (capability, role) in conditional() {
        for text in [&role.condition, &role.prefix_condition].into_iter().flatten() {
            for word in words.iter().chain(&attributes).filter(|word| text.contains(**word)) {
                let middle = word.len() / 2;
                let slipped = text.replacen(word, &format!("{}{}", &word[..middle], &word[middle + 1..]), 1);
                assert!(Condition::parse(&slipped).is_err(), "{capability}: {word} misspelled was taken: {slipped}");
                hit.insert(*word, ());
                tried += 1;
            }
        }
    }
    assert!(tried > 40 && hit.len() == words.len() + attributes.len(), "{tried} slips, of {:?}", hit.keys());
}

/// Each plan says for whom its tokens are and what it assigns exactly as the map does: no role and no audience besides.
#[test]
fn a_plan_has_the_roles_and_audiences_of_its_capability_and_no_others() {
    for (capability, permission) in &shipped().capability {
        let native = native(Cloud::Azure, capability.as_str(), "example");
        let plan = planned(capability, &native, None).unwrap_or_else(|error| panic!("{capability}: {error}"));
        assert_eq!(texts(&plan.native["audiences"]), permission.audiences, "{capability}");
        let made = Assignment::all_of(&plan);
        assert_eq!(made.len(), permission.roles.len(), "{capability}: {made:?}");
        for (one, role) in made.iter().zip(&permission.roles) {
            assert!(one.is_of(role), "{capability}: {one:?} is not {role:?}");
            assert_eq!((&one.actions, &one.data_actions), (&role.permissions, &role.data_permissions), "{capability}");
        }
        for (what, value) in [("resource", native.as_str()), ("subscription", "11111111-2222-3333-4444-555555555555")] {
            assert_eq!(plan.native[what], value, "{capability}");
        }
    }
}

/// Characters that an adapter takes in a prefix.
const KEYS: &str = "[a-zA-Z0-9/_.=+ :@&()\\[\\]-]{0,16}";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// P3: whatever is asked, the plan lets no action pass on another resource, another path, another repository or by
    /// another operation than was asked for.
    #[test]
    fn p3_nothing_outside_the_entitlement_passes_on_azure(
        which in any::<prop::sample::Index>(),
        of_action in any::<prop::sample::Index>(),
        own_action in any::<bool>(),
        name in "[a-z][a-z0-9]{2,10}",
        elsewhere in "[a-z0-9-]{0,2}",
        prefix in proptest::option::of("[a-zA-Z0-9/_.=+ :@&()\\[\\]-]{1,8}"),
        key in KEYS,
        inside in any::<bool>(),
        listing in any::<bool>(),
    ) {
        let capabilities: Vec<&Capability> = shipped().capability.keys().collect();
        let capability = capabilities[which.index(capabilities.len())];
        let permission = &shipped().capability[capability];
        let kind = capability.resource_type();
        let native = native(Cloud::Azure, capability.as_str(), &name);
        let plan = match planned(capability, &native, prefix.as_deref()) {
            Ok(plan) => plan,
            Err(error) => {
                let refusable = prefix.as_deref().is_some_and(|prefix| is_odd(prefix) || !is_narrowable(permission));
                prop_assert!(refusable && error.kind == ErrorKind::Invalid, "{capability} {prefix:?}: {error}");
                return Ok(());
            }
        };
        let made = Assignment::all_of(&plan);
        // Any action of the map, on the resource, beside it, on what merely starts alike, and above it.
        let of = |permission: &Permission| -> BTreeSet<(String, bool)> {
            let data = |role: &NativeRole| role.data_permissions.clone().into_iter().map(|one| (one, true));
            let plain = |role: &NativeRole| role.permissions.clone().into_iter().map(|one| (one, false));
            permission.roles.iter().flat_map(|role| data(role).chain(plain(role))).collect()
        };
        let own: Vec<(String, bool)> = of(permission).into_iter().collect();
        let all: Vec<(String, bool)> = match own_action {
            true => own.clone(),
            false => shipped().capability.values().flat_map(of).collect(),
        };
        let (action, data) = all[of_action.index(all.len())].clone();
        let key = if inside { format!("{}{key}", prefix.as_deref().unwrap_or_default()) } else { key };
        let lists = listing && action.ends_with("/blobs/read");
        // What is managed is the resource itself: prefixes are of data.
        let begins = !data || prefix.as_ref().is_none_or(|prefix| key.starts_with(prefix.as_str()));
        let only_lists = capability.as_str() != "object-storage:list" || lists;
        let above = native.rsplit_once('/').unwrap().0;
        for (resource, container) in [
            (format!("{native}/x"), name.clone()),
            (format!("{native}{elsewhere}x/x"), format!("{name}{elsewhere}x")),
            (above.to_owned(), name.clone()),
            (format!("{above}/another"), "another".to_owned()),
        ] {
            let attributes = match (kind, lists) {
                ("object-storage", true) => vec![(CONTAINER, container.clone()), (PREFIX, key.clone())],
                ("object-storage", false) => vec![(CONTAINER, container.clone()), (PATH, key.clone())],
                ("container-registry", _) => vec![(REPOSITORY, key.clone())],
                _ => Vec::new(),
            };
            let request = Request {
                action: action.clone(),
                suboperation: lists.then_some("Blob.List"),
                attributes: attributes.into_iter().collect(),
            };
            let here = resource.strip_prefix(&native).is_some_and(|rest| rest.starts_with('/'));
            let wanted = own.contains(&(action.clone(), data)) && here && begins && only_lists;
            let allowed = made.iter().any(|one| one.allows(&resource, &request));
            prop_assert_eq!(allowed, wanted, "{} on {} under {:?}: {:?}", capability, resource, made, request);
        }
    }
}
