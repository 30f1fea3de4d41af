//! Who is calling: what the kernel proves about a peer, and which configured subject that is.
//!
//! Nothing that the caller says about itself enters here.

use std::sync::Arc;

use grantd_model::{Actor, ProcessRef, Subject};

use crate::config::People;
use crate::sys::peer::Peer;
use crate::sys::process;

/// A caller, as the kernel proved it when its connection was accepted.
#[derive(Debug, Clone)]
pub struct Caller {
    peer: Arc<Peer>,
    /// The number of its connection.
    pub connection: u64,
    /// Who that is, if the people table knows.
    pub subject: Option<Subject>,
}

impl Caller {
    /// Looks the peer up in `people`.
    #[must_use]
    pub fn new(peer: Arc<Peer>, connection: u64, people: &People) -> Self {
        let subject = people.by_uid(peer.uid);
        Self { peer, connection, subject }
    }

    /// Its user.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.peer.uid
    }

    /// The process that opened the connection.
    #[must_use]
    pub fn process(&self) -> &ProcessRef {
        &self.peer.process
    }

    /// Whether that process still runs. Asked again before anything is released to it.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.peer.is_alive()
    }

    /// Its parent, unless that is the init process, which is nobody's task.
    #[must_use]
    pub fn parent(&self) -> Option<ProcessRef> {
        process::parent_of(&self.peer).ok().flatten().filter(|parent| parent.pid > 1)
    }

    /// Its ancestors, nearest first, without the init process; empty when they cannot be told for certain.
    #[must_use]
    pub fn ancestors(&self) -> Vec<ProcessRef> {
        let mut ancestors = process::ancestors(&self.peer).unwrap_or_default();
        ancestors.retain(|process| process.pid > 1);
        ancestors
    }

    /// The same process, for work that the daemon itself does on its word: never for what a caller says about itself.
    #[must_use]
    pub fn acting_as(&self, subject: Subject) -> Self {
        Self { subject: Some(subject), ..self.clone() }
    }

    /// For the audit.
    #[must_use]
    pub fn actor(&self) -> Actor {
        Actor::Peer {
            uid: self.peer.uid,
            gid: self.peer.gid,
            process: self.peer.process.clone(),
            subject: self.subject.clone(),
        }
    }
}
