//! The boundary document: allow everything, deny the sessions that were ended. Pure.
//!
//! A permissions boundary never grants, so `Allow *` in it widens nothing; an explicit deny beats every allow, and
//! `aws:userid` (`<role id>:<session name>`) is in every request (IAM User Guide, "Global condition keys").

use std::collections::BTreeSet;

use grantd_provider_api::{DenyEntry, ErrorKind, ProviderError};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::limits::{MANAGED_POLICY_CHARACTERS, SUFFIX_CHARACTERS};

/// A boundary document, taken apart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Document {
    /// Every statement that is not our deny. `Allow *` alone in a document of ours. Somebody may have made the
    /// boundary narrower on purpose, or denied more in an emergency: those statements are kept as they are.
    others: Vec<Value>,
    /// The suffixes that are denied.
    pub denied: BTreeSet<String>,
}

impl Document {
    /// Reads a document as IAM returns it: percent-encoded JSON (IAM API Reference, `GetPolicyVersion`).
    pub fn parse(encoded: &str) -> Result<Self, String> {
        let decoded;
        let text = if encoded.trim_start().starts_with('{') {
            encoded
        } else {
            decoded = percent_decode_str(encoded).decode_utf8().map_err(|_| "it is not UTF-8".to_owned())?;
            &decoded
        };
        let document: Value = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
        let statements = match document.get("Statement") {
            Some(Value::Array(list)) => list.clone(),
            Some(one @ Value::Object(_)) => vec![one.clone()],
            _ => return Err("it has no statements".to_owned()),
        };
        if document.get("Version").and_then(Value::as_str) != Some("2012-10-17") {
            return Err("its version is not 2012-10-17".to_owned());
        }
        let mut found = Self { others: Vec::new(), denied: BTreeSet::new() };
        for statement in statements {
            match denied_suffixes(&statement) {
                Some(suffixes) => found.denied.extend(suffixes),
                None => found.others.push(statement),
            }
        }
        Ok(found)
    }

    /// Whether everything but the deny is as we write it.
    pub fn is_ours(&self) -> bool {
        self.others == [allow_all()]
    }

    /// The same document, denying `denied`.
    pub fn denying(&self, denied: BTreeSet<String>) -> Self {
        Self { others: self.others.clone(), denied }
    }

    /// The document's text.
    ///
    /// # Errors
    /// `Capacity` when IAM would not take it.
    pub fn render(&self) -> Result<String, ProviderError> {
        let mut statements = self.others.clone();
        if !self.denied.is_empty() {
            let names: Vec<String> = self.denied.iter().map(|suffix| format!("*-{suffix}")).collect();
            statements.push(json!({
                "Effect": "Deny", "Action": "*", "Resource": "*", "Condition": { "StringLike": { "aws:userid": names } }
            }));
        }
        let text = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
        let size = text.chars().filter(|c| !c.is_whitespace()).count();
        if size <= MANAGED_POLICY_CHARACTERS {
            return Ok(text);
        }
        Err(ProviderError::new(
            ErrorKind::Capacity,
            format!(
                "a boundary document with {} ended sessions has {size} characters, {} more than the \
                 {MANAGED_POLICY_CHARACTERS} that AWS takes: wait until some have expired, or configure another role \
                 with its own boundary",
                self.denied.len(),
                size.saturating_sub(MANAGED_POLICY_CHARACTERS)
            ),
        ))
    }
}

/// The suffixes of `entries`.
///
/// # Errors
/// `Config` when an entry's session name does not end in its lease's suffix: denying it would miss the session.
pub(crate) fn suffixes(entries: &[DenyEntry]) -> Result<BTreeSet<String>, ProviderError> {
    entries.iter().map(suffix).collect()
}

/// The suffix of one entry.
pub(crate) fn suffix(entry: &DenyEntry) -> Result<String, ProviderError> {
    let suffix = entry.lease.suffix();
    let own = entry.session_name.strip_suffix(&suffix).is_some_and(|rest| rest.ends_with('-'));
    if own {
        return Ok(suffix);
    }
    let (lease, name) = (entry.lease, &entry.session_name);
    Err(ProviderError::new(ErrorKind::Config, format!("session name \"{name}\" does not belong to {lease}")))
}

fn allow_all() -> Value {
    json!({ "Effect": "Allow", "Action": "*", "Resource": "*" })
}

/// The suffixes that a statement denies, if it is exactly of our shape.
fn denied_suffixes(statement: &Value) -> Option<BTreeSet<String>> {
    let fields = statement.as_object()?;
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    if fields.len() != 4
        || text("Effect") != Some("Deny")
        || text("Action") != Some("*")
        || text("Resource") != Some("*")
    {
        return None;
    }
    let condition = fields.get("Condition")?.as_object().filter(|fields| fields.len() == 1)?;
    let like = condition.get("StringLike")?.as_object().filter(|fields| fields.len() == 1)?;
    let names = match like.get("aws:userid")? {
        Value::String(one) => vec![one.as_str()],
        Value::Array(many) => many.iter().map(Value::as_str).collect::<Option<Vec<_>>>()?,
        _ => return None,
    };
    names.into_iter().map(|name| name.strip_prefix("*-").filter(|s| is_suffix(s)).map(str::to_owned)).collect()
}

fn is_suffix(text: &str) -> bool {
    text.len() == SUFFIX_CHARACTERS && text.bytes().all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use grantd_provider_api::LeaseId;
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

    fn of(count: u32) -> Document {
        let letter = |digit: u8| char::from(b"abcdefghij"[usize::from(digit - b'0')]);
        let denied = (0..count).map(|n| format!("{n:010}").bytes().map(letter).collect());
        Document { others: vec![allow_all()], denied: denied.collect() }
    }

    #[test]
    fn without_entries_nothing_is_denied() {
        let document: serde_json::Value = serde_json::from_str(&of(0).render().unwrap()).unwrap();
        let allowed = json!({ "Effect": "Allow", "Action": "*", "Resource": "*" });
        assert_eq!(document, json!({ "Version": "2012-10-17", "Statement": [allowed] }));
    }

    #[test]
    fn a_document_survives_being_written_and_read() {
        let document = of(3);
        let text = document.render().unwrap();
        assert_eq!(Document::parse(&text).unwrap(), document);
        let encoded = utf8_percent_encode(&text, NON_ALPHANUMERIC).to_string();
        assert_eq!(Document::parse(&encoded).unwrap(), document);
        assert!(document.is_ours());
    }

    #[test]
    fn the_document_holds_397_entries_and_not_one_more() {
        assert_eq!(of(397).render().unwrap().len(), 175 + 15 * 397);
        let error = of(398).render().unwrap_err();
        assert_eq!(error.kind, ErrorKind::Capacity);
        assert!(error.message.contains("398 ended sessions") && error.message.contains("1 more"), "{error}");
    }

    #[test]
    fn what_others_wrote_stays() {
        let emergency = json!({ "Effect": "Deny", "Action": "*", "Resource": "*" });
        let narrower = json!({ "Effect": "Allow", "Action": "s3:*", "Resource": "*" });
        let text = json!({ "Version": "2012-10-17", "Statement": [narrower, emergency] }).to_string();
        let found = Document::parse(&text).unwrap();
        assert!(!found.is_ours());
        let written = found.denying(of(2).denied).render().unwrap();
        let again = Document::parse(&written).unwrap();
        assert_eq!((again.others, again.denied), (vec![narrower, emergency], of(2).denied));
    }

    #[test]
    fn p4_only_a_deny_that_denies_everything_counts_as_one() {
        let name = "*-abcdefghij";
        for statement in [
            json!({ "Effect": "Deny", "Action": "s3:*", "Resource": "*", "Condition": { "StringLike": { "aws:userid": name } } }),
            json!({ "Effect": "Deny", "Action": "*", "Resource": "x", "Condition": { "StringLike": { "aws:userid": name } } }),
            json!({ "Effect": "Allow", "Action": "*", "Resource": "*", "Condition": { "StringLike": { "aws:userid": name } } }),
            json!({ "Effect": "Deny", "Action": "*", "Resource": "*", "Condition": { "StringEquals": { "aws:userid": name } } }),
            json!({ "Effect": "Deny", "Action": "*", "Resource": "*",
                "Condition": { "StringLike": { "aws:userid": name }, "Bool": { "aws:SecureTransport": "false" } } }),
            json!({ "Effect": "Deny", "Action": "*", "Resource": "*",
                "Condition": { "StringLike": { "aws:userid": name, "aws:username": "x" } } }),
            json!({ "Effect": "Deny", "Action": "*", "Resource": "*", "Condition": { "StringLike": { "aws:userid": 1 } } }),
        ] {
            let text = json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string();
            let found = Document::parse(&text).unwrap();
            assert!(found.denied.is_empty(), "{statement} was taken for a deny");
        }
        assert!(Document::parse("{}").is_err() && Document::parse("<html>").is_err());
    }

    #[test]
    fn an_entry_must_carry_its_own_suffix() {
        let lease: LeaseId = "lease-aguhjfj3y5z7x4q5wmqyhz4fme".parse().unwrap();
        let entry = |session_name: String| DenyEntry { lease, session_name, target: "x".to_owned() };
        assert!(suffix(&entry(format!("web-{}", lease.suffix()))).is_ok());
        assert!(suffix(&entry(format!("web{}", lease.suffix()))).is_err());
        assert!(suffix(&entry("web-aaaaaaaaaa".to_owned())).is_err());
    }
}
