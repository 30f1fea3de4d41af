//! `bootstrap`: Terraform that sets up exactly what the configuration names, so that the daemon can serve it. Pure: text
//! from configuration and plans.
//!
//! Ids and conditions stand in it as literals, so that a reviewer reads what Azure will read. Applications are not made by
//! it: their ids are drawn by Azure and have to be in the configuration before, so its head says how they are made.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use grantd_provider_api::{AccountNeeds, ErrorKind, ProviderError};
use uuid::Uuid;

use crate::config::{AccountConfig, BaseConfig};
use crate::delegation;
use crate::limits::CONDITION_CHARACTERS;
use crate::names::{ResourceId, custom_role, role_definition};
use crate::plan::{Grant, Native};

/// The role of the daemon itself in an account. Azure's own Role Based Access Control Administrator could read everything
/// besides. No role of a map has a space in its name, and each account has one of its own: Azure takes one assignment of a
/// role to a principal at a scope, and accounts with the same base and subscription have conditions of their own.
fn base_role(account: &str) -> String {
    format!("base of {account}")
}

/// What that role can do, within its condition.
const BASE_ACTIONS: [&str; 4] = [
    "Microsoft.Authorization/roleAssignments/delete",
    "Microsoft.Authorization/roleAssignments/read",
    "Microsoft.Authorization/roleAssignments/write",
    "Microsoft.Authorization/roleDefinitions/read",
];

/// What it can do besides where Azure is to end assignments, too. No condition bounds these: Microsoft documents no attribute of
/// schedule requests.
const PIM_ACTIONS: [&str; 3] = [
    "Microsoft.Authorization/roleAssignmentScheduleInstances/read",
    "Microsoft.Authorization/roleAssignmentScheduleRequests/read",
    "Microsoft.Authorization/roleAssignmentScheduleRequests/write",
];

const HEAD: &str = r#"# What grantd needs in Azure, printed by `grantctl bootstrap azure` from grantd.toml, the catalogue and the entitlement map.
# Review it, then `terraform apply` it as an administrator. Print it again when one of the three changes.
#
# Slots are applications of their own, with nothing assigned to them by anybody but grantd. Make each once, and write what
# these print into grantd.toml as client_id and object_id:
#   az ad app create --display-name "grantd slot" --query appId --output tsv
#   az ad sp create --id CLIENT_ID --query id --output tsv
#
# The daemon's own right is bound by a condition to the roles and slots named below. Whoever takes the daemon over can
# assign those roles to those slots, and nothing else to nobody else.

terraform {
  required_version = ">= 1.3"
  required_providers {
    azuread = {
      source  = "hashicorp/azuread"
      version = ">= 3.0"
    }
    azurerm = {
      source  = "hashicorp/azurerm"
      version = ">= 4.0"
    }
  }
}
"#;

/// Everything for `accounts`: each with its configuration and the issuer whose word its applications are to take.
pub(crate) fn terraform(accounts: &[(&AccountConfig, &str, &AccountNeeds)]) -> Result<String, ProviderError> {
    let accounts: Vec<Account<'_>> =
        accounts.iter().map(|(config, issuer, needs)| Account::new(config, issuer, needs)).collect::<Result<_, _>>()?;
    let mut shared = Shared::default();
    for account in &accounts {
        for (subscription, rights) in &account.rights {
            let common =
                shared.subscriptions.entry(*subscription).or_insert_with(|| (account.alias(*subscription), Own::new()));
            for (name, (actions, data_actions)) in &rights.own {
                let role = common.1.entry(name.clone()).or_default();
                role.0.extend(actions.iter().cloned());
                role.1.extend(data_actions.iter().cloned());
            }
        }
    }
    let mut out = String::from(HEAD);
    for account in &accounts {
        account.write(&mut out, &mut shared);
    }
    Ok(out)
}

/// Roles of grantd's own: by name, with their actions and data actions.
type Own = BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)>;

/// What accounts have in common, and Azure has once.
#[derive(Default)]
struct Shared {
    /// The roles of grantd's own in each subscription, and the alias of the account that defines them.
    subscriptions: BTreeMap<Uuid, (String, Own)>,
    /// Which subjects applications trust already.
    trusted: BTreeSet<(Uuid, String)>,
}

/// What one subscription needs.
#[derive(Default)]
struct Rights {
    /// The roles that may be assigned there.
    roles: BTreeSet<Uuid>,
    /// Those of grantd's own.
    own: Own,
}

struct Account<'a> {
    config: &'a AccountConfig,
    issuer: &'a str,
    needs: &'a AccountNeeds,
    base: Uuid,
    label: String,
    rights: BTreeMap<Uuid, Rights>,
    conditions: BTreeMap<Uuid, String>,
}

impl<'a> Account<'a> {
    fn new(config: &'a AccountConfig, issuer: &'a str, needs: &'a AccountNeeds) -> Result<Self, ProviderError> {
        let label = format!("grantd_{}", word(&config.name));
        let mut rights: BTreeMap<Uuid, Rights> =
            config.subscriptions.iter().map(|id| (*id, Rights::default())).collect();
        for need in &needs.needs {
            for grant in Native::of(&need.plan)?.assignments {
                let subscription = ResourceId::parse(&grant.scope)?.subscription;
                add(rights.entry(subscription).or_default(), subscription, &grant);
            }
        }
        let slots: BTreeSet<Uuid> = config.slots.iter().map(|slot| slot.object_id).collect();
        let mut conditions = BTreeMap::new();
        for (subscription, rights) in &rights {
            let condition = delegation::condition(&rights.roles, &slots);
            if condition.len() > CONDITION_CHARACTERS {
                let text = format!(
                    "account \"{}\": the condition of the daemon's right in subscription {subscription} would have {} \
                     characters, and azure takes {CONDITION_CHARACTERS}: split slots or resources over two accounts",
                    config.name,
                    condition.len()
                );
                return Err(ProviderError::new(ErrorKind::Unsupported, text));
            }
            conditions.insert(*subscription, condition);
        }
        let base = base(config, needs.base.as_deref())?;
        Ok(Self { config, issuer, needs, base, label, rights, conditions })
    }

    fn write(&self, out: &mut String, shared: &mut Shared) {
        let Self { config, label, .. } = self;
        let _ = write!(out, "\n# === account \"{}\" {}\n", config.name, "=".repeat(60));
        for need in &self.needs.needs {
            let _ = writeln!(out, "# can be asked for: {} on \"{}\"", need.capability, need.resource);
        }
        let _ = write!(
            out,
            "\nprovider \"azuread\" {{\n  alias     = \"{label}\"\n  tenant_id = \"{}\"\n}}\n",
            config.tenant
        );
        for subscription in self.rights.keys() {
            let _ = write!(
                out,
                "\nprovider \"azurerm\" {{\n  alias           = \"{}\"\n  tenant_id       = \"{}\"\n  \
                 subscription_id = \"{subscription}\"\n  features {{}}\n}}\n",
                self.alias(*subscription),
                config.tenant
            );
        }
        self.base(out, shared);
        for (index, slot) in config.slots.iter().enumerate() {
            let name = format!("{label}_slot_{}", index.saturating_add(1));
            let _ = write!(
                out,
                "\ndata \"azuread_service_principal\" \"{name}\" {{\n  provider  = azuread.{label}\n  client_id = \"{}\"\n  \
                 lifecycle {{\n    postcondition {{\n      condition     = self.object_id == \"{}\"\n      \
                 error_message = \"grantd.toml names another object_id for this client_id\"\n    }}\n  }}\n}}\n",
                slot.client_id, slot.object_id
            );
            self.trust(out, shared, &name, slot.client_id, &slot.subject);
        }
        for (subscription, rights) in &self.rights {
            if let Some((alias, own)) = shared.subscriptions.get(subscription)
                && *alias == self.alias(*subscription)
            {
                for (name, (actions, data_actions)) in own {
                    self.role(out, *subscription, name, actions, data_actions);
                }
            }
            self.right(out, *subscription, rights);
        }
    }

    fn alias(&self, subscription: Uuid) -> String {
        format!("{}_{}", self.label, word(&subscription.to_string()))
    }

    fn base(&self, out: &mut String, shared: &mut Shared) {
        let Self { label, base, config, .. } = self;
        let _ = write!(
            out,
            "\ndata \"azuread_service_principal\" \"{label}_base\" {{\n  provider  = azuread.{label}\n  \
             client_id = \"{base}\"\n}}\n"
        );
        if let BaseConfig::Federation { client_id, subject } = &config.base {
            self.trust(out, shared, &format!("{label}_base"), *client_id, subject);
        }
    }

    /// An application that takes the daemon's word.
    fn trust(&self, out: &mut String, shared: &mut Shared, name: &str, client_id: Uuid, subject: &str) {
        let Self { label, issuer, config, .. } = self;
        // A credential's name is unique in its application, and so is what it trusts.
        let known = shared.trusted.iter().filter(|(id, _)| *id == client_id).count();
        if !shared.trusted.insert((client_id, subject.to_owned())) {
            let _ =
                write!(out, "\n# {client_id} trusts {subject:?} already: another account above has the same base.\n");
            return;
        }
        let title = if known == 0 { "grantd".to_owned() } else { format!("grantd-{}", known.saturating_add(1)) };
        let audience = config.endpoints.assertion_audience();
        let _ = write!(
            out,
            "\ndata \"azuread_application\" \"{name}\" {{\n  provider  = azuread.{label}\n  client_id = \"{client_id}\"\n}}\n\
             \nresource \"azuread_application_federated_identity_credential\" \"{name}\" {{\n  \
             provider       = azuread.{label}\n  application_id = data.azuread_application.{name}.id\n  \
             display_name   = \"{title}\"\n  audiences      = [\"{audience}\"]\n  issuer         = {}\n  \
             subject        = {}\n}}\n",
            quoted(issuer),
            quoted(subject)
        );
    }

    /// What the daemon may do in a subscription.
    fn right(&self, out: &mut String, subscription: Uuid, rights: &Rights) {
        let name = base_role(&self.config.name);
        let pim: &[&str] = if self.config.pim_backstop { &PIM_ACTIONS } else { &[] };
        let actions = BASE_ACTIONS.iter().chain(pim).map(|&action| action.to_owned()).collect();
        if self.config.pim_backstop {
            let _ = write!(
                out,
                "\n# pim_backstop: the right to make schedule requests is NOT bound by the condition below. Whoever takes the daemon\n\
                 # over can assign any role to anybody in the subscription: have an alarm on schedule requests for others than\n\
                 # the slots, or do without.\n"
            );
        }
        self.role(out, subscription, &name, &actions, &BTreeSet::new());
        let Some(condition) = self.conditions.get(&subscription).filter(|_| !rights.roles.is_empty()) else {
            let _ = write!(
                out,
                "\n# Nothing in the catalogue lives in {subscription}, so nothing can be assigned there.\n"
            );
            return;
        };
        let alias = self.alias(subscription);
        let _ = write!(
            out,
            "\nresource \"azurerm_role_assignment\" \"{alias}_base\" {{\n  provider           = azurerm.{alias}\n  \
             scope              = \"/subscriptions/{subscription}\"\n  \
             role_definition_id = \"{}\"\n  \
             principal_id       = data.azuread_service_principal.{}_base.object_id\n  \
             principal_type     = \"ServicePrincipal\"\n  \
             description        = \"grantd assigns these roles to these slots, and removes them\"\n  \
             condition_version  = \"2.0\"\n  condition          = \"{condition}\"\n  \
             depends_on         = [azurerm_role_definition.{alias}_{}]\n}}\n",
            role_definition(subscription, custom_role(subscription, &name)),
            self.label,
            word(&name)
        );
    }

    fn role(
        &self,
        out: &mut String,
        subscription: Uuid,
        name: &str,
        actions: &BTreeSet<String>,
        data_actions: &BTreeSet<String>,
    ) {
        let alias = self.alias(subscription);
        let list =
            |items: &BTreeSet<String>| items.iter().map(|item| format!("      \"{item}\",\n")).collect::<String>();
        let _ = write!(
            out,
            "\nresource \"azurerm_role_definition\" \"{alias}_{}\" {{\n  provider           = azurerm.{alias}\n  \
             role_definition_id = \"{}\"\n  name               = \"grantd {name} in {subscription}\"\n  \
             scope              = \"/subscriptions/{subscription}\"\n  permissions {{\n    actions = [\n{}    ]\n    \
             data_actions = [\n{}    ]\n  }}\n  assignable_scopes = [\"/subscriptions/{subscription}\"]\n}}\n",
            word(name),
            custom_role(subscription, name),
            list(actions),
            list(data_actions)
        );
    }
}

fn add(rights: &mut Rights, subscription: Uuid, grant: &Grant) {
    if let Some(name) = &grant.custom {
        rights.roles.insert(custom_role(subscription, name));
        let (actions, data_actions) = rights.own.entry(name.clone()).or_default();
        actions.extend(grant.permissions.iter().cloned());
        data_actions.extend(grant.data_permissions.iter().cloned());
        return;
    }
    let id = grant.role_definition_id.rsplit('/').next().and_then(|id| Uuid::try_parse(id).ok());
    rights.roles.extend(id);
}

/// The client id of the daemon's own identity.
fn base(config: &AccountConfig, named: Option<&str>) -> Result<Uuid, ProviderError> {
    let named = || named.and_then(|id| Uuid::try_parse(id).ok());
    config.base.client_id().or_else(named).ok_or_else(|| {
        let text = format!(
            "account \"{}\": its base is the host's managed identity, which the configuration does not name: name it by \
             its client id",
            config.name
        );
        ProviderError::new(ErrorKind::Config, text)
    })
}

/// A string of Terraform's language that means itself. Of the characters that a subject and an address may have, only the
/// beginning of a template means more.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace("${", "$${").replace("%{", "%%{"))
}

/// A name as Terraform takes it.
fn word(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

#[cfg(test)]
#[path = "bootstrap_tests.rs"]
mod tests;
