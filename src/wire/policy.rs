//! Policy on the wire: what it says of a grant today, and bundles that were in force.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ApprovalView;

/// `GET /v1/grants/{id}/explain`: what policy says of a grant today; for whoever may see the grant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExplainView {
    /// The grant.
    pub grant: String,
    /// The state it is in.
    pub state: String,
    /// The policy under which it was asked for.
    pub asked_under: String,
    /// The policy that says this.
    pub policy: String,
    /// The git commit that it is said to be of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// What is asked of it: `request` as it was asked, and `issue` for a lease of the usual length on a watched process.
    pub answers: Vec<AnswerView>,
    /// Which approvals are there, which are missing and who can give them, where any is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalView>,
}

/// One answer of policy with what it rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnswerView {
    /// `request` or `issue`.
    pub action: String,
    /// `allow` or `deny`.
    pub verdict: String,
    /// The rules that determine it.
    pub rules: Vec<String>,
    /// What it obliges to, where it allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obligations: Option<serde_json::Value>,
    /// Why not, where it denies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<RefusalView>,
    /// What was looked up, by signal, with its age; or why it could not be.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub signals: serde_json::Value,
    /// The other facts that policy was told.
    pub facts: serde_json::Value,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalView {
    /// By which rule.
    pub rule: String,
    /// Why.
    pub reason: String,
    /// Who can change that.
    pub who_can_fix: String,
    /// What to do next.
    pub next: String,
}

/// `GET /v1/policy/{digest}`: a bundle that was in force once; for administrators and auditors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleView {
    /// Its digest.
    pub policy: String,
    /// Its files, by name.
    pub files: BTreeMap<String, String>,
    /// By whose signatures it was accepted here, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<SealView>,
}

/// The signatures by which a bundle was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealView {
    /// The bundle's place in the sequence.
    pub sequence: u64,
    /// The digest that was signed.
    pub files: String,
    /// When it was accepted.
    pub accepted_at: String,
    /// Who signed it.
    pub signers: Vec<String>,
    /// The signatures, by file name.
    pub signatures: BTreeMap<String, String>,
}
