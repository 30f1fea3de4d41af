//! The approved authorisation and its life.

use grantd_provider_api::Plan;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::approval::{counted, missing};
use crate::document::Imported;
use crate::{
    Approval, Digest, Escalation, Extension, ExtensionEnd, GrantEvent, GrantId, MAX_EXTENSIONS, NodeId, Obligations,
    Occurrence, PastExtension, PolicyVersion, Request, Tier, TransitionError,
};

/// A grant: a request, what it was planned to become, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its name.
    pub id: GrantId,
    /// The node on which it was requested.
    pub node: NodeId,
    /// When it was requested.
    pub created_at: Timestamp,
    /// What was asked.
    pub request: Request,
    /// What that is in the cloud.
    pub plan: Plan,
    /// How sensitive the resource was then.
    pub tier: Tier,
    /// Covers request, plan and tier.
    pub digest: Digest,
    /// The policy under which it was decided.
    pub policy: PolicyVersion,
    /// What that policy demanded.
    pub obligations: Obligations,
    /// Where it stands.
    pub state: GrantState,
    /// The approvals that were given, oldest first. Whether each counts is judged anew whenever it matters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Approval>,
    /// Whether stewards are asked in the owner's place, where policy lets them be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalation: Option<Escalation>,
    /// The extension that waits for approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension: Option<Box<Extension>>,
    /// The extensions that are decided, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<PastExtension>,
    /// The document that it was made of, where it was approved on another installation: it ends with that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<Box<Imported>>,
    /// Grows by one with each transition.
    pub version: u64,
}

/// Where a grant stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum GrantState {
    /// Waits for approval.
    Pending {
        /// When it lapses without one.
        lapses_at: Option<Timestamp>,
    },
    /// Approved, and waits for its time.
    Scheduled {
        /// When it becomes active.
        not_before: Timestamp,
    },
    /// May be used.
    Active {
        /// Since when.
        since: Timestamp,
        /// Until when.
        until: Timestamp,
    },
    /// Over: its time is up or its task is done.
    Ended {
        /// When.
        at: Timestamp,
        /// Why.
        why: GrantEnd,
    },
    /// An approver said no.
    Denied {
        /// When.
        at: Timestamp,
        /// Which person; empty in rows of versions that did not note it.
        #[serde(default)]
        by: String,
        /// The approver's reason.
        reason: String,
    },
    /// The requester took it back.
    Cancelled {
        /// When.
        at: Timestamp,
    },
    /// Nobody approved in time.
    Lapsed {
        /// When.
        at: Timestamp,
    },
    /// Somebody took it away.
    Revoked {
        /// When.
        at: Timestamp,
        /// Why.
        reason: String,
    },
}

/// Why a grant ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantEnd {
    /// Its time was up.
    Expired,
    /// Its subject said that the task is done.
    Completed,
    /// It was handed to another host, in a document: what is counted is counted in one place.
    Exported,
}

/// The states by name only, as the store and the wire know them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is documented in GrantState")]
pub enum GrantPhase {
    Pending,
    Scheduled,
    Active,
    Ended,
    Denied,
    Cancelled,
    Lapsed,
    Revoked,
}

impl GrantPhase {
    /// The phase as text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Scheduled => "scheduled",
            Self::Active => "active",
            Self::Ended => "ended",
            Self::Denied => "denied",
            Self::Cancelled => "cancelled",
            Self::Lapsed => "lapsed",
            Self::Revoked => "revoked",
        }
    }
}

impl GrantState {
    /// The state by name only.
    #[must_use]
    pub fn phase(&self) -> GrantPhase {
        match self {
            Self::Pending { .. } => GrantPhase::Pending,
            Self::Scheduled { .. } => GrantPhase::Scheduled,
            Self::Active { .. } => GrantPhase::Active,
            Self::Ended { .. } => GrantPhase::Ended,
            Self::Denied { .. } => GrantPhase::Denied,
            Self::Cancelled { .. } => GrantPhase::Cancelled,
            Self::Lapsed { .. } => GrantPhase::Lapsed,
            Self::Revoked { .. } => GrantPhase::Revoked,
        }
    }

    /// Whether nothing can happen to it any more.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Pending { .. } | Self::Scheduled { .. } | Self::Active { .. })
    }

    /// Until when it stands, if it is active at `now`. Between the occurrences of one that recurs it cannot be used all the
    /// same: see [`Grant::usable_until`].
    #[must_use]
    pub fn active_until(&self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Active { until, .. } if now < *until => Some(*until),
            _ => None,
        }
    }
}

impl Grant {
    /// The grant after `event`.
    ///
    /// # Errors
    /// When the event does not apply to the state it is in, a person approves twice or something else than this, or the
    /// quorum that its obligations ask for is not complete.
    pub fn after(&self, event: &GrantEvent) -> Result<Self, TransitionError> {
        use GrantEvent as E;
        let refused = || TransitionError { thing: "a grant", state: self.state.phase().as_str(), event: event.name() };
        let mut next = self.clone();
        next.version = self.version.saturating_add(1);
        match event {
            E::GiveApproval { approval } => {
                let pending = matches!(self.state, GrantState::Pending { .. });
                if !pending || approval.digest != self.digest {
                    return Err(refused());
                }
                give(&mut next.approvals, approval);
            }
            E::Escalate { to } => {
                let (GrantState::Pending { lapses_at }, Some(due)) = (&self.state, &self.escalation) else {
                    return Err(refused());
                };
                let late = |at: &Timestamp| lapses_at.is_some_and(|lapses_at| *at >= lapses_at);
                let late = matches!(to, Escalation::Asked { at, .. } if late(at));
                if late || !due.may_become(to) {
                    return Err(refused());
                }
                next.escalation = Some(to.clone());
            }
            E::AskExtension { extension } => {
                let until = self.state.active_until(extension.asked_at);
                let room = self.extension.is_none() && self.extensions.len() < MAX_EXTENSIONS;
                let room = room && self.request.recurrence.is_none() && self.imported.is_none();
                if !room || until.is_none_or(|until| extension.until <= until) || !extension.approvals.is_empty() {
                    return Err(refused());
                }
                next.extension = Some(extension.clone());
            }
            E::ApproveExtension { approval } => match (&self.state, &mut next.extension) {
                (GrantState::Active { until, .. }, Some(waiting))
                    if approval.at < *until && approval.digest == waiting.digest =>
                {
                    give(&mut waiting.approvals, approval);
                }
                _ => return Err(refused()),
            },
            E::Extend { at } => match (&mut next.state, next.extension.take()) {
                (GrantState::Active { until, .. }, Some(waiting)) if at < until && waiting.has_quorum() => {
                    *until = waiting.until;
                    let outcome = ExtensionEnd::Granted { at: *at };
                    next.extensions.push(PastExtension { extension: *waiting, outcome });
                }
                _ => return Err(refused()),
            },
            E::EndExtension { outcome } => match next.extension.take() {
                Some(waiting) if may_end(&waiting, outcome) => {
                    next.extensions.push(PastExtension { extension: *waiting, outcome: outcome.clone() });
                }
                _ => return Err(refused()),
            },
            E::Approve { .. } if !self.has_quorum() => return Err(refused()),
            E::Approve { at }
            | E::Activate { at }
            | E::Deny { at, .. }
            | E::Cancel { at }
            | E::Lapse { at }
            | E::Complete { at }
            | E::Export { at }
            | E::Expire { at }
            | E::Revoke { at, .. } => {
                next.state = transition(&self.state, event, &self.request, self.imported.as_deref())?;
                if next.state.is_final()
                    && let Some(waiting) = next.extension.take()
                {
                    let outcome = ExtensionEnd::Lapsed { at: *at };
                    next.extensions.push(PastExtension { extension: *waiting, outcome });
                }
            }
        }
        Ok(next)
    }

    /// Until when it may be used, if it may be used at `now`: never beyond the occurrence that is open (promise P3).
    #[must_use]
    pub fn usable_until(&self, now: Timestamp) -> Option<Timestamp> {
        let until = self.state.active_until(now)?;
        match self.occurrence(now) {
            None => Some(until),
            Some(Occurrence::Open { until: occurrence }) => Some(until.min(occurrence)),
            Some(Occurrence::Between { .. } | Occurrence::Over) => None,
        }
    }

    /// Where `now` falls, if it is active and recurs.
    #[must_use]
    pub fn occurrence(&self, now: Timestamp) -> Option<Occurrence> {
        let GrantState::Active { since, .. } = self.state else { return None };
        let recurrence = self.request.recurrence?;
        Some(recurrence.at(since, self.request.duration_seconds, now))
    }

    /// Whether everybody whom its obligations ask for has approved.
    #[must_use]
    pub fn has_quorum(&self) -> bool {
        let needed = &self.obligations.approvals;
        let good = |approval: &&Approval| !self.obligations.signed_approval || approval.signed.is_some();
        let given = self.approvals.iter().filter(good);
        missing(needed, &counted(needed, given, |approval| self.in_place(approval))).is_empty()
    }

    /// Whether a steward's approval stands in for an owner's: stewards were asked before it was given. Never at the top
    /// tier, where an owner has to say yes (promise P12).
    #[must_use]
    pub fn in_place(&self, approval: &Approval) -> bool {
        self.tier != Tier::Critical && self.escalation.as_ref().is_some_and(|escalation| escalation.covers(approval))
    }
}

/// A person's approval stands in for an earlier one of the same person, so that nobody ever stands twice; neither does
/// the voice of an absent one.
fn give(given: &mut Vec<Approval>, approval: &Approval) {
    given.retain(|earlier| earlier.person != approval.person && earlier.voice() != approval.voice());
    given.push(approval.clone());
}

/// Whether an extension that waits can end so: nothing lapses early, and what is granted is granted by `Extend`.
fn may_end(waiting: &Extension, outcome: &ExtensionEnd) -> bool {
    match outcome {
        ExtensionEnd::Granted { .. } => false,
        ExtensionEnd::Lapsed { at } => *at >= waiting.lapses_at,
        ExtensionEnd::Denied { .. } | ExtensionEnd::Cancelled { .. } => true,
    }
}

/// The transition itself. Time before `not_before` or before the end of a grant makes the event inapplicable:
/// nothing is activated or expired early.
fn transition(
    state: &GrantState,
    event: &GrantEvent,
    request: &Request,
    imported: Option<&Imported>,
) -> Result<GrantState, TransitionError> {
    use GrantEvent as E;
    use GrantState as S;
    let activate = |at: Timestamp| {
        let seconds = i64::try_from(request.span_seconds()).unwrap_or(i64::MAX);
        let until = at.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
        // Never beyond the document that it was made of (promise P3).
        let until = imported.map_or(until, |imported| until.min(imported.until));
        S::Active { since: at, until }
    };
    Ok(match (state, event) {
        (S::Pending { .. }, E::Approve { at }) => match request.not_before {
            Some(not_before) if not_before > *at => S::Scheduled { not_before },
            _ => activate(*at),
        },
        (S::Pending { .. }, E::Deny { at, by, reason }) => {
            S::Denied { at: *at, by: by.clone(), reason: reason.clone() }
        }
        (S::Pending { .. } | S::Scheduled { .. }, E::Cancel { at }) => S::Cancelled { at: *at },
        (S::Pending { lapses_at: Some(lapses_at) }, E::Lapse { at }) if at >= lapses_at => S::Lapsed { at: *at },
        (S::Scheduled { not_before }, E::Activate { at }) if at >= not_before => activate(*at),
        (S::Active { .. }, E::Export { at }) => S::Ended { at: *at, why: GrantEnd::Exported },
        (S::Active { .. }, E::Complete { at }) => S::Ended { at: *at, why: GrantEnd::Completed },
        (S::Active { until, .. }, E::Expire { at }) if at >= until => S::Ended { at: *at, why: GrantEnd::Expired },
        (S::Pending { .. } | S::Scheduled { .. } | S::Active { .. }, E::Revoke { at, reason }) => {
            S::Revoked { at: *at, reason: reason.clone() }
        }
        _ => return Err(TransitionError { thing: "a grant", state: state.phase().as_str(), event: event.name() }),
    })
}

#[cfg(test)]
#[path = "grant_tests.rs"]
mod tests;
