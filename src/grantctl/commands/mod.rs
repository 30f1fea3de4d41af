//! What each command does: ask, and say what came back.

mod anchor;
mod approvals;
mod approve;
mod audit;
mod choose;
mod configure;
mod delegate;
mod doctor;
mod document;
mod drain;
mod elsewhere;
mod end;
mod freeze;
mod grant;
mod issuer;
mod kubectl;
mod lease;
mod local;
mod policy;
mod report;
mod review;
mod signing;
mod status;
mod token;
mod vend;

pub(crate) use approvals::people;

use std::fmt;
use std::io::Write;

use jiff::Timestamp;

use crate::agent;
use crate::cli::{Audit, Command};
use crate::client::{Answer, Client};
use crate::exec;
use crate::exit::Failure;
use crate::paint;
use crate::print::{clean, write};
use crate::words::Thing;

/// What a command works with.
pub struct Context<'a> {
    /// The daemon.
    pub client: Client,
    /// Print exactly what the daemon answered.
    pub json: bool,
    /// The present moment, for distances in time.
    pub now: Timestamp,
    /// Standard output. Whatever buffers it would keep a copy of a credential.
    pub out: &'a mut dyn Write,
    /// Standard error.
    pub err: &'a mut dyn Write,
    /// Whether a person is looking at standard output.
    pub out_is_terminal: bool,
    /// Whether a person is looking at standard error.
    pub err_is_terminal: bool,
    /// Whether tables and facts on standard output are coloured.
    pub color: bool,
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("client", &self.client).field("json", &self.json).finish_non_exhaustive()
    }
}

impl Context<'_> {
    /// Prints `text` for people, or the answer itself when that is wanted.
    fn answer<T>(&mut self, answer: &Answer<T>, text: impl FnOnce(&T, Timestamp) -> String) -> Result<(), Failure> {
        if self.json {
            return self.raw(&answer.raw);
        }
        let text = text(&answer.value, self.now);
        if self.color { self.say(&paint::painted(&text)) } else { self.say(&text) }
    }

    /// Prints the bytes of an answer as one piece that ends with a line break.
    fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let mut line = zeroize::Zeroizing::new(Vec::with_capacity(bytes.len().saturating_add(1)));
        line.extend_from_slice(bytes.trim_ascii_end());
        line.push(b'\n');
        write(self.out, &line)
    }

    fn say(&mut self, text: &str) -> Result<(), Failure> {
        write(self.out, text.as_bytes())
    }

    /// Puts text for people on standard error. That it cannot be said is no reason to fail.
    fn err_text(&mut self, text: &str) {
        let _ = self.err.write_all(text.as_bytes());
    }

    /// Says something on standard error. That it cannot be said is no reason to fail.
    pub(crate) fn note(&mut self, text: &str) {
        let _ = self.err.write_all(format!("grantctl: note: {}\n", clean(text)).as_bytes());
    }
}

/// Does what the command line asks.
///
/// # Errors
/// What to say on standard error, and how to exit.
pub async fn run(context: &mut Context<'_>, command: Command) -> Result<(), Failure> {
    match command {
        Command::Request(asked) => grant::request(context, *asked).await,
        Command::Show { id: Thing::Grant(id) } => grant::show(context, &choose::grant(context, id).await?).await,
        Command::Show { id: Thing::Lease(id) } => lease::show(context, &id).await,
        Command::List(wanted) => grant::list(context, wanted).await,
        Command::Vend(wanted) => vend::vend(context, wanted).await,
        Command::CredentialProcess(wanted) => vend::credential_process(context, wanted).await,
        Command::KubectlToken(wanted) => kubectl::kubectl_token(context, wanted).await,
        Command::GcpToken(wanted) => kubectl::gcp_token(context, wanted).await,
        Command::Token(wanted) => token::token(context, wanted).await,
        Command::Configure(wanted) => configure::configure(context, wanted),
        Command::Exec(wanted) => exec::exec(context, *wanted).await,
        Command::BreakGlass(wanted) => exec::exec(context, wanted.into_exec()).await,
        Command::Review(asked) => review::review(context, asked).await,
        Command::Agent(wanted) => agent::agent(context, *wanted).await,
        Command::ExecChild(wanted) => exec::become_command(&wanted),
        Command::Approve(asked) => approve::approve(context, asked).await,
        Command::Deny { grant, reason, signature } => approve::deny(context, &grant.0, reason, signature).await,
        Command::RequestFile { grant } => elsewhere::request_file(context, &grant.0).await,
        Command::ReviewRequest(asked) => elsewhere::review(context, &asked),
        Command::Sign(asked) => signing::sign(context, &asked),
        Command::Grant(asked) => document::document(context, asked).await,
        Command::Cancel { grant } => approve::cancel(context, &grant.0).await,
        Command::Extend(asked) => approve::extend(context, asked).await,
        Command::Delegate(asked) => delegate::delegate(context, asked).await,
        Command::Attach { pid } => anchor::attach(context, pid).await,
        Command::Detach { anchor } => anchor::detach(context, &anchor).await,
        Command::Complete { id } => end::complete(context, &choose::thing(context, id).await?).await,
        Command::Revoke { id: Some(id), reason, .. } => {
            end::revoke(context, &choose::thing(context, id).await?, reason).await
        }
        Command::Revoke { id: None, cover, reason } => freeze::revoke(context, cover, reason).await,
        Command::Freeze(asked) => freeze::freeze(context, asked.cover, asked.reason, asked.revoke).await,
        Command::Thaw { id, reason } => freeze::thaw(context, &id, reason).await,
        Command::Freezes { lifted } => freeze::list(context, lifted).await,
        Command::Leases(wanted) => lease::list(context, wanted).await,
        Command::Drain => drain::drain(context).await,
        Command::Status => status::status(context).await,
        Command::Bootstrap(wanted) => doctor::bootstrap(context, wanted).await,
        Command::Doctor(wanted) => doctor::doctor(context, wanted).await,
        Command::Issuer(asked) => issuer::issuer(context, asked).await,
        Command::Audit(Audit::Verify { file: Some(file) }) => audit::verify_file(context, &file),
        Command::Audit(Audit::Verify { file: None }) => audit::verify(context).await,
        Command::Audit(Audit::Tail { follow, lines }) => audit::tail(context, lines, follow).await,
        Command::Policy(asked) => policy::policy(context, asked).await,
        Command::Completions { shell } => local::completions(context, shell),
        Command::Man { directory } => local::man(&directory),
    }
}
