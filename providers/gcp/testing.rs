//! What the unit tests share: a clock, an account against the fake, small maps.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use grantd_provider_api::{
    CapabilityMap, Clock, Cloud, Credential, DenyEntry, DenyForm, Entitlement, IssueRequest, Issued, LeaseId,
    Narrowing, Plan, Provider, ProviderError, ResourceRef, SystemClock, Target,
};
use grantd_testkit::{FakeGoogle, Signer};
use jiff::Timestamp;
use uuid::Uuid;

use crate::GcpProvider;
use crate::config::Config;

/// A clock that stands still until told otherwise.
#[derive(Debug)]
pub struct TestClock(Mutex<Timestamp>);

impl TestClock {
    pub fn at(text: &str) -> Arc<Self> {
        Arc::new(Self(Mutex::new(text.parse().unwrap())))
    }

    pub fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap();
        *now = now.checked_add(by).unwrap();
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// A map with one capability. `more` goes before its roles.
pub fn map(capability: &str, roles: &str, more: &str) -> CapabilityMap {
    toml::from_str(&format!(
        "[capability.\"{capability}\"]\nsummary = \"s\"\nrevocation = \"eventual\"\npersistence = \"none\"\n{more}\n{roles}"
    ))
    .unwrap()
}

/// Reading a bucket as it is mapped for real.
pub const READ: &str = r#"
[[capability."object-storage:read".roles]]
role = "roles/storage.objectViewer"
title = "Storage Object Viewer"
permissions = ["storage.objects.get", "storage.objects.list"]
on = "{native}"
prefix_condition = 'resource.name.startsWith("projects/_/buckets/{name}/objects/{prefix}") || api.getAttribute("storage.googleapis.com/objectListPrefix", "").startsWith("{prefix}")'
"#;

pub fn read_map() -> CapabilityMap {
    map("object-storage:read", READ, "")
}

pub fn entitlement(capability: &str, native: &str, prefix: Option<&str>) -> Entitlement {
    let capability: grantd_provider_api::Capability = capability.parse().unwrap();
    Entitlement {
        resource: ResourceRef {
            cloud: Cloud::Gcp,
            account: "prod".to_owned(),
            kind: capability.resource_type().to_owned(),
            native: native.to_owned(),
        },
        capability,
        narrowing: Narrowing { prefix: prefix.map(str::to_owned), source_networks: Vec::new() },
    }
}

pub const ALPHA: &str = "//storage.googleapis.com/projects/_/buckets/alpha";

pub fn config_text(endpoint: &str, more: &str) -> String {
    format!(
        r#"
write_interval = "0s"
clock_skew = "20s"
propagation = {{ expected = "0s", worst = "0s" }}
timeouts = {{ attempt = "2s", operation = "10s" }}
[[account]]
name = "prod"
projects = ["acme-prod"]
number = "123456789012"
pool = "grantd"
provider = "grantd"
endpoint = "{endpoint}"
base = {{ type = "assertion", subject = "grantd" }}
{more}
[[account.service_account]]
email = "grantd-1@acme-prod.iam.gserviceaccount.com"
[[account.service_account]]
email = "grantd-2@acme-prod.iam.gserviceaccount.com"
"#
    )
}

pub fn config(more: &str) -> Config {
    toml::from_str(&config_text("http://127.0.0.1:1", more)).unwrap()
}

/// An adapter against the fake.
pub struct Stage {
    pub fake: FakeGoogle,
    pub gcp: GcpProvider,
    pub signer: Arc<Signer>,
}

impl Stage {
    pub fn new(more: &str) -> Self {
        let signer = Arc::new(Signer::new("https://issuer.example.com").unwrap());
        let fake = FakeGoogle::with_account(&signer).unwrap();
        // A bucket takes one write a second.
        Self { gcp: adapter(fake.url(), &signer, more, "1010ms"), fake, signer }
    }

    pub fn plan(&self, prefix: Option<&str>) -> Plan {
        self.gcp.plan(&entitlement("object-storage:read", ALPHA, prefix), &read_map()).unwrap()
    }

    pub async fn issue(&self, plan: &Plan, seconds: i64) -> Lease {
        self.try_issue(plan, seconds).await.unwrap()
    }

    pub async fn try_issue(&self, plan: &Plan, seconds: i64) -> Result<Lease, ProviderError> {
        let target = self.gcp.targets(plan).unwrap().remove(0);
        let lease = fresh();
        let now = SystemClock::new().now();
        let request = request(plan, &target.name, lease, now, seconds);
        let name = self.gcp.place(&request).unwrap().session_name;
        let issued = self.gcp.issue(&request).await?;
        let entry = entry(lease, &name, &target.name);
        let until = request.access_until;
        Ok(Lease { entry, target, until, issued })
    }

    pub async fn deny(&self, leases: &[&Lease]) -> grantd_provider_api::RevokeReceipt {
        let entries: Vec<DenyEntry> = leases.iter().map(|lease| lease.entry.clone()).collect();
        self.gcp.deny(&leases[0].target.scope, &entries, SystemClock::new().now()).await.unwrap()
    }

    /// How many bindings of alpha are not those that were there before.
    pub fn ours(&self) -> usize {
        let foreign = FakeGoogle::foreign();
        let bindings = self.fake.bindings("alpha");
        let others = bindings.iter().filter(|one| foreign.as_array().unwrap().contains(one)).count();
        assert_eq!(others, 2, "the bindings of others stand as they were: {bindings:?}");
        bindings.len() - others
    }
}

pub fn adapter(endpoint: &str, signer: &Arc<Signer>, more: &str, interval: &str) -> GcpProvider {
    let text =
        config_text(endpoint, more).replacen("write_interval = \"0s\"", &format!("write_interval = \"{interval}\""), 1);
    let config: Config = toml::from_str(&text).unwrap();
    GcpProvider::new(config, Arc::new(SystemClock::new()), signer.clone()).unwrap()
}

/// A lease that was issued.
#[derive(Debug)]
pub struct Lease {
    pub entry: DenyEntry,
    pub target: Target,
    pub until: Timestamp,
    pub issued: Issued,
}

impl Lease {
    pub fn token(&self) -> &str {
        let Credential::Gcp { access_token, .. } = &self.issued.credential else { panic!("not of gcp") };
        access_token.expose()
    }

    pub fn member(&self) -> String {
        FakeGoogle::principal(&self.entry.lease.to_string())
    }
}

pub fn entry(lease: LeaseId, session_name: &str, target: &str) -> DenyEntry {
    let (session_name, target) = (session_name.to_owned(), target.to_owned());
    DenyEntry { lease, session_name, target, origin: None, form: DenyForm::Single }
}

pub fn request<'a>(plan: &'a Plan, target: &'a str, lease: LeaseId, now: Timestamp, seconds: i64) -> IssueRequest<'a> {
    let access_until = Timestamp::from_second(now.as_second() + seconds).unwrap();
    IssueRequest {
        lease,
        slug: "deploy",
        plan,
        target,
        now,
        access_until,
        tags: &[],
        source_identity: "deploy",
        bearer: grantd_provider_api::Bearer::default(),
    }
}

#[expect(clippy::disallowed_methods, reason = "tests need ids too")]
pub fn fresh() -> LeaseId {
    LeaseId::new(Uuid::now_v7())
}
