//! What setting up and looking over an account needs: the words between the daemon, which knows what may be asked for,
//! and an adapter, which knows its cloud.

use crate::{Capability, Plan};

/// One capability that can be asked for on one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// The catalogue's name of the resource.
    pub resource: String,
    /// What can be asked for on it.
    pub capability: Capability,
    /// What that is in the cloud, on the whole resource.
    pub plan: Plan,
}

/// One account that is to be set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountNeeds {
    /// Its configured name.
    pub account: String,
    /// The native name of the identity that the daemon uses there, if it exists already and the configuration cannot
    /// tell.
    pub base: Option<String>,
    /// Everything that can be asked for in it.
    pub needs: Vec<Need>,
}

/// How one thing that was looked at stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// As it should be.
    Ok,
    /// It was not looked at, so nothing is known of it: never to be taken for good.
    NotChecked,
    /// It works, and is not as it should be.
    Warning,
    /// It does not work, or is dangerous.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at: an account, a role, a policy.
    pub about: String,
    /// For what: a stable name such as `role.boundary`.
    pub check: &'static str,
    /// How it stands.
    pub standing: Standing,
    /// What was found, in words. Never secret.
    pub found: String,
    /// What to change, unless nothing has to be.
    pub fix: Option<String>,
}

/// What a session was seen to be able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trial {
    /// The cloud let it.
    Allowed,
    /// The cloud refused for want of rights.
    Refused,
}

impl Finding {
    /// As it should be.
    pub fn ok(about: impl Into<String>, check: &'static str, found: impl Into<String>) -> Self {
        Self { about: about.into(), check, standing: Standing::Ok, found: found.into(), fix: None }
    }

    /// Not as it should be, with what to change.
    pub fn bad(
        about: impl Into<String>,
        check: &'static str,
        standing: Standing,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        let about = about.into();
        let found = without(&about, found.into());
        Self { about, check, standing, found, fix: Some(fix.into()) }
    }

    /// Nothing is known of it, and why.
    pub fn not_checked(about: impl Into<String>, check: &'static str, why: impl Into<String>) -> Self {
        let about = about.into();
        let found = without(&about, why.into());
        Self { about, check, standing: Standing::NotChecked, found, fix: None }
    }
}

/// What was found, without the name that stands before it anyway: errors begin with it.
fn without(about: &str, found: String) -> String {
    match found.strip_prefix(about).and_then(|rest| rest.strip_prefix(": ")) {
        Some(rest) => rest.to_owned(),
        None => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_does_not_say_twice_what_it_is_about() {
        let finding = Finding::not_checked("account \"main\"", "clock", "account \"main\": no answer");
        assert_eq!(finding.found, "no answer");
        assert_eq!(Finding::not_checked("account \"main\"", "clock", "no answer").found, "no answer");
    }
}
