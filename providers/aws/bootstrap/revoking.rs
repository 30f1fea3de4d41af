//! What takes sessions back: the boundaries, the one role that writes them, and the alarms on anybody else who does.

use std::fmt::Write as _;

use serde_json::json;

use super::Account;
use crate::alarms;
use crate::base::REVOKER_SESSION;
use crate::federation;
use crate::hcl::{heredoc, named, sorted};
use crate::limits::MIN_MAX_SESSION;
use crate::resource_policy;
use crate::rights::{Document, Statement};

/// The four actions that write and read a boundary's versions.
pub(super) const VERSION_ACTIONS: [&str; 4] =
    ["iam:CreatePolicyVersion", "iam:DeletePolicyVersion", "iam:GetPolicyVersion", "iam:ListPolicyVersions"];

/// The three that write and read a role's inline policies.
const INLINE_ACTIONS: [&str; 3] = ["iam:GetRolePolicy", "iam:ListRolePolicies", "iam:PutRolePolicy"];

impl Account<'_> {
    pub fn boundaries(&self, out: &mut String) {
        for (arn, label) in &self.boundaries {
            out.push_str(
                "\n# A permissions boundary, where revocations are written. It begins as Allow *, which grants nothing: \
                 a boundary\n# only takes away. Never attach it as a permissions policy. grantd writes its versions, so \
                 Terraform leaves them\n# alone; to remove it would bring every ended session back to life.\n",
            );
            let everything = Document::new(vec![Statement::allow(["*".to_owned()], ["*".to_owned()])]);
            let body = format!(
                "{}  policy = {}\n  lifecycle {{\n    ignore_changes  = [policy]\n    prevent_destroy = true\n  }}\n",
                named(arn, "policy/"),
                heredoc(&everything).trim_end()
            );
            self.resource(out, "aws_iam_policy", &format!("boundary_{label}"), &body);
        }
    }

    pub fn revoker(&self, out: &mut String) {
        out.push_str("\n# The revoker: it writes the boundaries and can do nothing else.\n");
        if self.config.revoker.is_none() {
            let _ = write!(
                out,
                "# grantd.toml does not name it yet. Without this line under its [[aws.account]] nothing can be revoked:\n\
                 #   revoker = {{ role_arn = \"{}\" }}\n",
                self.revoker
            );
        }
        let body = format!(
            "{}  max_session_duration = {}\n  assume_role_policy   = {}{}",
            named(&self.revoker, "role/"),
            MIN_MAX_SESSION.as_secs(),
            heredoc(&match (&self.base, &self.config.web_identity) {
                (None, Some(web)) => self.token_trust(web, &federation::revoker_subject(web), &[]),
                _ => self.trust(&["sts:AssumeRole"], None),
            }),
            self.after_base(),
        );
        self.resource(out, "aws_iam_role", "revoker", &body);
        let boundaries = self.boundaries.keys().map(ToString::to_string);
        let mut statements = Vec::new();
        if !self.boundaries.is_empty() {
            statements.push(Statement::allow(VERSION_ACTIONS.map(str::to_owned), boundaries));
        }
        let inline: Vec<String> =
            self.roles.iter().filter(|(role, _)| role.boundary().is_none()).map(|(r, _)| r.arn.to_string()).collect();
        if !inline.is_empty() {
            out.push_str(
                "# Beware: with iam:PutRolePolicy the revoker, and whoever steals it, can widen the roles whose\n\
                 # revocation is \"inline\". A permissions boundary does not have that weakness.\n",
            );
            statements.push(Statement::allow(INLINE_ACTIONS.map(str::to_owned), inline));
        }
        let body = format!(
            "  name   = \"grantd\"\n  role   = aws_iam_role.{}_revoker.name\n  policy = {}",
            self.label,
            heredoc(&Document::new(statements))
        );
        self.resource(out, "aws_iam_role_policy", "revoker", &body);
    }

    pub fn doctor(&self, out: &mut String) {
        let roles = self.config.roles.iter().map(|role| role.arn.to_string());
        let boundaries = self.boundaries.keys().map(ToString::to_string);
        let mut statements = vec![Statement::allow(["iam:GetRole".to_owned()], roles)];
        if !self.boundaries.is_empty() {
            statements.push(Statement::allow(["iam:ListEntitiesForPolicy".to_owned()], boundaries));
        }
        let policies: Vec<String> =
            self.rights.services().into_iter().filter_map(resource_policy::right).map(str::to_owned).collect();
        if !policies.is_empty() {
            statements.push(Statement::allow(policies, ["*".to_owned()]));
        }
        let document = Document::new(statements);
        out.push_str(
            "\n# The reads by which grantctl doctor sees that the boundaries are where they belong, and that no policy of a\n\
             # resource shuts the sessions out. They show who may do what, and nothing of what is in a resource; sqs's shows\n\
             # a queue's settings too. Take the second statement out, and the doctor says that it has not looked.\n",
        );
        let body = format!(
            "  count  = var.{me}_doctor ? 1 : 0\n  name   = \"grantd-doctor\"\n  role   = aws_iam_role.{me}_revoker.name\n  \
             policy = {}",
            heredoc(&document),
            me = self.label
        );
        self.resource(out, "aws_iam_role_policy", "doctor", &body);
    }

    /// IAM is global, and what CloudTrail sees of it arrives in one region of each partition
    /// (AWS CloudTrail User Guide, "Global service events").
    pub fn alarms(&self, out: &mut String) {
        let revoker = format!(
            "arn:{}:sts::{}:assumed-role/{}/{REVOKER_SESSION}",
            self.config.partition,
            self.config.id,
            self.revoker.name()
        );
        let boundaries: Vec<&str> = self.boundaries.keys().map(|arn| arn.as_str()).collect();
        let mut roles: Vec<&str> = self.config.roles.iter().map(|role| role.arn.name()).collect();
        roles.push(self.revoker.name());
        out.push_str(
            "\n# The alarms. They see what a CloudTrail trail for management events sees, so the account needs one. \
             Applying this\n# file sets the last one off, too.\n",
        );
        for (name, words, detail) in alarms::events(&revoker, &boundaries, &roles) {
            let mut detail = detail;
            if let Some(detail) = detail.as_object_mut() {
                detail.insert("eventSource".to_owned(), json!(["iam.amazonaws.com"]));
            }
            let pattern = sorted(&json!({
                "source": ["aws.iam"], "detail-type": ["AWS API Call via CloudTrail"], "detail": detail,
            }));
            let body = format!(
                "  name          = \"{}\"\n  description   = \"grantd: {words}\"\n  event_pattern = {}",
                self.native_name(name),
                heredoc(&pattern)
            );
            self.resource_at(out, &self.iam_alias(), "aws_cloudwatch_event_rule", name, &body);
            let body = format!(
                "  rule = aws_cloudwatch_event_rule.{me}_{name}.name\n  arn  = var.{me}_alarm_topic\n",
                me = self.label
            );
            self.resource_at(out, &self.iam_alias(), "aws_cloudwatch_event_target", name, &body);
        }
    }
}
