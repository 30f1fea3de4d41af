//! A new policy in force: kept for ever, swapped in, and every live lease decided again under it.

use std::sync::Arc;

use grantd_model::{Action, EndReason, Lease, LeasePhase, LeaseState, OnPolicyChange, Verdict};
use serde_json::json;

use super::{Broker, BrokerError, between, daemon, draft, facts};
use crate::failpoint;
use crate::policy::{Bundle, Question};
use crate::store::{LeaseFilter, Transaction, Write};

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
        let filter = LeaseFilter { phases: Some(vec![LeasePhase::Active]), ..LeaseFilter::default() };
        let live = self.store().leases(filter).await?;
        self.decide_again(&live).await;
        failpoint::hit("reload.decided");
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
            match self.refused_today(&bundle, lease).await {
                Ok(Some(rule)) if lease.on_policy_change == OnPolicyChange::End => {
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

    async fn refused_today(&self, bundle: &Bundle, lease: &Lease) -> Result<Option<String>, BrokerError> {
        let grant = self.grant_or_missing(lease.grant).await?;
        let Some(resource) = bundle.catalog.get(&grant.request.resource) else {
            return Ok(Some("catalog".to_owned()));
        };
        if bundle.people.by_uid(lease.uid).is_none_or(|subject| !subject.same_identity(&lease.subject)) {
            return Ok(Some("people".to_owned()));
        }
        let decision = bundle.decide(&Question {
            action: Action::Issue,
            at: self.now(),
            principal: &lease.subject,
            uid: lease.uid,
            resource,
            facts: facts::of_issue(
                &grant.request,
                &grant.plan,
                between(lease.created_at, lease.access_until),
                &lease.anchor,
            ),
        });
        Ok(match decision.verdict {
            Verdict::Allow { .. } => None,
            Verdict::Deny { refusal } => Some(refusal.rule),
        })
    }
}
