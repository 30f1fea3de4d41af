//! What policy says of a grant today and on which facts, and bundles that were in force: for looking only.

use std::collections::BTreeMap;

use grantd_model::{AcceptedSeal, Decision, Grant, GrantId, PolicyVersion};

use super::quorum::{Ground, approvals_today};
use super::signals::Looks;
use super::{Broker, BrokerError, facts};
use crate::attest::Caller;
use crate::policy::Question;

/// What policy says of a grant today.
#[derive(Debug)]
pub struct Explained {
    /// The grant.
    pub grant: Grant,
    /// What it says to the request as it was made, and to a lease of the usual length on a watched process.
    pub answers: Vec<Decision>,
}

/// A bundle that was in force once.
#[derive(Debug)]
pub struct KeptBundle {
    /// Its files, by name.
    pub files: BTreeMap<String, String>,
    /// By whose signatures it was accepted, where it was.
    pub seal: Option<AcceptedSeal>,
}

impl Broker {
    /// Asks policy about a grant anew, with fresh signals; for whoever may see the grant. Nothing follows from it.
    ///
    /// # Errors
    /// When there is no such grant, it is not for the caller to see, or its resource is not in the catalogue any more.
    pub async fn explain(&self, caller: &Caller, id: GrantId) -> Result<Explained, BrokerError> {
        let grant = self.see_grant(caller, id).await?;
        let bundle = self.bundle();
        let request = &grant.request;
        let resource = bundle.catalog.of_request(request).ok_or_else(|| super::allow::gone(request))?;
        let delegations = self.delegations_of(&grant).await?;
        let ground = Ground { people: &bundle.people, delegations: &delegations, now: self.now(), signed: false };
        let asked = facts::of_request(request, &grant.plan);
        let approvals = approvals_today(&grant, ground, resource);
        let issued = facts::of_usual_issue(request, &grant.plan, self.inner.settings.default_ttl, approvals);
        let questions =
            [(request.asking(), &request.requested_by, asked), (request.issuing(), &request.subject, issued)];
        let mut answers = Vec::new();
        for (action, principal, facts) in questions {
            let uid = principal.id.parse().unwrap_or(u32::MAX);
            let mut question = Question { action, at: self.now(), principal, uid, resource, facts };
            answers.push(self.decide(&bundle, &mut question, Looks::Fresh).await);
        }
        Ok(Explained { grant, answers })
    }

    /// A bundle that was in force once, out of what is kept for ever; for administrators and auditors.
    ///
    /// # Errors
    /// When the caller is neither, or no such bundle was in force here.
    pub async fn see_bundle(&self, caller: &Caller, version: PolicyVersion) -> Result<KeptBundle, BrokerError> {
        self.must_be_auditor(caller, "policy bundles")?;
        let bytes = self.store().bundle(version).await?.ok_or_else(|| {
            BrokerError::NotFound(format!("no policy {version} was in force here: records and status tell which were"))
        })?;
        let files = serde_json::from_slice(&bytes)
            .map_err(|error| BrokerError::Internal(format!("the kept policy {version} cannot be read: {error}")))?;
        let seal = self.store().seals().await?.into_iter().find(|seal| seal.version == version);
        Ok(KeptBundle { files, seal })
    }
}
