//! The daemon that turns an approved grant into a short-lived credential, room by room.

pub mod config;
pub mod policy;
pub mod store;
pub mod sys;
