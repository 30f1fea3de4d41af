//! The AWS adapter before MiniStack, with the fault proxy between them; sessions are tried by boto3, past the proxy.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use grantd_provider_api::{
    CapabilityMap, Clock, Cloud, Credential, Entitlement, LeaseId, Narrowing, NoAssertions, Provider, ResourceRef,
    SystemClock,
};
use grantd_provider_aws::AwsProvider;
use grantd_testkit::conformance::Stage;
use grantd_testkit::{Account, Fault, FaultProxy, MiniStack, Prober, Rule, Session, Sight, repository_root};
use tempfile::TempDir;

/// Everything that the adapter writes.
const WRITES: [&str; 2] = ["CreatePolicyVersion", "DeletePolicyVersion"];

pub struct AwsStage {
    provider: AwsProvider,
    map: CapabilityMap,
    clock: Arc<dyn Clock>,
    proxy: FaultProxy,
    stack: MiniStack,
    prober: Mutex<Prober>,
    _files: TempDir,
}

impl AwsStage {
    pub fn new() -> Self {
        let files = tempfile::tempdir().unwrap();
        let stack = MiniStack::start(files.path()).unwrap();
        let account = Account::prepare(&stack.url()).unwrap();
        let proxy = FaultProxy::start(stack.address()).unwrap();
        let profile = files.path().join("credentials");
        account.write_profile(&profile, "grantd").unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let config = toml::from_str(&settings(&account, &proxy.url(), &profile)).unwrap();
        let provider = AwsProvider::new(config, Arc::clone(&clock), Arc::new(NoAssertions)).unwrap();
        let map = std::fs::read_to_string(repository_root().join("config/entitlements/aws.toml")).unwrap();
        let map = toml::from_str(&map).unwrap();
        Self { provider, map, clock, proxy, stack, prober: Mutex::new(Prober::start().unwrap()), _files: files }
    }

    /// Whether boto3 can read the object in `bucket` with it.
    fn reads(&self, session: &Arc<Session>, bucket: &str) -> bool {
        let seen = self.prober.lock().unwrap().look(&self.stack.url(), "hello.txt", &[(bucket, Arc::clone(session))]);
        match seen.unwrap().remove(0) {
            Sight::Allowed => true,
            refused if refused.is_refusal() => false,
            other => panic!("neither allowed nor refused: {other:?}"),
        }
    }

    fn session(&self, is: impl Fn(&Session) -> bool) -> Option<Arc<Session>> {
        self.proxy.ledger().into_iter().find(|session| is(session))
    }
}

#[async_trait]
impl Stage for AwsStage {
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
                cloud: Cloud::Aws,
                account: "main".to_owned(),
                kind: "object-storage".to_owned(),
                native: format!("arn:aws:s3:::{bucket}"),
            },
            narrowing: Narrowing::default(),
        })
    }

    async fn allows(&self, credential: &Credential, on: &Entitlement) -> bool {
        let Credential::Aws { access_key_id, .. } = credential else { panic!("no session of AWS") };
        let session = self.session(|session| session.access_key_id == *access_key_id).expect("the cloud issued it");
        self.reads(&session, on.resource.native.trim_start_matches("arn:aws:s3:::"))
    }

    async fn stands(&self, lease: LeaseId) -> bool {
        let session = self.session(|session| session.session_name.ends_with(&lease.suffix()));
        session.is_some_and(|session| self.reads(&session, "alpha") || self.reads(&session, "beta"))
    }

    async fn foreign(&self) -> String {
        // What is not grantd's in this account cannot be reached by the base identity: the proxy saw all that was tried.
        let mut text = String::new();
        for record in self.proxy.records() {
            let known = ["AssumeRole", "GetPolicyVersion", "ListPolicyVersions"];
            if !known.iter().chain(&WRITES).any(|action| record.action == **action) {
                writeln!(text, "{}", record.action).unwrap();
            }
        }
        text
    }

    fn requests(&self) -> usize {
        self.proxy.records().len()
    }

    fn trouble(&self, fault: Fault, skip: usize) {
        self.proxy.add(Rule::on_all(fault).skip(u32::try_from(skip).unwrap()).times(1)).unwrap();
    }

    fn late(&self, by: Duration) {
        self.proxy.add(Rule::delayed_effect(by)).unwrap();
    }

    fn calm(&self) {
        self.proxy.clear();
    }
}

fn settings(account: &Account, endpoint: &str, profile: &Path) -> String {
    let mut text = format!(
        "batch_window = \"1ms\"\nwrite_interval = \"1ms\"\n\
         propagation = {{ expected = \"1s\", worst = \"1s\" }}\n\
         timeouts = {{ connect = \"1s\", read = \"2s\", attempt = \"3s\", operation = \"6s\" }}\n\
         [[account]]\nname = \"main\"\nid = \"{}\"\nregion = \"eu-west-1\"\nendpoint = \"{endpoint}\"\n\
         base = {{ type = \"profile\", files = [\"{}\"], profile = \"grantd\" }}\n",
        account.account_id,
        profile.display()
    );
    for (role, boundary) in account.role_arns.iter().zip(&account.boundary_arns) {
        writeln!(text, "[[account.role]]\narn = \"{role}\"\nboundary = \"{boundary}\"").unwrap();
    }
    text
}
