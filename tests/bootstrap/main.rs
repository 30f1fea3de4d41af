//! What `grantctl bootstrap azure` and `bootstrap gcp` print: it is read as Terraform reads it, its conditions are evaluated,
//! and it is all that a daemon needs which is then started on what it makes - for the commented examples of `grantd.toml`, and
//! for several accounts that share what accounts can share.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that breaks must say so"
)]

#[path = "../catalog/abac.rs"]
#[allow(dead_code, reason = "the catalogue's tests need the rest")]
mod abac;
mod azure;
mod gcp;
mod printed;
mod proved;
mod sabotaged;
mod stage;
