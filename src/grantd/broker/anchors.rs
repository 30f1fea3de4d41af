//! Registered anchors: processes that their user asked to be watched, so that everything below them shares their end.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use grantd_model::{Anchor, AnchorId, ProcessRef, RegisteredAnchor};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::vend::AnchorAsk;
use super::{Broker, BrokerError, daemon, draft};
use crate::attest::Caller;
use crate::failpoint;
use crate::store::{Transaction, Write};
use crate::sys::fdstore::Kept;
use crate::sys::watch::Watch;

/// How many anchors one user may have registered at once.
const MAX_PER_USER: usize = 1000;

/// The registered anchors of this node, by process.
#[derive(Debug, Default)]
pub struct Anchors {
    by_process: Mutex<HashMap<ProcessRef, Watched>>,
}

/// An anchor and what stops its watch.
#[derive(Debug)]
struct Watched {
    anchor: RegisteredAnchor,
    over: CancellationToken,
}

impl Anchors {
    fn table(&self) -> MutexGuard<'_, HashMap<ProcessRef, Watched>> {
        self.by_process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, process: &ProcessRef, uid: u32) -> Option<RegisteredAnchor> {
        self.table().get(process).map(|watched| &watched.anchor).filter(|anchor| anchor.uid == uid).cloned()
    }
}

impl Broker {
    /// Watches a process for the caller: one of its own ancestors, of its own user; its parent if none is named.
    ///
    /// # Errors
    /// When the process is no ancestor, is somebody else's, or is over; or nothing can be written.
    pub async fn attach(&self, caller: &Caller, pid: Option<i32>) -> Result<RegisteredAnchor, BrokerError> {
        self.on_record(caller, "anchor.refused", (None, None), move |broker, caller| async move {
            broker.register(&caller, pid).await
        })
        .await
    }

    async fn register(&self, caller: &Caller, pid: Option<i32>) -> Result<RegisteredAnchor, BrokerError> {
        Self::known_subject(caller)?;
        let ancestors = caller.ancestors();
        let process = match pid {
            Some(pid) => ancestors.into_iter().find(|ancestor| ancestor.pid == pid),
            None => ancestors.into_iter().next(),
        };
        let process = process.ok_or_else(|| {
            let which = pid.map_or_else(|| "the caller's parent".to_owned(), |pid| format!("process {pid}"));
            BrokerError::BadRequest(format!(
                "{which} cannot be an anchor: it must be a living ancestor of the caller, and not the init process"
            ))
        })?;
        if let Some(known) = self.inner.anchors.of(&process, caller.uid()) {
            return Ok(known);
        }
        let mine = self.inner.anchors.table().values().filter(|w| w.anchor.uid == caller.uid()).count();
        if mine >= MAX_PER_USER {
            return Err(BrokerError::Busy(format!("uid {} has {mine} anchors already: detach some", caller.uid())));
        }
        let watched = self.inner.fd_store.watch(&process, caller.uid()).map_err(|error| {
            BrokerError::BadRequest(format!("process {} cannot be an anchor: {error}", process.pid))
        })?;
        let anchor = RegisteredAnchor {
            id: AnchorId::new(self.inner.ids.fresh()),
            uid: caller.uid(),
            process,
            created_at: self.now(),
        };
        let audit = vec![draft(anchor.created_at, "anchor.attach", caller.actor(), (None, None), json!(anchor))];
        let writes = vec![Write::InsertAnchor(anchor.clone())];
        self.store().commit(Transaction { guards: Vec::new(), writes, audit }).await?;
        failpoint::hit("anchor.written");
        self.keep_anchor(anchor.clone(), watched);
        Ok(anchor)
    }

    /// Stops watching an anchor; the leases that were taken below it end.
    ///
    /// # Errors
    /// When there is no such anchor of the caller's, or nothing can be written.
    pub async fn detach(&self, caller: &Caller, id: AnchorId) -> Result<(), BrokerError> {
        self.on_record(caller, "anchor.refused", (None, None), move |broker, caller| async move {
            let found = broker.inner.anchors.table().values().find(|w| w.anchor.id == id).map(|w| w.anchor.clone());
            let anchor = found
                .filter(|anchor| anchor.uid == caller.uid() || broker.is_administrator(&caller))
                .ok_or_else(|| BrokerError::NotFound(format!("there is no {id} of yours")))?;
            broker.anchor_is_over(&anchor, "anchor.detach", caller.actor()).await
        })
        .await
    }

    /// Takes up the anchors that an earlier run of the daemon watched.
    pub(super) async fn restore_anchors(&self) -> Result<(), BrokerError> {
        for anchor in self.store().anchors().await? {
            match self.inner.fd_store.watch(&anchor.process, anchor.uid) {
                Ok(watched) => self.keep_anchor(anchor, watched),
                Err(error) => {
                    tracing::info!(anchor = %anchor.id, %error, "an anchor is over since the daemon stopped");
                    self.anchor_is_over(&anchor, "anchor.exit", daemon("reconciler")).await?;
                }
            }
        }
        Ok(())
    }

    fn keep_anchor(&self, anchor: RegisteredAnchor, (watch, kept): (Watch, Kept)) {
        let over = CancellationToken::new();
        let watched = Watched { anchor: anchor.clone(), over: over.clone() };
        self.inner.anchors.table().insert(anchor.process.clone(), watched);
        let broker = self.clone();
        self.inner.tasks.spawn(async move {
            tokio::select! {
                () = watch.ended() => {}
                () = over.cancelled() => return kept.over(),
                () = broker.inner.stopping.cancelled() => return,
            }
            if let Err(error) = broker.anchor_is_over(&anchor, "anchor.exit", daemon("watcher")).await {
                tracing::error!(anchor = %anchor.id, %error, "the exit of an anchor is not on disk");
                return;
            }
            kept.over();
        });
    }

    async fn anchor_is_over(
        &self,
        anchor: &RegisteredAnchor,
        kind: &str,
        actor: grantd_model::Actor,
    ) -> Result<(), BrokerError> {
        // First the anchor, so that no lease is taken below it any more; then the leases. A crash in between loses
        // none of them: each watches the process for itself.
        let audit = vec![draft(self.now(), kind, actor, (None, None), json!(anchor))];
        let writes = vec![Write::RemoveAnchor(anchor.id)];
        self.store().commit(Transaction { guards: Vec::new(), writes, audit }).await?;
        failpoint::hit("anchor.over");
        if let Some(watched) = self.inner.anchors.table().remove(&anchor.process) {
            watched.over.cancel();
        }
        self.end_leases_anchored_in(&anchor.process, anchor.uid).await
    }

    /// What is to end the lease of this caller - only what the kernel proves of it - and the registration of that, if
    /// it rests on one.
    pub(super) fn anchor_for(&self, caller: &Caller, ask: AnchorAsk) -> (Anchor, Option<AnchorId>) {
        let process = caller.process().clone();
        let anchor = match ask {
            AnchorAsk::Connection => Anchor::Connection { process, connection: caller.connection },
            AnchorAsk::Caller => Anchor::Process { process },
            AnchorAsk::Auto | AnchorAsk::Parent => {
                let ancestors = caller.ancestors();
                let registered = ancestors.iter().find_map(|process| self.inner.anchors.of(process, caller.uid()));
                match registered {
                    Some(anchor) => return (Anchor::Process { process: anchor.process }, Some(anchor.id)),
                    None if ask == AnchorAsk::Parent => {
                        Anchor::Unwatched { process: caller.parent().unwrap_or(process) }
                    }
                    None => Anchor::Unwatched { process },
                }
            }
        };
        (anchor, None)
    }
}
