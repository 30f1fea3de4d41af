use super::*;
use crate::SubjectKind;
use proptest::prelude::*;

fn subject(name: &str, id: &str) -> Subject {
    Subject { kind: SubjectKind::Human, issuer: "unix".to_owned(), id: id.to_owned(), name: name.to_owned() }
}

fn freeze(target: FreezeTarget) -> Freeze {
    Freeze {
        id: "freeze-aguhjfj3y5z7x4q5wmqyhz4fme".parse().unwrap(),
        target,
        reason: "a token leaked".to_owned(),
        by: Actor::Daemon { part: "test".to_owned() },
        at: Timestamp::UNIX_EPOCH,
        thaws: Vec::new(),
        lifted_at: None,
        version: 0,
    }
}

fn thaw(person: &str) -> Thaw {
    let at = Timestamp::from_second(60).unwrap();
    Thaw { person: person.to_owned(), subject: subject(person, "1"), at, reason: "found it".to_owned() }
}

fn node(name: &str) -> NodeId {
    NodeId(name.to_owned())
}

#[test]
fn it_takes_two_people_to_lift_a_freeze() {
    let one = freeze(FreezeTarget::All).thawed(thaw("ana")).unwrap();
    assert!(one.stands());
    assert!(matches!(one.thawed(thaw("ana")), Err(ThawError::Again { .. })));
    let two = one.thawed(thaw("bruno")).unwrap();
    assert_eq!((two.stands(), two.lifted_at), (false, Timestamp::from_second(60).ok()));
    assert_eq!(two.thawed(thaw("carla")), Err(ThawError::Lifted(two.id)));
}

#[test]
fn a_freeze_covers_what_it_names_and_nothing_else() {
    let (here, there) = (node("here"), node("there"));
    let (ana, bruno) = (subject("ana", "1001"), subject("bruno", "1002"));
    let identities = BTreeSet::from(["unix:1001".to_owned()]);
    let of_ana = FreezeTarget::Subject { name: "ana".to_owned(), identities };
    let reports = FreezeTarget::Resource { name: "reports".to_owned() };
    let host = FreezeTarget::Host { node: here.clone() };
    assert!(FreezeTarget::All.covers(&there, &bruno, "x"));
    assert!(host.covers(&here, &bruno, "x") && !host.covers(&there, &bruno, "x"));
    assert!(reports.covers(&here, &bruno, "reports") && !reports.covers(&here, &bruno, "reports-2"));
    assert!(of_ana.covers(&here, &ana, "x") && !of_ana.covers(&here, &bruno, "x"));
    // Neither another name for the user nor another user for the name gets out of it.
    assert!(of_ana.covers(&here, &subject("anna", "1001"), "x") && of_ana.covers(&here, &subject("ana", "1009"), "x"));
    assert!(of_ana.covers_all_of(&here, &ana) && !reports.covers_all_of(&here, &ana));
}

proptest! {
    #[test]
    fn whoever_thaws_how_often_a_freeze_stands_until_two_people_did(people in prop::collection::vec(0_u8..3, 0..12)) {
        let mut now = freeze(FreezeTarget::All);
        let mut distinct = BTreeSet::new();
        for person in people {
            let before = freeze_epoch([&now]);
            let stood = now.stands();
            match now.thawed(thaw(&person.to_string())) {
                Ok(after) => {
                    prop_assert!(stood && distinct.insert(person));
                    prop_assert_eq!(freeze_epoch([&after]), before + 1);
                    now = after;
                }
                Err(_) => prop_assert!(!stood || distinct.contains(&person)),
            }
            prop_assert_eq!(now.stands(), distinct.len() < THAW_QUORUM);
        }
    }
}
