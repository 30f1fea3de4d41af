//! The one writer of an allow policy: changes that come together go into one read and one write, no more often than the
//! configured pace, and what somebody else wrote meanwhile is read again and kept.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use grantd_provider_api::{ErrorKind, LeaseId, ProviderError};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};

use crate::limits::ACCOUNT_WRITE_INTERVAL;
use crate::link::{Link, nothing_done};
use crate::policy::{Policy, Wanted};
use crate::resource::Resource;

/// How often a write is tried again when somebody else was faster.
const ATTEMPTS: u32 = 8;

/// How long to wait before the second try; each further one waits for twice as long.
const BACKOFF: Duration = Duration::from_millis(25);

/// How often a write is tried again when there were too many, and how long to wait before (Cloud Storage, "Quotas and
/// limits": one update of a bucket's metadata a second).
const THROTTLED_ATTEMPTS: u32 = 4;
const SLOW_DOWN: Duration = Duration::from_millis(1_100);

/// What is to become of a policy.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// All of these, or none.
    Add(Vec<Wanted>),
    /// Everything of these leases goes.
    Remove(Vec<LeaseId>),
    /// What ended by itself goes.
    Tidy,
}

/// The policy is as the change wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Done {
    /// The policy's etag now.
    pub etag: String,
    /// Whether it had to be written for that.
    pub written: bool,
}

/// The time between writes.
#[derive(Debug, Default)]
pub(crate) struct Pace(tokio::sync::Mutex<Option<Instant>>);

impl Pace {
    /// Waits for a turn, and takes it.
    async fn take(&self, interval: Duration) {
        let mut next = self.0.lock().await;
        if let Some(at) = *next {
            sleep_until(at).await;
        }
        *next = Instant::now().checked_add(interval);
    }

    /// Waits until a turn could be taken.
    async fn wait(&self) {
        let next = *self.0.lock().await;
        if let Some(at) = next {
            sleep_until(at).await;
        }
    }

    /// A write has just ended.
    async fn written(&self, interval: Duration) {
        *self.0.lock().await = Instant::now().checked_add(interval);
    }
}

type Reply = oneshot::Sender<Result<Done, ProviderError>>;

#[derive(Debug, Default)]
struct Queue {
    jobs: Vec<(Change, Reply)>,
    running: bool,
}

/// A policy and its writer.
#[derive(Debug)]
pub(crate) struct Writer {
    link: Link,
    resource: Resource,
    interval: Duration,
    own: Pace,
    shared: Arc<Pace>,
    queue: Mutex<Queue>,
}

impl Writer {
    /// The writer of the policy of `resource`; writes of the whole account keep the pace `shared`.
    pub fn new(link: Link, resource: Resource, interval: Duration, shared: Arc<Pace>) -> Self {
        Self { link, resource, interval, own: Pace::default(), shared, queue: Mutex::default() }
    }

    /// Has the policy changed. Changes are made in the order in which they are asked for, also when nobody waits for one
    /// any more: what was added is found by the removal that comes after it.
    ///
    /// # Errors
    /// Any. Only one that [may have happened](ProviderError::may_have_happened) can have changed the policy.
    pub async fn change(self: &Arc<Self>, change: Change) -> Result<Done, ProviderError> {
        let (reply, answer) = oneshot::channel();
        let start = {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.jobs.push((change, reply));
            !std::mem::replace(&mut queue.running, true)
        };
        if start {
            let writer = Arc::clone(self);
            tokio::spawn(async move { writer.run().await });
        }
        answer.await.unwrap_or_else(|_| {
            let text = format!("the writer of {} stopped; whether it was done is unknown", self.resource);
            Err(ProviderError::new(ErrorKind::Unknown, text))
        })
    }

    async fn run(&self) {
        loop {
            self.own.wait().await;
            let jobs = {
                let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
                let jobs = std::mem::take(&mut queue.jobs);
                queue.running = !jobs.is_empty();
                jobs
            };
            if jobs.is_empty() {
                return;
            }
            let (changes, replies): (Vec<_>, Vec<_>) = jobs.into_iter().unzip();
            for (outcome, reply) in self.batch(&changes).await.into_iter().zip(replies) {
                // Whoever asked may be gone; the change was made all the same.
                let _ = reply.send(outcome);
            }
        }
    }

    async fn batch(&self, changes: &[Change]) -> Vec<Result<Done, ProviderError>> {
        let mut backoff = BACKOFF;
        for attempt in 1..=ATTEMPTS {
            let found = match self.link.read(&self.resource).await {
                Ok(found) => found,
                Err(error) => return changes.iter().map(|_| Err(error.clone())).collect(),
            };
            let (policy, refused) = self.apply(&found, changes);
            let answer = |done: &Result<Done, ProviderError>| -> Vec<_> {
                refused.iter().map(|refusal| refusal.clone().map_or_else(|| done.clone(), Err)).collect()
            };
            if policy == found {
                return answer(&Ok(Done { etag: found.etag().to_owned(), written: false }));
            }
            self.shared.take(ACCOUNT_WRITE_INTERVAL).await;
            let written = self.link.write(&self.resource, &policy).await;
            self.own.written(self.interval).await;
            match written {
                Ok(written) => return answer(&Ok(Done { etag: written.etag().to_owned(), written: true })),
                Err(error) if error.kind == ErrorKind::Conflict && attempt < ATTEMPTS => {
                    tracing::debug!(resource = %self.resource, attempt, "somebody else wrote the policy; reading it again");
                    sleep(backoff).await;
                    backoff = backoff.saturating_mul(2);
                }
                // Somebody else writes there too: our own pace is not all that counts.
                Err(error) if error.kind == ErrorKind::Throttled && attempt < THROTTLED_ATTEMPTS => {
                    tracing::debug!(resource = %self.resource, attempt, "too many writes of the policy; waiting");
                    sleep(SLOW_DOWN).await;
                }
                Err(error) => return answer(&Err(conflict_is_busy(error))),
            }
        }
        Vec::new()
    }

    /// The policy after all changes, and for each change why it cannot be made.
    fn apply(&self, found: &Policy, changes: &[Change]) -> (Policy, Vec<Option<ProviderError>>) {
        let pool = self.link.config.subject_prefix();
        let now = self.link.clock.now();
        let mut policy = found.clone();
        let mut refused = Vec::new();
        for change in changes {
            let before = policy.clone();
            let outcome = match change {
                Change::Add(wanted) => {
                    // Room that only something dead takes is made first.
                    policy.tidy(&pool, now);
                    wanted.iter().try_for_each(|one| policy.add(one))
                }
                Change::Remove(leases) => {
                    policy.remove(&pool, |ours| leases.contains(&ours.lease));
                    Ok(())
                }
                Change::Tidy => {
                    policy.tidy(&pool, now);
                    Ok(())
                }
            };
            refused.push(outcome.err().map(|why| {
                policy = before;
                let text = format!("account \"{}\": {}: {why}", self.link.config.name, self.resource);
                ProviderError::new(ErrorKind::Capacity, text)
            }));
        }
        (policy, refused)
    }
}

/// Nothing was written by a write that lost every race. `Conflict` would mean more to the caller.
fn conflict_is_busy(error: ProviderError) -> ProviderError {
    match error.kind {
        ErrorKind::Conflict => ProviderError::new(
            ErrorKind::Throttled,
            format!("{} each time, {ATTEMPTS} times: nothing was written, try again later", error.message),
        ),
        // An answer of a write that makes no sense proves nothing.
        ErrorKind::Unknown | ErrorKind::ClockSkew => error,
        ErrorKind::Unreachable => nothing_done(error),
        _ => error,
    }
}
