//! What is a bundle and what is not. Also the shipped bundle, as the other tests of this room use it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use grantd_model::canonical_json;

use super::*;
use crate::config::Host;

/// The bundle as it is shipped, with this room's small entitlement map.
pub(super) fn shipped() -> BTreeMap<String, String> {
    let dir = shipped_dir();
    let mut files: BTreeMap<String, String> = list(&dir.join("policies"))
        .unwrap()
        .into_iter()
        .map(|name| format!("policies/{name}"))
        .chain(["schema.cedarschema", "catalog.toml", "people.toml"].map(str::to_owned))
        .map(|name| (name.clone(), fs::read_to_string(dir.join(&name)).unwrap()))
        .collect();
    files.insert("entitlements/aws.toml".to_owned(), include_str!("testdata/aws.toml").to_owned());
    files
}

/// `files` as a bundle, on a host that has the users of the shipped `people.toml`.
pub(super) fn bundle(files: BTreeMap<String, String>) -> Result<Bundle, BundleError> {
    Bundle::parse(files, Host::users(&lookup))
}

/// The shipped bundle with `name` replaced by, or created as, `text`.
pub(super) fn with(name: &str, text: &str) -> BTreeMap<String, String> {
    let mut files = shipped();
    files.insert(name.to_owned(), text.to_owned());
    files
}

pub(super) fn shipped_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/policy")
}

fn lookup(name: &str) -> Option<u32> {
    ["root", "ana", "bruno", "bruno-admin", "ci-deploy", "indexer", "helper", "dora"]
        .iter()
        .position(|known| *known == name)
        .map(|place| if place == 0 { 0 } else { 1000 + u32::try_from(place).unwrap() })
}

fn list(dir: &Path) -> Result<Vec<String>, String> {
    let entries = fs::read_dir(dir).map_err(|error| error.to_string())?;
    Ok(entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect())
}

fn refused(files: BTreeMap<String, String>, file: &str, words: &[&str]) {
    let error = bundle(files).unwrap_err();
    assert_eq!(error.file, file, "{error}");
    assert!(words.iter().all(|word| error.to_string().contains(word)), "{error}");
}

#[test]
fn a_directory_is_loaded_whole_and_read_through_what_the_caller_passes() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in shipped() {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let read = |path: &Path| fs::read_to_string(path).map_err(|error| error.to_string());
    let load =
        |read: &dyn Fn(&Path) -> Result<String, String>| Bundle::load(dir.path(), read, &list, Host::users(&lookup));

    let loaded = load(&read).unwrap();
    assert_eq!(loaded.version, bundle(shipped()).unwrap().version);
    assert!(loaded.catalog.get("reports").is_some() && loaded.people.by_name("deploy").is_some());
    assert_eq!(loaded.maps.keys().map(ToString::to_string).collect::<Vec<_>>(), ["aws"]);

    for name in shipped().into_keys() {
        let distrusting =
            |path: &Path| if path.ends_with(&name) { Err("is owned by uid 7".to_owned()) } else { read(path) };
        let error = load(&distrusting).unwrap_err();
        assert_eq!((error.file, error.problem.as_str()), (name, "is owned by uid 7"));
    }
    let blind = |_: &Path| Err("cannot be opened".to_owned());
    assert_eq!(Bundle::load(dir.path(), &read, &blind, Host::users(&lookup)).unwrap_err().file, "policies");

    fs::write(dir.path().join("policies/.tiers.cedar.swp"), "").unwrap();
    assert_eq!(load(&read).unwrap().version, loaded.version);
    // Whose keys are whose is part of it, where that is said.
    let signers = include_str!("../../model/testdata/allowed_signers").replace("olga", "ana");
    fs::write(dir.path().join("allowed_signers"), &signers).unwrap();
    let signing = load(&read).unwrap();
    assert_ne!(signing.version, loaded.version);
    assert_eq!(signing.people.get("ana").unwrap().keys.len(), 1);
    fs::write(dir.path().join("allowed_signers"), signers.replace("ana", "deploy")).unwrap();
    let error = load(&read).unwrap_err();
    assert!(error.file == "allowed_signers" && error.problem.contains("\"deploy\" is no person"), "{error}");
    fs::remove_file(dir.path().join("allowed_signers")).unwrap();
    // An upgrade that keeps a changed file lays the new one beside it; that changes nothing and stops nothing.
    for beside in ["policies/tiers.cedar.dpkg-dist", "policies/tiers.cedar.new", "entitlements/aws.toml.dpkg-old"] {
        fs::write(dir.path().join(beside), "not even read").unwrap();
        assert_eq!(load(&read).unwrap().version, loaded.version);
    }
    for stray in [
        "policies/freeze.cedar.new",
        "policies/freeze.cedar.dpkg-dist",
        "policies/tiers.cedar.bak",
        "policies/.freeze.cedar",
        "entitlements/asw.toml",
    ] {
        fs::write(dir.path().join(stray), "").unwrap();
        assert_eq!(load(&read).unwrap_err().file, stray);
        fs::remove_file(dir.path().join(stray)).unwrap();
    }
}

#[test]
fn the_version_covers_every_file_and_can_be_computed_from_the_kept_bytes() {
    let original = bundle(shipped()).unwrap();
    let kept: BTreeMap<String, String> = serde_json::from_slice(&original.bytes).unwrap();
    assert_eq!(kept, shipped());
    assert_eq!(original.bytes, canonical_json(&kept).unwrap());
    assert_eq!(original.version.0, grantd_model::Digest::of("grantd-bundle-v1", &original.bytes));
    assert_eq!(bundle(kept).unwrap().version, original.version);

    for (name, text) in shipped() {
        let comment = if name.ends_with(".toml") { "\n# x\n" } else { "\n// x\n" };
        let changed = bundle(with(&name, &(text + comment))).unwrap();
        assert_ne!(changed.version, original.version, "{name}");
    }
    let mut renamed = shipped();
    let text = renamed.remove("policies/revoke.cedar").unwrap();
    renamed.insert("policies/revoking.cedar".to_owned(), text);
    assert_ne!(bundle(renamed).unwrap().version, original.version);
}

#[test]
fn what_is_missing_or_does_not_parse_is_refused_by_file() {
    for name in ["schema.cedarschema", "catalog.toml", "people.toml"] {
        let mut files = shipped();
        files.remove(name);
        refused(files, name, &["not there"]);
        refused(with(name, "¿?"), name, &[]);
    }
    let mut files = shipped();
    files.retain(|name, _| !name.ends_with(".cedar"));
    refused(files, "policies", &["no policy at all"]);
    refused(with("policies/x.cedar", "permit("), "policies/x.cedar", &["unexpected"]);
    refused(with("entitlements/gcp.toml", "[capability.\"x\"]\n"), "entitlements/gcp.toml", &["x"]);
    let people = shipped()["people.toml"].clone() + "[[person]]\nname = \"eve\"\nunix = [\"eve\"]\n";
    refused(with("people.toml", &people), "people.toml", &["eve", "no Unix user"]);
    let catalog = shipped()["catalog.toml"].replace("[\"ana\", \"bruno\"]", "[\"deploy\"]");
    refused(with("catalog.toml", &catalog), "catalog.toml", &["reports", "deploy", "person"]);
}

#[test]
fn a_policy_that_strict_validation_warns_of_is_refused() {
    let forbid = |when: &str| {
        format!(
            "@id(\"x\") @reason(\"a\") @who_can_fix(\"b\") @next(\"c\") \
             forbid(principal, action == Grantd::Action::\"issue\", resource) when {{ {when} }};"
        )
    };
    let x = "policies/x.cedar";
    assert!(bundle(with(x, &forbid("context.uid == 0"))).is_ok());
    refused(with(x, &forbid("resource.tier == Grantd::Tier::\"hihg\"")), x, &["x", "hihg"]);
    refused(with(x, &forbid("resource.teir == Grantd::Tier::\"high\"")), x, &["x", "teir"]);
    refused(with(x, &forbid("context.uid == \"0\"")), x, &["x"]);
    refused(with(x, &forbid("principal == resource")), x, &["x"]);
    refused(with(x, &forbid("false")), x, &["x", "impossible"]);
    refused(with(x, &forbid("principal.name == \"аna\"")), x, &["x"]);
    // Only issue has a TTL.
    refused(with(x, &forbid("context.ttl_seconds > 9").replace("\"issue\"", "\"request\"")), x, &["ttl_seconds"]);
    refused(with(x, &forbid("true").replace("\"issue\"", "\"isue\"")), x, &["isue"]);
}

#[test]
fn a_policy_whose_annotations_are_not_understood_is_refused() {
    let permit = |annotations: &str| {
        let x = "policies/x.cedar";
        with(x, &format!("{annotations} permit(principal, action == Grantd::Action::\"issue\", resource);"))
    };
    let x = "policies/x.cedar";
    assert!(bundle(permit(r#"@id("x") @max_ttl("1h")"#)).is_ok());
    refused(permit(r#"@id("x") @max_ttl("1h") @max_tll("5m")"#), x, &["policy x", "@max_tll", "annotation"]);
    refused(permit(r#"@id("x") @max_ttl("5")"#), x, &["policy x", "@max_ttl", "30m"]);
    refused(permit(r#"@id("x") @max_ttl("1h") @max_uses("none")"#), x, &["policy x", "@max_uses"]);
    refused(permit(r#"@max_ttl("1h")"#), x, &["@id"]);
    refused(permit(r#"@id("low-issue") @max_ttl("1h")"#), x, &["low-issue", "twice"]);
    let twice = r#"@id("x") @max_ttl("1h") permit(principal, action == Grantd::Action::"issue", resource);"#.repeat(2);
    refused(with(x, &twice), x, &["x", "own @id"]);
    let template =
        r#"@id("x") @max_ttl("1h") permit(principal == ?principal, action == Grantd::Action::"issue", resource);"#;
    refused(with(x, template), x, &["template"]);
}

#[test]
fn p3_a_permit_that_sets_no_end_is_refused() {
    let x = "policies/x.cedar";
    let permit = |annotation: &str, action: &str| {
        with(x, &format!("@id(\"x\") {annotation} permit(principal, {action}, resource);"))
    };
    for action in ["action", "action == Grantd::Action::\"issue\"", "action in [Grantd::Action::\"issue\"]"] {
        refused(permit("@max_duration(\"8h\")", action), x, &["policy x", "issue", "@max_ttl"]);
    }
    refused(permit("@max_ttl(\"1h\")", "action"), x, &["policy x", "request", "@max_duration"]);
    assert!(bundle(permit("", "action == Grantd::Action::\"revoke\"")).is_ok());
    refused(permit("@max_duration(\"8h\") @max_ttl(\"1h\")", "action"), x, &["break_glass", "@review_within"]);
    assert!(bundle(permit("@max_duration(\"8h\") @max_ttl(\"1h\") @review_within(\"1h\")", "action")).is_ok());

    // A group of actions counts as all of them.
    let schema = shipped()["schema.cedarschema"]
        .replace("action issue appliesTo", "action use; action issue in [use] appliesTo");
    let mut files = permit("", "action in Grantd::Action::\"use\"");
    files.insert("schema.cedarschema".to_owned(), schema);
    refused(files.clone(), x, &["policy x", "@max_ttl"]);
}

#[test]
fn a_schema_that_does_not_fit_the_daemon_is_refused_at_load() {
    let schema = shipped()["schema.cedarschema"].clone();
    let name = "schema.cedarschema";
    let fewer = schema.replace("      ticket_id: String,\n", "");
    refused(with(name, &fewer), name, &["request", "ticket_id", "shipped"]);
    let more = schema.replace("      ticket: Bool,\n", "      ticket: Bool,\n      weather: String,\n");
    refused(with(name, &more), name, &["request", "weather"]);
    let other = schema.replace("    environment: String,\n", "    environment: Long,\n");
    refused(with(name, &other), name, &["environment"]);
    // One that knows no cloud of the catalogue would deny everything there without a word.
    let older = schema.replace(", \"oidc\"]", "]");
    assert_ne!(older, schema);
    bundle(with(name, &older)).unwrap();
    let resource = shipped()["catalog.toml"].replacen("cloud = \"aws\"", "cloud = \"oidc\"", 1);
    let mut files = with(name, &older);
    files.insert("catalog.toml".to_owned(), resource);
    refused(files, name, &["oidc", "shipped"]);
}

#[test]
fn p12_who_is_in_a_group_of_the_host_is_part_of_the_bundle_that_is_kept() {
    let people = shipped()["people.toml"].replace("members = [\"ana\", \"dora\"]", "unix_group = \"secops\"");
    let of = |uids: &[u32]| {
        let host = Host { user: &lookup, group: &|_, uid| Some(uids.contains(&uid)) };
        Bundle::parse(with("people.toml", &people), host).unwrap()
    };
    let (one, two) = (of(&[1001]), of(&[1001, 1002]));
    assert_eq!(
        (one.people.security(), two.people.security()),
        (&["dora", "ana"].map(str::to_owned)[..], &["dora", "ana", "bruno"].map(str::to_owned)[..])
    );
    assert_ne!(one.version, two.version, "a reload after a change of the group is a change of policy");
    assert_eq!(one.version, of(&[1001]).version);
    let kept: BTreeMap<String, String> = serde_json::from_slice(&two.bytes).unwrap();
    assert_eq!(kept["people.toml: unix groups"], "{\"secops\":[\"ana\",\"bruno\"]}");
    assert_eq!(bundle(shipped()).unwrap().version, bundle(shipped()).unwrap().version);
}
