//! What an entitlement map for Azure must be like, so that nothing in it gives more than it says. Pure.

use grantd_provider_api::{Capability, CapabilityMap, ErrorKind, NativeRole, Permission, ProviderError};
use uuid::Uuid;

use crate::escalating;
use crate::limits::CONDITION_CHARACTERS;
use crate::template::{CONDITION_WORDS, SCOPE_WORDS};

/// The directory itself, by its application ids: Microsoft Graph, and the older Azure AD Graph (Microsoft Learn, "Verify
/// first-party Microsoft applications in sign-in reports").
const DIRECTORY: [&str; 2] = ["00000003-0000-0000-c000-000000000000", "00000002-0000-0000-c000-000000000000"];

/// Looks over a whole map.
pub(crate) fn check_map(map: &CapabilityMap) -> Result<(), ProviderError> {
    map.capability.iter().try_for_each(|(capability, permission)| check_permission(capability, permission))
}

/// Looks over what one capability is.
pub(crate) fn check_permission(capability: &Capability, permission: &Permission) -> Result<(), ProviderError> {
    let wrong = |why: String| {
        Err(ProviderError::new(ErrorKind::Config, format!("entitlement map of azure: {capability}: {why}")))
    };
    if permission.roles.is_empty() || !permission.rules.is_empty() {
        return wrong(
            "it has no roles, or rules, which are for aws: say roles, each with role, title and on".to_owned(),
        );
    }
    if permission.audiences.is_empty() {
        return wrong("it has no audiences: say for whom its tokens are, e.g. https://storage.azure.com".to_owned());
    }
    for (index, audience) in permission.audiences.iter().enumerate() {
        let host = audience.strip_prefix("https://").or_else(|| audience.strip_prefix("api://"));
        let address = host.is_some_and(|host| {
            !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._/:".contains(&b))
        });
        // An application that has no address of its own is named by its id, as the server of AKS is.
        let plain = address || uuid::Uuid::try_parse(audience).is_ok_and(|id| id.to_string() == *audience);
        let again = permission.audiences.iter().take(index).any(|other| other == audience);
        if !plain || audience.ends_with('/') || audience.ends_with(".default") || again {
            return wrong(format!(
                "audience {audience:?} is no address without a slash or .default at its end and no application's id, or twice"
            ));
        }
        if audience.contains("graph.") || DIRECTORY.contains(&audience.as_str()) {
            return wrong(format!("audience {audience:?} is the directory itself, which no role assignment bounds"));
        }
    }
    for role in &permission.roles {
        check_role(role, permission).or_else(|why| wrong(format!("role {:?}: {why}", role.role)))?;
    }
    Ok(())
}

fn check_role(role: &NativeRole, permission: &Permission) -> Result<(), String> {
    if role.title.trim().is_empty() {
        return Err("it has no title".to_owned());
    }
    match role.role.strip_prefix("custom:") {
        Some(name) => {
            let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            if name.is_empty() || name.len() > 64 || !plain {
                return Err("custom: is followed by 1 to 64 lowercase letters, digits and hyphens".to_owned());
            }
            if role.permissions.is_empty() && role.data_permissions.is_empty() {
                return Err("a custom role needs its permissions or data_permissions".to_owned());
            }
            for permission in role.permissions.iter().chain(&role.data_permissions) {
                check_own(permission)?;
            }
        }
        None => {
            let id = Uuid::try_parse(&role.role).map_err(|_| "it is neither a GUID nor custom:NAME".to_owned())?;
            if let Some(title) = escalating::title(id) {
                return Err(format!("{title} can hand out roles: a session could make itself last; use custom:NAME"));
            }
        }
    }
    let on = role.on.as_str();
    if leftover(on, &SCOPE_WORDS) {
        return Err(format!("on = {on:?} has a word that is none of {}", SCOPE_WORDS.join(" ")));
    }
    let within = on.strip_prefix("{native}").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if !within && permission.widens.is_empty() {
        return Err(format!("on = {on:?} is not the named resource: say in widens what it reaches"));
    }
    for (what, condition) in [("condition", &role.condition), ("prefix_condition", &role.prefix_condition)] {
        let Some(condition) = condition else { continue };
        check_condition(condition).map_err(|why| format!("{what} {why}"))?;
        if (what == "prefix_condition") != condition.contains("{prefix}") {
            return Err(format!("{what}: {{prefix}} belongs into prefix_condition, and there it has to be"));
        }
    }
    Ok(())
}

/// What a role of our own may not have: whatever makes access last, and what grows by itself.
fn check_own(permission: &str) -> Result<(), String> {
    let plain = permission.bytes().all(|b| b.is_ascii_alphanumeric() || b"./-".contains(&b));
    if !plain || !permission.contains('/') {
        return Err(format!(
            "permission {permission:?} is no action without wildcards: name each, so that the role means the same when \
             Azure adds new ones"
        ));
    }
    let lower = permission.to_ascii_lowercase();
    if lower.starts_with("microsoft.authorization/") && !lower.ends_with("/read") {
        return Err(format!("permission {permission:?} could hand out roles: a session could make itself last"));
    }
    Ok(())
}

/// What can be told of a condition without Azure: its brackets and quotes close, and it is not too long.
fn check_condition(condition: &str) -> Result<(), String> {
    if condition.len() > CONDITION_CHARACTERS {
        return Err(format!("is longer than {CONDITION_CHARACTERS} characters"));
    }
    let (mut depth, mut quoted) = (0_i32, false);
    for c in condition.chars() {
        match c {
            '\'' => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth = depth.saturating_add(1),
            ')' | ']' | '}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth < 0 {
            return Err("closes a bracket that it did not open".to_owned());
        }
    }
    if depth != 0 || quoted {
        return Err("does not close its brackets or quotes".to_owned());
    }
    // A word that is outside of quotes would be part of the language.
    for word in CONDITION_WORDS {
        for (at, _) in condition.match_indices(word) {
            let before = condition.get(..at).unwrap_or_default();
            if before.matches('\'').count().is_multiple_of(2) {
                return Err(format!("has {word} outside of quotes"));
            }
        }
    }
    Ok(())
}

/// Whether something in braces is left that is no known word.
fn leftover(template: &str, words: &[&str]) -> bool {
    let mut text = template.to_owned();
    for word in words {
        text = text.replace(word, "");
    }
    text.contains(['{', '}'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{BLOB_READER, map_with};

    #[test]
    fn no_map_can_hand_out_a_role_that_hands_out_roles() {
        for role in [
            "8e3af657-a8ff-443c-a75c-2fe8c4bcb635",
            "18D7D88D-D35E-4FB5-A5C3-7773C20A72D9",
            "f58310d9-a9f6-439a-9e8d-f62e7b41a168",
            // Those that can in passing.
            "92b92042-07d9-4307-87f7-36a593fc5850",
            "4c6569b6-f23e-4295-9b90-bd4cc4ff3292",
            "0f641de8-0b88-4198-bdef-bd8b45ceba96",
            "Owner",
            "custom:Reader",
            "custom:",
        ] {
            let text = format!("role = \"{role}\"\ntitle = \"t\"\non = \"{{native}}\"\npermissions = [\"a/read\"]");
            assert!(check_map(&map_with(&text)).is_err(), "{role} was taken");
        }
        for permission in ["*", "Microsoft.Compute/*", "Microsoft.Authorization/roleAssignments/write", "read"] {
            let text =
                format!("role = \"custom:x\"\ntitle = \"t\"\non = \"{{native}}\"\npermissions = [\"{permission}\"]");
            assert!(check_map(&map_with(&text)).is_err(), "{permission} was taken");
        }
        let text = "role = \"custom:x\"\ntitle = \"t\"\non = \"{native}\"\npermissions = [\"Microsoft.Compute/virtualMachines/read\"]";
        check_map(&map_with(text)).unwrap();
    }

    #[test]
    fn a_role_reaches_no_further_than_it_says() {
        let on = |on: &str| check_map(&map_with(&format!("role = \"{BLOB_READER}\"\ntitle = \"t\"\non = \"{on}\"")));
        for good in ["{native}", "{native}/providers/x"] {
            on(good).unwrap();
        }
        for bad in ["/subscriptions/{subscription}", "{native}x", "{parent}", "/"] {
            assert!(on(bad).is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn a_condition_is_whole_and_its_words_are_quoted() {
        let with = |line: &str| {
            check_map(&map_with(&format!("role = \"{BLOB_READER}\"\ntitle = \"t\"\non = \"{{native}}\"\n{line}")))
        };
        with("prefix_condition = \"(@Resource[a:b] StringStartsWith '{prefix}')\"").unwrap();
        with("condition = \"(@Resource[a:b] StringEquals '{name}')\"").unwrap();
        for bad in [
            "condition = \"(a\"",
            "condition = \"a)\"",
            "condition = \"'a\"",
            "condition = \"a '{prefix}'\"",
            "prefix_condition = \"a\"",
            "prefix_condition = \"{prefix}\"",
        ] {
            assert!(with(bad).is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn the_shipped_map_can_be_served() {
        check_map(&toml::from_str(include_str!("../../config/entitlements/azure.toml")).unwrap()).unwrap();
    }

    #[test]
    fn tokens_are_for_somebody_and_never_for_the_directory() {
        for audiences in [
            "[]",
            "['https://storage.azure.com/']",
            "['storage']",
            "['https://graph.microsoft.com']",
            "['00000003-0000-0000-c000-000000000000']",
            "['6DAE42F8-4368-4678-94FF-3960E28E3630']",
        ] {
            let text = format!(
                "[capability.\"object-storage:read\"]\nsummary = \"s\"\nrevocation = \"eventual\"\npersistence = \"none\"\n\
                 audiences = {audiences}\n[[capability.\"object-storage:read\".roles]]\nrole = \"{BLOB_READER}\"\n\
                 title = \"t\"\non = \"{{native}}\"\n"
            );
            assert!(check_map(&toml::from_str(&text).unwrap()).is_err(), "{audiences} was taken");
        }
    }
}
