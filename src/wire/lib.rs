//! The HTTP API's types and problem details, version 1; serde only.
//!
//! Every time is RFC 3339 in UTC, every duration is in whole seconds. Unknown members of a request are refused.
#![forbid(unsafe_code)]

mod anchor;
mod audit;
mod delegation;
mod doctor;
mod document;
mod drain;
mod freeze;
mod grant;
mod issuer;
mod lease;
mod policy;
mod problem;
mod report;
mod review;
mod status;

pub use anchor::{AnchorCreate, AnchorView};
pub use audit::{AuditPage, AuditQuery};
pub use delegation::{DelegationCreate, DelegationList, DelegationQuery, DelegationView};
pub use doctor::{
    BootstrapQuery, DoctorEvent, DoctorQuery, FindingView, ProofView, PropagationView, ProveRequest, TallyView,
};
pub use document::{ExportRequest, ExportView, ImportRequest, ImportedView};
pub use drain::DrainView;
pub use freeze::{CoverBody, CoverRequest, FreezeList, FreezeQuery, FreezeView, MassRevoked, ThawRequest, ThawView};
pub use grant::{
    ApprovalView, ApproveRequest, DenyRequest, EndRequest, EscalationView, ExtendRequest, ExtensionFile, ExtensionView,
    GivenApprovalView, GrantCreate, GrantList, GrantQuery, GrantView, NarrowingBody, OccurrenceView, PlanView,
    QuorumView, RecurrenceBody, RequestFile, SignedBody, SubjectView, TaskBody,
};
pub use issuer::{DocumentView, IssuerDocuments, IssuerList, IssuerView, KeyView, PublishedRequest, RotateRequest};
pub use lease::{
    AnchorChoice, AzureTokenBody, CredentialBody, HoldEvent, LeaseList, LeaseQuery, LeaseView, Vend, Vended,
};
pub use policy::{AnswerView, BundleView, ExplainView, RefusalView, SealView};
pub use problem::{Problem, ProblemKind};
pub use report::{ProposalView, RepetitionView, ReportQuery, ReportView};
pub use review::{GlassCreate, GlassView, ReviewComplete, ReviewList, ReviewQuery, ReviewView};
pub use status::{AccountStatus, RevocationStatus, Status};

/// The media type of [`Problem`] (RFC 9457).
pub const PROBLEM_JSON: &str = "application/problem+json";

/// The media type of a held vend: one JSON document a line.
pub const NDJSON: &str = "application/x-ndjson";
