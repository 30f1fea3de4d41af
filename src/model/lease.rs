//! One credential session under a grant, and its life.

use grantd_provider_api::{DenyEntry, DenyForm, DenyScope, Ending, LeaseId, Origin};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Anchor, GrantId, NodeId, OnPolicyChange, Subject, TransitionError};

/// A lease: everything about a session but its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Its name; the session's cloud-side name is computed from it.
    pub id: LeaseId,
    /// The grant it was taken under.
    pub grant: GrantId,
    /// The node that issued it and watches its anchor.
    pub node: NodeId,
    /// When the intent was written.
    pub created_at: Timestamp,
    /// Who uses it.
    pub subject: Subject,
    /// The user that called, as the kernel proved it.
    pub uid: u32,
    /// What ends it.
    pub anchor: Anchor,
    /// What becomes of it when the policy changes, as the policy that issued it said.
    #[serde(default)]
    pub on_policy_change: OnPolicyChange,
    /// What becomes of it when what was looked up for it changes, as the policy that issued it said.
    #[serde(default, skip_serializing_if = "OnPolicyChange::is_end")]
    pub on_signal_change: OnPolicyChange,
    /// The native identity that carries it.
    pub target: String,
    /// Where it is revoked.
    pub scope: DenyScope,
    /// Its cloud-side name.
    pub session_name: String,
    /// When access ends at the latest, to the second (promise P3).
    pub access_until: Timestamp,
    /// When the cloud's token dies at the latest.
    pub token_until: Timestamp,
    /// Until when it, once ended early, needs a place in the deny scope.
    pub place_until: Timestamp,
    /// What ends access when its time is up.
    #[serde(default, skip_serializing_if = "Ending::is_cloud")]
    pub ending: Ending,
    /// The native name of the session, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native_id: Option<String>,
    /// Where and when the cloud made the session, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Since when, if at all, the cloud refuses it by one rule together with others of its identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collapsed: Option<Collapsed>,
    /// Where it stands.
    pub state: LeaseState,
    /// Grows by one with each transition.
    pub version: u64,
}

/// Where a lease stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum LeaseState {
    /// The intent is on disk; whether a session exists is not known.
    Issuing,
    /// The session exists and was recorded.
    Active,
    /// It has to end; the cloud does not refuse it for certain yet.
    Revoking {
        /// Why.
        reason: EndReason,
        /// When that was decided and written.
        requested_at: Timestamp,
        /// When the cloud took the deny, and under which version.
        accepted: Option<Accepted>,
    },
    /// The cloud refuses it.
    Revoked {
        /// Why.
        reason: EndReason,
        /// When the cloud was seen to refuse it.
        confirmed_at: Timestamp,
    },
    /// It has to end, and will by itself sooner than a deny could take effect - or nobody can refuse it before its time.
    Expiring {
        /// Why.
        reason: EndReason,
        /// When that was decided and written.
        requested_at: Timestamp,
    },
    /// Its time was up.
    Expired {
        /// When.
        at: Timestamp,
        /// Why it was to end before that, if it was.
        reason: Option<EndReason>,
        /// Whether it was to be denied, which was never confirmed.
        denied: bool,
    },
    /// The cloud refused to issue it: there never was a session.
    Failed {
        /// When.
        at: Timestamp,
        /// What the cloud said.
        error: String,
    },
    /// The cloud did not take the deny; it is tried again for ever.
    RevokeFailed {
        /// Why it has to end.
        reason: EndReason,
        /// When that was decided and written.
        requested_at: Timestamp,
        /// How often it was tried.
        attempts: u32,
        /// What the cloud said last.
        error: String,
    },
}

/// The cloud took a deny.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// When.
    pub at: Timestamp,
    /// The version of the document.
    pub version: String,
}

/// The cloud took a rule that refuses every session of an identity up to a moment, this one among them. From then on
/// the lease's denial is carried by that rule, and takes no place of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collapsed {
    /// When that was written down, after the cloud had taken it.
    pub at: Timestamp,
    /// The version of the document.
    pub version: String,
}

/// Why a lease ends before its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum EndReason {
    /// The task said that it is done.
    Completed,
    /// Somebody took it away.
    Revoked {
        /// Why.
        reason: String,
    },
    /// The grant under it ended.
    GrantEnded,
    /// Its time was up, and the cloud does not end it by itself.
    TimeUp,
    /// The anchor process exited, or could not be proved to be the same after a restart.
    AnchorExited,
    /// The held connection closed.
    ConnectionClosed,
    /// The daemon stopped, or the cloud fell silent, while it was being issued: a session may exist.
    Abandoned,
    /// It was issued but could not be released: the record failed, or the caller or its grant was gone by then.
    NotReleased {
        /// What stood in the way.
        reason: String,
    },
    /// An administrator drained the node, as at the host's shutdown.
    Drained,
    /// The policy changed, and the new one would not issue it.
    PolicyChanged {
        /// The rule.
        rule: String,
    },
    /// What was looked up changed - a ticket was closed, a window is over - and policy would not issue it any more.
    SignalChanged {
        /// The rule.
        rule: String,
    },
}

impl EndReason {
    /// The reason's name, as the audit writes it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Revoked { .. } => "revoked",
            Self::GrantEnded => "grant_ended",
            Self::TimeUp => "time_up",
            Self::AnchorExited => "anchor_exited",
            Self::ConnectionClosed => "connection_closed",
            Self::Abandoned => "abandoned",
            Self::NotReleased { .. } => "not_released",
            Self::Drained => "drained",
            Self::PolicyChanged { .. } => "policy_changed",
            Self::SignalChanged { .. } => "signal_changed",
        }
    }
}

/// The states by name only, as the store and the wire know them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is documented in LeaseState")]
pub enum LeasePhase {
    Issuing,
    Active,
    Revoking,
    Revoked,
    Expiring,
    Expired,
    Failed,
    RevokeFailed,
}

impl LeasePhase {
    /// The phases that are not final, and those in which a deny entry may be needed.
    pub const OPEN: [Self; 5] = [Self::Issuing, Self::Active, Self::Revoking, Self::Expiring, Self::RevokeFailed];

    /// The phase as text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Issuing => "issuing",
            Self::Active => "active",
            Self::Revoking => "revoking",
            Self::Revoked => "revoked",
            Self::Expiring => "expiring",
            Self::Expired => "expired",
            Self::Failed => "failed",
            Self::RevokeFailed => "revoke_failed",
        }
    }
}

/// What happens to a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseEvent {
    /// The cloud issued it.
    Issued {
        /// The token's real end.
        token_until: Timestamp,
        /// How long after that its place in the deny scope stays taken, in seconds.
        place_until: Timestamp,
        /// The session's native name.
        native_id: String,
        /// Where and when the cloud made it, if known.
        origin: Option<Origin>,
    },
    /// The cloud refused, and nothing was created.
    Refuse {
        /// When.
        at: Timestamp,
        /// What it said.
        error: String,
    },
    /// It has to end.
    End {
        /// When.
        at: Timestamp,
        /// Why.
        reason: EndReason,
        /// How long a deny takes to be felt, in seconds: no deny is written when less life than that remains.
        propagation: u64,
    },
    /// The cloud took the deny.
    Accept {
        /// When.
        at: Timestamp,
        /// The version of the document.
        version: String,
    },
    /// The cloud refuses the session.
    Confirm {
        /// When.
        at: Timestamp,
    },
    /// The cloud did not take the deny.
    RevocationFailed {
        /// What it said.
        error: String,
    },
    /// The cloud took a rule that refuses it together with others: it needs no place of its own any more.
    Collapse {
        /// When.
        at: Timestamp,
        /// The version of the document.
        version: String,
    },
    /// `access_until` has passed.
    Expire {
        /// When.
        at: Timestamp,
    },
}

impl LeaseEvent {
    /// The event's name, as the audit writes it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Issued { .. } => "issued",
            Self::Refuse { .. } => "refused",
            Self::End { .. } => "end",
            Self::Accept { .. } => "revocation_accepted",
            Self::Confirm { .. } => "revocation_confirmed",
            Self::RevocationFailed { .. } => "revocation_failed",
            Self::Collapse { .. } => "collapsed",
            Self::Expire { .. } => "expired",
        }
    }
}

impl LeaseState {
    /// The state by name only.
    #[must_use]
    pub fn phase(&self) -> LeasePhase {
        match self {
            Self::Issuing => LeasePhase::Issuing,
            Self::Active => LeasePhase::Active,
            Self::Revoking { .. } => LeasePhase::Revoking,
            Self::Revoked { .. } => LeasePhase::Revoked,
            Self::Expiring { .. } => LeasePhase::Expiring,
            Self::Expired { .. } => LeasePhase::Expired,
            Self::Failed { .. } => LeasePhase::Failed,
            Self::RevokeFailed { .. } => LeasePhase::RevokeFailed,
        }
    }

    /// Whether the cloud has to refuse it while its token can live. An expiring one is left to expire.
    #[must_use]
    pub fn needs_deny(&self) -> bool {
        match self {
            Self::Revoking { .. } | Self::Revoked { .. } | Self::RevokeFailed { .. } => true,
            Self::Expired { denied, .. } => *denied,
            Self::Issuing | Self::Active | Self::Expiring { .. } | Self::Failed { .. } => false,
        }
    }

    /// Why it ended early, if it did or is to.
    #[must_use]
    pub fn end_reason(&self) -> Option<&EndReason> {
        match self {
            Self::Revoking { reason, .. }
            | Self::Revoked { reason, .. }
            | Self::Expiring { reason, .. }
            | Self::RevokeFailed { reason, .. } => Some(reason),
            Self::Expired { reason, .. } => reason.as_ref(),
            Self::Issuing | Self::Active | Self::Failed { .. } => None,
        }
    }
}

impl Lease {
    /// The lease after `event`.
    ///
    /// # Errors
    /// When the event does not apply to the state it is in.
    pub fn after(&self, event: &LeaseEvent) -> Result<Self, TransitionError> {
        let mut lease = self.clone();
        lease.state = next(self, event)?;
        lease.version = self.version.saturating_add(1);
        match event {
            LeaseEvent::Issued { token_until, place_until, native_id, origin } => {
                lease.token_until = *token_until;
                lease.place_until = *place_until;
                lease.native_id = Some(native_id.clone());
                lease.origin.clone_from(origin);
            }
            // Where the cloud ends nothing by itself, what was taken away can come back to life with what carries it until
            // the taking away is felt everywhere.
            LeaseEvent::Confirm { at } => {
                lease.place_until = lease.place_until.max(later(*at, lease.ending.outlives()));
            }
            LeaseEvent::Collapse { at, version } => {
                lease.collapsed = Some(Collapsed { at: *at, version: version.clone() });
            }
            _ => {}
        }
        Ok(lease)
    }

    /// Until when it takes a place in its deny scope: a live one might need it, an ended one does, unless it is refused
    /// together with others.
    #[must_use]
    pub fn occupies_until(&self) -> Option<Timestamp> {
        match self.state {
            _ if self.collapsed.is_some() => None,
            LeaseState::Failed { .. } | LeaseState::Expired { denied: false, .. } => None,
            // However long that takes.
            _ if self.has_to_be_taken_away() => Some(Timestamp::MAX),
            _ => Some(self.place_until),
        }
    }

    /// The entry that the cloud has to refuse at `now`, if any: every lease that was ended by us, until its token
    /// is dead for certain - or for as long as it takes, where no expiry ends it. An expiring one is left to expire.
    #[must_use]
    pub fn deny_entry(&self, now: Timestamp) -> Option<DenyEntry> {
        let lives = now < self.place_until || self.has_to_be_taken_away();
        (self.state.needs_deny() && lives).then(|| self.entry())
    }

    /// Whether something stands in the cloud for it that no expiry removes.
    fn has_to_be_taken_away(&self) -> bool {
        let gone = matches!(self.state, LeaseState::Revoked { .. } | LeaseState::Failed { .. });
        !self.ending.is_exact() && !gone
    }

    /// The entry by which the cloud would refuse it, whether or not it has to.
    #[must_use]
    pub fn entry(&self) -> DenyEntry {
        DenyEntry {
            lease: self.id,
            session_name: self.session_name.clone(),
            target: self.target.clone(),
            origin: self.origin.clone(),
            form: if self.collapsed.is_some() { DenyForm::Collapsed } else { DenyForm::Single },
        }
    }

    /// The latest moment at which the session may still be able to do something, if it may at all (promise P4).
    #[must_use]
    pub fn worst_case_until(&self) -> Option<Timestamp> {
        match self.state {
            LeaseState::Revoked { .. } | LeaseState::Expired { .. } | LeaseState::Failed { .. } => None,
            _ if self.ending.is_exact() => Some(self.access_until),
            // Without the daemon only the death of the token ends it, or the cloud, where it stands behind the daemon.
            _ => {
                let dead = self.token_until.max(self.access_until);
                Some(match self.ending {
                    Ending::Backed { without_daemon, .. } => dead.min(later(self.access_until, without_daemon)),
                    _ => dead,
                })
            }
        }
    }
}

fn later(at: Timestamp, seconds: u64) -> Timestamp {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    at.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

fn next(lease: &Lease, event: &LeaseEvent) -> Result<LeaseState, TransitionError> {
    use LeaseEvent as E;
    use LeaseState as S;
    Ok(match (&lease.state, event) {
        (S::Issuing, E::Issued { .. }) => S::Active,
        (S::Issuing, E::Refuse { at, error }) => S::Failed { at: *at, error: error.clone() },
        // Nobody could refuse it: it is over when its time is, and not before.
        (S::Issuing | S::Active, E::End { at, reason, .. }) if !lease.ending.is_deniable() => {
            S::Expiring { reason: reason.clone(), requested_at: *at }
        }
        // Of a session that may or may not exist, only a deny is certain.
        (S::Issuing, E::End { at, reason, .. }) => {
            S::Revoking { reason: reason.clone(), requested_at: *at, accepted: None }
        }
        (S::Active, E::End { at, reason, propagation }) => {
            if !lease.ending.is_exact() || later(*at, *propagation) < lease.access_until {
                S::Revoking { reason: reason.clone(), requested_at: *at, accepted: None }
            } else {
                S::Expiring { reason: reason.clone(), requested_at: *at }
            }
        }
        (
            S::Revoking { reason, requested_at, .. } | S::RevokeFailed { reason, requested_at, .. },
            E::Accept { at, version },
        ) => {
            let accepted = Some(Accepted { at: *at, version: version.clone() });
            S::Revoking { reason: reason.clone(), requested_at: *requested_at, accepted }
        }
        (S::Revoking { reason, accepted: Some(_), .. }, E::Confirm { at }) => {
            S::Revoked { reason: reason.clone(), confirmed_at: *at }
        }
        (S::Revoking { reason, requested_at, .. }, E::RevocationFailed { error }) => {
            S::RevokeFailed { reason: reason.clone(), requested_at: *requested_at, attempts: 1, error: error.clone() }
        }
        (S::RevokeFailed { reason, requested_at, attempts, .. }, E::RevocationFailed { error }) => S::RevokeFailed {
            reason: reason.clone(),
            requested_at: *requested_at,
            attempts: attempts.saturating_add(1),
            error: error.clone(),
        },
        // Only of what was certainly made, and when, it is certain that a rule about its identity and time refuses it.
        (state, E::Collapse { .. }) if state.needs_deny() && lease.origin.is_some() && lease.collapsed.is_none() => {
            state.clone()
        }
        // What no expiry ends is ended, and is not over before the cloud was seen to refuse it.
        (state, event @ E::Expire { .. }) if !lease.ending.is_exact() => {
            return Err(TransitionError { thing: "a lease", state: state.phase().as_str(), event: event.name() });
        }
        (S::Active, E::Expire { at }) if *at >= lease.access_until => {
            S::Expired { at: *at, reason: None, denied: false }
        }
        (S::Expiring { reason, .. }, E::Expire { at }) if *at >= lease.access_until => {
            S::Expired { at: *at, reason: Some(reason.clone()), denied: false }
        }
        (S::Revoking { reason, .. } | S::RevokeFailed { reason, .. }, E::Expire { at })
            if *at >= lease.access_until =>
        {
            S::Expired { at: *at, reason: Some(reason.clone()), denied: true }
        }
        (state, event) => {
            return Err(TransitionError { thing: "a lease", state: state.phase().as_str(), event: event.name() });
        }
    })
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
