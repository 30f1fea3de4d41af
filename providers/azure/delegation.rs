//! What the daemon's own right to assign roles is bound by: these roles, to these principals, and no others. Pure.

use uuid::Uuid;

/// The condition of the daemon's assignment of Role Based Access Control Administrator (Azure RBAC, "Delegate Azure role
/// assignment management to others with conditions"). What it writes is judged by the request, what it removes by what
/// stands there: so it can neither hand out another role nor take away what is not a slot's.
pub(crate) fn condition(roles: &[Uuid], principals: &[Uuid]) -> String {
    let part = |action: &str, source: &str| {
        format!(
            "((!(ActionMatches{{'Microsoft.Authorization/roleAssignments/{action}'}})) OR \
             (@{source}[Microsoft.Authorization/roleAssignments:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {{{}}} AND \
             @{source}[Microsoft.Authorization/roleAssignments:PrincipalId] ForAnyOfAnyValues:GuidEquals {{{}}}))",
            list(roles),
            list(principals)
        )
    };
    format!("({} AND {})", part("write", "Request"), part("delete", "Resource"))
}

fn list(ids: &[Uuid]) -> String {
    ids.iter().map(Uuid::to_string).collect::<Vec<_>>().join(", ")
}
