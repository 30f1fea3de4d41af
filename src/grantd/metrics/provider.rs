//! An adapter whose calls to the cloud are counted and measured. Everything pure goes straight through.

use std::sync::Arc;

use async_trait::async_trait;
use grantd_provider_api::{
    AccountHealth, AccountNeeds, Capabilities, CapabilityMap, Clock, Cloud, Confirmation, Credential, DenyEntry,
    DenyScope, Entitlement, Finding, IssueRequest, Issued, Mark, Placement, Plan, Provider, ProviderError, ResourceRef,
    RevokeReceipt, Target, Trial,
};
use jiff::Timestamp;

use super::families::{Call, Called, Families};
use super::seconds;

/// An adapter, measured.
pub(super) struct Measured {
    inner: Arc<dyn Provider>,
    families: Families,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Measured").field(&self.inner).finish()
    }
}

impl Measured {
    pub(super) fn new(inner: Arc<dyn Provider>, families: Families, clock: Arc<dyn Clock>) -> Self {
        Self { inner, families, clock }
    }

    async fn measured<T>(
        &self,
        account: &str,
        call: &str,
        work: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<T, ProviderError> {
        let since = self.clock.now();
        let outcome = work.await;
        let (cloud, account, call) = (self.inner.cloud().to_string(), account.to_owned(), call.to_owned());
        let told = match &outcome {
            Ok(_) => "ok".to_owned(),
            Err(error) => error.kind.name().to_owned(),
        };
        let took = seconds(since, self.clock.now());
        let label = Call { cloud: cloud.clone(), account: account.clone(), call: call.clone() };
        self.families.call_seconds.get_or_create(&label).observe(took);
        self.families.calls.get_or_create(&Called { cloud, account, call, outcome: told }).inc();
        outcome
    }
}

#[async_trait]
impl Provider for Measured {
    fn cloud(&self) -> Cloud {
        self.inner.cloud()
    }

    fn capabilities(&self, account: &str) -> Result<Capabilities, ProviderError> {
        self.inner.capabilities(account)
    }

    fn check_map(&self, map: &CapabilityMap) -> Result<(), ProviderError> {
        self.inner.check_map(map)
    }

    fn plan(&self, entitlement: &Entitlement, map: &CapabilityMap) -> Result<Plan, ProviderError> {
        self.inner.plan(entitlement, map)
    }

    fn targets(&self, plan: &Plan) -> Result<Vec<Target>, ProviderError> {
        self.inner.targets(plan)
    }

    fn scopes(&self) -> Vec<DenyScope> {
        self.inner.scopes()
    }

    fn capacity(&self, scope: &DenyScope) -> Result<u32, ProviderError> {
        self.inner.capacity(scope)
    }

    fn place(&self, request: &IssueRequest<'_>) -> Result<Placement, ProviderError> {
        self.inner.place(request)
    }

    async fn issue(&self, request: &IssueRequest<'_>) -> Result<Issued, ProviderError> {
        self.measured(&request.plan.account, "issue", self.inner.issue(request)).await
    }

    async fn deny(
        &self,
        scope: &DenyScope,
        entries: &[DenyEntry],
        as_of: Timestamp,
    ) -> Result<RevokeReceipt, ProviderError> {
        self.measured(&scope.account, "deny", self.inner.deny(scope, entries, as_of)).await
    }

    async fn confirm(&self, scope: &DenyScope, entries: &[DenyEntry]) -> Result<Vec<Confirmation>, ProviderError> {
        self.measured(&scope.account, "confirm", self.inner.confirm(scope, entries)).await
    }

    async fn marked(&self, scope: &DenyScope) -> Result<Vec<Mark>, ProviderError> {
        self.measured(&scope.account, "marked", self.inner.marked(scope)).await
    }

    async fn remove(&self, scope: &DenyScope, marks: &[Mark]) -> Result<(), ProviderError> {
        self.measured(&scope.account, "remove", self.inner.remove(scope, marks)).await
    }

    fn bootstrap(&self, needs: &[AccountNeeds]) -> Result<String, ProviderError> {
        self.inner.bootstrap(needs)
    }

    async fn examine(&self, account: &str, resources: &[ResourceRef]) -> Result<Vec<Finding>, ProviderError> {
        self.measured(account, "examine", self.inner.examine(account, resources)).await
    }

    fn harmless(&self, plan: &Plan) -> Option<String> {
        self.inner.harmless(plan)
    }

    async fn try_session(&self, plan: &Plan, credential: &Credential) -> Result<Trial, ProviderError> {
        self.measured(&plan.account, "try_session", self.inner.try_session(plan, credential)).await
    }

    fn health(&self) -> Vec<AccountHealth> {
        self.inner.health()
    }
}
