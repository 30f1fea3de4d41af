//! AWS's documented limits on what a caller may send. Pure.
//!
//! Sources: AWS STS API Reference, "AssumeRole"; AWS IAM User Guide, "IAM and AWS STS quotas".

use super::{Form, Refusal};

/// Characters of an inline session policy.
pub(super) const SESSION_POLICY_CHARACTERS: usize = 2_048;
/// Session tags.
pub(super) const SESSION_TAGS: usize = 50;
/// Seconds of the shortest session.
pub(super) const SHORTEST_SESSION: u32 = 900;
/// Seconds of the longest session of any role.
pub(super) const LONGEST_SESSION: u32 = 43_200;
/// Characters of a managed policy, white space not counted.
pub(super) const MANAGED_POLICY_CHARACTERS: usize = 6_144;
/// Characters of all inline policies of a role together, white space not counted.
pub(super) const INLINE_POLICIES_CHARACTERS: usize = 10_240;
/// Versions of a managed policy.
pub(super) const POLICY_VERSIONS: usize = 5;

/// A parameter that must be there.
pub(super) fn required<'a>(form: &'a Form, name: &str) -> Result<&'a str, Refusal> {
    let found = form.get(name).map(String::as_str).filter(|value| !value.is_empty());
    found.ok_or_else(|| Refusal::invalid(name, "Member must not be null"))
}

/// Two to 64 of `[\w+=,.@-]`: session names and source identities.
pub(super) fn session_name(parameter: &str, value: &str) -> Result<(), Refusal> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    if !(2..=64).contains(&value.len()) || !value.chars().all(fits) {
        return Err(Refusal::invalid(parameter, r"Member must satisfy regular expression pattern: [\w+=,.@-]{2,64}"));
    }
    Ok(())
}

/// The session policy: its length, its characters, its being a policy.
pub(super) fn session_policy(value: &str) -> Result<(), Refusal> {
    if value.chars().count() > SESSION_POLICY_CHARACTERS {
        let constraint = format!("Member must have length less than or equal to {SESSION_POLICY_CHARACTERS}");
        return Err(Refusal::invalid("policy", constraint));
    }
    if !value.chars().all(|c| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{ff}')) {
        let constraint = r"Member must satisfy regular expression pattern: [\u0009\u000A\u000D\u0020-\u00FF]+";
        return Err(Refusal::invalid("policy", constraint));
    }
    policy_document(value)
}

/// A managed policy: its size, its being a policy.
pub(super) fn managed_policy(value: &str) -> Result<(), Refusal> {
    policy_document(value)?;
    if characters(value) > MANAGED_POLICY_CHARACTERS {
        let message = format!("Cannot exceed quota for PolicySize: {MANAGED_POLICY_CHARACTERS}");
        return Err(Refusal::new(409, "LimitExceeded", message));
    }
    Ok(())
}

/// Characters as IAM counts them: white space is not counted.
pub(super) fn characters(value: &str) -> usize {
    value.chars().filter(|c| !c.is_whitespace()).count()
}

/// JSON with a version and statements, each with an effect, an action and a resource.
pub(super) fn policy_document(value: &str) -> Result<(), Refusal> {
    let malformed = |message: &str| Refusal::new(400, "MalformedPolicyDocument", message);
    let document: serde_json::Value =
        serde_json::from_str(value).map_err(|_| malformed("This policy contains invalid Json"))?;
    if document.get("Version").and_then(|version| version.as_str()) != Some("2012-10-17") {
        return Err(malformed("The policy must contain a valid version string"));
    }
    let statements = match document.get("Statement") {
        Some(serde_json::Value::Array(statements)) if !statements.is_empty() => statements.as_slice(),
        Some(one @ serde_json::Value::Object(_)) => std::slice::from_ref(one),
        _ => return Err(malformed("Syntax errors in policy.")),
    };
    let complete = |statement: &serde_json::Value| {
        let one_of = |names: [&str; 2]| names.iter().filter(|name| statement.get(name).is_some()).count() == 1;
        matches!(statement.get("Effect").and_then(|effect| effect.as_str()), Some("Allow" | "Deny"))
            && one_of(["Action", "NotAction"])
            && one_of(["Resource", "NotResource"])
    };
    if statements.iter().all(complete) { Ok(()) } else { Err(malformed("Syntax errors in policy.")) }
}

/// The session tags `Tags.member.N.Key` and `.Value`: their number, lengths and characters, no key twice.
pub(super) fn session_tags(form: &Form) -> Result<Vec<(String, String)>, Refusal> {
    let mut tags: Vec<(String, String)> = Vec::new();
    for (name, key) in form {
        let Some(member) = name.strip_prefix("Tags.member.").and_then(|rest| rest.strip_suffix(".Key")) else {
            continue;
        };
        let value = form.get(&format!("Tags.member.{member}.Value")).cloned().unwrap_or_default();
        let fits =
            |text: &str| text.chars().all(|c| c.is_alphanumeric() || c.is_whitespace() || "_.:/=+-@".contains(c));
        if !(1..=128).contains(&key.chars().count()) || value.chars().count() > 256 || !fits(key) || !fits(&value) {
            return Err(Refusal::invalid("tags", "Member must satisfy the constraints on tag keys and values"));
        }
        if tags.iter().any(|(known, _)| known.eq_ignore_ascii_case(key)) {
            let message = "Duplicate tag keys found. Please note that Tag keys are case insensitive.";
            return Err(Refusal::new(400, "InvalidParameterValue", message));
        }
        tags.push((key.clone(), value));
    }
    if tags.len() > SESSION_TAGS {
        let constraint = format!("Member must have length less than or equal to {SESSION_TAGS}");
        return Err(Refusal::invalid("tags", constraint));
    }
    Ok(tags)
}
