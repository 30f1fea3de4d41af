//! One source: asked with a time limit, by few at once, and remembered.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use grantd_model::Signal;
use grantd_provider_api::{Clock, Secret};
use jiff::Timestamp;
use reqwest::Client;
use reqwest::header::HeaderName;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

use super::breaker::Breaker;
use super::calendar::{self, Calendar};
use super::look::{About, Wanted};
use super::memory::Memory;
use super::on_call::OnCall;
use super::ticket::Ticket;
use super::{Failure, FailureKind};
use crate::config::{CalendarPlace, Endpoint, SignalSettings, SignalSource};

/// How a calendar's file is read: it is for the reader to refuse what the wrong people can write.
pub type Reader = Arc<dyn Fn(&Path) -> Result<String, String> + Send + Sync>;

/// How many looks one source is asked for at once.
const AT_ONCE: usize = 8;

/// How a source stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its configured name.
    pub name: String,
    /// What it tells.
    pub signal: Signal,
    /// What it failed by last, if it has not worked since.
    pub error: Option<String>,
    /// How often it told.
    pub told: u64,
    /// How often it failed to.
    pub failed: u64,
}

/// One source.
pub(super) struct Source {
    pub(super) settings: SignalSettings,
    pub(super) client: Client,
    pub(super) proof: Option<(HeaderName, Secret)>,
    pub(super) file: Reader,
    pub(super) places: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    breaker: Breaker,
    memory: Memory<Told>,
    told: u64,
    failed: u64,
    asking: BTreeMap<String, Arc<Asking>>,
}

/// One look that is under way, for all who want the same.
#[derive(Debug)]
struct Asking {
    since: Timestamp,
    told: OnceCell<Result<Arc<Told>, Failure>>,
}

/// Takes part in a look; whoever leaves it, done or not, leaves it to those who are in it.
struct Taking<'a> {
    source: &'a Source,
    key: &'a str,
    asking: Arc<Asking>,
}

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        let mut state = self.source.state();
        if state.asking.get(self.key).is_some_and(|asking| Arc::ptr_eq(asking, &self.asking)) {
            state.asking.remove(self.key);
        }
    }
}

/// What a source told.
#[derive(Debug)]
pub(super) enum Told {
    Ticket(Ticket),
    OnCall(OnCall),
    Calendar(Calendar),
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Source").field(&self.settings.name).finish()
    }
}

impl Source {
    pub fn new(
        settings: SignalSettings,
        client: Client,
        secret: &dyn Fn(&Path) -> Result<Secret, String>,
        file: Reader,
    ) -> Result<Self, String> {
        let at = |problem: String| format!("grantd.toml: signal {:?}: {problem}", settings.name);
        let endpoint = match &settings.source {
            SignalSource::Ticket { endpoint, .. } | SignalSource::OnCall { endpoint, .. } => Some(endpoint),
            SignalSource::Calendar { place, time_zone, .. } => {
                if !calendar::is_zone(time_zone) {
                    return Err(at(format!(
                        "time_zone: {time_zone:?} is not known: write a name such as Europe/Berlin"
                    )));
                }
                match place {
                    CalendarPlace::Url(endpoint) => Some(endpoint),
                    CalendarPlace::File(_) => None,
                }
            }
        };
        let proof = match endpoint {
            Some(Endpoint { header, secret: Some(path), .. }) => {
                let name = HeaderName::from_bytes(header.as_bytes()).map_err(|error| at(error.to_string()))?;
                let text = secret(path).map_err(at)?;
                Some((name, Secret::new(text.expose().trim().to_owned())))
            }
            _ => None,
        };
        let (places, state) = (Semaphore::new(AT_ONCE), Mutex::default());
        Ok(Self { settings, client, proof, file, places, state })
    }

    pub fn settings(&self) -> &SignalSettings {
        &self.settings
    }

    pub fn standing(&self) -> Standing {
        let state = self.state();
        Standing {
            name: self.settings.name.clone(),
            signal: self.settings.signal(),
            error: state.breaker.last_error().map(str::to_owned),
            told: state.told,
            failed: state.failed,
        }
    }

    /// Whether this is one to ask about it.
    pub fn tells(&self, signal: Signal, about: &About<'_>) -> bool {
        let fits = match &self.settings.source {
            SignalSource::Ticket { ids, .. } => about.ticket.is_some_and(|ticket| ids.digits(ticket).is_some()),
            SignalSource::OnCall { .. } => true,
            SignalSource::Calendar { environments, .. } => {
                environments.is_empty() || environments.contains(about.environment)
            }
        };
        fits && self.settings.signal() == signal
    }

    /// What it tells, and how long ago it was asked.
    pub async fn told(
        &self,
        wanted: &Wanted,
        about: &About<'_>,
        now: Timestamp,
        clock: &dyn Clock,
    ) -> Result<(Arc<Told>, Duration), Failure> {
        let key = self.key(about);
        if let Some(young) = self.state().memory.young(key, now, wanted.max_age) {
            return Ok(young);
        }
        let taking = self.take_part(key, now, wanted.max_age);
        let since = taking.asking.since;
        match taking.asking.told.get_or_init(|| self.ask(key, since, clock)).await.clone() {
            Ok(told) => Ok((told, Duration::try_from(clock.now().duration_since(since)).unwrap_or_default())),
            Err(failure) => {
                let now = clock.now();
                let last = wanted.last_good.filter(|_| failure.kind == FailureKind::Away);
                last.and_then(|oldest| self.state().memory.young(key, now, oldest)).ok_or(failure)
            }
        }
    }

    /// The look that is under way, unless it began longer ago than `max_age`, or a new one.
    fn take_part<'a>(&'a self, key: &'a str, now: Timestamp, max_age: Duration) -> Taking<'a> {
        let mut state = self.state();
        let young = |asking: &&Arc<Asking>| {
            Duration::try_from(now.duration_since(asking.since)).is_ok_and(|age| age <= max_age)
        };
        let asking = match state.asking.get(key).filter(young) {
            Some(asking) => Arc::clone(asking),
            None => {
                let asking = Arc::new(Asking { since: now, told: OnceCell::new() });
                state.asking.insert(key.to_owned(), Arc::clone(&asking));
                asking
            }
        };
        drop(state);
        Taking { source: self, key, asking }
    }

    /// What is remembered, unless it is older than `oldest`.
    pub fn recall(&self, about: &About<'_>, now: Timestamp, oldest: Duration) -> Option<(Arc<Told>, Duration)> {
        self.state().memory.young(self.key(about), now, oldest)
    }

    /// By what its answers are told apart.
    fn key<'a>(&self, about: &About<'a>) -> &'a str {
        match &self.settings.source {
            SignalSource::Ticket { .. } => about.ticket.unwrap_or_default(),
            _ => "",
        }
    }

    async fn ask(&self, key: &str, now: Timestamp, clock: &dyn Clock) -> Result<Arc<Told>, Failure> {
        self.state().breaker.admit(now)?;
        let began = AtomicBool::new(false);
        let asked = tokio::time::timeout(self.settings.timeout, async {
            let _place = self.place(clock).await?;
            began.store(true, Ordering::Relaxed);
            Ok(self.fetch(key, now).await)
        });
        let told = match asked.await {
            Ok(Ok(told)) => told,
            // It was not asked, so that says nothing of it.
            Ok(Err(failure)) => return Err(failure),
            Err(_) if !began.load(Ordering::Relaxed) => return Err(Failure::away("too many wait for it")),
            Err(_) => Err(Failure::away(format!("no answer in {} s", self.settings.timeout.as_secs()))),
        };
        let mut state = self.state();
        // What one of many tickets says is nothing that the source is told of by.
        let held = |failure: &&Failure| failure.kind != FailureKind::Unfit || key.is_empty();
        state.breaker.record(told.as_ref().err().filter(held), clock.now());
        match told {
            Ok(told) => {
                let told = Arc::new(told);
                state.told = state.told.saturating_add(1);
                state.memory.keep(key.to_owned(), now, Arc::clone(&told));
                Ok(told)
            }
            Err(failure) => {
                state.failed = state.failed.saturating_add(1);
                if failure.kind != FailureKind::Away {
                    state.memory.forget(key);
                }
                drop(state);
                tracing::warn!(source = self.settings.name, why = failure.why, "a signal could not be had");
                Err(failure)
            }
        }
    }

    /// A place among the few that ask at once. Whoever had to wait for one asks only if the source is still to be asked.
    async fn place(&self, clock: &dyn Clock) -> Result<SemaphorePermit<'_>, Failure> {
        if let Ok(place) = self.places.try_acquire() {
            return Ok(place);
        }
        let place = self.places.acquire().await.map_err(|_| Failure::away("it is not asked any more"))?;
        self.state().breaker.admit(clock.now())?;
        Ok(place)
    }

    /// About what it told last, and when.
    pub(super) fn newest(&self) -> Option<(String, Timestamp)> {
        self.state().memory.newest().map(|(key, at)| (key.to_owned(), at))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
