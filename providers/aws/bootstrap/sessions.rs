//! What carries sessions: the roles, and the managed policies that say what sessions can be made of.

use std::fmt::Write as _;

use super::Account;
use crate::hcl::{heredoc, named};
use crate::limits::MIN_MAX_SESSION;
use crate::rights::Document;

impl Account<'_> {
    /// The managed policies that every role of the account carries.
    pub fn rights(&self, out: &mut String) {
        if !self.rights.plain.is_empty() {
            out.push_str(
                "\n# What sessions can be made of: the union of everything that can be asked for, and no more. Each \
                 session gets\n# a part of it. A * at the end of a name stands for what is inside that one resource: \
                 the objects of a bucket,\n# the versions of a function.\n",
            );
        }
        for (name, document) in self.policies("sessions", &self.rights.plain) {
            let body = format!("  name   = \"{}\"\n  policy = {}", self.native_name(&name), heredoc(document));
            self.resource(out, "aws_iam_policy", &name, &body);
        }
        if !self.rights.wide.is_empty() {
            out.push_str(
                "\n# What outlives a lease or reaches further than its resource, off until it is switched on:\n",
            );
            for why in &self.rights.wide_because {
                let _ = writeln!(out, "#   {why}");
            }
        }
        for (name, document) in self.policies("wide", &self.rights.wide) {
            let body = format!(
                "  count  = {}\n  name   = \"{}\"\n  policy = {}",
                self.when_wide(),
                self.native_name(&name),
                heredoc(document)
            );
            self.resource(out, "aws_iam_policy", &name, &body);
        }
    }

    pub fn roles(&self, out: &mut String) {
        for (role, label) in &self.roles {
            let mut actions = vec!["sts:AssumeRole"];
            actions.extend(role.tags.then_some("sts:TagSession"));
            actions.extend(role.source_identity.then_some("sts:SetSourceIdentity"));
            let trust = match &self.config.web_identity {
                Some(web) => {
                    let more = actions.get(1..).unwrap_or_default();
                    self.token_trust(web, &web.subject, more)
                }
                None => self.trust(&actions, role.external_id.as_deref()),
            };
            let seconds = role.max_session.max(MIN_MAX_SESSION).as_secs();
            out.push_str("\n# A role that carries sessions.\n");
            let boundary = match role.boundary().and_then(|boundary| self.boundaries.get(boundary)) {
                Some(name) => format!("  permissions_boundary = aws_iam_policy.{}_boundary_{name}.arn\n", self.label),
                None => {
                    out.push_str("# It has no boundary: grantd.toml says revocation = \"inline\".\n");
                    String::new()
                }
            };
            let body = format!(
                "{}  max_session_duration = {seconds}\n{boundary}  assume_role_policy   = {}{}",
                named(&role.arn, "role/"),
                heredoc(&trust),
                self.after_base(),
            );
            self.resource(out, "aws_iam_role", &format!("role_{label}"), &body);
            for (name, count, index) in self.attached() {
                let body = format!(
                    "{count}  role       = aws_iam_role.{me}_role_{label}.name\n  policy_arn = \
                     aws_iam_policy.{me}_{name}{index}.arn\n",
                    me = self.label
                );
                self.resource(out, "aws_iam_role_policy_attachment", &format!("role_{label}_{name}"), &body);
            }
        }
    }

    /// Each rights policy as a role attaches it: its name, its condition, and how it is then referred to.
    fn attached(&self) -> Vec<(String, String, &'static str)> {
        let plain =
            self.policies("sessions", &self.rights.plain).into_iter().map(|(name, _)| (name, String::new(), ""));
        let count = format!("  count      = {}\n", self.when_wide());
        let wide = self.policies("wide", &self.rights.wide).into_iter().map(|(name, _)| (name, count.clone(), "[0]"));
        plain.chain(wide).collect()
    }

    fn policies<'d>(&self, kind: &str, documents: &'d [Document]) -> Vec<(String, &'d Document)> {
        let name = |nth: usize| format!("{kind}_{}", nth.saturating_add(1));
        documents.iter().enumerate().map(|(nth, document)| (name(nth), document)).collect()
    }
}
