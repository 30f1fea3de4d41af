//! The deny document: what is denied, beside what others wrote into it. Pure.
//!
//! As a permissions boundary it allows everything else: a boundary never grants, so `Allow *` in it widens nothing. As an
//! inline policy of a role it denies and does nothing else, because there an `Allow` would grant. An explicit deny beats
//! every allow; `aws:userid` (`<role id>:<session name>`) and, with temporary credentials, `aws:TokenIssueTime` are in
//! every request (IAM User Guide, "Global condition keys").

use std::collections::BTreeSet;

use grantd_provider_api::{ErrorKind, ProviderError};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use crate::denials::{Denials, is_role_id};
use crate::limits::SUFFIX_CHARACTERS;

/// What a document is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The permissions boundary of roles.
    Boundary,
    /// An inline policy of one role.
    Inline,
}

/// A deny document, taken apart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Document {
    kind: Kind,
    /// Every statement that is not one of our denies. In a boundary of ours `Allow *` alone. Somebody may have made the
    /// boundary narrower on purpose, or denied more in an emergency: those statements are kept as they are.
    others: Vec<Value>,
    /// Whether an inline policy held statements that grant something. They are not ours and are not kept.
    grants: bool,
    /// What is denied.
    pub denied: Denials,
}

impl Document {
    /// A document that denies nothing.
    pub fn empty(kind: Kind) -> Self {
        let others = match kind {
            Kind::Boundary => vec![allow_all()],
            Kind::Inline => Vec::new(),
        };
        Self { kind, others, grants: false, denied: Denials::default() }
    }

    /// Reads a document as IAM returns it: percent-encoded JSON (IAM API Reference, `GetPolicyVersion`,
    /// `GetRolePolicy`).
    pub fn parse(kind: Kind, encoded: &str) -> Result<Self, String> {
        let document: Value =
            serde_json::from_str(&decoded(encoded)?).map_err(|error| format!("it is not JSON: {error}"))?;
        let statements = match document.get("Statement") {
            Some(Value::Array(list)) => list.clone(),
            Some(one @ Value::Object(_)) => vec![one.clone()],
            _ => return Err("it has no statements".to_owned()),
        };
        if document.get("Version").and_then(Value::as_str) != Some("2012-10-17") {
            return Err("its version is not 2012-10-17".to_owned());
        }
        let mut found = Self { kind, others: Vec::new(), grants: false, denied: Denials::default() };
        for statement in statements {
            if let Some(suffixes) = denied_suffixes(&statement) {
                found.denied.suffixes.extend(suffixes);
            } else if let Some((role, until)) = denied_line(&statement) {
                found.denied.draw(role, until);
            } else if kind == Kind::Boundary || statement.get("Effect").and_then(Value::as_str) == Some("Deny") {
                if kind == Kind::Boundary || statement != deny_nobody() {
                    found.others.push(statement);
                }
            } else {
                found.grants = true;
            }
        }
        Ok(found)
    }

    /// Whether everything but the denies is as we write it.
    pub fn is_ours(&self) -> bool {
        !self.grants && self.others == Self::empty(self.kind).others
    }

    /// The same document, denying `denied` and granting nothing.
    pub fn denying(&self, denied: Denials) -> Self {
        Self { kind: self.kind, others: self.others.clone(), grants: false, denied }
    }

    /// The document's text, of at most `limit` characters.
    ///
    /// # Errors
    /// `Capacity` when IAM would not take it.
    pub fn render(&self, limit: usize) -> Result<String, ProviderError> {
        let mut statements = self.others.clone();
        if !self.denied.suffixes.is_empty() {
            let names: Vec<String> = self.denied.suffixes.iter().map(|suffix| format!("*-{suffix}")).collect();
            statements.push(json!({
                "Effect": "Deny", "Action": "*", "Resource": "*", "Condition": { "StringLike": { "aws:userid": names } }
            }));
        }
        statements.extend(self.denied.lines.iter().map(|(role, until)| deny_line(role, *until)));
        if statements.is_empty() {
            statements.push(deny_nobody());
        }
        let text = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
        let size = characters(&text);
        if size <= limit {
            return Ok(text);
        }
        Err(ProviderError::new(
            ErrorKind::Capacity,
            format!(
                "a deny document with {} ended sessions and {} ended roles has {size} characters, {} more than the \
                 {limit} that AWS takes there: wait until some have expired, or configure another role with a document \
                 of its own",
                self.denied.suffixes.len(),
                self.denied.lines.len(),
                size.saturating_sub(limit)
            ),
        ))
    }
}

/// The JSON text of a document as IAM returns it.
pub(crate) fn decoded(encoded: &str) -> Result<String, String> {
    if encoded.trim_start().starts_with('{') {
        return Ok(encoded.to_owned());
    }
    let text = percent_decode_str(encoded).decode_utf8().map_err(|_| "it is not UTF-8".to_owned())?;
    Ok(text.into_owned())
}

/// Characters as IAM counts them: white space is not counted.
pub(crate) fn characters(text: &str) -> usize {
    text.chars().filter(|c| !c.is_whitespace()).count()
}

fn allow_all() -> Value {
    json!({ "Effect": "Allow", "Action": "*", "Resource": "*" })
}

/// A policy needs a statement. No user id is a hyphen, so this one refuses nobody.
fn deny_nobody() -> Value {
    json!({
        "Effect": "Deny", "Action": "*", "Resource": "*", "Condition": { "StringLike": { "aws:userid": "-" } }
    })
}

/// The statement that denies what was issued on a role before `until`. Both conditions must hold at once.
fn deny_line(role: &str, until: Timestamp) -> Value {
    json!({
        "Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {
            "DateLessThan": { "aws:TokenIssueTime": until.to_string() },
            "StringLike": { "aws:userid": format!("{role}:*") },
        }
    })
}

/// The conditions of a statement that denies everything and has nothing but conditions.
fn deny_conditions(statement: &Value) -> Option<&Map<String, Value>> {
    let fields = statement.as_object()?;
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let denies_all = text("Effect") == Some("Deny") && text("Action") == Some("*") && text("Resource") == Some("*");
    if fields.len() == 4 && denies_all { fields.get("Condition")?.as_object() } else { None }
}

/// The value of the one key of the condition `operator`.
fn only<'a>(conditions: &'a Map<String, Value>, operator: &str, key: &str) -> Option<&'a Value> {
    conditions.get(operator)?.as_object().filter(|fields| fields.len() == 1)?.get(key)
}

/// The suffixes that a statement denies, if it is exactly of our shape.
fn denied_suffixes(statement: &Value) -> Option<BTreeSet<String>> {
    let conditions = deny_conditions(statement).filter(|conditions| conditions.len() == 1)?;
    let names = match only(conditions, "StringLike", "aws:userid")? {
        Value::String(one) => vec![one.as_str()],
        Value::Array(many) => many.iter().map(Value::as_str).collect::<Option<Vec<_>>>()?,
        _ => return None,
    };
    names.into_iter().map(|name| name.strip_prefix("*-").filter(|s| is_suffix(s)).map(str::to_owned)).collect()
}

/// The line that a statement draws, if it is exactly of our shape.
fn denied_line(statement: &Value) -> Option<(&str, Timestamp)> {
    let conditions = deny_conditions(statement).filter(|conditions| conditions.len() == 2)?;
    let written = only(conditions, "DateLessThan", "aws:TokenIssueTime")?.as_str()?;
    let until: Timestamp = written.parse().ok()?;
    let whole = until.subsec_nanosecond() == 0 && until.to_string() == written;
    let role = only(conditions, "StringLike", "aws:userid")?.as_str()?.strip_suffix(":*")?;
    (whole && is_role_id(role)).then_some((role, until))
}

fn is_suffix(text: &str) -> bool {
    text.len() == SUFFIX_CHARACTERS && text.bytes().all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b))
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
