//! Roles, assignments, and what they let a principal do.

use serde_json::{Value, json};
use uuid::Uuid;

use super::condition::{Condition, Facts, attribute, matches};

/// A role definition: the actions that matter to the tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeRoleDefinition {
    /// Its GUID.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Its actions, with wildcards.
    pub actions: Vec<String>,
    /// Its data actions, with wildcards.
    pub data_actions: Vec<String>,
}

impl FakeRoleDefinition {
    /// A role.
    ///
    /// # Panics
    /// The id is no GUID.
    #[must_use]
    #[expect(clippy::expect_used, reason = "test support")]
    pub fn new(id: &str, name: &str, actions: &[&str], data_actions: &[&str]) -> Self {
        let owned = |list: &[&str]| list.iter().map(|&one| one.to_owned()).collect();
        let id = Uuid::try_parse(id).expect("a role's id is a GUID");
        Self { id, name: name.to_owned(), actions: owned(actions), data_actions: owned(data_actions) }
    }

    /// The built-in roles that the tests use, as Azure documents them (Azure RBAC, "Azure built-in roles").
    pub(super) fn built_in() -> Vec<Self> {
        vec![
            Self::new("acdd72a7-3385-48ef-bd42-f606fba81ae7", "Reader", &["*/read"], &[]),
            Self::new("8e3af657-a8ff-443c-a75c-2fe8c4bcb635", "Owner", &["*"], &[]),
            Self::new(
                "f58310d9-a9f6-439a-9e8d-f62e7b41a168",
                "Role Based Access Control Administrator",
                &[
                    "Microsoft.Authorization/roleAssignments/write",
                    "Microsoft.Authorization/roleAssignments/delete",
                    "*/read",
                    "Microsoft.Support/*",
                ],
                &[],
            ),
            Self::new(
                "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1",
                "Storage Blob Data Reader",
                &[
                    "Microsoft.Storage/storageAccounts/blobServices/containers/read",
                    "Microsoft.Storage/storageAccounts/blobServices/generateUserDelegationKey/action",
                ],
                &["Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"],
            ),
            Self::new(
                "4633458b-17de-408a-b874-0445c86b69e6",
                "Key Vault Secrets User",
                &[],
                &[
                    "Microsoft.KeyVault/vaults/secrets/getSecret/action",
                    "Microsoft.KeyVault/vaults/secrets/readMetadata/action",
                ],
            ),
        ]
    }
}

/// A role assignment.
#[derive(Debug, Clone, PartialEq)]
pub struct FakeAssignment {
    /// Its resource ID.
    pub id: String,
    /// Where.
    pub scope: String,
    /// Which role.
    pub role: Uuid,
    /// To whom.
    pub principal: Uuid,
    /// On which condition.
    pub condition: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// From when on it is felt, in seconds since the fake started.
    pub(super) felt_from: f64,
    /// Until when it is felt, once it was removed.
    pub(super) felt_until: Option<f64>,
    /// When it ends by itself, in seconds since the fake started.
    pub(super) ends: f64,
}

impl FakeAssignment {
    /// As Resource Manager shows it.
    pub(super) fn shown(&self) -> Value {
        let subscription = self.scope.split('/').nth(2).unwrap_or_default();
        let mut properties = json!({
            "roleDefinitionId": format!(
                "/subscriptions/{subscription}/providers/Microsoft.Authorization/roleDefinitions/{}", self.role
            ),
            "principalId": self.principal,
            "principalType": "ServicePrincipal",
            "scope": self.scope,
            "condition": self.condition,
            "conditionVersion": self.condition.as_ref().map(|_| "2.0"),
            "createdOn": "2026-01-01T00:00:00.0000000Z",
            "updatedOn": "2026-01-01T00:00:00.0000000Z",
            "createdBy": Value::Null,
            "updatedBy": "00000000-0000-0000-0000-00000000000b",
            "delegatedManagedIdentityResourceId": Value::Null,
            "description": self.description,
        });
        if self.condition.is_none()
            && let Some(fields) = properties.as_object_mut()
        {
            fields.insert("condition".to_owned(), Value::Null);
        }
        let name = self.id.rsplit('/').next().unwrap_or_default();
        json!({
            "properties": properties, "id": self.id, "name": name,
            "type": "Microsoft.Authorization/roleAssignments",
        })
    }

    /// Whether it reaches a scope: its own, or one below.
    pub(super) fn covers(&self, scope: &str) -> bool {
        is_at_or_below(scope, &self.scope)
    }
}

/// Whether `scope` is `above`, or below it.
pub(super) fn is_at_or_below(scope: &str, above: &str) -> bool {
    let (scope, above) = (scope.to_lowercase(), above.trim_end_matches('/').to_lowercase());
    above.is_empty() || scope == above || scope.strip_prefix(&above).is_some_and(|rest| rest.starts_with('/'))
}

/// A question: may this principal do that there now?
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) principal: Uuid,
    pub(super) action: &'a str,
    pub(super) data: bool,
    /// Which of the action's operations, where it has several.
    pub(super) suboperation: Option<&'a str>,
    pub(super) scope: &'a str,
    pub(super) attributes: &'a [(&'a str, &'a str, String)],
    pub(super) now: f64,
}

/// Whether some assignment allows it.
pub(super) fn allowed(question: &Question<'_>, roles: &[FakeRoleDefinition], assignments: &[FakeAssignment]) -> bool {
    let facts = Facts {
        action: question.action.to_owned(),
        suboperation: question.suboperation.map(str::to_owned),
        attributes: question
            .attributes
            .iter()
            .map(|(source, name, value)| (attribute(source, name), value.clone()))
            .collect(),
    };
    assignments.iter().any(|assignment| {
        let role = roles.iter().find(|role| role.id == assignment.role);
        let listed = role.map(|role| if question.data { &role.data_actions } else { &role.actions });
        let action = question.action.to_lowercase();
        assignment.principal == question.principal
            && assignment.covers(question.scope)
            && assignment.felt_from <= question.now
            && assignment.felt_until.is_none_or(|until| question.now < until)
            && listed.is_some_and(|list| list.iter().any(|one| matches(&one.to_lowercase(), &action)))
            && assignment
                .condition
                .as_deref()
                .is_none_or(|text| Condition::parse(text).is_ok_and(|condition| condition.holds(&facts)))
    })
}
