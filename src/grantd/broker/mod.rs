//! The one room that touches grants and leases together: request, issue, end, and the tasks that watch over them.
//!
//! Every step is decided by a pure machine of the model, made durable together with its audit record, and only then
//! acted upon. What a lease needs in memory - its credential, the watch on its anchor - is in `live`; it can be lost
//! at any moment without anything becoming untrue.

mod allow;
mod anchors;
mod approvals;
mod approve;
mod bootstrap;
mod collapse;
mod decline;
mod delegate;
mod drain;
mod end;
mod error;
mod escalate;
mod examine;
mod explain;
mod export;
mod extend;
mod facts;
mod freeze;
mod gauges;
mod glass;
mod glass_rules;
mod import;
mod issue;
mod issuer;
mod live;
mod mass;
mod matter;
mod propagation;
mod prove;
mod query;
pub(crate) mod quorum;
pub(crate) mod reach;
mod reaper;
mod reconciler;
mod reload;
mod report;
mod request;
mod review;
mod revoker;
mod signals;
mod signed;
mod sweep;
mod vend;
mod watcher;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use grantd_model::{Actor, AuditDraft, Delegation, GrantId, LeaseId, Propagation, Subject};
use grantd_provider_api::{Clock, Cloud, IdSource, Provider};
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attest::Caller;
use crate::issuer::Issuer;
use crate::policy::{Bundle, Signers};
use crate::signal::Lookout;
use crate::store::Store;
use crate::sys::fdstore::FdStore;

pub use approvals::{ApprovalState, CapacityState, ExtensionState, GivenState, GrantApprovals};
pub use approve::ApproveAsk;
pub use delegate::DelegateAsk;
pub use drain::DrainState;
pub use error::BrokerError;
pub use examine::{Tally, Told};
pub use explain::{Explained, KeptBundle};
pub use export::{Exported, Exporter};
pub use freeze::Cover;
pub use gauges::Gauges;
pub use glass::GlassAsk;
pub use mass::MassEnd;
pub use prove::{Proof, ProveAsk};
pub use query::{GrantsAsk, LeasesAsk, RevocationState};
pub use report::Report;
pub use request::RequestAsk;
pub use review::{CompleteAsk, Repeats};
pub use signed::SignedWord;
pub use vend::{AnchorAsk, GrantAsk, VendAsk, Vended};
pub use watcher::HoldGuard;

/// How long a connection that was lost because the daemon stopped may take to come back (promise P13).
const RECONNECT_GRACE: Duration = Duration::from_secs(30);

/// How many sessions of one account may be in the making at once: beyond that a slow account answers "busy" instead of
/// gathering tasks (promise P11).
const MAX_ISSUING_PER_ACCOUNT: usize = 128;

/// What the broker is given.
#[derive(Debug)]
pub struct Parts {
    /// Where state and audit are kept.
    pub store: Arc<dyn Store>,
    /// The adapters.
    pub providers: BTreeMap<Cloud, Arc<dyn Provider>>,
    /// The policy to start with.
    pub bundle: Arc<Bundle>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub ids: Arc<dyn IdSource>,
    /// What systemd keeps for us over a restart.
    pub fd_store: FdStore,
    /// The daemon's own issuers of tokens, opened.
    pub issuers: Vec<Arc<Issuer>>,
    /// Where facts are looked up.
    pub lookout: Lookout,
    /// How grants are handed to other hosts, if they are.
    pub exporter: Option<Exporter>,
    /// The settings that concern the broker.
    pub settings: Settings,
}

/// The settings that concern the broker.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The TTL of a lease when the caller asks for none.
    pub default_ttl: Duration,
    /// Users who may see and end everything.
    pub administrators: Vec<u32>,
    /// Users who may see everything.
    pub auditors: Vec<u32>,
    /// When what is granted again and again is reviewed.
    pub repeats: Repeats,
    /// Who has to sign policy bundles, unless anybody may bring one.
    pub signers: Option<Signers>,
}

/// The broker. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Broker {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Store>,
    providers: BTreeMap<Cloud, Arc<dyn Provider>>,
    bundle: ArcSwap<Bundle>,
    policy_alarm: ArcSwapOption<String>,
    /// Wakes the watch over signals before its time.
    look_again: tokio::sync::Notify,
    decide_again: AtomicBool,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    fd_store: FdStore,
    issuers: Vec<Arc<Issuer>>,
    lookout: Lookout,
    exporter: Option<Exporter>,
    escalating: std::sync::Mutex<BTreeSet<GrantId>>,
    keys: tokio::sync::Mutex<()>,
    settings: Settings,
    live: live::Live,
    anchors: anchors::Anchors,
    freezes: ArcSwap<freeze::Board>,
    delegations: ArcSwap<Vec<Delegation>>,
    measured: ArcSwap<Vec<Propagation>>,
    proving: Arc<tokio::sync::Mutex<()>>,
    revoker: revoker::Nudges,
    drain: drain::Drain,
    started_at: Timestamp,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

impl Broker {
    /// A broker at rest; [`Broker::start`] sets it going.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let started_at = parts.clock.now();
        Self {
            inner: Arc::new(Inner {
                store: parts.store,
                providers: parts.providers,
                bundle: ArcSwap::new(parts.bundle),
                policy_alarm: ArcSwapOption::empty(),
                look_again: tokio::sync::Notify::new(),
                decide_again: AtomicBool::new(false),
                clock: parts.clock,
                ids: parts.ids,
                fd_store: parts.fd_store,
                issuers: parts.issuers,
                lookout: parts.lookout,
                exporter: parts.exporter,
                escalating: std::sync::Mutex::default(),
                keys: tokio::sync::Mutex::default(),
                settings: parts.settings,
                live: live::Live::default(),
                anchors: anchors::Anchors::default(),
                freezes: ArcSwap::default(),
                delegations: ArcSwap::default(),
                measured: ArcSwap::default(),
                proving: Arc::default(),
                revoker: revoker::Nudges::default(),
                drain: drain::Drain::default(),
                started_at,
                stopping: CancellationToken::new(),
                tasks: TaskTracker::new(),
            }),
        }
    }

    /// Puts right whatever an earlier run left behind, then starts the reaper, the revokers and the reconciler.
    /// Must be called once, before the first request.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn start(&self) -> Result<(), BrokerError> {
        self.keep_first_bundle().await?;
        self.read_freezes().await?;
        self.read_delegations().await?;
        self.read_propagations().await?;
        // Before the clouds are asked anything: they may be asked with tokens.
        self.tend_issuers().await?;
        self.reconcile_at_start().await?;
        self.keep_running("the reaper", self.clone().reap_for_ever());
        self.keep_running("the keeper of keys", self.clone().tend_issuers_for_ever());
        self.keep_running("the watch over signals", self.clone().watch_signals_for_ever());
        self.keep_running("the watch over repeats", self.clone().watch_repeats_for_ever());
        self.keep_running("the reconciler", self.clone().reconcile_for_ever());
        for provider in self.inner.providers.values() {
            self.keep_running("the sweeper", self.clone().sweep_for_ever(Arc::clone(provider)));
        }
        Ok(())
    }

    /// Takes no more work. What is under way goes on; no lease ends.
    pub fn begin_stop(&self) {
        self.inner.stopping.cancel();
    }

    /// Waits, for `patience` at most, until what was under way is on disk, and has the cloud refuse what was ended
    /// until now: after this nobody is there to do it. To be called when no request is served any more.
    pub async fn finish(&self, patience: Duration) {
        self.inner.tasks.close();
        let last = async {
            self.inner.tasks.wait().await;
            self.revoke_once_more().await;
        };
        if tokio::time::timeout(patience, last).await.is_err() {
            tracing::warn!("stopping before everything was finished; the rest is done at the next start");
        }
    }

    /// Ends when the broker is told to stop.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.inner.stopping.clone()
    }

    /// The policy in force.
    #[must_use]
    pub fn bundle(&self) -> Arc<Bundle> {
        self.inner.bundle.load_full()
    }

    /// Whether `caller` may see and end everything.
    #[must_use]
    pub fn is_administrator(&self, caller: &Caller) -> bool {
        self.inner.settings.administrators.contains(&caller.uid())
    }

    /// Whether `caller` may see everything.
    #[must_use]
    pub fn is_auditor(&self, caller: &Caller) -> bool {
        self.is_administrator(caller) || self.inner.settings.auditors.contains(&caller.uid())
    }

    fn store(&self) -> &dyn Store {
        self.inner.store.as_ref()
    }

    fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    fn provider(&self, cloud: Cloud) -> Result<Arc<dyn Provider>, BrokerError> {
        self.inner.providers.get(&cloud).cloned().ok_or_else(|| {
            BrokerError::State(format!(
                "no account of {cloud} is configured: ask an operator to add one to grantd.toml"
            ))
        })
    }

    /// Runs `work` for ever, beside everything else; it must end by itself when the broker stops. If it dies, nobody
    /// would reap, reconcile or revoke any more and nothing would show it: then the whole daemon dies, to be started
    /// again on its state.
    pub fn keep_running(&self, what: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let work = tokio::spawn(work);
        self.inner.tasks.spawn(async move {
            // Cancelled is not dead: so it ends with the runtime.
            if let Err(error) = work.await
                && error.is_panic()
            {
                tracing::error!(what, %error, "a task that nothing works without has died: the daemon dies with it");
                std::process::abort();
            }
        });
    }

    /// Runs `work` in a task of its own, which goes on to its end even when the caller hangs up half-way: what was
    /// begun is never left half-done.
    async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, BrokerError>> + Send + 'static,
    ) -> Result<T, BrokerError> {
        let died = |error| BrokerError::Internal(format!("the request died inside the daemon: {error}"));
        self.inner.tasks.spawn(work).await.map_err(died)?
    }

    /// Sleeps, or says that the broker is stopping.
    async fn pause(&self, time: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(time) => true,
            () = self.inner.stopping.cancelled() => false,
        }
    }

    /// As [`Broker::to_the_end`], with a refusal put on record as `kind`.
    async fn on_record<T, F>(
        &self,
        caller: &Caller,
        kind: &'static str,
        about: (Option<GrantId>, Option<LeaseId>),
        work: impl FnOnce(Self, Caller) -> F,
    ) -> Result<T, BrokerError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, BrokerError>> + Send + 'static,
    {
        let (broker, caller) = (self.clone(), caller.clone());
        let work = work(broker.clone(), caller.clone());
        self.to_the_end(async move {
            let result = work.await;
            if let Err(refused) = &result {
                broker.record_refusal(kind, &caller, about, refused).await?;
            }
            result
        })
        .await
    }

    fn known_subject(caller: &Caller) -> Result<&Subject, BrokerError> {
        caller.subject.as_ref().ok_or(BrokerError::UnknownCaller { uid: caller.uid() })
    }
}

/// A record about a grant or a lease.
fn draft(
    at: Timestamp,
    kind: impl Into<String>,
    actor: Actor,
    about: (Option<GrantId>, Option<LeaseId>),
    detail: serde_json::Value,
) -> AuditDraft {
    AuditDraft { at, kind: kind.into(), actor, grant: about.0, lease: about.1, detail }
}

/// A part of the daemon as an actor.
fn daemon(part: &str) -> Actor {
    Actor::Daemon { part: part.to_owned() }
}

/// `at` plus `time`, or the end of time.
fn after(at: Timestamp, time: Duration) -> Timestamp {
    SignedDuration::try_from(time).ok().and_then(|time| at.checked_add(time).ok()).unwrap_or(Timestamp::MAX)
}

/// How long it is from `from` to `to`; nothing when `to` is earlier.
fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}
