//! The words of grantd as types, and the rules between them. Pure: no I/O, no clock, no randomness.
#![forbid(unsafe_code)]

mod anchor;
pub mod approval;
pub mod assignment;
mod audit;
mod decision;
mod delegation;
mod digest;
pub mod document;
mod escalation;
mod extension;
mod freeze;
mod glass;
mod grant;
mod grant_event;
mod ids;
mod keyring;
mod lease;
mod propagation;
mod recurrence;
mod repetition;
mod request;
mod review;
mod seal;
mod signal;
pub mod statement;
mod subject;

pub use anchor::{Anchor, ProcessRef, RegisteredAnchor};
pub use approval::{Approval, Capacity, OnBehalf, Quorum, Signed};
pub use audit::{AuditDraft, AuditRecord, ChainError, ChainHead, verify_chain};
pub use decision::{Action, Decision, Obligations, OnPolicyChange, PolicyVersion, Refusal, Verdict};
pub use delegation::{Delegation, MAX_ABSENCE, Revoked};
pub use digest::{Digest, canonical_json};
pub use escalation::Escalation;
pub use extension::{Extension, ExtensionEnd, MAX_EXTENSIONS, PastExtension, extension_digest};
pub use freeze::{Freeze, FreezeTarget, THAW_QUORUM, Thaw, ThawError, freeze_epoch};
pub use glass::{BreakGlass, MAX_BREAK_GLASS};
pub use grant::{Grant, GrantEnd, GrantPhase, GrantState};
pub use grant_event::GrantEvent;
pub use grantd_provider_api::LeaseId;
pub use ids::{AnchorId, DelegationId, FreezeId, GrantId, NodeId, ReviewId};
pub use keyring::{KeyAlgorithm, KeyLife, KeyPhase, KeyRing, RingAlarm, RingDue, RingError, RingEvent, RingKey};
pub use lease::{Accepted, Collapsed, EndReason, Lease, LeaseEvent, LeasePhase, LeaseState};
pub use propagation::{Propagation, PropagationSample};
pub use recurrence::{MAX_TIMES, MIN_EVERY, Occurrence, Recurrence};
pub use repetition::{Proposal, ProposalKind, Repetition, repetitions};
pub use request::{Justification, Request, RequestError, Task, Tier, request_digest};
pub use review::{Outcome, Review, ReviewAbout, ReviewError, ReviewEvent, ReviewState};
pub use seal::AcceptedSeal;
pub use signal::{FactValue, Looked, Missing, Signal, SignalFact, Signals, TicketState, turned};
pub use statement::Statement;
pub use subject::{Actor, Subject, SubjectKind};

/// The event does not apply to the state: `completed grant cannot be revoked`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{thing} that is {state} cannot take the event {event}")]
pub struct TransitionError {
    /// `a grant` or `a lease`.
    pub thing: &'static str,
    /// The state it is in.
    pub state: &'static str,
    /// The event that was offered.
    pub event: &'static str,
}
