//! Who counts: every way in which an approval is void, and nobody's own.

use std::collections::BTreeMap;

use super::*;

const PEOPLE: &str = r#"
[[person]]
name = "ana"
unix = [1001, 1002]
[[person]]
name = "bruno"
unix = [1003]
[[person]]
name = "carla"
unix = [1004]
[[person]]
name = "dora"
unix = []
[[workload]]
name = "deploy"
kind = "pipeline"
unix = 2001
"#;

fn people() -> People {
    People::parse(PEOPLE, &|_| None).unwrap()
}

fn resource(people: &People) -> Resource {
    let text = "[[resource]]\nname = \"ledger\"\ncloud = \"aws\"\naccount = \"main\"\ntype = \"object-storage\"\n\
                native = \"arn:aws:s3:::ledger\"\nenvironment = \"dev\"\ntier = \"high\"\n\
                owners = [\"ana\", \"bruno\", \"dora\"]\nstewards = [\"carla\"]\n";
    crate::config::Catalog::parse(text, people).unwrap().get("ledger").unwrap().clone()
}

fn approval(people: &People, uid: u32, capacity: Capacity) -> Approval {
    let identity = people.by_uid(uid).unwrap();
    let person = identity.name.clone();
    Approval { person, identity, uid, capacity, at: Timestamp::UNIX_EPOCH, digest: Digest::ZERO, comment: None }
}

/// The reason for which one approval is void, of `uid` as `capacity` when `uid_asked` asked for the pipeline.
fn void(people: &People, resource: &Resource, given: &Approval, uid_asked: u32) -> Option<String> {
    let before = self::people();
    let parties = [before.by_name("deploy").unwrap(), before.by_uid(uid_asked).unwrap()];
    let requesters = Requesters::of_parties(&parties, people);
    judge(std::slice::from_ref(given), Digest::ZERO, people, Some(resource), &requesters).remove(0).void
}

#[test]
fn p12_an_approval_counts_only_while_its_person_is_what_it_was_given_as() {
    let people = people();
    let resource = resource(&people);
    let given = approval(&people, 1003, Capacity::Owner);
    assert_eq!(void(&people, &resource, &given, 1004), None);
    let says = |reason: Option<String>, words: &str| {
        assert!(reason.as_ref().is_some_and(|reason| reason.contains(words)), "{reason:?}");
    };
    says(void(&people, &Resource { owners: vec!["ana".to_owned()], ..resource.clone() }, &given, 1004), "no owner");
    says(void(&people, &resource, &approval(&people, 1003, Capacity::Steward), 1004), "no steward");
    says(void(&people, &resource, &approval(&people, 1003, Capacity::Security), 1004), "no security");
    says(void(&people, &resource, &Approval { digest: Digest::of("x", b""), ..given.clone() }, 1004), "something else");
    // The user belongs to somebody else now, or to nobody.
    let moved = PEOPLE.replace("[1003]", "[1005]");
    says(void(&People::parse(&moved, &|_| None).unwrap(), &resource, &given, 1004), "unix:1003 is not an identity");
    let other = PEOPLE.replace("[1003]", "[]").replace("unix = []\n[[work", "unix = [1003]\n[[work");
    says(void(&People::parse(&other, &|_| None).unwrap(), &resource, &given, 1004), "unix:1003 is not an identity");
    // Who asked is gone: under another identity that may be anybody.
    let gone = PEOPLE.replace("[1004]", "[]");
    says(void(&People::parse(&gone, &|_| None).unwrap(), &resource, &given, 1004), "nobody in people.toml any more");
}

#[test]
fn p12_nobody_counts_for_themselves_under_any_identity() {
    let people = people();
    let resource = resource(&people);
    for (approves, asked) in [(1001, 1001), (1001, 1002), (1002, 1001), (1003, 1003)] {
        let reason = void(&people, &resource, &approval(&people, approves, Capacity::Owner), asked);
        assert!(reason.is_some_and(|reason| reason.contains("nobody approves for themselves")), "{approves} {asked}");
    }
    // The identity was another person's when it asked.
    let renamed = PEOPLE.replace("name = \"ana\"", "name = \"anna\"");
    let parties = [people.by_uid(1001).unwrap()];
    let later = People::parse(&renamed, &|_| None).unwrap();
    assert!(Requesters::of_parties(&parties, &later).include("anna", None));
    assert!(!Requesters::of_parties(&parties, &later).include("bruno", later.by_uid(1003).as_ref()));
}

#[test]
fn p12_a_person_counts_once_and_who_has_no_identity_cannot_be_waited_for() {
    let people = people();
    let resource = resource(&people);
    let twice = [1001, 1002, 1003].map(|uid| approval(&people, uid, Capacity::Owner));
    let parties = [people.by_name("deploy").unwrap()];
    let requesters = Requesters::of_parties(&parties, &people);
    let judged = judge(&twice, Digest::ZERO, &people, Some(&resource), &requesters);
    assert_eq!(counts(&judged), BTreeMap::from([(Capacity::Owner, 2)]));
    assert!(judged[1].void.as_ref().is_some_and(|reason| reason.contains("counts once")));

    let within = |needed: &[(Capacity, u32)], parties: &[Subject]| {
        let requesters = Requesters::of_parties(parties, &people);
        out_of_reach(&needed.iter().copied().collect(), &resource, &people, &requesters)
    };
    let owner = |number| [(Capacity::Owner, number)];
    assert_eq!(within(&owner(2), &parties), None);
    let short = within(&owner(3), &parties).unwrap();
    assert!(short.rule == QUORUM && short.reason.contains("only ana, bruno"), "{short:?}");
    let asks = [people.by_uid(1003).unwrap()];
    assert!(within(&owner(2), &asks).unwrap().reason.contains("only ana can approve"));
    assert!(within(&[(Capacity::Security, 1)], &parties).unwrap().reason.contains("nobody in the capacity security"));
}
