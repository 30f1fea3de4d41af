//! The capability maps: that they say everything, that what they name exists, and that no plan made of them allows
//! anything outside its entitlement. Clouds are not asked; what knows them is: evaluators, linters and published lists.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::expect_used, reason = "tests may")]

mod abac;
mod abac_tests;
mod aws;
mod azure;
mod complete;
mod gcp;
mod maps;
mod roles;
mod tool;
