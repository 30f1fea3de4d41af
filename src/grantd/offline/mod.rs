//! `grantd policy …`: what can be done with a bundle without a daemon - check it, run its cases, say what is to be
//! signed, and decide again what was decided. It reads files, asks nobody, writes nothing, and trusts nothing it reads:
//! it is for whoever writes policy, and for CI.

mod approvers;
mod load;
mod replay;
mod report;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use load::Loaded;

/// The command line or a file cannot be read.
const USAGE: u8 = 2;
/// The bundle is wrong, a case failed, or a seal does not hold. `grantctl` passes these codes on.
const FOUND: u8 = 20;

/// Recorded decisions would come out otherwise.
const CHANGES: u8 = 21;

/// What to do without a daemon.
#[derive(Debug, Subcommand)]
pub enum Offline {
    /// Check, test and sign policy bundles.
    #[command(subcommand)]
    Policy(Policy),
}

/// What to do with a bundle.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Look for mistakes: types, names of nothing, rules that never match, approvals that nobody can give.
    Check(Source),
    /// Run the cases beside the policies, `tests/*.toml`.
    Test {
        /// The bundle.
        #[command(flatten)]
        source: Source,
        /// Let rules be that no case is decided by.
        #[arg(long)]
        untried: bool,
    },
    /// Decide again what was decided, under another bundle, and say what would change.
    Replay {
        /// The other bundle.
        #[arg(long, value_name = "DIR")]
        bundle: PathBuf,
        /// The audit, as JSON lines; `-` for standard input.
        #[arg(long, value_name = "FILE")]
        records: PathBuf,
        /// Only what was decided at or after this moment, or in this time until now, e.g. `720h`.
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// The entitlement maps, where they are not in the bundle's own `entitlements`.
        #[arg(long, value_name = "DIR")]
        entitlements: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print what signers sign: `grantd policy statement DIR | ssh-keygen -Y sign -n grantd-policy -f KEY`.
    Statement(Source),
}

/// Where the bundle is.
#[derive(Debug, Args)]
pub struct Source {
    /// The bundle's directory.
    #[arg(default_value = "/etc/grantd/policy", value_name = "DIR")]
    pub dir: PathBuf,
    /// The entitlement maps, where they are not in the bundle's own `entitlements`.
    #[arg(long, value_name = "DIR")]
    pub entitlements: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Why a command did not come to its end: the exit code, and a line.
type Failure = (u8, String);

/// Does it.
#[must_use]
pub fn run(command: &Offline) -> ExitCode {
    let Offline::Policy(command) = command;
    let done = match command {
        Policy::Check(source) => check(source),
        Policy::Test { source, untried } => test(source, *untried),
        Policy::Replay { bundle, records, since, entitlements, json } => {
            let source = Source { dir: bundle.clone(), entitlements: entitlements.clone(), json: *json };
            replay::replay(&source, records, since.as_deref())
        }
        Policy::Statement(source) => statement(source),
    };
    let code = done.unwrap_or_else(|(code, line)| {
        // When standard error is gone there is nobody left to tell.
        let _ = writeln!(io::stderr(), "grantd: {line}");
        code
    });
    ExitCode::from(code)
}

fn check(source: &Source) -> Result<u8, Failure> {
    let Loaded { bundle, users_hold, notes } = load::bundle(source)?;
    let mut findings = bundle.lint(users_hold);
    findings.extend(approvers::unmet(&bundle, users_hold));
    if bundle.tests.is_empty() {
        findings.push(report::no_cases());
    }
    report::findings(&bundle, &findings, &notes, source.json)
}

fn test(source: &Source, untried: bool) -> Result<u8, Failure> {
    let Loaded { bundle, notes, .. } = load::bundle(source)?;
    let cases = bundle.tests.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    let mut tried = crate::policy::try_cases(&bundle, cases).map_err(|problem| (FOUND, problem))?;
    if tried.passed == 0 && tried.failed.is_empty() {
        return Err((FOUND, format!("{}/tests: no case at all: write one for each rule", source.dir.display())));
    }
    if untried {
        tried.untried.clear();
    }
    report::tried(&bundle, &tried, &notes, source.json)
}

fn statement(source: &Source) -> Result<u8, Failure> {
    let Loaded { bundle, .. } = load::bundle(source)?;
    let statement = bundle.seal.statement().map_err(|problem| (FOUND, problem))?;
    report::print(&statement)
}
