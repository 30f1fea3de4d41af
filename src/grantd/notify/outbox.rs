//! The outbox: for each target a walk along the audit chain, from the place that the store keeps.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use grantd_model::{Actor, AuditDraft};
use grantd_provider_api::Clock;
use jiff::Timestamp;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::event::{self, Event};
use super::target::{Failure, Target};
use crate::store::{Store, StoreError, Transaction, Write};

/// How often a walk that has come to the end of the chain looks whether it goes on.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How many records are read at once.
const BATCH: u32 = 200;

/// After so many records of which nothing was told, the place is kept all the same.
const KEEP_AFTER: u64 = 1_000;

/// The first pause after a failure; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);

/// How often a target may refuse what is not loud before it is passed over, and that is put on record.
const REFUSALS: u32 = 8;

/// Everybody who is told, and how that goes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Outbox(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    targets: Vec<Target>,
    failing: Mutex<BTreeMap<String, Failing>>,
}

#[derive(Debug, Clone)]
struct Failing {
    since: Timestamp,
    why: String,
    kind: String,
}

/// How telling one target goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetHealth {
    /// Its name.
    pub name: String,
    /// Since when it takes nothing, and what it was last told, when it does not.
    pub failing: Option<(Timestamp, String)>,
}

/// Where a walk stands.
struct Walk {
    /// The last record that is dealt with.
    place: u64,
    /// The last one that the store knows to be.
    kept: u64,
}

impl Outbox {
    /// Of `targets`. Tells nobody yet.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, targets: Vec<Target>) -> Self {
        Self(Arc::new(Inner { store, clock, targets, failing: Mutex::default() }))
    }

    /// The names of those who are told.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.targets.iter().map(Target::name)
    }

    /// How each of them is doing.
    #[must_use]
    pub fn health(&self) -> Vec<TargetHealth> {
        let failing = self.failing();
        let of = |name: &str| {
            let failing = failing.get(name).map(|it| (it.since, format!("{} ({})", it.why, it.kind)));
            TargetHealth { name: name.to_owned(), failing }
        };
        self.names().map(of).collect()
    }

    /// Tells everybody everything until `stopping`. What is not told by then is told by the next run.
    pub async fn run(self, stopping: CancellationToken) {
        let walks = self.0.targets.iter().map(|target| self.walk(target, &stopping));
        futures_util::future::join_all(walks).await;
    }

    async fn walk(&self, target: &Target, stopping: &CancellationToken) {
        let mut walk = None;
        let mut pause = FIRST_PAUSE;
        let mut refusals = 0;
        loop {
            // The last revocations wait for this to end: what is being told now is told again by the next run.
            let step = tokio::select! {
                () = stopping.cancelled() => return,
                step = self.step(target, &mut walk, &mut refusals) => step,
            };
            let wait = match step {
                Ok(true) => {
                    pause = FIRST_PAUSE;
                    None
                }
                Ok(false) => Some(LOOK_AGAIN),
                Err(()) => {
                    let now = pause;
                    pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
                    Some(now)
                }
            };
            let wait = async {
                if let Some(wait) = wait {
                    tokio::time::sleep(wait).await;
                }
            };
            tokio::select! {
                () = stopping.cancelled() => return,
                () = wait => {}
            }
        }
    }

    /// One step along the chain: `true` when there may be more at once, `false` at its end, an error when it has to be
    /// tried again after a pause.
    async fn step(&self, target: &Target, walk: &mut Option<Walk>, refusals: &mut u32) -> Result<bool, ()> {
        let outcome = async {
            let walk = match walk {
                Some(walk) => walk,
                None => walk.insert(self.begin(target).await?),
            };
            match self.next(target, walk).await? {
                Found::End => {
                    if walk.place.saturating_sub(walk.kept) >= KEEP_AFTER {
                        self.keep(target, walk, walk.place, Vec::new()).await?;
                    }
                    Ok(Ok(false))
                }
                Found::Nothing => Ok(Ok(true)),
                Found::Event(event) => self.told(target, walk, &event, refusals).await,
            }
        };
        match outcome.await {
            Ok(step) => step,
            Err(error) => {
                tracing::warn!(target = target.name(), %error, "the outbox cannot read or write the store");
                Err(())
            }
        }
    }

    async fn begin(&self, target: &Target) -> Result<Walk, StoreError> {
        let cursor = self.cursor(target);
        if let Some(place) = self.0.store.cursor(&cursor).await? {
            return Ok(Walk { place, kept: place });
        }
        // Somebody new is told what happens from now on, not what happened before.
        let place = self.0.store.head().await?.seq;
        let mut walk = Walk { place, kept: place };
        self.keep(target, &mut walk, place, Vec::new()).await?;
        Ok(walk)
    }

    async fn next(&self, target: &Target, walk: &mut Walk) -> Result<Found, StoreError> {
        let records = self.0.store.audit(walk.place, BATCH).await?;
        let more = records.len() >= usize::try_from(BATCH).unwrap_or(usize::MAX);
        for record in records {
            let grant = match record.draft.grant {
                Some(id) => self.0.store.grant(id).await?,
                None => None,
            };
            if let Some(event) = event::of(&record, grant.as_ref(), target.wanted()) {
                return Ok(Found::Event(Box::new(event)));
            }
            walk.place = record.seq;
        }
        Ok(if more { Found::Nothing } else { Found::End })
    }

    async fn told(
        &self,
        target: &Target,
        walk: &mut Walk,
        event: &Event,
        refusals: &mut u32,
    ) -> Result<Result<bool, ()>, StoreError> {
        let now = self.0.clock.now();
        let failure = match target.tell(event, now).await {
            Ok(()) => {
                self.keep(target, walk, event.seq, Vec::new()).await?;
                self.failing().remove(target.name());
                *refusals = 0;
                return Ok(Ok(true));
            }
            Err(failure) => failure,
        };
        let Failure { why, refused } = failure;
        tracing::warn!(target = target.name(), event = event.id, why, "somebody could not be told; it is tried again");
        *refusals = if refused { refusals.saturating_add(1) } else { *refusals };
        if refused && *refusals >= REFUSALS && !event.loud {
            let detail = json!({ "target": target.name(), "event": event.id, "kind": event.kind, "why": why });
            let audit = AuditDraft {
                at: now,
                kind: "notify.passed_over".to_owned(),
                actor: Actor::Daemon { part: "outbox".to_owned() },
                grant: None,
                lease: None,
                detail,
            };
            self.keep(target, walk, event.seq, vec![audit]).await?;
            *refusals = 0;
        }
        let mut failing = self.failing();
        let since = failing.get(target.name()).map_or(now, |known| known.since);
        failing.insert(target.name().to_owned(), Failing { since, why, kind: event.kind.clone() });
        Ok(Err(()))
    }

    async fn keep(&self, target: &Target, walk: &mut Walk, seq: u64, audit: Vec<AuditDraft>) -> Result<(), StoreError> {
        let writes = vec![Write::Advance { cursor: self.cursor(target), seq }];
        self.0.store.commit(Transaction { guards: Vec::new(), writes, audit }).await?;
        *walk = Walk { place: seq, kept: seq };
        Ok(())
    }

    fn cursor(&self, target: &Target) -> String {
        format!("notify:{}:{}", self.0.store.node(), target.name())
    }

    fn failing(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Failing>> {
        self.0.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Found {
    /// Something to tell.
    Event(Box<Event>),
    /// Nothing so far, and there is more.
    Nothing,
    /// Nothing, and the chain ends.
    End,
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
