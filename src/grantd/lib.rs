//! The daemon that turns an approved grant into a short-lived credential.

pub mod sys;
