//! What policy said.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Digest, Quorum, Signal, approval};

/// The digest of the whole bundle: policies, schema, catalogue, people, entitlement maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PolicyVersion(pub Digest);

impl fmt::Display for PolicyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What is to be done, as policy knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Ask for a grant.
    Request,
    /// Approve somebody else's request, or deny it.
    Approve,
    /// Take a credential under a grant.
    Issue,
    /// End somebody else's grant or lease.
    Revoke,
    /// Use break-glass, and take a credential under such a use.
    BreakGlass,
    /// Complete a review.
    Review,
}

impl Action {
    /// The action's name in Cedar.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Approve => "approve",
            Self::Issue => "issue",
            Self::Revoke => "revoke",
            Self::BreakGlass => "break_glass",
            Self::Review => "review",
        }
    }
}

/// What becomes of a live lease when the policy under it changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnPolicyChange {
    /// It ends when the new policy would not issue it.
    #[default]
    End,
    /// It is kept until its own end.
    Keep,
}

impl OnPolicyChange {
    pub(crate) fn is_end(&self) -> bool {
        *self == Self::End
    }
}

/// The conditions under which something is allowed. Times are seconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Obligations {
    /// How many people must approve, by capacity.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub approvals: Quorum,
    /// The longest TTL of one lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ttl: Option<u64>,
    /// The longest grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_duration: Option<u64>,
    /// The longest stretch over which a grant may recur, from its first moment to its last; where it is left out, none may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_recurrence: Option<u64>,
    /// How many tasks may hold a live lease under the grant at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<u32>,
    /// How many tasks may use the grant in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_uses: Option<u32>,
    /// Whether only approvals count that were signed with the approver's own key.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub signed_approval: bool,
    /// Whether stewards are asked in the owner's place when no owner approved by half of that time.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub escalate: bool,
    /// How long approvers have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approve_within: Option<u64>,
    /// What becomes of live leases when the policy changes.
    pub on_policy_change: OnPolicyChange,
    /// What becomes of live leases when what was looked up for them changes.
    #[serde(skip_serializing_if = "OnPolicyChange::is_end")]
    pub on_signal_change: OnPolicyChange,
    /// How old what was looked up may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal_max_age: Option<u64>,
    /// The same for a lease that runs, when a source cannot be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renew_signal_max_age: Option<u64>,
    /// Who is told.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub notify: BTreeSet<String>,
    /// How long reviewers have after a use of break-glass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub review_within: Option<u64>,
    /// The signals that a use of break-glass may do without when they cannot be had.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub may_lack: BTreeSet<Signal>,
}

impl Obligations {
    /// The strictest of both, member by member.
    #[must_use]
    pub fn strictest(mut self, other: Self) -> Self {
        // Who asks for nobody's approval has no say in who may stand in for whom.
        self.escalate = match (self.approvals.is_empty(), other.approvals.is_empty()) {
            (true, _) => other.escalate,
            (false, true) => self.escalate,
            (false, false) => self.escalate && other.escalate,
        };
        self.signed_approval |= other.signed_approval;
        self.approvals = approval::both(self.approvals, &other.approvals);
        self.max_ttl = least(self.max_ttl, other.max_ttl);
        self.max_duration = least(self.max_duration, other.max_duration);
        // A permit that says nothing of it lets nothing recur.
        self.max_recurrence = self.max_recurrence.zip(other.max_recurrence).map(|(one, other)| one.min(other));
        self.max_concurrent = least(self.max_concurrent, other.max_concurrent);
        self.max_uses = least(self.max_uses, other.max_uses);
        self.approve_within = least(self.approve_within, other.approve_within);
        if other.on_signal_change == OnPolicyChange::End {
            self.on_signal_change = OnPolicyChange::End;
        }
        self.signal_max_age = least(self.signal_max_age, other.signal_max_age);
        self.renew_signal_max_age = least(self.renew_signal_max_age, other.renew_signal_max_age);
        if other.on_policy_change == OnPolicyChange::End {
            self.on_policy_change = OnPolicyChange::End;
        }
        self.notify.extend(other.notify);
        self.review_within = least(self.review_within, other.review_within);
        self.may_lack.retain(|signal| other.may_lack.contains(signal));
        self
    }
}

/// The smaller of two limits, where none is no limit.
fn least<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Why not, who can fix it, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The rule or signal that refused, by its id; `default-deny` when nothing permitted it.
    pub rule: String,
    /// Why, in words.
    pub reason: String,
    /// Who can change that.
    pub who_can_fix: String,
    /// What to do next, a command where there is one.
    pub next: String,
}

/// Yes with conditions, or no with reasons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
#[must_use]
pub enum Verdict {
    /// Allowed, under these obligations.
    Allow {
        /// The strictest of all matching permits.
        obligations: Obligations,
    },
    /// Denied.
    Deny {
        /// Why.
        refusal: Refusal,
    },
}

/// A verdict with everything it rests on, as the audit keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[must_use]
pub struct Decision {
    /// What was decided on.
    pub action: Action,
    /// When.
    pub at: Timestamp,
    /// Under which policy.
    pub policy: PolicyVersion,
    /// The git commit that the policy is said to be of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The verdict.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The ids of the rules that determined it.
    pub determining: Vec<String>,
    /// Every fact that policy saw, as it saw it.
    pub inputs: serde_json::Value,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Capacity;

    #[test]
    fn the_strictest_obligation_wins() {
        let a = Obligations {
            max_ttl: Some(900),
            max_uses: Some(3),
            approvals: BTreeMap::from([(Capacity::Owner, 1)]),
            on_policy_change: OnPolicyChange::Keep,
            ..Obligations::default()
        };
        let b = Obligations {
            max_ttl: Some(300),
            max_concurrent: Some(1),
            signed_approval: true,
            approvals: BTreeMap::from([(Capacity::Owner, 2), (Capacity::Security, 1)]),
            ..Obligations::default()
        };
        let both = a.clone().strictest(b.clone());
        assert_eq!(both, b.strictest(a));
        assert_eq!((both.max_ttl, both.max_uses, both.max_concurrent), (Some(300), Some(3), Some(1)));
        assert_eq!(both.approvals, BTreeMap::from([(Capacity::Owner, 2), (Capacity::Security, 1)]));
        assert_eq!(both.on_policy_change, OnPolicyChange::End);
        assert!(both.signed_approval, "where one permit asks for signatures, all are signed");
    }

    #[test]
    fn a_grant_recurs_only_where_every_permit_says_so_and_for_the_shortest_stretch() {
        let permit = |max_recurrence| Obligations { max_recurrence, ..Obligations::default() };
        for (one, other, both) in
            [(Some(10), Some(20), Some(10)), (Some(10), None, None), (None, Some(10), None), (None, None, None)]
        {
            assert_eq!(permit(one).strictest(permit(other)).max_recurrence, both);
        }
    }

    #[test]
    fn what_may_be_lacked_is_what_every_permit_can_do_without() {
        let permit = |signals: &[Signal], review_within| Obligations {
            may_lack: signals.iter().copied().collect(),
            review_within,
            ..Obligations::default()
        };
        let both = permit(&[Signal::Ticket, Signal::OnCall], Some(60)).strictest(permit(&[Signal::OnCall], Some(30)));
        assert_eq!((both.may_lack, both.review_within), (BTreeSet::from([Signal::OnCall]), Some(30)));
    }

    #[test]
    fn stewards_are_asked_only_where_every_permit_that_needs_an_approval_says_so() {
        let permit = |owners, escalate| Obligations {
            approvals: if owners > 0 { BTreeMap::from([(Capacity::Owner, owners)]) } else { BTreeMap::new() },
            escalate,
            ..Obligations::default()
        };
        for (one, other, both) in [
            (permit(1, true), permit(1, true), true),
            (permit(1, true), permit(2, false), false),
            (permit(1, true), permit(0, false), true),
            (permit(1, false), permit(0, false), false),
        ] {
            assert_eq!(one.clone().strictest(other.clone()).escalate, both);
            assert_eq!(other.strictest(one).escalate, both);
        }
    }
}
