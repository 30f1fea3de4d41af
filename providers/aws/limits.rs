//! AWS's documented limits, in one place. An emulator lets most of them pass; the adapter holds itself to them.

use std::time::Duration;

/// Characters in an inline session policy, white space included (STS API Reference, `AssumeRole`, parameter `Policy`).
pub(crate) const SESSION_POLICY_CHARACTERS: usize = 2_048;

/// The shortest `DurationSeconds` (STS API Reference, `AssumeRole`).
pub(crate) const MIN_SESSION: Duration = Duration::from_secs(900);

/// The longest `MaxSessionDuration` of a role (STS API Reference, `AssumeRole`).
pub(crate) const MAX_SESSION: Duration = Duration::from_secs(43_200);

/// The longest session when the caller is itself an assumed role (IAM User Guide, "Role chaining").
pub(crate) const MAX_CHAINED_SESSION: Duration = Duration::from_secs(3_600);

/// The longest `RoleSessionName` and `SourceIdentity` (STS API Reference, `AssumeRole`). The shortest is 2.
pub(crate) const SESSION_NAME_CHARACTERS: usize = 64;

/// Session tags of one session, and the characters of a key and of a value (IAM User Guide, "Pass session tags").
pub(crate) const SESSION_TAGS: usize = 50;
/// See [`SESSION_TAGS`].
pub(crate) const TAG_KEY_CHARACTERS: usize = 128;
/// See [`SESSION_TAGS`].
pub(crate) const TAG_VALUE_CHARACTERS: usize = 256;

/// Characters in a managed policy, white space not counted (IAM User Guide, "IAM and AWS STS quotas").
pub(crate) const MANAGED_POLICY_CHARACTERS: usize = 6_144;

/// Managed policies attached to one role, as long as nobody asked AWS for more (IAM User Guide, "IAM and AWS STS
/// quotas").
pub(crate) const MANAGED_POLICIES_OF_A_ROLE: usize = 10;

/// The shortest `MaxSessionDuration` that a role can have (IAM API Reference, `CreateRole`).
pub(crate) const MIN_MAX_SESSION: Duration = Duration::from_secs(3_600);

/// Stored versions of one managed policy (IAM User Guide, "IAM and AWS STS quotas").
pub(crate) const MANAGED_POLICY_VERSIONS: usize = 5;

/// How many leases one boundary takes at most, live and revoked-unexpired together. The document has room for 397; the
/// rest is for the line of its one role. A boundary of several roles takes fewer.
pub(crate) const SCOPE_CAPACITY: u32 = 380;

/// How long an entry stays after the token's expiry, for clocks that disagree and caches that lag.
pub(crate) const ENTRY_GRACE: Duration = Duration::from_secs(15 * 60);

/// Characters of a lease's suffix.
pub(crate) const SUFFIX_CHARACTERS: usize = 10;

/// Characters in all inline policies of a role together, white space not counted (IAM User Guide, "IAM and AWS STS
/// quotas").
pub(crate) const INLINE_POLICIES_CHARACTERS: usize = 10_240;

/// Characters of a deny document without any session: `Allow *`, and the deny with its brackets.
const EMPTY_CHARACTERS: usize = 175;

/// Characters of one denied suffix in a document: `"*-…",`.
const ENTRY_CHARACTERS: usize = SUFFIX_CHARACTERS + 5;

/// Characters of one role's line in a document, its comma included, for the longest role id that is taken.
pub(crate) const LINE_CHARACTERS: usize = 186;

/// How many suffixes fit into a document of so many characters.
pub(crate) fn places(characters: usize) -> u32 {
    let places = characters.saturating_sub(EMPTY_CHARACTERS).checked_div(ENTRY_CHARACTERS).unwrap_or_default();
    u32::try_from(places).unwrap_or(u32::MAX)
}
