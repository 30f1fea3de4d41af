//! What an entitlement map for tokens of the daemon's own must be like, so that it says what a token is. Pure.

use grantd_provider_api::{
    Capability, CapabilityMap, Carrier, ErrorKind, Expiry, Permission, Persistence, ProviderError, Revocation,
};

use crate::config::Taker;

/// The type of a resource that is an audience.
pub(crate) const AUDIENCE: &str = "oidc-audience";

/// What is meant by a capability.
///
/// # Errors
/// In words, when it is none that this adapter knows.
pub(crate) fn taker_of(capability: &Capability) -> Result<Taker, String> {
    match (capability.resource_type(), capability.verb()) {
        (AUDIENCE, "token") => Ok(Taker::Service),
        (AUDIENCE, "exchange") => Ok(Taker::TokenService),
        _ => Err(format!("there are {AUDIENCE}:token, and {AUDIENCE}:exchange for token services")),
    }
}

/// Looks over a whole map.
pub(crate) fn check_map(map: &CapabilityMap) -> Result<(), ProviderError> {
    map.capability.iter().try_for_each(|(capability, permission)| check_permission(capability, permission))
}

/// Looks over what one capability is.
pub(crate) fn check_permission(capability: &Capability, permission: &Permission) -> Result<(), ProviderError> {
    let wrong = |why: String| {
        Err(ProviderError::new(ErrorKind::Config, format!("entitlement map of oidc: {capability}: {why}")))
    };
    let taker = match taker_of(capability) {
        Ok(taker) => taker,
        Err(why) => return wrong(why),
    };
    if permission.revocation != Revocation::ExpiryOnly {
        return wrong("nobody can take a token back: its revocation is expiry_only".to_owned());
    }
    let persistence = match taker {
        Taker::Service => Persistence::None,
        Taker::TokenService => Persistence::CanCreate,
    };
    if permission.persistence != persistence {
        return wrong(
            match taker {
                Taker::Service => "nothing can be left behind with a token: its persistence is none",
                Taker::TokenService => "what is given for a token may outlive it: its persistence is can_create",
            }
            .to_owned(),
        );
    }
    let foreign = !permission.rules.is_empty()
        || !permission.roles.is_empty()
        || !permission.audiences.is_empty()
        || permission.expiry != Expiry::default()
        || permission.carrier != Carrier::default();
    if foreign {
        return wrong(
            "it has rules, roles, audiences, expiry or a carrier, which are for clouds: the audience is the resource"
                .to_owned(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(capability: &str, lines: &str) -> Result<(), ProviderError> {
        let text = format!("[capability.\"{capability}\"]\nsummary = \"s\"\n{lines}");
        check_map(&toml::from_str(&text).unwrap())
    }

    #[test]
    fn the_shipped_map_can_be_served() {
        check_map(&toml::from_str(include_str!("../../config/entitlements/oidc.toml")).unwrap()).unwrap();
    }

    #[test]
    fn p4_no_map_can_say_that_a_token_can_be_taken_back() {
        let (token, exchange) = ("oidc-audience:token", "oidc-audience:exchange");
        checked(token, "revocation = \"expiry_only\"\npersistence = \"none\"").unwrap();
        checked(exchange, "revocation = \"expiry_only\"\npersistence = \"can_create\"").unwrap();
        for (capability, lines) in [
            (token, "revocation = \"immediate\"\npersistence = \"none\""),
            (token, "revocation = \"eventual\"\npersistence = \"none\""),
            (token, "revocation = { residual = 60 }\npersistence = \"none\""),
            (token, "revocation = \"expiry_only\"\npersistence = \"can_create\""),
            (exchange, "revocation = \"expiry_only\"\npersistence = \"none\""),
            (token, "revocation = \"expiry_only\"\npersistence = \"none\"\nexpiry = \"daemon\""),
            (token, "revocation = \"expiry_only\"\npersistence = \"none\"\naudiences = [\"x\"]"),
            ("oidc-audience:read", "revocation = \"expiry_only\"\npersistence = \"none\""),
            ("object-storage:read", "revocation = \"expiry_only\"\npersistence = \"none\""),
        ] {
            let error = checked(capability, lines).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Config);
            assert!(error.message.contains(capability), "{error}");
        }
    }
}
