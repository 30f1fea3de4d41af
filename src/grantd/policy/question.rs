//! The question that policy is asked.

use grantd_model::{Action, Anchor, Capacity, Quorum, Signals, Subject};
use grantd_provider_api::{Capability, Persistence, Revocation};
use jiff::Timestamp;

use crate::config::Resource;

/// May this principal do this on this resource, given these facts?
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// What is to be done.
    pub action: Action,
    /// Now.
    pub at: Timestamp,
    /// Who calls, as attested.
    pub principal: &'a Subject,
    /// The caller's uid, as the kernel proved it.
    pub uid: u32,
    /// On what, as the catalogue has it now.
    pub resource: &'a Resource,
    /// Everything else.
    pub facts: Facts,
}

/// What policy may rest on besides who and on what. Looked up afresh for every decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What is wanted on the resource.
    pub capability: Capability,
    /// How long the grant is to last, in seconds.
    pub duration_seconds: u64,
    /// How often it is to open, and when first.
    pub timing: Timing,
    /// How long the lease is to last, in seconds. Policy is told it for [`Action::Issue`] and [`Action::BreakGlass`],
    /// which are denied without it.
    pub ttl_seconds: Option<u64>,
    /// How long the justification is, in characters.
    pub justification_length: usize,
    /// The ticket that was named, if one was.
    pub ticket: Option<String>,
    /// Who will use the access.
    pub subject: Subject,
    /// Who asked for it.
    pub requester: Subject,
    /// What ends the lease together with its task.
    pub anchor: AnchorKind,
    /// What keeps the caller apart from other jobs of this host.
    pub isolation: Isolation,
    /// From the plan: whether something can be left behind.
    pub persistence: Persistence,
    /// From the plan: whether the cloud cannot express the entitlement as narrowly as asked.
    pub widens: bool,
    /// From the plan: how access can be taken back.
    pub revocation: Revocation,
    /// How long access may be felt after its time, in seconds.
    pub outlives_seconds: u64,
    /// How many people have approved, by capacity: those whose approval counts now.
    pub approvals: Quorum,
    /// In which capacity the principal would approve. Policy is told it for [`Action::Approve`], which is denied without
    /// it.
    pub capacity: Option<Capacity>,
    /// The absent person for whom the principal would approve; then what that person owns counts as the principal's.
    pub on_behalf_of: Option<String>,
    /// Whether the principal is one of those who were asked to review. Policy is told it for [`Action::Review`].
    pub asked_to_review: bool,
    /// What was looked up: what [`Bundle::needs`](super::Bundle::needs) said of this question.
    pub signals: Signals,
}

/// When and how often a grant is to be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timing {
    /// Not before this moment.
    pub not_before: Option<Timestamp>,
    /// From its first moment to its last, in seconds, if it recurs; else it is as long as it lasts.
    pub recurs_over: Option<u64>,
}

/// What ends a lease together with its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnchorKind {
    /// The exit of a watched process.
    Process,
    /// The end of a held connection.
    Connection,
    /// Nothing but the TTL.
    Unwatched,
    /// No lease is in question.
    None,
}

impl AnchorKind {
    /// As the schema spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Connection => "connection",
            Self::Unwatched => "unwatched",
            Self::None => "none",
        }
    }
}

impl From<&Anchor> for AnchorKind {
    fn from(anchor: &Anchor) -> Self {
        match anchor {
            Anchor::Process { .. } => Self::Process,
            Anchor::Connection { .. } => Self::Connection,
            Anchor::Unwatched { .. } => Self::Unwatched,
        }
    }
}

/// What keeps the caller apart from other jobs of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Its uid alone: two jobs of one uid are one caller.
    Uid,
}

impl Isolation {
    /// As the schema spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Uid => "uid",
        }
    }
}
