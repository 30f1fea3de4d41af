//! Break-glass and reviews on the wire.

use serde::{Deserialize, Serialize};

use crate::TaskBody;

/// `POST /v1/break-glass`: use a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GlassCreate {
    /// The profile's name in the catalogue.
    pub profile: String,
    /// The incident's reference.
    pub incident: String,
    /// What is broken and what is to be done.
    pub justification: String,
    /// On which resource of the profile; needed where it gives several things.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Which capability of the profile; needed where it gives several things.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability: Option<String>,
    /// How long, in seconds; as long as the profile and policy allow when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<u64>,
    /// The piece of work it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskBody>,
}

/// What makes a grant a use of break-glass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GlassView {
    /// The profile.
    pub profile: String,
    /// The incident's reference.
    pub incident: String,
    /// Its review, once it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<ReviewView>,
}

/// A review.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReviewView {
    /// Its name.
    pub id: String,
    /// `break_glass` or `repeat`.
    pub kind: String,
    /// `open`, `overdue` or `completed`.
    pub state: String,
    /// The grant that is looked at; of several, the one that came last.
    pub grant: String,
    /// The catalogue's name of the resource.
    pub resource: String,
    /// The capability.
    pub capability: String,
    /// Who had the access.
    pub person: String,
    /// The break-glass profile that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The incident's reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
    /// Of what is granted again and again: how many grants there were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<u64>,
    /// Since when they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Who was asked to review it.
    pub reviewers: Vec<String>,
    /// When it was opened.
    pub opened_at: String,
    /// By when it has to be completed.
    pub due_at: String,
    /// When it was completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<String>,
    /// Who completed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_by: Option<String>,
    /// `ok`, `misuse` or `follow_up`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// What was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub findings: Option<String>,
}

/// `GET /v1/reviews`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReviewQuery {
    /// Completed ones too.
    #[serde(default)]
    pub completed: bool,
    /// At most this many, newest first; 100 when left out, 1000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Some reviews.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReviewList {
    /// Newest first.
    pub reviews: Vec<ReviewView>,
}

/// `POST /v1/reviews/{id}/complete`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReviewComplete {
    /// `ok`, `misuse` or `follow_up`.
    pub outcome: String,
    /// What was found, in a line.
    pub findings: String,
}
