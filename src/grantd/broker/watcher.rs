//! Watching for the end of a task: a process through its pidfd, a connection through the guard that it holds.

use grantd_model::{Anchor, EndReason, Lease, LeaseId, LeasePhase, LeaseState, ProcessRef};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{Broker, BrokerError, RECONNECT_GRACE, daemon};
use crate::attest::Caller;
use crate::store::LeaseFilter;
use crate::sys::watch::Watch;

/// Ends its lease when dropped, unless the daemon is stopping: a connection lost for that reason is no task end.
#[derive(Debug)]
pub struct HoldGuard {
    broker: Broker,
    lease: Lease,
    number: u64,
    ended: CancellationToken,
    runtime: Handle,
}

impl HoldGuard {
    /// Resolves when the lease has ended, for whatever reason.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Which lease is held.
    #[must_use]
    pub fn lease(&self) -> LeaseId {
        self.lease.id
    }
}

impl Drop for HoldGuard {
    fn drop(&mut self) {
        let latest = self.broker.inner.live.let_go(self.lease.id, self.number);
        if !latest || self.broker.inner.stopping.is_cancelled() {
            return;
        }
        let (broker, lease) = (self.broker.clone(), self.lease.clone());
        let work = async move {
            broker.end_for_certain(&lease, EndReason::ConnectionClosed, daemon("watcher")).await;
        };
        self.broker.inner.tasks.spawn_on(work, &self.runtime);
    }
}

impl Broker {
    /// Takes up a lease again whose connection was lost with an earlier run of the daemon. Only the process that held
    /// it may, and only until the grace is over.
    ///
    /// # Errors
    /// When the lease is not such a one, or not the caller's.
    pub async fn hold_again(&self, caller: &Caller, id: LeaseId) -> Result<(Lease, HoldGuard), BrokerError> {
        let lease = self.see_lease(caller, id).await?;
        let mine = matches!(&lease.anchor, Anchor::Connection { process, .. } if process == caller.process());
        if !mine || lease.uid != caller.uid() {
            return Err(BrokerError::State(format!("{id} is not held by a connection of this process")));
        }
        if lease.state != LeaseState::Active {
            return Err(BrokerError::State(format!("{id} is {}: take a new one", lease.state.phase().as_str())));
        }
        let guard = self.hold_guard(&lease);
        // It may have ended while the hold was taken: then nobody would tell the holder.
        let now = self.lease_or_missing(id).await?;
        if now.state != LeaseState::Active {
            return Err(BrokerError::State(format!("{id} is {}: take a new one", now.state.phase().as_str())));
        }
        Ok((lease, guard))
    }

    pub(super) fn hold_guard(&self, lease: &Lease) -> HoldGuard {
        let (number, ended) = self.inner.live.hold(lease.id);
        HoldGuard { broker: self.clone(), lease: lease.clone(), number, ended, runtime: Handle::current() }
    }

    /// Watches the anchor process of a lease; one that cannot be proved to live has ended.
    pub(super) async fn watch_anchor(&self, lease: &Lease) {
        let (watch, kept) = match self.inner.fd_store.watch(lease.anchor.process(), lease.uid) {
            Ok(watched) => watched,
            Err(error) => {
                tracing::warn!(lease = %lease.id, %error, "the anchor of a lease is over, or cannot be watched");
                let reason = match error.means_ended() {
                    true => EndReason::AnchorExited,
                    false => EndReason::NotReleased { reason: format!("its anchor cannot be watched: {error}") },
                };
                self.end_for_certain(lease, reason, daemon("watcher")).await;
                return;
            }
        };
        let (broker, watched, over) = (self.clone(), lease.clone(), self.inner.live.watch(lease.id));
        self.inner.tasks.spawn(async move {
            tokio::select! {
                () = watch.ended() => {}
                () = over.cancelled() => return kept.over(),
                () = broker.inner.stopping.cancelled() => return,
            }
            // Let go before the end is written: nothing of it is needed any more. What systemd keeps is needed until
            // then, in case that this process dies before.
            drop(watch);
            broker.end_for_certain(&watched, EndReason::AnchorExited, daemon("watcher")).await;
            kept.over();
        });
    }

    /// Gives a connection that was lost with an earlier run of the daemon its time to come back.
    pub(super) fn await_reconnection(&self, lease: &Lease) {
        let (broker, lease) = (self.clone(), lease.clone());
        self.inner.tasks.spawn(async move {
            if broker.pause(RECONNECT_GRACE).await && !broker.inner.live.is_held(lease.id) {
                broker.end_for_certain(&lease, EndReason::ConnectionClosed, daemon("watcher")).await;
            }
        });
    }

    /// Whether the anchor process of a lease lives, asked of the kernel now. What is not a watched process counts as
    /// living: its end comes from elsewhere.
    pub(super) fn anchor_is_alive(&self, lease: &Lease) -> bool {
        match &lease.anchor {
            Anchor::Process { process } => Watch::open(process, lease.uid).is_ok_and(|watch| !watch.has_ended()),
            Anchor::Connection { .. } | Anchor::Unwatched { .. } => true,
        }
    }

    /// Ends every lease that is anchored in a process.
    pub(super) async fn end_leases_anchored_in(&self, process: &ProcessRef, uid: u32) -> Result<(), BrokerError> {
        let filter = LeaseFilter {
            phases: Some(vec![LeasePhase::Issuing, LeasePhase::Active]),
            uid: Some(uid),
            node: Some(self.store().node().clone()),
            ..LeaseFilter::default()
        };
        for lease in self.store().leases(filter).await? {
            if matches!(&lease.anchor, Anchor::Process { process: anchored } if anchored == process) {
                self.end_for_certain(&lease, EndReason::AnchorExited, daemon("watcher")).await;
            }
        }
        Ok(())
    }
}
