//! The part of the command line that asks for access, finds what was asked for, and says yes to it.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use crate::detail::Detail;
use crate::words::{GrantName, moment, whole_seconds};

/// Ask for a grant.
#[derive(Debug, Args)]
pub struct Request {
    /// The catalogue's name of the resource.
    #[arg(long)]
    pub resource: String,
    /// What is wanted on it, e.g. `object-storage:read`.
    #[arg(long = "can", value_name = "CAPABILITY")]
    pub capability: String,
    /// How long, e.g. `30m` or `1h 30m`; with --every, each time.
    #[arg(long = "for", value_name = "DURATION", value_parser = whole_seconds)]
    pub duration_seconds: u64,
    /// Why, in a sentence.
    #[arg(long, value_name = "TEXT")]
    pub why: String,
    /// What narrows it, and what it is for.
    #[command(flatten)]
    pub detail: Detail,
    /// Open it again and again, such as every `24h` for a nightly pipeline: from the start of one time to the next.
    #[arg(long, value_name = "DURATION", value_parser = whole_seconds, requires = "times")]
    pub every: Option<u64>,
    /// How many times in all, with --every.
    #[arg(long, value_name = "N", requires = "every")]
    pub times: Option<u32>,
    /// Not before this moment, e.g. `2026-11-22T09:00:00Z`.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub not_before: Option<Timestamp>,
    /// Who will use it, by the configured name; yourself when left out.
    #[arg(long, value_name = "NAME")]
    pub subject: Option<String>,
}

/// Approve what waits on a grant.
#[derive(Debug, Args)]
pub struct Approve {
    /// The grant's id.
    pub grant: GrantName,
    /// What you want to have on record with it.
    #[arg(long, value_name = "TEXT")]
    pub comment: Option<String>,
    /// Approve only what has this digest, which you saw before; nothing is asked.
    #[arg(long, value_name = "DIGEST")]
    pub digest: Option<String>,
    /// In which capacity only, if you have several: `owner`, `security`, `steward`, `delegated_admin` or
    /// `enrolled`.
    #[arg(long, value_name = "CAPACITY")]
    pub capacity: Option<String>,
    /// Show what it is in the cloud's own form too.
    #[arg(long)]
    pub native: bool,
    /// Do not ask: approve what is shown.
    #[arg(long)]
    pub yes: bool,
    /// Sign the approval with this SSH key, a private key or the public half of one that an agent holds: `ssh-keygen` is
    /// asked to.
    #[arg(long, value_name = "FILE", conflicts_with = "comment")]
    pub key: Option<PathBuf>,
    /// How long what was signed may be handed in.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = whole_seconds)]
    pub valid_for: u64,
    /// Hand in an approval that somebody signed: what `review-request` or `sign` printed, or `X.sig` beside `X`.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["comment", "digest", "capacity", "native", "yes", "key"]
    )]
    pub signature: Option<PathBuf>,
}

/// Ask for more time.
#[derive(Debug, Args)]
pub struct Extend {
    /// The grant's id.
    pub grant: GrantName,
    /// How much longer than its present end, e.g. `30m`.
    #[arg(long = "for", value_name = "DURATION", value_parser = whole_seconds)]
    pub duration_seconds: u64,
    /// Why, in a sentence.
    #[arg(long, value_name = "TEXT")]
    pub why: String,
}

/// List grants.
#[derive(Debug, Args)]
pub struct List {
    /// Those of others on which something waits that you can approve.
    #[arg(long, conflicts_with = "all")]
    pub approvable: bool,
    /// Those of everybody; for administrators and auditors.
    #[arg(long)]
    pub all: bool,
    /// Only these states, separated by commas.
    #[arg(long)]
    pub state: Option<String>,
    /// Only this resource.
    #[arg(long)]
    pub resource: Option<String>,
    /// At most this many.
    #[arg(long, value_name = "N")]
    pub limit: Option<u32>,
}
