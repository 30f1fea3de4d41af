//! From entitlement to session policy. Pure: no I/O, no clock, no lease.
//!
//! A session policy that only allows would leak: it does not limit what a resource policy grants to everybody unless
//! something denies. So for each Allow the plan denies every other action and every other resource, and each session
//! adds a deny of everything from its end on (IAM User Guide, "Policy evaluation logic").

use std::collections::{BTreeMap, BTreeSet};

use grantd_provider_api::{
    CapabilityMap, Cloud, Ending, Entitlement, ErrorKind, NativeRule, Permission, Persistence, Plan, ProviderError,
    Revocation,
};
use serde_json::{Value, json};

use crate::arn::Arn;
use crate::config::AccountConfig;
use crate::map::check_permission;
use crate::narrow::{checked_networks, checked_prefix};
use crate::session::check_policy_size;

/// Computes the plan of `entitlement` in `account`.
pub(crate) fn plan(
    account: &AccountConfig,
    entitlement: &Entitlement,
    map: &CapabilityMap,
) -> Result<Plan, ProviderError> {
    let capability = &entitlement.capability;
    let resource = &entitlement.resource;
    let unsupported = |text: String| ProviderError::new(ErrorKind::Unsupported, text);
    if resource.cloud != Cloud::Aws {
        return Err(unsupported(format!("{} is in {}, not in aws", resource.native, resource.cloud)));
    }
    if resource.kind != capability.resource_type() {
        let (native, kind) = (&resource.native, &resource.kind);
        return Err(unsupported(format!("{capability} does not apply to {native}, which is catalogued as {kind}")));
    }
    let permission = map.capability.get(capability).ok_or_else(|| {
        unsupported(format!("{capability} is not in the entitlement map of aws: ask for one that is, or add it there"))
    })?;
    check_permission(capability, permission)?;
    let native = checked_native(account, &resource.native)?;
    let prefix = entitlement.narrowing.prefix.as_deref().map(checked_prefix).transpose()?;
    let networks = checked_networks(&entitlement.narrowing.source_networks)?;

    let grants = permission
        .rules
        .iter()
        .map(|rule| Grant::new(capability.as_str(), rule, &native, prefix))
        .collect::<Result<Vec<_>, _>>()?;
    let policy = json!({ "Version": "2012-10-17", "Statement": statements(&grants, &networks) });
    check_policy_size(&policy, jiff::Timestamp::UNIX_EPOCH)?;
    Ok(Plan {
        cloud: Cloud::Aws,
        account: account.name.clone(),
        targets: account.roles.iter().map(|role| role.arn.to_string()).collect(),
        native: policy,
        words: words(permission, &grants, prefix, &networks),
        revocation: permission.revocation.clone(),
        persistence: permission.persistence,
        widens: permission.widens.clone(),
        // A statement of the session policy denies everything from that second on.
        ending: Ending::Cloud,
    })
}

/// One rule, applied to one resource.
#[derive(Debug)]
struct Grant {
    actions: Vec<String>,
    on: String,
    condition: Option<(String, String)>,
}

impl Grant {
    fn new(capability: &str, rule: &NativeRule, native: &Arn, prefix: Option<&str>) -> Result<Self, ProviderError> {
        let narrows = rule.on.contains("{prefix}") || rule.prefix_condition.is_some();
        if prefix.is_some() && !narrows {
            return Err(ProviderError::new(
                ErrorKind::Invalid,
                format!(
                    "{capability} cannot be narrowed to a prefix: {} applies to the whole resource; \
                     ask without the prefix",
                    rule.actions.join(", ")
                ),
            ));
        }
        let condition = rule.prefix_condition.clone().zip(prefix.map(|prefix| format!("{prefix}*")));
        let on = substitute(&rule.on, native, prefix.unwrap_or_default())?;
        Ok(Self { actions: rule.actions.clone(), on, condition })
    }
}

/// Fills a resource template. Only the template's own text may hold wildcards: every value was checked before.
fn substitute(template: &str, native: &Arn, prefix: &str) -> Result<String, ProviderError> {
    let wrong = |why: String| ProviderError::new(ErrorKind::Config, format!("resource template {template:?}: {why}"));
    let (mut out, mut rest) = (String::new(), template);
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or_else(|| wrong("a brace is not closed".to_owned()))?;
        out.push_str(before);
        let value = match name {
            "native" => native.as_str(),
            "prefix" => prefix,
            "partition" => native.partition(),
            "region" => native.region(),
            "account" => native.account(),
            other => return Err(wrong(format!("{{{other}}} is not known"))),
        };
        if value.is_empty() && matches!(name, "region" | "account") {
            return Err(wrong(format!("{native} has no {name}")));
        }
        out.push_str(value);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// A resource, and the condition key with its pattern that narrows it.
type Place<'a> = (&'a str, Option<&'a (String, String)>);

fn statements(grants: &[Grant], networks: &[String]) -> Vec<Value> {
    let mut statements = Vec::new();
    let mut by_place: BTreeMap<Place<'_>, BTreeSet<&str>> = BTreeMap::new();
    let mut places: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for grant in grants {
        for action in &grant.actions {
            by_place.entry((&grant.on, grant.condition.as_ref())).or_default().insert(action);
            places.entry(action).or_default().insert(&grant.on);
        }
    }
    for ((on, condition), actions) in &by_place {
        let mut allow = json!({ "Effect": "Allow", "Action": one_or_many(actions), "Resource": on });
        if let (Some((key, value)), Some(fields)) = (condition, allow.as_object_mut()) {
            fields.insert("Condition".to_owned(), json!({ "StringLike": { key.as_str(): value } }));
        }
        statements.push(allow);
    }
    let all: BTreeSet<&str> = places.keys().copied().collect();
    statements.push(json!({ "Effect": "Deny", "NotAction": one_or_many(&all), "Resource": "*" }));

    // What is allowed on one resource must not pass on another one of the same plan either.
    let mut by_resources: BTreeMap<&BTreeSet<&str>, BTreeSet<&str>> = BTreeMap::new();
    for (action, resources) in &places {
        by_resources.entry(resources).or_default().insert(action);
    }
    let single = by_resources.len() == 1;
    for (resources, actions) in by_resources {
        if !resources.contains("*") {
            let actions = if single { json!("*") } else { one_or_many(&actions) };
            statements.push(json!({ "Effect": "Deny", "Action": actions, "NotResource": one_or_many(resources) }));
        }
    }
    for ((on, condition), actions) in &by_place {
        if let Some((key, value)) = condition {
            // A negated operator also holds when the key is missing: listing without a prefix is denied too.
            statements.push(json!({
                "Effect": "Deny", "Action": one_or_many(actions), "Resource": on,
                "Condition": { "StringNotLike": { key.as_str(): value } }
            }));
        }
    }
    if !networks.is_empty() {
        statements.push(json!({
            "Effect": "Deny", "Action": "*", "Resource": "*",
            "Condition": {
                "NotIpAddress": { "aws:SourceIp": networks },
                "BoolIfExists": { "aws:ViaAWSService": "false" }
            }
        }));
    }
    statements
}

fn one_or_many(texts: &BTreeSet<&str>) -> Value {
    match texts.first() {
        Some(only) if texts.len() == 1 => json!(only),
        _ => json!(texts),
    }
}

fn words(permission: &Permission, grants: &[Grant], prefix: Option<&str>, networks: &[String]) -> Vec<String> {
    let mut words = vec![permission.summary.clone()];
    for grant in grants {
        let only = match &grant.condition {
            Some((key, value)) => format!(", only where {key} is like {value}"),
            None => String::new(),
        };
        words.push(format!("may call {} on {}{only}", grant.actions.join(", "), grant.on));
    }
    words.push("may do nothing else, even where the resource itself admits everybody".to_owned());
    if let Some(prefix) = prefix {
        words.push(format!("sees only what starts with \"{prefix}\""));
    }
    if !networks.is_empty() {
        words.push(format!("works only from {}, and through AWS services acting for it", networks.join(", ")));
    }
    words.push("is refused everything from the end of the lease on, to the second".to_owned());
    words.push(match &permission.revocation {
        Revocation::Immediate => "can be taken back at once".to_owned(),
        Revocation::Eventual => "can be taken back before that, within the time IAM needs to spread it".to_owned(),
        Revocation::ExpiryOnly => "cannot be taken back before that".to_owned(),
        Revocation::Residual(seconds) => {
            format!("can be taken back, but what was obtained with it may work for another {seconds} s")
        }
    });
    if permission.persistence == Persistence::CanCreate {
        words.push("can leave something behind that outlives the lease".to_owned());
    }
    words.extend(permission.widens.iter().map(|text| format!("is wider than asked: {text}")));
    words
}

fn checked_native(account: &AccountConfig, text: &str) -> Result<Arn, ProviderError> {
    let arn: Arn = text.parse().map_err(|error| ProviderError::new(ErrorKind::Unsupported, error))?;
    let elsewhere = |what: &str, own: &str| {
        let text = format!("{arn} is not in {what} {own} of account \"{}\": correct the catalogue", account.name);
        Err(ProviderError::new(ErrorKind::Unsupported, text))
    };
    if arn.partition() != account.partition {
        return elsewhere("partition", &account.partition);
    }
    if !arn.account().is_empty() && arn.account() != account.id {
        return elsewhere("account id", &account.id);
    }
    Ok(arn)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
