//! Grants, leases and records to store.

use grantd_model::{
    Actor, Anchor, AuditDraft, Delegation, Digest, Extension, Freeze, FreezeTarget, Grant, GrantState, Lease,
    LeaseState, NodeId, Obligations, PolicyVersion, ProcessRef, Quorum, Request, Subject, SubjectKind, Thaw, Tier,
};
use grantd_provider_api::{
    Cloud, DenyScope, Ending, Entitlement, Id, Narrowing, Persistence, Plan, ResourceRef, Revocation,
};
use jiff::Timestamp;
use uuid::Uuid;

use crate::store::{Store, Transaction, Write};

/// A moment, in seconds from the one at which every sample was made.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

/// An extension of a grant of [`grant`], asked for at 0.
pub(crate) fn extension(until: i64, lapses_at: i64) -> Extension {
    Extension {
        asked_at: at(0),
        asked_by: grant(1).request.subject,
        reason: "it takes longer".parse().unwrap(),
        until: at(until),
        digest: Digest::ZERO,
        policy: PolicyVersion(Digest::ZERO),
        needed: Quorum::new(),
        lapses_at: at(lapses_at),
        approvals: Vec::new(),
    }
}

/// An active grant, from 0 to 1800.
pub(crate) fn grant(nth: u128) -> Grant {
    let subject = Subject {
        kind: SubjectKind::Pipeline,
        issuer: "unix".to_owned(),
        id: "1001".to_owned(),
        name: "deploy".to_owned(),
    };
    Grant {
        id: Id::new(Uuid::from_u128(nth)),
        node: NodeId("somewhere".to_owned()),
        created_at: at(0),
        request: Request {
            resource: "reports".to_owned(),
            entitlement: Entitlement {
                capability: "object-storage:read".parse().unwrap(),
                resource: ResourceRef {
                    cloud: Cloud::Aws,
                    account: "prod".to_owned(),
                    kind: "object-storage".to_owned(),
                    native: "arn:aws:s3:::reports".to_owned(),
                },
                narrowing: Narrowing::default(),
            },
            justification: "it's \"needed\"; DROP TABLE grants -- $1 ?1 é".parse().unwrap(),
            ticket: None,
            duration_seconds: 1800,
            recurrence: None,
            not_before: None,
            subject: subject.clone(),
            requested_by: subject,
            task: None,
            break_glass: None,
        },
        plan: Plan {
            cloud: Cloud::Aws,
            account: "prod".to_owned(),
            targets: vec!["arn:aws:iam::123456789012:role/r".to_owned()],
            native: serde_json::json!([{"Effect": "Allow"}]),
            words: Vec::new(),
            revocation: Revocation::Immediate,
            persistence: Persistence::None,
            widens: Vec::new(),
            ending: Ending::Cloud,
        },
        tier: Tier::Low,
        digest: Digest::ZERO,
        policy: PolicyVersion(Digest::ZERO),
        obligations: Obligations::default(),
        approvals: Vec::new(),
        escalation: None,
        extension: None,
        extensions: Vec::new(),
        imported: None,
        state: GrantState::Active { since: at(0), until: at(1800) },
        version: 0,
    }
}

/// An issuing lease under that grant, held by a task of its own: access until 300, place until 1800.
pub(crate) fn lease(nth: u128, grant: &Grant) -> Lease {
    Lease {
        id: Id::new(Uuid::from_u128(nth)),
        grant: grant.id,
        node: NodeId("somewhere".to_owned()),
        created_at: at(0),
        subject: grant.request.subject.clone(),
        uid: 1001,
        anchor: Anchor::Process {
            process: ProcessRef { boot_id: "boot".to_owned(), pid: 7, start_time: u64::try_from(nth).unwrap() },
        },
        on_policy_change: grantd_model::OnPolicyChange::End,
        on_signal_change: grantd_model::OnPolicyChange::End,
        target: "arn:aws:iam::123456789012:role/r".to_owned(),
        scope: DenyScope { cloud: Cloud::Aws, account: "prod".to_owned(), name: "boundary".to_owned() },
        session_name: format!("deploy-{nth}"),
        access_until: at(300),
        token_until: at(900),
        place_until: at(1800),
        ending: Ending::Cloud,
        native_id: None,
        origin: None,
        collapsed: None,
        state: LeaseState::Issuing,
        version: 0,
    }
}

/// A record to write.
pub(crate) fn draft(kind: &str) -> AuditDraft {
    AuditDraft {
        at: at(0),
        kind: kind.to_owned(),
        actor: Actor::Daemon { part: "main".to_owned() },
        grant: Some(Id::new(Uuid::from_u128(1))),
        lease: None,
        detail: serde_json::json!({"z": [1.0, 1e30, "\u{0}é"], "a": {"large": 9_007_199_254_740_993_u64}}),
    }
}

/// Writes with one record.
pub(crate) fn audited(kind: &str, writes: Vec<Write>) -> Transaction {
    Transaction { guards: Vec::new(), writes, audit: vec![draft(kind)] }
}

/// Stores a grant.
pub(crate) async fn insert_grant(store: &dyn Store, grant: &Grant) {
    store.commit(audited("grant.request", vec![Write::InsertGrant(grant.clone())])).await.unwrap();
}

/// A voice that is lent for a minute.
pub(in crate::store) fn delegation(nth: u128) -> Delegation {
    Delegation {
        id: Id::new(Uuid::from_u128(nth)),
        node: NodeId("n".to_owned()),
        from: "ana".to_owned(),
        by: grant(1).request.subject,
        to: "bruno".to_owned(),
        resource: None,
        at: at(0),
        until: at(60),
        revoked: None,
        version: 0,
    }
}

/// A standing freeze of everything.
pub(crate) fn freeze(nth: u128) -> Freeze {
    Freeze {
        id: Id::new(Uuid::from_u128(nth)),
        target: FreezeTarget::All,
        reason: "a token leaked".to_owned(),
        by: Actor::Daemon { part: "test".to_owned() },
        at: at(0),
        thaws: Vec::new(),
        lifted_at: None,
        version: 0,
    }
}

/// One person's thaw.
pub(crate) fn thaw(person: &str) -> Thaw {
    let subject = grant(1).request.subject;
    Thaw { person: person.to_owned(), subject, at: at(1), reason: "found it".to_owned() }
}
