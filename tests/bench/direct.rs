//! The comparison: the adapter's own call of STS, with the same SDK, settings, role and session policy as the daemon's,
//! and nothing around it.

use std::sync::Arc;
use std::time::Duration;

use grantd_provider_api::{
    CapabilityMap, Clock, Cloud, Credential, Entitlement, IdSource, IssueRequest, LeaseId, Narrowing, NoAssertions,
    Plan, Provider, RandomIds, ResourceRef, SystemClock,
};
use grantd_provider_aws::{AwsProvider, Config};

/// How long each session gives access: the daemon's default.
const TTL: Duration = Duration::from_secs(300);

/// STS without a daemon.
#[derive(Debug, Clone)]
pub struct Direct {
    provider: Arc<AwsProvider>,
    clock: Arc<dyn Clock>,
    ids: Arc<RandomIds>,
    plan: Arc<Plan>,
    target: String,
}

impl Direct {
    /// Sets the adapter up from its configuration and the entitlement map.
    pub fn new(config: &str, map: &str) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let config: Config = toml::from_str(config).expect("the configuration is right");
        let map: CapabilityMap = toml::from_str(map).expect("the entitlement map is right");
        let provider =
            AwsProvider::new(config, Arc::clone(&clock), Arc::new(NoAssertions)).expect("the adapter can be set up");
        let entitlement = Entitlement {
            capability: "object-storage:read".parse().expect("a capability"),
            resource: ResourceRef {
                cloud: Cloud::Aws,
                account: "main".to_owned(),
                kind: "object-storage".to_owned(),
                native: "arn:aws:s3:::alpha".to_owned(),
            },
            narrowing: Narrowing::default(),
        };
        let plan = provider.plan(&entitlement, &map).expect("it can be planned");
        let target = provider.targets(&plan).expect("the role is configured")[0].name.clone();
        Self { provider: Arc::new(provider), clock, ids: Arc::new(RandomIds), plan: Arc::new(plan), target }
    }

    /// One new session; gives its access key id.
    pub async fn issue(&self) -> String {
        let now = self.clock.now();
        let request = IssueRequest {
            lease: LeaseId::new(self.ids.fresh()),
            slug: "deploy",
            plan: &self.plan,
            target: &self.target,
            now,
            access_until: now.checked_add(TTL).expect("a time"),
            tags: &[],
            source_identity: "deploy",
            bearer: grantd_provider_api::Bearer::default(),
        };
        let issued = self.provider.issue(&request).await.expect("STS issues");
        let Credential::Aws { access_key_id, .. } = issued.credential else { panic!("a session of AWS") };
        access_key_id
    }
}
