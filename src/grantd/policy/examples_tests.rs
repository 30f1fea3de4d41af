//! The examples of `config/examples`: each loads as a bundle with what is shipped, and decides as it says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::bundle_tests::shipped_dir;
use super::cases::File;
use super::*;
use crate::config::Host;

/// Every Unix user that an example names is there; each name has a uid of its own.
fn lookup(name: &str) -> Option<u32> {
    let users =
        ["ana", "bruno", "bruno-admin", "olga", "backup", "ci-build", "ci-release", "settlement", "helper", "dora"];
    users.iter().position(|user| *user == name).map(|place| 2000 + u32::try_from(place).unwrap())
}

/// The files of `dir` and of its `policies`, by their names in a bundle.
fn lay(over: &mut BTreeMap<String, String>, dir: &Path, prefix: &str) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{prefix}{}", path.file_name().unwrap().to_str().unwrap());
        match path.is_dir() {
            true if name == "policies" => lay(over, &path, "policies/"),
            true => {}
            false => drop(over.insert(name, fs::read_to_string(&path).unwrap())),
        }
    }
}

#[test]
fn every_example_loads_and_every_rule_of_it_decides_a_case() {
    let examples = shipped_dir().join("../examples");
    let mut names = BTreeSet::new();
    for entry in
        fs::read_dir(&examples).unwrap().map(Result::unwrap).filter(|entry| entry.path().join("catalog.toml").exists())
    {
        let name = entry.file_name().into_string().unwrap();
        let mut files = BTreeMap::new();
        lay(&mut files, &shipped_dir(), "");
        lay(&mut files, &shipped_dir().join("../entitlements"), "entitlements/");
        let mut own = BTreeMap::new();
        lay(&mut own, &entry.path(), "");
        let cases: File = toml::from_str(&own.remove("cases.toml").unwrap()).unwrap();
        assert!(own.contains_key("people.toml") && own.contains_key("catalog.toml"), "{name}");
        files.extend(own.clone());
        let bundle = Bundle::parse(files, Host::users(&lookup)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut seen = BTreeSet::new();
        for case in &cases.case {
            let decision = case.decide(&bundle).unwrap_or_else(|found| panic!("{name}: {}: {found}", case.name));
            case.check(&decision).unwrap_or_else(|found| panic!("{name}: {}: {found}", case.name));
            seen.extend(decision.determining);
        }
        let rules = own.values().flat_map(|text| text.lines());
        for rule in rules.filter_map(|line| line.strip_prefix("@id(\"")?.strip_suffix("\")")) {
            assert!(seen.contains(rule), "{name}: no case is decided by {rule}");
        }
        names.insert(name);
    }
    assert_eq!(names.iter().map(String::as_str).collect::<Vec<_>>(), ["ci", "regulated", "signals", "small"]);
}
