//! What is written together.

use grantd_model::{
    AcceptedSeal, AnchorId, AuditDraft, ChainHead, Delegation, Freeze, Grant, GrantId, Lease, PolicyVersion,
    Propagation, RegisteredAnchor, Review,
};
use grantd_provider_api::DenyScope;
use jiff::Timestamp;

/// Guards, writes and audit records that become durable together or not at all.
#[derive(Debug, Clone, Default)]
pub struct Transaction {
    /// What must hold at the moment of writing, checked in order.
    pub guards: Vec<Guard>,
    /// What is written, in order.
    pub writes: Vec<Write>,
    /// What is recorded, in order.
    pub audit: Vec<AuditDraft>,
}

/// A condition that is checked inside the transaction, so that nothing can come between the check and the write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// The grant is active at `at`, and not over.
    GrantActive {
        /// Which.
        grant: GrantId,
        /// When.
        at: Timestamp,
    },
    /// Fewer than `limit` anchors other than `anchor_key` hold an issuing or active lease under the grant.
    OtherAnchorsBelow {
        /// Under which grant.
        grant: GrantId,
        /// The anchor that is not counted.
        anchor_key: String,
        /// How many there may be with this one.
        limit: u32,
    },
    /// The one-shot counter has `member` already, or fewer than `limit` members.
    CounterBelow {
        /// Which counter.
        counter: String,
        /// Who is to be counted.
        member: String,
        /// How many members it may have.
        limit: u32,
    },
    /// Fewer than `limit` places of the deny scope are taken at `at`.
    PlacesBelow {
        /// Which scope.
        scope: DenyScope,
        /// When.
        at: Timestamp,
        /// How many places there are.
        limit: u32,
    },
    /// Fewer than `limit` of the taken places of these deny scopes together are those of one user.
    SharePlacesBelow {
        /// Which scopes.
        scopes: Vec<DenyScope>,
        /// Whose.
        uid: u32,
        /// When.
        at: Timestamp,
        /// How many places one user may have.
        limit: u32,
    },
    /// The anchor is still registered.
    AnchorRegistered {
        /// Which.
        anchor: AnchorId,
    },
    /// Fewer than `limit` requests of this requester wait for approval.
    PendingBelow {
        /// The requester's `issuer:id`.
        requester: String,
        /// How many there may be.
        limit: u32,
    },
    /// Fewer than `limit` uses of break-glass, of whatever profile, were asked for after `since` and neither denied nor
    /// given up before they began.
    GlassBelow {
        /// Which uses count.
        of: GlassUses,
        /// Those before this do not count.
        since: Timestamp,
        /// How many there may be.
        limit: u32,
    },
    /// No review of a use of break-glass by this person is overdue at `at`.
    NoneOverdue {
        /// By the name in `people.toml`.
        person: String,
        /// When.
        at: Timestamp,
    },
    /// No review of what was granted again and again is open, or was opened after `since`.
    NotReviewed {
        /// What was granted.
        topic: String,
        /// Those before this do not count.
        since: Timestamp,
    },
    /// No such document of this issuer was used.
    DocumentUnused {
        /// Its issuer.
        issuer: String,
        /// Its id.
        jti: String,
    },
    /// No freeze was set and none was thawed since all of them were read.
    FreezesAt {
        /// Their [epoch](grantd_model::freeze_epoch) then.
        epoch: u64,
    },
}

/// Which uses of break-glass are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GlassUses {
    /// Those of one person, by the name in `people.toml`.
    Person(String),
    /// Those on one resource.
    Resource(String),
    /// All.
    All,
}

/// One change of state.
#[derive(Debug, Clone)]
pub enum Write {
    /// A new grant; its id must be new.
    InsertGrant(Grant),
    /// A grant after one event: the stored version must be one less than the given one's.
    UpdateGrant(Grant),
    /// A new lease; its id must be new.
    InsertLease(Lease),
    /// A lease after one event: the stored version must be one less than the given one's.
    UpdateLease(Lease),
    /// A new anchor.
    InsertAnchor(RegisteredAnchor),
    /// An anchor that is over. No error when it is gone already.
    RemoveAnchor(AnchorId),
    /// A new freeze; its id must be new.
    InsertFreeze(Freeze),
    /// A freeze after one thaw: the stored version must be one less than the given one's.
    UpdateFreeze(Freeze),
    /// A delegation that was made, or the one before it taken back: nothing, or the version before, must be stored.
    PutDelegation(Delegation),
    /// A new review, or one after one event: nothing, or the version before, must be stored.
    PutReview(Review),
    /// What was measured in an account after one more measurement: nothing, or the version before, must be stored.
    PutPropagation(Propagation),
    /// Moves a cursor on, to the audit record with this number. No error when it is there already, or further.
    Advance {
        /// Which cursor.
        cursor: String,
        /// The number of the record.
        seq: u64,
    },
    /// Makes `member` a member of a one-shot counter. No error when it is one already.
    Count {
        /// Which counter.
        counter: String,
        /// Who is counted.
        member: String,
    },
    /// A bundle that was accepted by its signatures: its place must be above every one that was accepted before.
    AcceptSeal(AcceptedSeal),
    /// Uses a grant document up; it must be unused.
    UseDocument {
        /// Its issuer.
        issuer: String,
        /// Its id.
        jti: String,
        /// Its end.
        until: Timestamp,
    },
    /// Forgets the documents that were used and ended before this.
    ForgetDocuments {
        /// When.
        before: Timestamp,
    },
    /// Keeps a policy bundle for ever under its version. No error when it is kept already.
    KeepBundle {
        /// Its version.
        version: PolicyVersion,
        /// The bundle, as it was digested.
        bytes: Vec<u8>,
    },
}

/// A transaction is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The chain's head after it.
    pub head: ChainHead,
}
