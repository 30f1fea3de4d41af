//! From entitlement to role assignments. Pure: no I/O, no clock, no lease.
//!
//! On Azure nothing ends access by itself: a token cannot be shortened, and a role assignment stands until it is removed.
//! So the plan says that the daemon ends it, and how late that can be felt.

use std::collections::BTreeSet;

use grantd_provider_api::{
    CapabilityMap, Cloud, Ending, Entitlement, ErrorKind, NativeRole, Permission, Persistence, Plan, ProviderError,
    Revocation,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::config::AccountConfig;
use crate::limits::CONDITION_CHARACTERS;
use crate::map::check_permission;
use crate::names::{ResourceId, custom_role, role_definition};
use crate::pim::SHORTEST;
use crate::template::{Values, checked_prefix};

/// The native document of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Native {
    /// The directory.
    pub tenant: Uuid,
    /// The subscription of the resource.
    pub subscription: Uuid,
    /// The resource itself.
    pub resource: String,
    /// Where keys have to begin, if it is narrowed to that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// For whom the tokens are.
    pub audiences: Vec<String>,
    /// What is assigned to the slot.
    pub assignments: Vec<Grant>,
    /// Whether Azure ends the assignments too, should the daemon not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backstop: bool,
}

/// One role assignment, but for its name and its principal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Grant {
    /// The role's title.
    pub title: String,
    /// `custom:NAME` for a role of grantd's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<String>,
    /// The resource ID of the role definition.
    pub role_definition_id: String,
    /// Where.
    pub scope: String,
    /// What it is given for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permissions: Vec<String>,
    /// The same for data actions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_permissions: Vec<String>,
    /// On which condition, in version 2.0 of Azure's language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
}

impl Native {
    /// The document of a plan that this adapter made.
    ///
    /// # Errors
    /// `Config` when it is none.
    pub fn of(plan: &Plan) -> Result<Self, ProviderError> {
        Self::deserialize(&plan.native).map_err(|_| {
            ProviderError::new(
                ErrorKind::Config,
                "the plan is not one that the azure adapter made: ask again, so that it is planned anew",
            )
        })
    }
}

/// Computes the plan of `entitlement` in `account`.
pub(crate) fn plan(
    account: &AccountConfig,
    entitlement: &Entitlement,
    map: &CapabilityMap,
) -> Result<Plan, ProviderError> {
    let capability = &entitlement.capability;
    let resource = &entitlement.resource;
    let unsupported = |text: String| ProviderError::new(ErrorKind::Unsupported, text);
    if resource.cloud != Cloud::Azure {
        return Err(unsupported(format!("{} is in {}, not in azure", resource.native, resource.cloud)));
    }
    if resource.kind != capability.resource_type() {
        let (native, kind) = (&resource.native, &resource.kind);
        return Err(unsupported(format!("{capability} does not apply to {native}, which is catalogued as {kind}")));
    }
    let permission = map.capability.get(capability).ok_or_else(|| {
        unsupported(format!(
            "{capability} is not in the entitlement map of azure: ask for one that is, or add it there"
        ))
    })?;
    check_permission(capability, permission)?;
    if !entitlement.narrowing.source_networks.is_empty() {
        return Err(unsupported(
            "azure has no condition on the address that a request comes from, so source networks cannot be kept: ask \
             without them, and limit networks at the resource's own firewall"
                .to_owned(),
        ));
    }
    let native = ResourceId::parse(&resource.native)?;
    is_in(account, &native)?;
    let prefix = entitlement.narrowing.prefix.as_deref().map(checked_prefix).transpose()?;
    let values = Values { native: &native, prefix };
    let mut assignments = Vec::new();
    let mut seen = BTreeSet::new();
    for role in &permission.roles {
        let grant = grant(account, capability.as_str(), role, &values)?;
        // Azure takes one assignment of a role to a principal at a scope, whatever its condition.
        if !seen.insert((grant.role_definition_id.clone(), grant.scope.to_ascii_lowercase())) {
            let text = format!("entitlement map of azure: {capability} has {} twice on {}", role.title, grant.scope);
            return Err(ProviderError::new(ErrorKind::Config, text));
        }
        assignments.push(grant);
    }
    let native = Native {
        tenant: account.tenant,
        subscription: native.subscription,
        resource: resource.native.clone(),
        prefix: prefix.map(str::to_owned),
        audiences: permission.audiences.iter().map(|audience| account.endpoints.audience_of(audience)).collect(),
        assignments,
        backstop: account.pim_backstop,
    };
    let outlives = account.propagation.worst.as_secs();
    let ending = match native.backstop {
        false => Ending::Daemon { outlives },
        true => Ending::Backed { outlives, without_daemon: outlives.saturating_add(SHORTEST.unsigned_abs().as_secs()) },
    };
    Ok(Plan {
        cloud: Cloud::Azure,
        account: account.name.clone(),
        targets: account.slots.iter().map(|slot| slot.object_id.to_string()).collect(),
        words: words(permission, &native, outlives),
        native: json!(native),
        revocation: permission.revocation.clone(),
        persistence: permission.persistence,
        widens: permission.widens.clone(),
        ending,
    })
}

fn grant(
    account: &AccountConfig,
    capability: &str,
    role: &NativeRole,
    values: &Values<'_>,
) -> Result<Grant, ProviderError> {
    let condition = match (values.prefix, &role.prefix_condition) {
        (Some(_), None) => {
            return Err(ProviderError::new(
                ErrorKind::Invalid,
                format!(
                    "{capability} cannot be narrowed to a prefix: {} applies to the whole resource; ask without the prefix",
                    role.title
                ),
            ));
        }
        (Some(_), narrowed) => narrowed.as_deref(),
        (None, _) => role.condition.as_deref(),
    };
    let condition = condition.map(|template| values.fill(template)).transpose()?;
    if condition.as_ref().is_some_and(|condition| condition.len() > CONDITION_CHARACTERS) {
        return Err(ProviderError::new(
            ErrorKind::Unsupported,
            format!("the condition is longer than the {CONDITION_CHARACTERS} characters that azure takes"),
        ));
    }
    let scope = values.fill(&role.on)?;
    let place = ResourceId::parse(&scope)?;
    is_in(account, &place)?;
    let subscription = place.subscription;
    let custom = role.role.strip_prefix("custom:").map(str::to_owned);
    let id = match &custom {
        Some(name) => custom_role(subscription, name),
        None => Uuid::try_parse(&role.role).map_err(|_| {
            ProviderError::new(ErrorKind::Config, format!("entitlement map of azure: role {:?} is no GUID", role.role))
        })?,
    };
    Ok(Grant {
        title: role.title.clone(),
        custom,
        role_definition_id: role_definition(subscription, id),
        scope,
        permissions: role.permissions.clone(),
        data_permissions: role.data_permissions.clone(),
        condition,
    })
}

/// Slots are looked over in the configured subscriptions alone, so nothing is given in another one.
fn is_in(account: &AccountConfig, place: &ResourceId<'_>) -> Result<(), ProviderError> {
    if account.subscriptions.contains(&place.subscription) {
        return Ok(());
    }
    let text = format!(
        "{} is in subscription {}, which is none of account \"{}\": correct the catalogue",
        place.text, place.subscription, account.name
    );
    Err(ProviderError::new(ErrorKind::Unsupported, text))
}

fn words(permission: &Permission, native: &Native, outlives: u64) -> Vec<String> {
    let mut words = vec![permission.summary.clone()];
    for grant in &native.assignments {
        let kind = if grant.custom.is_some() { "grantd's own role" } else { "the built-in role" };
        words.push(format!("by {kind} \"{}\" on {}", grant.title, grant.scope));
        let actions: Vec<&str> = grant.permissions.iter().chain(&grant.data_permissions).map(String::as_str).collect();
        if !actions.is_empty() {
            words.push(format!("given for: {}", actions.join(", ")));
        }
    }
    if let Some(prefix) = &native.prefix {
        words.push(format!("only keys that begin with {prefix:?}"));
    }
    words.push(format!("with tokens for {}", native.audiences.join(", ")));
    words.push(match native.backstop {
        false => {
            format!("azure does not end it by itself: grantd removes it at its end, which can take {outlives} s to be felt")
        }
        true => format!(
            "grantd removes it at its end, which can take {outlives} s to be felt; should grantd be down, azure ends it, by an \
             assignment of Privileged Identity Management that expires, at most {} s later",
            SHORTEST.unsigned_abs().as_secs()
        ),
    });
    words.push(match &permission.revocation {
        Revocation::Immediate => "can be taken back at once".to_owned(),
        Revocation::Eventual => "can be taken back, once azure has spread that".to_owned(),
        Revocation::ExpiryOnly => "cannot be taken back: only the end of its token ends it".to_owned(),
        Revocation::Residual(seconds) => {
            format!("can be taken back, but what was obtained with it lives on for up to {seconds} s")
        }
    });
    if permission.persistence == Persistence::CanCreate {
        words.push("the holder can create something that outlives it".to_owned());
    }
    words.extend(permission.widens.iter().map(|wide| format!("wider than asked: {wide}")));
    words
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
