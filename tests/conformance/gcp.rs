//! The adapter of Google Cloud before the fake of Google, with the fault proxy between them; sessions are tried past the
//! proxy.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use grantd_provider_api::{
    CapabilityMap, Clock, Cloud, Credential, Entitlement, LeaseId, Narrowing, Provider, ResourceRef, SystemClock,
};
use grantd_provider_gcp::GcpProvider;
use grantd_testkit::conformance::Stage;
use grantd_testkit::{FakeGoogle, Fault, FaultProxy, Rule, Signer, repository_root};
use serde_json::json;

const BUCKETS: &str = "//storage.googleapis.com/projects/_/buckets/";

pub struct GcpStage {
    provider: GcpProvider,
    map: CapabilityMap,
    clock: Arc<dyn Clock>,
    proxy: FaultProxy,
    fake: FakeGoogle,
    /// What is in the members of a binding of ours, and of nobody else's.
    ours: &'static str,
}

/// Reading by a service account out of a pool.
const CARRIED: &str = r#"
[capability."object-storage:read"]
summary = "list and read objects"
revocation = "eventual"
persistence = "none"
carrier = "service_account"
[[capability."object-storage:read".roles]]
role = "roles/storage.objectViewer"
title = "Storage Object Viewer"
permissions = ["storage.objects.get", "storage.objects.list"]
on = "{native}"
prefix_condition = 'resource.name.startsWith("projects/_/buckets/{name}/objects/{prefix}") || api.getAttribute("storage.googleapis.com/objectListPrefix", "").startsWith("{prefix}")'
"#;

impl GcpStage {
    /// By principals of a pool, with the shipped map.
    pub fn new() -> Self {
        let map = std::fs::read_to_string(repository_root().join("config/entitlements/gcp.toml")).unwrap();
        Self::with(&map, "/workloadIdentityPools/")
    }

    /// By impersonation of service accounts.
    pub fn impersonating() -> Self {
        Self::with(CARRIED, "serviceAccount:grantd-")
    }

    fn with(map: &str, ours: &'static str) -> Self {
        let signer = Arc::new(Signer::new("https://issuer.example.com").unwrap());
        let fake = FakeGoogle::with_account(&signer).unwrap();
        let email = |nth: u32| format!("grantd-{nth}@{}.iam.gserviceaccount.com", FakeGoogle::PROJECT);
        // The account has two; a third one for a neighbour on another resource.
        let third = format!("//iam.googleapis.com/projects/{}/serviceAccounts/{}", FakeGoogle::PROJECT, email(3));
        let daemon = FakeGoogle::principal(FakeGoogle::SUBJECT);
        let creator = json!({ "role": "roles/iam.serviceAccountTokenCreator", "members": [daemon] });
        fake.control("setup", &json!({ "policies": { third: { "bindings": [creator] } } }));
        let accounts: String =
            (1..=3).map(|nth| format!("[[account.service_account]]\nemail = \"{}\"\n", email(nth))).collect();
        let proxy = FaultProxy::start(fake.url().trim_start_matches("http://").parse().unwrap()).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        // A bucket takes one write a second.
        let config = format!(
            "batch_window = \"1ms\"\nwrite_interval = \"1010ms\"\npropagation = {{ expected = \"1s\", worst = \"1s\" }}\n\
             timeouts = {{ connect = \"1s\", attempt = \"2s\", operation = \"10s\" }}\n\
             [[account]]\nname = \"main\"\nprojects = [\"{project}\"]\nnumber = \"{number}\"\npool = \"grantd\"\n\
             provider = \"grantd\"\nendpoint = \"{endpoint}\"\nbase = {{ type = \"assertion\", subject = \"{subject}\" }}\n{accounts}",
            project = FakeGoogle::PROJECT,
            number = FakeGoogle::NUMBER,
            subject = FakeGoogle::SUBJECT,
            endpoint = proxy.url(),
        );
        let provider = GcpProvider::new(toml::from_str(&config).unwrap(), Arc::clone(&clock), signer).unwrap();
        Self { provider, map: toml::from_str(map).unwrap(), clock, proxy, fake, ours }
    }

    /// The calls so far, by Google's names of the methods.
    pub fn calls(&self) -> Vec<String> {
        self.fake.requests().iter().map(|request| request["method"].as_str().unwrap().to_owned()).collect()
    }

    /// The bindings of both buckets, those of grantd's pool or the others.
    fn bindings(&self, ours: bool) -> String {
        let all = ["alpha", "beta"].map(|bucket| self.fake.bindings(bucket));
        let all = all.iter().flatten().map(ToString::to_string);
        all.filter(|binding| binding.contains(self.ours) == ours).collect::<Vec<_>>().join("\n")
    }
}

#[async_trait]
impl Stage for GcpStage {
    fn provider(&self) -> &dyn Provider {
        &self.provider
    }

    fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    fn map(&self) -> &CapabilityMap {
        &self.map
    }

    fn entitlements(&self) -> [Entitlement; 2] {
        ["alpha", "beta"].map(|bucket| Entitlement {
            capability: "object-storage:read".parse().unwrap(),
            resource: ResourceRef {
                cloud: Cloud::Gcp,
                account: "main".to_owned(),
                kind: "object-storage".to_owned(),
                native: format!("{BUCKETS}{bucket}"),
            },
            narrowing: Narrowing::default(),
        })
    }

    async fn allows(&self, credential: &Credential, on: &Entitlement) -> bool {
        let Credential::Gcp { access_token, .. } = credential else { panic!("no token of Google") };
        match self.fake.read(access_token.expose(), on.resource.native.trim_start_matches(BUCKETS), "in/hello.txt") {
            200 => true,
            401 | 403 => false,
            other => panic!("neither allowed nor refused: {other}"),
        }
    }

    async fn stands(&self, lease: LeaseId) -> bool {
        self.bindings(true).contains(&lease.to_string())
    }

    async fn foreign(&self) -> String {
        self.bindings(false)
    }

    fn requests(&self) -> usize {
        self.proxy.records().len()
    }

    fn trouble(&self, fault: Fault, skip: usize) {
        self.proxy.add(Rule::on_all(fault).skip(u32::try_from(skip).unwrap()).times(1)).unwrap();
    }

    fn late(&self, by: Duration) {
        // Whatever is asked arrives late; each thing that a denial takes is late by its share.
        let millis = u64::try_from(by.as_millis() / 4).unwrap();
        self.proxy.add(Rule::on_all(Fault::DelayBefore { millis })).unwrap();
    }

    fn calm(&self) {
        self.proxy.clear();
    }
}
