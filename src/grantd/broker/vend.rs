//! The way from a caller to a credential: whose grant, which anchor, which TTL - then the live lease again, or a new one.

use std::sync::Arc;
use std::time::Duration;

use grantd_model::{Anchor, AnchorId, Grant, GrantId, GrantPhase, GrantState, Lease, Occurrence, Subject};
use grantd_provider_api::Credential;
use jiff::Timestamp;

use super::watcher::HoldGuard;
use super::{Broker, BrokerError, between};
use crate::attest::Caller;
use crate::failpoint;
use crate::store::GrantFilter;

/// What a caller asks when it wants a credential.
#[derive(Debug, Clone)]
pub struct VendAsk {
    /// Under which grant.
    pub grant: GrantAsk,
    /// For how long, if it matters to the caller.
    pub ttl: Option<Duration>,
    /// What is to end the lease.
    pub anchor: AnchorAsk,
}

/// Under which grant.
#[derive(Debug, Clone)]
pub enum GrantAsk {
    /// This one.
    Id(GrantId),
    /// The caller's one active grant, on this resource if one is named.
    Auto {
        /// The catalogue's name.
        resource: Option<String>,
    },
}

/// What is to end the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnchorAsk {
    /// The nearest registered ancestor, else only the TTL.
    Auto,
    /// As `Auto`, but without a registered ancestor other children of the caller's parent are served the same lease.
    Parent,
    /// The calling process.
    Caller,
    /// The connection.
    Connection,
}

/// A credential and what it rests on.
#[derive(Debug)]
pub struct Vended {
    /// The lease.
    pub lease: Lease,
    /// The secret.
    pub credential: Arc<Credential>,
    /// Whether it was handed out before.
    pub reused: bool,
    /// What the caller should know.
    pub notes: Vec<String>,
    /// For a lease that is anchored in the connection: ends it when dropped.
    pub hold: Option<HoldGuard>,
}

/// Everything that was settled before a session is made.
#[derive(Debug, Clone)]
pub(super) struct Settled {
    pub caller: Caller,
    pub subject: Subject,
    pub grant: Grant,
    /// Until when the grant may be used.
    pub usable_until: Timestamp,
    pub anchor: Anchor,
    /// The registration that the anchor rests on, if it does.
    pub registered: Option<AnchorId>,
    /// What the caller asked for, if it did.
    pub ttl: Option<Duration>,
    /// Whether the same task held a lease under this grant already.
    pub renewal: bool,
}

impl Broker {
    /// Hands out a credential under a grant.
    ///
    /// # Errors
    /// Any of [`BrokerError`]; whenever one is returned, no credential left the daemon, and a session that may exist
    /// in the cloud all the same is being revoked.
    pub async fn vend(&self, caller: &Caller, ask: VendAsk) -> Result<Vended, BrokerError> {
        let grant = match ask.grant {
            GrantAsk::Id(id) => Some(id),
            GrantAsk::Auto { .. } => None,
        };
        let vended = self.vend_or_refuse(caller, ask).await;
        if let Err(refused) = &vended {
            self.record_refusal("lease.refused", caller, (grant, None), refused).await?;
        }
        vended
    }

    async fn vend_or_refuse(&self, caller: &Caller, ask: VendAsk) -> Result<Vended, BrokerError> {
        if self.inner.stopping.is_cancelled() {
            return Err(BrokerError::Stopping);
        }
        if self.is_draining() {
            return Err(BrokerError::Draining);
        }
        let subject = Self::known_subject(caller)?.clone();
        let grant = self.grant_for(&subject, &ask.grant).await?;
        if !subject.same_identity(&grant.request.subject) {
            return Err(BrokerError::NotYours {
                what: grant.id.to_string(),
                owner: grant.request.subject.to_string(),
                you: subject.to_string(),
            });
        }
        let usable_until = self.usable(&grant)?;
        self.unfrozen(&subject, &grant)?;
        let (anchor, registered) = self.anchor_for(caller, ask.anchor);
        let key = anchor.key(caller.uid());
        let turn = self.inner.live.turn(grant.id, &key);
        let turn = turn.lock().await;
        // Waiting for the turn takes time.
        self.unfrozen(&subject, &grant)?;
        let before = self.inner.live.find(grant.id, &key);
        if let Some(vended) = before.as_ref().and_then(|live| self.hand_out_again(caller, live, ask.ttl)) {
            failpoint::hit("renew.served");
            return Ok(vended);
        }
        let renewal = before.is_some();
        let (caller, ttl) = (caller.clone(), ask.ttl);
        let settled = Settled { caller, subject, grant, usable_until, anchor, registered, ttl, renewal };
        let vended = self.issue_to_the_end(settled).await;
        drop(turn);
        vended
    }

    async fn grant_for(&self, subject: &Subject, ask: &GrantAsk) -> Result<Grant, BrokerError> {
        let resource = match ask {
            GrantAsk::Id(id) => {
                let missing = || BrokerError::NotFound(format!("there is no {id}: see grantctl list"));
                return self.store().grant(*id).await?.ok_or_else(missing);
            }
            GrantAsk::Auto { resource } => resource,
        };
        let filter = GrantFilter {
            phases: Some(vec![GrantPhase::Active]),
            identity: Some(format!("{}:{}", subject.issuer, subject.id)),
            resource: resource.clone(),
            ..GrantFilter::default()
        };
        let now = self.now();
        let mut grants = self.store().grants(filter).await?;
        grants.retain(|grant| subject.same_identity(&grant.request.subject) && grant.state.active_until(now).is_some());
        // One that recurs is told of only where no other can be used now.
        if grants.iter().any(|grant| grant.usable_until(now).is_some()) {
            grants.retain(|grant| grant.usable_until(now).is_some());
        }
        let on = resource.as_ref().map(|name| format!(" on \"{name}\"")).unwrap_or_default();
        match (grants.pop(), grants.as_slice()) {
            (Some(only), []) => Ok(only),
            (None, _) => Err(BrokerError::NotFound(format!(
                "you have no active grant{on}: request one with grantctl request --resource NAME --can CAPABILITY"
            ))),
            (Some(last), rest) => Err(BrokerError::State(format!(
                "{} active grants of yours{on} match: name one of {}",
                rest.len().saturating_add(1),
                rest.iter().chain([&last]).map(|grant| grant.id.to_string()).collect::<Vec<_>>().join(", ")
            ))),
        }
    }

    fn usable(&self, grant: &Grant) -> Result<Timestamp, BrokerError> {
        let now = self.now();
        grant.usable_until(now).ok_or_else(|| {
            let id = grant.id;
            if let Some(Occurrence::Between { next }) = grant.occurrence(now) {
                return BrokerError::State(format!("{id} opens again at {next}: ask then"));
            }
            if let GrantState::Scheduled { not_before } = grant.state {
                return BrokerError::State(format!(
                    "{id} is scheduled, and may be used from {not_before} on: ask then"
                ));
            }
            let state = grant.state.phase().as_str();
            let state = if state == "active" { "over" } else { state };
            // Whoever has to do without it is told in the words of whoever took it away.
            let state = match &grant.state {
                GrantState::Revoked { reason, .. } => format!("{state}: {reason};"),
                _ => format!("{state}:"),
            };
            BrokerError::State(format!("{id} is {state} request a new one with grantctl request"))
        })
    }

    /// A live lease for the same anchor, unless so little of it is left that the caller would be back at once. It is
    /// not an issue (promise P1): caller, anchor, grant and policy were just checked or are checked here, in memory.
    fn hand_out_again(&self, caller: &Caller, live: &super::live::LiveLease, ttl: Option<Duration>) -> Option<Vended> {
        let lease = &live.lease;
        let left = between(self.now(), lease.access_until);
        let whole = between(lease.created_at, lease.access_until);
        let fresh = left.saturating_mul(5) >= whole;
        // The end of access was cut to the whole second: asking for the same again must find the same.
        let long_enough = ttl.is_none_or(|ttl| ttl < whole.saturating_add(Duration::from_secs(1)));
        if !fresh || !long_enough || live.policy != self.bundle().version || lease.uid != caller.uid() {
            return None;
        }
        if !caller.is_alive() || !self.anchor_is_alive(lease) {
            return None;
        }
        let credential = self.inner.live.serve(lease.id)?;
        Some(Vended { lease: lease.clone(), credential, reused: true, notes: notes(lease), hold: None })
    }

    /// Issues in a task of its own, which goes on to the end even when the caller hangs up: a session is never left
    /// half-made. What cannot be delivered any more is ended.
    async fn issue_to_the_end(&self, settled: Settled) -> Result<Vended, BrokerError> {
        let (send, receive) = tokio::sync::oneshot::channel();
        let broker = self.clone();
        self.inner.tasks.spawn(async move {
            let result = broker.issue(settled).await;
            if let Err(Ok(undelivered)) = send.send(result) {
                broker.end_undelivered(undelivered.lease).await;
            }
        });
        let died =
            |_| BrokerError::Internal("the issue died inside the daemon; its session is being revoked".to_owned());
        receive.await.map_err(died)?
    }
}

/// What a caller should know about what ends its lease.
pub(super) fn notes(lease: &Lease) -> Vec<String> {
    match lease.anchor {
        Anchor::Unwatched { .. } => vec![
            "nothing but its TTL ends this lease: run grantctl attach once in the job's shell to tie it to the job"
                .to_owned(),
        ],
        Anchor::Process { .. } | Anchor::Connection { .. } => Vec::new(),
    }
}
