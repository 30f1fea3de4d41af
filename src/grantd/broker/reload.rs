//! A new policy in force: kept for ever, swapped in, and every live lease decided again under it. What waits for approval
//! waits on: its approvals are judged whenever one is given, and once now.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use grantd_model::approval::both;
use grantd_model::{AcceptedSeal, EndReason, Lease, LeasePhase, LeaseState, OnPolicyChange, PolicyVersion, Verdict};
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

/// A seal that holds, and whether it is the first time.
struct Accepting {
    seal: AcceptedSeal,
    new: bool,
}

/// What is told of a bundle that comes into force.
fn change(from: Option<PolicyVersion>, bundle: &Bundle, accepting: Option<&Accepting>) -> serde_json::Value {
    let mut detail = json!({ "to": bundle.version });
    if let Some(members) = detail.as_object_mut() {
        members.extend(from.map(|from| ("from".to_owned(), json!(from))));
        members.extend(bundle.seal.commit.as_ref().map(|commit| ("commit".to_owned(), json!(commit))));
        members.extend(accepting.map(|Accepting { seal, .. }| {
            let AcceptedSeal { sequence, files, signers, .. } = seal;
            ("seal".to_owned(), json!({ "sequence": sequence, "files": files, "signers": signers }))
        }));
    }
    detail
}

/// What is kept of it, for ever.
fn kept(bundle: &Bundle, accepting: Option<Accepting>) -> Vec<Write> {
    let accepted = accepting.filter(|accepting| accepting.new).map(|accepting| Write::AcceptSeal(accepting.seal));
    let bundle = Write::KeepBundle { version: bundle.version, bytes: bundle.bytes.clone() };
    [bundle].into_iter().chain(accepted).collect()
}

impl Broker {
    /// Puts `bundle` into force. When this fails, the old one stays.
    ///
    /// # Errors
    /// When the bundle is not signed as it has to be, or cannot be written to the store.
    pub async fn reload(&self, bundle: Bundle) -> Result<(), BrokerError> {
        self.check_maps(&bundle)?;
        let before = self.bundle().version;
        if bundle.version == before {
            self.inner.policy_alarm.store(None);
            return Ok(());
        }
        let seal = self.sealed(&bundle).await?;
        failpoint::hit("reload.parsed");
        let detail = change(Some(before), &bundle, seal.as_ref());
        let audit = vec![draft(self.now(), "policy.change", daemon("main"), (None, None), detail)];
        let writes = kept(&bundle, seal);
        self.store().commit(Transaction { guards: Vec::new(), writes, audit }).await?;
        failpoint::hit("reload.kept");
        self.inner.bundle.store(Arc::new(bundle));
        self.inner.policy_alarm.store(None);
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
        // What was not remembered for that is looked up now, and nobody waits for it.
        self.inner.look_again.notify_one();
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
        let seal = self.sealed(&bundle).await?;
        let new = seal.as_ref().is_some_and(|seal| seal.new);
        if !new && self.store().bundle(bundle.version).await?.is_some() {
            return Ok(());
        }
        let detail = change(None, &bundle, seal.as_ref());
        let audit = vec![draft(self.now(), "policy.change", daemon("main"), (None, None), detail)];
        let writes = kept(&bundle, seal);
        self.store().commit(Transaction { guards: Vec::new(), writes, audit }).await?;
        failpoint::hit("start.kept");
        Ok(())
    }

    /// What makes `bundle` fit to be in force: enough signatures, and a place in the sequence that does not go back (promise
    /// P12). Nothing where no signatures are asked for.
    async fn sealed(&self, bundle: &Bundle) -> Result<Option<Accepting>, BrokerError> {
        let Some(signers) = &self.inner.settings.signers else { return Ok(None) };
        let refused = |problem: String| BrokerError::State(format!("policy bundle: {problem}"));
        let last = self.store().seals().await?.into_iter().next();
        let same = |last: &AcceptedSeal| last.files == bundle.seal.files && Some(last.sequence) == bundle.seal.sequence;
        let before = last.clone().filter(same);
        // What was accepted stays so when a key's time is over; not when its signers are taken off the list.
        let accepted_at = before.as_ref().map_or_else(|| self.now(), |before| before.accepted_at);
        let sealed = bundle.seal.hold(signers, accepted_at).map_err(refused)?;
        sealed.follows(last.map(|last| (last.sequence, last.files))).map_err(refused)?;
        let seal = AcceptedSeal {
            sequence: sealed.sequence,
            files: sealed.files,
            version: bundle.version,
            accepted_at,
            signers: sealed.signers,
            signatures: bundle.seal.signatures.clone(),
        };
        Ok(Some(Accepting { seal, new: before.is_none() }))
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
        let ground = Ground { people: &bundle.people, delegations: &delegations, now: self.now(), signed: false };
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
                let ground = Ground { signed: obligations.signed_approval, ..ground };
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
