//! The words of `grantctl policy`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::words::Thing;

/// What follows `grantctl policy --help`.
pub const HELP: &str = "\
check, test, statement and replay are done by the grantd that is installed beside grantctl, or by the one that --grantd
names; no daemon has to run for them. Exit codes beside the usual ones: 20 when a problem was found or a case failed, 21
when recorded decisions would come out otherwise.

A bundle is signed by those whom policy.signers of grantd.toml lists. Each of them runs, with a key of their own:

    grantctl policy statement DIR > statement
    ssh-keygen -Y sign -n grantd-policy -f ~/.ssh/id_ed25519 statement
    cp statement.sig DIR/signatures/NAME.sig";

/// Work on policy.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Look for mistakes in a bundle: types, names of nothing, rules that never match, approvals that nobody can give.
    Check(Offline),
    /// Run the cases beside the policies, `tests/*.toml`, and find the rules that none is decided by.
    Test {
        /// The bundle.
        #[command(flatten)]
        offline: Offline,
        /// Let rules be that no case is decided by.
        #[arg(long)]
        untried: bool,
    },
    /// Print what signers sign.
    Statement(Offline),
    /// Decide again what was decided, under another bundle, and say what would change. For auditors and administrators,
    /// unless the records are in a file.
    Replay(Replay),
    /// Say which rules decide about a grant, on which facts, what is missing and who can approve it.
    Explain {
        /// The grant's id, or `auto` for your one active grant.
        grant: Thing,
    },
    /// Print, or write into a directory, a bundle that was in force once. For auditors and administrators.
    Show {
        /// Its digest, as records and `status` tell it.
        digest: String,
        /// Where to write its files; the directory must not be there.
        #[arg(long, value_name = "DIR")]
        into: Option<PathBuf>,
    },
}

/// A bundle in a directory.
#[derive(Debug, Args)]
pub struct Offline {
    /// The bundle's directory.
    #[arg(default_value = "/etc/grantd/policy", value_name = "DIR")]
    pub dir: PathBuf,
    /// The entitlement maps, where they are not in the bundle's own `entitlements`.
    #[arg(long, value_name = "DIR")]
    pub entitlements: Option<PathBuf>,
    /// The grantd that does it; the one beside grantctl when left out. It is never looked for.
    #[arg(long, value_name = "PATH")]
    pub grantd: Option<PathBuf>,
}

/// Decide again.
#[derive(Debug, Args)]
pub struct Replay {
    /// The other bundle.
    #[arg(long, value_name = "DIR")]
    pub bundle: PathBuf,
    /// Records as JSON lines, such as `audit tail --json` prints (`-` for standard input), and not the daemon's.
    #[arg(long, value_name = "FILE")]
    pub records: Option<PathBuf>,
    /// Only what was decided at or after this moment, or in this time until now, e.g. `720h`.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// The entitlement maps, where they are not in the bundle's own `entitlements`.
    #[arg(long, value_name = "DIR")]
    pub entitlements: Option<PathBuf>,
    /// The grantd that does it; the one beside grantctl when left out. It is never looked for.
    #[arg(long, value_name = "PATH")]
    pub grantd: Option<PathBuf>,
}
