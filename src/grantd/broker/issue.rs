//! Making a session, once it [may be](super::allow): write the intent, ask the cloud, write the record, and only then release (promises P1, P2).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use grantd_model::{Anchor, EndReason, Grant, Lease, LeaseEvent, LeaseId, LeaseState};
use grantd_provider_api::{Bearer, DenyScope, ErrorKind, IssueRequest, Target};
use serde_json::json;

use super::allow::Approved;
use super::live::{InFlight, LiveLease};
use super::vend::{Settled, Vended, notes};
use super::{Broker, BrokerError, MAX_ISSUING_PER_ACCOUNT, after, draft};
use crate::failpoint;
use crate::store::{Guard, GuardFailure, StoreError, Transaction, Write};

/// How often a vend is written again when freezes change in between.
const ATTEMPTS: usize = 16;

impl Broker {
    pub(super) async fn issue(&self, settled: Settled) -> Result<Vended, BrokerError> {
        let approved = self.approve_issue(&settled).await?;
        failpoint::hit(step(&settled, "renew.decided", "issue.decided"));
        let id = LeaseId::new(self.inner.ids.fresh());
        let busy = || {
            BrokerError::Busy(format!(
                "too many sessions of account \"{}\" are in the making: ask again in a moment",
                approved.plan.account
            ))
        };
        let (account, uid) = (&approved.plan.account, settled.caller.uid());
        let in_flight = self.inner.live.begin(id, account, uid, MAX_ISSUING_PER_ACCOUNT).ok_or_else(busy)?;
        let lease = self.write_intent(id, &settled, &approved).await?;
        failpoint::hit(step(&settled, "renew.intent_written", "issue.intent_written"));
        let vended = self.make_session(&settled, &approved, lease).await;
        drop::<InFlight<'_>>(in_flight);
        vended
    }

    /// Writes the intent, on the first configured target that has room.
    async fn write_intent(&self, id: LeaseId, settled: &Settled, approved: &Approved) -> Result<Lease, BrokerError> {
        let capabilities = approved.provider.capabilities(&approved.plan.account)?;
        let targets = approved.provider.targets(&approved.plan)?;
        let (scopes, places) = together(&targets);
        let mut last = BrokerError::State(format!("no role of \"{}\" is configured any more", approved.plan.account));
        for target in targets {
            let lease = match self.lease_on(id, settled, approved, &target, capabilities.entry_grace) {
                Ok(lease) => lease,
                // This role cannot carry it, for instance for so long; another one may.
                Err(error) => {
                    last = error;
                    continue;
                }
            };
            let grant = settled.grant.id;
            let key = lease.anchor.key(lease.uid);
            let mut guards = vec![Guard::GrantActive { grant, at: approved.now }];
            guards.extend(settled.registered.map(|anchor| Guard::AnchorRegistered { anchor }));
            if let Some(limit) = approved.obligations.max_concurrent {
                guards.push(Guard::OtherAnchorsBelow { grant, anchor_key: key.clone(), limit });
            }
            if let Some(limit) = approved.obligations.max_uses {
                guards.push(Guard::CounterBelow { counter: uses_of(&lease), member: key, limit });
            }
            guards.push(Guard::PlacesBelow { scope: target.scope.clone(), at: approved.now, limit: target.capacity });
            // Where a scope has one place, nobody's share of it is less: what counts is what one user has of all.
            let share = |scopes: Vec<DenyScope>, limit: u32| Guard::SharePlacesBelow {
                scopes,
                uid: lease.uid,
                at: approved.now,
                limit,
            };
            guards.push(share(vec![target.scope.clone()], share_of(target.capacity)));
            if scopes.len() > 1 {
                guards.push(share(scopes.clone(), share_of(places)));
            }
            let detail = json!({
                "decision": approved.decision,
                "digest": settled.grant.digest,
                "anchor": lease.anchor,
                "target": lease.target,
                "session_name": lease.session_name,
                "access_until": lease.access_until,
                "token_until": lease.token_until,
                "renewal": settled.renewal,
            });
            let transaction = Transaction {
                guards,
                audit: vec![draft(
                    approved.now,
                    "lease.intent",
                    settled.caller.actor(),
                    (Some(grant), Some(id)),
                    detail,
                )],
                writes: vec![Write::InsertLease(lease.clone())],
            };
            match self.commit_unless_frozen(&settled.grant, transaction).await {
                Ok(()) => {
                    self.inner.live.set_deadline(lease.id, lease.access_until);
                    return Ok(lease);
                }
                Err(full @ BrokerError::Capacity { .. }) => last = full,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// Commits, unless a freeze covers the grant at the moment of writing.
    async fn commit_unless_frozen(&self, grant: &Grant, transaction: Transaction) -> Result<(), BrokerError> {
        for _ in 0..ATTEMPTS {
            let mut guarded = transaction.clone();
            guarded.guards.insert(0, self.unfrozen(&grant.request.subject, grant)?);
            match self.store().commit(guarded).await {
                Ok(_) => return Ok(()),
                // Set or lifted by somebody meanwhile.
                Err(StoreError::Guard(GuardFailure::FreezesChanged)) => self.read_freezes().await?,
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Guard(GuardFailure::FreezesChanged).into())
    }

    fn lease_on(
        &self,
        id: LeaseId,
        settled: &Settled,
        approved: &Approved,
        target: &Target,
        entry_grace: Duration,
    ) -> Result<Lease, BrokerError> {
        let placement =
            approved.provider.place(&issue_request(id, settled, approved, &target.name, &Said::of(settled)))?;
        Ok(Lease {
            id,
            grant: settled.grant.id,
            node: self.store().node().clone(),
            created_at: approved.now,
            subject: settled.subject.clone(),
            uid: settled.caller.uid(),
            anchor: settled.anchor.clone(),
            on_policy_change: approved.obligations.on_policy_change,
            on_signal_change: approved.obligations.on_signal_change,
            target: target.name.clone(),
            scope: target.scope.clone(),
            session_name: placement.session_name,
            access_until: approved.access_until,
            token_until: placement.token_until,
            place_until: after(placement.token_until, entry_grace),
            ending: approved.ending,
            native_id: None,
            origin: None,
            collapsed: None,
            state: LeaseState::Issuing,
            version: 0,
        })
    }

    /// From the intent on disk to the credential in the caller's hand. Whatever goes wrong on the way, a session that
    /// may exist is ended.
    async fn make_session(&self, settled: &Settled, approved: &Approved, lease: Lease) -> Result<Vended, BrokerError> {
        let said = Said::of(settled);
        let request = issue_request(lease.id, settled, approved, &lease.target, &said);
        let issued = match approved.provider.issue(&request).await {
            Ok(issued) => issued,
            Err(error) if error.may_have_happened() || error.kind == ErrorKind::Conflict => {
                failpoint::hit("issue.in_doubt");
                self.end_for_certain(&lease, EndReason::Abandoned, settled.caller.actor()).await;
                return Err(error.into());
            }
            Err(error) => {
                failpoint::hit("issue.refused");
                let refuse = LeaseEvent::Refuse { at: self.now(), error: error.to_string() };
                self.advance(&lease, &refuse, settled.caller.actor(), json!({ "error": error.to_string() })).await?;
                return Err(error.into());
            }
        };
        failpoint::hit(step(settled, "renew.session_made", "issue.session_made"));
        if let Err(why) = self.still_wanted(settled, approved) {
            failpoint::hit("issue.unwanted");
            let reason = EndReason::NotReleased { reason: why.to_string() };
            self.end_for_certain(&lease, reason, settled.caller.actor()).await;
            return Err(why);
        }
        let grace = approved.provider.capabilities(&approved.plan.account)?.entry_grace;
        let event = LeaseEvent::Issued {
            token_until: issued.token_until,
            place_until: after(issued.token_until, grace),
            native_id: issued.native_id.clone(),
            origin: issued.origin.clone(),
        };
        let recorded = match self.record_issue(settled, approved, &lease, &event, &issued.facts).await {
            Ok(recorded) => recorded,
            Err(error) => {
                // P1: without its record the credential stays here, and the session is taken back.
                let reason = EndReason::NotReleased { reason: error.to_string() };
                self.end_for_certain(&lease, reason, settled.caller.actor()).await;
                return Err(error);
            }
        };
        failpoint::hit(step(settled, "renew.recorded", "issue.recorded"));
        let mut vended = self.release(settled, approved, recorded, issued.credential).await?;
        vended.notes.extend(issued.notes);
        Ok(vended)
    }

    /// Caller, anchor and grant are looked at once more: making a session takes time.
    fn still_wanted(&self, settled: &Settled, approved: &Approved) -> Result<(), BrokerError> {
        if !settled.caller.is_alive() {
            return Err(BrokerError::State("the calling process exited before the credential was ready".to_owned()));
        }
        if self.is_draining() {
            return Err(BrokerError::Draining);
        }
        if self.bundle().version != approved.bundle.version {
            return Err(BrokerError::State(
                "the policy changed while the session was being made: ask again".to_owned(),
            ));
        }
        if !self.are_current(&settled.grant, &approved.delegations) {
            return Err(BrokerError::State(
                "a delegation was taken back while the session was being made: ask again".to_owned(),
            ));
        }
        if self.now() >= approved.access_until {
            return Err(BrokerError::State("making the session took longer than its TTL: ask for more".to_owned()));
        }
        Ok(())
    }

    async fn record_issue(
        &self,
        settled: &Settled,
        approved: &Approved,
        lease: &Lease,
        event: &LeaseEvent,
        facts: &[(String, String)],
    ) -> Result<Lease, BrokerError> {
        let now = self.now();
        let key = lease.anchor.key(lease.uid);
        let active = lease.after(event).map_err(|error| StoreError::Stale { what: error.to_string() })?;
        let mut guards = vec![Guard::GrantActive { grant: lease.grant, at: now }];
        guards.extend(settled.registered.map(|anchor| Guard::AnchorRegistered { anchor }));
        if let Some(limit) = approved.obligations.max_uses {
            guards.push(Guard::CounterBelow { counter: uses_of(lease), member: key.clone(), limit });
        }
        let detail = json!({
            "native_id": active.native_id,
            "origin": active.origin,
            "session_name": active.session_name,
            "access_until": active.access_until,
            "token_until": active.token_until,
            "facts": facts.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        });
        let audit =
            vec![draft(now, "lease.issued", settled.caller.actor(), (Some(lease.grant), Some(lease.id)), detail)];
        // A use is counted with the record of the issue: a failed one uses nothing up.
        let count = Write::Count { counter: uses_of(lease), member: key };
        let writes = vec![Write::UpdateLease(active.clone()), count];
        self.commit_unless_frozen(&settled.grant, Transaction { guards, writes, audit }).await?;
        Ok(active)
    }

    async fn release(
        &self,
        settled: &Settled,
        approved: &Approved,
        lease: Lease,
        credential: grantd_provider_api::Credential,
    ) -> Result<Vended, BrokerError> {
        let policy = approved.bundle.version;
        let live = LiveLease { lease: lease.clone(), credential: Arc::new(credential), policy, served: 0 };
        if !self.inner.live.insert(live) {
            return Err(BrokerError::State(format!("{} was ended while it was being made", lease.id)));
        }
        // A new policy may have come into force while the record was being written, and looked at live leases before
        // this was one of them.
        if self.bundle().version != policy || !self.are_current(&settled.grant, &approved.delegations) {
            let reason = EndReason::NotReleased { reason: "the policy changed while it was being made".to_owned() };
            self.end_for_certain(&lease, reason, settled.caller.actor()).await;
        }
        if lease.anchor.is_watched() {
            self.watch_anchor(&lease).await;
        }
        failpoint::hit(step(settled, "renew.watched", "issue.watched"));
        let hold = matches!(lease.anchor, Anchor::Connection { .. }).then(|| self.hold_guard(&lease));
        let ended = || BrokerError::State(format!("{} ended before it could be handed over", lease.id));
        let credential = self.inner.live.serve(lease.id).ok_or_else(ended)?;
        Ok(Vended { notes: notes(&lease), credential, lease, reused: false, hold })
    }
}

/// How many places one user may take, so that none can take them all: three in four, and never the last of three or more.
/// With two, a lease could have no successor otherwise.
fn share_of(places: u32) -> u32 {
    match places {
        0..=2 => places,
        _ => places.saturating_sub((places / 4).max(1)),
    }
}

/// The deny scopes of these targets, each once, and the places that they have together.
fn together(targets: &[Target]) -> (Vec<DenyScope>, u32) {
    let scopes: BTreeMap<&DenyScope, u32> = targets.iter().map(|target| (&target.scope, target.capacity)).collect();
    let places = scopes.values().fold(0_u32, |sum, capacity| sum.saturating_add(*capacity));
    (scopes.into_keys().cloned().collect(), places)
}

/// The one-shot counter of the tasks that used a grant.
pub(super) fn uses_of(lease: &Lease) -> String {
    uses_of_grant(lease.grant)
}

/// The same, by the grant.
pub(super) fn uses_of_grant(grant: grantd_model::GrantId) -> String {
    format!("uses:{grant}")
}

fn step(settled: &Settled, renewal: &'static str, first: &'static str) -> &'static str {
    if settled.renewal { renewal } else { first }
}

/// What a session says of itself.
struct Said<'a> {
    tags: Vec<(String, String)>,
    grant: String,
    kind: String,
    task: Vec<(&'static str, &'a str)>,
}

impl<'a> Said<'a> {
    fn of(settled: &'a Settled) -> Self {
        let grant = settled.grant.id.to_string();
        let task = settled.grant.request.task.as_ref();
        let parts = task.into_iter().flat_map(|task| {
            let optional = [("attempt", task.attempt.as_deref()), ("job", task.job.as_deref())];
            let optional = optional.into_iter().filter_map(|(name, part)| Some((name, part?)));
            [("system", task.system.as_str()), ("run", task.run.as_str())].into_iter().chain(optional)
        });
        Self {
            tags: vec![
                ("grantd-grant".to_owned(), grant.clone()),
                ("grantd-subject".to_owned(), settled.subject.name.clone()),
            ],
            grant,
            kind: settled.subject.kind.to_string(),
            task: parts.collect(),
        }
    }
}

fn issue_request<'a>(
    lease: LeaseId,
    settled: &'a Settled,
    approved: &'a Approved,
    target: &'a str,
    said: &'a Said<'a>,
) -> IssueRequest<'a> {
    IssueRequest {
        lease,
        slug: &settled.subject.name,
        plan: &approved.plan,
        target,
        now: approved.now,
        access_until: approved.access_until,
        tags: &said.tags,
        source_identity: &settled.subject.name,
        bearer: Bearer {
            grant: &said.grant,
            resource: &settled.grant.request.resource,
            kind: &said.kind,
            name: &settled.subject.name,
            task: &said.task,
        },
    }
}

#[cfg(test)]
mod tests {
    use grantd_provider_api::Cloud;

    use super::*;

    #[test]
    fn nobody_can_take_all_places() {
        let shares: Vec<u32> = [0, 1, 2, 3, 4, 5, 7, 8, 44, 380].map(share_of).to_vec();
        assert_eq!(shares, [0, 1, 2, 2, 3, 4, 6, 6, 33, 285]);
    }

    #[test]
    fn targets_that_share_a_scope_share_its_places() {
        let target = |name: &str, scope: &str, capacity| {
            let scope = DenyScope { cloud: Cloud::Azure, account: "main".to_owned(), name: scope.to_owned() };
            Target { name: name.to_owned(), scope, capacity }
        };
        let (scopes, places) = together(&[target("a", "x", 380), target("b", "x", 380), target("c", "y", 1)]);
        assert_eq!((scopes.len(), places), (2, 381));
    }
}
