//! What sets an account up: Terraform that gives the daemon's principal the power to bind the roles of its entitlements, and
//! no other role, to principals of its own pool, and to nobody else. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use grantd_provider_api::{AccountNeeds, ErrorKind, ProviderError};

use crate::account::Account;
use crate::config::{AccountConfig, BaseConfig};
use crate::limits::CONSTRAINED_ROLES;
use crate::plan::Native;
use crate::resource::Resource;

/// What the plans of an account need.
#[derive(Debug, Default)]
struct Needed {
    roles: BTreeSet<String>,
    /// Roles of leases that grantd defines: project, id and permissions.
    custom: Vec<(String, String, BTreeSet<String>)>,
    write: BTreeSet<String>,
}

/// What accounts have in common, and a project has once.
#[derive(Debug, Default)]
struct Shared {
    /// The pools of every configured account that serves a project, whether or not it is printed now.
    pools: BTreeMap<String, BTreeSet<String>>,
    /// The roles of leases in each project, by id.
    custom: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
}

/// The Terraform of these accounts. `all` are those that are configured: what bounds a project bounds each of them.
pub(crate) fn terraform<'a>(
    accounts: &[(&Account, &AccountNeeds)],
    all: impl Iterator<Item = &'a AccountConfig>,
) -> Result<String, ProviderError> {
    let mut out = String::from(
        "# Sets Google Cloud up for grantd. Read it, then: terraform init && terraform apply\n\
         terraform {\n  required_providers {\n    google = {\n      source  = \"hashicorp/google\"\n      version = \">= 6.0\"\n    }\n  }\n}\n\n\
         variable \"organization\" {\n  description = \"The number of the organisation, whose own members stay allowed.\"\n  type        = string\n}\n",
    );
    let mut shared = Shared::default();
    for config in all {
        for project in &config.projects {
            shared.pools.entry(project.clone()).or_default().insert(pool_name(config));
        }
    }
    for (account, needs) in accounts {
        let needed = needed(needs)?;
        for (project, id, permissions) in &needed.custom {
            let known = shared.custom.entry(project.clone()).or_default().entry(id.clone()).or_default();
            known.extend(permissions.iter().cloned());
        }
        write_account(&mut out, account, needs, &needed)?;
    }
    for (project, roles) in &shared.custom {
        for (role, permissions) in roles {
            let label = format!("{}_{}", word(project), word(role));
            custom_role(&mut out, &label, project, role, "What grantd gives to leases.", permissions);
        }
    }
    let served: BTreeSet<&String> = accounts.iter().flat_map(|(account, _)| &account.config().projects).collect();
    for project in served {
        members(&mut out, project, shared.pools.get(project).into_iter().flatten());
    }
    Ok(out)
}

/// A pool as an organisation policy names all that is in it.
fn pool_name(config: &AccountConfig) -> String {
    config.pool_principal().replacen("principal://", "//", 1)
}

fn needed(needs: &AccountNeeds) -> Result<Needed, ProviderError> {
    let mut all = Needed::default();
    for need in &needs.needs {
        for binding in Native::of(&need.plan)?.bindings {
            let policy: Resource =
                binding.policy.parse().map_err(|error| ProviderError::new(ErrorKind::Config, error))?;
            if let Some(("projects", rest)) = binding.role.split_once('/')
                && let Some((project, id)) = rest.split_once("/roles/")
            {
                all.custom.push((project.to_owned(), id.to_owned(), binding.permissions.iter().cloned().collect()));
            }
            all.write.insert(policy.set_permission());
            all.roles.insert(binding.role);
        }
    }
    if all.roles.len() > CONSTRAINED_ROLES {
        return Err(ProviderError::new(
            ErrorKind::Unsupported,
            format!(
                "account \"{}\" needs {} roles, and Google takes {CONSTRAINED_ROLES} in the condition that limits what the daemon may \
                 grant: spread the resources over several accounts, each with a pool of its own",
                needs.account,
                all.roles.len()
            ),
        ));
    }
    Ok(all)
}

fn write_account(
    out: &mut String,
    account: &Account,
    needs: &AccountNeeds,
    needed: &Needed,
) -> Result<(), ProviderError> {
    let config = account.config();
    let id = word(&config.name);
    let member = match (&config.base, &needs.base) {
        (BaseConfig::Assertion { subject }, _) => format!("{}{subject}", config.subject_prefix()),
        (BaseConfig::Metadata { .. }, Some(email)) => format!("serviceAccount:{email}"),
        (BaseConfig::Metadata { .. }, None) => {
            let text = format!("account \"{}\": name the service account of the machine with --base", config.name);
            return Err(ProviderError::new(ErrorKind::Config, text));
        }
    };
    pool(out, account, &id, &member);
    for project in &config.projects {
        rights(out, config, &format!("{id}_{}", word(project)), project, &member, needed);
    }
    for email in &config.service_accounts {
        service_account(out, &id, email, &member);
    }
    Ok(())
}

/// Whom a pool's provider lets in: the daemon, where it calls as a principal of the pool, and leases.
pub(crate) fn attribute_condition(config: &AccountConfig) -> String {
    let leases = "assertion.sub.matches('^lease-[a-z2-7]{26}$')";
    match &config.base {
        BaseConfig::Assertion { subject } => format!("assertion.sub == '{subject}' || {leases}"),
        BaseConfig::Metadata { .. } => leases.to_owned(),
    }
}

fn pool(out: &mut String, account: &Account, id: &str, member: &str) {
    let config = account.config();
    let (pool, provider, number) = (&config.pool, &config.provider, &config.number);
    let issuer = account.link.base.issuer();
    let _ = write!(
        out,
        r#"
# Account {name}: whom the pool lets in. The issuer has to publish its key set at that address, or upload it with jwks_json.
resource "google_iam_workload_identity_pool" "{id}" {{
  project                   = "{number}"
  workload_identity_pool_id = "{pool}"
  display_name              = "grantd"
}}

resource "google_iam_workload_identity_pool_provider" "{id}" {{
  project                            = "{number}"
  workload_identity_pool_id          = google_iam_workload_identity_pool.{id}.workload_identity_pool_id
  workload_identity_pool_provider_id = "{provider}"
  attribute_mapping                  = {{ "google.subject" = "assertion.sub" }}
  attribute_condition                = {condition}
  oidc {{
    issuer_uri = {issuer}
  }}
}}

# So that grantctl doctor can see whom the pool lets in.
resource "google_project_iam_member" "{id}_pool" {{
  project = "{number}"
  role    = "roles/iam.workloadIdentityPoolViewer"
  member  = {member}
}}
"#,
        name = config.name,
        condition = quoted(&attribute_condition(config)),
        issuer = quoted(issuer),
        member = quoted(member),
    );
}

fn rights(out: &mut String, config: &AccountConfig, id: &str, project: &str, member: &str, needed: &Needed) {
    let (admin, reader) = (own_role("admin", config), own_role("reader", config));
    let mut read: BTreeSet<String> = needed.write.iter().map(|one| one.replace(".setIam", ".getIam")).collect();
    read.insert("resourcemanager.projects.getIamPolicy".to_owned());
    if config.asset_search {
        read.insert("cloudasset.assets.searchAllIamPolicies".to_owned());
    }
    custom_role(out, &format!("{id}_reader"), project, &reader, "Lets grantd read policies.", &read);
    let member = quoted(member);
    let _ = write!(
        out,
        r#"
resource "google_project_iam_member" "{id}_reader" {{
  project = "{project}"
  role    = google_project_iam_custom_role.{id}_reader.id
  member  = {member}
}}
"#
    );
    if needed.roles.is_empty() {
        let _ =
            write!(out, "\n# Nothing in the catalogue lives in the account, so nothing can be granted in {project}.\n");
        return;
    }
    custom_role(out, &format!("{id}_admin"), project, &admin, "Lets grantd write policies.", &needed.write);
    let roles: Vec<String> = needed.roles.iter().map(|role| format!("'{role}'")).collect();
    let only =
        format!("api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly([{}])", roles.join(", "));
    let only = quoted(&only);
    let _ = write!(
        out,
        r#"
# What the daemon may grant in {project}: these roles alone.
resource "google_project_iam_member" "{id}_admin" {{
  project = "{project}"
  role    = google_project_iam_custom_role.{id}_admin.id
  member  = {member}
  condition {{
    title      = "grantd grants its roles alone"
    expression = {only}
  }}
}}
"#
    );
}

/// The id of a role of the daemon's own: each account has its own, so that accounts can share a project.
fn own_role(what: &str, config: &AccountConfig) -> String {
    let name: String = word(&config.name).chars().skip("grantd_".len()).take(40).collect();
    format!("grantd_{what}_{name}")
}

/// To whom anybody may grant in a project.
fn members<'a>(out: &mut String, project: &str, pools: impl Iterator<Item = &'a String>) {
    let pools: String = pools.map(|pool| format!("          {},\n", quoted(pool))).collect();
    let label = format!("{}_members", word(project));
    let _ = write!(
        out,
        r#"
# To whom anybody may grant in {project}: members of the organisation, and principals of grantd's pools. What the daemon may
# grant is bounded above by roles, not by members: without this the daemon could let strangers in.
resource "google_org_policy_policy" "{label}" {{
  name   = "projects/{project}/policies/iam.managed.allowedPolicyMembers"
  parent = "projects/{project}"
  spec {{
    rules {{
      enforce    = "TRUE"
      parameters = jsonencode({{
        allowedPrincipalSets = [
          "//cloudresourcemanager.googleapis.com/organizations/${{var.organization}}",
{pools}        ]
      }})
    }}
  }}
}}
"#
    );
}

fn custom_role(out: &mut String, id: &str, project: &str, role: &str, what: &str, permissions: &BTreeSet<String>) {
    let list: Vec<String> = permissions.iter().map(|one| format!("    {},\n", quoted(one))).collect();
    let _ = write!(
        out,
        "\nresource \"google_project_iam_custom_role\" \"{id}\" {{\n  project     = \"{project}\"\n  role_id     = \"{role}\"\n  \
         title       = \"{role}\"\n  description = {}\n  permissions = [\n{}  ]\n}}\n",
        quoted(what),
        list.concat()
    );
}

fn service_account(out: &mut String, id: &str, email: &str, member: &str) {
    let (name, rest) = email.split_once('@').unwrap_or((email, ""));
    let project = rest.split('.').next().unwrap_or_default();
    let label = format!("{id}_{}", word(name));
    let _ = write!(
        out,
        r#"
# Carries one lease at a time. It has no right of its own: never grant it one.
resource "google_service_account" "{label}" {{
  project    = "{project}"
  account_id = "{name}"
}}

resource "google_service_account_iam_member" "{label}" {{
  service_account_id = google_service_account.{label}.name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = {}
}}
"#,
        quoted(member)
    );
}

/// A label of Terraform.
fn word(text: &str) -> String {
    let word: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    format!("grantd_{word}")
}

/// A string of Terraform's language that means itself.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '$' | '%' => out.extend([c, c]),
            _ => out.push(c),
        }
    }
    out.push('"');
    // Only `${` and `%{` begin a template; a doubled sign elsewhere would be two signs.
    out.replace("$${", "\u{1}")
        .replace("%%{", "\u{2}")
        .replace("$$", "$")
        .replace("%%", "%")
        .replace('\u{1}', "$${")
        .replace('\u{2}', "%%{")
}

#[cfg(test)]
#[path = "bootstrap_tests.rs"]
mod tests;
