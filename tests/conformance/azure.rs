//! The adapter of Azure before the fake of Entra and Resource Manager, which goes wrong by itself; sessions are tried by
//! curl.

use std::io::Write;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use grantd_provider_api::{
    CapabilityMap, Clock, Cloud, Credential, Entitlement, LeaseId, Narrowing, Provider, ResourceRef, SystemClock,
};
use grantd_provider_azure::AzureProvider;
use grantd_testkit::conformance::Stage;
use grantd_testkit::{FakeAssignment, FakeAzure, FakeAzureSettings, FakeFault, FakeRoleDefinition, Fault, TestIssuer};
use tempfile::NamedTempFile;

/// One capability by a built-in role, which the sample tenant lets the daemon assign.
const MAP: &str = r#"
[capability."object-storage:read"]
summary = "read blobs"
revocation = "eventual"
persistence = "none"
expiry = "daemon"
audiences = ["https://storage.azure.com"]

[[capability."object-storage:read".roles]]
role = "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"
title = "Storage Blob Data Reader"
data_permissions = ["Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"]
on = "{native}"
prefix_condition = "((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith '{prefix}'))"
"#;

pub struct AzureStage {
    provider: AzureProvider,
    map: CapabilityMap,
    clock: Arc<dyn Clock>,
    fake: FakeAzure,
    settings: FakeAzureSettings,
    authorities: NamedTempFile,
}

impl AzureStage {
    pub fn new() -> Self {
        Self::with("")
    }

    /// Where Azure stands behind the daemon, by Privileged Identity Management.
    pub fn with_backstop() -> Self {
        let stage = Self::with("pim_backstop = true\n");
        let id = "00000000-0000-4000-8000-00000000b0b0";
        let schedules = ["Microsoft.Authorization/roleAssignmentSchedule*"];
        let role = FakeRoleDefinition::new(id, "schedules", &schedules, &[]);
        let (scope, base) =
            (format!("/subscriptions/{}", stage.settings.subscriptions[0]), &stage.settings.applications[0]);
        let assigned =
            stage.fake.define(role.clone()).and_then(|()| stage.fake.assign_on(&scope, role.id, base.object_id, None));
        assigned.unwrap();
        stage
    }

    fn with(more: &str) -> Self {
        let issuer = Arc::new(TestIssuer::new("https://issuer.test"));
        let settings = FakeAzureSettings::sample(&issuer);
        let fake = FakeAzure::start(settings.clone()).unwrap();
        let mut authorities = NamedTempFile::new().unwrap();
        authorities.write_all(fake.authority_pem().as_bytes()).unwrap();
        let (base, slots) = settings.applications.split_first().unwrap();
        let slots: String = slots
            .iter()
            .map(|slot| {
                let subject = &slot.federated[0].subject;
                let (client, object) = (slot.client_id, slot.object_id);
                format!(
                    "[[account.slot]]\nclient_id = \"{client}\"\nobject_id = \"{object}\"\nsubject = \"{subject}\"\n"
                )
            })
            .collect();
        let text = format!(
            "ca_bundle = \"{ca}\"\nreadiness = \"2s\"\npropagation = {{ expected = \"1s\", worst = \"1s\" }}\n\
             timeouts = {{ connect = \"1s\", attempt = \"2s\", operation = \"6s\" }}\n\
             [[account]]\nname = \"main\"\n{more}tenant = \"{tenant}\"\nsubscriptions = [\"{subscription}\"]\n\
             endpoints = {{ authority = \"{url}\", resource_manager = \"{url}\", blob = \"{url}/blob/{{name}}\" }}\n\
             base = {{ type = \"federation\", client_id = \"{base}\", subject = \"grantd\" }}\n{slots}",
            ca = authorities.path().display(),
            tenant = settings.tenant,
            subscription = settings.subscriptions[0],
            url = fake.url(),
            base = base.client_id,
        );
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let provider = AzureProvider::new(toml::from_str(&text).unwrap(), Arc::clone(&clock), issuer).unwrap();
        Self { provider, map: toml::from_str(MAP).unwrap(), clock, fake, settings, authorities }
    }

    /// The calls so far, without what differs from lease to lease.
    pub fn calls(&self) -> Vec<String> {
        let shown = |path: &str| {
            let authorization = path.rsplit_once("/providers/Microsoft.Authorization/").map(|(_, rest)| rest);
            match authorization.map(|rest| rest.split_once('/')) {
                Some(Some((kind, _))) => format!("{kind}/{{name}}"),
                Some(None) => authorization.unwrap().to_owned(),
                None if path.ends_with("/token") => "token".to_owned(),
                None => path.trim_start_matches('/').split('/').next().unwrap().to_owned(),
            }
        };
        self.fake.requests("").iter().map(|request| format!("{} {}", request.method, shown(&request.path))).collect()
    }

    /// Everything that is assigned to slots, or to others.
    fn assignments(&self, slots: bool) -> Vec<FakeAssignment> {
        let (base, others) = self.settings.applications.split_first().unwrap();
        let of: Vec<_> = if slots { others.iter().collect() } else { vec![base] };
        of.iter().flat_map(|application| self.fake.assignments_of(application.object_id)).collect()
    }
}

#[async_trait]
impl Stage for AzureStage {
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
        [0, 1].map(|nth: usize| Entitlement {
            capability: "object-storage:read".parse().unwrap(),
            resource: ResourceRef {
                cloud: Cloud::Azure,
                account: "main".to_owned(),
                kind: "object-storage".to_owned(),
                native: self.settings.resources[nth].clone(),
            },
            narrowing: Narrowing::default(),
        })
    }

    async fn allows(&self, credential: &Credential, on: &Entitlement) -> bool {
        let Credential::Azure { tokens, .. } = credential else { panic!("no tokens of Azure") };
        let container = on.resource.native.rsplit('/').next().unwrap();
        let url = format!("{}/blob/store/{container}/hello.txt", self.fake.url());
        let header = format!("Authorization: Bearer {}", tokens[0].token.expose());
        let asked = Command::new("curl")
            .args(["--silent", "--show-error", "--noproxy", "*", "--cacert"])
            .arg(self.authorities.path())
            .args(["-H", "x-ms-version: 2023-11-03", "-H", &header, &url])
            .output()
            .unwrap();
        let text = String::from_utf8(asked.stdout).unwrap();
        let refused = text.contains("AuthorizationPermissionMismatch");
        assert!(refused || text == format!("hello from {container}"), "neither allowed nor refused: {text}");
        !refused
    }

    async fn stands(&self, lease: LeaseId) -> bool {
        self.assignments(true)
            .iter()
            .filter_map(|one| one.description.clone())
            .chain(self.fake.justified())
            .any(|it| it.contains(&lease.to_string()))
    }

    async fn foreign(&self) -> String {
        format!("{:?}", self.assignments(false))
    }

    fn requests(&self) -> usize {
        self.fake.requests("").len()
    }

    fn trouble(&self, fault: Fault, skip: usize) {
        let fault = match fault {
            Fault::Status { status: 429, .. } => FakeFault::Throttle(1),
            Fault::Status { status, .. } => FakeFault::Status(status),
            Fault::DropAfter => FakeFault::LoseAnswer,
            Fault::Reset => FakeFault::Reset,
            Fault::Garbage => FakeFault::Garbage,
            other => panic!("{other:?} is not played here"),
        };
        self.fake.fault_after(skip, fault);
    }

    fn late(&self, by: Duration) {
        self.fake.fault("DELETE", "roleAssignments", FakeFault::Delay(by));
    }

    fn calm(&self) {
        self.fake.calm();
    }
}
