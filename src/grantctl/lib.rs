//! The command line of grantd and its client library.
//!
//! Light on purpose: no SDK, no store, no policy engine. It decides nothing; it asks the daemon over its Unix socket
//! and says what came back. A credential goes to standard output and nowhere else (promise P9).
#![forbid(unsafe_code)]

pub mod absence;
mod agent;
pub mod asking;
pub mod bundle;
pub mod cli;
pub mod client;
pub mod clock;
mod commands;
pub mod cover;
pub mod detail;
pub mod elsewhere;
mod exec;
pub mod exit;
pub mod fetch;
mod forms;
pub mod glass;
mod owned;
pub mod paint;
mod print;
mod secret;
mod transport;
pub mod words;

#[cfg(test)]
mod output_tests;
#[cfg(test)]
mod testserver;

pub use commands::{Context, run};
