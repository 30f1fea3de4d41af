//! Break-glass: the pre-planned emergency path. What marks a grant as one, and what no configuration can exceed. Pure.

use serde::{Deserialize, Serialize};

/// The longest that one use may last, in seconds, whatever a profile or policy says.
pub const MAX_BREAK_GLASS: u64 = 60 * 60;

/// What makes a grant a use of break-glass. It is part of the request, and so of the digest and of every audit record
/// about the grant and its leases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakGlass {
    /// The profile of the catalogue that was used.
    pub profile: String,
    /// The incident for which, as its reference is written.
    pub incident: String,
}
