//! A review: somebody other than the user looks at what was done, by a deadline, and writes down what was found. Pure.

use std::fmt;
use std::str::FromStr;

use grantd_provider_api::Capability;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{GrantId, Justification, NodeId, ReviewId, Subject};

/// A review that has to be made, or was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// Its name.
    pub id: ReviewId,
    /// The node that opened it.
    pub node: NodeId,
    /// What is looked at.
    pub about: ReviewAbout,
    /// The grant that is looked at; of several, the one that came last.
    pub grant: GrantId,
    /// The catalogue's name of the resource.
    pub resource: String,
    /// What could be done there.
    pub capability: Capability,
    /// Who had the access, by the name in `people.toml`.
    pub person: String,
    /// Every identity that had a part in it: none of their people reviews it.
    pub parties: Vec<Subject>,
    /// The people who were asked to review it.
    pub reviewers: Vec<String>,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// By when it has to be completed.
    pub due_at: Timestamp,
    /// When it was put on record that it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overdue_noted_at: Option<Timestamp>,
    /// Where it stands.
    pub state: ReviewState,
    /// Grows by one with each event.
    pub version: u64,
}

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ReviewAbout {
    /// A use of break-glass.
    BreakGlass {
        /// The profile that was used.
        profile: String,
        /// The incident's reference.
        incident: String,
    },
    /// The same access, granted again and again.
    Repeat {
        /// How often.
        grants: u64,
        /// Since when.
        since: Timestamp,
    },
}

impl ReviewAbout {
    /// The kind as text.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::BreakGlass { .. } => "break_glass",
            Self::Repeat { .. } => "repeat",
        }
    }
}

/// Where a review stands. Whether it is overdue is for the clock to say: [`Review::is_overdue`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ReviewState {
    /// Nobody completed it yet.
    Open,
    /// It was looked at.
    Completed {
        /// When.
        at: Timestamp,
        /// Who, by the name in `people.toml`.
        person: String,
        /// The identity that acted.
        by: Subject,
        /// What came of it.
        outcome: Outcome,
        /// What was found, in words.
        findings: Justification,
    },
}

/// What came of a review.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The use was what it was for.
    Ok,
    /// It was not.
    Misuse,
    /// Something has to be done about it.
    FollowUp,
}

impl Outcome {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Ok, Self::Misuse, Self::FollowUp];

    /// As the wire and the audit write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Misuse => "misuse",
            Self::FollowUp => "follow_up",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Outcome {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|outcome| outcome.as_str() == text);
        found.ok_or_else(|| format!("\"{text}\" is no outcome of a review: write ok, misuse or follow_up"))
    }
}

/// What happens to a review.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReviewEvent {
    /// Its deadline passed.
    Overdue {
        /// When that was noticed.
        at: Timestamp,
    },
    /// Somebody looked, and says what was found.
    Complete {
        /// When.
        at: Timestamp,
        /// Who, by the name in `people.toml`.
        person: String,
        /// The identity that acts.
        by: Subject,
        /// What came of it.
        outcome: Outcome,
        /// What was found, in words.
        findings: Justification,
    },
}

/// An event that does not apply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReviewError {
    /// It is completed already.
    #[error("{review} was completed by {by} already: see grantctl review show {review}")]
    Completed {
        /// Which.
        review: ReviewId,
        /// By whom.
        by: String,
    },
    /// It is not overdue, or that is on record already.
    #[error("{0} is not overdue, or known to be")]
    NotOverdue(ReviewId),
    /// Nobody reviews their own use, under any identity.
    #[error("{person} had a part in what {review} looks at, and nobody reviews their own use under any identity")]
    Own {
        /// Which.
        review: ReviewId,
        /// Who.
        person: String,
    },
}

impl Review {
    /// Whether nobody completed it yet.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state == ReviewState::Open
    }

    /// Whether its deadline passed without it.
    #[must_use]
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        self.is_open() && now >= self.due_at
    }

    /// Where it stands at `now`, in a word.
    #[must_use]
    pub fn standing(&self, now: Timestamp) -> &'static str {
        match self.state {
            ReviewState::Completed { .. } => "completed",
            ReviewState::Open if self.is_overdue(now) => "overdue",
            ReviewState::Open => "open",
        }
    }

    /// Whether a person, acting as `identity`, had a part in what is looked at, by the names of then. The names of
    /// today are for the caller to compare as well.
    #[must_use]
    pub fn is_party(&self, person: &str, identity: &Subject) -> bool {
        self.person == person || self.parties.iter().any(|party| party.same_identity(identity) || party.name == person)
    }

    /// The review after `event`.
    ///
    /// # Errors
    /// When it is completed, not overdue yet or known to be, or somebody would review their own use.
    pub fn after(&self, event: ReviewEvent) -> Result<Self, ReviewError> {
        if let ReviewState::Completed { person, .. } = &self.state {
            return Err(ReviewError::Completed { review: self.id, by: person.clone() });
        }
        let mut next = self.clone();
        next.version = self.version.saturating_add(1);
        match event {
            ReviewEvent::Overdue { at } => {
                if !self.is_overdue(at) || self.overdue_noted_at.is_some() {
                    return Err(ReviewError::NotOverdue(self.id));
                }
                next.overdue_noted_at = Some(at);
            }
            ReviewEvent::Complete { at, person, by, outcome, findings } => {
                if self.is_party(&person, &by) {
                    return Err(ReviewError::Own { review: self.id, person });
                }
                next.state = ReviewState::Completed { at, person, by, outcome, findings };
            }
        }
        Ok(next)
    }
}

#[cfg(test)]
#[path = "review_tests.rs"]
mod tests;
