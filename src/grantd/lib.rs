//! The daemon that turns an approved grant into a short-lived credential, room by room.

pub mod api;
pub mod attest;
pub mod broker;
pub mod config;
pub mod doctor;
pub mod failpoint;
pub mod policy;
pub mod run;
pub mod startup;
pub mod store;
pub mod sys;
