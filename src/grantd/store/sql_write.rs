//! Guards, writes and audit records as SQL, and what the answer of the database means.

use grantd_model::{
    AcceptedSeal, AuditRecord, Delegation, Escalation, Freeze, Grant, GrantState, Lease, NodeId, Propagation,
    RegisteredAnchor, Request, Review, canonical_json,
};
use jiff::Timestamp;
use serde::Serialize;

use super::sql::{Sql, Value, ceil_ms, floor_ms, int, scope_word};
use super::{GlassUses, Guard, GuardFailure, StoreError, Write};

/// The question that a guard asks: its answer is one number, which [`judge`] understands.
pub(super) fn question(guard: &Guard) -> Sql {
    match guard {
        Guard::GrantActive { grant, at } => Sql::new(
            "SELECT COUNT(*) FROM grants WHERE id = $1 AND phase = 'active' AND turn_ms > $2",
            [grant.to_string().into(), floor_ms(*at).into()],
        ),
        Guard::OtherAnchorsBelow { grant, anchor_key, .. } => Sql::new(
            "SELECT COUNT(DISTINCT anchor_key) FROM leases \
             WHERE grant_id = $1 AND phase IN ('issuing', 'active') AND anchor_key <> $2",
            [grant.to_string().into(), anchor_key.as_str().into()],
        ),
        // One that is a member already is answered with -1.
        Guard::CounterBelow { counter, member, .. } => Sql::new(
            "SELECT CASE WHEN EXISTS (SELECT 1 FROM counters WHERE counter = $1 AND member = $2) THEN -1 \
             ELSE (SELECT COUNT(*) FROM counters WHERE counter = $1) END",
            [counter.as_str().into(), member.as_str().into()],
        ),
        Guard::PlacesBelow { scope, at, .. } => places(&scope_word(scope), *at),
        Guard::SharePlacesBelow { scopes, uid, at, .. } => {
            let mut sql = Sql::new(
                "SELECT COUNT(*) FROM leases WHERE uid = $1 AND place_until_ms > $2",
                [i64::from(*uid).into(), floor_ms(*at).into()],
            );
            let words: Vec<String> = scopes.iter().map(scope_word).collect();
            sql.push_one_of("scope", &words.iter().map(String::as_str).collect::<Vec<_>>());
            sql
        }
        Guard::AnchorRegistered { anchor } => {
            Sql::new("SELECT COUNT(*) FROM anchors WHERE id = $1", [anchor.to_string().into()])
        }
        Guard::PendingBelow { requester, .. } => Sql::new(
            "SELECT COUNT(*) FROM grants WHERE requester = $1 AND phase = 'pending'",
            [requester.as_str().into()],
        ),
        Guard::GlassBelow { of, since, .. } => {
            let mut sql = Sql::new(
                "SELECT COUNT(*) FROM grants WHERE glass <> '' AND created_ms > $1 \
                 AND phase NOT IN ('denied', 'cancelled', 'lapsed')",
                [floor_ms(*since).into()],
            );
            match of {
                GlassUses::Person(person) => sql.push(" AND glass = ?", person.as_str()),
                GlassUses::Resource(resource) => sql.push(" AND resource = ?", resource.as_str()),
                GlassUses::All => {}
            }
            sql
        }
        Guard::NoneOverdue { person, at } => Sql::new(
            "SELECT COUNT(*) FROM reviews WHERE kind = 'break_glass' AND person = $1 AND due_ms > 0 AND due_ms <= $2",
            [person.as_str().into(), floor_ms(*at).into()],
        ),
        Guard::NotReviewed { topic, since } => Sql::new(
            "SELECT COUNT(*) FROM reviews WHERE kind = 'repeat' AND topic = $1 AND (due_ms > 0 OR opened_ms > $2)",
            [topic.as_str().into(), floor_ms(*since).into()],
        ),
        Guard::DocumentUnused { issuer, jti } => Sql::new(
            "SELECT COUNT(*) FROM documents WHERE issuer = $1 AND jti = $2",
            [issuer.as_str().into(), jti.as_str().into()],
        ),
        Guard::FreezesAt { .. } => Sql::new("SELECT CAST(COALESCE(SUM(version + 1), 0) AS BIGINT) FROM freezes", []),
    }
}

/// How many places of a deny scope are taken.
pub(super) fn places(scope: &str, at: Timestamp) -> Sql {
    Sql::new(
        "SELECT COUNT(*) FROM leases WHERE scope = $1 AND place_until_ms > $2",
        [scope.into(), floor_ms(at).into()],
    )
}

/// Whether the guard holds, given the answer to its question.
pub(super) fn judge(guard: &Guard, answer: i64) -> Result<(), GuardFailure> {
    let below = |limit: u32| answer < i64::from(limit);
    let in_use = u64::try_from(answer).unwrap_or_default();
    match guard {
        Guard::GrantActive { .. } if answer != 1 => Err(GuardFailure::GrantNotActive),
        Guard::AnchorRegistered { .. } if answer != 1 => Err(GuardFailure::AnchorGone),
        Guard::PendingBelow { limit, .. } if !below(*limit) => Err(GuardFailure::Pending { in_use, limit: *limit }),
        Guard::GlassBelow { of, limit, .. } if !below(*limit) => {
            Err(GuardFailure::Glass { of: of.clone(), in_use, limit: *limit })
        }
        Guard::NoneOverdue { .. } if answer != 0 => Err(GuardFailure::ReviewOverdue),
        Guard::NotReviewed { .. } if answer != 0 => Err(GuardFailure::Reviewed),
        Guard::DocumentUnused { .. } if answer != 0 => Err(GuardFailure::DocumentUsed),
        Guard::FreezesAt { epoch } if in_use != *epoch => Err(GuardFailure::FreezesChanged),
        Guard::OtherAnchorsBelow { limit, .. } if !below(*limit) => {
            Err(GuardFailure::Concurrent { in_use, limit: *limit })
        }
        Guard::CounterBelow { limit, .. } if !below(*limit) => Err(GuardFailure::Counter { in_use, limit: *limit }),
        Guard::PlacesBelow { limit, .. } if !below(*limit) => Err(GuardFailure::Places { in_use, limit: *limit }),
        Guard::SharePlacesBelow { limit, .. } if !below(*limit) => Err(GuardFailure::Share { in_use, limit: *limit }),
        _ => Ok(()),
    }
}

/// A write as SQL. When it has to change one row and changes none, what it was made from has changed meanwhile; its
/// name is given for the error.
pub(super) fn change(write: &Write, node: &NodeId) -> Result<(Sql, Option<String>), StoreError> {
    Ok(match write {
        Write::InsertGrant(grant) => (insert_grant(grant)?, Some(format!("that {} did not exist", grant.id))),
        Write::UpdateGrant(grant) => (update_grant(grant)?, Some(grant.id.to_string())),
        Write::InsertLease(lease) => {
            let what = format!("that {} and its session name {} did not exist", lease.id, lease.session_name);
            (insert_lease(lease)?, Some(what))
        }
        Write::UpdateLease(lease) => (update_lease(lease)?, Some(lease.id.to_string())),
        Write::InsertAnchor(anchor) => {
            (insert_anchor(anchor, node)?, Some(format!("that {} did not exist", anchor.id)))
        }
        Write::RemoveAnchor(anchor) => {
            (Sql::new("DELETE FROM anchors WHERE id = $1", [anchor.to_string().into()]), None)
        }
        Write::InsertFreeze(freeze) => (insert_freeze(freeze)?, Some(format!("that {} did not exist", freeze.id))),
        Write::UpdateFreeze(freeze) => (update_freeze(freeze)?, Some(freeze.id.to_string())),
        Write::PutDelegation(delegation) => (put_delegation(delegation)?, Some(delegation.id.to_string())),
        Write::PutReview(review) => (put_review(review)?, Some(review.id.to_string())),
        Write::PutPropagation(measured) => {
            (put_propagation(measured)?, Some(format!("what was measured in account \"{}\"", measured.account)))
        }
        Write::Advance { cursor, seq } => (
            Sql::new(
                "INSERT INTO cursors (name, seq) VALUES ($1, $2) \
                 ON CONFLICT (name) DO UPDATE SET seq = excluded.seq WHERE cursors.seq < excluded.seq",
                [cursor.as_str().into(), int(*seq)?],
            ),
            None,
        ),
        Write::Count { counter, member } => (
            Sql::new(
                "INSERT INTO counters (counter, member) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                [counter.as_str().into(), member.as_str().into()],
            ),
            None,
        ),
        Write::AcceptSeal(seal) => (accept_seal(seal)?, Some(format!("the bundles accepted before {}", seal.sequence))),
        Write::UseDocument { issuer, jti, until } => (
            Sql::new(
                "INSERT INTO documents (issuer, jti, until_ms) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                [issuer.as_str().into(), jti.as_str().into(), ceil_ms(*until).into()],
            ),
            Some(format!("that the document {jti} was not used")),
        ),
        Write::ForgetDocuments { before } => {
            (Sql::new("DELETE FROM documents WHERE until_ms < $1", [floor_ms(*before).into()]), None)
        }
        Write::KeepBundle { version, bytes } => (
            Sql::new(
                "INSERT INTO bundles (version, bytes) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                [version.to_string().into(), Value::Bytes(bytes.clone())],
            ),
            None,
        ),
    })
}

/// Nothing is written unless its place is above every other.
fn accept_seal(seal: &AcceptedSeal) -> Result<Sql, StoreError> {
    Ok(Sql::new(
        "INSERT INTO seals (sequence, body) SELECT $1, $2 \
         WHERE NOT EXISTS (SELECT 1 FROM seals WHERE sequence >= $1)",
        [int(seal.sequence)?, body(seal)?],
    ))
}

fn insert_grant(grant: &Grant) -> Result<Sql, StoreError> {
    let request = &grant.request;
    Ok(Sql::new(
        "INSERT INTO grants (id, node, created_ms, phase, resource, subject, requester, turn_ms, extension_ms, version, \
         body, glass, topic) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT DO NOTHING",
        [
            grant.id.to_string().into(),
            grant.node.0.as_str().into(),
            floor_ms(grant.created_at).into(),
            grant.state.phase().as_str().into(),
            request.resource.as_str().into(),
            format!("{}:{}", request.subject.issuer, request.subject.id).into(),
            format!("{}:{}", request.requested_by.issuer, request.requested_by.id).into(),
            turn(grant).into(),
            extension(grant).into(),
            int(grant.version)?,
            body(grant)?,
            request.break_glass.as_ref().map_or("", |_| request.subject.name.as_str()).into(),
            topic(grant).into(),
        ],
    ))
}

/// What a grant has in common with those that repeat it.
pub fn topic(grant: &Grant) -> String {
    let Request { subject, resource, entitlement, .. } = &grant.request;
    format!("{}:{}\n{resource}\n{}", subject.issuer, subject.id, entitlement.capability)
}

fn update_grant(grant: &Grant) -> Result<Sql, StoreError> {
    Ok(Sql::new(
        "UPDATE grants SET phase = $1, turn_ms = $2, extension_ms = $3, version = $4, body = $5 \
         WHERE id = $6 AND version + 1 = $4",
        [
            grant.state.phase().as_str().into(),
            turn(grant).into(),
            extension(grant).into(),
            int(grant.version)?,
            body(grant)?,
            grant.id.to_string().into(),
        ],
    ))
}

/// When time turns a grant next: an active one ends, a scheduled one begins, a pending one escalates or lapses. 0 when
/// time does nothing to it.
fn turn(grant: &Grant) -> i64 {
    let escalates = grant.escalation.as_ref().and_then(Escalation::due_at);
    match grant.state {
        GrantState::Active { until, .. } => floor_ms(until),
        GrantState::Scheduled { not_before } => floor_ms(not_before),
        GrantState::Pending { lapses_at } => lapses_at.into_iter().chain(escalates).min().map_or(0, ceil_ms),
        _ => 0,
    }
}

/// When the extension that waits lapses; 0 when none does.
fn extension(grant: &Grant) -> i64 {
    grant.extension.as_ref().map_or(0, |waiting| ceil_ms(waiting.lapses_at))
}

fn insert_lease(lease: &Lease) -> Result<Sql, StoreError> {
    Ok(Sql::new(
        "INSERT INTO leases (id, grant_id, node, created_ms, uid, scope, phase, anchor_key, session_name, \
         access_until_ms, place_until_ms, deny_until_ms, version, body) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT DO NOTHING",
        [
            lease.id.to_string().into(),
            lease.grant.to_string().into(),
            lease.node.0.as_str().into(),
            floor_ms(lease.created_at).into(),
            i64::from(lease.uid).into(),
            scope_word(&lease.scope).into(),
            lease.state.phase().as_str().into(),
            lease.anchor.key(lease.uid).into(),
            lease.session_name.as_str().into(),
            floor_ms(lease.access_until).into(),
            place_until(lease).into(),
            deny_until(lease).into(),
            int(lease.version)?,
            body(lease)?,
        ],
    ))
}

/// No event moves a lease to another grant, node, user, anchor, scope or session name.
fn update_lease(lease: &Lease) -> Result<Sql, StoreError> {
    Ok(Sql::new(
        "UPDATE leases SET phase = $1, access_until_ms = $2, place_until_ms = $3, deny_until_ms = $4, version = $5, \
         body = $6 WHERE id = $7 AND version + 1 = $5",
        [
            lease.state.phase().as_str().into(),
            floor_ms(lease.access_until).into(),
            place_until(lease).into(),
            deny_until(lease).into(),
            int(lease.version)?,
            body(lease)?,
            lease.id.to_string().into(),
        ],
    ))
}

fn place_until(lease: &Lease) -> i64 {
    lease.occupies_until().map_or(0, ceil_ms)
}

fn deny_until(lease: &Lease) -> i64 {
    lease.deny_entry(Timestamp::MIN).map_or(0, |_| ceil_ms(lease.place_until))
}

fn insert_anchor(anchor: &RegisteredAnchor, node: &NodeId) -> Result<Sql, StoreError> {
    Ok(Sql::new(
        "INSERT INTO anchors (id, node, created_ms, body) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        [anchor.id.to_string().into(), node.0.as_str().into(), floor_ms(anchor.created_at).into(), body(anchor)?],
    ))
}

fn insert_freeze(freeze: &Freeze) -> Result<Sql, StoreError> {
    Ok(Sql::new(
        "INSERT INTO freezes (id, created_ms, version, body) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        [freeze.id.to_string().into(), floor_ms(freeze.at).into(), int(freeze.version)?, body(freeze)?],
    ))
}

fn update_freeze(freeze: &Freeze) -> Result<Sql, StoreError> {
    Ok(Sql::new(
        "UPDATE freezes SET version = $1, body = $2 WHERE id = $3 AND version + 1 = $1",
        [int(freeze.version)?, body(freeze)?, freeze.id.to_string().into()],
    ))
}

/// A new one when there is none, and one taken back after the one that stood.
fn put_delegation(delegation: &Delegation) -> Result<Sql, StoreError> {
    Ok(Sql::new(
        "INSERT INTO delegations (id, created_ms, version, body) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (id) DO UPDATE SET version = excluded.version, body = excluded.body \
         WHERE delegations.version + 1 = excluded.version",
        [delegation.id.to_string().into(), floor_ms(delegation.at).into(), int(delegation.version)?, body(delegation)?],
    ))
}

/// A new one when there is none, and each event after the one before it.
fn put_review(review: &Review) -> Result<Sql, StoreError> {
    let due = if review.is_open() { ceil_ms(review.due_at) } else { 0 };
    Ok(Sql::new(
        "INSERT INTO reviews (id, kind, grant_id, person, topic, opened_ms, due_ms, noted, version, body) \
         SELECT $1, $2, $3, $4, topic, $5, $6, $7, $8, $9 FROM grants WHERE grants.id = $3 \
         ON CONFLICT (id) DO UPDATE SET due_ms = excluded.due_ms, noted = excluded.noted, version = excluded.version, \
         body = excluded.body WHERE reviews.version + 1 = excluded.version",
        [
            review.id.to_string().into(),
            review.about.as_str().into(),
            review.grant.to_string().into(),
            review.person.as_str().into(),
            floor_ms(review.opened_at).into(),
            due.into(),
            i64::from(review.overdue_noted_at.is_some()).into(),
            int(review.version)?,
            body(review)?,
        ],
    ))
}

/// The first of an account when there is none, and each later one after the one before it.
fn put_propagation(measured: &Propagation) -> Result<Sql, StoreError> {
    Ok(Sql::new(
        "INSERT INTO propagations (cloud, account, version, body) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (cloud, account) DO UPDATE SET version = excluded.version, body = excluded.body \
         WHERE propagations.version + 1 = excluded.version",
        [measured.cloud.to_string().into(), measured.account.as_str().into(), int(measured.version)?, body(measured)?],
    ))
}

/// A record as a row.
pub(super) fn insert_record(record: &AuditRecord) -> Result<Sql, StoreError> {
    let draft = &record.draft;
    let canonical = canonical_json(record).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    Ok(Sql::new(
        "INSERT INTO audit (node, seq, at_ms, kind, grant_id, lease_id, record) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        [
            record.node.0.as_str().into(),
            int(record.seq)?,
            floor_ms(draft.at).into(),
            draft.kind.as_str().into(),
            draft.grant.map(|id| id.to_string()).into(),
            draft.lease.map(|id| id.to_string()).into(),
            canonical.ok_or_else(|| unwritable(&draft.kind))?.into(),
        ],
    ))
}

/// The error for a record or a body that cannot be JSON. Nothing was written then.
pub(super) fn unwritable(what: &str) -> StoreError {
    StoreError::Io(format!("{what} cannot be written as JSON"))
}

fn body<T: Serialize>(thing: &T) -> Result<Value, StoreError> {
    serde_json::to_string(thing).map(Value::Text).map_err(|error| unwritable(&error.to_string()))
}
