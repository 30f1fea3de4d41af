//! What the proxy remembers of policies and their versions, so that it can show the past and promise the future.
//!
//! It knows only what went through it. A stale read shows the newest answer to the same read that is old enough; if none
//! is, the oldest that it has; a version that was created more recently than that is not found. A read that was never
//! made before passes through.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use jiff::Timestamp;

use super::record::Record;
use crate::query::{error_body, result_body, xml_text, xml_texts};

/// An answer: status and body.
pub(super) type Answer = (StatusCode, Bytes);

/// All parameters of a read, in order.
type Question = Vec<(String, String)>;

/// Past answers and version numbers, by policy.
#[derive(Debug, Default)]
pub(super) struct History {
    answers: HashMap<Question, Vec<(Timestamp, Answer)>>,
    highest: HashMap<String, u64>,
    created: HashMap<(String, String), Timestamp>,
}

impl History {
    /// Takes note of what the cloud answered.
    pub(super) fn note(&mut self, record: &Record, answer: &Answer, at: Timestamp) {
        let Some(arn) = record.parameters.get("PolicyArn") else { return };
        let text = String::from_utf8_lossy(&answer.1);
        let tag = if record.action == "GetPolicy" { "DefaultVersionId" } else { "VersionId" };
        if answer.0.is_success() {
            for number in xml_texts(&text, tag).filter_map(|id| id.strip_prefix('v')?.parse::<u64>().ok()) {
                let highest = self.highest.entry(arn.clone()).or_default();
                *highest = number.max(*highest);
            }
        }
        match record.action.as_str() {
            "CreatePolicyVersion" if answer.0.is_success() => {
                if let Some(version) = xml_text(&text, "VersionId") {
                    self.created.insert((arn.clone(), version), at);
                }
            }
            "GetPolicy" | "GetPolicyVersion" | "ListPolicyVersions" => {
                self.answers.entry(key(record)).or_default().push((at, answer.clone()));
            }
            _ => {}
        }
    }

    /// What this read answered `age` before `now`, as far as is known.
    pub(super) fn answer_from(&self, record: &Record, age: Duration, now: Timestamp) -> Option<Answer> {
        let then = now.checked_sub(age).ok()?;
        let wanted = |name: &str| record.parameters.get(name).cloned();
        if let (Some(arn), Some(version)) = (wanted("PolicyArn"), wanted("VersionId"))
            && self.created.get(&(arn, version.clone())).is_some_and(|created| *created > then)
        {
            let body = error_body(&record.action, 404, "NoSuchEntity", &format!("Policy version {version} not found."));
            return Some((StatusCode::NOT_FOUND, body.into()));
        }
        let answers = self.answers.get(&key(record))?;
        let old_enough = answers.iter().rev().find(|(at, _)| *at <= then);
        old_enough.or(answers.first()).map(|(_, answer)| answer.clone())
    }

    /// The success that a write will have had: the next version for a creation, nothing for a deletion.
    pub(super) fn promise(&mut self, record: &Record, now: Timestamp) -> Answer {
        let arn = record.parameters.get("PolicyArn").cloned().unwrap_or_default();
        let body = if record.action == "CreatePolicyVersion" {
            let highest = self.highest.entry(arn).or_insert(1);
            *highest += 1;
            let default = record.parameters.get("SetAsDefault").is_some_and(|value| value == "true");
            let version = format!(
                "<PolicyVersion><VersionId>v{highest}</VersionId><IsDefaultVersion>{default}</IsDefaultVersion>\
                 <CreateDate>{now:.0}</CreateDate></PolicyVersion>"
            );
            result_body(&record.action, &version)
        } else {
            result_body(&record.action, "")
        };
        (StatusCode::OK, body.into())
    }
}

fn key(record: &Record) -> Question {
    record.parameters.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}
