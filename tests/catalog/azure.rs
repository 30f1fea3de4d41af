//! What Azure would let a slot do under the map: a role's data actions, at and below the scope, where the condition holds.

use std::collections::BTreeMap;

use grantd_provider_api::{Capability, Cloud, NativeRole};
use proptest::prelude::*;

use crate::abac::{ATTRIBUTES, Condition, Request};
use crate::maps::{map, native};

const LIST: Option<&str> = Some("Blob.List");
const REPOSITORY: &str = ATTRIBUTES[0];
const PREFIX: &str = ATTRIBUTES[1];
const PATH: &str = ATTRIBUTES[2];
const CONTAINER: &str = ATTRIBUTES[3];

/// A role assignment, as the adapter would make it.
#[derive(Debug)]
struct Assignment {
    scope: String,
    data_actions: Vec<String>,
    condition: Option<String>,
}

impl Assignment {
    /// From the templates of the map. The values were checked before: no quote and no backslash.
    fn of(role: &NativeRole, native: &str, prefix: Option<&str>) -> Option<Self> {
        let template = match prefix {
            Some(_) => Some(role.prefix_condition.clone()?),
            None => role.condition.clone(),
        };
        let name = native.rsplit('/').next().unwrap();
        let filled = |text: String| {
            let text = text.replace("{native}", native).replace("{name}", name);
            text.replace("{prefix}", prefix.unwrap_or("{prefix}"))
        };
        let condition = template.map(&filled);
        Some(Self { scope: filled(role.on.clone()), data_actions: role.data_permissions.clone(), condition })
    }

    fn allows(&self, resource: &str, request: &Request) -> bool {
        let below = resource.strip_prefix(&self.scope).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let holds = |text: &String| Condition::parse(text).unwrap_or_else(|why| panic!("{why}: {text}")).holds(request);
        below && self.data_actions.contains(&request.action) && self.condition.as_ref().is_none_or(holds)
    }
}

/// The assignments of a capability, or none if it cannot be narrowed so.
fn assignments(capability: &Capability, native: &str, prefix: Option<&str>) -> Option<Vec<Assignment>> {
    map(Cloud::Azure).capability[capability].roles.iter().map(|role| Assignment::of(role, native, prefix)).collect()
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

/// Characters that an adapter takes in a prefix.
const KEYS: &str = "[a-zA-Z0-9/_.=+ :@&()\\[\\]-]{0,16}";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// P3: whatever is asked, no data action passes on another container, another path, another repository or by another
    /// operation than was asked for.
    #[test]
    fn p3_nothing_outside_the_entitlement_passes_on_azure(
        which in any::<prop::sample::Index>(),
        of_action in any::<prop::sample::Index>(),
        name in "[a-z][a-z0-9]{2,10}",
        elsewhere in "[a-z0-9-]{0,2}",
        prefix in proptest::option::of("[a-zA-Z0-9/_.=+ :@&()\\[\\]-]{1,8}"),
        key in KEYS,
        inside in any::<bool>(),
        listing in any::<bool>(),
    ) {
        let capabilities: Vec<Capability> = map(Cloud::Azure).capability.into_keys().collect();
        let capability = &capabilities[which.index(capabilities.len())];
        let kind = capability.resource_type();
        let native = native(Cloud::Azure, capability.as_str(), &name);
        let Some(made) = assignments(capability, &native, prefix.as_deref()) else {
            prop_assert!(prefix.is_some(), "{capability} cannot be planned at all");
            return Ok(());
        };
        // Any data action of the map, on the resource, beside it, and on what merely starts alike.
        let all: Vec<String> =
            map(Cloud::Azure).capability.into_values().flat_map(|p| p.roles).flat_map(|r| r.data_permissions).collect();
        let action = all[of_action.index(all.len())].clone();
        let key = if inside { format!("{}{key}", prefix.as_deref().unwrap_or_default()) } else { key };
        let lists = listing && action.ends_with("/blobs/read");
        let own = made[0].data_actions.contains(&action);
        let begins = prefix.as_ref().is_none_or(|prefix| key.starts_with(prefix.as_str()));
        for (resource, container) in [(native.clone(), name.clone()), (format!("{native}{elsewhere}x"), format!("{name}{elsewhere}x"))] {
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
            let only_lists = capability.as_str() != "object-storage:list" || lists;
            let wanted = own && resource == native && begins && only_lists;
            let allowed = made.iter().any(|one| one.allows(&format!("{resource}/x"), &request));
            prop_assert_eq!(allowed, wanted, "{} on {} under {:?}: {:?}", capability, resource, made, request);
        }
    }
}
