//! What every cloud adapter implements, and the few types that cross that wall: secrets, entitlements,
//! plans, clock and ids. No SDK, no runtime, no I/O.
#![forbid(unsafe_code)]

mod assertion;
mod breaker;
mod clock;
mod doctor;
mod entitlement;
mod error;
mod id;
mod plan;
mod provider;
mod secret;
pub mod setting;

pub use assertion::{Assertion, Assertions, NoAssertions, Passport, Passports, Signed};
pub use breaker::{BREAK_AFTER, Breaker, PAUSE, Purpose};
pub use clock::{Clock, SystemClock};
pub use doctor::{AccountNeeds, Finding, Need, Standing, Trial};
pub use entitlement::{
    Capability, CapabilityMap, Carrier, Cloud, Entitlement, Expiry, InvalidName, Narrowing, NativeRole, NativeRule,
    Permission, Persistence, ResourceRef, Revocation,
};
pub use error::{ErrorKind, Fault, ProviderError};
pub use id::{Id, IdKind, IdSource, LeaseId, LeaseKind, ParseIdError, RandomIds};
pub use plan::{Ending, Plan};
pub use provider::{
    AccountHealth, AzureToken, Bearer, Capabilities, Confirmation, Credential, DenyEntry, DenyForm, DenyScope,
    IssueRequest, Issued, Mark, Origin, Placement, Provider, RevokeReceipt, Target,
};
pub use secret::Secret;
