//! More time for an active grant: asked for and approved beside the grant, which goes on meanwhile as it was.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::approval::{counted, missing};
use crate::{Approval, Digest, Justification, PolicyVersion, Quorum, RequestError, Subject};

/// How many extensions one grant may ask for in its life.
pub const MAX_EXTENSIONS: usize = 32;

/// A later end for a grant, and what it needs before it is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// Who asked.
    pub asked_by: Subject,
    /// Why.
    pub reason: Justification,
    /// The new end of the grant.
    pub until: Timestamp,
    /// Covers the grant's digest, the new end, who asked and why.
    pub digest: Digest,
    /// The policy under which it was decided.
    pub policy: PolicyVersion,
    /// Who has to approve it.
    pub needed: Quorum,
    /// When it lapses without that.
    pub lapses_at: Timestamp,
    /// What was given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Approval>,
}

impl Extension {
    /// Whether everybody who has to approve it did.
    #[must_use]
    pub fn has_quorum(&self) -> bool {
        missing(&self.needed, &counted(&self.needed, &self.approvals, |_| false)).is_empty()
    }
}

/// What became of an extension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum ExtensionEnd {
    /// The grant lasts longer.
    Granted {
        /// Since when that is so.
        at: Timestamp,
    },
    /// An approver said no.
    Denied {
        /// When.
        at: Timestamp,
        /// Which person.
        by: String,
        /// Why.
        reason: String,
    },
    /// Who asked took it back.
    Cancelled {
        /// When.
        at: Timestamp,
    },
    /// Nobody approved in time, or the grant ended first.
    Lapsed {
        /// When.
        at: Timestamp,
    },
}

/// An extension that is decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastExtension {
    /// What was asked, and who approved it.
    pub extension: Extension,
    /// What became of it.
    pub outcome: ExtensionEnd,
}

impl PastExtension {
    /// Whether it was given.
    #[must_use]
    pub fn is_granted(&self) -> bool {
        matches!(self.outcome, ExtensionEnd::Granted { .. })
    }
}

/// Version 1 of the extension digest: SHA-256 over `grantd-extension-v1`, a newline, and the RFC 8785 form of an object
/// with the members `asked_by`, `grant` (the grant's digest), `reason` and `until`.
///
/// # Errors
/// When these cannot be written as canonical JSON.
pub fn extension_digest(
    grant: Digest,
    until: Timestamp,
    asked_by: &Subject,
    reason: &Justification,
) -> Result<Digest, RequestError> {
    #[derive(Serialize)]
    struct Covered<'a> {
        grant: Digest,
        until: Timestamp,
        asked_by: &'a Subject,
        reason: &'a Justification,
    }
    Ok(Digest::of_json("grantd-extension-v1", &Covered { grant, until, asked_by, reason })?)
}
