//! `bootstrap`: Terraform that makes exactly what the configuration names, so that the daemon can serve it. Pure: text
//! from configuration and plans.
//!
//! Policies stand in it as literal JSON and names as literal ARNs, so that a reviewer reads what AWS will read.

mod revoking;
mod sessions;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use grantd_provider_api::{AccountNeeds, ErrorKind, ProviderError};
use serde_json::{Value, json};

use crate::arn::Arn;
use crate::config::{AccountConfig, BaseConfig, RoleConfig, WebIdentity};
use crate::federation;
use crate::hcl::{heredoc, named, sorted, unused, word};
use crate::rights::{Document, Rights, Statement};

/// The revoker when the configuration names none.
const REVOKER: &str = "grantd-revoker";

/// The base identity when nobody names one and it has to be a user.
const BASE: &str = "grantd-base";

/// Everything for `accounts`: each with its configuration. `issuer` is the URL of the daemon's own tokens.
pub(crate) fn terraform(accounts: &[(&AccountConfig, &AccountNeeds)], issuer: &str) -> Result<String, ProviderError> {
    let mut out = String::from(HEAD);
    for (config, needs) in accounts {
        out.push_str(&Account::new(config, needs, issuer)?.text());
    }
    Ok(out)
}

const HEAD: &str = r#"# What grantd needs in AWS, printed by `grantctl bootstrap aws` from grantd.toml, the catalogue and the entitlement map.
# Review it, then `terraform apply` it with an administrator's credentials. Print it again when one of the three changes.
#
# A boundary never grants, so whoever takes the daemon over cannot widen a role with it. What is left to such a thief: to
# assume the roles without a session policy, to lift revocations, to deny everybody. The alarms below are for that.

terraform {
  required_version = ">= 1.3"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}
"#;

/// Who the daemon is in the account.
struct BaseIdentity {
    arn: Arn,
    /// A user that is made here, or one that exists.
    made_here: bool,
}

struct Account<'a> {
    config: &'a AccountConfig,
    needs: &'a AccountNeeds,
    /// None where the daemon is in the account by its own tokens alone.
    base: Option<BaseIdentity>,
    issuer: &'a str,
    revoker: Arn,
    rights: Rights,
    /// Terraform names of the boundaries and of the roles.
    boundaries: BTreeMap<&'a Arn, String>,
    roles: Vec<(&'a RoleConfig, String)>,
    label: String,
}

impl<'a> Account<'a> {
    fn new(config: &'a AccountConfig, needs: &'a AccountNeeds, issuer: &'a str) -> Result<Self, ProviderError> {
        let label = format!("grantd_{}", word(&config.name));
        let mut taken = BTreeSet::new();
        let mut boundaries = BTreeMap::new();
        for boundary in config.roles.iter().filter_map(RoleConfig::boundary) {
            boundaries.entry(boundary).or_insert_with(|| unused(&mut taken, boundary.name()));
        }
        let mut taken = BTreeSet::new();
        let roles = config.roles.iter().map(|role| (role, unused(&mut taken, role.arn.name()))).collect();
        let revoker = match &config.revoker {
            Some(arn) => arn.clone(),
            None => own_arn(config, &format!("role/{REVOKER}"))?,
        };
        let rights = Rights::of(&config.name, &needs.needs)?;
        Ok(Self {
            base: match config.base {
                BaseConfig::Issuer => None,
                _ => Some(base(config, needs.base.as_deref())?),
            },
            issuer,
            config,
            needs,
            revoker,
            rights,
            boundaries,
            roles,
            label,
        })
    }

    fn text(&self) -> String {
        let mut out = String::new();
        self.head(&mut out);
        self.issuer(&mut out);
        self.base(&mut out);
        self.boundaries(&mut out);
        self.rights(&mut out);
        self.roles(&mut out);
        self.revoker(&mut out);
        self.doctor(&mut out);
        self.alarms(&mut out);
        out
    }

    fn head(&self, out: &mut String) {
        let Self { config, label, .. } = self;
        let _ = write!(
            out,
            "\n# === account \"{name}\" ({id}) {rule}\n",
            name = config.name,
            id = config.id,
            rule = "=".repeat(60)
        );
        for need in &self.needs.needs {
            let _ = writeln!(out, "# can be asked for: {} on \"{}\"", need.capability, need.resource);
        }
        if self.needs.needs.is_empty() {
            let _ = writeln!(out, "# nothing in the catalogue lives here, so the roles may do nothing");
        }
        for (alias, region) in [(label.clone(), config.region.as_str()), (self.iam_alias(), self.iam_region())] {
            let _ = write!(
                out,
                "\nprovider \"aws\" {{\n  alias               = \"{alias}\"\n  region              = \"{region}\"\n  \
                 allowed_account_ids = [\"{id}\"]\n}}\n",
                id = config.id
            );
        }
        let _ = write!(
            out,
            "\nvariable \"{label}_alarm_topic\" {{\n  type        = string\n  description = \"The ARN of an SNS topic in \
             {region} that wakes somebody. Its policy has to let events.amazonaws.com publish to it.\"\n}}\n\n\
             variable \"{label}_doctor\" {{\n  type        = bool\n  default     = false\n  description = \"Let the \
             revoker read what grantctl doctor would otherwise report as not checked.\"\n}}\n",
            region = self.iam_region()
        );
        if !self.rights.wide.is_empty() {
            let _ = write!(
                out,
                "\nvariable \"{label}_lasting_or_wide\" {{\n  type        = bool\n  default     = false\n  description = \
                 \"Also allow what outlives a lease or reaches further than its resource. Only of use when the policy \
                 of grantd permits it; as shipped it forbids it.\"\n}}\n"
            );
        }
    }

    /// The identity provider, where sessions are made with the daemon's own tokens.
    fn issuer(&self, out: &mut String) {
        let Some(web) = &self.config.web_identity else { return };
        out.push_str(
            "\n# The daemon's own tokens, as the account takes them. AWS fetches the keys from this URL: publish them there \
             first,\n# with grantctl issuer publish. Each role below trusts one audience and one subject of it. Old versions of \
             the\n# provider for Terraform ask for a thumbprint_list here; AWS needs none for a host with a public certificate.\n",
        );
        let body = format!("  url            = \"{}\"\n  client_id_list = [\"{}\"]\n", self.issuer, web.audience);
        self.resource(out, "aws_iam_openid_connect_provider", "issuer", &body);
    }

    fn base(&self, out: &mut String) {
        let Some(base) = &self.base else { return };
        let arn = &base.arn;
        let by_token = self.config.web_identity.is_some();
        let by_base = self.config.roles.iter().filter(|_| !by_token);
        let mut assumable: Vec<String> = by_base.map(|role| role.arn.to_string()).collect();
        assumable.push(self.revoker.to_string());
        let mut statements = vec![Statement::allow(["sts:AssumeRole".to_owned()], assumable)];
        let all = || self.config.roles.iter().filter(|_| !by_token);
        let further: [(&str, Vec<&RoleConfig>); 2] = [
            ("sts:SetSourceIdentity", all().filter(|role| role.source_identity).collect()),
            ("sts:TagSession", all().filter(|role| role.tags).collect()),
        ];
        for (action, on) in further {
            if !on.is_empty() {
                statements.push(Statement::allow([action.to_owned()], on.iter().map(|role| role.arn.to_string())));
            }
        }
        out.push_str(
            "\n# The base identity: it may become the roles below and the revoker, and can do nothing by itself.\n",
        );
        let user = arn.resource().starts_with("user/");
        if base.made_here {
            out.push_str(
                "# Make its key by hand (aws iam create-access-key) and put it where grantd.toml says: Terraform would \
                 keep the\n# secret in its state.\n",
            );
            self.resource(out, "aws_iam_user", "base", &named(arn, "user/"));
        }
        let kind = if user { "aws_iam_user_policy" } else { "aws_iam_role_policy" };
        let who = match (base.made_here, user) {
            (true, _) => format!("user   = aws_iam_user.{}_base.name", self.label),
            (false, true) => format!("user   = \"{}\"", arn.name()),
            (false, false) => format!("role   = \"{}\"", arn.name()),
        };
        let policy = heredoc(&Document::new(statements));
        self.resource(out, kind, "base", &format!("  name   = \"grantd\"\n  {who}\n  policy = {policy}"));
    }

    fn token_trust(&self, web: &WebIdentity, subject: &str, more: &[&str]) -> Value {
        let statement = federation::trust(self.config, self.issuer, web, subject, more);
        sorted(&json!({ "Version": "2012-10-17", "Statement": [statement] }))
    }

    fn trust(&self, actions: &[&str], external_id: Option<&str>) -> Value {
        let base = self.base.as_ref().map(|base| base.arn.as_str());
        let mut statement = json!({
            "Effect": "Allow", "Principal": { "AWS": base }, "Action": actions,
        });
        if let (Some(id), Some(fields)) = (external_id, statement.as_object_mut()) {
            fields.insert("Condition".to_owned(), json!({ "StringEquals": { "sts:ExternalId": id } }));
        }
        sorted(&json!({ "Version": "2012-10-17", "Statement": [statement] }))
    }

    /// AWS refuses a trust policy that names a user which does not exist yet.
    fn after_base(&self) -> String {
        match &self.base {
            Some(base) if base.made_here => format!("  depends_on = [aws_iam_user.{}_base]\n", self.label),
            Some(_) => String::new(),
            None => format!("  depends_on = [aws_iam_openid_connect_provider.{}_issuer]\n", self.label),
        }
    }

    /// A name in the cloud for what the configuration does not name.
    fn native_name(&self, name: &str) -> String {
        format!("{}_{name}", self.label).replace('_', "-")
    }

    fn when_wide(&self) -> String {
        format!("var.{}_lasting_or_wide ? 1 : 0", self.label)
    }

    fn iam_alias(&self) -> String {
        format!("{}_iam", self.label)
    }

    fn iam_region(&self) -> &'static str {
        match self.config.partition.as_str() {
            "aws-cn" => "cn-north-1",
            "aws-us-gov" => "us-gov-west-1",
            _ => "us-east-1",
        }
    }

    fn resource(&self, out: &mut String, kind: &str, name: &str, body: &str) {
        self.resource_at(out, &self.label, kind, name, body);
    }

    fn resource_at(&self, out: &mut String, alias: &str, kind: &str, name: &str, body: &str) {
        let me = &self.label;
        let _ = write!(out, "\nresource \"{kind}\" \"{me}_{name}\" {{\n  provider = aws.{alias}\n{body}}}\n");
    }
}

fn own_arn(config: &AccountConfig, resource: &str) -> Result<Arn, ProviderError> {
    let text = format!("arn:{}:iam::{}:{resource}", config.partition, config.id);
    text.parse().map_err(|error| ProviderError::new(ErrorKind::Config, error))
}

/// The base identity: named by the caller, told by the configuration, or a user that is made here.
fn base(config: &AccountConfig, given: Option<&str>) -> Result<BaseIdentity, ProviderError> {
    let wrong =
        |text: String| Err(ProviderError::new(ErrorKind::Config, format!("account \"{}\": {text}", config.name)));
    if let Some(given) = given {
        let arn: Arn = given.parse().map_err(|error| ProviderError::new(ErrorKind::Config, error))?;
        let own = arn.service() == "iam" && arn.partition() == config.partition && arn.account() == config.id;
        let kind = arn.resource().starts_with("user/") || arn.resource().starts_with("role/");
        if !own || !kind || arn.name().is_empty() {
            return wrong(format!(
                "{arn} is no user and no role of account {}: name the IAM user or role itself",
                config.id
            ));
        }
        return Ok(BaseIdentity { arn, made_here: false });
    }
    match &config.base {
        BaseConfig::WebIdentity { role, .. } if role.account() == config.id => {
            Ok(BaseIdentity { arn: role.clone(), made_here: false })
        }
        BaseConfig::Profile { .. } => {
            Ok(BaseIdentity { arn: own_arn(config, &format!("user/{BASE}"))?, made_here: true })
        }
        _ => wrong("its configuration does not tell which role its base is: name it with --base ARN".to_owned()),
    }
}

#[cfg(test)]
mod tests;
