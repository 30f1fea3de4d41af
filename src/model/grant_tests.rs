//! The grant machine: a table of what may follow what, and random histories.

use grantd_provider_api::{Cloud, Ending, Id, Narrowing, Persistence, ResourceRef, Revocation};
use jiff::SignedDuration;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::document::Attestation;
use crate::{Capacity, OnBehalf, Quorum, Recurrence, Signed, Subject, SubjectKind, extension_digest, request_digest};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn pending(not_before: Option<Timestamp>) -> Grant {
    let subject = crate::Subject {
        kind: SubjectKind::Service,
        issuer: "unix".to_owned(),
        id: "1".to_owned(),
        name: "svc".to_owned(),
    };
    let request = Request {
        resource: "reports".to_owned(),
        entitlement: grantd_provider_api::Entitlement {
            capability: "object-storage:read".parse().unwrap(),
            resource: ResourceRef {
                cloud: Cloud::Aws,
                account: "prod".to_owned(),
                kind: "object-storage".to_owned(),
                native: "arn:aws:s3:::reports".to_owned(),
            },
            narrowing: Narrowing::default(),
        },
        justification: "test".parse().unwrap(),
        ticket: None,
        duration_seconds: 100,
        recurrence: None,
        not_before,
        subject: subject.clone(),
        requested_by: subject,
        task: None,
        break_glass: None,
    };
    let plan = Plan {
        cloud: Cloud::Aws,
        account: "prod".to_owned(),
        targets: Vec::new(),
        native: serde_json::Value::Null,
        words: Vec::new(),
        revocation: Revocation::Eventual,
        persistence: Persistence::None,
        widens: Vec::new(),
        ending: Ending::Cloud,
    };
    let digest = request_digest(&request, &plan, Tier::Low).unwrap();
    Grant {
        id: Id::new(Uuid::from_u128(1)),
        node: NodeId("n".to_owned()),
        created_at: at(0),
        request,
        plan,
        tier: Tier::Low,
        digest,
        policy: PolicyVersion(Digest::ZERO),
        obligations: Obligations::default(),
        state: GrantState::Pending { lapses_at: Some(at(50)) },
        approvals: Vec::new(),
        escalation: None,
        extension: None,
        extensions: Vec::new(),
        imported: None,
        version: 0,
    }
}

#[test]
fn a_grant_goes_from_pending_to_active_to_ended() {
    let grant = pending(None).after(&GrantEvent::Approve { at: at(5) }).unwrap();
    assert_eq!(grant.state, GrantState::Active { since: at(5), until: at(105) });
    assert_eq!(grant.usable_until(at(104)), Some(at(105)));
    assert_eq!(grant.usable_until(at(105)), None, "a grant is over at its last second");
    let ended = grant.after(&GrantEvent::Complete { at: at(6) }).unwrap();
    assert!(ended.state.is_final());
    let refused = ended.after(&GrantEvent::Revoke { at: at(7), reason: "late".to_owned() }).unwrap_err();
    assert_eq!(refused.to_string(), "a grant that is ended cannot take the event revoke");
}

#[test]
fn p3_the_clock_of_a_scheduled_grant_starts_at_its_activation() {
    let grant = pending(Some(at(60))).after(&GrantEvent::Approve { at: at(5) }).unwrap();
    assert_eq!(grant.state, GrantState::Scheduled { not_before: at(60) });
    assert!(grant.after(&GrantEvent::Activate { at: at(59) }).is_err(), "not a second early");
    let active = grant.after(&GrantEvent::Activate { at: at(61) }).unwrap();
    assert_eq!(active.usable_until(at(61)), Some(at(161)));
}

#[test]
fn p3_a_grant_that_recurs_is_usable_in_its_occurrences_alone_and_counts_from_its_activation() {
    let mut asked = pending(Some(at(60)));
    asked.request.recurrence = Some(Recurrence::new(1000, 3, 100).unwrap());
    let grant =
        asked.after(&GrantEvent::Approve { at: at(5) }).unwrap().after(&GrantEvent::Activate { at: at(61) }).unwrap();
    assert_eq!(grant.state, GrantState::Active { since: at(61), until: at(61 + 2100) });
    assert_eq!(grant.usable_until(at(61)), Some(at(161)));
    assert_eq!(grant.usable_until(at(161)), None, "between two occurrences");
    assert_eq!(grant.occurrence(at(161)), Some(Occurrence::Between { next: at(1061) }));
    assert_eq!(grant.usable_until(at(2061)), Some(at(2161)));
    assert_eq!(grant.usable_until(at(2161)), None);
    assert!(grant.after(&GrantEvent::Expire { at: at(500) }).is_err(), "it is not over between two of them");
    assert!(grant.after(&GrantEvent::Expire { at: at(2161) }).is_ok());
    let extension = extension(&grant, 100, 5000);
    assert!(grant.after(&GrantEvent::AskExtension { extension }).is_err(), "it is asked for anew");
}

#[test]
fn a_grant_lapses_and_expires_only_when_its_time_is_over() {
    assert!(pending(None).after(&GrantEvent::Lapse { at: at(49) }).is_err());
    assert!(pending(None).after(&GrantEvent::Lapse { at: at(50) }).is_ok());
    let active = pending(None).after(&GrantEvent::Approve { at: at(0) }).unwrap();
    assert!(active.after(&GrantEvent::Expire { at: at(99) }).is_err());
    assert!(active.after(&GrantEvent::Expire { at: at(100) }).is_ok());
}

/// A pending grant that needs two owners and a steward.
fn demanding() -> Grant {
    let mut grant = pending(None);
    grant.obligations.approvals = Quorum::from([(Capacity::Owner, 2), (Capacity::Steward, 1)]);
    grant
}

fn person(name: &str) -> Subject {
    Subject { kind: SubjectKind::Human, issuer: "unix".to_owned(), id: "7".to_owned(), name: name.to_owned() }
}

fn approval(name: &str, capacity: Capacity, digest: Digest, seconds: i64) -> Box<Approval> {
    let (person, identity) = (name.to_owned(), person(name));
    Box::new(Approval {
        person,
        identity,
        uid: 7,
        capacity,
        also: Vec::new(),
        on_behalf_of: None,
        at: at(seconds),
        digest,
        comment: None,
        signed: None,
        attested: None,
    })
}

#[test]
fn p12_stewards_stand_in_only_after_they_were_asked_and_never_at_the_top() {
    let mut grant = pending(None);
    grant.obligations.approvals = Quorum::from([(Capacity::Owner, 1)]);
    let asked = |seconds, stewards: &[&str]| GrantEvent::Escalate {
        to: Escalation::Asked { at: at(seconds), stewards: stewards.iter().map(|name| (*name).to_owned()).collect() },
    };
    let give = |grant: &Grant, seconds| {
        let approval = approval("sam", Capacity::Steward, grant.digest, seconds);
        grant.after(&GrantEvent::GiveApproval { approval }).unwrap()
    };
    assert!(grant.after(&asked(25, &["sam"])).is_err(), "policy did not say so");
    grant.escalation = Some(Escalation::halfway(at(0), std::time::Duration::from_secs(50)));
    assert_eq!(grant.escalation.as_ref().unwrap().due_at(), Some(at(25)));
    for early in [asked(24, &["sam"]), asked(25, &[]), asked(50, &["sam"])] {
        assert!(grant.after(&early).is_err(), "early, of nobody, or when it has lapsed");
    }
    let before = give(&grant, 20);
    let escalated = before.after(&asked(25, &["sam"])).unwrap();
    assert_eq!((escalated.state.phase(), escalated.version), (GrantPhase::Pending, 2));
    assert!(!escalated.has_quorum(), "it was given as a steward's");
    assert!(escalated.after(&asked(26, &["sam"])).is_err(), "once");
    let given = give(&escalated, 26);
    assert!(given.has_quorum());
    assert!(given.after(&GrantEvent::Approve { at: at(27) }).is_ok());
    assert!(!Grant { tier: Tier::Critical, ..given.clone() }.has_quorum());
    let both = Quorum::from([(Capacity::Owner, 1), (Capacity::Security, 1)]);
    let obligations = Obligations { approvals: both, ..given.obligations.clone() };
    assert!(!Grant { obligations, ..given }.has_quorum(), "never instead of security");
    let not = GrantEvent::Escalate { to: Escalation::NotAsked { at: at(25), why: "nobody".to_owned() } };
    assert!(!give(&grant.after(&not).unwrap(), 26).has_quorum());
}

#[test]
fn p12_where_signatures_are_asked_for_only_what_was_signed_completes_the_quorum() {
    let mut grant = pending(None);
    grant.obligations.approvals = Quorum::from([(Capacity::Owner, 1)]);
    grant.obligations.signed_approval = true;
    let given = approval("olga", Capacity::Owner, grant.digest, 1);
    let signed = Signed { statement: "a".to_owned(), signature: "b".to_owned(), carrier: None };
    let signed = Box::new(Approval { signed: Some(Box::new(signed)), ..*given.clone() });
    let plain = grant.after(&GrantEvent::GiveApproval { approval: given }).unwrap();
    assert!(!plain.has_quorum() && plain.after(&GrantEvent::Approve { at: at(2) }).is_err());
    let whole = plain.after(&GrantEvent::GiveApproval { approval: signed }).unwrap();
    assert!(whole.has_quorum() && whole.approvals.len() == 1, "it takes the place of the one that was not signed");
}

#[test]
fn p3_what_came_in_a_document_ends_with_it_and_what_is_handed_on_is_over_here() {
    let mut grant = pending(None);
    let document = Attestation { iss: "urn:a".to_owned(), kid: "k".to_owned(), jti: "1".to_owned() };
    grant.imported = Some(Box::new(Imported { document, until: at(30) }));
    let active = grant.after(&GrantEvent::Approve { at: at(10) }).unwrap();
    assert_eq!(active.state, GrantState::Active { since: at(10), until: at(30) });
    let handed_on = active.after(&GrantEvent::Export { at: at(20) }).unwrap();
    assert_eq!(handed_on.state, GrantState::Ended { at: at(20), why: GrantEnd::Exported });
    assert!(handed_on.after(&GrantEvent::Export { at: at(21) }).is_err(), "once");
    assert!(grant.after(&GrantEvent::Export { at: at(10) }).is_err(), "nobody approved it yet");
}

#[test]
fn p12_the_voice_of_an_absent_person_is_heard_once() {
    let mut grant = pending(None);
    grant.obligations.approvals = Quorum::from([(Capacity::Owner, 2)]);
    let delegation = Id::new(Uuid::from_u128(9));
    let lent = |name: &str| {
        let on_behalf_of = Some(OnBehalf { person: "ana".to_owned(), delegation });
        let approval = Approval { on_behalf_of, ..*approval(name, Capacity::Owner, grant.digest, 1) };
        GrantEvent::GiveApproval { approval: Box::new(approval) }
    };
    let own = |name: &str| GrantEvent::GiveApproval { approval: approval(name, Capacity::Owner, grant.digest, 1) };
    let given =
        |events: &[GrantEvent]| events.iter().try_fold(grant.clone(), |grant, event| grant.after(event)).unwrap();
    assert!(!given(&[lent("sam"), lent("tom")]).has_quorum());
    assert!(!given(&[lent("sam"), own("ana")]).has_quorum());
    assert!(!given(&[own("ana"), lent("sam")]).has_quorum());
    assert!(!given(&[own("sam"), lent("sam")]).has_quorum(), "one person, one voice");
    assert!(given(&[lent("sam"), own("bruno")]).has_quorum());
}

fn extension(grant: &Grant, asked_at: i64, until: i64) -> Box<Extension> {
    let (asked_by, reason) = (person("ana"), "it takes longer".parse().unwrap());
    Box::new(Extension {
        asked_at: at(asked_at),
        digest: extension_digest(grant.digest, at(until), &asked_by, &reason).unwrap(),
        asked_by,
        reason,
        until: at(until),
        policy: grant.policy,
        needed: Quorum::from([(Capacity::Owner, 1)]),
        lapses_at: at(asked_at + 20),
        approvals: Vec::new(),
    })
}

#[test]
fn p12_a_person_counts_once_and_only_for_what_that_person_saw() {
    let grant = demanding();
    let give = |grant: &Grant, name: &str, capacity, digest| {
        grant.after(&GrantEvent::GiveApproval { approval: approval(name, capacity, digest, 1) })
    };
    let approve = GrantEvent::Approve { at: at(2) };
    assert!(give(&grant, "ana", Capacity::Owner, Digest::ZERO).is_err(), "of another digest");
    let one = give(&grant, "ana", Capacity::Owner, grant.digest).unwrap();
    let again = give(&one, "ana", Capacity::Steward, grant.digest).unwrap();
    assert_eq!((again.approvals.len(), again.approvals[0].capacity), (1, Capacity::Steward), "the later one stands in");
    let one = give(&again, "ana", Capacity::Owner, grant.digest).unwrap();
    let two = give(&one, "bruno", Capacity::Owner, grant.digest).unwrap();
    assert_eq!(two.after(&approve).unwrap_err().to_string(), "a grant that is pending cannot take the event approve");
    let three = give(&two, "carla", Capacity::Steward, grant.digest).unwrap();
    assert_eq!(three.state.phase(), GrantPhase::Pending, "an approval alone changes no state");
    let active = three.after(&approve).unwrap();
    assert_eq!((active.state.phase(), active.version), (GrantPhase::Active, 6));
    assert!(give(&active, "dora", Capacity::Owner, grant.digest).is_err(), "there is nothing to approve any more");
}

#[test]
fn p3_an_extension_moves_the_end_when_it_is_approved_and_not_before() {
    let active = pending(None).after(&GrantEvent::Approve { at: at(0) }).unwrap();
    let ask = |until| GrantEvent::AskExtension { extension: extension(&active, 10, until) };
    assert!(active.after(&ask(100)).is_err(), "no later than the end it has");
    let waiting = active.after(&ask(150)).unwrap();
    assert_eq!(waiting.state, active.state);
    assert!(waiting.after(&ask(160)).is_err(), "one at a time");
    assert!(waiting.after(&GrantEvent::Extend { at: at(11) }).is_err(), "nobody approved it");
    let digest = waiting.extension.as_ref().unwrap().digest;
    let give = |digest, seconds| GrantEvent::ApproveExtension {
        approval: approval("bruno", Capacity::Owner, digest, seconds),
    };
    assert!(waiting.after(&give(active.digest, 12)).is_err(), "the grant's digest is not the extension's");
    assert!(waiting.after(&give(digest, 100)).is_err(), "the grant is over");
    let approved = waiting.after(&give(digest, 12)).unwrap();
    let longer = approved.after(&GrantEvent::Extend { at: at(12) }).unwrap();
    assert_eq!(longer.state, GrantState::Active { since: at(0), until: at(150) });
    assert!(longer.extensions[0].is_granted() && longer.extension.is_none());

    let lapse = |seconds| GrantEvent::EndExtension { outcome: ExtensionEnd::Lapsed { at: at(seconds) } };
    assert!(waiting.after(&lapse(29)).is_err(), "not early");
    let no = ExtensionEnd::Denied { at: at(12), by: "bruno".to_owned(), reason: "no".to_owned() };
    for event in [lapse(30), GrantEvent::EndExtension { outcome: no }] {
        let as_before = waiting.after(&event).unwrap();
        assert_eq!((&as_before.state, &as_before.extension), (&active.state, &None), "{event:?}");
        assert!(!as_before.extensions[0].is_granted());
    }
    let over = waiting.after(&GrantEvent::Complete { at: at(20) }).unwrap();
    assert!(over.extension.is_none() && !over.extensions[0].is_granted(), "it ends with its grant");
}

/// What a store of an earlier version holds.
#[test]
fn p13_a_grant_of_before_approvals_is_read_and_written_as_it_was() {
    let mut row = serde_json::to_value(pending(None)).unwrap();
    for member in ["approvals", "extension", "extensions"] {
        assert!(row.get(member).is_none(), "{member} is written although it is empty");
    }
    row["state"] = serde_json::json!({ "state": "denied", "at": at(1), "reason": "no" });
    let read: Grant = serde_json::from_value(row).unwrap();
    assert_eq!(read.state, GrantState::Denied { at: at(1), by: String::new(), reason: "no".to_owned() });
    assert!(read.approvals.is_empty() && read.extension.is_none() && read.extensions.is_empty());
}

/// An event on `grant`: extensions and approvals are made to fit it or not, as `pick` says.
fn event_on(grant: &Grant, which: u8, pick: u8, seconds: i64) -> GrantEvent {
    let name = ["ana", "bruno", "carla", "dora"][usize::from(pick % 4)];
    let capacity = Capacity::ALL[usize::from(pick / 4 % 4)];
    let waiting = grant.extension.as_ref().map_or(Digest::ZERO, |waiting| waiting.digest);
    let right = |digest| if pick.is_multiple_of(5) { Digest::ZERO } else { digest };
    match which {
        0..8 => plain_event(which, at(seconds)),
        8 | 9 => GrantEvent::GiveApproval { approval: approval(name, capacity, right(grant.digest), seconds) },
        10 => GrantEvent::AskExtension { extension: extension(grant, seconds, seconds + i64::from(pick)) },
        11 => GrantEvent::ApproveExtension { approval: approval(name, capacity, right(waiting), seconds) },
        12 => GrantEvent::Extend { at: at(seconds) },
        _ => GrantEvent::EndExtension { outcome: ExtensionEnd::Lapsed { at: at(seconds) } },
    }
}

fn plain_event(which: u8, at: Timestamp) -> GrantEvent {
    match which {
        0 => GrantEvent::Approve { at },
        1 => GrantEvent::Activate { at },
        2 => GrantEvent::Deny { at, by: "ana".to_owned(), reason: "no".to_owned() },
        3 => GrantEvent::Cancel { at },
        4 => GrantEvent::Lapse { at },
        5 => GrantEvent::Complete { at },
        6 => GrantEvent::Expire { at },
        _ => GrantEvent::Revoke { at, reason: "gone".to_owned() },
    }
}

fn any_event() -> impl Strategy<Value = GrantEvent> {
    (0..8_u8, 0..400_i64).prop_map(|(which, seconds)| plain_event(which, at(seconds)))
}

proptest! {
    /// Whatever happens in whatever order: a final grant stays as it is, only an approved grant is ever usable, it
    /// is usable for exactly its duration, and each accepted event counts the version up by one.
    #[test]
    fn p3_random_histories_of_a_grant(scheduled in any::<bool>(), events in prop::collection::vec(any_event(), 0..40)) {
        let mut grant = pending(scheduled.then(|| at(120)));
        let mut approved = false;
        for event in events {
            let Ok(next) = grant.after(&event) else { continue };
            prop_assert!(!grant.state.is_final(), "{:?} left a final state by {:?}", grant.state, event);
            prop_assert_eq!(next.version, grant.version + 1);
            approved |= matches!(event, GrantEvent::Approve { .. });
            if let GrantState::Active { since, until } = next.state {
                prop_assert!(approved);
                prop_assert_eq!(until.duration_since(since).as_secs(), 100);
                prop_assert!(!scheduled || since >= at(120));
            }
            prop_assert_eq!(&next.request, &grant.request);
            grant = next;
        }
    }

    /// Whatever happens in whatever order: a grant is usable only after as many different people approved exactly it as
    /// it asks for, its end moves only by an extension that its own people approved, and nobody stands twice.
    #[test]
    fn p12_random_histories_of_approvals(
        events in prop::collection::vec((0..14_u8, any::<u8>(), 0..120_i64), 0..60)
    ) {
        let mut grant = demanding();
        for (which, pick, seconds) in events {
            let event = event_on(&grant, which, pick, seconds);
            let Ok(next) = grant.after(&event) else { continue };
            prop_assert_eq!(next.version, grant.version + 1);
            prop_assert!(!grant.state.is_final());
            let mut names: Vec<_> = next.approvals.iter().map(|approval| approval.person.clone()).collect();
            names.sort_unstable();
            names.dedup();
            prop_assert_eq!(names.len(), next.approvals.len(), "a person stands twice");
            prop_assert!(next.approvals.iter().all(|approval| approval.digest == next.digest));
            let of = |capacity| next.approvals.iter().filter(|approval| approval.capacity == capacity).count();
            if let GrantState::Active { since, until } = next.state {
                prop_assert!(of(Capacity::Owner) >= 2 && of(Capacity::Steward) >= 1, "active without its quorum");
                let granted: Vec<_> = next.extensions.iter().filter(|past| past.is_granted()).collect();
                let end = granted.last().map_or(since + SignedDuration::from_secs(100), |past| past.extension.until);
                prop_assert_eq!(until, end);
                for past in granted {
                    let of_it = past.extension.approvals.iter().filter(|a| a.digest == past.extension.digest);
                    prop_assert!(of_it.filter(|a| a.capacity == Capacity::Owner).count() >= 1);
                }
            } else {
                prop_assert!(next.extension.is_none(), "an extension waits on a grant that is not active");
            }
            grant = next;
        }
    }
}
