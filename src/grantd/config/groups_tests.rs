//! Groups stand for people, and for nothing else.

use super::*;
use crate::config::Catalog;

const PEOPLE: &str = r#"
security = ["sara", "group:secops"]
[[person]]
name = "sara"
unix = [1001]
[[person]]
name = "bruno"
unix = [1002, 1003]
[[person]]
name = "carla"
unix = []
[[workload]]
name = "deploy"
kind = "pipeline"
unix = 2001
[[group]]
name = "secops"
members = ["carla"]
unix_group = "secops"
"#;

fn host<'a>(group: &'a dyn Fn(&str, u32) -> Option<bool>) -> Host<'a> {
    Host { user: &|_| None, group }
}

/// Both users of bruno are in it.
fn secops(name: &str, uid: u32) -> Option<bool> {
    (name == "secops").then(|| [1002, 1003].contains(&uid))
}

#[test]
fn a_group_stands_for_its_people_wherever_people_are_named() {
    let people = People::parse(PEOPLE, host(&secops)).unwrap();
    assert_eq!(people.security(), ["sara", "carla", "bruno"]);
    assert_eq!(people.unix_groups()["secops"], ["bruno"]);
    // It is never who will use the access.
    for name in ["secops", "group:secops"] {
        assert!(people.by_name(name).is_none() && people.get(name).is_none() && !people.is_person(name));
    }
    let catalog = "[[resource]]\nname = \"ledger\"\ncloud = \"aws\"\naccount = \"main\"\ntype = \"object-storage\"\n\
                   native = \"arn:aws:s3:::ledger\"\nenvironment = \"dev\"\ntier = \"high\"\nowners = [\"group:secops\"]\n\
                   stewards = [\"sara\"]\ndelegated_admins = [\"bruno\", \"group:secops\"]\n";
    let ledger = Catalog::parse(catalog, &people).unwrap().get("ledger").unwrap().clone();
    assert_eq!(ledger.owners, ["carla", "bruno"]);
    assert_eq!(ledger.delegated_admins, ["bruno", "carla"]);
    assert_eq!(ledger.security, people.security());
    let refused = |from: &str, to: &str, words: &str| {
        let error = Catalog::parse(&catalog.replace(from, to), &people).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("ledger"), "{error}");
    };
    refused("[\"group:secops\"]", "[\"group:ops\"]", "\"group:ops\" is no group");
    refused("[\"sara\"]", "[\"secops\"]", "no person");
    refused("\"bruno\", ", "\"deploy\", ", "no person");
}

#[test]
fn a_group_of_nobody_of_groups_or_of_workloads_is_refused_by_name() {
    let refused = |text: &str, group: &dyn Fn(&str, u32) -> Option<bool>, words: &[&str]| {
        let error = People::parse(text, host(group)).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    let with = |from: &str, to: &str| {
        assert!(PEOPLE.contains(from));
        PEOPLE.replace(from, to)
    };
    refused(&with("[\"carla\"]", "[]"), &|_, _| Some(false), &["secops", "nobody is in it"]);
    refused(PEOPLE, &|_, _| None, &["secops", "no Unix group"]);
    refused(PEOPLE, &|_, uid| Some(uid == 2001), &["pipeline deploy", "only people"]);
    refused(&with("[\"carla\"]", "[\"deploy\"]"), &secops, &["deploy", "no person"]);
    refused(&with("[\"carla\"]", "[\"ghost\"]"), &secops, &["ghost", "no person"]);
    refused(&with("[\"carla\"]", "[\"group:secops\"]"), &secops, &["do not nest"]);
    refused(&with("[\"carla\"]", "[\"carla\", \"carla\"]"), &secops, &["twice"]);
    refused(&with("name = \"secops\"", "name = \"deploy\""), &secops, &["deploy", "twice"]);
    refused(&with("name = \"secops\"", "name = \"ops\""), &secops, &["security", "\"group:secops\" is no group"]);
    refused(&with("[\"sara\", ", "[\"deploy\", "), &secops, &["security", "deploy", "no person"]);
    refused(&(PEOPLE.to_owned() + "subject = true\n"), &secops, &["subject"]);
}
