//! From entitlement to bindings. Pure: no I/O, no clock, no lease.

use grantd_provider_api::{
    CapabilityMap, Carrier, Cloud, Ending, Entitlement, ErrorKind, Expiry, NativeRole, Permission, Persistence, Plan,
    ProviderError, Revocation,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::AccountConfig;
use crate::limits::CONDITION_OPERATORS;
use crate::map::check_permission;
use crate::resource::Resource;

/// The native document of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Native {
    /// What carries the session.
    pub carrier: Carrier,
    /// What ends it.
    #[serde(default)]
    pub expiry: Expiry,
    /// What it is given.
    pub bindings: Vec<Binding>,
    /// The Credential Access Boundary of its token: for Cloud Storage by impersonation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boundary: Option<Value>,
}

/// One binding, without the lease and without its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Binding {
    /// The full resource name on whose policy it is.
    pub policy: String,
    /// The role, as Google names it.
    pub role: String,
    /// What it is given for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permissions: Vec<String>,
    /// The condition without the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// The key prefix in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

impl Native {
    /// Takes the document out of a plan of ours.
    pub fn of(plan: &Plan) -> Result<Self, ProviderError> {
        let ours = (plan.cloud == Cloud::Gcp).then(|| Self::deserialize(&plan.native).ok()).flatten();
        ours.filter(|native| !native.bindings.is_empty()).ok_or_else(|| {
            let text = "the plan is not one that the gcp adapter made: ask again, so that it is planned anew";
            ProviderError::new(ErrorKind::Config, text)
        })
    }

    /// The policies that it is written into, each once.
    pub fn policies(&self) -> Result<Vec<Resource>, ProviderError> {
        let mut found = Vec::new();
        for binding in &self.bindings {
            let policy: Resource =
                binding.policy.parse().map_err(|error| ProviderError::new(ErrorKind::Config, error))?;
            if !found.contains(&policy) {
                found.push(policy);
            }
        }
        Ok(found)
    }
}

/// Computes the plan of `entitlement` in `account`.
pub(crate) fn plan(
    account: &AccountConfig,
    entitlement: &Entitlement,
    map: &CapabilityMap,
) -> Result<Plan, ProviderError> {
    let (capability, resource) = (&entitlement.capability, &entitlement.resource);
    let unsupported = |text: String| ProviderError::new(ErrorKind::Unsupported, text);
    if resource.cloud != Cloud::Gcp {
        return Err(unsupported(format!("{} is in {}, not in gcp", resource.native, resource.cloud)));
    }
    if resource.kind != capability.resource_type() {
        let (native, kind) = (&resource.native, &resource.kind);
        return Err(unsupported(format!("{capability} does not apply to {native}, which is catalogued as {kind}")));
    }
    let permission = map.capability.get(capability).ok_or_else(|| {
        unsupported(format!("{capability} is not in the entitlement map of gcp: ask for one that is, or add it there"))
    })?;
    check_permission(capability, permission)?;
    if !entitlement.narrowing.source_networks.is_empty() {
        let text = "conditions of Google Cloud know no source networks: ask without them, or use VPC Service Controls";
        return Err(ProviderError::new(ErrorKind::Invalid, text));
    }
    let native: Resource = resource.native.parse().map_err(|error| unsupported(format!("{error}")))?;
    if let Some(project) = native.part("projects")
        && !account.projects.iter().any(|own| own == project)
    {
        let own = account.projects.join(", ");
        return Err(unsupported(format!(
            "{native} is not in {own} of account \"{}\": correct the catalogue",
            account.name
        )));
    }
    let prefix = entitlement.narrowing.prefix.as_deref().map(checked_prefix).transpose()?;
    let words_of = Words { account, native: &native, prefix: prefix.unwrap_or_default() };
    let bindings =
        permission.roles.iter().map(|role| binding(&words_of, role, prefix)).collect::<Result<Vec<_>, _>>()?;
    let targets = match permission.carrier {
        Carrier::Principal => vec![account.pool_principal()],
        Carrier::ServiceAccount if account.service_accounts.is_empty() => {
            return Err(unsupported(format!(
                "{capability} is carried by a service account, and account \"{}\" has none: configure \
                 [[gcp.account.service_account]]",
                account.name
            )));
        }
        Carrier::ServiceAccount => account.service_accounts.clone(),
    };
    let words = words(account, permission, &bindings, prefix);
    let boundary = (permission.carrier == Carrier::ServiceAccount).then(|| boundary(&bindings)).flatten();
    let document = Native { carrier: permission.carrier, expiry: permission.expiry, bindings, boundary };
    let native = serde_json::to_value(&document).map_err(|error| ProviderError::new(ErrorKind::Config, error))?;
    Ok(Plan {
        cloud: Cloud::Gcp,
        account: account.name.clone(),
        targets,
        native,
        words,
        revocation: permission.revocation.clone(),
        persistence: permission.persistence,
        widens: permission.widens.clone(),
        ending: ending(account, permission.expiry),
    })
}

fn ending(account: &AccountConfig, expiry: Expiry) -> Ending {
    match expiry {
        Expiry::Cloud => Ending::Cloud,
        Expiry::Daemon => Ending::Daemon { outlives: account.propagation.worst.as_secs() },
    }
}

fn binding(words: &Words<'_>, role: &NativeRole, prefix: Option<&str>) -> Result<Binding, ProviderError> {
    let template = match (prefix, &role.prefix_condition) {
        (None, _) => role.condition.as_deref(),
        (Some(_), Some(template)) => Some(template.as_str()),
        (Some(_), None) => {
            let text = format!("{} cannot be narrowed to a prefix: ask without it", role.title);
            return Err(ProviderError::new(ErrorKind::Invalid, text));
        }
    };
    let condition = template.map(|template| words.fill(template, true)).transpose()?;
    let policy: Resource = words
        .fill(&role.on, false)?
        .parse()
        .map_err(|error| ProviderError::new(ErrorKind::Config, format!("role {}: {error}", role.role)))?;
    if !policy.has_policy() {
        let text = format!("role {}: {policy} has no allow policy: bind it on the project", role.role);
        return Err(ProviderError::new(ErrorKind::Config, text));
    }
    let name = match role.role.strip_prefix("custom:") {
        Some(name) => format!("projects/{}/roles/{}", words.project()?, custom_role_id(name)),
        None => role.role.clone(),
    };
    let permissions = role.permissions.iter().chain(&role.data_permissions).cloned().collect();
    let prefix = condition.as_ref().and(prefix).map(str::to_owned);
    Ok(Binding { policy: policy.to_string(), role: name, permissions, condition, prefix })
}

/// The id under which `bootstrap` defines `custom:<name>`.
pub(crate) fn custom_role_id(name: &str) -> String {
    format!("grantd.{name}")
}

/// What templates are filled with. Every value was checked before: none can end a string or begin an operator.
struct Words<'a> {
    account: &'a AccountConfig,
    native: &'a Resource,
    prefix: &'a str,
}

impl Words<'_> {
    fn project(&self) -> Result<&str, ProviderError> {
        match (self.native.part("projects"), self.account.projects.as_slice()) {
            (Some(project), _) => Ok(project),
            (None, [only]) => Ok(only),
            (None, _) => Err(ProviderError::new(
                ErrorKind::Config,
                format!(
                    "the name {} does not tell its project, and account \"{}\" has several: give each project with buckets \
                     an account of its own",
                    self.native, self.account.name
                ),
            )),
        }
    }

    fn fill(&self, template: &str, condition: bool) -> Result<String, ProviderError> {
        let wrong = |why: String| ProviderError::new(ErrorKind::Config, format!("template {template:?}: {why}"));
        let (mut out, mut rest) = (String::new(), template);
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or_else(|| wrong("a brace is not closed".to_owned()))?;
            out.push_str(before);
            match name {
                "native" => out.push_str(&self.native.to_string()),
                "name" => out.push_str(self.native.name()),
                "project" => out.push_str(self.project()?),
                "location" => {
                    let zone = self.native.part("locations").or_else(|| self.native.part("zones"));
                    out.push_str(zone.ok_or_else(|| wrong(format!("{} has no location", self.native)))?);
                }
                "prefix" if condition => out.push_str(self.prefix),
                other => return Err(wrong(format!("{{{other}}} is not known"))),
            }
            rest = after;
        }
        out.push_str(rest);
        let operators = ["&&", "||", "!"].into_iter().map(|one| out.matches(one).count()).sum::<usize>();
        if condition && operators >= CONDITION_OPERATORS {
            return Err(wrong(format!(
                "{operators} operators are more than the {CONDITION_OPERATORS} that Google takes"
            )));
        }
        Ok(out)
    }
}

/// A prefix that means itself inside a string of a condition: no quote, no backslash, nothing unprintable.
fn checked_prefix(prefix: &str) -> Result<&str, ProviderError> {
    let plain = |c: char| !c.is_control() && !"\"'\\`{}*?!&|\u{2028}\u{2029}".contains(c);
    if !prefix.is_empty() && prefix.len() <= 512 && prefix.chars().all(plain) && !prefix.starts_with('/') {
        return Ok(prefix);
    }
    let text = format!(
        "prefix {:?} is not usable: 1 to 512 bytes without quotes, backslashes, braces, wildcards, operators and control \
         characters, and no slash in front",
        prefix.chars().take(80).collect::<String>()
    );
    Err(ProviderError::new(ErrorKind::Invalid, text))
}

/// What Cloud Storage is to let the token do, whatever its service account may do (IAM, "Credential Access Boundaries").
fn boundary(bindings: &[Binding]) -> Option<Value> {
    let rules: Option<Vec<Value>> = bindings
        .iter()
        .map(|binding| {
            let bucket: Resource = binding.policy.parse().ok()?;
            bucket.is_bucket().then_some(())?;
            let mut rule = json!({
                "availableResource": binding.policy,
                "availablePermissions": [format!("inRole:{}", binding.role)],
            });
            if let (Some(condition), Some(fields)) = (&binding.condition, rule.as_object_mut()) {
                fields.insert("availabilityCondition".to_owned(), json!({ "expression": condition }));
            }
            Some(rule)
        })
        .collect();
    Some(json!({ "accessBoundary": { "accessBoundaryRules": rules? } }))
}

fn words(account: &AccountConfig, permission: &Permission, bindings: &[Binding], prefix: Option<&str>) -> Vec<String> {
    let mut words = vec![permission.summary.clone()];
    for (binding, role) in bindings.iter().zip(&permission.roles) {
        let only = binding.condition.as_ref().map_or_else(String::new, |condition| format!(", only where {condition}"));
        words.push(format!("has the role {} ({}) on {}{only}", binding.role, role.title, binding.policy));
    }
    if let Some(prefix) = prefix {
        words.push(format!("sees only what starts with \"{prefix}\""));
    }
    words.push(match permission.carrier {
        Carrier::Principal => "is a principal of the lease's own, which has no other right".to_owned(),
        Carrier::ServiceAccount => "is a service account that no other lease uses at that time".to_owned(),
    });
    words.push(match permission.expiry {
        Expiry::Cloud if account.share_expiry.as_secs() > 1 => format!(
            "is refused by Google from the end of the lease on; access ends up to {} s before it, so that leases can share a \
             binding",
            account.share_expiry.as_secs().saturating_sub(1)
        ),
        Expiry::Cloud => "is refused by Google from the end of the lease on, to the second".to_owned(),
        Expiry::Daemon => format!(
            "has no end in Google Cloud: the daemon removes it at the end of the lease, which can take {} s to be felt",
            account.propagation.worst.as_secs()
        ),
    });
    if permission.carrier == Carrier::Principal {
        words.push("its token may live for an hour and is good for nothing without the binding".to_owned());
    }
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

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
