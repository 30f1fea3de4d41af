//! The part of the command line that says what a freeze, or a revocation of many at once, is about.

use std::fmt;
use std::str::FromStr;

use clap::Args;

use crate::words::is_id;

/// What is meant: at most one of them.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[group(id = "cover", multiple = false)]
pub struct Cover {
    /// Everything.
    #[arg(long)]
    pub all: bool,
    /// Whatever this host's daemon vends.
    #[arg(long)]
    pub host: bool,
    /// A person or a workload, by its name in people.toml.
    #[arg(long, value_name = "NAME")]
    pub subject: Option<String>,
    /// A resource, by its name in the catalogue.
    #[arg(long, value_name = "NAME")]
    pub resource: Option<String>,
}

/// Stop vending.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").args(["all", "host", "subject", "resource"]).required(true)))]
pub struct Freeze {
    /// What.
    #[command(flatten)]
    pub cover: Cover,
    /// Why; the audit keeps it, and whoever is stopped reads it.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// End the sessions that it covers too, and revoke their grants.
    #[arg(long)]
    pub revoke: bool,
}

/// A freeze's id as far as the command line can tell. It is safe as a path segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreezeName(String);

impl FromStr for FreezeName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || "a freeze's id begins with freeze-; grantctl freezes lists them".to_owned();
        is_id(text, "freeze").then(|| Self(text.to_owned())).ok_or_else(wrong)
    }
}

impl fmt::Display for FreezeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::Cli;

    fn accepted(words: &str) -> bool {
        Cli::try_parse_from(words.split(' ')).is_ok()
    }

    #[test]
    fn one_thing_is_frozen_at_a_time_and_never_nothing() {
        assert!(accepted("grantctl freeze --all --reason leak"));
        assert!(accepted("grantctl freeze --subject deploy --reason leak --revoke"));
        assert!(!accepted("grantctl freeze --reason leak"));
        assert!(!accepted("grantctl freeze --all --host --reason leak"));
        assert!(!accepted("grantctl freeze --all"));
    }

    #[test]
    fn revoke_takes_an_id_or_says_what_it_covers() {
        assert!(accepted("grantctl revoke --resource reports --reason leak"));
        assert!(accepted("grantctl revoke grant-aguhjfj3y5z7x4q5wmqyhz4fme --reason leak"));
        assert!(!accepted("grantctl revoke grant-aguhjfj3y5z7x4q5wmqyhz4fme --all --reason leak"));
        assert!(!accepted("grantctl revoke --reason leak"));
    }
}
