//! Telling people and systems what happened.
//!
//! The outbox is the audit chain itself: each target has a place in it, which the store keeps and which moves on only
//! when the target has taken what stands there. So nothing is lost by a crash or by a target that is away, nothing is
//! held in memory, what is told is what is on record, and whatever is told twice bears the same id.

mod command;
mod event;
mod http;
mod outbox;
mod target;

pub use outbox::{Outbox, TargetHealth};
pub use target::Target;
