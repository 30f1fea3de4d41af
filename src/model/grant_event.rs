//! What can happen to a grant.

use jiff::Timestamp;

use crate::{Approval, Escalation, Extension, ExtensionEnd};

/// What happens to a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantEvent {
    /// A person approves; by itself that changes no state.
    GiveApproval {
        /// Who, in which capacity, of what.
        approval: Box<Approval>,
    },
    /// No owner approved by half of the time: stewards are asked, or it is noted why not. Changes no state.
    Escalate {
        /// What follows what was due.
        to: Escalation,
    },
    /// The quorum is complete, or policy asks for none.
    Approve {
        /// When.
        at: Timestamp,
    },
    /// Its time has come.
    Activate {
        /// When.
        at: Timestamp,
    },
    /// An approver says no.
    Deny {
        /// When.
        at: Timestamp,
        /// Which person.
        by: String,
        /// Why.
        reason: String,
    },
    /// The requester takes it back.
    Cancel {
        /// When.
        at: Timestamp,
    },
    /// The time for approval is over.
    Lapse {
        /// When.
        at: Timestamp,
    },
    /// The task is done.
    Complete {
        /// When.
        at: Timestamp,
    },
    /// It is handed to another host for good.
    Export {
        /// When.
        at: Timestamp,
    },
    /// Its time is up.
    Expire {
        /// When.
        at: Timestamp,
    },
    /// Somebody takes it away.
    Revoke {
        /// When.
        at: Timestamp,
        /// Why.
        reason: String,
    },
    /// More time is asked for.
    AskExtension {
        /// What for, and what it needs.
        extension: Box<Extension>,
    },
    /// A person approves the extension that waits.
    ApproveExtension {
        /// Who, in which capacity, of what.
        approval: Box<Approval>,
    },
    /// The extension's quorum is complete, or policy asks for none: the grant lasts longer.
    Extend {
        /// When.
        at: Timestamp,
    },
    /// The extension is not given; the grant stays as it was.
    EndExtension {
        /// Why not.
        outcome: ExtensionEnd,
    },
}

impl GrantEvent {
    /// The event's name, as the audit writes it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::GiveApproval { .. } => "approval",
            Self::Escalate { .. } => "escalate",
            Self::Approve { .. } => "approve",
            Self::Activate { .. } => "activate",
            Self::Deny { .. } => "deny",
            Self::Cancel { .. } => "cancel",
            Self::Lapse { .. } => "lapse",
            Self::Complete { .. } => "complete",
            Self::Export { .. } => "handed_on",
            Self::Expire { .. } => "expire",
            Self::Revoke { .. } => "revoke",
            Self::AskExtension { .. } => "extension_request",
            Self::ApproveExtension { .. } => "extension_approval",
            Self::Extend { .. } => "extend",
            Self::EndExtension { outcome: ExtensionEnd::Denied { .. } } => "extension_deny",
            Self::EndExtension { outcome: ExtensionEnd::Cancelled { .. } } => "extension_cancel",
            Self::EndExtension { .. } => "extension_lapse",
        }
    }
}
