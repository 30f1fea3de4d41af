//! The part of the command line that judges and signs away from the daemon's host.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::words::{GrantName, whole_seconds};

/// Judge a request file: recompute its digest, show it, and sign a decision on it. Needs no daemon.
#[derive(Debug, Args)]
pub struct ReviewRequest {
    /// What `request-file` wrote; `-` for standard input.
    pub file: PathBuf,
    /// Recompute the plan as well, by this policy bundle of your organisation: its catalogue and its entitlement maps.
    #[arg(long, value_name = "DIR", requires = "config")]
    pub policy: Option<PathBuf>,
    /// With --policy: the `grantd.toml` with the cloud accounts. Secrets that it names need not be there.
    #[arg(long, value_name = "FILE", requires = "policy")]
    pub config: Option<PathBuf>,
    /// With --policy: the `grantd` that plans; nothing of it has to run.
    #[arg(long, value_name = "FILE", default_value = "grantd")]
    pub planner: PathBuf,
    /// How to sign.
    #[command(flatten)]
    pub signing: Signing,
    /// Sign a no in place of a yes.
    #[arg(long)]
    pub deny: bool,
    /// In which capacity, where more than one is needed: `owner`, `security`, `steward` or `delegated_admin`.
    #[arg(long, value_name = "CAPACITY")]
    pub capacity: Option<String>,
    /// Sign only what has this digest, which you saw before; nothing is asked.
    #[arg(long, value_name = "DIGEST")]
    pub digest: Option<String>,
    /// Do not ask: sign what is shown.
    #[arg(long)]
    pub yes: bool,
    /// In place of signing: print the text that is to be signed, for `ssh-keygen -Y sign -n grantd-approval` or `sign`.
    #[arg(long, conflicts_with = "key")]
    pub statement: bool,
}

/// How a decision is signed.
#[derive(Debug, Args)]
pub struct Signing {
    /// The SSH key to sign with, a private key or the public half of one that an agent holds: `ssh-keygen` is asked to. What
    /// was signed goes to standard output.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// How long what was signed may be handed in.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = whole_seconds)]
    pub valid_for: u64,
}

/// Sign a statement that `review-request --statement` printed; prints it with its signature.
#[derive(Debug, Args)]
pub struct Sign {
    /// The statement.
    pub file: PathBuf,
    /// The SSH key to sign with, a private key or the public half of one that an agent holds.
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
}

/// Hand a grant from one host to another, as a signed document.
#[derive(Debug, Subcommand)]
pub enum Grant {
    /// Print a document of an active grant. A grant that may be used a number of times goes to exactly one other host, and
    /// ends here.
    Export {
        /// The grant's id.
        grant: GrantName,
        /// A node that may import it, as `status` says it there; any that trusts this host when left out.
        #[arg(long = "host", value_name = "NODE")]
        hosts: Vec<String>,
    },
    /// Take in a document: of a grant that waits here, or of one that was approved on another host.
    Import {
        /// The document; `-` for standard input.
        file: PathBuf,
    },
    /// Print the JSON Schema of what a document holds.
    Schema,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::Cli;

    #[test]
    fn what_was_signed_stands_alone() {
        let accepted = |line: &str| Cli::try_parse_from(line.split(' ')).is_ok();
        assert!(accepted("grantctl approve grant-aa1 --signature f"));
        assert!(accepted("grantctl approve grant-aa1 --key k --capacity owner --valid-for 1h"));
        for more in ["--comment x", "--capacity owner", "--digest d", "--yes", "--native", "--key k"] {
            assert!(!accepted(&format!("grantctl approve grant-aa1 --signature f {more}")), "{more}");
        }
        assert!(!accepted("grantctl approve grant-aa1 --key k --comment x"), "nobody signs a comment");
        assert!(accepted("grantctl deny grant-aa1 --reason no --signature f"));
        assert!(accepted("grantctl review-request f --key k --deny --capacity owner"));
        assert!(accepted("grantctl review-request - --statement"));
        assert!(!accepted("grantctl review-request f --statement --key k"));
        assert!(!accepted("grantctl sign f"));
    }
}
