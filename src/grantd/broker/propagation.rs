//! How long revocations were measured to take, and what that changes: the daemon never reckons with less.

use std::sync::Arc;

use grantd_model::{Actor, LeaseId, Propagation, PropagationSample};
use grantd_provider_api::{Capabilities, Cloud, Ending, Plan};
use serde_json::{Value, json};

use super::{Broker, BrokerError, draft};
use crate::store::{StoreError, Transaction, Write};

/// How often a measurement is written again that another node's got in the way of.
const ATTEMPTS: usize = 16;

impl Broker {
    /// Reads the measurements anew. At start, after each, and from time to time: another node may have made one.
    pub(super) async fn read_propagations(&self) -> Result<(), BrokerError> {
        self.inner.measured.store(Arc::new(self.store().propagations().await?));
        Ok(())
    }

    /// What was measured in an account.
    #[must_use]
    pub fn measured(&self, cloud: Cloud, account: &str) -> Option<Propagation> {
        let measured = self.inner.measured.load();
        measured.iter().find(|one| one.cloud == cloud && one.account == account).cloned()
    }

    /// What an account can do, going by the measurements where they are worse than the configuration. Never where they
    /// are better: a few good moments are no promise. To profit from them, an operator lowers the configuration.
    pub(super) fn with_measured(&self, cloud: Cloud, account: &str, mut capabilities: Capabilities) -> Capabilities {
        if let Some(measured) = self.measured(cloud, account) {
            capabilities.expected_propagation = capabilities.expected_propagation.max(measured.slowest());
            capabilities.worst_propagation = capabilities.worst_propagation.max(measured.slowest());
        }
        capabilities
    }

    /// With what the daemon reckons in an account.
    #[must_use]
    pub fn reckoned(&self, cloud: Cloud, account: &str) -> Option<Capabilities> {
        let capabilities = self.provider(cloud).ok()?.capabilities(account).ok()?;
        Some(self.with_measured(cloud, account, capabilities))
    }

    /// What ends access under a plan, as late as it was measured to be where that is later than the plan says.
    pub(super) fn ending_of(&self, plan: &Plan) -> Ending {
        let slowest = self.measured(plan.cloud, &plan.account).map(|measured| measured.slowest());
        let seconds =
            slowest.map_or(0, |slowest| slowest.as_secs().saturating_add(u64::from(slowest.subsec_nanos() > 0)));
        plan.ending.at_least(seconds)
    }

    /// Keeps a measurement together with its record, and goes by it from now on.
    pub(super) async fn keep_measured(
        &self,
        (cloud, account): (Cloud, &str),
        sample: PropagationSample,
        actor: Actor,
        lease: LeaseId,
        detail: Value,
    ) -> Result<Propagation, BrokerError> {
        for _ in 0..ATTEMPTS {
            self.read_propagations().await?;
            let next = match self.measured(cloud, account) {
                Some(before) => before.with(sample.clone()),
                None => Propagation::first(cloud, account.to_owned(), sample.clone()),
            };
            let detail = json!({ "sample": sample, "samples": next.samples, "proof": detail });
            let audit = vec![draft(self.now(), "doctor.proved", actor.clone(), (None, Some(lease)), detail)];
            let writes = vec![Write::PutPropagation(next.clone())];
            match self.store().commit(Transaction { guards: Vec::new(), writes, audit }).await {
                Ok(_) => {
                    self.read_propagations().await?;
                    return Ok(next);
                }
                Err(StoreError::Stale { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(BrokerError::Internal("what was measured keeps changing: try again".to_owned()))
    }
}
