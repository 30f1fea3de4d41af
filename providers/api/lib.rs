//! What every cloud adapter implements, and the few types that cross that wall: secrets, entitlements,
//! plans, clock and ids. No SDK, no runtime, no I/O.
#![forbid(unsafe_code)]

mod clock;
mod doctor;
mod entitlement;
mod error;
mod id;
mod plan;
mod provider;
mod secret;

pub use clock::{Clock, SystemClock};
pub use doctor::{AccountNeeds, Finding, Need, Standing, Trial};
pub use entitlement::{
    Capability, CapabilityMap, Cloud, Entitlement, InvalidName, Narrowing, NativeRule, Permission, Persistence,
    ResourceRef, Revocation,
};
pub use error::{ErrorKind, Fault, ProviderError};
pub use id::{Id, IdKind, IdSource, LeaseId, LeaseKind, ParseIdError, RandomIds};
pub use plan::Plan;
pub use provider::{
    AccountHealth, Capabilities, Confirmation, Credential, DenyEntry, DenyForm, DenyScope, IssueRequest, Issued,
    Origin, Placement, Provider, RevokeReceipt, Target,
};
pub use secret::Secret;
