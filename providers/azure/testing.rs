//! What the tests share: a fake Azure with two slots, a provider in front of it, and small maps.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use grantd_provider_api::{
    CapabilityMap, Clock, Cloud, DenyEntry, DenyForm, DenyScope, Entitlement, IdSource, IssueRequest, LeaseId,
    Narrowing, Plan, Provider, RandomIds, ResourceRef, SystemClock,
};
use grantd_testkit::{FakeApplication, FakeAzure, FakeAzureSettings, FakeFederation, FakeRoleDefinition, TestIssuer};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::config::Config;
use crate::names::custom_role;
use crate::{AzureProvider, delegation};

pub(crate) const TENANT: Uuid = Uuid::from_u128(0x7e4a);
pub(crate) const SUBSCRIPTION: Uuid = Uuid::from_u128(0x50b5);
pub(crate) const BASE: Uuid = Uuid::from_u128(0xba5e);
pub(crate) const BASE_PRINCIPAL: Uuid = Uuid::from_u128(0x00ba_5e0b);
/// The slots' client ids and object ids.
pub(crate) const SLOTS: [(Uuid, Uuid); 2] =
    [(Uuid::from_u128(0x0051_0701), Uuid::from_u128(0x0b01)), (Uuid::from_u128(0x0051_0702), Uuid::from_u128(0x0b02))];
pub(crate) const ISSUER: &str = "https://issuer.test";
pub(crate) const BLOB_READER: &str = "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1";
pub(crate) const SECRETS_USER: &str = "4633458b-17de-408a-b874-0445c86b69e6";
const RBAC_ADMINISTRATOR: &str = "f58310d9-a9f6-439a-9e8d-f62e7b41a168";
const READER: &str = "acdd72a7-3385-48ef-bd42-f606fba81ae7";
pub(crate) const READ_BLOB: &str = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read";

pub(crate) fn subscription() -> String {
    format!("/subscriptions/{SUBSCRIPTION}")
}

pub(crate) fn container(name: &str) -> String {
    format!(
        "{}/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/store/blobServices/default/containers/{name}",
        subscription()
    )
}

pub(crate) fn secret() -> String {
    format!("{}/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/kv/secrets/db", subscription())
}

/// The map of the tests.
pub(crate) fn map() -> CapabilityMap {
    toml::from_str(&format!(
        r#"
        [capability."object-storage:read"]
        summary = "read blobs"
        revocation = "eventual"
        persistence = "none"
        expiry = "daemon"
        audiences = ["https://storage.azure.com"]
        [[capability."object-storage:read".roles]]
        role = "{BLOB_READER}"
        title = "Storage Blob Data Reader"
        data_permissions = ["{READ_BLOB}"]
        on = "{{native}}"
        prefix_condition = "((!(ActionMatches{{'{READ_BLOB}'}})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringStartsWith '{{prefix}}'))"

        [capability."secret:read"]
        summary = "read a secret"
        revocation = "eventual"
        persistence = "none"
        expiry = "daemon"
        audiences = ["https://vault.azure.net"]
        [[capability."secret:read".roles]]
        role = "{SECRETS_USER}"
        title = "Key Vault Secrets User"
        data_permissions = ["Microsoft.KeyVault/vaults/secrets/getSecret/action"]
        on = "{{native}}"

        [capability."virtual-machine:admin"]
        summary = "start and stop a machine"
        revocation = "eventual"
        persistence = "none"
        expiry = "daemon"
        audiences = ["https://management.azure.com"]
        [[capability."virtual-machine:admin".roles]]
        role = "custom:machine-power"
        title = "machine power"
        permissions = ["Microsoft.Compute/virtualMachines/read", "Microsoft.Compute/virtualMachines/restart/action"]
        on = "{{native}}"
        [[capability."virtual-machine:admin".roles]]
        role = "{READER}"
        title = "Reader"
        permissions = ["Microsoft.Compute/virtualMachines/read"]
        on = "{{native}}"
        "#
    ))
    .unwrap()
}

/// A map with one capability, `object-storage:read`, that is this role.
pub(crate) fn map_with(role: &str) -> CapabilityMap {
    toml::from_str(&format!(
        "[capability.\"object-storage:read\"]\nsummary = \"s\"\nrevocation = \"eventual\"\npersistence = \"none\"\n\
         audiences = [\"https://storage.azure.com\"]\n[[capability.\"object-storage:read\".roles]]\n{role}\n"
    ))
    .unwrap()
}

pub(crate) fn machine() -> String {
    format!("{}/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/vm", subscription())
}

/// The configuration as it is written, in front of `url`.
pub(crate) fn config_text(url: &str, ca: &str, more: &str, account: &str) -> String {
    let slots: String = SLOTS
        .iter()
        .enumerate()
        .map(|(at, (client, object))| {
            format!("[[account.slot]]\nclient_id = \"{client}\"\nobject_id = \"{object}\"\nsubject = \"slot-{at}\"\n")
        })
        .collect();
    format!(
        "ca_bundle = \"{ca}\"\ntimeouts = {{ connect = \"500ms\", attempt = \"700ms\", operation = \"2s\" }}\n\
         readiness = \"500ms\"\n{more}\n[[account]]\nname = \"main\"\ntenant = \"{TENANT}\"\n\
         subscriptions = [\"{SUBSCRIPTION}\"]\n{account}\n\
         endpoints = {{ authority = \"{url}\", resource_manager = \"{url}\", blob = \"{url}/blob/{{name}}\", \
         vault = \"{url}/vault/{{name}}\" }}\n\
         base = {{ type = \"federation\", client_id = \"{BASE}\", subject = \"grantd\" }}\n{slots}"
    )
}

pub(crate) fn config(more: &str, account: &str) -> Result<Config, toml::de::Error> {
    toml::from_str(&config_text("https://127.0.0.1:1", "/nonexistent", more, account))
}

/// A fake Azure and a provider in front of it.
pub(crate) struct Stage {
    pub fake: FakeAzure,
    pub provider: AzureProvider,
    _authorities: tempfile::NamedTempFile,
}

impl Stage {
    pub fn new() -> Self {
        Self::with("", "")
    }

    pub fn with(more: &str, account: &str) -> Self {
        let issuer = Arc::new(TestIssuer::new(ISSUER));
        let fake = FakeAzure::start(settings(&issuer)).unwrap();
        let mut authorities = tempfile::NamedTempFile::new().unwrap();
        authorities.write_all(fake.authority_pem().as_bytes()).unwrap();
        let ca = authorities.path().display().to_string();
        let config: Config = toml::from_str(&config_text(&fake.url(), &ca, more, account)).unwrap();
        let provider = AzureProvider::new(config, Arc::new(SystemClock::new()), issuer).unwrap();
        Self { fake, provider, _authorities: authorities }
    }

    pub fn plan(&self, capability: &str, native: &str, prefix: Option<&str>) -> Plan {
        self.provider.plan(&entitlement(capability, native, prefix), &map()).unwrap()
    }

    pub fn scope(&self, slot: usize) -> DenyScope {
        DenyScope { cloud: Cloud::Azure, account: "main".to_owned(), name: SLOTS[slot].1.to_string() }
    }

    /// The entry that takes a lease on a slot away.
    pub fn entry(&self, plan: &Plan, lease: LeaseId, slot: usize) -> DenyEntry {
        let target = SLOTS[slot].1.to_string();
        let session_name = self.provider.place(&request(lease, plan, &target)).unwrap().session_name;
        DenyEntry { lease, session_name, target, origin: None, form: DenyForm::Single }
    }
}

/// The fake's settings: the base may assign what the maps need to the slots, and nothing else.
pub(crate) fn settings(issuer: &TestIssuer) -> FakeAzureSettings {
    use grantd_provider_api::Assertions;
    let application = |client_id: Uuid, object_id: Uuid, subject: &str| FakeApplication {
        client_id,
        object_id,
        federated: vec![FakeFederation { issuer: issuer.issuer().to_owned(), subject: subject.to_owned() }],
    };
    let mut applications = vec![application(BASE, BASE_PRINCIPAL, "grantd")];
    applications.extend(
        SLOTS.iter().enumerate().map(|(at, (client, object))| application(*client, *object, &format!("slot-{at}"))),
    );
    let power = custom_role(SUBSCRIPTION, "machine-power");
    let uuid = |text: &str| Uuid::try_parse(text).unwrap();
    let delegated = delegation::condition(
        &[uuid(BLOB_READER), uuid(SECRETS_USER), uuid(READER), power].into(),
        &SLOTS.map(|(_, object)| object).into(),
    );
    FakeAzureSettings {
        tenant: TENANT,
        subscriptions: vec![SUBSCRIPTION],
        applications,
        key_sets: BTreeMap::from([(ISSUER.to_owned(), issuer.key_set())]),
        roles: vec![FakeRoleDefinition::new(
            &power.to_string(),
            "grantd machine-power",
            &["Microsoft.Compute/virtualMachines/read", "Microsoft.Compute/virtualMachines/restart/action"],
            &[],
        )],
        resources: vec![container("logs"), container("other"), secret(), machine()],
        blobs: BTreeMap::from([
            ("store/logs/app/today".to_owned(), "a line".to_owned()),
            ("store/other/secret".to_owned(), "not yours".to_owned()),
        ]),
        assignments: vec![(subscription(), uuid(RBAC_ADMINISTRATOR), BASE_PRINCIPAL, Some(delegated))],
        token_lifetime: 3_600,
    }
}

pub(crate) fn entitlement(capability: &str, native: &str, prefix: Option<&str>) -> Entitlement {
    let capability: grantd_provider_api::Capability = capability.parse().unwrap();
    Entitlement {
        resource: ResourceRef {
            cloud: Cloud::Azure,
            account: "main".to_owned(),
            kind: capability.resource_type().to_owned(),
            native: native.to_owned(),
        },
        capability,
        narrowing: Narrowing { prefix: prefix.map(str::to_owned), source_networks: Vec::new() },
    }
}

pub(crate) fn lease() -> LeaseId {
    LeaseId::new(RandomIds.fresh())
}

pub(crate) fn now() -> Timestamp {
    SystemClock::new().now()
}

pub(crate) fn request<'a>(lease: LeaseId, plan: &'a Plan, target: &'a str) -> IssueRequest<'a> {
    request_for(lease, plan, target, 300)
}

pub(crate) fn request_for<'a>(lease: LeaseId, plan: &'a Plan, target: &'a str, seconds: i64) -> IssueRequest<'a> {
    let now = now();
    let access_until = now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
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
