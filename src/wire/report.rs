//! `GET /v1/reviews/report`: what is granted again and again.

use serde::{Deserialize, Serialize};

use crate::SubjectView;

/// `GET /v1/reviews/report`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportQuery {
    /// How far back to look, in seconds; 30 days when left out, 366 days at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_seconds: Option<u64>,
}

/// What was granted, grouped by subject, resource and capability, with what was used of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportView {
    /// From when.
    pub since: String,
    /// Until when.
    pub until: String,
    /// The policy against which the proposals are written.
    pub policy_version: String,
    /// Whether everything was looked at; there was more than is looked at once if not.
    pub complete: bool,
    /// What was granted most often first.
    pub repetitions: Vec<RepetitionView>,
}

/// The same access of the same subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepetitionView {
    /// Who used it.
    pub subject: SubjectView,
    /// The catalogue's name of the resource.
    pub resource: String,
    /// How sensitive it was the last time.
    pub tier: String,
    /// The capability.
    pub capability: String,
    /// How often it was granted.
    pub grants: u64,
    /// How many of those were uses of break-glass.
    pub break_glass: u64,
    /// Under how many of them anything was taken.
    pub used_grants: u64,
    /// How many leases were taken.
    pub leases: u64,
    /// How long all of them together were approved for, in seconds.
    pub approved_seconds: u64,
    /// For how much of that a lease lived, in seconds.
    pub used_seconds: u64,
    /// The longest that one of them was approved for, in seconds.
    pub longest_approved_seconds: u64,
    /// The longest from the beginning of one of them to the end of its last lease, in seconds.
    pub longest_used_seconds: u64,
    /// To which key prefixes it was narrowed; empty where the whole resource was granted at least once.
    pub prefixes: Vec<String>,
    /// How many capabilities on the resource were granted to the subject in all.
    pub capabilities_approved: u64,
    /// How many of those were used.
    pub capabilities_used: u64,
    /// When it was last granted.
    pub last_at: String,
    /// What would be enough, if that is less, or nobody would have to be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposal: Option<ProposalView>,
}

/// What would be enough, for people to review. Nothing applies it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposalView {
    /// `drop`, `self_service` or `shorter`.
    pub kind: String,
    /// In words.
    pub words: String,
    /// A unified diff against the policy bundle.
    pub diff: String,
}
