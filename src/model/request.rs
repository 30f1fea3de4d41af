//! What is asked, and the digest of everything asked and planned.

use std::fmt;
use std::str::FromStr;

use grantd_provider_api::{Entitlement, InvalidName, Plan};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Action, BreakGlass, Digest, Recurrence, Subject};

/// How sensitive a resource is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Self-service by policy.
    Low,
    /// One approval.
    Moderate,
    /// An owner's approval.
    High,
    /// An owner and security.
    Critical,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Low => "low",
            Self::Moderate => "moderate",
            Self::High => "high",
            Self::Critical => "critical",
        })
    }
}

/// Why access is needed, in a person's words: 1 to 1,000 characters, no control characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Justification(String);

impl Justification {
    /// The words.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Justification {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let wrong = |why| InvalidName { what: "justification", text: text.chars().take(64).collect(), why };
        if text.is_empty() {
            return Err(wrong("say in a sentence why the access is needed"));
        }
        if text.chars().count() > 1000 {
            return Err(wrong("keep it under 1,000 characters"));
        }
        if text.chars().any(char::is_control) {
            return Err(wrong("write it on one line, without control characters"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Justification {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Justification> for String {
    fn from(justification: Justification) -> Self {
        justification.0
    }
}

/// The piece of work, as the caller claims it. A claim: no policy may rest on it until an issuer proves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// The system that runs it, e.g. `github`.
    pub system: String,
    /// Its run.
    pub run: String,
    /// Which attempt of that run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<String>,
    /// Which job of that run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
}

/// Everything that is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The catalogue's name of the resource.
    pub resource: String,
    /// What is wanted on it.
    pub entitlement: Entitlement,
    /// Why.
    pub justification: Justification,
    /// The ticket it is for, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// How long, in seconds, from activation; each time, where it recurs.
    pub duration_seconds: u64,
    /// How often it opens, if more than once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recurrence: Option<Recurrence>,
    /// Not before this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Who will use it.
    pub subject: Subject,
    /// Who asked.
    pub requested_by: Subject,
    /// For which piece of work, as claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Task>,
    /// What makes it a use of break-glass, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<BreakGlass>,
}

impl Request {
    /// From the first moment of use to the last, in seconds.
    #[must_use]
    pub fn span_seconds(&self) -> u64 {
        self.recurrence.map_or(self.duration_seconds, |recurrence| recurrence.span(self.duration_seconds))
    }

    /// As what policy is asked whether it may be granted.
    #[must_use]
    pub fn asking(&self) -> Action {
        if self.break_glass.is_some() { Action::BreakGlass } else { Action::Request }
    }

    /// As what policy is asked whether a credential may be issued under it.
    #[must_use]
    pub fn issuing(&self) -> Action {
        if self.break_glass.is_some() { Action::BreakGlass } else { Action::Issue }
    }
}

/// The request cannot be turned into a digest.
#[derive(Debug, thiserror::Error)]
#[error("the request cannot be written in canonical form: {0}")]
pub struct RequestError(#[from] serde_json::Error);

/// Version 1 of the request digest: SHA-256 over `grantd-request-v1`, a newline, and the RFC 8785 form of an object
/// with the members `plan`, `request` and `tier`.
///
/// # Errors
/// When the plan holds something that canonical JSON cannot express.
pub fn request_digest(request: &Request, plan: &Plan, tier: Tier) -> Result<Digest, RequestError> {
    #[derive(Serialize)]
    struct Covered<'a> {
        request: &'a Request,
        plan: &'a Plan,
        tier: Tier,
    }
    Ok(Digest::of_json("grantd-request-v1", &Covered { request, plan, tier })?)
}

#[cfg(test)]
mod tests {
    use grantd_provider_api::{Cloud, Ending, Narrowing, Persistence, ResourceRef, Revocation};

    use super::*;
    use crate::SubjectKind;

    fn sample() -> (Request, Plan) {
        let subject = Subject {
            kind: SubjectKind::Pipeline,
            issuer: "unix".to_owned(),
            id: "1001".to_owned(),
            name: "deploy".to_owned(),
        };
        let request = Request {
            resource: "reports".to_owned(),
            entitlement: Entitlement {
                capability: "object-storage:read".parse().unwrap(),
                resource: ResourceRef {
                    cloud: Cloud::Aws,
                    account: "prod".to_owned(),
                    kind: "object-storage".to_owned(),
                    native: "arn:aws:s3:::reports".to_owned(),
                },
                narrowing: Narrowing::default(),
            },
            justification: "nightly export".parse().unwrap(),
            ticket: None,
            duration_seconds: 1800,
            recurrence: None,
            not_before: None,
            subject: subject.clone(),
            requested_by: subject,
            task: None,
            break_glass: None,
        };
        let plan = Plan {
            cloud: Cloud::Aws,
            account: "prod".to_owned(),
            targets: vec!["arn:aws:iam::123456789012:role/grantd-1".to_owned()],
            native: serde_json::json!([{"Effect": "Allow", "Action": ["s3:GetObject"]}]),
            words: vec!["read objects of arn:aws:s3:::reports".to_owned()],
            revocation: Revocation::Immediate,
            persistence: Persistence::None,
            widens: Vec::new(),
            ending: Ending::Cloud,
        };
        (request, plan)
    }

    /// A test vector, made by other means than this code:
    /// `(echo grantd-request-v1; cat request-v1.json) | sha256sum`. A change of it is a change of the digest's version.
    #[test]
    fn the_digest_of_the_sample_is_fixed() {
        let (request, plan) = sample();
        let digest = request_digest(&request, &plan, Tier::Low).unwrap();
        assert_eq!(digest.to_string(), include_str!("testdata/request-v1.sha256").trim());
    }

    #[test]
    fn p12_whatever_changes_changes_the_digest() {
        let (request, plan) = sample();
        let base = request_digest(&request, &plan, Tier::Low).unwrap();
        let mut all = vec![base, request_digest(&request, &plan, Tier::High).unwrap()];
        let mut vary = |change: &dyn Fn(&mut Request, &mut Plan)| {
            let (mut request, mut plan) = (request.clone(), plan.clone());
            change(&mut request, &mut plan);
            all.push(request_digest(&request, &plan, Tier::Low).unwrap());
        };
        vary(&|r, _| r.resource.push('x'));
        vary(&|r, _| r.entitlement.narrowing.prefix = Some("a/".to_owned()));
        vary(&|r, _| r.entitlement.resource.native.push('x'));
        vary(&|r, _| r.entitlement.capability = "object-storage:write".parse().unwrap());
        vary(&|r, _| r.justification = "another reason".parse().unwrap());
        vary(&|r, _| r.ticket = Some("OPS-1".to_owned()));
        vary(&|r, _| r.duration_seconds += 1);
        vary(&|r, _| r.not_before = Some(Timestamp::UNIX_EPOCH));
        vary(&|r, _| r.subject.id.push('2'));
        vary(&|r, _| r.requested_by.id.push('2'));
        vary(&|r, _| {
            r.task = Some(Task { system: "github".to_owned(), run: "1".to_owned(), attempt: None, job: None });
        });
        for (profile, incident) in [("repair", "INC-1"), ("repair", "INC-2"), ("other", "INC-1")] {
            vary(&|r, _| {
                r.break_glass = Some(BreakGlass { profile: profile.to_owned(), incident: incident.to_owned() });
            });
        }
        vary(&|_, p| p.account.push('x'));
        vary(&|_, p| p.targets.clear());
        vary(&|_, p| p.native = serde_json::Value::Null);
        vary(&|_, p| p.widens.push("everything".to_owned()));
        let total = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), total, "two different requests share a digest");
    }

    #[test]
    fn a_justification_is_one_line_of_words() {
        assert!("".parse::<Justification>().is_err());
        assert!("  ".parse::<Justification>().is_err());
        assert!("a\nb".parse::<Justification>().is_err());
        assert!("x".repeat(1001).parse::<Justification>().is_err());
        assert_eq!(" fix it ".parse::<Justification>().unwrap().as_str(), "fix it");
    }
}
