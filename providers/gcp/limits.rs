//! Google's documented limits, and ours. Each is named once.

use std::time::Duration;

/// Principals in one allow policy, each occurrence counted (IAM, "Quotas and limits": allow policies).
pub(crate) const POLICY_PRINCIPALS: usize = 1_500;

/// Bindings with a condition in one allow policy (IAM, "Quotas and limits": conditional role bindings).
pub(crate) const POLICY_CONDITIONS: usize = 100;

/// Logical operators in one condition (IAM, "Quotas and limits").
pub(crate) const CONDITION_OPERATORS: usize = 12;

/// Bytes of `google.subject` (IAM, "Workload Identity Federation": attribute mappings).
pub(crate) const SUBJECT_BYTES: usize = 127;

/// Between two writes of anything in one project: 600 a minute (IAM, "Quotas and limits").
pub(crate) const ACCOUNT_WRITE_INTERVAL: Duration = Duration::from_millis(100);

/// The longest life of an access token, federated or of a service account (IAM, "Create short-lived credentials").
pub(crate) const MAX_TOKEN: Duration = Duration::from_secs(3_600);

/// How many leases a policy has places for. What a policy really has room for is counted in the policy itself, each time
/// it is written: a place stays taken until the token is dead, long after its binding has ended.
pub(crate) const POLICY_PLACES: u32 = 10_000;

/// How long after a token's expiry nothing may carry another session that it could be mistaken for.
pub(crate) const ENTRY_GRACE: Duration = Duration::from_secs(60);

/// Roles in one constraint on what an administrator may grant (IAM, "Set limits on granting roles").
pub(crate) const CONSTRAINED_ROLES: usize = 10;
