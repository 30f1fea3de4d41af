//! The command line. What can be known to be wrong is refused here, before anything is sent.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use grantd_wire::AnchorChoice;

use crate::absence::Delegate;
use crate::agent::args::{Agent, HELP as AGENT_HELP};
use crate::asking::{Approve, Extend, List, Request};
use crate::bundle::{HELP as POLICY_HELP, Policy};
use crate::client::USUAL_SOCKET;
use crate::cover::{Cover, Freeze, FreezeName};
use crate::elsewhere::{Grant, ReviewRequest, Sign};
use crate::exec::args::{Exec, ExecChild, HELP as EXEC_HELP};
use crate::exit::EXIT_CODES;
use crate::fetch::{Configure, CredentialProcess, GcpToken, KubectlToken, Token};
use crate::glass::{BreakGlass, HELP as GLASS_HELP, Review};
use crate::words::{AnchorName, GrantChoice, GrantName, Thing, patience, whole_seconds};

/// Ask grantd for access to one cloud resource, use it, and give it back.
#[derive(Debug, Parser)]
#[command(name = "grantctl", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub struct Global {
    /// The daemon's socket.
    #[arg(long, global = true, env = "GRANTD_SOCKET", value_name = "PATH", default_value = USUAL_SOCKET)]
    pub socket: PathBuf,
    /// Send nothing unless this user id opened the socket: the daemon's, or 0 when systemd opened it.
    #[arg(long, global = true, env = "GRANTD_OWNER", value_name = "UID")]
    pub expect_owner: Option<u32>,
    /// Print exactly what the daemon answered, as JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// Colours on standard output and standard error; `auto` is for terminals, and not where NO_COLOR is set.
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value = "auto")]
    pub color: ColorWhen,
    /// How long to wait for an answer.
    #[arg(long, global = true, value_name = "DURATION", default_value = "60s", value_parser = patience)]
    pub timeout: Duration,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Ask for a grant.
    Request(Box<Request>),
    /// Show a grant with its plan and its leases, or a lease.
    Show {
        /// A grant's or a lease's id, or `auto` for your one active grant.
        id: Thing,
    },
    /// List grants, newest first.
    List(List),
    /// Take a credential under a grant.
    Vend(Vend),
    /// Take a credential in the form that AWS clients read (`credential_process = grantctl credential-process auto`).
    CredentialProcess(CredentialProcess),
    /// Take a token for a Kubernetes cluster in the form that kubectl reads from a credential plugin: EKS, GKE or AKS.
    KubectlToken(KubectlToken),
    /// Take a credential of Google Cloud and print its access token.
    GcpToken(GcpToken),
    /// Take a token of the daemon's own, for an audience, and print it.
    Token(Token),
    /// Have a client fetch its credentials from here, as far as it can be configured to.
    #[command(subcommand)]
    Configure(Configure),
    /// Run a command with a credential that lives as long as the command.
    #[command(after_help = EXEC_HELP)]
    Exec(Box<Exec>),
    /// In an emergency: run a command with access that nobody approved, told to everybody and reviewed afterwards.
    #[command(after_help = GLASS_HELP)]
    BreakGlass(Box<BreakGlass>),
    /// Look at what was done: uses of break-glass, and what is granted again and again.
    #[command(subcommand)]
    Review(Review),
    /// Keep a credential file current for a program that cannot be started under `exec`, for as long as the grant lives.
    #[command(after_help = AGENT_HELP)]
    Agent(Box<Agent>),
    /// What `exec` starts: becomes the command once it is tied to its parent.
    #[command(hide = true)]
    ExecChild(ExecChild),
    /// Approve what waits on a grant: shows it, asks, and sends the digest of exactly what was shown.
    Approve(Approve),
    /// Deny what waits on a grant: a request, or an extension.
    Deny {
        /// The grant's id.
        grant: GrantName,
        /// Why; the requester reads it.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Hand in a no that somebody signed: what `review-request --deny` printed.
        #[arg(long, value_name = "FILE")]
        signature: Option<PathBuf>,
    },
    /// Write what waits on a grant, for an approver who judges and signs it elsewhere.
    RequestFile {
        /// The grant's id.
        grant: GrantName,
    },
    /// Judge a request file: recompute its digest, show it, and sign a decision on it. Needs no daemon.
    ReviewRequest(ReviewRequest),
    /// Sign a statement that `review-request --statement` printed; prints it with its signature.
    Sign(Sign),
    /// Take back a request that waits, or an extension that waits.
    Cancel {
        /// The grant's id.
        grant: GrantName,
    },
    /// Ask for more time for an active grant, whose leases go on meanwhile.
    Extend(Extend),
    /// Hand a grant from one host to another, as a signed document.
    #[command(subcommand)]
    Grant(Grant),
    /// Let another person approve for you while you are away; or list what is lent, or take it back.
    Delegate(Delegate),
    /// Have a process watched: leases taken by it, or by what it starts, end when it exits. Prints the anchor.
    Attach {
        /// An ancestor of this command, of the same user; the calling shell when left out.
        #[arg(long)]
        pid: Option<i32>,
    },
    /// Stop watching a process.
    Detach {
        /// The anchor that `attach` printed.
        anchor: AnchorName,
    },
    /// Say that the work is done: end a grant with its leases, or one lease.
    Complete {
        /// A grant's or a lease's id, or `auto` for your one active grant.
        id: Thing,
    },
    /// Take a grant with its leases, or one lease, away; or everything that is covered, at once.
    Revoke {
        /// A grant's or a lease's id, or `auto` for your one active grant.
        #[arg(required_unless_present = "cover", conflicts_with = "cover")]
        id: Option<Thing>,
        /// What is covered.
        #[command(flatten)]
        cover: Cover,
        /// Why; the audit keeps it.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Stop vending at once, until two people thaw it. What was handed out lives on unless --revoke is given.
    Freeze(Freeze),
    /// Speak for lifting a freeze; the second person's word lifts it.
    Thaw {
        /// The freeze.
        id: FreezeName,
        /// Why it is safe to go on.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// List freezes.
    Freezes {
        /// Lifted ones too.
        #[arg(long)]
        lifted: bool,
    },
    /// List leases, newest first.
    Leases(Leases),
    /// Vend nothing on this host any more and end its leases, as before it goes down; waits, for --timeout at most,
    /// until the cloud took every revocation. A drained grantd vends again after it was restarted.
    Drain,
    /// Say how the daemon is.
    Status,
    /// Print what sets a cloud up for this daemon, as Terraform. It changes nothing. For administrators.
    Bootstrap(Bootstrap),
    /// Look over this host and the cloud accounts, and say what to change. It changes nothing. For administrators.
    Doctor(Doctor),
    /// The daemon's own issuers of tokens and their keys. For administrators.
    #[command(subcommand)]
    Issuer(Issuer),
    /// Read and check the audit.
    #[command(subcommand)]
    Audit(Audit),
    /// Check, test, sign, replay and explain policy.
    #[command(subcommand, after_help = POLICY_HELP)]
    Policy(Policy),
    /// Print what a shell needs to complete command lines: `source <(grantctl completions bash)`.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a directory.
    #[command(hide = true)]
    Man {
        /// Where to; it has to be there.
        directory: PathBuf,
    },
}

/// Take a credential.
#[derive(Debug, Args)]
pub struct Vend {
    /// Under which grant, and for how long.
    #[command(flatten)]
    pub what: Wanted,
    /// Tie the lease to this command: it ends when standard input closes, on SIGTERM or SIGINT, or when this command
    /// dies.
    #[arg(long, conflicts_with = "anchor")]
    pub hold: bool,
    /// What ends the lease early.
    #[arg(long, value_enum, default_value = "auto")]
    pub anchor: AnchorArg,
    /// How to print it. To a terminal a credential is printed only when this or --json says so; elsewhere it is `json`
    /// when left out.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

/// Under which grant, and for how long.
#[derive(Debug, Args)]
pub struct Wanted {
    /// The grant's id, or `auto` for the one active grant that matches you.
    #[arg(default_value = "auto")]
    pub grant: GrantChoice,
    /// The same.
    #[arg(id = "named_grant", long = "grant", value_name = "ID|auto", conflicts_with = "grant")]
    pub named: Option<GrantChoice>,
    /// How long, e.g. `5m`; the daemon's default when left out. More than is allowed is refused, never shortened.
    #[arg(long, value_name = "DURATION", value_parser = whole_seconds)]
    pub ttl: Option<u64>,
    /// With `auto`: only a grant on this resource.
    #[arg(long)]
    pub resource: Option<String>,
}

/// List leases.
#[derive(Debug, Args)]
pub struct Leases {
    /// Only those of this grant, or with `auto` of your one active grant.
    #[arg(long, value_name = "ID|auto")]
    pub grant: Option<GrantChoice>,
    /// Ended ones too.
    #[arg(long)]
    pub ended: bool,
    /// Those of everybody; for administrators and auditors.
    #[arg(long)]
    pub all: bool,
    /// At most this many.
    #[arg(long, value_name = "N")]
    pub limit: Option<u32>,
}

/// Print what sets a cloud up.
#[derive(Debug, Args)]
pub struct Bootstrap {
    /// Which cloud.
    #[arg(value_enum)]
    pub cloud: CloudName,
    /// Only this account of grantd.toml; all of them when left out.
    #[arg(long, value_name = "NAME")]
    pub account: Option<String>,
    /// The IAM user or role that the daemon is, where grantd.toml does not tell; it must exist.
    #[arg(long, value_name = "ARN")]
    pub base: Option<String>,
}

/// Look over this host and the cloud accounts.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Only this account of grantd.toml; all of them when left out.
    #[arg(long, value_name = "NAME")]
    pub account: Option<String>,
    /// Where instance metadata would be: whether this command, as the user that runs it, reaches it.
    #[arg(long, value_name = "IP:PORT", default_value = "169.254.169.254:80")]
    pub metadata: std::net::SocketAddr,
    /// Instead, measure how long a revocation takes: vend two sessions inside the daemon, revoke one, and try it until the
    /// cloud refuses it. What is measured is kept, and the daemon goes by it.
    #[arg(long, value_enum, value_name = "CLOUD")]
    pub prove: Option<CloudName>,
    /// With --prove: the resource to do it with, of tier low; one that fits when left out.
    #[arg(long, requires = "prove")]
    pub resource: Option<String>,
    /// With --prove: the capability on it; one that fits when left out.
    #[arg(long = "can", value_name = "CAPABILITY", requires = "prove")]
    pub capability: Option<String>,
}

/// A cloud that can be set up and looked over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CloudName {
    /// Amazon Web Services.
    Aws,
    /// Microsoft Azure.
    Azure,
    /// Google Cloud.
    Gcp,
    /// Tokens of the daemon's own.
    Oidc,
}

impl CloudName {
    /// The name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Azure => "azure",
            Self::Gcp => "gcp",
            Self::Oidc => "oidc",
        }
    }
}

/// The daemon's own issuers of tokens.
#[derive(Debug, Subcommand)]
pub enum Issuer {
    /// Show the issuers with their keys.
    Show,
    /// Make a new key. It signs once it was published for as long as grantd.toml says.
    Rotate {
        /// Which issuer.
        #[arg(long, value_enum, default_value = "federation")]
        issuer: IssuerName,
        /// The key that signs leaked: the new one signs at once, and the old one is to be published no more.
        #[arg(long)]
        leaked: bool,
    },
    /// Write what is to be served at the issuer's URL into a directory, and tell the daemon that it is served.
    Publish {
        /// The directory that is served at the URL.
        directory: PathBuf,
        /// Which issuer.
        #[arg(long, value_enum, default_value = "federation")]
        issuer: IssuerName,
        /// Write the files only, such as to copy them to where they are served.
        #[arg(long)]
        draft: bool,
    },
}

/// An issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum IssuerName {
    /// Whose tokens clouds take for a session.
    Federation,
    /// Whose tokens are handed out.
    Oidc,
}

impl IssuerName {
    /// The name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Federation => "federation",
            Self::Oidc => "oidc",
        }
    }
}

/// Read and check the audit.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Check the chain of records from the first to the last.
    Verify {
        /// Check the records in this file (JSON lines; `-` for standard input) and not the daemon's.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Print the last records, one a line.
    Tail {
        /// Go on printing records as they are written.
        #[arg(short, long)]
        follow: bool,
        /// How many records to begin with.
        #[arg(short = 'n', long = "lines", value_name = "N", default_value_t = 10)]
        lines: u64,
    },
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorWhen {
    /// On a terminal, unless NO_COLOR is set (no-color.org).
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl ColorWhen {
    /// Whether to, where `terminal` says if a person is looking.
    #[must_use]
    pub fn on(self, terminal: bool) -> bool {
        match self {
            Self::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// How to print a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The daemon's answer: lease, notes and credential.
    Json,
    /// Lines for `eval` in a shell.
    Env,
}

/// What ends a lease early, as the command line says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AnchorArg {
    /// The process that `attach` registered, else nothing but the TTL.
    Auto,
    /// This command itself, which ends as soon as it has printed.
    Caller,
    /// As `auto`; without a registered process the lease may be handed again to commands of the same parent.
    Parent,
}

impl From<AnchorArg> for AnchorChoice {
    fn from(anchor: AnchorArg) -> Self {
        match anchor {
            AnchorArg::Auto => Self::Auto,
            AnchorArg::Caller => Self::Caller,
            AnchorArg::Parent => Self::Parent,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
