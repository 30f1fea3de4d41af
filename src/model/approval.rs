//! One person's decision in one capacity, and how decisions make a quorum.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::assignment::assigned;
use crate::document::Attestation;
use crate::{DelegationId, Digest, Subject};

/// In which capacity somebody approves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capacity {
    /// Answers for the resource.
    Owner,
    /// Answers for the organisation's security.
    Security,
    /// Answers for the data.
    Steward,
    /// Was given the right to approve by one of the others.
    DelegatedAdmin,
    /// Is enrolled in the break-glass profile that somebody else uses.
    Enrolled,
}

impl Capacity {
    /// Each of them.
    pub const ALL: [Self; 5] = [Self::Owner, Self::Security, Self::Steward, Self::DelegatedAdmin, Self::Enrolled];

    /// As the schema and `@approvals` spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Security => "security",
            Self::Steward => "steward",
            Self::DelegatedAdmin => "delegated_admin",
            Self::Enrolled => "enrolled",
        }
    }
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Capacity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|capacity| capacity.as_str() == text).ok_or_else(|| {
            format!(
                "\"{text}\" is no capacity to approve in: write owner, security, steward, delegated_admin or enrolled"
            )
        })
    }
}

/// How many people, by capacity: of those who must approve, or of those who did.
pub type Quorum = BTreeMap<Capacity, u32>;

/// One person's approval of exactly what that person saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Who, by the name in the people table. A person counts once, under whichever identity.
    pub person: String,
    /// The identity that acted.
    pub identity: Subject,
    /// The uid of the process that acted, as the kernel proved it.
    pub uid: u32,
    /// In which capacity.
    pub capacity: Capacity,
    /// The other capacities in which it counts where it is needed there instead: never in two at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Capacity>,
    /// Whose voice it is, where the person approved for an absent one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<OnBehalf>,
    /// When.
    pub at: Timestamp,
    /// The digest of what the person saw.
    pub digest: Digest,
    /// What the person said to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// What the person signed, where the approval was signed: then whoever handed it in may be anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<Box<Signed>>,
    /// Whose word it is that the person approved, where a grant document told it and the person signed nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attested: Option<Box<Attestation>>,
}

/// A decision that was signed with a person's SSH key, kept so that anybody can verify it offline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// The text that was signed, byte for byte: a [`Statement`](crate::Statement).
    pub statement: String,
    /// The signature as `ssh-keygen -Y sign` writes it.
    pub signature: String,
    /// Who handed it in, where that is known: it is nobody's word but the signer's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carrier: Option<Subject>,
}

/// An absent person for whom another one speaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnBehalf {
    /// The absent person, whose one voice it is.
    pub person: String,
    /// By which delegation.
    pub delegation: DelegationId,
}

impl Approval {
    /// The person whose voice it is: the one who approved, or the absent one for whom it was.
    #[must_use]
    pub fn voice(&self) -> &str {
        self.on_behalf_of.as_ref().map_or(&self.person, |absent| &absent.person)
    }

    /// The capacities in which it may count, the one in which it was given first.
    #[must_use]
    pub fn capacities(&self) -> Vec<Capacity> {
        let mut all = vec![self.capacity];
        all.extend(self.also.iter().copied().filter(|capacity| *capacity != self.capacity));
        all
    }
}

/// Who approves once, and whose voice is heard once: neither a second time under another name.
#[derive(Debug, Default)]
pub struct Heard<'a>(BTreeSet<&'a str>);

impl<'a> Heard<'a> {
    /// Hears an approval; says whose it is a second time, if it is.
    pub fn again(&mut self, approval: &'a Approval) -> Option<&'a str> {
        let both = [approval.voice(), approval.person.as_str()];
        let again = both.into_iter().find(|name| self.0.contains(name));
        if again.is_none() {
            self.0.extend(both);
        }
        again
    }
}

/// How many people have approved in each capacity, each counted where that helps most to `needed` and in one only;
/// whoever stands twice counts once, the first time. With `in_place`, stewards may stand in for owners.
#[must_use]
pub fn counted<'a>(
    needed: &Quorum,
    approvals: impl IntoIterator<Item = &'a Approval>,
    in_place: impl Fn(&Approval) -> bool,
) -> Quorum {
    let mut heard = Heard::default();
    let mut voices = Vec::new();
    for approval in approvals {
        if heard.again(approval).is_none() {
            voices.push(standing_in(approval.capacities(), in_place(approval)));
        }
    }
    tally(assigned(needed, &voices))
}

/// The capacities of a voice that, where `in_place`, may stand in for an owner as a steward.
#[must_use]
pub fn standing_in(mut capacities: Vec<Capacity>, in_place: bool) -> Vec<Capacity> {
    if in_place && capacities.contains(&Capacity::Steward) && !capacities.contains(&Capacity::Owner) {
        capacities.push(Capacity::Owner);
    }
    capacities
}

/// How often each capacity stands there.
#[must_use]
pub fn tally(capacities: impl IntoIterator<Item = Capacity>) -> Quorum {
    let mut counts = Quorum::new();
    for capacity in capacities {
        let count = counts.entry(capacity).or_default();
        *count = count.saturating_add(1);
    }
    counts
}

/// What of `needed` is not in `counts` yet.
#[must_use]
pub fn missing(needed: &Quorum, counts: &Quorum) -> Quorum {
    let left = |(capacity, number): (&Capacity, &u32)| {
        let left = number.saturating_sub(counts.get(capacity).copied().unwrap_or_default());
        (left > 0).then_some((*capacity, left))
    };
    needed.iter().filter_map(left).collect()
}

/// Both demands at once: of each capacity the larger number.
#[must_use]
pub fn both(mut one: Quorum, other: &Quorum) -> Quorum {
    for (capacity, number) in other {
        let mine = one.entry(*capacity).or_default();
        *mine = (*number).max(*mine);
    }
    one
}

/// A quorum in words: `1 owner and 2 stewards`.
#[must_use]
pub fn in_words(quorum: &Quorum) -> String {
    let words = |(capacity, number): (&Capacity, &u32)| {
        let name = match (capacity, *number == 1) {
            (Capacity::Owner, true) => "owner",
            (Capacity::Owner, false) => "owners",
            (Capacity::Steward, true) => "steward",
            (Capacity::Steward, false) => "stewards",
            (Capacity::Security, _) => "of security",
            (Capacity::DelegatedAdmin, true) => "delegated admin",
            (Capacity::DelegatedAdmin, false) => "delegated admins",
            (Capacity::Enrolled, true) => "other person of the profile",
            (Capacity::Enrolled, false) => "other people of the profile",
        };
        format!("{number} {name}")
    };
    if quorum.is_empty() { "nobody".to_owned() } else { quorum.iter().map(words).collect::<Vec<_>>().join(" and ") }
}
