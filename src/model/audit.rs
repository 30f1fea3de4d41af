//! The audit record and its hash chain.

use grantd_provider_api::LeaseId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Actor, Digest, GrantId, NodeId};

/// The domain of the record hash.
const DOMAIN: &str = "grantd-audit-v1";

/// What happened, before it has a place in the chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditDraft {
    /// When.
    pub at: Timestamp,
    /// What, as `<thing>.<event>`: `grant.approve`, `lease.issued`.
    pub kind: String,
    /// Who made it happen.
    pub actor: Actor,
    /// The grant it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// The lease it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseId>,
    /// Everything else that is worth keeping; never a secret.
    #[serde(default)]
    pub detail: serde_json::Value,
}

/// A record in the chain of one node.
///
/// Its hash is SHA-256 over `grantd-audit-v1`, a newline, and the RFC 8785 form of the record without `hash`. Since
/// the record holds the hash of the one before it, no record can be changed, removed or put in between without every
/// later hash changing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// The version of this format: 1.
    pub v: u32,
    /// Whose chain.
    pub node: NodeId,
    /// The place in it, from 1.
    pub seq: u64,
    /// The hash of the record before; all zero for the first.
    pub prev: Digest,
    /// What happened.
    #[serde(flatten)]
    pub draft: AuditDraft,
    /// The hash of this record.
    pub hash: Digest,
}

/// The end of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainHead {
    /// How many records it has.
    pub seq: u64,
    /// The hash of the last one.
    pub hash: Digest,
}

impl ChainHead {
    /// The head of an empty chain.
    pub const EMPTY: Self = Self { seq: 0, hash: Digest::ZERO };
}

/// A chain that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// A record is missing, doubled or out of order.
    #[error("audit record {found} follows record {after}: records are missing, doubled or out of order")]
    Sequence {
        /// The last good record.
        after: u64,
        /// What came next.
        found: u64,
    },
    /// A record does not name the hash of the one before it.
    #[error("audit record {seq} does not continue the chain: the record before it was changed or replaced")]
    Link {
        /// Which.
        seq: u64,
    },
    /// A record does not have the hash that it states.
    #[error("audit record {seq} was changed: its content does not match its hash")]
    Content {
        /// Which.
        seq: u64,
    },
    /// A record is of another node, or of a format that we do not know.
    #[error("audit record {seq} belongs to another chain or format")]
    Foreign {
        /// Which.
        seq: u64,
    },
}

impl AuditRecord {
    /// Puts `draft` after `head` in the chain of `node`.
    ///
    /// # Errors
    /// When the draft's detail cannot be written as canonical JSON.
    pub fn chain(node: &NodeId, head: ChainHead, draft: AuditDraft) -> Result<Self, serde_json::Error> {
        let mut record = Self {
            v: 1,
            node: node.clone(),
            seq: head.seq.saturating_add(1),
            prev: head.hash,
            draft,
            hash: Digest::ZERO,
        };
        record.hash = record.computed_hash()?;
        Ok(record)
    }

    /// The head of a chain that ends here.
    #[must_use]
    pub fn head(&self) -> ChainHead {
        ChainHead { seq: self.seq, hash: self.hash }
    }

    fn computed_hash(&self) -> Result<Digest, serde_json::Error> {
        let mut value = serde_json::to_value(self)?;
        if let Some(object) = value.as_object_mut() {
            object.remove("hash");
        }
        Digest::of_json(DOMAIN, &value)
    }
}

/// Follows a chain from `head` through `records`, and gives its new head.
///
/// # Errors
/// The first thing that does not hold.
pub fn verify_chain<'a>(
    node: &NodeId,
    mut head: ChainHead,
    records: impl IntoIterator<Item = &'a AuditRecord>,
) -> Result<ChainHead, ChainError> {
    for record in records {
        if record.seq != head.seq.saturating_add(1) {
            return Err(ChainError::Sequence { after: head.seq, found: record.seq });
        }
        if record.node != *node || record.v != 1 {
            return Err(ChainError::Foreign { seq: record.seq });
        }
        if record.prev != head.hash {
            return Err(ChainError::Link { seq: record.seq });
        }
        if record.computed_hash().ok() != Some(record.hash) {
            return Err(ChainError::Content { seq: record.seq });
        }
        head = record.head();
    }
    Ok(head)
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
