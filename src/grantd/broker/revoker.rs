//! Carrying out ends: one task a deny scope gathers them, has the cloud refuse them in one write, and looks whether it
//! does (promise P4). Tried again for ever.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use grantd_model::{Lease, LeaseEvent, LeaseId, LeaseState};
use grantd_provider_api::{Capabilities, Confirmation, DenyEntry, DenyForm, DenyScope, Provider, ProviderError};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{Broker, BrokerError, after, between, daemon, draft};
use crate::failpoint;
use crate::store::{StoreError, Transaction, Write};

/// How long the right to write a deny scope is taken for at a time.
const CLAIM: Duration = Duration::from_secs(30);

/// How often a scope in which something is denied is compared with the store, so that a foreign write is undone.
const PATROL: Duration = Duration::from_secs(60);

/// How long to wait after a failure: at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// How soon to look again whether the cloud refuses, once it should.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How many leases are written in one transaction.
const CHUNK: usize = 100;

/// Wakes the task of each scope.
#[derive(Debug, Default)]
pub struct Nudges {
    scopes: Mutex<HashMap<DenyScope, Arc<Notify>>>,
}

/// What one round left to do.
enum Next {
    /// Nothing until something ends.
    Rest,
    /// Look again after this time.
    After(Duration),
}

/// What a task remembers between rounds; losing it costs one needless look at the cloud.
#[derive(Default)]
struct Memory {
    denied: Option<BTreeMap<LeaseId, DenyForm>>,
    looked_at: Option<Timestamp>,
    collapse_at: Option<Timestamp>,
}

impl Broker {
    /// Has the ended leases of `scope` refused by the cloud, soon.
    pub(super) fn revoke_soon(&self, scope: &DenyScope) {
        let mut scopes = self.inner.revoker.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        let nudge = scopes.entry(scope.clone()).or_insert_with(|| {
            let nudge = Arc::new(Notify::new());
            let (broker, scope, woken) = (self.clone(), scope.clone(), Arc::clone(&nudge));
            self.keep_running("a revoker", async move { broker.revoke_for_ever(scope, woken).await });
            nudge
        });
        nudge.notify_one();
    }

    /// One last round for every scope, after the tasks have ended.
    pub(super) async fn revoke_once_more(&self) {
        let scopes: Vec<DenyScope> = {
            let scopes = self.inner.revoker.scopes.lock().unwrap_or_else(PoisonError::into_inner);
            scopes.keys().cloned().collect()
        };
        for scope in scopes {
            let waits = self.store().denied(&scope, self.now()).await.is_ok_and(|l| l.iter().any(waits_for_acceptance));
            if !waits && self.inner.live.deferred().is_empty() {
                continue;
            }
            if let Err(error) = self.revoke_round(&scope, &mut Memory::default()).await {
                tracing::error!(%scope, %error, "stopping before the cloud took every revocation: the next start goes on");
            }
        }
    }

    async fn revoke_for_ever(self, scope: DenyScope, nudge: Arc<Notify>) {
        let mut memory = Memory::default();
        let mut backoff = BACKOFF.0;
        loop {
            let wait = match self.revoke_round(&scope, &mut memory).await {
                Ok(next) => {
                    backoff = BACKOFF.0;
                    match next {
                        Next::Rest => PATROL,
                        Next::After(time) => time,
                    }
                }
                Err(error) => {
                    tracing::error!(%scope, %error, "revocation is late: the cloud does not take it; trying again");
                    memory = Memory::default();
                    let wait = backoff;
                    backoff = backoff.saturating_mul(2).min(BACKOFF.1);
                    // After a failure a new end does not hurry us: the cloud is being paced.
                    if !self.pause(wait).await {
                        return;
                    }
                    continue;
                }
            };
            tokio::select! {
                () = nudge.notified() => {}
                () = tokio::time::sleep(wait) => continue,
                () = self.inner.stopping.cancelled() => return,
            }
            // Others that end in the same moment go into the same write.
            let window = self.capabilities_of(&scope).map_or(Duration::ZERO, |(_, c)| c.batch_window);
            if !self.pause(window).await {
                return;
            }
        }
    }

    fn capabilities_of(&self, scope: &DenyScope) -> Result<(Arc<dyn Provider>, Capabilities), BrokerError> {
        let provider = self.provider(scope.cloud)?;
        let capabilities = provider.capabilities(&scope.account)?;
        let capabilities = self.with_measured(scope.cloud, &scope.account, capabilities);
        Ok((provider, capabilities))
    }

    async fn revoke_round(&self, scope: &DenyScope, memory: &mut Memory) -> Result<Next, BrokerError> {
        let (provider, capabilities) = self.capabilities_of(scope)?;
        let now = self.now();
        if !self.may_write(scope, now).await {
            return Ok(Next::After(CLAIM / 2));
        }
        let leases = self.to_be_denied(scope, now).await?;
        let entries = self.entries_of(&leases).await?;
        let waiting: Vec<&Lease> = leases.values().filter(|lease| waits_for_acceptance(lease)).collect();
        let patrol = memory.looked_at.is_none_or(|at| between(at, now) >= PATROL) && !entries.is_empty();
        let wanted: BTreeMap<LeaseId, DenyForm> = entries.iter().map(|entry| (entry.lease, entry.form)).collect();
        let changed = memory.denied.as_ref() != Some(&wanted);
        let due = memory.collapse_at.is_some_and(|at| at <= now);
        if changed || patrol || due || !waiting.is_empty() {
            match provider.deny(scope, &entries, now).await {
                Ok(receipt) => {
                    failpoint::hit("revoke.denied");
                    *memory = Memory { denied: Some(wanted), looked_at: Some(now), collapse_at: receipt.collapse_at };
                    // What had to be written again is felt from this write on, not from the one that was lost.
                    let unconfirmed = |lease: &&Lease| matches!(lease.state, LeaseState::Revoking { .. });
                    let accepted: Vec<&Lease> = match receipt.unchanged {
                        true => waiting,
                        false => leases.values().filter(|l| waits_for_acceptance(l) || unconfirmed(l)).collect(),
                    };
                    let accept = |_: &Lease| LeaseEvent::Accept { at: self.now(), version: receipt.version.clone() };
                    self.advance_all(&accepted, &accept, json!({ "version": receipt.version })).await?;
                    failpoint::hit("revoke.accepted");
                    self.mark_collapsed(scope, &receipt).await?;
                }
                Err(error) => {
                    failpoint::hit("revoke.late");
                    let failed = |_: &Lease| LeaseEvent::RevocationFailed { error: error.to_string() };
                    // The same failure again is no news: an outage does not fill the audit.
                    let news: Vec<&Lease> = waiting.into_iter().filter(|lease| !failed_by(lease, &error)).collect();
                    self.advance_all(&news, &failed, json!({ "error": error.to_string() })).await?;
                    return Err(error.into());
                }
            }
        }
        let next = self.confirm_round(scope, provider.as_ref(), &capabilities, memory).await?;
        Ok(match (memory.collapse_at, next) {
            (None, next) => next,
            (Some(at), Next::Rest) => Next::After(between(now, at).max(LOOK_AGAIN).min(PATROL)),
            (Some(at), Next::After(time)) => Next::After(between(now, at).max(LOOK_AGAIN).min(time)),
        })
    }

    /// Looks whether the cloud refuses what it accepted long enough ago.
    async fn confirm_round(
        &self,
        scope: &DenyScope,
        provider: &dyn Provider,
        capabilities: &Capabilities,
        memory: &mut Memory,
    ) -> Result<Next, BrokerError> {
        let now = self.now();
        let denied = self.store().denied(scope, now).await?;
        let accepted: Vec<(&Lease, Timestamp)> = denied
            .iter()
            .filter_map(|lease| match &lease.state {
                LeaseState::Revoking { accepted: Some(accepted), .. } => {
                    // Seen in force is not yet felt everywhere: nothing is claimed before the worst case.
                    Some((lease, after(accepted.at, capabilities.worst_propagation)))
                }
                _ => None,
            })
            .collect();
        let due: Vec<&Lease> = accepted.iter().filter(|(_, felt)| *felt <= now).map(|(lease, _)| *lease).collect();
        let mut open = accepted.len();
        if !due.is_empty() {
            let entries: Vec<DenyEntry> = due.iter().map(|lease| lease.entry()).collect();
            let answers = provider.confirm(scope, &entries).await?;
            let confirmed: Vec<&Lease> = due
                .iter()
                .zip(answers)
                .filter(|(_, answer)| *answer == Confirmation::InForce)
                .map(|(lease, _)| *lease)
                .collect();
            let confirm = |_: &Lease| LeaseEvent::Confirm { at: self.now() };
            self.advance_all(&confirmed, &confirm, Value::Null).await?;
            failpoint::hit("revoke.confirmed");
            open = open.saturating_sub(confirmed.len());
            if confirmed.len() < due.len() {
                // Somebody wrote over it, or the answer was old: the next round writes again rather than trust it.
                memory.looked_at = None;
            }
        }
        let soonest = accepted.iter().map(|(_, felt)| between(now, *felt)).min().unwrap_or_default();
        Ok(if open == 0 { Next::Rest } else { Next::After(soonest.max(LOOK_AGAIN)) })
    }

    /// Whether this node is the one that writes the scope. When the store cannot say, it writes: two writers find each
    /// other out, no writer would leave sessions alive.
    async fn may_write(&self, scope: &DenyScope, now: Timestamp) -> bool {
        let claim = self.store().claim(&format!("deny:{scope}"), now, after(now, CLAIM)).await;
        claim.unwrap_or(true)
    }

    /// Everything the cloud has to refuse in `scope`: what the store says, open intents that nobody works on, and ends
    /// that could not be written yet.
    async fn to_be_denied(&self, scope: &DenyScope, now: Timestamp) -> Result<BTreeMap<LeaseId, Lease>, BrokerError> {
        let mut leases: BTreeMap<LeaseId, Lease> =
            self.store().denied(scope, now).await?.into_iter().map(|lease| (lease.id, lease)).collect();
        let deferred = self.inner.live.deferred().into_iter().map(|(lease, _)| lease);
        for lease in self.orphans().await?.into_iter().chain(deferred) {
            if lease.scope == *scope && lease.ending.is_deniable() && now < lease.place_until {
                leases.entry(lease.id).or_insert(lease);
            }
        }
        Ok(leases)
    }

    /// Writes many leases after their event. One that changed meanwhile is left for the next round.
    async fn advance_all(
        &self,
        leases: &[&Lease],
        event: &(dyn Fn(&Lease) -> LeaseEvent + Sync),
        detail: Value,
    ) -> Result<(), BrokerError> {
        for chunk in leases.chunks(CHUNK) {
            if !self.advance_chunk(chunk, event, &detail).await? {
                for lease in chunk {
                    self.advance_chunk(&[lease], event, &detail).await?;
                }
            }
        }
        Ok(())
    }

    /// Whether nothing had changed meanwhile, so that the leases were written.
    async fn advance_chunk(
        &self,
        leases: &[&Lease],
        event: &(dyn Fn(&Lease) -> LeaseEvent + Sync),
        detail: &Value,
    ) -> Result<bool, BrokerError> {
        let now = self.now();
        let mut transaction = Transaction::default();
        for lease in leases {
            let event = event(lease);
            let Ok(next) = lease.after(&event) else { continue };
            let kind = format!("lease.{}", event.name());
            let about = (Some(lease.grant), Some(lease.id));
            transaction.audit.push(draft(now, kind, daemon("revoker"), about, detail.clone()));
            transaction.writes.push(Write::UpdateLease(next));
        }
        if transaction.writes.is_empty() {
            return Ok(true);
        }
        match self.store().commit(transaction).await {
            Ok(_) => Ok(true),
            Err(StoreError::Stale { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn failed_by(lease: &Lease, by: &ProviderError) -> bool {
    matches!(&lease.state, LeaseState::RevokeFailed { error, .. } if *error == by.message)
}

fn waits_for_acceptance(lease: &Lease) -> bool {
    matches!(lease.state, LeaseState::Revoking { accepted: None, .. } | LeaseState::RevokeFailed { .. })
}
