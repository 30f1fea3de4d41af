//! One daemon on every cloud at once: each cloud's own clients, unmodified, by every way that `grantctl` leads them, and the
//! same story on each of them.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that breaks must say so"
)]

mod command;
mod configured;
mod fronts;
mod leftover;
mod stage;
mod story;
