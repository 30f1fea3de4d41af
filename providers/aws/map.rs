//! What an entitlement map may say. Pure. A map is data that somebody writes: a slip in it must not become access.

use grantd_provider_api::{Capability, CapabilityMap, Carrier, ErrorKind, Expiry, Permission, ProviderError};

/// Checks a whole map when it is loaded.
///
/// # Errors
/// `Config`, naming the capability: an action with a wildcard, anything of `sts` that hands out sessions, a resource
/// that reaches beyond the named one without saying so in `widens`, anything that is for another cloud.
pub fn check_map(map: &CapabilityMap) -> Result<(), ProviderError> {
    map.capability.iter().try_for_each(|(capability, permission)| check_permission(capability, permission))
}

pub(crate) fn check_permission(capability: &Capability, permission: &Permission) -> Result<(), ProviderError> {
    let wrong = |why: String| {
        Err(ProviderError::new(ErrorKind::Config, format!("entitlement map of aws, {capability}: {why}")))
    };
    if let Some(why) = foreign(permission) {
        return wrong(why.to_owned());
    }
    if permission.rules.is_empty() {
        return wrong("it has no rules".to_owned());
    }
    for rule in &permission.rules {
        if rule.actions.is_empty() {
            return wrong(format!("the rule on {} has no actions", rule.on));
        }
        for action in &rule.actions {
            if let Some(why) = action_problem(action) {
                return wrong(format!("action {action:?} {why}"));
            }
        }
        let on = rule.on.as_str();
        match on.strip_prefix("{native}") {
            Some(rest) if rest.is_empty() || rest.starts_with('/') || rest.starts_with(':') => {}
            Some(_) => return wrong(format!("{on:?} also names other resources that merely start alike")),
            None if permission.widens.is_empty() => {
                return wrong(format!("{on:?} is not the named resource: say in widens what it reaches"));
            }
            None if on.contains("{native}") || on.contains("{prefix}") => {
                return wrong(format!("{on:?} puts the named resource somewhere else than at the start"));
            }
            None => {}
        }
        let wildcards_elsewhere = on.matches("{prefix}").count() > 1
            || (on.contains("{prefix}") && (!on.ends_with("{prefix}*") || on.matches('*').count() > 1));
        if wildcards_elsewhere {
            return wrong(format!("{on:?} must end with {{prefix}}* and hold no other wildcard"));
        }
        if let Some(key) = &rule.prefix_condition {
            let plain = key.bytes().all(|b| b.is_ascii_alphanumeric() || b":-_/".contains(&b)) && key.contains(':');
            if !plain || on.contains("{prefix}") {
                return wrong(format!(
                    "prefix_condition {key:?} is no condition key, or the resource has {{prefix}} too"
                ));
            }
            let twice = |action: &String| permission.rules.iter().filter(|r| r.actions.contains(action)).count() > 1;
            if let Some(action) = rule.actions.iter().find(|action| twice(action)) {
                return wrong(format!("{action} has a prefix_condition in one rule and stands in another one too"));
            }
        }
    }
    Ok(())
}

/// What is said of the capability that means nothing here, if anything. Whoever wrote it believes that it holds.
fn foreign(permission: &Permission) -> Option<&'static str> {
    if !permission.roles.is_empty() {
        return Some("it has roles, which are for azure and gcp: say in rules which actions it allows");
    }
    if !permission.audiences.is_empty() {
        return Some("it has audiences, which are for azure: a session of AWS is for every service; remove them");
    }
    if permission.carrier != Carrier::default() {
        return Some(
            "it has a carrier, which is for gcp: sessions of AWS are carried by the account's roles; remove it",
        );
    }
    if permission.expiry == Expiry::Daemon {
        return Some("expiry = \"daemon\" is not so: AWS ends each session to the second, by its policy; remove it");
    }
    None
}

/// What is wrong with an action, if anything. IAM ignores case in action names, and so does this.
fn action_problem(action: &str) -> Option<&'static str> {
    let Some((service, name)) = action.split_once(':') else {
        return Some("is not service:Action");
    };
    if action.contains(['*', '?']) {
        return Some("has a wildcard: name each action, so that the plan means the same when AWS adds new ones");
    }
    let service_ok = !service.is_empty() && service.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !service_ok || name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Some("is not service:Action");
    }
    if service.eq_ignore_ascii_case("sts") && !name.eq_ignore_ascii_case("GetCallerIdentity") {
        return Some("could become a session that no lease bounds and no deny reaches");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(actions: &[&str], on: &str, condition: Option<&str>, widens: &str) -> CapabilityMap {
        let condition = condition.map(|key| format!("prefix_condition = \"{key}\"")).unwrap_or_default();
        toml::from_str(&format!(
            "[capability.\"object-storage:read\"]\nsummary = \"s\"\nrevocation = \"eventual\"\npersistence = \"none\"\n\
             widens = {widens}\n[[capability.\"object-storage:read\".rules]]\nactions = {actions:?}\non = \"{on}\"\n{condition}"
        ))
        .unwrap()
    }

    #[test]
    fn no_map_can_allow_a_session_to_make_sessions() {
        for action in [
            "sts:AssumeRole",
            "STS:assumerole",
            "sts:*",
            "*",
            "s?s:AssumeRole",
            "*:*",
            "st*:AssumeRole",
            "sts:TagSession",
            "sts:GetFederationToken",
        ] {
            assert!(check_map(&map(&[action], "{native}", None, "[]")).is_err(), "{action} was taken");
        }
        assert!(check_map(&map(&["sts:GetCallerIdentity"], "*", None, "['all']")).is_ok());
    }

    #[test]
    fn what_is_for_another_cloud_is_refused() {
        let sound = map(&["s3:GetObject"], "{native}", None, "[]");
        let refused = |change: &dyn Fn(&mut Permission)| {
            let mut map = sound.clone();
            map.capability.values_mut().for_each(change);
            check_map(&map).unwrap_err().message
        };
        let role: grantd_provider_api::NativeRole =
            toml::from_str("role = \"roles/x\"\ntitle = \"X\"\non = \"{native}\"").unwrap();
        assert!(refused(&|p| p.roles.push(role.clone())).contains("it has roles"));
        assert!(refused(&|p| p.audiences.push("https://storage.azure.com".to_owned())).contains("it has audiences"));
        assert!(refused(&|p| p.carrier = Carrier::ServiceAccount).contains("it has a carrier"));
        let expiry = refused(&|p| p.expiry = Expiry::Daemon);
        assert!(expiry.contains("object-storage:read") && expiry.contains("expiry"), "{expiry}");
        check_map(&sound).unwrap();
    }

    #[test]
    fn a_rule_reaches_no_further_than_it_says() {
        for on in ["{native}*", "{native}x", "*", "arn:aws:s3:::other", "{native}/{prefix}", "{native}/*/{prefix}*"] {
            assert!(check_map(&map(&["s3:GetObject"], on, None, "[]")).is_err(), "{on} was taken");
        }
        for on in ["{native}", "{native}/*", "{native}:*", "{native}/{prefix}*"] {
            assert!(check_map(&map(&["s3:GetObject"], on, None, "[]")).is_ok(), "{on} was refused");
        }
        assert!(check_map(&map(&["s3:ListBucket"], "{native}", Some("s3:prefix"), "[]")).is_ok());
        assert!(check_map(&map(&["s3:ListBucket"], "{native}/{prefix}*", Some("s3:prefix"), "[]")).is_err());
        assert!(check_map(&map(&[], "{native}", None, "[]")).is_err());
    }
}
