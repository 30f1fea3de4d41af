//! Azure's documented limits, in one place.

use std::time::Duration;

/// How long an access token lives at most unless a tenant's policy says otherwise: 60 to 90 minutes, drawn at random
/// (Microsoft identity platform, "Access tokens in the Microsoft identity platform", "Token lifetime").
pub(crate) const TOKEN_LIFETIME: Duration = Duration::from_secs(90 * 60);

/// The longest that a tenant's policy can make it (Microsoft identity platform, "Configurable token lifetimes").
pub(crate) const LONGEST_TOKEN: Duration = Duration::from_secs(24 * 60 * 60);

/// Characters of a role assignment's condition (Azure RBAC, "Troubleshoot Azure role assignment conditions": 8 KB).
pub(crate) const CONDITION_CHARACTERS: usize = 8 * 1024;

/// Characters of a federated credential's subject (Microsoft Entra workload ID, "Important considerations and
/// restrictions for federated identity credentials"; it also takes 20 of them for an application, and a slot needs one).
pub(crate) const SUBJECT_CHARACTERS: usize = 600;

/// Characters of a key prefix: a blob's name has up to 1,024 (Blob Storage, "Naming and referencing containers, blobs,
/// and metadata").
pub(crate) const PREFIX_CHARACTERS: usize = 512;

/// Characters of a native name that is taken.
pub(crate) const NATIVE_CHARACTERS: usize = 1_024;
