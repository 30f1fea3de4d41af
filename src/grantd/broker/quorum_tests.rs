//! Who counts: every way in which an approval is void, and nobody's own.

use std::collections::BTreeMap;

use super::super::reach::{Speaker, out_of_reach, speakers};
use super::*;
use crate::config::Host;

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
    People::parse(PEOPLE, Host::users(&|_| None)).unwrap()
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
    Approval {
        person,
        identity,
        uid,
        capacity,
        also: Vec::new(),
        on_behalf_of: None,
        at: Timestamp::UNIX_EPOCH,
        digest: Digest::ZERO,
        comment: None,
        signed: None,
        attested: None,
    }
}

/// What is approved, and of what installation.
fn what() -> What<'static> {
    static NODE: std::sync::LazyLock<NodeId> = std::sync::LazyLock::new(|| NodeId("node-1".to_owned()));
    What { digest: Digest::ZERO, request: GrantId::new(uuid::Uuid::from_u128(1)), installation: &NODE }
}

fn ground(people: &People) -> Ground<'_> {
    Ground { people, delegations: &[], now: Timestamp::UNIX_EPOCH, signed: false }
}

/// The reason for which one approval is void, of `uid` as `capacity` when `uid_asked` asked for the pipeline.
fn void(people: &People, resource: &Resource, given: &Approval, uid_asked: u32) -> Option<String> {
    let before = self::people();
    let parties = [before.by_name("deploy").unwrap(), before.by_uid(uid_asked).unwrap()];
    let requesters = Requesters::of_parties(&parties, people);
    judge(std::slice::from_ref(given), what(), ground(people), Some(resource), &requesters, |_| false).remove(0).void
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
    says(
        void(&People::parse(&moved, Host::users(&|_| None)).unwrap(), &resource, &given, 1004),
        "unix:1003 is not an identity",
    );
    let other = PEOPLE.replace("[1003]", "[]").replace("unix = []\n[[work", "unix = [1003]\n[[work");
    says(
        void(&People::parse(&other, Host::users(&|_| None)).unwrap(), &resource, &given, 1004),
        "unix:1003 is not an identity",
    );
    // Who asked is gone: under another identity that may be anybody.
    let gone = PEOPLE.replace("[1004]", "[]");
    says(
        void(&People::parse(&gone, Host::users(&|_| None)).unwrap(), &resource, &given, 1004),
        "nobody in people.toml any more",
    );
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
    let later = People::parse(&renamed, Host::users(&|_| None)).unwrap();
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
    let judged = judge(&twice, what(), ground(&people), Some(&resource), &requesters, |_| false);
    assert_eq!(counts(&Quorum::new(), &judged), BTreeMap::from([(Capacity::Owner, 2)]));
    assert!(judged[1].void.as_ref().is_some_and(|reason| reason.contains("counts once")));

    let within = |needed: &[(Capacity, u32)], parties: &[Subject]| {
        let requesters = Requesters::of_parties(parties, &people);
        out_of_reach(&needed.iter().copied().collect(), &resource, ground(&people), &requesters)
    };
    let owner = |number| [(Capacity::Owner, number)];
    assert_eq!(within(&owner(2), &parties), None);
    let short = within(&owner(3), &parties).unwrap();
    assert!(short.rule == QUORUM && short.reason.contains("only ana, bruno"), "{short:?}");
    let asks = [people.by_uid(1003).unwrap()];
    assert!(within(&owner(2), &asks).unwrap().reason.contains("only ana can approve"));
    assert!(within(&[(Capacity::Security, 1)], &parties).unwrap().reason.contains("nobody in the capacity security"));
}

/// `ledger` with the people of security and the delegated admins, `sensitive`, at a tier.
fn governed(tier: Tier, security: &[&str], admins: &[&str], sensitive: bool) -> Resource {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Resource { tier, security: names(security), delegated_admins: names(admins), sensitive, ..resource(&people()) }
}

#[test]
fn p12_at_the_top_an_owner_and_security_approve_whatever_policy_says() {
    let people = people();
    let parties = [people.by_name("deploy").unwrap()];
    let requesters = Requesters::of_parties(&parties, &people);
    for policy in
        [vec![], vec![(Capacity::Owner, 1)], vec![(Capacity::Steward, 2)], vec![(Capacity::DelegatedAdmin, 2)]]
    {
        let asked: Quorum = policy.into_iter().collect();
        let needed = floored(asked.clone(), &governed(Tier::Critical, &["carla"], &[], false));
        assert!(needed[&Capacity::Owner] >= 1 && needed[&Capacity::Security] >= 1, "{needed:?}");
        assert_eq!(floored(asked.clone(), &governed(Tier::High, &[], &[], false)), asked);
    }
    // Nobody of security, or only the very person who is the only owner: out of reach, and told why.
    let reason = |resource: &Resource| {
        let refusal = out_of_reach(&Quorum::new(), resource, ground(&people), &requesters);
        refusal.map(|refusal| refusal.reason)
    };
    let nobody = reason(&governed(Tier::Critical, &[], &[], false)).unwrap();
    assert!(nobody.contains("people.toml names nobody in the capacity security"), "{nobody}");
    let mut both = governed(Tier::Critical, &["bruno"], &[], false);
    assert_eq!(reason(&both), None, "ana owns it, and bruno is of security");
    both.owners = vec!["bruno".to_owned()];
    let alone = reason(&both).unwrap();
    assert!(alone.contains("bruno") && alone.contains("two capacities"), "{alone}");
    assert_eq!(reason(&governed(Tier::Critical, &["carla"], &[], false)), None);
}

#[test]
fn p12_who_is_owner_and_security_counts_where_it_is_needed_and_somebody_else_has_to_be_the_other() {
    let people = people();
    let resource = governed(Tier::Critical, &["bruno", "carla"], &[], false);
    let needed = floored(Quorum::new(), &resource);
    let parties = [people.by_name("deploy").unwrap()];
    let requesters = Requesters::of_parties(&parties, &people);
    let enough = |approvals: &[Approval]| {
        let judged = judge(approvals, what(), ground(&people), Some(&resource), &requesters, |_| false);
        missing(&needed, &counts(&needed, &judged)).is_empty()
    };
    let flexible = |uid, capacity, also| Approval { also: vec![also], ..approval(&people, uid, capacity) };
    let bruno = flexible(1003, Capacity::Owner, Capacity::Security);
    assert!(!enough(std::slice::from_ref(&bruno)), "one person is one voice");
    assert!(enough(&[bruno.clone(), approval(&people, 1001, Capacity::Owner)]), "bruno counts for security");
    assert!(enough(&[bruno.clone(), approval(&people, 1004, Capacity::Security)]), "bruno counts as owner");
    // Who said as what keeps to it.
    let kept = approval(&people, 1003, Capacity::Owner);
    assert!(!enough(&[kept, approval(&people, 1001, Capacity::Owner)]));
    // What was also claimed has to be so today.
    let ana = flexible(1001, Capacity::Owner, Capacity::Security);
    assert!(!enough(&[ana, approval(&people, 1003, Capacity::Owner)]), "ana is nobody of security");
}

#[test]
fn p12_delegated_admins_never_suffice_alone_on_sensitive_data() {
    let people = people();
    let admins = [(Capacity::DelegatedAdmin, 2)];
    let parties = [people.by_name("deploy").unwrap()];
    let requesters = Requesters::of_parties(&parties, &people);
    let enough = |resource: &Resource, approvals: &[Approval]| {
        let needed = floored(admins.into(), resource);
        let judged = judge(approvals, what(), ground(&people), Some(resource), &requesters, |_| false);
        missing(&needed, &counts(&needed, &judged)).is_empty()
    };
    let two = [1003, 1004].map(|uid| approval(&people, uid, Capacity::DelegatedAdmin));
    let plain = governed(Tier::Moderate, &[], &["bruno", "carla"], false);
    assert!(enough(&plain, &two));
    let sensitive = Resource { sensitive: true, ..plain.clone() };
    assert!(!enough(&sensitive, &two));
    let with_owner = [two[0].clone(), two[1].clone(), approval(&people, 1001, Capacity::Owner)];
    assert!(enough(&sensitive, &with_owner));
    assert!(!enough(&Resource { tier: Tier::Critical, ..plain }, &with_owner), "security is missing");
    // Self-service is policy's to give: it asks for nobody, so nobody stands alone.
    assert_eq!(floored(Quorum::new(), &sensitive), Quorum::new());
}

fn lent(from: &str, to: &str, until: i64) -> Delegation {
    let people = people();
    let id = grantd_model::DelegationId::new(uuid::Uuid::from_u128(7));
    let at = Timestamp::UNIX_EPOCH;
    Delegation {
        id,
        node: grantd_model::NodeId("n".to_owned()),
        from: from.to_owned(),
        by: people.by_uid(1003).unwrap(),
        to: to.to_owned(),
        resource: None,
        at,
        until: Timestamp::from_second(until).unwrap(),
        revoked: None,
        version: 0,
    }
}

#[test]
fn p12_who_speaks_for_an_absent_person_is_that_persons_one_voice_while_the_delegation_stands() {
    let people = people();
    let resource = resource(&people);
    let delegation = lent("bruno", "carla", 100);
    let absent = grantd_model::OnBehalf { person: "bruno".to_owned(), delegation: delegation.id };
    let carla = Approval { on_behalf_of: Some(absent), ..approval(&people, 1004, Capacity::Owner) };
    let judged = |approvals: &[Approval], delegations: &[Delegation], now, asked: &str| -> Vec<Option<String>> {
        let parties = [people.by_name(asked).unwrap()];
        let requesters = Requesters::of_parties(&parties, &people);
        let ground = Ground { people: &people, delegations, now: Timestamp::from_second(now).unwrap(), signed: false };
        let judged = judge(approvals, what(), ground, Some(&resource), &requesters, |_| false);
        judged.into_iter().map(|judged| judged.void).collect()
    };
    let standing = std::slice::from_ref(&delegation);
    let one = |delegations: &[Delegation], now, asked: &str| {
        judged(std::slice::from_ref(&carla), delegations, now, asked)[0].clone()
    };
    let says =
        |void: Option<String>, words: &str| assert!(void.as_ref().is_some_and(|void| void.contains(words)), "{void:?}");
    assert_eq!(one(standing, 99, "deploy"), None);
    says(one(standing, 100, "deploy"), "is over");
    says(one(&[], 0, "deploy"), "is over");
    let back = delegation.taken_back(Timestamp::UNIX_EPOCH, people.by_uid(1003).unwrap()).unwrap();
    says(one(&[back], 0, "deploy"), "is over");
    says(one(&[Delegation { resource: Some("other".to_owned()), ..delegation.clone() }], 0, "deploy"), "is over");
    says(one(&[Delegation { to: "ana".to_owned(), ..delegation.clone() }], 0, "deploy"), "is over");
    // Neither who asks nor the one for whom is spoken.
    says(one(standing, 0, "carla"), "nobody approves for themselves");
    says(one(standing, 0, "bruno"), "speaks for bruno, who asked for it");
    // Two mouths, one voice; and one mouth, one voice.
    let bruno = approval(&people, 1003, Capacity::Owner);
    says(judged(&[carla.clone(), bruno], standing, 0, "deploy")[1].clone(), "bruno counts once");
    says(
        judged(&[approval(&people, 1004, Capacity::Steward), carla.clone()], standing, 0, "deploy")[1].clone(),
        "carla counts once",
    );
    // An owner who is none any more takes the delegation along.
    let parties = [people.by_name("deploy").unwrap()];
    let requesters = Requesters::of_parties(&parties, &people);
    let ground = Ground { people: &people, delegations: standing, now: Timestamp::UNIX_EPOCH, signed: false };
    let left = Resource { owners: vec!["ana".to_owned()], ..resource.clone() };
    let void = judge(std::slice::from_ref(&carla), what(), ground, Some(&left), &requesters, |_| false).remove(0).void;
    says(void, "bruno is no owner");
    // And what was lent is not lent on: dora is spoken for by nobody.
    let chain = [lent("bruno", "carla", 100), lent("carla", "ana", 100)];
    let ground = Ground { delegations: &chain, ..ground };
    let labels: Vec<String> = speakers(&resource, ground, &requesters).iter().map(Speaker::label).collect();
    assert_eq!(labels, ["ana", "bruno", "carla for bruno", "carla", "ana for carla"]);
    let for_carla = speakers(&resource, ground, &requesters).pop().unwrap();
    assert_eq!(for_carla.capacities, [Capacity::Steward], "carla lends what is hers");
}

#[test]
fn p12_a_steward_in_the_owners_place_never_counts_for_anybody_else() {
    let people = people();
    let parties = [people.by_name("deploy").unwrap()];
    let requesters = Requesters::of_parties(&parties, &people);
    let resource = governed(Tier::High, &["bruno"], &[], false);
    let enough = |needed: &[(Capacity, u32)], in_place: bool| {
        let needed: Quorum = needed.iter().copied().collect();
        let steward = approval(&people, 1004, Capacity::Steward);
        let steward = std::slice::from_ref(&steward);
        let judged = judge(steward, what(), ground(&people), Some(&resource), &requesters, |_| in_place);
        missing(&needed, &counts(&needed, &judged)).is_empty()
    };
    assert!(!enough(&[(Capacity::Owner, 1)], false));
    assert!(enough(&[(Capacity::Owner, 1)], true));
    assert!(!enough(&[(Capacity::Security, 1)], true), "never instead of security");
    assert!(!enough(&[(Capacity::Owner, 1), (Capacity::Steward, 1)], true), "one person, one place");
}

/// The ledger as a use of break-glass sees it: ana and bruno are enrolled.
fn in_profile(people: &People, tier: &str) -> Resource {
    let text = format!(
        "[[resource]]\nname = \"ledger\"\ncloud = \"aws\"\naccount = \"main\"\ntype = \"object-storage\"\n\
         native = \"arn:aws:s3:::ledger\"\nenvironment = \"dev\"\ntier = \"{tier}\"\nowners = [\"carla\"]\n\
         [[break_glass]]\nname = \"repair\"\npeople = [\"ana\", \"bruno\"]\nreviewers = [\"carla\"]\n\
         access = [{{ resource = \"ledger\", capability = \"object-storage:read\" }}]\nincident = \"INC-{{digits}}\"\n\
         max_ttl = \"10m\"\nreview_within = \"1h\"\n\
         limits = {{ per_person = 1, per_resource = 1, in_total = 1, window = \"1h\" }}\n"
    );
    crate::config::Catalog::parse(&text, people).unwrap().in_profile("repair", "ledger").unwrap().clone()
}

#[test]
fn p12_break_glass_at_critical_takes_a_second_enrolled_person_and_no_policy_does_without() {
    let people = people();
    let critical = in_profile(&people, "critical");
    let second = Quorum::from([(Capacity::Enrolled, 1)]);
    assert_eq!(floored(Quorum::new(), &critical), second);
    assert_eq!(floored(Quorum::new(), &in_profile(&people, "high")), Quorum::new());
    let user = people.by_uid(1001).unwrap();
    let requesters = Requesters::of_parties([&user], &people);
    assert_eq!(out_of_reach(&Quorum::new(), &critical, ground(&people), &requesters), None, "bruno can");
    let judged = |given: &Approval| {
        let given = [given.clone()];
        judge(&given, what(), ground(&people), Some(&critical), &requesters, |_| false)[0].void.clone()
    };
    assert_eq!(judged(&approval(&people, 1003, Capacity::Enrolled)), None);
    let own = judged(&approval(&people, 1002, Capacity::Enrolled)).unwrap();
    assert!(own.contains("nobody approves for themselves"), "{own}");
    let other = judged(&approval(&people, 1004, Capacity::Enrolled)).unwrap();
    assert!(other.contains("carla is no enrolled"), "{other}");
}

#[test]
fn who_is_enrolled_was_chosen_and_lends_that_to_nobody() {
    let people = people();
    let critical = in_profile(&people, "critical");
    let lent = Delegation {
        id: grantd_provider_api::Id::new(uuid::Uuid::from_u128(7)),
        node: grantd_model::NodeId("n".to_owned()),
        from: "bruno".to_owned(),
        by: people.by_uid(1003).unwrap(),
        to: "carla".to_owned(),
        resource: None,
        at: Timestamp::UNIX_EPOCH,
        until: Timestamp::MAX,
        revoked: None,
        version: 0,
    };
    let ground =
        Ground { people: &people, delegations: std::slice::from_ref(&lent), now: Timestamp::UNIX_EPOCH, signed: false };
    let user = people.by_uid(1001).unwrap();
    let requesters = Requesters::of_parties([&user], &people);
    let speaking = speakers(&critical, ground, &requesters);
    assert!(!speaking.iter().any(|speaker| speaker.lent.is_some()), "{speaking:?}");
    let mut given = approval(&people, 1004, Capacity::Enrolled);
    given.on_behalf_of = Some(grantd_model::OnBehalf { person: "bruno".to_owned(), delegation: lent.id });
    let given = [given];
    let judged = judge(&given, what(), ground, Some(&critical), &requesters, |_| false);
    assert!(judged[0].void.is_some());
}
