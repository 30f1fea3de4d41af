//! The events of an ordinary day - a job that is rerun, a matrix, a cancellation, a reboot, an upgrade, a change of policy -
//! each from end to end with real clients through `grantctl exec` or `credential-process`.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that breaks must say so"
)]

mod cancelled;
mod catalog;
mod extended;
mod job;
mod policy;
mod reboot;
mod stage;
mod upgrade;
