//! Draining: nothing is vended any more, and every lease of this node ends while there still is a network to say so.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use grantd_model::{EndReason, Lease, LeaseId, LeasePhase, LeaseState};
use jiff::Timestamp;
use serde_json::json;

use super::{Broker, BrokerError, daemon};
use crate::attest::Caller;
use crate::failpoint;
use crate::store::LeaseFilter;

/// How often it is looked for leases that are still live, such as those that were in the making.
const ROUND: Duration = Duration::from_millis(250);

/// Whether this node drains. In memory only: the next start serves again.
#[derive(Debug, Default)]
pub struct Drain {
    begun: Mutex<Option<Begun>>,
}

/// A drain, and every lease that it has to see to its end.
#[derive(Debug)]
struct Begun {
    since: Timestamp,
    leases: BTreeSet<LeaseId>,
}

/// How far a drain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainState {
    /// Since when nothing is vended.
    pub since: Timestamp,
    /// How many leases it has to see to their end.
    pub leases: u64,
    /// Of those: not ended yet.
    pub live: u64,
    /// Of those: ended, but the cloud has not taken the revocation.
    pub unaccepted: u64,
    /// Of those: expiring sooner than a revocation would be felt.
    pub expiring: u64,
    /// Until when one of them may at worst still act.
    pub worst_case_until: Option<Timestamp>,
}

impl DrainState {
    /// How many leases the cloud took the revocation of, or are over.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.leases.saturating_sub(self.live).saturating_sub(self.unaccepted).saturating_sub(self.expiring)
    }

    /// Whether there is nothing to wait for but the end of what expires by itself.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.live == 0 && self.unaccepted == 0
    }
}

impl Drain {
    fn begun(&self) -> MutexGuard<'_, Option<Begun>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins; says whether it had not yet.
    fn begin(&self, now: Timestamp) -> bool {
        let mut begun = self.begun();
        let first = begun.is_none();
        begun.get_or_insert(Begun { since: now, leases: BTreeSet::new() });
        first
    }
}

impl Broker {
    /// Begins to drain this node, or finds that begun: it vends nothing until it is started again, and its leases end.
    /// That goes on by itself; the answer says how far it is.
    ///
    /// # Errors
    /// When the caller is no administrator, or the store cannot be read. When it cannot be written the node drains all
    /// the same, and the log says that it is not on record.
    pub async fn drain(&self, caller: &Caller) -> Result<DrainState, BrokerError> {
        self.on_record(caller, "drain.refused", (None, None), |broker, caller| async move {
            broker.must_be_administrator(&caller, "draining this node")?;
            if broker.inner.drain.begin(broker.now()) {
                let detail = json!({ "node": broker.node() });
                if let Err(error) = broker.record("drain.begin", caller.actor(), (None, None), detail).await {
                    tracing::error!(%error, "the node drains, and that is not on disk");
                }
                failpoint::hit("drain.begun");
                broker.keep_running("the drain", broker.clone().drain_to_the_end());
            }
            broker.drain_state().await
        })
        .await
    }

    /// How far the drain of this node is.
    ///
    /// # Errors
    /// When the caller may not see everything, this node does not drain, or the store cannot be read.
    pub async fn see_drain(&self, caller: &Caller) -> Result<DrainState, BrokerError> {
        self.must_be_auditor(caller, "the state of the drain")?;
        self.drain_state().await
    }

    /// Whether this node vends nothing any more.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.inner.drain.begun().is_some()
    }

    /// Ends what is live until nothing is and the cloud took it all. What the cloud does not take is tried again by the
    /// revokers, for ever.
    async fn drain_to_the_end(self) {
        loop {
            match self.drain_round().await {
                Ok(state) if state.is_complete() => {
                    let detail =
                        json!({ "leases": state.leases, "settled": state.settled(), "expiring": state.expiring });
                    match self.record("drain.complete", daemon("drain"), (None, None), detail).await {
                        Ok(()) => return,
                        Err(error) => tracing::error!(%error, "that the node is drained is not on disk yet"),
                    }
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "a round of the drain did not get through; trying again"),
            }
            if !self.pause(ROUND).await {
                return;
            }
        }
    }

    async fn drain_round(&self) -> Result<DrainState, BrokerError> {
        let mut failed = None;
        for lease in self.open_leases().await? {
            // One that is being made is ended by its maker, or in a later round.
            if lease.state == LeaseState::Active
                && let Err(error) = self.end_lease(lease.id, EndReason::Drained, daemon("drain")).await
            {
                self.inner.live.defer(lease, EndReason::Drained);
                failed = Some(error);
            }
        }
        match failed {
            Some(error) => Err(error),
            None => self.drain_state().await,
        }
    }

    async fn drain_state(&self) -> Result<DrainState, BrokerError> {
        let open = self.open_leases().await?;
        let mut begun = self.inner.drain.begun();
        let begun = begun.as_mut().ok_or_else(|| {
            BrokerError::NotFound("this node does not drain: an administrator begins it with grantctl drain".to_owned())
        })?;
        let (mut live, mut unaccepted, mut expiring, mut worst) = (0_u64, 0_u64, 0_u64, None);
        for lease in open {
            let count = match lease.state {
                LeaseState::Issuing | LeaseState::Active => &mut live,
                LeaseState::Revoking { accepted: None, .. } | LeaseState::RevokeFailed { .. } => &mut unaccepted,
                LeaseState::Expiring { .. } => &mut expiring,
                _ => continue,
            };
            *count = count.saturating_add(1);
            worst = worst.max(lease.worst_case_until());
            begun.leases.insert(lease.id);
        }
        let leases = u64::try_from(begun.leases.len()).unwrap_or(u64::MAX);
        Ok(DrainState { since: begun.since, leases, live, unaccepted, expiring, worst_case_until: worst })
    }

    async fn open_leases(&self) -> Result<Vec<Lease>, BrokerError> {
        let filter = LeaseFilter {
            phases: Some(LeasePhase::OPEN.to_vec()),
            node: Some(self.store().node().clone()),
            ..LeaseFilter::default()
        };
        Ok(self.store().leases(filter).await?)
    }
}
