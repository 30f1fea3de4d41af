//! That the maps say everything, in one form, and that what is named elsewhere is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use grantd_provider_api::{Cloud, Expiry, NativeRole};
use grantd_testkit::repository_root;

use crate::maps::{CLOUDS, map, native, text};

/// Which verbs of which type each cloud serves: AWS, Azure, Google Cloud. What is missing on one is missing on purpose,
/// and its map says why.
const SERVED: [(&str, [&str; 3]); 14] = [
    ("container-registry", ["admin read write", "admin read write", "admin read write"]),
    ("database", ["admin read", "admin read", "admin read"]),
    ("database-snapshot", ["read restore", "", ""]),
    ("database-user", ["connect", "", "connect"]),
    ("dns-zone", ["read write", "read write", "read write"]),
    ("function", ["admin read write", "read", "read"]),
    ("iam-role", ["read", "read", "read"]),
    ("kms-key", ["decrypt encrypt read sign", "decrypt encrypt read sign", "decrypt encrypt read sign"]),
    ("kubernetes-cluster", ["read", "read write", "read"]),
    ("object-storage", ["admin list read write", "admin list read write", "admin list read write"]),
    ("queue", ["admin read write", "admin read write", "read write"]),
    ("secret", ["list read write", "list read write", "list read write"]),
    ("service-bus-queue", ["", "read write", ""]),
    ("virtual-machine", ["admin read", "admin read", "admin read"]),
];

#[test]
fn each_cloud_serves_what_it_is_said_to_serve() {
    for (at, cloud) in CLOUDS.into_iter().enumerate() {
        let mut served: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for capability in map(cloud).capability.into_keys() {
            served.entry(capability.resource_type().to_owned()).or_default().push(capability.verb().to_owned());
        }
        if cloud == Cloud::Oidc {
            // Of audiences no cloud knows.
            assert_eq!(served.remove("oidc-audience").unwrap_or_default().join(" "), "exchange token");
        }
        for (kind, verbs) in SERVED {
            let verbs = verbs.get(at).copied().unwrap_or_default();
            assert_eq!(served.remove(kind).unwrap_or_default().join(" "), verbs, "{kind} on {cloud}");
        }
        assert_eq!(served, BTreeMap::new(), "{cloud}: not in the table");
    }
}

#[test]
fn each_capability_says_everything() {
    for cloud in CLOUDS {
        let raw: toml::Table = toml::from_str(&text(cloud)).unwrap();
        let needed: &[&str] = match cloud {
            Cloud::Aws => &["persistence", "revocation", "rules", "summary"],
            Cloud::Azure => &["audiences", "expiry", "persistence", "revocation", "roles", "summary"],
            Cloud::Gcp => &["carrier", "expiry", "persistence", "revocation", "roles", "summary"],
            Cloud::Oidc => &["persistence", "revocation", "summary"],
        };
        for (capability, said) in raw["capability"].as_table().unwrap() {
            let said = said.as_table().unwrap();
            let keys: BTreeSet<&str> = said.keys().map(String::as_str).filter(|key| *key != "widens").collect();
            assert_eq!(keys, needed.iter().copied().collect(), "{capability} on {cloud}");
            let sentences = said.get("widens").and_then(toml::Value::as_array).cloned().unwrap_or_default();
            for sentence in sentences.iter().chain([&said["summary"]]) {
                let sentence = sentence.as_str().unwrap();
                let fits = sentence.len() > 10 && !sentence.ends_with('.') && !sentence.contains('\n');
                assert!(fits, "{capability} on {cloud}: {sentence:?} is no half-sentence");
            }
        }
    }
}

#[test]
fn each_role_says_what_it_is_given_for_and_where() {
    for cloud in [Cloud::Azure, Cloud::Gcp] {
        let mut custom: BTreeMap<String, NativeRole> = BTreeMap::new();
        let mut titles = BTreeMap::new();
        for (capability, permission) in map(cloud).capability {
            let at = format!("{capability} on {cloud}");
            for role in permission.roles {
                assert!(role.role.starts_with("custom:") || is_role(cloud, &role.role), "{at}: {}", role.role);
                let given: Vec<&String> = role.permissions.iter().chain(&role.data_permissions).collect();
                assert!(!given.is_empty(), "{at}: {} is given for nothing", role.role);
                assert!(given.iter().all(|permission| !permission.contains('*')), "{at}: {given:?}");
                for list in [&role.permissions, &role.data_permissions] {
                    assert!(list.is_sorted_by(|one, next| one < next), "{at}: not sorted: {list:?}");
                }
                let other = titles.insert(role.title.clone(), role.role.clone());
                assert!(other.is_none_or(|other| other == role.role), "{at}: {} is two roles", role.title);
                if let Some(name) = role.role.strip_prefix("custom:") {
                    // What the clouds take for the name of a role: Google no hyphens, and 3 to 64 characters.
                    let joint = if cloud == Cloud::Gcp { b'_' } else { b'-' };
                    let fits = (3..=64).contains(&name.len())
                        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == joint);
                    assert!(fits && role.title.starts_with("grantd ") && role.title.len() <= 100, "{at}: {name}");
                    let same = |one: &NativeRole, two: &NativeRole| {
                        (&one.permissions, &one.data_permissions) == (&two.permissions, &two.data_permissions)
                    };
                    if let Some(other) = custom.insert(name.to_owned(), role.clone()) {
                        assert!(same(&other, &role), "{at}: {name} is two roles");
                    }
                }
            }
        }
    }
}

fn is_role(cloud: Cloud, role: &str) -> bool {
    match cloud {
        Cloud::Gcp => role.strip_prefix("roles/").is_some_and(|name| name.contains('.') && !name.contains('/')),
        _ => {
            let parts: Vec<&str> = role.split('-').collect();
            let hex = |part: &&str| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12]) && parts.iter().all(hex)
        }
    }
}

#[test]
fn what_reaches_beyond_the_resource_or_its_time_says_so() {
    for (capability, permission) in map(Cloud::Azure).capability {
        assert_eq!(permission.expiry, Expiry::Daemon, "{capability}: Azure ends no assignment");
        assert!(permission.roles.iter().all(|role| role.on == "{native}"), "{capability}");
    }
    for (capability, permission) in map(Cloud::Gcp).capability {
        let words = permission.widens.join("; ");
        if permission.expiry == Expiry::Daemon {
            assert!(
                words.contains("takes no conditions") || words.contains("take no conditions"),
                "{capability}: {words}"
            );
            let conditions = permission.roles.iter().any(|r| r.condition.is_some() || r.prefix_condition.is_some());
            assert!(!conditions, "{capability} has a condition where none is taken");
        }
        for role in &permission.roles {
            if role.on != "{native}" {
                assert_eq!(role.on, "//cloudresourcemanager.googleapis.com/projects/{project}", "{capability}");
                assert!(words.contains("bound on the project"), "{capability}: {words}");
                let condition = role.condition.as_deref().unwrap_or_default();
                assert!(condition.contains("resource.name ==") && condition.contains("{name}'"), "{capability}");
            }
        }
    }
    // Whoever may write the policy in which the lease's own binding stands makes themselves last.
    for cloud in [Cloud::Azure, Cloud::Gcp] {
        for (capability, permission) in map(cloud).capability {
            for given in permission.roles.iter().flat_map(|r| r.permissions.iter().chain(&r.data_permissions)) {
                let lower = given.to_ascii_lowercase();
                let lasting = ["setiampolicy", "roleassignments/write", "elevateaccess", "generateuserdelegationkey"];
                let keys = ["listkeys", "regeneratekey", "getaccesstoken", "signblob", "signjwt", "hmackeys", "actas"];
                let found = lasting.iter().chain(&keys).find(|word| lower.contains(*word));
                assert_eq!(found, None, "{capability} on {cloud}: {given}");
            }
        }
    }
}

#[test]
fn there_is_an_example_of_each_resource() {
    for cloud in CLOUDS {
        for capability in map(cloud).capability.keys() {
            assert!(native(cloud, capability.as_str(), "example").ends_with("example"));
        }
    }
}

#[test]
fn capabilities_that_are_named_anywhere_exist() {
    let known: BTreeSet<String> =
        CLOUDS.into_iter().flat_map(|cloud| map(cloud).capability.into_keys()).map(String::from).collect();
    let kinds: BTreeSet<&str> = known.iter().map(|capability| capability.split(':').next().unwrap()).collect();
    let mut files = Vec::new();
    for place in ["config", "tests", "src/grantd/manual", "README.md"] {
        walk(&repository_root().join(place), &mut files);
    }
    let mut seen = 0;
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        for capability in kinds.iter().flat_map(|kind| named(&text, kind)) {
            assert!(known.contains(&capability), "{} names {capability}, which is in no map", file.display());
            seen += 1;
        }
    }
    assert!(seen > 100, "only {seen} were found: the search is broken");
}

/// The capabilities of a type that a text names. What stands behind a colon is a part of an ARN, such as a secret's.
fn named(text: &str, kind: &str) -> Vec<String> {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    text.match_indices(&format!("{kind}:"))
        .filter(|(at, _)| !text[..*at].ends_with(|c: char| word(c) || c == ':' || c == '/'))
        .filter_map(|(at, found)| {
            let rest = &text[at + found.len()..];
            let verb = &rest[..rest.find(|c| !word(c)).unwrap_or(rest.len())];
            verb.starts_with(|c: char| c.is_ascii_lowercase()).then(|| format!("{kind}:{verb}"))
        })
        .collect()
}

fn walk(place: &Path, files: &mut Vec<std::path::PathBuf>) {
    if place.is_file() {
        return files.push(place.to_owned());
    }
    for entry in std::fs::read_dir(place).unwrap() {
        walk(&entry.unwrap().path(), files);
    }
}
