//! The manual: how grantd is built, what it protects against, how it is run, and its HTTP API.
//!
//! | page | for |
//! |---|---|
//! | [`architecture`] | whoever wants to know how it works, or changes it |
//! | [`threat_model`] | security: what is promised, and what is not |
//! | [`policy`] | whoever writes policy: checking, testing, replaying, signing and explaining it |
//! | [`operations`] | whoever runs it: installation, backup, and what to do when something is wrong |
//! | [`clients`] | whoever uses what was granted: how AWS's, Azure's, Google's and Kubernetes' own tools fetch it |
//! | [`revocation`] | what "revoked" means, and what a deny does not stop |
//! | [`issuer`] | whoever has clouds, or services, trust tokens of the daemon's own |
//! | [`elsewhere`] | whoever approves away from the host, or has approvals made there |
//! | [`api`] | programs that speak to the socket themselves |
//!
//! The commands' own help (`grantctl --help`), the comments in `grantd.toml`, `people.toml` and `catalog.toml`, and the
//! entitlement maps say the rest.

#[cfg(test)]
#[path = "manual_tests.rs"]
mod tests;

pub mod architecture {
    #![doc = include_str!("architecture.md")]
}

pub mod threat_model {
    #![doc = include_str!("threat_model.md")]
}

pub mod policy {
    #![doc = include_str!("policy.md")]
}

pub mod operations {
    #![doc = include_str!("operations.md")]
}

pub mod clients {
    #![doc = include_str!("clients.md")]
}

pub mod revocation {
    #![doc = include_str!("revocation.md")]
}

pub mod issuer {
    #![doc = include_str!("issuer.md")]
}

pub mod elsewhere {
    #![doc = include_str!("elsewhere.md")]
}

pub mod api {
    #![doc = include_str!("api.md")]
}
