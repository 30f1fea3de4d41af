//! More time for an active grant. Policy is asked for the grant as it would be, from its activation to the new end, as
//! for a request: its `@max_duration` bounds the whole, and its `@approvals` are needed anew. The grant and its leases go
//! on meanwhile as they are.

use std::time::Duration;

use grantd_model::approval::{both, in_words};
use grantd_model::{
    Extension, Grant, GrantEvent, GrantId, GrantState, Justification, MAX_EXTENSIONS, Verdict, extension_digest,
};
use serde_json::json;

use super::approve::{ATTEMPTS, allowed_today, step};
use super::matter::Matter;
use super::quorum::{Ground, Requesters, carried_until, floored};
use super::reach::out_of_reach;
use super::signals::Looks;
use super::{Broker, BrokerError, after, between, daemon, draft};
use crate::attest::Caller;
use crate::failpoint;
use crate::store::{StoreError, Transaction, Write};

/// How long approvers have where policy does not say.
pub(super) const APPROVE_WITHIN: Duration = Duration::from_secs(4 * 3600);

impl Broker {
    /// Asks for `more` time after the end that an active grant has. Where policy asks for nobody's approval it is given
    /// at once.
    ///
    /// # Errors
    /// When the caller neither asked for the grant nor uses it, it is not active, policy says no or allows less, or its
    /// approvals do not count any more.
    pub async fn extend(
        &self,
        caller: &Caller,
        id: GrantId,
        more: Duration,
        reason: Justification,
    ) -> Result<Grant, BrokerError> {
        self.on_record(caller, "extend.refused", (Some(id), None), move |broker, caller| async move {
            for _ in 0..ATTEMPTS {
                if let Some(grant) = broker.extend_once(&caller, id, more, &reason).await? {
                    return Ok(grant);
                }
            }
            Err(BrokerError::Internal(format!("{id} keeps changing: try again")))
        })
        .await
    }

    async fn extend_once(
        &self,
        caller: &Caller,
        id: GrantId,
        more: Duration,
        reason: &Justification,
    ) -> Result<Option<Grant>, BrokerError> {
        let bundle = self.bundle();
        let grant = self.grant_or_missing(id).await?;
        self.must_be_party(caller, &grant)?;
        let asked_by = bundle.people.by_uid(caller.uid()).ok_or(BrokerError::UnknownCaller { uid: caller.uid() })?;
        if let Some(glass) = &grant.request.break_glass {
            return Err(BrokerError::State(format!(
                "{id} is a use of break-glass profile \"{}\", which is not made longer: use it again, or ask for a grant \
                 with grantctl request",
                glass.profile
            )));
        }
        let now = self.now();
        let (since, until) = match grant.state {
            GrantState::Active { since, until } if now < until => (since, until),
            _ => {
                return Err(BrokerError::State(format!(
                    "{id} is {}, and only what is active lasts longer: request a new one with grantctl request",
                    if grant.state.phase().as_str() == "active" { "over" } else { grant.state.phase().as_str() }
                )));
            }
        };
        if more.is_zero() {
            return Err(BrokerError::BadRequest(
                "an extension lasts at least one second: say how much longer".to_owned(),
            ));
        }
        if grant.request.recurrence.is_some() {
            return Err(BrokerError::State(format!(
                "{id} recurs, and is not extended: request one for the times to come with grantctl request"
            )));
        }
        if grant.imported.is_some() {
            return Err(BrokerError::State(format!(
                "{id} came in a document and ends with it: have another one exported where it was approved"
            )));
        }
        if grant.extension.is_some() {
            return Err(BrokerError::State(format!(
                "an extension of {id} waits for approval already: take it back with grantctl cancel {id} first"
            )));
        }
        if grant.extensions.len() >= MAX_EXTENSIONS {
            return Err(BrokerError::State(format!(
                "{MAX_EXTENSIONS} extensions of {id} were asked for, which is all: request a new grant with grantctl request"
            )));
        }
        self.plan_today(&bundle, &grant)?;
        let resource = bundle.catalog.of_request(&grant.request).ok_or_else(|| super::allow::gone(&grant.request))?;
        let new_end = after(until, more);
        let refuse = async |refusal, decision| {
            let detail = json!({ "refusal": refusal, "decision": decision, "until": new_end });
            self.record("extend.refused", caller.actor(), (Some(id), None), detail).await?;
            Err(BrokerError::Denied(refusal))
        };
        let total = between(since, new_end).as_secs();
        let mut question = self.request_again(&grant, resource, &asked_by, total);
        let decision = self.decide(&bundle, &mut question, Looks::Fresh).await;
        let signals = question.facts.signals;
        let obligations = match &decision.verdict {
            Verdict::Allow { obligations } => obligations.clone(),
            Verdict::Deny { refusal } => return refuse(refusal.clone(), json!(decision)).await,
        };
        if let Some(most) = obligations.max_duration.filter(|most| total > *most) {
            let left = most.saturating_sub(between(since, until).as_secs());
            return Err(BrokerError::Limit {
                detail: format!(
                    "{id} would last {total} s from its activation to its new end, and {most} s are allowed in all: \
                     ask for {left} s or less"
                ),
                limit: left,
            });
        }
        let needed = floored(both(obligations.approvals.clone(), &grant.obligations.approvals), resource);
        let delegations = self.delegations();
        let signed = obligations.signed_approval || grant.obligations.signed_approval;
        let ground = Ground { people: &bundle.people, delegations: &delegations, now, signed };
        let given = Ground { signed: false, ..ground };
        let carried = carried_until(&grant, &grant.obligations.approvals, given, resource, true);
        // Behind an extension that does not count any more, another would not count either.
        if let Err(refusal) | Ok((_, Some(refusal))) = carried {
            return refuse(refusal, json!(decision)).await;
        }
        let requesters = Requesters::of(&grant, &bundle.people);
        if let Some(refusal) = out_of_reach(&needed, resource, ground, &requesters) {
            return refuse(refusal, json!(decision)).await;
        }
        failpoint::hit("extend.decided");
        let internal = |error: grantd_model::RequestError| BrokerError::Internal(error.to_string());
        let within = obligations.approve_within.map_or(APPROVE_WITHIN, Duration::from_secs);
        let extension = Box::new(Extension {
            asked_at: now,
            digest: extension_digest(grant.digest, new_end, &asked_by, reason).map_err(internal)?,
            asked_by,
            reason: reason.clone(),
            until: new_end,
            policy: bundle.version,
            lapses_at: after(now, within).min(until),
            needed,
            approvals: Vec::new(),
        });
        let asked = step(&grant, &GrantEvent::AskExtension { extension: extension.clone() })?;
        let about = (Some(id), None);
        let can_approve = match Matter::waiting(&asked) {
            Some(matter) if !extension.needed.is_empty() => self.standing(&bundle, matter.knowing(&signals))?.who_can(),
            _ => Vec::new(),
        };
        let detail = json!({ "extension": extension, "decision": decision, "can_approve": can_approve });
        let mut audit = vec![draft(now, "grant.extension_request", caller.actor(), about, detail)];
        let mut writes = vec![Write::UpdateGrant(asked.clone())];
        let last = if extension.needed.is_empty() {
            // Policy asks for nobody's approval: the empty quorum is complete.
            let longer = step(&asked, &GrantEvent::Extend { at: now })?;
            audit.push(draft(now, "grant.extend", daemon("policy"), about, json!({ "state": longer.state })));
            writes.push(Write::UpdateGrant(longer.clone()));
            longer
        } else {
            asked
        };
        match self.store().commit(Transaction { guards: Vec::new(), writes, audit }).await {
            Ok(_) => {
                failpoint::hit("extend.written");
                Ok(Some(last))
            }
            Err(StoreError::Stale { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Why what waits on a grant would not be given today, whoever approved it.
    pub(super) fn blocked(&self, bundle: &crate::policy::Bundle, grant: &Grant) -> Option<String> {
        let matter = Matter::waiting(grant)?;
        match self.standing(bundle, matter) {
            Err(error) => Some(error.to_string()),
            Ok(standing) => match allowed_today(&standing, matter) {
                Err(refusal) => Some(refusal.reason),
                Ok(_) => {
                    let short = !standing.short().is_empty();
                    short.then(|| {
                        format!("{} is missing, and too few people can give it", in_words(&standing.missing()))
                    })
                }
            },
        }
    }
}
