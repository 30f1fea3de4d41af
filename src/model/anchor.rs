//! What the kernel lets us watch for the end of a task.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::AnchorId;

/// One process, named so that it can never be mistaken for a later one with the same pid.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessRef {
    /// `/proc/sys/kernel/random/boot_id` of the boot it lives in.
    pub boot_id: String,
    /// Its pid.
    pub pid: i32,
    /// Its start time in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start_time: u64,
}

impl fmt::Display for ProcessRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} started at tick {}", self.pid, self.start_time)
    }
}

impl ProcessRef {
    fn key(&self) -> String {
        format!("{}:{}:{}", self.boot_id, self.pid, self.start_time)
    }
}

/// What ends a lease when it ends, and who may be handed the same lease again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Anchor {
    /// A process that is watched: the lease ends when it exits.
    Process {
        /// The process.
        process: ProcessRef,
    },
    /// A connection that is held open: the lease ends when it closes.
    Connection {
        /// The process that opened it.
        process: ProcessRef,
        /// Which of its connections: a number that is never used twice under one start of the daemon.
        connection: u64,
    },
    /// Nothing is watched: the TTL alone ends the lease. The process only says who may be handed it again.
    Unwatched {
        /// The process.
        process: ProcessRef,
    },
}

impl Anchor {
    /// Equal for two vends exactly when the second may be served from the first one's lease.
    #[must_use]
    pub fn key(&self, uid: u32) -> String {
        match self {
            Self::Process { process } => format!("process:{uid}:{}", process.key()),
            Self::Connection { process, connection } => format!("connection:{uid}:{}:{connection}", process.key()),
            Self::Unwatched { process } => format!("unwatched:{uid}:{}", process.key()),
        }
    }

    /// Whether the exit of its process ends the lease. A held connection cannot outlive the process that opened it by
    /// being handed on, or by a close that goes unnoticed.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        matches!(self, Self::Process { .. } | Self::Connection { .. })
    }

    /// The process behind it.
    #[must_use]
    pub fn process(&self) -> &ProcessRef {
        match self {
            Self::Process { process } | Self::Connection { process, .. } | Self::Unwatched { process } => process,
        }
    }
}

/// A process that its user asked to be watched: leases taken by it or below it end when it exits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisteredAnchor {
    /// Its name.
    pub id: AnchorId,
    /// Its user.
    pub uid: u32,
    /// The process.
    pub process: ProcessRef,
    /// Since when it is watched.
    pub created_at: Timestamp,
}
