//! A small tenant: one subscription, a daemon with a bounded right to assign roles, four slots, a container with a blob.

use std::collections::BTreeMap;

use grantd_provider_api::{Assertions, CapabilityMap};
use uuid::Uuid;

use super::{FakeApplication, FakeAzureSettings, FakeFederation, FakeRoleDefinition};
use crate::testissuer::TestIssuer;

const BLOB_READER: Uuid = Uuid::from_u128(0x2a2b_9908_6ea1_4ae2_8e65_a410_df84_e7d1);
/// What the adapter computes the ids of its own roles in; its own tests hold it to that.
const NAMESPACE: Uuid = Uuid::from_u128(0x5d0f_6a3b_41c7_4f0e_9a52_77c9_1f2e_8b64);

const RBAC_ADMINISTRATOR: Uuid = Uuid::from_u128(0xf583_10d9_a9f6_439a_9e8d_f62e_7b41_a168);

impl FakeAzureSettings {
    /// The tenant. Its applications take the word of `issuer`: the daemon's about `grantd`, the slots' about `slot-0`,
    /// `slot-1`, `slot-2` and `slot-3`. The daemon may assign Storage Blob Data Reader to the slots, and nothing else.
    #[must_use]
    pub fn sample(issuer: &TestIssuer) -> Self {
        let id = |last: u128| Uuid::from_u128(0x0000_0000_0000_4000_8000_0000_0000_0000 + last);
        let application = |client: u128, object: u128, subject: &str| FakeApplication {
            client_id: id(client),
            object_id: id(object),
            federated: vec![FakeFederation { issuer: issuer.issuer().to_owned(), subject: subject.to_owned() }],
        };
        let (subscription, slots) = (id(0x50b5), [id(0xba), id(0xbb), id(0xbc), id(0xbd)]);
        let part = |action: &str, source: &str| {
            format!(
                "((!(ActionMatches{{'Microsoft.Authorization/roleAssignments/{action}'}})) OR \
                 (@{source}[Microsoft.Authorization/roleAssignments:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals \
                 {{{BLOB_READER}}} AND @{source}[Microsoft.Authorization/roleAssignments:PrincipalId] \
                 ForAnyOfAnyValues:GuidEquals {{{}, {}, {}, {}}}))",
                slots[0], slots[1], slots[2], slots[3]
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
                application(0x5107d, 0xbd, "slot-3"),
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

    /// The same tenant with what a map takes of roles of its own: they are defined in its subscription, and the daemon may
    /// assign them to the slots too. `grantctl bootstrap azure` prints the same.
    #[must_use]
    pub fn granting(mut self, map: &CapabilityMap) -> Self {
        let subscription = self.subscriptions.first().copied().unwrap_or_default();
        for role in map.capability.values().flat_map(|permission| &permission.roles) {
            let Some(name) = role.role.strip_prefix("custom:") else { continue };
            let id = Uuid::new_v5(&NAMESPACE, format!("role {subscription} {name}").as_bytes());
            if self.roles.iter().any(|known| known.id == id) {
                continue;
            }
            let (actions, data_actions) = (role.permissions.clone(), role.data_permissions.clone());
            self.roles.push(FakeRoleDefinition { id, name: role.title.clone(), actions, data_actions });
            for (_, _, _, condition) in &mut self.assignments {
                let among = format!("{{{BLOB_READER}");
                *condition = condition.as_ref().map(|text| text.replace(&among, &format!("{among}, {id}")));
            }
        }
        self
    }

    /// The same tenant with one more resource, such as a cluster.
    #[must_use]
    pub fn with_resource(mut self, id: String) -> Self {
        self.resources.push(id);
        self
    }
}
