//! What went wrong, as RFC 9457 problem details with stable types.

use serde::{Deserialize, Serialize};

/// The kinds of problem. The `type` member on the wire is `urn:grantd:problem:<kind>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// The request is malformed, too large, or breaks a limit. 400 or 413.
    BadRequest,
    /// The caller is nobody that the daemon knows. 403.
    UnknownCaller,
    /// The caller is not who the grant or lease is for. 403.
    NotYours,
    /// Policy says no. 403.
    Denied,
    /// Vending is stopped for this by a freeze. 403.
    Frozen,
    /// There is no such thing, or the caller may not know of it. 404.
    NotFound,
    /// The thing is in a state in which this cannot be done. 409.
    State,
    /// The plan, account, tier or map is not what was approved. 409.
    PlanChanged,
    /// More was asked than policy or the cloud allows; `limit` says how much would be. 422.
    Limit,
    /// Too many requests or connections from this user. 429.
    TooMany,
    /// No room for another session: `in_use` and `limit` say how full. 503.
    Capacity,
    /// The cloud refused or did not answer. 502.
    Cloud,
    /// The daemon cannot write its audit, so it does nothing. 503.
    Store,
    /// The daemon is stopping. 503.
    Stopping,
    /// The node vends nothing any more until its daemon is started again; another node may. 503.
    Draining,
    /// A fault of the daemon. 500.
    Internal,
}

impl ProblemKind {
    /// The name used in the `type` member.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::UnknownCaller => "unknown-caller",
            Self::NotYours => "not-yours",
            Self::Denied => "denied",
            Self::Frozen => "frozen",
            Self::NotFound => "not-found",
            Self::State => "state",
            Self::PlanChanged => "plan-changed",
            Self::Limit => "limit",
            Self::TooMany => "too-many",
            Self::Capacity => "capacity",
            Self::Cloud => "cloud",
            Self::Store => "store",
            Self::Stopping => "stopping",
            Self::Draining => "draining",
            Self::Internal => "internal",
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::UnknownCaller | Self::NotYours | Self::Denied | Self::Frozen => 403,
            Self::NotFound => 404,
            Self::State | Self::PlanChanged => 409,
            Self::Limit => 422,
            Self::TooMany => 429,
            Self::Internal => 500,
            Self::Cloud => 502,
            Self::Capacity | Self::Store | Self::Stopping | Self::Draining => 503,
        }
    }

    /// A title that does not change from case to case.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::BadRequest => "the request is not valid",
            Self::UnknownCaller => "the caller is not known",
            Self::NotYours => "this belongs to somebody else",
            Self::Denied => "policy denies this",
            Self::Frozen => "vending is frozen",
            Self::NotFound => "there is no such thing",
            Self::State => "this cannot be done in its present state",
            Self::PlanChanged => "the plan is not what was approved",
            Self::Limit => "more was asked than is allowed",
            Self::TooMany => "too many requests",
            Self::Capacity => "no room for another session",
            Self::Cloud => "the cloud refused or did not answer",
            Self::Store => "the audit cannot be written",
            Self::Stopping => "the daemon is stopping",
            Self::Draining => "this node vends nothing any more",
            Self::Internal => "the daemon has a fault",
        }
    }
}

/// RFC 9457 problem details.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `urn:grantd:problem:<kind>`.
    #[serde(rename = "type")]
    pub kind_uri: String,
    /// The same for every problem of the kind.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened here: lowercase, names the thing, says what to do.
    pub detail: String,
    /// The rule or signal that refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Who can change that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who_can_fix: Option<String>,
    /// What to do next, a command where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The most that would be allowed, where a limit was broken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// How much of the limit is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_use: Option<u64>,
    /// Whether asking again later can help.
    #[serde(default)]
    pub retryable: bool,
}

impl Problem {
    /// A problem of `kind`.
    #[must_use]
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            kind_uri: format!("urn:grantd:problem:{}", kind.name()),
            title: kind.title().to_owned(),
            status: kind.status(),
            detail: detail.into(),
            rule: None,
            who_can_fix: None,
            next: None,
            limit: None,
            in_use: None,
            retryable: matches!(
                kind,
                ProblemKind::TooMany
                    | ProblemKind::Capacity
                    | ProblemKind::Cloud
                    | ProblemKind::Store
                    | ProblemKind::Stopping
                    | ProblemKind::Draining
            ),
        }
    }

    /// The kind, when it is one that this version knows.
    #[must_use]
    pub fn kind(&self) -> Option<ProblemKind> {
        let name = self.kind_uri.strip_prefix("urn:grantd:problem:")?;
        serde_json::from_value(serde_json::Value::String(name.to_owned())).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_its_kind_on_the_wire() {
        let problem = Problem::new(ProblemKind::PlanChanged, "the role of \"reports\" changed since it was approved");
        let json = serde_json::to_value(&problem).unwrap();
        assert_eq!(json["type"], "urn:grantd:problem:plan-changed");
        assert_eq!(json["status"], 409);
        assert!(json.get("rule").is_none());
        assert_eq!(problem.kind(), Some(ProblemKind::PlanChanged));
    }
}
