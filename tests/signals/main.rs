//! Facts that are looked up when policy decides (promise P6): tickets, who is on call, change windows and freezes. What
//! cannot be had is denied with its source named, and holds up nobody else (promise P11).
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that breaks must say so"
)]

mod clients;
mod doctor;
mod lasting;
mod lies;
mod rota;
mod stage;
mod tickets;
mod windows;
