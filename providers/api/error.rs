//! What can go wrong with a cloud, and what that proves.

use std::fmt;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// What was asked makes no sense in itself, whatever the limits: a prefix with a wildcard, a network that is none.
    Invalid,
    /// The entitlement or request cannot be expressed in this cloud, or breaks one of its documented limits.
    Unsupported,
    /// The cloud said no: a trust policy, a missing permission. Nothing was created.
    Refused,
    /// The cloud has no room: a quota, a full boundary document.
    Capacity,
    /// The cloud asked us to slow down. Nothing was created.
    Throttled,
    /// No answer, a broken answer or a server error: **whether something was created is unknown**.
    Unknown,
    /// The connection was never made, so nothing can have been created.
    Unreachable,
    /// The cloud's clock and ours disagree by more than the tolerance.
    ClockSkew,
    /// The named thing does not exist. Proves absence.
    NotFound,
    /// The cloud-side document changed under us.
    Conflict,
    /// Our own configuration is wrong.
    Config,
}

impl ErrorKind {
    /// The kind as one word, for metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unsupported => "unsupported",
            Self::Refused => "refused",
            Self::Capacity => "capacity",
            Self::Throttled => "throttled",
            Self::Unknown => "unknown",
            Self::Unreachable => "unreachable",
            Self::ClockSkew => "clock_skew",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Config => "config",
        }
    }
}

/// Whose fault it is, and so who must act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Whoever asked.
    Caller,
    /// The cloud, or the way to it.
    Cloud,
    /// Whoever configured grantd or the account.
    Operator,
}

/// An error of a provider. The message is lowercase, names the thing, says what to do, and never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProviderError {
    /// What happened.
    pub kind: ErrorKind,
    /// In words.
    pub message: String,
}

impl ProviderError {
    /// An error of `kind`.
    pub fn new(kind: ErrorKind, message: impl fmt::Display) -> Self {
        Self { kind, message: message.to_string() }
    }

    /// Whether asking again later can help.
    #[must_use]
    pub fn retryable(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::Capacity
                | ErrorKind::Throttled
                | ErrorKind::Unknown
                | ErrorKind::Unreachable
                | ErrorKind::Conflict
        )
    }

    /// Whether a session may exist in spite of the error (promise P2: then it is revoked).
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        matches!(self.kind, ErrorKind::Unknown | ErrorKind::ClockSkew)
    }

    /// Who must act.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self.kind {
            ErrorKind::Invalid | ErrorKind::Unsupported => Fault::Caller,
            ErrorKind::Refused | ErrorKind::Config | ErrorKind::NotFound | ErrorKind::ClockSkew => Fault::Operator,
            ErrorKind::Capacity
            | ErrorKind::Throttled
            | ErrorKind::Unknown
            | ErrorKind::Unreachable
            | ErrorKind::Conflict => Fault::Cloud,
        }
    }
}
