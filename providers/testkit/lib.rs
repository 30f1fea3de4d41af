//! Test support for whoever talks to a cloud: a proxy that delays, breaks and lies, fakes of AWS and Azure that refuse
//! what the vendors refuse, and handles on MiniStack and on the account that the tests use. Nothing here is part of the product.
//!
//! Every handle is synchronous and runs its server on a thread of its own, so it serves plain and async tests alike.
#![forbid(unsafe_code)]

mod account;
pub mod conformance;
mod fakeazure;
mod fakecloud;
mod fakedesk;
mod fakests;
mod faultproxy;
mod files;
mod gcp;
mod ministack;
mod process;
mod query;
mod seaweedfs;
mod serve;
#[cfg(test)]
mod testing;
mod testissuer;
mod tls;

pub use account::{Account, Keys, Prober, Sight, probe};
pub use fakeazure::{
    FakeApplication, FakeAssignment, FakeAzure, FakeAzureSettings, FakeFault, FakeFederation, FakeRequest,
    FakeRoleDefinition,
};
pub use fakecloud::{FakeCloud, Flaw};
pub use fakedesk::{DESK_BASIC, DESK_BEARER, DESK_OPSGENIE, DESK_PAGERDUTY, DeskFault, DeskTicket, FakeDesk};
pub use fakests::{FakeRole, FakeSts, FakeStsSettings};
pub use faultproxy::{Fault, FaultProxy, InvalidRule, Record, Rule, RuleId, RuleState, Session};
pub use files::FileServer;
pub use gcp::{FakeGoogle, Signer, gcp_environment};
pub use ministack::{
    MiniStack, aws_environment, azure_environment, catalog_environment, clouds_environment, desk_environment,
    iam_packages, ministack_environment, repository_root,
};
pub use process::{Finished, guarded, run, spawn_on_keeper};
pub use seaweedfs::{SeaweedFs, Trusted};
pub use testissuer::TestIssuer;
