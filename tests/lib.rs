//! The stage for black-box tests: a directory, Unix users, real clients, the built daemon. Nothing here knows the inside
//! of the product; everything here panics with what to do when the machine is not as `make setup` leaves it.
#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a stage that breaks must break its test"
)]

mod agent_process;
mod azure_world;
mod caller;
mod checks;
mod daemon;
mod glass_stage;
mod job;
mod manager;
mod scene;
mod user;
mod worker;
mod world;

pub use agent_process::{AgentProcess, FileReader};
pub use azure_world::{AzureVended, AzureWorld, SLOTS as AZURE_SLOTS};
pub use caller::{Answer, Caller, Credentials};
pub use checks::{grow_old, now};
pub use daemon::Daemon;
pub use job::Job;
pub use manager::Manager;
pub use scene::Scene;
pub use user::User;
pub use worker::Worker;
pub use world::{Setup, World};

use std::thread;
use std::time::Duration;

/// Waits until `holds`, looking every 20 ms.
///
/// # Panics
/// It does not hold within `limit`.
pub fn eventually(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let step = Duration::from_millis(20);
    let mut left = limit;
    while !holds() {
        left = left.checked_sub(step).unwrap_or_else(|| panic!("not within {limit:?}: {what}"));
        thread::sleep(step);
    }
}
