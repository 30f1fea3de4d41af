//! A new policy in force: kept for ever, swapped in, and every live lease decided again under it. What waits for approval
//! waits on: its approvals are judged whenever one is given, and once now.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use grantd_model::approval::both;
use grantd_model::{EndReason, Lease, LeasePhase, LeaseState, OnPolicyChange, Verdict};
use serde_json::json;

use super::glass_rules::outlived;
use super::quorum::{Ground, QUORUM, approvals_today, carried_until};
use super::signals::{Looks, were_had};
use super::{Broker, BrokerError, between, daemon, draft, facts};
use crate::failpoint;
use crate::policy::{Bundle, Facts, Question, SIGNAL};
use crate::store::{LeaseFilter, Transaction, Write};

/// Why a lease would not be issued today.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    /// By which rule.
    pub rule: String,
    /// Whether policy said so with signals that were had.
    pub by_signals: bool,
}

impl Broker {
    /// Puts `bundle` into force. When this fails, the old one stays.
    ///
    /// # Errors
    /// When the bundle cannot be written to the store.
    pub async fn reload(&self, bundle: Bundle) -> Result<(), BrokerError> {
        self.check_maps(&bundle)?;
        let before = self.bundle().version;
        self.inner.policy_alarm.store(None);
        if bundle.version == before {
            return Ok(());
        }
        failpoint::hit("reload.parsed");
        let detail = json!({ "from": before, "to": bundle.version });
        let audit = vec![draft(self.now(), "policy.change", daemon("main"), (None, None), detail)];
        let writes = vec![Write::KeepBundle { version: bundle.version, bytes: bundle.bytes.clone() }];
        self.store().commit(Transaction { guards: Vec::new(), writes, audit }).await?;
        failpoint::hit("reload.kept");
        self.inner.bundle.store(Arc::new(bundle));
        failpoint::hit("reload.swapped");
        // It is in force from here on: what goes wrong now is made good by the reconciler, and is no refusal of it.
        self.decide_again_now().await;
        failpoint::hit("reload.decided");
        Ok(())
    }

    /// Decides every live lease again, because what was approved may not count any more.
    pub(super) async fn decide_again_now(&self) {
        self.inner.decide_again.store(true, Ordering::SeqCst);
        if let Err(error) = self.decide_again_if_due().await {
            tracing::error!(%error, "live leases could not be decided again; trying again");
        }
    }

    /// Decides every live lease again, if that is due since a new policy came into force, and gives what has its quorum
    /// since then.
    pub(super) async fn decide_again_if_due(&self) -> Result<(), BrokerError> {
        if self.inner.decide_again.load(Ordering::SeqCst) {
            let filter = LeaseFilter { phases: Some(vec![LeasePhase::Active]), ..LeaseFilter::default() };
            let live = self.store().leases(filter).await?;
            self.inner.decide_again.store(false, Ordering::SeqCst);
            self.decide_again(&live).await;
            self.settle_waiting().await?;
        }
        Ok(())
    }

    /// A policy that was to be put into force is not fit to be: the old one stays, `status` shows an alarm until a
    /// good one is loaded, and the attempt is on record.
    pub async fn raise_policy_alarm(&self, why: &str) {
        tracing::error!(why, stays = %self.bundle().version, "the new policy is not valid; the old one stays in force");
        self.inner.policy_alarm.store(Some(Arc::new(why.to_owned())));
        let detail = json!({ "refused": why, "stays": self.bundle().version });
        if let Err(error) = self.record("policy.refused", daemon("main"), (None, None), detail).await {
            tracing::error!(%error, "the refusal of a policy is not on disk");
        }
        failpoint::hit("reload.refused");
    }

    /// Why the policy that was to be put into force last was not.
    #[must_use]
    pub fn policy_alarm(&self) -> Option<Arc<String>> {
        self.inner.policy_alarm.load_full()
    }

    /// Keeps the bundle with which the daemon starts.
    pub(super) async fn keep_first_bundle(&self) -> Result<(), BrokerError> {
        let bundle = self.bundle();
        self.check_maps(&bundle)?;
        if self.store().bundle(bundle.version).await?.is_some() {
            return Ok(());
        }
        let detail = json!({ "to": bundle.version });
        let audit = vec![draft(self.now(), "policy.change", daemon("main"), (None, None), detail)];
        let writes = vec![Write::KeepBundle { version: bundle.version, bytes: bundle.bytes.clone() }];
        self.store().commit(Transaction { guards: Vec::new(), writes, audit }).await?;
        failpoint::hit("start.kept");
        Ok(())
    }

    /// Ends each of `leases` that the policy in force would not issue, unless it was issued to be kept.
    pub(super) async fn decide_again(&self, leases: &[Lease]) {
        let bundle = self.bundle();
        for lease in leases.iter().filter(|lease| lease.state == LeaseState::Active) {
            match self.refused_today(&bundle, lease, Looks::Remembered).await {
                // What is not remembered is left to the watch over signals: nobody is waited for here, and that nothing
                // is known ends nothing that runs. Until then its credential is not handed out again.
                Ok(Some(Refused { rule, .. })) if rule.starts_with(SIGNAL) => {}
                Ok(Some(Refused { rule, .. })) if lease.on_policy_change == OnPolicyChange::End => {
                    let reason = EndReason::PolicyChanged { rule };
                    self.end_for_certain(lease, reason, daemon("policy")).await;
                }
                Ok(_) => self.inner.live.decided_again(lease.id, bundle.version),
                Err(error) => {
                    tracing::error!(lease = %lease.id, %error, "a lease could not be decided again under the new policy");
                    let reason = EndReason::PolicyChanged { rule: "policy-error".to_owned() };
                    self.end_for_certain(lease, reason, daemon("policy")).await;
                }
            }
        }
    }

    /// What only an adapter can say of a bundle.
    fn check_maps(&self, bundle: &Bundle) -> Result<(), BrokerError> {
        for (cloud, map) in &bundle.maps {
            if let Some(provider) = self.inner.providers.get(cloud) {
                provider.check_map(map)?;
            }
        }
        Ok(())
    }

    /// Why a lease would not be issued today, if it would not.
    pub(super) async fn refused_today(
        &self,
        bundle: &Bundle,
        lease: &Lease,
        looks: Looks,
    ) -> Result<Option<Refused>, BrokerError> {
        let by = |rule: &str| Refused { rule: rule.to_owned(), by_signals: false };
        let grant = self.grant_or_missing(lease.grant).await?;
        let Some(resource) = bundle.catalog.of_request(&grant.request) else {
            return Ok(Some(by("catalog")));
        };
        if !Self::is_still_known(bundle, &lease.subject, lease.uid) {
            return Ok(Some(by("people")));
        }
        if self.plan_today(bundle, &grant).is_err() {
            return Ok(Some(by("plan_changed")));
        }
        let ttl = between(lease.created_at, lease.access_until);
        let delegations = self.delegations_of(&grant).await?;
        let ground = Ground { people: &bundle.people, delegations: &delegations, now: self.now() };
        let mut question = Question {
            action: grant.request.issuing(),
            at: self.now(),
            principal: &lease.subject,
            uid: lease.uid,
            resource,
            facts: Facts {
                approvals: approvals_today(&grant, ground, resource),
                outlives_seconds: lease.ending.outlives(),
                ..facts::of_issue(&grant.request, &grant.plan, ttl, &lease.anchor)
            },
        };
        let decision = self.decide(bundle, &mut question, looks).await;
        Ok(match decision.verdict {
            Verdict::Allow { obligations } => {
                let needed = both(obligations.approvals.clone(), &grant.obligations.approvals);
                let escalates = obligations.escalate || obligations.approvals.is_empty();
                match carried_until(&grant, &needed, ground, resource, escalates) {
                    Ok((_, None)) => {}
                    Ok((end, Some(_))) if lease.access_until <= end => {}
                    Ok(_) | Err(_) => return Ok(Some(by(QUORUM))),
                }
                if let Some(refusal) = outlived(&grant, &obligations, self.now()) {
                    return Ok(Some(by(&refusal.rule)));
                }
                let longer = obligations.max_ttl.is_some_and(|most| ttl.as_secs() > most);
                longer.then(|| by("max_ttl"))
            }
            Verdict::Deny { refusal } => {
                Some(Refused { rule: refusal.rule, by_signals: were_had(&question.facts.signals) })
            }
        })
    }
}
