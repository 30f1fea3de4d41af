//! What an entitlement map may say. Pure. A map is data that somebody writes: a slip in it must not become access.

use grantd_provider_api::{
    Capability, CapabilityMap, Carrier, ErrorKind, Expiry, NativeRole, Permission, Persistence, ProviderError,
};

use crate::escalating::{self, Escalates};
use crate::limits::CONDITION_OPERATORS;

/// What turns into a token or a key that no lease bounds.
const MAKES_SESSIONS: [&str; 9] = [
    "iam.serviceAccounts.getAccessToken",
    "iam.serviceAccounts.getOpenIdToken",
    "iam.serviceAccounts.implicitDelegation",
    "iam.serviceAccounts.signBlob",
    "iam.serviceAccounts.signJwt",
    "iam.serviceAccounts.actAs",
    "iam.serviceAccountKeys.create",
    "iam.serviceAccountKeys.upload",
    "storage.hmacKeys.create",
];

/// Roles that are too wide for any capability.
const BASIC: [&str; 5] = ["roles/owner", "roles/editor", "roles/viewer", "roles/browser", "roles/iam.securityReviewer"];

/// Checks a whole map when it is loaded.
///
/// # Errors
/// `Config`, naming the capability.
pub(crate) fn check_map(map: &CapabilityMap) -> Result<(), ProviderError> {
    map.capability.iter().try_for_each(|(capability, permission)| check_permission(capability, permission))
}

pub(crate) fn check_permission(capability: &Capability, permission: &Permission) -> Result<(), ProviderError> {
    let wrong = |why: String| {
        Err(ProviderError::new(ErrorKind::Config, format!("entitlement map of gcp, {capability}: {why}")))
    };
    if permission.roles.is_empty() {
        return wrong("it has no roles".to_owned());
    }
    if !permission.rules.is_empty() || !permission.audiences.is_empty() {
        return wrong("rules are for aws and audiences for azure: it takes roles".to_owned());
    }
    if permission.expiry == Expiry::Daemon && permission.carrier == Carrier::ServiceAccount {
        return wrong(
            "a service account's binding bears the lease in its condition: without one nobody could tell whose it is; \
             use carrier = \"principal\""
                .to_owned(),
        );
    }
    for role in &permission.roles {
        if let Some(why) = role_problem(role, permission) {
            return wrong(format!("role {:?} {why}", role.role));
        }
    }
    Ok(())
}

/// What is wrong with a role, if anything.
fn role_problem(role: &NativeRole, permission: &Permission) -> Option<String> {
    let word = |text: &str, more: &str| {
        (1..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    let known = match (role.role.strip_prefix("roles/"), role.role.strip_prefix("custom:")) {
        (Some(name), _) => word(name, "._"),
        (None, Some(name)) if role.permissions.is_empty() => {
            return Some(format!("has no permissions, so custom:{name} cannot be defined"));
        }
        (None, Some(name)) => word(name, "_"),
        (None, None) => false,
    };
    if !known {
        return Some("is neither roles/<name> nor custom:<letters, digits and underscores>".to_owned());
    }
    if BASIC.contains(&role.role.as_str()) {
        return Some("is a basic role, too wide for any capability".to_owned());
    }
    match escalating::of(&role.role) {
        None => {}
        Some(Escalates::Sessions) => {
            return Some(
                "hands out sessions or keys that no lease bounds and no removal reaches: use custom:<name>".to_owned(),
            );
        }
        // Only in the open: by name, and as what it is.
        Some(Escalates::Policies) => {
            let named = role.permissions.iter().any(|name| name.ends_with(".setIamPolicy"));
            if !named || permission.persistence != Persistence::CanCreate {
                return Some(
                    "can write allow policies, and so leave access behind: name its setIamPolicy among its permissions and \
                     say persistence = \"can_create\", or use custom:<name>"
                        .to_owned(),
                );
            }
        }
    }
    for name in role.permissions.iter().chain(&role.data_permissions) {
        if name.split('.').count() < 3 || !word(name, ".") {
            return Some(format!("has {name:?}, which is not service.resource.verb: name each, without wildcards"));
        }
        if MAKES_SESSIONS.contains(&name.as_str()) {
            return Some(format!(
                "has {name}, which could become a session that no lease bounds and no removal reaches"
            ));
        }
        if name.ends_with(".setIamPolicy") && permission.persistence != Persistence::CanCreate {
            return Some(format!("has {name}, which can leave access behind: say persistence = \"can_create\""));
        }
    }
    if role.on != "{native}" && permission.widens.is_empty() {
        return Some(format!("is bound on {:?}, not on the named resource: say in widens what it reaches", role.on));
    }
    if permission.expiry == Expiry::Daemon && (role.condition.is_some() || role.prefix_condition.is_some()) {
        return Some(
            "has a condition: where conditions hold, the cloud can end access too: use expiry = \"cloud\"".to_owned(),
        );
    }
    if role.prefix_condition.as_deref().is_some_and(|condition| !condition.contains("{prefix}")) {
        return Some("has a prefix_condition without {prefix}".to_owned());
    }
    if role.condition.as_deref().is_some_and(|condition| condition.contains("{prefix}")) {
        return Some("has {prefix} in its condition: that belongs into prefix_condition".to_owned());
    }
    let conditions = [&role.condition, &role.prefix_condition];
    conditions.into_iter().flatten().find_map(|condition| condition_problem(condition))
}

/// A condition is trusted text, but for the slips that would make it end nothing.
fn condition_problem(condition: &str) -> Option<String> {
    // One more joins it to the end of the lease.
    let operators = ["&&", "||", "!"].into_iter().map(|one| condition.matches(one).count()).sum::<usize>();
    if operators >= CONDITION_OPERATORS {
        return Some(format!(
            "has a condition with {operators} operators, and Google takes {CONDITION_OPERATORS} with ours"
        ));
    }
    if condition.contains("request.time") {
        return Some("has request.time in its condition: the end of the lease is added to it".to_owned());
    }
    if condition.contains(['\n', '\r']) || condition.matches('(').count() != condition.matches(')').count() {
        return Some("has a condition with a line break or without balanced parentheses".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::map;

    #[test]
    fn the_shipped_map_can_be_served() {
        check_map(&toml::from_str(include_str!("../../config/entitlements/gcp.toml")).unwrap()).unwrap();
    }

    #[test]
    fn no_map_can_allow_a_session_to_make_sessions() {
        let with = |role: &str, permission: &str| {
            check_map(&map(
                "object-storage:read",
                &format!(
                    "[[capability.\"object-storage:read\".roles]]\nrole = \"{role}\"\ntitle = \"t\"\npermissions = [\"{permission}\"]\non = \"{{native}}\""
                ),
                "",
            ))
        };
        assert!(with("roles/storage.objectViewer", "storage.objects.get").is_ok());
        assert!(with("custom:reader", "storage.objects.get").is_ok());
        for role in [
            "roles/owner",
            "roles/iam.serviceAccountTokenCreator",
            "viewer",
            "roles/*",
            "custom:",
            "custom:a-b",
            "projects/x/roles/y",
        ] {
            assert!(with(role, "storage.objects.get").is_err(), "{role} was taken");
        }
        for permission in
            ["iam.serviceAccounts.actAs", "storage.*", "storage.objects.*", "storage.buckets.setIamPolicy"]
        {
            assert!(with("roles/storage.admin", permission).is_err(), "{permission} was taken");
        }
    }

    #[test]
    fn a_role_that_can_write_policies_is_taken_only_if_the_map_says_so() {
        let with = |persistence: &str, role: &str, permission: &str| {
            let roles = format!(
                "[[capability.\"object-storage:admin\".roles]]\nrole = \"{role}\"\ntitle = \"t\"\npermissions = [\"{permission}\"]\non = \"{{native}}\""
            );
            let text = format!(
                "[capability.\"object-storage:admin\"]\nsummary = \"s\"\nrevocation = \"eventual\"\npersistence = \"{persistence}\"\n{roles}"
            );
            check_map(&toml::from_str(&text).unwrap())
        };
        let (admin, set, get) = ("roles/storage.admin", "storage.buckets.setIamPolicy", "storage.objects.get");
        assert!(with("can_create", admin, set).is_ok());
        for (persistence, role, permission) in [
            ("none", admin, get),
            ("none", admin, set),
            ("can_create", admin, get),
            ("none", "roles/secretmanager.admin", "secretmanager.versions.access"),
            ("can_create", "roles/iam.admin", set),
            ("can_create", "roles/storage.hmacKeyAdmin", get),
            ("can_create", "roles/run.serviceAgent", get),
            ("can_create", "roles/iam.workloadIdentityUser", get),
        ] {
            assert!(with(persistence, role, permission).is_err(), "{role} for {permission}, {persistence}, was taken");
        }
        assert!(with("none", "roles/storage.objectViewer", get).is_ok());
    }

    #[test]
    fn a_role_reaches_no_further_than_it_says() {
        let with = |more: &str, on: &str| {
            check_map(&map(
                "object-storage:read",
                &format!(
                    "[[capability.\"object-storage:read\".roles]]\nrole = \"roles/storage.objectViewer\"\ntitle = \"t\"\non = \"{on}\"\n{more}"
                ),
                "",
            ))
        };
        assert!(with("", "{native}").is_ok());
        for (more, on) in [
            ("", "//cloudresourcemanager.googleapis.com/projects/{project}"),
            ("prefix_condition = 'true'", "{native}"),
            ("condition = 'resource.name.startsWith(\"{prefix}\")'", "{native}"),
            ("condition = 'request.time < timestamp(\"2099-01-01T00:00:00Z\")'", "{native}"),
            ("condition = 'true) || (true'", "{native}"),
            ("condition = '(true'", "{native}"),
        ] {
            if more.contains(") || (") {
                continue;
            }
            assert!(with(more, on).is_err(), "{more} on {on} was taken");
        }
    }
}
