//! Numbers that bound what is minted.

use std::time::Duration;

/// The shortest lease: a verifier whose clock is ahead by a few seconds is to have something of it, too.
pub(crate) const MIN_TTL: Duration = Duration::from_secs(5);

/// The longest that a token may be configured to live. Nobody can take one back.
pub(crate) const LONGEST_LIFETIME: Duration = Duration::from_secs(3_600);

/// How long a token lives at most where nothing is configured.
pub(crate) const USUAL_LIFETIME: Duration = Duration::from_secs(300);

/// The longest audience, in bytes.
pub(crate) const AUDIENCE_BYTES: usize = 255;

/// The longest beginning of a subject, in bytes. With the kind and the name of a subject it stays below the 127 bytes that
/// Google Cloud takes for `google.subject` (Workload Identity Federation, "Attribute mappings"), the least of the clouds.
pub(crate) const PREFIX_BYTES: usize = 40;

/// How many tokens of one account may live at once. Nothing is kept for one but its lease.
pub(crate) const PLACES: u32 = 100_000;
