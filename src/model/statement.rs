//! What an approver signs: a small text that binds one decision to one request on one installation, until a moment.
//!
//! Version 1 is exactly these seven lines in this order, each ended by a line feed and none with anything else in it:
//!
//! ```text
//! version: 1
//! installation: node-…
//! request: grant-…
//! digest: <64 lowercase hexadecimal digits>
//! decision: approve
//! capacity: owner
//! expiry: 2026-11-22T12:00:00Z
//! ```
//!
//! It is signed as an SSH signature (OpenSSH's `PROTOCOL.sshsig`) in the namespace [`NAMESPACE`], which keeps it from
//! passing for a signature of anything else, and anything else from passing for it.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Capacity, Digest, GrantId, NodeId};

/// The namespace of the signature.
pub const NAMESPACE: &str = "grantd-approval";

/// The longest statement that is read, in bytes. A real one has less than 400.
const LONGEST: usize = 1024;

/// The names of the lines, in their order.
const LINES: [&str; 7] = ["version", "installation", "request", "digest", "decision", "capacity", "expiry"];

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// It is approved.
    Approve,
    /// It is denied.
    Deny,
}

impl Word {
    /// As the statement spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Deny => "deny",
        }
    }
}

/// One decision of one person, as it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The node on which it was requested.
    pub installation: NodeId,
    /// The request.
    pub request: GrantId,
    /// The digest of exactly what was seen: the request's, or that of its extension.
    pub digest: Digest,
    /// Yes or no.
    pub decision: Word,
    /// In which capacity.
    pub capacity: Capacity,
    /// Until when it may be handed in, to the second.
    pub expiry: Timestamp,
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { installation, request, digest, decision, capacity, expiry } = self;
        let expiry = Timestamp::from_second(expiry.as_second()).unwrap_or(*expiry).to_string();
        let values: [&dyn fmt::Display; 7] =
            [&"1", installation, request, digest, &decision.as_str(), capacity, &expiry];
        LINES.iter().zip(values).try_for_each(|(name, value)| writeln!(f, "{name}: {value}"))
    }
}

/// The text is not a statement of a version that is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("what was signed is no statement of this version: {0}; make it with grantctl review-request")]
pub struct ParseStatementError(String);

impl FromStr for Statement {
    type Err = ParseStatementError;

    /// Reads the one text that [`Display`](fmt::Display) writes, and no other: what is signed has one meaning.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |what: &str| ParseStatementError(what.to_owned());
        if text.len() > LONGEST {
            return Err(wrong("it is too long"));
        }
        let mut lines = text.split_inclusive('\n');
        let mut value = |name: &str| {
            let line = lines.next().and_then(|line| line.strip_suffix('\n'));
            let value = line.and_then(|line| line.strip_prefix(name)?.strip_prefix(": "));
            value.ok_or_else(|| ParseStatementError(format!("its next line has to be \"{name}: …\"")))
        };
        if value("version")? != "1" {
            return Err(wrong("its version is not 1"));
        }
        let installation = NodeId(value("installation")?.to_owned());
        let request = value("request")?.parse().map_err(|_| wrong("its request is not the id of a grant"))?;
        let digest = value("digest")?.parse().map_err(|error| wrong(&format!("{error}")))?;
        let decision = match value("decision")? {
            "approve" => Word::Approve,
            "deny" => Word::Deny,
            _ => return Err(wrong("its decision is neither approve nor deny")),
        };
        let capacity = value("capacity")?.parse().map_err(|error: String| wrong(&error))?;
        let expiry = value("expiry")?.parse().map_err(|_| wrong("its expiry is not a time"))?;
        let read = Self { installation, request, digest, decision, capacity, expiry };
        if read.to_string() != text {
            return Err(wrong("it is not in its one form, seven lines and no more"));
        }
        Ok(read)
    }
}

#[cfg(test)]
#[path = "statement_tests.rs"]
mod tests;
