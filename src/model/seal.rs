//! A policy bundle that was accepted by its signatures. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Digest, PolicyVersion};

/// That a signed bundle was put into force, and by whose signatures. Kept for ever: no bundle of a lower place comes after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedSeal {
    /// Its place in the sequence.
    pub sequence: u64,
    /// The digest that was signed.
    pub files: Digest,
    /// The version under which the bundle is kept, on the host that accepted it first.
    pub version: PolicyVersion,
    /// When. Signatures have no time of their own, so keys are judged by this one from then on.
    pub accepted_at: Timestamp,
    /// Who signed it.
    pub signers: BTreeSet<String>,
    /// Every signature that lay beside it, in SSH's armour, by file name.
    pub signatures: BTreeMap<String, String>,
}
