//! The grant machine: a table of what may follow what, and random histories.

use grantd_provider_api::{Cloud, Id, Narrowing, Persistence, ResourceRef, Revocation};
use jiff::SignedDuration;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{SubjectKind, request_digest};

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
        not_before,
        subject: subject.clone(),
        requested_by: subject,
        task: None,
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
        version: 0,
    }
}

#[test]
fn a_grant_goes_from_pending_to_active_to_ended() {
    let grant = pending(None).after(&GrantEvent::Approve { at: at(5) }).unwrap();
    assert_eq!(grant.state, GrantState::Active { since: at(5), until: at(105) });
    assert_eq!(grant.state.usable_until(at(104)), Some(at(105)));
    assert_eq!(grant.state.usable_until(at(105)), None, "a grant is over at its last second");
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
    assert_eq!(active.state.usable_until(at(61)), Some(at(161)));
}

#[test]
fn a_grant_lapses_and_expires_only_when_its_time_is_over() {
    assert!(pending(None).after(&GrantEvent::Lapse { at: at(49) }).is_err());
    assert!(pending(None).after(&GrantEvent::Lapse { at: at(50) }).is_ok());
    let active = pending(None).after(&GrantEvent::Approve { at: at(0) }).unwrap();
    assert!(active.after(&GrantEvent::Expire { at: at(99) }).is_err());
    assert!(active.after(&GrantEvent::Expire { at: at(100) }).is_ok());
}

fn any_event() -> impl Strategy<Value = GrantEvent> {
    (0..8_u8, 0..400_i64).prop_map(|(which, seconds)| {
        let at = at(0) + SignedDuration::from_secs(seconds);
        match which {
            0 => GrantEvent::Approve { at },
            1 => GrantEvent::Activate { at },
            2 => GrantEvent::Deny { at, reason: "no".to_owned() },
            3 => GrantEvent::Cancel { at },
            4 => GrantEvent::Lapse { at },
            5 => GrantEvent::Complete { at },
            6 => GrantEvent::Expire { at },
            _ => GrantEvent::Revoke { at, reason: "gone".to_owned() },
        }
    })
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
}
