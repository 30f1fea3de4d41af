//! What can go wrong with the store.

/// Why a commit or a read failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// A grant or lease is not at the version the change was made from: read it again and decide again.
    #[error("{what} changed meanwhile")]
    Stale {
        /// Which.
        what: String,
    },
    /// A guard does not hold.
    #[error(transparent)]
    Guard(#[from] GuardFailure),
    /// The store refuses commits since an earlier error.
    #[error("the store is poisoned since an earlier error: {0}")]
    Poisoned(String),
    /// The disk or the database failed.
    #[error("the store failed: {0}")]
    Io(String),
    /// What is stored makes no sense, or its audit chain does not hold.
    #[error("the store is damaged: {0}")]
    Damaged(String),
}

/// Which guard did not hold, with its numbers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GuardFailure {
    /// See [`Guard::GrantActive`](super::Guard::GrantActive).
    #[error("the grant is not active any more")]
    GrantNotActive,
    /// See [`Guard::OtherAnchorsBelow`](super::Guard::OtherAnchorsBelow).
    #[error("{in_use} other tasks hold a lease under the grant, of {limit} allowed at once")]
    Concurrent {
        /// How many others there are.
        in_use: u64,
        /// How many there may be.
        limit: u32,
    },
    /// See [`Guard::CounterBelow`](super::Guard::CounterBelow).
    #[error("the grant was used by {in_use} tasks, of {limit} allowed")]
    Counter {
        /// How many members it has.
        in_use: u64,
        /// How many it may have.
        limit: u32,
    },
    /// See [`Guard::PlacesBelow`](super::Guard::PlacesBelow).
    #[error("{in_use} of {limit} places in the deny scope are taken")]
    Places {
        /// How many are taken.
        in_use: u64,
        /// How many there are.
        limit: u32,
    },
    /// See [`Guard::SharePlacesBelow`](super::Guard::SharePlacesBelow).
    #[error("{in_use} of {limit} places that one user may have are taken")]
    Share {
        /// How many the user has.
        in_use: u64,
        /// How many one user may have.
        limit: u32,
    },
    /// See [`Guard::AnchorRegistered`](super::Guard::AnchorRegistered).
    #[error("the anchor is not registered any more")]
    AnchorGone,
    /// See [`Guard::PendingBelow`](super::Guard::PendingBelow).
    #[error("{in_use} of {limit} requests of one requester wait for approval")]
    Pending {
        /// How many wait.
        in_use: u64,
        /// How many may.
        limit: u32,
    },
    /// See [`Guard::GlassBelow`](super::Guard::GlassBelow).
    #[error("break-glass was used {in_use} times, of {limit} allowed")]
    Glass {
        /// Which uses were counted.
        of: super::GlassUses,
        /// How many there are.
        in_use: u64,
        /// How many there may be.
        limit: u32,
    },
    /// See [`Guard::NoneOverdue`](super::Guard::NoneOverdue).
    #[error("a review is overdue")]
    ReviewOverdue,
    /// See [`Guard::NotReviewed`](super::Guard::NotReviewed).
    #[error("it is reviewed already")]
    Reviewed,
    /// See [`Guard::DocumentUnused`](super::Guard::DocumentUnused).
    #[error("the document was used already")]
    DocumentUsed,
    /// See [`Guard::FreezesAt`](super::Guard::FreezesAt).
    #[error("a freeze was set or thawed meanwhile")]
    FreezesChanged,
}
