//! Names of things.

use std::fmt;

use grantd_provider_api::{Id, IdKind};
use serde::{Deserialize, Serialize};

/// Marks the id of a grant.
#[derive(Debug)]
pub enum GrantKind {}

impl IdKind for GrantKind {
    const PREFIX: &'static str = "grant";
}

/// The id of a grant, pending or approved. A name, not a secret (promise P5).
pub type GrantId = Id<GrantKind>;

/// Marks the id of a registered anchor.
#[derive(Debug)]
pub enum AnchorKind {}

impl IdKind for AnchorKind {
    const PREFIX: &'static str = "anchor";
}

/// The id of a registered anchor.
pub type AnchorId = Id<AnchorKind>;

/// Marks the id of a freeze.
#[derive(Debug)]
pub enum FreezeKind {}

impl IdKind for FreezeKind {
    const PREFIX: &'static str = "freeze";
}

/// The id of a freeze.
pub type FreezeId = Id<FreezeKind>;

/// Marks the id of a delegation.
#[derive(Debug)]
pub enum DelegationKind {}

impl IdKind for DelegationKind {
    const PREFIX: &'static str = "delegation";
}

/// The id of a delegation.
pub type DelegationId = Id<DelegationKind>;

/// Marks the id of a review.
#[derive(Debug)]
pub enum ReviewKind {}

impl IdKind for ReviewKind {
    const PREFIX: &'static str = "review";
}

/// The id of a review.
pub type ReviewId = Id<ReviewKind>;

/// The name of one daemon's state: made once when its store is created, and the owner of one audit chain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub String);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
