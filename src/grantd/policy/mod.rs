//! What policy says: a bundle of Cedar policies with its schema, catalogue, people and entitlement maps, and the
//! decision it gives on a question.
//!
//! Pure: files come through what the loader is passed, time and every fact through the question. Whatever goes wrong
//! on the way to a decision is a denial. Limits on duration and TTL are returned as obligations, and whoever acts on
//! the decision keeps them.

mod annotations;
mod bundle;
mod cases;
mod certain;
mod checkout;
mod engine;
mod glass;
mod inputs;
mod lint;
mod question;
mod references;
mod refusal;
mod replay;
mod scenes;
mod seal;

#[cfg(test)]
mod bundle_tests;
#[cfg(test)]
mod engine_tests;
#[cfg(test)]
mod examples_tests;
#[cfg(test)]
mod glass_tests;
#[cfg(test)]
mod proposal_tests;
#[cfg(test)]
mod signal_tests;

pub use bundle::{Bundle, BundleError};
pub use cases::{Failed, Tried, run as try_cases};
pub use engine::Needs;
pub use glass::NOT_ENROLLED;
pub use question::{AnchorKind, Facts, Isolation, Question, Timing};
pub use refusal::{DEFAULT_DENY, POLICY_ERROR, SIGNAL};
pub use replay::Again;
pub use scenes::Asking;
pub use seal::{NAMESPACE, Seal, Sealed, Signers};
