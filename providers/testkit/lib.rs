//! Test support for whoever talks to a cloud: a proxy that delays, breaks and lies, a fake STS and IAM that refuse what
//! AWS refuses, and handles on MiniStack and on the account that the tests use. Nothing here is part of the product.
//!
//! Every handle is synchronous and runs its server on a thread of its own, so it serves plain and async tests alike.
#![forbid(unsafe_code)]

mod account;
mod fakests;
mod faultproxy;
mod ministack;
mod process;
mod query;
mod serve;
#[cfg(test)]
mod testing;

pub use account::{Account, Keys, Prober, Sight, probe};
pub use fakests::{FakeRole, FakeSts, FakeStsSettings};
pub use faultproxy::{Fault, FaultProxy, InvalidRule, Record, Rule, RuleId, RuleState, Session};
pub use ministack::{MiniStack, aws_environment, clouds_environment, ministack_environment, repository_root};
pub use process::{Finished, guarded, run, spawn_on_keeper};
