//! The credential of one `exec` or `agent`: taken, renewed while the grant is active, and given back. It is in memory here and goes
//! to nobody but who asks for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use grantd_wire::{AnchorChoice, EndRequest, GrantView, LeaseView, ProblemKind, Vend, Vended};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc::UnboundedSender;

use super::notice::Notice;
use crate::client::{Client, ClientError};
use crate::exit::{Exit, Failure};
use crate::secret::Secret;

/// What share of a lease's life is left when it is renewed: less than the fifth below which the daemon makes a new one and
/// does not hand out the same again.
const RENEW_AT: i32 = 6;

/// How often the grant and the lease are looked at, and how long anything may be slept through a change of the clock.
const LOOK: Duration = Duration::from_secs(5);

/// For how long a refusal stands before the daemon is asked again.
const REFUSED_FOR: SignedDuration = SignedDuration::from_secs(2);

/// How long giving back may take before it is left to the daemon, which watches this process.
const GIVE_BACK: Duration = Duration::from_secs(5);

/// How long to wait before a daemon that was not there is tried again at the end.
const KNOCK_AGAIN: Duration = Duration::from_millis(200);

/// Where the time comes from.
pub(crate) type Clock = fn() -> Timestamp;

/// What happens beside the command.
pub(crate) enum News {
    /// Something to say on standard error.
    Note(String),
    /// The credential is another one now.
    Renewed(Arc<Current>),
}

/// A credential and its times. It has no `Debug`.
pub(crate) struct Current {
    /// The secret.
    pub(crate) secret: Secret,
    /// Its lease.
    pub lease: String,
    /// When access ends.
    pub until: Timestamp,
    renew_at: Timestamp,
}

/// Why there is no credential, for the command's client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// How a command that ends for it exits.
    pub exit: Exit,
    /// Whether asking again soon can help.
    pub retryable: bool,
    /// The kind of problem.
    pub code: &'static str,
    /// What a person reads.
    pub message: String,
}

/// Whether another credential is taken for one that is over or was taken away, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// Never.
    Never,
    /// In time; for one that was taken away, when the command's client asks.
    WhenAsked,
    /// In time; for one that was taken away, at once and until there is one: nobody asks for what is in a file.
    Always,
}

/// Takes, renews and gives back.
pub(crate) struct Keeper {
    client: Client,
    grant: String,
    ttl: Option<u64>,
    renewal: Renewal,
    now: Clock,
    news: UnboundedSender<News>,
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    current: Option<Arc<Current>>,
    /// Every lease that may still live.
    taken: Vec<(String, Timestamp)>,
    refused: Option<(Timestamp, Refusal)>,
    over: Option<String>,
}

impl Current {
    fn new(vended: Vended, client: &Client) -> Result<Self, ClientError> {
        let Vended { lease, credential, .. } = vended;
        let time = |text: &str| text.parse::<Timestamp>().map_err(|_| client.garbage("a lease without its times"));
        let (since, until) = (time(&lease.created_at)?, time(&lease.access_until)?);
        let renew_at = until.saturating_sub(until.duration_since(since) / RENEW_AT).unwrap_or(until);
        Ok(Self { secret: Secret::from(credential), lease: lease.id, until, renew_at })
    }
}

impl Keeper {
    /// Takes the first credential, under `grant` or the one that `auto` finds on `resource`.
    pub(crate) async fn start(
        client: Client,
        (grant, resource): (String, Option<String>),
        ttl: Option<u64>,
        renewal: Renewal,
        (now, news): (Clock, UnboundedSender<News>),
    ) -> Result<(Arc<Self>, Arc<Current>), Failure> {
        let vend = Vend { grant, ttl_seconds: ttl, anchor: AnchorChoice::Caller, resource };
        let vended = client.post::<_, Vended>("/v1/leases", &vend).await?.value;
        for note in &vended.notes {
            let _ = news.send(News::Note(note.clone()));
        }
        let (grant, first) = (vended.lease.grant.clone(), Arc::new(Current::new(vended, &client)?));
        let renewal = match (renewal, &first.secret) {
            // It is in a file, whatever was asked for.
            (Renewal::WhenAsked, Secret::Token(_)) => Renewal::Always,
            (renewal, _) => renewal,
        };
        let state = State {
            current: Some(Arc::clone(&first)),
            taken: vec![(first.lease.clone(), first.until)],
            ..State::default()
        };
        let (turn, state) = (tokio::sync::Mutex::default(), Mutex::new(state));
        Ok((Arc::new(Self { client, grant, ttl, renewal, now, news, turn, state }), first))
    }

    /// The grant that it rests on.
    pub(crate) fn grant(&self) -> &str {
        &self.grant
    }

    /// The present moment.
    pub(super) fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// A credential that lives now. One that is to be renewed is handed out while that is done.
    pub(super) async fn credential(self: &Arc<Self>) -> Result<Arc<Current>, Refusal> {
        let now = (self.now)();
        match self.living(now) {
            Some(current) if now < current.renew_at => Ok(current),
            Some(current) => {
                let keeper = Arc::clone(self);
                tokio::spawn(async move { keeper.renewed().await.map(drop) });
                Ok(current)
            }
            None => self.renewed().await,
        }
    }

    /// The credential that lives now, if there is one, without asking for another.
    pub(crate) fn present(&self) -> Option<Arc<Current>> {
        self.living((self.now)())
    }

    /// Why there was no other credential when one was asked for last, or that access is over.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        let state = self.state();
        state.over.as_deref().map(over).or_else(|| state.refused.as_ref().map(|(_, refusal)| refusal.clone()))
    }

    /// Renews in time and watches the grant, until it is dropped.
    pub(crate) async fn keep(self: Arc<Self>, mut notice: Notice) {
        let mut pause = Duration::ZERO;
        loop {
            let now = (self.now)();
            let due = self.due();
            let until_due = due.and_then(|due| Duration::try_from(due.duration_since(now)).ok());
            let sleep = match due {
                Some(_) => until_due.unwrap_or(pause).min(LOOK),
                None => LOOK,
            };
            tokio::time::sleep(sleep).await;
            if due.is_some_and(|due| (self.now)() >= due) {
                pause = match self.renewed().await {
                    Ok(_) => Duration::ZERO,
                    Err(_) => pause.saturating_mul(2).clamp(Duration::from_secs(2), Duration::from_secs(30)),
                };
            }
            self.look(&mut notice).await;
        }
    }

    /// From when on the daemon is to be asked for another credential, if it is to be at all.
    fn due(&self) -> Option<Timestamp> {
        let state = self.state();
        match (self.renewal, &state.current) {
            (Renewal::Never, _) => None,
            (_, Some(current)) => Some(current.renew_at),
            (Renewal::Always, None) if state.over.is_none() => Some(Timestamp::MIN),
            (Renewal::Always | Renewal::WhenAsked, None) => None,
        }
    }

    /// Gives back what was taken: the grant itself with all leases, if it was requested for this command.
    pub(crate) async fn end(&self, grant_too: bool) {
        let work = async {
            // A lease that is being made is waited for; what is not made by then ends with this process.
            let _turn = self.turn.lock().await;
            let now = (self.now)();
            let taken = std::mem::take(&mut self.state().taken);
            if grant_too {
                self.complete(format!("/v1/grants/{}/complete", self.grant)).await;
                return;
            }
            for (lease, _) in taken.iter().filter(|(_, until)| *until > now) {
                self.complete(format!("/v1/leases/{lease}/complete")).await;
            }
        };
        if tokio::time::timeout(GIVE_BACK, work).await.is_err() {
            self.note("grantd did not take the lease back yet; it does when it sees that this process has ended");
        }
    }

    async fn complete(&self, target: String) {
        loop {
            match self.client.post::<_, serde_json::Value>(&target, &EndRequest::default()).await {
                Ok(_) => return,
                Err(error) if error.is_absence() || error.is_stopping() => tokio::time::sleep(KNOCK_AGAIN).await,
                // It is over already.
                Err(ClientError::Problem(problem))
                    if matches!(problem.kind(), Some(ProblemKind::State | ProblemKind::NotFound)) =>
                {
                    return;
                }
                Err(error) => {
                    self.note(&format!("{error}; what is left ends with this process"));
                    return;
                }
            }
        }
    }

    /// The credential, if it lives and nobody took it away.
    fn living(&self, now: Timestamp) -> Option<Arc<Current>> {
        self.state().current.clone().filter(|current| now < current.until)
    }

    /// A renewed credential; one at a time asks the daemon. While the old one lives it serves in place of a refusal.
    async fn renewed(&self) -> Result<Arc<Current>, Refusal> {
        let _turn = self.turn.lock().await;
        let now = (self.now)();
        if let Some(current) = self.living(now).filter(|current| now < current.renew_at) {
            return Ok(current);
        }
        if let Some(refusal) = self.standing(now) {
            return Err(refusal);
        }
        match self.take().await {
            Ok(current) => {
                let current = Arc::new(current);
                let mut state = self.state();
                let was_refused = state.refused.take().is_some();
                state.taken.retain(|(lease, until)| *until > now && *lease != current.lease);
                state.taken.push((current.lease.clone(), current.until));
                state.current = Some(Arc::clone(&current));
                drop(state);
                let _ = self.news.send(News::Renewed(Arc::clone(&current)));
                if was_refused {
                    self.note("the credential is renewed again");
                }
                Ok(current)
            }
            Err(error) => {
                let refusal = refusal(error);
                let mut state = self.state();
                let known = state.refused.as_ref().is_some_and(|(_, known)| known.message == refusal.message);
                state.refused = Some((now, refusal.clone()));
                drop(state);
                if !known {
                    self.note(&format!("the credential cannot be renewed: {}", refusal.message));
                }
                Err(refusal)
            }
        }
    }

    /// Why the daemon is not asked now, if it is not.
    fn standing(&self, now: Timestamp) -> Option<Refusal> {
        let state = self.state();
        if let Some(over) = &state.over {
            return Some(self::over(over));
        }
        let (at, refusal) = state.refused.as_ref()?;
        (now.duration_since(*at) < REFUSED_FOR).then(|| refusal.clone())
    }

    /// Takes another credential. Near the end of the grant there may be less than was asked for at first: then as much as
    /// there is.
    async fn take(&self) -> Result<Current, ClientError> {
        let vend =
            |ttl| Vend { grant: self.grant.clone(), ttl_seconds: ttl, anchor: AnchorChoice::Caller, resource: None };
        let taken = match self.client.post::<_, Vended>("/v1/leases", &vend(self.ttl)).await {
            Err(ClientError::Problem(problem)) if problem.kind() == Some(ProblemKind::Limit) && self.ttl.is_some() => {
                let allowed = problem.limit.filter(|limit| self.ttl.is_some_and(|ttl| *limit < ttl));
                let Some(allowed) = allowed else { return Err(ClientError::Problem(problem)) };
                self.client.post::<_, Vended>("/v1/leases", &vend(Some(allowed))).await
            }
            other => other,
        };
        Current::new(taken?.value, &self.client)
    }

    /// Looks at the grant and at the lease, and says what the command's user should know.
    async fn look(&self, notice: &mut Notice) {
        let grant = self.client.get::<_, GrantView>(&format!("/v1/grants/{}", self.grant), &()).await;
        let now = (self.now)();
        let said = notice.of_grant(grant.ok().map(|answer| answer.value).as_ref(), now);
        {
            let mut state = self.state();
            state.over = notice.over().map(str::to_owned);
            if state.over.is_some() {
                state.current = None;
            }
        }
        said.into_iter().for_each(|text| self.note(&text));
        let Some(current) = self.state().current.clone() else { return };
        let lease = self.client.get::<_, LeaseView>(&format!("/v1/leases/{}", current.lease), &()).await;
        let Ok(lease) = lease.map(|answer| answer.value) else { return };
        let ended = !matches!(lease.state.as_str(), "active" | "issuing");
        let mut state = self.state();
        let still = state.current.as_ref().is_some_and(|now| now.lease == lease.id);
        if ended && still {
            state.current = None;
            drop(state);
            // That its time is over is no news: it was told with it, or it is being renewed.
            if (self.now)() < current.until {
                let reason = lease.reason.as_deref().unwrap_or(&lease.state);
                let because = lease.because.map(|because| format!(", {because}")).unwrap_or_default();
                let more = match self.renewal {
                    Renewal::Never => "",
                    Renewal::WhenAsked => "; grantd is asked for another when the command needs one",
                    Renewal::Always => "; grantd is asked for another",
                };
                self.note(&format!("{} ended: {reason}{because}{more}", lease.id));
            }
        }
    }

    fn note(&self, text: &str) {
        // Nobody listens any more when the command has ended.
        let _ = self.news.send(News::Note(text.to_owned()));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn over(why: &str) -> Refusal {
    Refusal { exit: Exit::State, retryable: false, code: "over", message: why.to_owned() }
}

fn refusal(error: ClientError) -> Refusal {
    let (retryable, code) = match &error {
        ClientError::Problem(problem) => (problem.retryable, problem.kind().map_or("refused", ProblemKind::name)),
        ClientError::NotUnderstood { .. } | ClientError::TooLarge => (false, "internal"),
        _ => (true, "unreachable"),
    };
    let failure = Failure::from(error);
    Refusal { exit: failure.exit(), retryable, code, message: failure.line().unwrap_or_default().to_owned() }
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
