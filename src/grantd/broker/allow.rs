//! Whether a session may be made now: the plan of today against the one that was approved, the approvals as they count
//! today, and policy with fresh facts.

use std::sync::Arc;
use std::time::Duration;

use grantd_model::approval::both;
use grantd_model::{
    Delegation, EndReason, Grant, Obligations, OnPolicyChange, Refusal, Request, Signals, Subject, Verdict,
    request_digest, turned,
};
use grantd_provider_api::{Ending, Plan, Provider};
use jiff::Timestamp;
use serde_json::json;

use super::glass_rules::outlived;
use super::quorum::{Ground, approvals_today, carried_until};
use super::signals::{Looks, were_had};
use super::vend::Settled;
use super::{Broker, BrokerError, after, between, daemon, facts};
use crate::policy::{Bundle, Facts, Question};

/// A session that may be made: where, until when, and under which conditions.
pub(super) struct Approved {
    pub bundle: Arc<Bundle>,
    pub obligations: Obligations,
    pub decision: serde_json::Value,
    pub plan: Plan,
    /// What ends it, and how late, by all that is known.
    pub ending: Ending,
    pub now: Timestamp,
    pub access_until: Timestamp,
    pub provider: Arc<dyn Provider>,
    /// The delegations by which its approvals were judged.
    pub delegations: Arc<Vec<Delegation>>,
}

impl Broker {
    /// Policy with fresh facts, and the plan as it would be today against the plan that was approved.
    pub(super) async fn approve_issue(&self, settled: &Settled) -> Result<Approved, BrokerError> {
        let bundle = self.bundle();
        let grant = &settled.grant;
        // The table of people may have changed since the request came in.
        if !Self::is_still_known(&bundle, &settled.subject, settled.caller.uid()) {
            return Err(BrokerError::UnknownCaller { uid: settled.caller.uid() });
        }
        let plan = self.plan_today(&bundle, grant)?;
        let provider = self.provider(plan.cloud)?;
        let capabilities = provider.capabilities(&plan.account)?;
        let resource = bundle.catalog.of_request(&grant.request).ok_or_else(|| gone(&grant.request))?;
        let now = self.now();
        // The quorum is judged again under today's people and owners; what it does not carry any more is over.
        let delegations = self.delegations_of(grant).await?;
        let ground = Ground { people: &bundle.people, delegations: &delegations, now, signed: false };
        let carried = carried_until(grant, &grant.obligations.approvals, ground, resource, true);
        let usable_until = match self.carried(settled, now, carried, serde_json::Value::Null).await? {
            Some(earlier) => earlier.min(settled.usable_until),
            None => settled.usable_until,
        };
        let left = between(now, usable_until);
        if left < capabilities.min_ttl {
            return Err(nearly_over(grant.id, capabilities.min_ttl));
        }
        let approvals = approvals_today(grant, ground, resource);
        let ending = self.ending_of(&plan);
        let looks = if settled.renewal { Looks::Running } else { Looks::Fresh };
        let mut signals = Signals::new();
        let ask = |ttl: Duration, signals: Signals| Question {
            action: grant.request.issuing(),
            at: now,
            principal: &settled.subject,
            uid: settled.caller.uid(),
            resource,
            facts: Facts {
                approvals: approvals.clone(),
                outlives_seconds: ending.outlives(),
                signals,
                ..facts::of_issue(&grant.request, &plan, ttl, &settled.anchor)
            },
        };
        let decide = async |ttl: Duration, signals: &mut Signals| {
            let mut question = ask(ttl, std::mem::take(signals));
            let decision = self.decide(&bundle, &mut question, looks).await;
            *signals = question.facts.signals;
            decision
        };
        // Without a wish of the caller the daemon chooses the longest it may, up to its default.
        let wish = settled.ttl.unwrap_or(self.inner.settings.default_ttl.min(capabilities.max_ttl).min(left));
        let mut decision = decide(wish, &mut signals).await;
        let mut ttl = wish;
        if let Verdict::Allow { obligations } = &decision.verdict
            && let Some(max) = obligations.max_ttl.map(Duration::from_secs)
            && settled.ttl.is_none()
            && max < ttl
        {
            ttl = max;
            decision = decide(ttl, &mut signals).await;
        }
        // Where a calendar is known to say otherwise before that, and policy would not issue it then, it ends then.
        if let Verdict::Allow { obligations } = &decision.verdict
            && obligations.on_signal_change == OnPolicyChange::End
            && let Some((changes, then)) = turned(&signals, after(now, ttl))
            && matches!(bundle.decide(&ask(ttl, then)).verdict, Verdict::Deny { .. })
        {
            let most = between(now, changes);
            if settled.ttl.is_some() || most < capabilities.min_ttl {
                return Err(turns(ttl, most, changes));
            }
            ttl = most;
            decision = decide(ttl, &mut signals).await;
        }
        let recorded = json!(decision);
        let obligations = match decision.verdict {
            Verdict::Allow { obligations } => obligations,
            Verdict::Deny { refusal } => {
                let rule = refusal.rule.clone();
                let refused = BrokerError::Denied(refusal);
                let detail = json!({ "decision": recorded });
                self.record("lease.refused", settled.caller.actor(), (Some(grant.id), None), detail).await?;
                // What was looked up says no by now: that ends what it said yes to. That nothing could be had does not.
                if settled.renewal && were_had(&signals) {
                    self.end_refused(settled, rule).await;
                }
                return Err(refused);
            }
        };
        if let Some(refusal) = outlived(grant, &obligations, now) {
            let detail = json!({ "refusal": refusal, "decision": recorded });
            self.record("lease.refused", settled.caller.actor(), (Some(grant.id), None), detail).await?;
            return Err(BrokerError::Denied(refusal));
        }
        // What the permit of this issue asks for, too, is met by approvals that count now.
        let needed = both(obligations.approvals.clone(), &grant.obligations.approvals);
        let escalates = obligations.escalate || obligations.approvals.is_empty();
        let ground = Ground { signed: obligations.signed_approval, ..ground };
        let carried = carried_until(grant, &needed, ground, resource, escalates);
        let left = match self.carried(settled, now, carried, recorded.clone()).await? {
            Some(earlier) => between(now, earlier.min(usable_until)),
            None => left,
        };
        let most = [Some(left), Some(capabilities.max_ttl), obligations.max_ttl.map(Duration::from_secs)];
        let most = most.into_iter().flatten().min().unwrap_or(left);
        if ttl > most || ttl < capabilities.min_ttl {
            return Err(ttl_refused(ttl, most, capabilities.min_ttl));
        }
        // As often as was approved, whatever policy would allow by now.
        let max_uses = [obligations.max_uses, grant.obligations.max_uses].into_iter().flatten().min();
        let obligations = Obligations { max_uses, ..obligations };
        // To the whole second, and never beyond what was allowed.
        let access_until = Timestamp::from_second(after(now, ttl).as_second()).unwrap_or(now);
        let bundle = Arc::clone(&bundle);
        Ok(Approved { bundle, obligations, decision: recorded, plan, ending, now, access_until, provider, delegations })
    }

    /// Ends the lease that was to be renewed, unless policy has it kept.
    async fn end_refused(&self, settled: &Settled, rule: String) {
        let key = settled.anchor.key(settled.caller.uid());
        if let Some(live) = self.inner.live.find(settled.grant.id, &key)
            && live.lease.on_signal_change == OnPolicyChange::End
        {
            self.end_for_certain(&live.lease, EndReason::SignalChanged { rule }, daemon("policy")).await;
        }
    }

    /// Until when the approvals of a grant carry it, if that is before its end. When they do not now, that is on record.
    async fn carried(
        &self,
        settled: &Settled,
        now: Timestamp,
        carried: Result<(Timestamp, Option<Refusal>), Refusal>,
        decision: serde_json::Value,
    ) -> Result<Option<Timestamp>, BrokerError> {
        let refusal = match carried {
            Ok((_, None)) => return Ok(None),
            Ok((end, Some(_))) if now < end => return Ok(Some(end)),
            Ok((_, Some(refusal))) | Err(refusal) => refusal,
        };
        let detail = json!({ "refusal": refusal, "decision": decision });
        self.record("lease.refused", settled.caller.actor(), (Some(settled.grant.id), None), detail).await?;
        Err(BrokerError::Denied(refusal))
    }

    /// What was approved must be exactly what would be issued now (promise P12).
    pub(super) fn plan_today(&self, bundle: &Bundle, grant: &Grant) -> Result<Plan, BrokerError> {
        let name = &grant.request.resource;
        let resource = bundle.catalog.of_request(&grant.request).ok_or_else(|| gone(&grant.request))?;
        let mut request = grant.request.clone();
        request.entitlement.resource = resource.resource_ref();
        let empty = grantd_provider_api::CapabilityMap::default();
        let map = bundle.maps.get(&resource.cloud).unwrap_or(&empty);
        let plan = self.provider(resource.cloud)?.plan(&request.entitlement, map).map_err(|error| {
            BrokerError::PlanChanged(format!("\"{name}\" cannot be served any more as it was asked for: {error}"))
        })?;
        let digest = request_digest(&request, &plan, resource.tier).ok();
        if digest == Some(grant.digest) {
            return Ok(plan);
        }
        let what = if resource.tier != grant.tier {
            format!(
                "\"{name}\" is of tier {} now and was {} when this was asked for; request it anew",
                resource.tier, grant.tier
            )
        } else if request.entitlement != grant.request.entitlement {
            format!("the catalogue names another asset for \"{name}\" than the one that was asked for; request it anew")
        } else {
            format!("the native permissions or roles for \"{name}\" are not those that were asked for; request it anew")
        };
        Err(BrokerError::PlanChanged(what))
    }

    /// Whether the people table of `bundle` still gives this user this subject.
    pub(super) fn is_still_known(bundle: &Bundle, subject: &Subject, uid: u32) -> bool {
        // The daemon's own subject is in no table, and nobody calls as it.
        subject.same_identity(&super::prove::subject())
            || bundle.people.by_uid(uid).is_some_and(|known| known.same_identity(subject))
    }
}

pub(super) fn gone(request: &Request) -> BrokerError {
    match &request.break_glass {
        None => BrokerError::Gone { resource: request.resource.clone() },
        Some(glass) => BrokerError::PlanChanged(format!(
            "the catalogue's break-glass profile \"{}\" does not give {} on \"{}\" any more",
            glass.profile, request.entitlement.capability, request.resource
        )),
    }
}

fn nearly_over(grant: grantd_model::GrantId, least: Duration) -> BrokerError {
    let least = least.as_secs();
    BrokerError::State(format!("{grant} has less than {least} s left: request a new one with grantctl request"))
}

fn turns(asked: Duration, most: Duration, changes: Timestamp) -> BrokerError {
    let (asked, most) = (asked.as_secs(), most.as_secs());
    let detail = format!(
        "a ttl of {asked} s is more than is allowed here: policy says no from {changes} on, when a change window ends or \
         a freeze begins; ask for {most} s or less"
    );
    BrokerError::Limit { detail, limit: most }
}

fn ttl_refused(asked: Duration, most: Duration, least: Duration) -> BrokerError {
    let (asked, most, least) = (asked.as_secs(), most.as_secs(), least.as_secs());
    if asked < least {
        return BrokerError::Limit {
            detail: format!("a ttl of {asked} s is too short: the least is {least} s"),
            limit: least,
        };
    }
    BrokerError::Limit {
        detail: format!("a ttl of {asked} s is more than is allowed here: ask for {most} s or less"),
        limit: most,
    }
}
