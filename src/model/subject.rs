//! Who.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ProcessRef;

/// What kind of actor a subject is. There is no kind for a team: access is always somebody's or something's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SubjectKind {
    /// A person.
    Human,
    /// A long-running program.
    Service,
    /// A program that acts on a person's behalf with a will of its own.
    Agent,
    /// A CI or deployment job.
    Pipeline,
}

impl fmt::Display for SubjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Human => "human",
            Self::Service => "service",
            Self::Agent => "agent",
            Self::Pipeline => "pipeline",
        })
    }
}

/// Who will use the access, as an issuer proves it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Subject {
    /// What it is.
    pub kind: SubjectKind,
    /// Who vouches for the id: `unix` is this host's kernel.
    pub issuer: String,
    /// The id under that issuer: for `unix` the decimal uid.
    pub id: String,
    /// The configured name, for people and for session names; never used to decide.
    pub name: String,
}

impl Subject {
    /// Whether `self` and `other` are the same identity, whatever they are called.
    #[must_use]
    pub fn same_identity(&self, other: &Self) -> bool {
        self.kind == other.kind && self.issuer == other.issuer && self.id == other.id
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({}:{})", self.kind, self.name, self.issuer, self.id)
    }
}

/// Who made something happen, for the audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Actor {
    /// A process at the other end of the socket, as the kernel proved it.
    Peer {
        /// Its user.
        uid: u32,
        /// Its group.
        gid: u32,
        /// The process.
        process: ProcessRef,
        /// Who that is, when known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subject: Option<Subject>,
    },
    /// A part of the daemon itself.
    Daemon {
        /// Which part: `reaper`, `watcher`, `reconciler`, `revoker`, `main`.
        part: String,
    },
}
