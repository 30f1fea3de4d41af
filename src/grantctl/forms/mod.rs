//! The forms in which each cloud's clients read a credential. Pure: what is served where is `exec`'s and the commands'.

pub(crate) mod aws;
pub(crate) mod azure;
pub(crate) mod gcp;
pub(crate) mod kubernetes;
mod sigv4;
pub(crate) mod token;
