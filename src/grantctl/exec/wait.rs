//! Waiting for a grant to become active, and saying who can make it so.

use std::io::Write;
use std::time::Duration;

use grantd_wire::{GrantView, QuorumView};
use jiff::Timestamp;

use super::keeper::Clock;
use crate::client::{Client, ClientError};
use crate::commands::people;
use crate::exit::{Exit, Failure};
use crate::print::{clean, relative, span, to_second};

/// How to wait.
#[derive(Debug)]
pub(super) struct Wait<'a> {
    pub client: &'a Client,
    pub now: Clock,
    /// Between two looks.
    pub pause: Duration,
    /// In all.
    pub limit: Duration,
    /// Whether standard error is a terminal: then one line is kept up to date, else a line is written per change.
    pub terminal: bool,
}

impl Wait<'_> {
    /// Waits until the grant is active.
    ///
    /// # Errors
    /// When it will not be, or is not in time.
    pub(super) async fn until_active(&self, mut grant: GrantView, err: &mut dyn Write) -> Result<GrantView, Failure> {
        let mut progress = Progress { terminal: self.terminal, shown: String::new(), err };
        let id = grant.id.clone();
        let work = async {
            loop {
                match grant.state.as_str() {
                    "active" => return Ok(grant.clone()),
                    "pending" | "scheduled" => {}
                    _ => return Err(will_not(&grant)),
                }
                let now = (self.now)();
                progress.show(&stage(&grant), &countdown(&grant, now));
                tokio::time::sleep(self.pause).await;
                match self.client.get::<_, GrantView>(&format!("/v1/grants/{id}"), &()).await {
                    Ok(answer) => grant = answer.value,
                    // It comes back, or the limit is reached.
                    Err(error) if passing(&error) => progress.show(&error.to_string(), ""),
                    Err(error) => return Err(error.into()),
                }
            }
        };
        let done = tokio::time::timeout(self.limit, work).await;
        drop(progress);
        done.unwrap_or_else(|_| {
            Err(Failure::new(
                Exit::State,
                format!(
                    "{id} is not active after {}: it stays requested (next: grantctl exec --grant {id} -- COMMAND)",
                    span(self.limit.as_secs())
                ),
            ))
        })
    }
}

fn passing(error: &ClientError) -> bool {
    match error {
        ClientError::Problem(problem) => problem.retryable,
        other => other.is_absence() || matches!(other, ClientError::TimedOut { .. }),
    }
}

fn will_not(grant: &GrantView) -> Failure {
    let reason = grant.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let (exit, next) = match grant.state.as_str() {
        "denied" => (Exit::Denied, ""),
        "lapsed" => (Exit::State, " (next: request it again, and tell who can approve)"),
        _ => (Exit::State, " (next: grantctl request)"),
    };
    Failure::new(exit, format!("{} is {}{reason}{next}", grant.id, grant.state))
}

/// What is waited for; the same until something changes.
fn stage(grant: &GrantView) -> String {
    let id = &grant.id;
    if grant.state == "scheduled" {
        let at = grant.active_since.as_deref().map(|at| format!(" at {}", absolute_moment(at))).unwrap_or_default();
        return format!("{id} begins{at}");
    }
    let Some(approval) = &grant.approval else { return format!("{id} waits for its approval") };
    let open: Vec<String> = approval.quorum.iter().filter(|quorum| quorum.given < quorum.needed).map(needed).collect();
    let asked = approval.escalation.as_ref().is_some_and(|escalation| escalation.state == "asked");
    let asked = if asked { "; no owner answered, so stewards may" } else { "" };
    format!("{id} waits for {}{asked}", open.join(" and "))
}

/// What of it changes with the time alone.
fn countdown(grant: &GrantView, now: Timestamp) -> String {
    let lapses = grant.approval.as_ref().and_then(|approval| approval.lapses_at.as_deref());
    match (grant.state.as_str(), grant.active_since.as_deref(), lapses) {
        ("scheduled", Some(at), _) => relative(at, now),
        ("pending", _, Some(at)) => format!("lapses {}", relative(at, now)),
        _ => String::new(),
    }
}

fn absolute_moment(at: &str) -> String {
    at.parse::<Timestamp>().map_or_else(|_| at.to_owned(), |moment| to_second(moment).to_string())
}

fn needed(quorum: &QuorumView) -> String {
    let QuorumView { capacity, needed, given, can_approve } = quorum;
    let who = if can_approve.is_empty() {
        "nobody can give it: ask whoever maintains people and catalogue".to_owned()
    } else {
        can_approve.join(" or ")
    };
    format!("{} ({who})", people(needed.saturating_sub(*given), capacity))
}

/// A line on standard error that follows what is waited for.
struct Progress<'a> {
    terminal: bool,
    shown: String,
    err: &'a mut dyn Write,
}

impl Progress<'_> {
    fn show(&mut self, stage: &str, countdown: &str) {
        let stage = clean(stage);
        if self.terminal {
            let more = if countdown.is_empty() { String::new() } else { format!("; {}", clean(countdown)) };
            let _ = write!(self.err, "\r\u{1b}[Kgrantctl: {stage}{more}");
        } else if self.shown != stage {
            let _ = writeln!(self.err, "grantctl: {stage}");
        }
        let _ = self.err.flush();
        self.shown = stage;
    }
}

impl Drop for Progress<'_> {
    /// Leaves the terminal's line as if it had not been written on.
    fn drop(&mut self) {
        if self.terminal && !self.shown.is_empty() {
            let _ = write!(self.err, "\r\u{1b}[K");
            let _ = self.err.flush();
        }
    }
}

#[cfg(test)]
#[path = "wait_tests.rs"]
mod tests;
