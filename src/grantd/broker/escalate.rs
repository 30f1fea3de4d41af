//! Owners who do not answer: at half of the time that approvers have, the stewards of the resource are asked in their
//! place, where policy lets them be. Never at tier critical, never instead of anybody but an owner; the request lapses
//! when it would have anyway.

use std::sync::PoisonError;

use grantd_model::{Action, Capacity, Escalation, Grant, GrantEvent, Tier};
use jiff::Timestamp;
use serde_json::json;

use super::approve::step;
use super::matter::{Matter, Standing};
use super::reach::holders;
use super::{Broker, BrokerError, daemon};
use crate::failpoint;

impl Broker {
    /// As [`Broker::escalate`]; where policy has something looked up for that, beside everything else: who waits for a
    /// slow source ends no lease meanwhile (promise P11).
    pub(super) async fn escalate_without_delay(&self, grant: Grant) -> Result<(), BrokerError> {
        let bundle = self.bundle();
        let looks =
            [Action::Request, Action::Approve].into_iter().any(|on| !bundle.needs_at_most(on).signals.is_empty());
        if !looks {
            return self.escalate(&grant).await;
        }
        let due = grant.escalation.as_ref().and_then(Escalation::due_at).is_some_and(|due| due <= self.now());
        if due && self.inner.escalating.lock().unwrap_or_else(PoisonError::into_inner).insert(grant.id) {
            let broker = self.clone();
            self.inner.tasks.spawn(async move {
                if let Err(error) = broker.escalate(&grant).await {
                    tracing::warn!(grant = %grant.id, %error, "stewards could not be asked; trying again");
                }
                broker.inner.escalating.lock().unwrap_or_else(PoisonError::into_inner).remove(&grant.id);
            });
        }
        Ok(())
    }

    /// Asks the stewards for a grant for which that is due, or notes why nobody is asked.
    pub(super) async fn escalate(&self, grant: &Grant) -> Result<(), BrokerError> {
        let now = self.now();
        let Some(due) = grant.escalation.as_ref().and_then(Escalation::due_at).filter(|due| *due <= now) else {
            return Ok(());
        };
        let Some(matter) = Matter::waiting(grant) else { return Ok(()) };
        if matter.lapses_at().is_some_and(|lapses_at| now >= lapses_at) {
            return Ok(());
        }
        let bundle = self.bundle();
        self.read_delegations().await?;
        let signals = self.signals_of(&bundle, matter).await;
        let to = match self.standing(&bundle, matter.knowing(&signals)) {
            Ok(standing) => next(&standing, now),
            Err(error) => Escalation::NotAsked { at: now, why: error.to_string() },
        };
        failpoint::hit("escalate.due");
        let event = GrantEvent::Escalate { to: to.clone() };
        let escalated = step(grant, &event)?;
        let detail = json!({ "escalation": to, "due_at": due });
        // Who was quicker decides: what was approved or taken back meanwhile is looked at again in the next round.
        if self.turned(&escalated, &event, daemon("reaper"), detail).await? {
            failpoint::hit("escalate.written");
        }
        Ok(())
    }
}

/// What follows what was due, as things stand at `now`.
fn next(standing: &Standing<'_>, now: Timestamp) -> Escalation {
    let not_asked = |why: &str| Escalation::NotAsked { at: now, why: why.to_owned() };
    let allowed = match &standing.request.verdict {
        grantd_model::Verdict::Allow { obligations } => {
            obligations.escalate && standing.resource.tier != Tier::Critical
        }
        grantd_model::Verdict::Deny { .. } => false,
    };
    if !allowed {
        return not_asked("policy does not have stewards asked any more");
    }
    if !standing.missing().contains_key(&Capacity::Owner) {
        return not_asked("no owner is missing");
    }
    let stewards = holders(standing.resource, Capacity::Steward);
    let open = standing.open_voices().into_iter().filter(|voice| {
        let whose = voice.on_behalf_of.as_ref().map_or(&voice.person, |absent| &absent.person);
        stewards.contains(whose)
    });
    let stewards: Vec<String> = open.map(|voice| voice.label).collect();
    if stewards.is_empty() {
        return not_asked("there is no steward who could approve it");
    }
    Escalation::Asked { at: now, stewards }
}
