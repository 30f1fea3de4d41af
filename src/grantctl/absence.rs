//! The part of the command line that lends a voice.

use std::fmt;
use std::str::FromStr;

use clap::{Args, Subcommand};
use jiff::Timestamp;

use crate::words::{is_id, moment};

/// Let another person approve for you while you are away; or list what is lent, or take it back.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Delegate {
    /// Instead of lending.
    #[command(subcommand)]
    pub what: Option<Delegation>,
    /// The person who is to approve for you, by the name in the people table.
    #[arg(long, value_name = "NAME", requires = "until")]
    pub to: Option<String>,
    /// Until when, e.g. `2026-11-22T09:00:00Z`.
    #[arg(long, value_name = "TIME", value_parser = moment, requires = "to")]
    pub until: Option<Timestamp>,
    /// On this resource only.
    #[arg(long, value_name = "NAME", requires = "to")]
    pub resource: Option<String>,
}

/// What to do with delegations.
#[derive(Debug, Subcommand)]
pub enum Delegation {
    /// List those that you made or were given, newest first.
    List {
        /// Those that are over, too.
        #[arg(long)]
        over: bool,
    },
    /// Take one back: what was approved by it does not count any more.
    Revoke {
        /// Which.
        id: DelegationName,
    },
}

/// A delegation's id as far as the command line can tell. It is safe as a path segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelegationName(String);

impl FromStr for DelegationName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || "a delegation's id begins with delegation-; grantctl delegate list lists them".to_owned();
        is_id(text, "delegation").then(|| Self(text.to_owned())).ok_or_else(wrong)
    }
}

impl fmt::Display for DelegationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::Cli;

    #[test]
    fn a_delegation_names_who_and_until_when() {
        let accepted = |line: &str| Cli::try_parse_from(line.split(' ')).is_ok();
        assert!(accepted("grantctl delegate --to otto --until 2026-11-22T09:00:00Z"));
        assert!(accepted("grantctl delegate --to otto --until 2026-11-22T09:00:00Z --resource ledger"));
        assert!(accepted("grantctl delegate list --over"));
        assert!(accepted("grantctl delegate revoke delegation-aa1"));
        assert!(!accepted("grantctl delegate --to otto"));
        assert!(!accepted("grantctl delegate --until 2026-11-22T09:00:00Z"));
        assert!(!accepted("grantctl delegate revoke ../status"));
        assert!(!accepted("grantctl delegate list --to otto"));
    }
}
