//! Proving revocation: two sessions are vended by the way that every session takes, one is revoked, and the cloud is
//! asked until it refuses that one - and still serves the other. Their credentials never leave the daemon.
//!
//! They are held under grants of a subject of the daemon's own, which policy judges like any other and no caller can
//! be. Nobody approves them, so only resources of tier low are used. Whatever happens on the way, the grants end: here,
//! with the process that asked, or at the next start.

use std::sync::Arc;
use std::time::Duration;

use grantd_model::{
    Actor, EndReason, GrantEvent, GrantId, GrantPhase, LeaseState, PropagationSample, Subject, SubjectKind, Tier,
};
use grantd_provider_api::{Capability, Cloud, Narrowing, Need, Persistence, Provider, Revocation, Trial};
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::bootstrap::needs;
use super::examine::{Tell, Told};
use super::vend::{AnchorAsk, GrantAsk, VendAsk, Vended};
use super::{Broker, BrokerError, RequestAsk, between, daemon};
use crate::attest::Caller;
use crate::store::GrantFilter;

/// How often the cloud is asked.
const POLL: Duration = Duration::from_millis(250);

/// How many refusals in a row count: one front of a cloud may know before the others do.
const REFUSALS: u32 = 3;

/// How long a new session may take at least until it works: more where the cloud needs more to spread a change.
const BIRTH: Duration = Duration::from_secs(20);

/// The shortest and the longest life of the two sessions. The longest is what the shipped policy allows, and a cloud that
/// takes half an hour to spread a change needs it.
const TTL: (Duration, Duration) = (Duration::from_secs(120), Duration::from_secs(3_300));

/// How long before the end of a session its refusal proves nothing any more: it may be the end that refuses.
const MARGIN: Duration = Duration::from_secs(5);

/// What is to be proved with.
#[derive(Debug, Clone)]
pub struct ProveAsk {
    /// The cloud.
    pub cloud: Cloud,
    /// The configured account; any when left out.
    pub account: Option<String>,
    /// The catalogue's name of the resource; any of tier low when left out.
    pub resource: Option<String>,
    /// The capability; any that can be tried when left out.
    pub capability: Option<Capability>,
}

/// How long a revocation took.
#[derive(Debug, Clone)]
pub struct Proof {
    /// With what.
    pub need: Need,
    /// The native name of what was tried.
    pub action: String,
    /// From the decision to end the session until the cloud refused it.
    pub felt: Duration,
    /// From that decision until the cloud accepted the deny, if that was seen.
    pub accepted: Option<Duration>,
    /// How often that was measured in the account, this time included.
    pub samples: u64,
}

/// Whose the two sessions are. The issuer is the daemon itself: the people table makes no such subject.
pub(super) fn subject() -> Subject {
    Subject {
        kind: SubjectKind::Service,
        issuer: "grantd".to_owned(),
        id: "doctor".to_owned(),
        name: "grantd-doctor".to_owned(),
    }
}

impl Broker {
    /// Measures how long a revocation takes to be felt.
    ///
    /// # Errors
    /// When the caller is no administrator, there is nothing to prove it with, it is being proved already, or nothing
    /// can be recorded.
    pub async fn prove(&self, caller: &Caller, ask: ProveAsk) -> Result<UnboundedReceiver<Told>, BrokerError> {
        self.on_record(caller, "doctor.refused", (None, None), move |broker, caller| async move {
            broker.must_be_administrator(&caller, "proving revocation")?;
            if broker.inner.stopping.is_cancelled() {
                return Err(BrokerError::Stopping);
            }
            let need = broker.choose(&ask)?;
            let busy = || BrokerError::Busy("revocation is being proved already: wait until that is done".to_owned());
            let turn = Arc::clone(&broker.inner.proving).try_lock_owned().map_err(|_| busy())?;
            let detail = json!({
                "cloud": ask.cloud, "account": need.plan.account, "resource": need.resource,
                "capability": need.capability,
            });
            broker.record("doctor.prove", caller.actor(), (None, None), detail).await?;
            let (tell, told) = unbounded_channel();
            let worker = broker.clone();
            broker.inner.tasks.spawn(async move {
                let outcome = worker.prove_and_clean_up(&caller, need, &tell).await;
                drop(turn);
                let _ = tell.send(match outcome {
                    Ok(proof) => Told::Proof(Box::new(proof)),
                    Err(error) => Told::Failed(error),
                });
            });
            Ok(told)
        })
        .await
    }

    /// The first thing that fits: on a resource of tier low, revocable, leaving nothing behind, and tried by a read.
    fn choose(&self, ask: &ProveAsk) -> Result<Need, BrokerError> {
        let (bundle, provider) = (self.bundle(), self.provider(ask.cloud)?);
        if let Some(name) = &ask.resource {
            let missing = || BrokerError::NotFound(format!("\"{name}\" is not in the catalogue"));
            let resource = bundle.catalog.get(name).ok_or_else(missing)?;
            if resource.tier != Tier::Low {
                return Err(BrokerError::State(format!(
                    "\"{name}\" is of tier {}: a proof has nobody's approval, so name a resource of tier low",
                    resource.tier
                )));
            }
        }
        let fits = |need: &Need| {
            let tier = bundle.catalog.get(&need.resource).map(|resource| resource.tier);
            tier == Some(Tier::Low)
                && ask.resource.as_ref().is_none_or(|name| *name == need.resource)
                && ask.capability.as_ref().is_none_or(|capability| *capability == need.capability)
                && need.plan.persistence == Persistence::None
                && need.plan.widens.is_empty()
                && matches!(need.plan.revocation, Revocation::Immediate | Revocation::Eventual)
                && provider.harmless(&need.plan).is_some()
        };
        let accounts = self.accounts_of(ask.cloud, ask.account.as_deref())?;
        let found = accounts.iter().flat_map(|account| needs(&bundle, provider.as_ref(), account)).find(fits);
        found.ok_or_else(|| {
            BrokerError::NotFound(
                "there is nothing to prove it with: it takes a resource of tier low and a capability on it that can be \
                 revoked and tried by a harmless read; name them with --resource NAME --can CAPABILITY"
                    .to_owned(),
            )
        })
    }

    async fn prove_and_clean_up(&self, caller: &Caller, need: Need, tell: &Tell) -> Result<Proof, BrokerError> {
        let actor = caller.actor();
        let doctor = caller.acting_as(subject());
        let mut grants = Vec::new();
        let outcome = self.measure(&doctor, need, &mut grants, tell).await;
        for grant in grants {
            let event = GrantEvent::Complete { at: self.now() };
            if let Err(error) = self.end_grant(grant, event, actor.clone(), EndReason::GrantEnded).await {
                tracing::error!(%grant, %error, "a grant of a proof could not be ended: the next start ends it");
            }
        }
        let _ = tell.send(Told::Step("cleaned up: both grants are over, both sessions end".to_owned()));
        match outcome {
            Ok(proof) => Ok(proof),
            Err(error) => {
                let detail = json!({ "why": error.to_string() });
                self.record("doctor.not_proved", actor, (None, None), detail).await?;
                Err(error)
            }
        }
    }

    async fn measure(
        &self,
        doctor: &Caller,
        need: Need,
        grants: &mut Vec<GrantId>,
        tell: &Tell,
    ) -> Result<Proof, BrokerError> {
        let say = |text: String| drop(tell.send(Told::Step(text)));
        let (cloud, account) = (need.plan.cloud, need.plan.account.clone());
        let provider = self.provider(cloud)?;
        let capabilities = self.with_measured(cloud, &account, provider.capabilities(&account)?);
        let worst = capabilities.worst_propagation.saturating_mul(2).saturating_add(Duration::from_secs(60));
        let ttl = worst.clamp(TTL.0, TTL.1.min(capabilities.max_ttl).max(TTL.0));
        let birth = capabilities.worst_propagation.clamp(BIRTH, (ttl / 2).max(BIRTH));
        let first = self.own_session(doctor, &need, ttl, grants).await?;
        let second = self.own_session(doctor, &need, ttl, grants).await?;
        say(format!(
            "vended {} and {} for {} on \"{}\"",
            first.lease.id, second.lease.id, need.capability, need.resource
        ));
        if first.lease.scope != second.lease.scope {
            say("they are revoked in different places, so the second is no close neighbour".to_owned());
        }
        let action = provider.harmless(&need.plan).unwrap_or_default();
        for session in [&first, &second] {
            self.wait_until_it_works(provider.as_ref(), &need, session, (&action, birth)).await?;
        }
        say(format!("both may {action}"));
        let decided = self.now();
        let reason = EndReason::Revoked { reason: "grantctl doctor --prove".to_owned() };
        let ended = self.end_lease(first.lease.id, reason, doctor.actor()).await?;
        if !matches!(ended.state, LeaseState::Revoking { .. }) {
            return Err(BrokerError::State(format!(
                "{} is {} and will not be denied: with {} s a session lives no longer than a revocation is reckoned to take",
                ended.id,
                ended.state.phase().as_str(),
                ttl.as_secs()
            )));
        }
        say(format!("revoked {}; asking until it is refused", ended.id));
        let refused = self.wait_until_it_is_refused(doctor, provider.as_ref(), &need, &first).await?;
        let felt = between(decided, refused);
        say(format!("refused after {felt:?}"));
        if provider.try_session(&need.plan, &second.credential).await? != Trial::Allowed {
            return Err(BrokerError::State(format!(
                "{} was refused although only {} was revoked: revocation does not work as it must, look with grantctl doctor",
                second.lease.id, first.lease.id
            )));
        }
        say(format!("{} still may {action}", second.lease.id));
        let accepted = match self.lease_or_missing(first.lease.id).await?.state {
            LeaseState::Revoking { accepted: Some(accepted), .. } => Some(between(decided, accepted.at)),
            _ => None,
        };
        let sample = PropagationSample {
            at: refused,
            node: self.store().node().clone(),
            milliseconds: u64::try_from(felt.as_millis()).unwrap_or(u64::MAX),
        };
        let detail = json!({ "resource": need.resource, "action": action, "neighbour": second.lease.id });
        let kept = self.keep_measured((cloud, &account), sample, doctor.actor(), first.lease.id, detail).await?;
        Ok(Proof { need, action, felt, accepted, samples: kept.samples })
    }

    /// A session that ends with this work or with the process that asked for it.
    async fn own_session(
        &self,
        doctor: &Caller,
        need: &Need,
        ttl: Duration,
        grants: &mut Vec<GrantId>,
    ) -> Result<Vended, BrokerError> {
        let ask = RequestAsk {
            resource: need.resource.clone(),
            capability: need.capability.clone(),
            narrowing: Narrowing::default(),
            justification: "grantctl doctor measures how long a revocation takes to be felt"
                .parse()
                .map_err(|error| BrokerError::Internal(format!("a justification of the daemon's own: {error}")))?,
            ticket: None,
            duration: ttl.saturating_add(BIRTH),
            recurrence: None,
            not_before: None,
            subject: None,
            task: None,
        };
        let grant = self.request(doctor, ask).await?;
        grants.push(grant.id);
        if grant.state.phase() != GrantPhase::Active {
            return Err(BrokerError::State(format!(
                "policy wants an approval for {} on \"{}\", which a proof cannot have: name another resource",
                need.capability, need.resource
            )));
        }
        let ask = VendAsk { grant: GrantAsk::Id(grant.id), ttl: Some(ttl), anchor: AnchorAsk::Connection };
        self.vend(doctor, ask).await
    }

    async fn wait_until_it_works(
        &self,
        provider: &dyn Provider,
        need: &Need,
        session: &Vended,
        (action, birth): (&str, Duration),
    ) -> Result<(), BrokerError> {
        let begun = self.now();
        loop {
            let seen = provider.try_session(&need.plan, &session.credential).await;
            if matches!(seen, Ok(Trial::Allowed)) {
                return Ok(());
            }
            if between(begun, self.now()) >= birth {
                return Err(match seen {
                    Err(error) => error.into(),
                    Ok(_) => BrokerError::State(format!(
                        "a fresh session may not {action} on \"{}\" after {} s, so nothing can be proved with it: is \
                         the account set up as grantctl bootstrap prints it?",
                        need.resource,
                        birth.as_secs()
                    )),
                });
            }
            if !self.pause(POLL).await {
                return Err(BrokerError::Stopping);
            }
        }
    }

    /// The moment of the first of several refusals in a row.
    async fn wait_until_it_is_refused(
        &self,
        doctor: &Caller,
        provider: &dyn Provider,
        need: &Need,
        session: &Vended,
    ) -> Result<Timestamp, BrokerError> {
        let (mut since, mut count) = (None, 0_u32);
        let mut last = None;
        while between(self.now(), session.lease.access_until) > MARGIN {
            match provider.try_session(&need.plan, &session.credential).await {
                Ok(Trial::Refused) => {
                    count = count.saturating_add(1);
                    let first = *since.get_or_insert_with(|| self.now());
                    if count >= REFUSALS {
                        return Ok(first);
                    }
                }
                Ok(Trial::Allowed) => (since, count) = (None, 0),
                // No answer proves neither.
                Err(error) => last = Some(error),
            }
            if !doctor.is_alive() {
                return Err(BrokerError::State("the process that asked for the proof is gone".to_owned()));
            }
            if !self.pause(POLL).await {
                return Err(BrokerError::Stopping);
            }
        }
        let more = last.map_or_else(String::new, |error| format!("; the last error was: {error}"));
        Err(BrokerError::State(format!(
            "{} was revoked and not refused in all its life: revocation does not reach it; look with grantctl doctor \
             what else lets it in, such as a role without its boundary or a right of its identity's own{more}",
            session.lease.id
        )))
    }

    /// Ends the grants of a proof that died with an earlier run of the daemon, and so their sessions.
    pub(super) async fn end_proofs_left_behind(&self) -> Result<(), BrokerError> {
        let own = subject();
        let filter = GrantFilter {
            phases: Some(vec![GrantPhase::Pending, GrantPhase::Scheduled, GrantPhase::Active]),
            identity: Some(format!("{}:{}", own.issuer, own.id)),
            ..GrantFilter::default()
        };
        let mut grants = self.store().grants(filter).await?;
        grants.retain(|grant| grant.node == *self.store().node() && grant.request.subject.same_identity(&own));
        for grant in grants {
            let reason = "the daemon stopped while it proved revocation".to_owned();
            let event = GrantEvent::Revoke { at: self.now(), reason: reason.clone() };
            let actor: Actor = daemon("reconciler");
            self.end_grant(grant.id, event, actor, EndReason::Revoked { reason }).await?;
        }
        Ok(())
    }
}
