//! A small tenant: one subscription, a daemon with a bounded right to assign roles, three slots, a container with a blob.

use std::collections::BTreeMap;

use grantd_provider_api::Assertions;
use uuid::Uuid;

use super::{FakeApplication, FakeAzureSettings, FakeFederation};
use crate::testissuer::TestIssuer;

const BLOB_READER: Uuid = Uuid::from_u128(0x2a2b_9908_6ea1_4ae2_8e65_a410_df84_e7d1);
const RBAC_ADMINISTRATOR: Uuid = Uuid::from_u128(0xf583_10d9_a9f6_439a_9e8d_f62e_7b41_a168);

impl FakeAzureSettings {
    /// The tenant. Its applications take the word of `issuer`: the daemon's about `grantd`, the slots' about `slot-0`,
    /// `slot-1` and `slot-2`. The daemon may assign Storage Blob Data Reader to the slots, and nothing else.
    #[must_use]
    pub fn sample(issuer: &TestIssuer) -> Self {
        let id = |last: u128| Uuid::from_u128(0x0000_0000_0000_4000_8000_0000_0000_0000 + last);
        let application = |client: u128, object: u128, subject: &str| FakeApplication {
            client_id: id(client),
            object_id: id(object),
            federated: vec![FakeFederation { issuer: issuer.issuer().to_owned(), subject: subject.to_owned() }],
        };
        let (subscription, slots) = (id(0x50b5), [id(0xba), id(0xbb), id(0xbc)]);
        let part = |action: &str, source: &str| {
            format!(
                "((!(ActionMatches{{'Microsoft.Authorization/roleAssignments/{action}'}})) OR \
                 (@{source}[Microsoft.Authorization/roleAssignments:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals \
                 {{{BLOB_READER}}} AND @{source}[Microsoft.Authorization/roleAssignments:PrincipalId] \
                 ForAnyOfAnyValues:GuidEquals {{{}, {}, {}}}))",
                slots[0], slots[1], slots[2]
            )
        };
        let delegated = format!("{} AND {}", part("write", "Request"), part("delete", "Resource"));
        let container = |name: &str| {
            format!(
                "/subscriptions/{subscription}/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/store/\
                 blobServices/default/containers/{name}"
            )
        };
        Self {
            tenant: id(0x7e4a),
            subscriptions: vec![subscription],
            applications: vec![
                application(0xba5e1, 0xba5e2, "grantd"),
                application(0x5107a, 0xba, "slot-0"),
                application(0x5107b, 0xbb, "slot-1"),
                application(0x5107c, 0xbc, "slot-2"),
            ],
            key_sets: BTreeMap::from([(issuer.issuer().to_owned(), issuer.key_set())]),
            roles: Vec::new(),
            resources: vec![container("logs"), container("other")],
            blobs: ["logs", "other"]
                .into_iter()
                .map(|name| (format!("store/{name}/hello.txt"), format!("hello from {name}")))
                .collect(),
            assignments: vec![(
                format!("/subscriptions/{subscription}"),
                RBAC_ADMINISTRATOR,
                id(0xba5e2),
                Some(delegated),
            )],
            token_lifetime: 3_600,
        }
    }
}
