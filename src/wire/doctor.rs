//! Setting up and looking over a cloud account on the wire.

use serde::{Deserialize, Serialize};

use crate::Problem;

/// `GET /v1/bootstrap/{cloud}`; the answer is the text itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootstrapQuery {
    /// Only this account; every configured one when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The native name of the daemon's identity in it, where the configuration cannot tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
}

/// `GET /v1/doctor`; the answer is one [`DoctorEvent`] a line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoctorQuery {
    /// Only this account; every configured one when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
}

/// `POST /v1/doctor/prove`; the answer is one [`DoctorEvent`] a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProveRequest {
    /// The cloud.
    pub cloud: String,
    /// The configured account; any when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The resource to prove it with, of tier low; any that fits when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The capability on it; any that fits when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability: Option<String>,
}

/// What is told while something is looked over or proved. The last one is `done`, `proof` or `failed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum DoctorEvent {
    /// One thing that was looked at.
    Finding(FindingView),
    /// Something that was done.
    Step {
        /// In words.
        text: String,
    },
    /// Revocation works, and this fast.
    Proof(ProofView),
    /// All was looked at.
    Done(TallyView),
    /// It did not come to its end.
    Failed {
        /// Why.
        problem: Box<Problem>,
    },
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingView {
    /// What was looked at.
    pub about: String,
    /// For what: a stable name.
    pub check: String,
    /// `ok`, `warning`, `problem` or `not_checked`.
    pub standing: String,
    /// What was found.
    pub found: String,
    /// What to change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// How many things stand how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TallyView {
    /// As they should be.
    pub ok: u64,
    /// Not looked at: nothing is known of them.
    pub not_checked: u64,
    /// Working, and not as they should be.
    pub warnings: u64,
    /// Not working, or dangerous.
    pub problems: u64,
}

/// How long a revocation took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofView {
    /// The cloud.
    pub cloud: String,
    /// The account.
    pub account: String,
    /// The resource.
    pub resource: String,
    /// The capability.
    pub capability: String,
    /// The native name of the call that was tried.
    pub action: String,
    /// From the decision to end the session until it was refused, in milliseconds.
    pub felt_milliseconds: u64,
    /// From that decision until the cloud accepted the deny, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_milliseconds: Option<u64>,
    /// How often it was measured in the account, this time included.
    pub samples: u64,
    /// With what the daemon reckons from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub propagation: Option<PropagationView>,
}

/// How long the daemon reckons that a revocation takes to be felt in an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PropagationView {
    /// Usually, in milliseconds. A session with less life left than this is left to end by itself.
    pub expected_milliseconds: u64,
    /// At worst, in milliseconds. Nothing is confirmed before it is over.
    pub worst_milliseconds: u64,
    /// The slowest of the latest measurements, in milliseconds; missing when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured_milliseconds: Option<u64>,
    /// How often it was measured.
    pub samples: u64,
    /// When it was measured last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured_at: Option<String>,
}
