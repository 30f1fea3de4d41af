//! `AssumeRole` (AWS STS API Reference).

use std::sync::atomic::Ordering;
use std::time::Duration;

use grantd_provider_api::Clock;

use super::limits::{LONGEST_SESSION, SHORTEST_SESSION, required, session_name, session_policy, session_tags};
use super::{Fake, FakeRole, Form, Refusal};
use crate::query::escaped;

impl Fake {
    pub(super) fn assume_role(&self, caller: &str, form: &Form) -> Result<String, Refusal> {
        let arn = required(form, "RoleArn")?;
        let name = required(form, "RoleSessionName")?;
        session_name("roleSessionName", name)?;
        if let Some(identity) = form.get("SourceIdentity") {
            session_name("sourceIdentity", identity)?;
        }
        let policy = form.get("Policy").map_or("", String::as_str);
        if form.contains_key("Policy") {
            session_policy(policy)?;
        }
        let tags = session_tags(form)?;
        let seconds = duration(form)?;
        let role = self.role(caller, arn)?;
        if seconds > role.max_session_seconds {
            let message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";
            return Err(Refusal::new(400, "ValidationError", message));
        }
        for (asked, action) in
            [(!tags.is_empty(), "sts:TagSession"), (form.contains_key("SourceIdentity"), "sts:SetSourceIdentity")]
        {
            if asked && !role.allows_tags {
                return Err(self.denied(caller, action, arn));
            }
        }
        let packed = packed_percent(policy, &tags)?;
        Ok(self.session(role, name, seconds, packed))
    }

    fn role(&self, caller: &str, arn: &str) -> Result<&FakeRole, Refusal> {
        let name = arn.strip_prefix(&format!("arn:aws:iam::{}:role/", self.settings.account));
        let role = self.settings.roles.iter().find(|role| Some(role.name.as_str()) == name);
        // AWS does not tell a role that does not exist from one that does not trust the caller.
        role.filter(|role| role.trusts).ok_or_else(|| self.denied(caller, "sts:AssumeRole", arn))
    }

    fn denied(&self, caller: &str, action: &str, resource: &str) -> Refusal {
        let account = &self.settings.account;
        let message = format!(
            "User: arn:aws:iam::{account}:user/{caller} is not authorized to perform: {action} on resource: {resource}"
        );
        Refusal::new(403, "AccessDenied", message)
    }

    fn session(&self, role: &FakeRole, name: &str, seconds: u32, packed: usize) -> String {
        let number = self.issued.fetch_add(1, Ordering::Relaxed) + 1;
        let now = self.clock.now();
        let expiration = now.checked_add(Duration::from_secs(seconds.into())).unwrap_or(now);
        let (account, role_name, name) = (&self.settings.account, &role.name, escaped(name));
        let role_id =
            format!("AROA{:0>17}", role_name.to_uppercase().replace(|c: char| !c.is_ascii_alphanumeric(), ""));
        format!(
            "<Credentials><AccessKeyId>ASIA{number:016}</AccessKeyId>\
             <SecretAccessKey>fake/secret/{number:028}</SecretAccessKey>\
             <SessionToken>FwoGZXIvYXdzFAKE{number:048}</SessionToken>\
             <Expiration>{expiration:.0}</Expiration></Credentials>\
             <AssumedRoleUser><AssumedRoleId>{role_id}:{name}</AssumedRoleId>\
             <Arn>arn:aws:sts::{account}:assumed-role/{role_name}/{name}</Arn></AssumedRoleUser>\
             <PackedPolicySize>{packed}</PackedPolicySize>"
        )
    }
}

fn duration(form: &Form) -> Result<u32, Refusal> {
    let Some(text) = form.get("DurationSeconds") else { return Ok(3600) };
    let seconds: u32 = text.parse().map_err(|_| Refusal::invalid("durationSeconds", "Member must be a number"))?;
    if seconds < SHORTEST_SESSION {
        let constraint = format!("Member must have value greater than or equal to {SHORTEST_SESSION}");
        return Err(Refusal::invalid("durationSeconds", constraint));
    }
    if seconds > LONGEST_SESSION {
        let constraint = format!("Member must have value less than or equal to {LONGEST_SESSION}");
        return Err(Refusal::invalid("durationSeconds", constraint));
    }
    Ok(seconds)
}

/// How full the packed space is, in per cent. AWS does not publish how it packs; this counts characters of policy and
/// tags against 2,048, so a full policy with tags is over the limit, as it can be on AWS.
fn packed_percent(policy: &str, tags: &[(String, String)]) -> Result<usize, Refusal> {
    let characters: usize = policy.chars().count()
        + tags.iter().map(|(key, value)| key.chars().count() + value.chars().count()).sum::<usize>();
    let percent = (characters * 100).div_ceil(super::limits::SESSION_POLICY_CHARACTERS);
    if percent > 100 {
        let message = format!("PackedPolicy size: {percent}% of the allowed size");
        return Err(Refusal::new(400, "PackedPolicyTooLarge", message));
    }
    Ok(percent)
}
