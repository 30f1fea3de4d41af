//! The daemon that turns an approved grant into a short-lived credential, room by room.

pub mod api;
pub mod attest;
pub mod broker;
pub mod config;
pub mod doctor;
pub mod document;
pub mod failpoint;
pub mod issuer;
pub mod manual;
pub mod metrics;
pub mod notify;
pub mod offline;
pub mod policy;
pub mod pulse;
pub mod run;
pub mod signal;
pub mod sshsig;
pub mod startup;
pub mod store;
pub mod sys;
pub mod watchdog;
