//! Why the broker does not do what it was asked.

use grantd_model::Refusal;
use grantd_provider_api::{ErrorKind, ProviderError};

use crate::store::{GlassUses, GuardFailure, StoreError};

/// A refusal or a failure. Each says what to do; none holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The caller's user is in no people table.
    #[error("uid {uid} is nobody in people.toml: ask an administrator to add it as a person or a workload")]
    UnknownCaller {
        /// Which user.
        uid: u32,
    },
    /// The thing is somebody else's.
    #[error("{what} belongs to {owner}, and you are {you}")]
    NotYours {
        /// Which thing.
        what: String,
        /// Whose it is.
        owner: String,
        /// Who is calling.
        you: String,
    },
    /// Policy, or a rule of the daemon itself, says no.
    #[error("{}", .0.reason)]
    Denied(Refusal),
    /// A freeze covers it.
    #[error("{}", .0.reason)]
    Frozen(Refusal),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// The thing is in the wrong state.
    #[error("{0}")]
    State(String),
    /// What would be issued is not what was approved.
    #[error("plan_changed: {0}")]
    PlanChanged(String),
    /// What was granted is on something that is not in the catalogue any more.
    #[error("plan_changed: \"{resource}\" is no longer in the catalogue, so nothing is issued or approved on it")]
    Gone {
        /// Its name.
        resource: String,
    },
    /// More was asked than is allowed.
    #[error("{detail}")]
    Limit {
        /// In words.
        detail: String,
        /// The most that would be allowed.
        limit: u64,
    },
    /// No room for another session.
    #[error("{detail}")]
    Capacity {
        /// In words.
        detail: String,
        /// How many places are taken.
        in_use: u64,
        /// How many there are.
        limit: u64,
    },
    /// The request makes no sense.
    #[error("{0}")]
    BadRequest(String),
    /// Too much is under way.
    #[error("{0}")]
    Busy(String),
    /// The cloud refused or did not answer.
    #[error("{0}")]
    Cloud(ProviderError),
    /// Nothing can be written.
    #[error("{0}")]
    Store(StoreError),
    /// The daemon is stopping.
    #[error("the daemon is stopping: ask again in a moment")]
    Stopping,
    /// The node drains.
    #[error("this node is drained and vends nothing until its grantd is started again: run the job on another one")]
    Draining,
    /// The caller is gone, or a task of the daemon died.
    #[error("{0}")]
    Internal(String),
}

impl BrokerError {
    /// Whether this is a refusal that no other record tells of: a denial by policy is recorded with its decision, what
    /// the cloud said with the lease, and a store that fails can record nothing.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::UnknownCaller { .. }
            | Self::NotYours { .. }
            | Self::Frozen(_)
            | Self::NotFound(_)
            | Self::State(_)
            | Self::PlanChanged(_)
            | Self::Gone { .. }
            | Self::Limit { .. }
            | Self::Capacity { .. }
            | Self::BadRequest(_)
            | Self::Busy(_)
            | Self::Draining => true,
            // Found before the cloud was asked, and so before there was a lease.
            Self::Cloud(error) => matches!(error.kind, ErrorKind::Unsupported | ErrorKind::Config),
            Self::Denied(_) | Self::Store(_) | Self::Stopping | Self::Internal(_) => false,
        }
    }
}

impl From<ProviderError> for BrokerError {
    fn from(error: ProviderError) -> Self {
        match error.kind {
            // The cloud was not asked: what was requested can be valid nowhere.
            ErrorKind::Invalid => Self::BadRequest(error.message),
            _ => Self::Cloud(error),
        }
    }
}

impl From<StoreError> for BrokerError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Guard(GuardFailure::GrantNotActive) => {
                Self::State("the grant ended meanwhile: request a new one".to_owned())
            }
            StoreError::Guard(GuardFailure::Concurrent { in_use, limit }) => Self::Limit {
                detail: format!(
                    "{} a lease under this grant, and policy allows {limit} at once: \
                     wait until one of them is done, or request a grant of its own",
                    if in_use == 1 { "1 other task holds".to_owned() } else { format!("{in_use} other tasks hold") }
                ),
                limit: u64::from(limit),
            },
            StoreError::Guard(GuardFailure::Counter { in_use, limit }) => Self::Limit {
                detail: format!(
                    "{} used this grant, and policy allows {limit}: request a new one",
                    if in_use == 1 { "1 task has".to_owned() } else { format!("{in_use} tasks have") }
                ),
                limit: u64::from(limit),
            },
            StoreError::Guard(GuardFailure::Places { in_use, limit }) => {
                Self::Capacity { detail: full(in_use, u64::from(limit)), in_use, limit: u64::from(limit) }
            }
            StoreError::Guard(GuardFailure::Share { in_use, limit }) => Self::Capacity {
                detail: format!(
                    "you have {in_use} sessions that are live or revoked and not yet dead, of {limit} that one user may \
                     have: ask again when some have expired, and take fewer"
                ),
                in_use,
                limit: u64::from(limit),
            },
            StoreError::Guard(GuardFailure::Pending { in_use, .. }) => Self::Busy(format!(
                "{in_use} requests of yours wait for approval, and more are not taken: have them answered, or take some \
                 back with grantctl cancel"
            )),
            StoreError::Guard(GuardFailure::Glass { of, in_use, limit }) => Self::Limit {
                detail: format!(
                    "break-glass was used {in_use} {} lately{}, and the profile allows {limit}: ask for a grant with grantctl \
                     request, or wait until earlier uses are past",
                    if in_use == 1 { "time" } else { "times" },
                    match of {
                        GlassUses::Person(person) => format!(" by {person}"),
                        GlassUses::Resource(resource) => format!(" on \"{resource}\""),
                        GlassUses::All => " in all".to_owned(),
                    }
                ),
                limit: u64::from(limit),
            },
            StoreError::Guard(GuardFailure::ReviewOverdue) => {
                Self::State("a review of yours became overdue meanwhile: ask again".to_owned())
            }
            StoreError::Guard(GuardFailure::Reviewed) => Self::State("it is reviewed already".to_owned()),
            StoreError::Guard(GuardFailure::DocumentUsed) => {
                Self::State("this grant document was used already, and each is used once: see grantctl list".to_owned())
            }
            StoreError::Guard(GuardFailure::FreezesChanged) => {
                Self::State("a freeze was set or thawed meanwhile: ask again".to_owned())
            }
            StoreError::Guard(GuardFailure::AnchorGone) => {
                Self::State("the anchor process exited meanwhile: attach a living one".to_owned())
            }
            StoreError::Stale { what } => Self::State(format!("{what} changed meanwhile: ask again")),
            other => Self::Store(other),
        }
    }
}

/// The words for a full deny scope.
fn full(in_use: u64, limit: u64) -> String {
    format!(
        "every configured role is full: {in_use} of {limit} sessions are live or revoked and not yet dead; \
         ask again when some have expired, or have an operator configure another role"
    )
}
