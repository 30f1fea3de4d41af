use jiff::SignedDuration;
use uuid::Uuid;

use super::*;
use crate::SubjectKind;

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
}

fn subject(name: &str, id: &str) -> Subject {
    Subject { kind: SubjectKind::Human, issuer: "unix".to_owned(), id: id.to_owned(), name: name.to_owned() }
}

fn review() -> Review {
    Review {
        id: ReviewId::new(Uuid::from_u128(1)),
        node: NodeId("n".to_owned()),
        about: ReviewAbout::BreakGlass { profile: "repair".to_owned(), incident: "INC-1".to_owned() },
        grant: GrantId::new(Uuid::from_u128(2)),
        resource: "ledger".to_owned(),
        capability: "object-storage:write".parse().unwrap(),
        person: "ana".to_owned(),
        parties: vec![subject("ana", "1001")],
        reviewers: vec!["dora".to_owned()],
        opened_at: at(0),
        due_at: at(100),
        overdue_noted_at: None,
        state: ReviewState::Open,
        version: 0,
    }
}

fn complete(person: &str, id: &str) -> ReviewEvent {
    ReviewEvent::Complete {
        at: at(10),
        person: person.to_owned(),
        by: subject(person, id),
        outcome: Outcome::Ok,
        findings: "it was what the incident needed".parse().unwrap(),
    }
}

#[test]
fn a_review_is_completed_once_and_grows_a_version() {
    let done = review().after(complete("dora", "1004")).unwrap();
    assert_eq!((done.standing(at(500)), done.version), ("completed", 1));
    let again = done.after(complete("bruno", "1002")).unwrap_err();
    assert!(matches!(&again, ReviewError::Completed { by, .. } if by == "dora"), "{again}");
    assert!(done.after(ReviewEvent::Overdue { at: at(500) }).is_err(), "what is done is never late");
}

#[test]
fn p12_nobody_reviews_their_own_use_under_any_identity() {
    let mut review = review();
    review.parties.push(subject("ana", "2001"));
    for (person, id) in [("ana", "1001"), ("ana", "7777"), ("renamed", "1001"), ("renamed", "2001")] {
        let error = review.after(complete(person, id)).unwrap_err();
        assert!(matches!(error, ReviewError::Own { .. }), "{person} as {id}");
    }
    // Who had the access, by name, even where no identity of that name is among the parties.
    review.parties.clear();
    assert!(review.after(complete("ana", "9999")).is_err());
    assert!(review.after(complete("dora", "1004")).is_ok());
}

#[test]
fn it_is_overdue_from_its_deadline_on_and_that_is_noted_once() {
    let review = review();
    assert_eq!((review.standing(at(99)), review.standing(at(100))), ("open", "overdue"));
    assert!(review.after(ReviewEvent::Overdue { at: at(99) }).is_err());
    let noted = review.after(ReviewEvent::Overdue { at: at(100) }).unwrap();
    assert!(noted.is_open() && noted.after(ReviewEvent::Overdue { at: at(101) }).is_err());
    assert!(noted.after(complete("dora", "1004")).is_ok(), "late is better than never");
}

#[test]
fn an_outcome_reads_as_it_is_written() {
    for outcome in Outcome::ALL {
        assert_eq!(outcome.to_string().parse(), Ok(outcome));
        assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
    }
    assert!("fine".parse::<Outcome>().is_err());
}
