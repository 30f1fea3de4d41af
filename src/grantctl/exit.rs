//! Exit codes, and the one line that goes with them. Both are stable: scripts rest on them.

use std::io;

use grantd_wire::{Problem, ProblemKind};

use crate::client::ClientError;
use crate::print::clean;

/// The exit codes, as `--help` lists them.
pub const EXIT_CODES: &str = "\
Exit codes:
   0  done
   1  unexpected: a fault of grantctl or of the daemon
   2  usage: the command line or the request is not valid
   3  denied by policy, frozen, not yours, or the caller is not known
   4  not found, or not for you to know of
   5  not possible in the present state, the plan changed, or a held lease ended
   6  more was asked than is allowed; the message says how much would be
   7  no room or too many requests: try again later
   8  the cloud refused or did not answer
   9  the daemon cannot be reached, is stopping or drained, or cannot write its audit
  10  the audit chain does not hold
  11  asked for, and waits for somebody's approval; the message says whose
  12  the doctor found a problem, or revocation could not be proved
  13  the grant was revoked while agent kept its file
  20  policy: a problem was found, or a case failed
  21  policy replay: recorded decisions would come out otherwise

exec passes on the code of its command, and adds 100 to its own: see grantctl exec --help.

A refusal is one line on standard error. With --json, standard output is exactly what the daemon answered.";

/// How `grantctl` ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok,
    /// A fault of `grantctl` or of the daemon.
    Unexpected,
    /// The command line or the request is not valid.
    Usage,
    /// Denied by policy, not the caller's, or the caller is not known.
    Denied,
    /// There is no such thing.
    NotFound,
    /// The thing is in the wrong state, or its plan changed.
    State,
    /// More was asked than is allowed.
    Limit,
    /// No room or too many requests.
    Capacity,
    /// The cloud refused or did not answer.
    Cloud,
    /// The daemon cannot be reached or cannot serve.
    Unreachable,
    /// The audit chain does not hold.
    Chain,
    /// What `exec` passes on from its command, or why there was none.
    Command(u8),
    /// What was asked for waits for somebody's approval.
    Pending,
    /// The doctor found a problem.
    Unhealthy,
    /// What `agent` kept a file under was revoked.
    Revoked,
}

impl Exit {
    /// The number that the shell sees.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Unexpected => 1,
            Self::Usage => 2,
            Self::Denied => 3,
            Self::NotFound => 4,
            Self::State => 5,
            Self::Limit => 6,
            Self::Capacity => 7,
            Self::Cloud => 8,
            Self::Unreachable => 9,
            Self::Chain => 10,
            Self::Command(code) => code,
            Self::Pending => 11,
            Self::Unhealthy => 12,
            Self::Revoked => 13,
        }
    }

    /// The exit for a kind of problem.
    #[must_use]
    pub fn of_kind(kind: ProblemKind) -> Self {
        match kind {
            ProblemKind::BadRequest => Self::Usage,
            ProblemKind::UnknownCaller | ProblemKind::NotYours | ProblemKind::Denied | ProblemKind::Frozen => {
                Self::Denied
            }
            ProblemKind::NotFound => Self::NotFound,
            ProblemKind::State | ProblemKind::PlanChanged => Self::State,
            ProblemKind::Limit => Self::Limit,
            ProblemKind::TooMany | ProblemKind::Capacity => Self::Capacity,
            ProblemKind::Cloud => Self::Cloud,
            ProblemKind::Store | ProblemKind::Stopping | ProblemKind::Draining => Self::Unreachable,
            ProblemKind::Internal => Self::Unexpected,
        }
    }

    /// The exit for an HTTP status, for problems of a kind that this version does not know.
    #[must_use]
    pub fn of_status(status: u16) -> Self {
        match status {
            400 | 405 | 413 | 414 | 415 | 431 => Self::Usage,
            401 | 403 => Self::Denied,
            404 | 410 => Self::NotFound,
            409 => Self::State,
            422 => Self::Limit,
            429 => Self::Capacity,
            502 | 504 => Self::Cloud,
            503 => Self::Unreachable,
            _ => Self::Unexpected,
        }
    }
}

/// Why a command did not do what it was asked, as the shell and the person see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    exit: Exit,
    line: Option<String>,
}

impl Failure {
    /// A failure with its one line, without `grantctl: ` and without a line break.
    #[must_use]
    pub fn new(exit: Exit, line: impl AsRef<str>) -> Self {
        Self { exit, line: Some(clean(line.as_ref())) }
    }

    /// Standard output could not be written. A reader that went away (`grantctl list | head -1`) is no failure.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
    pub fn output(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self { exit: Exit::Ok, line: None };
        }
        Self::new(Exit::Unexpected, format!("cannot write to standard output: {error}"))
    }

    /// The command of `exec` was not started for this reason: no exit code of its own can be mistaken for this.
    #[must_use]
    pub fn not_started(self) -> Self {
        let line = self.line.map(|line| format!("{line}; the command was not started"));
        Self { exit: Exit::Command(self.exit.code().saturating_add(100)), line }
    }

    /// The command of `exec` ended so.
    #[must_use]
    pub fn of_command(code: u8) -> Self {
        Self { exit: Exit::Command(code), line: None }
    }

    /// How the process is to exit.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// What to say on standard error, if anything.
    #[must_use]
    pub fn line(&self) -> Option<&str> {
        self.line.as_deref()
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match &error {
            ClientError::Problem(problem) => Self::new(exit_of(problem), line_of(problem)),
            ClientError::Unexplained { status } => Self::new(Exit::of_status(*status), error.to_string()),
            ClientError::NotUnderstood { .. } | ClientError::TooLarge => Self::new(Exit::Unexpected, error.to_string()),
            _ => Self::new(Exit::Unreachable, error.to_string()),
        }
    }
}

fn exit_of(problem: &Problem) -> Exit {
    problem.kind().map_or_else(|| Exit::of_status(problem.status), Exit::of_kind)
}

/// `<detail> (rule: …; who can fix it: …; next: …)`, with what the daemon said of them.
fn line_of(problem: &Problem) -> String {
    let more: Vec<String> =
        [("rule", &problem.rule), ("who can fix it", &problem.who_can_fix), ("next", &problem.next)]
            .into_iter()
            .filter_map(|(name, value)| value.as_ref().map(|value| format!("{name}: {value}")))
            .collect();
    if more.is_empty() { problem.detail.clone() } else { format!("{} ({})", problem.detail, more.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [(ProblemKind, u8); 16] = [
        (ProblemKind::BadRequest, 2),
        (ProblemKind::UnknownCaller, 3),
        (ProblemKind::NotYours, 3),
        (ProblemKind::Denied, 3),
        (ProblemKind::Frozen, 3),
        (ProblemKind::NotFound, 4),
        (ProblemKind::State, 5),
        (ProblemKind::PlanChanged, 5),
        (ProblemKind::Limit, 6),
        (ProblemKind::TooMany, 7),
        (ProblemKind::Capacity, 7),
        (ProblemKind::Cloud, 8),
        (ProblemKind::Store, 9),
        (ProblemKind::Stopping, 9),
        (ProblemKind::Draining, 9),
        (ProblemKind::Internal, 1),
    ];

    #[test]
    fn every_kind_of_problem_has_its_stable_code() {
        for (kind, code) in KINDS {
            let failure = Failure::from(ClientError::Problem(Box::new(Problem::new(kind, "it is so"))));
            assert_eq!((failure.exit().code(), failure.line()), (code, Some("it is so")), "{kind:?}");
        }
    }

    #[test]
    fn help_lists_every_code() {
        for (_, code) in KINDS {
            assert!(EXIT_CODES.contains(&format!("\n{code:>4}  ")), "{code}");
        }
        for exit in [Exit::Ok, Exit::Chain, Exit::Pending, Exit::Unhealthy, Exit::Revoked] {
            assert!(EXIT_CODES.contains(&format!("\n{:>4}  ", exit.code())), "{exit:?}");
        }
    }

    #[test]
    fn a_kind_from_a_later_daemon_is_judged_by_its_status() {
        let mut problem = Problem::new(ProblemKind::Limit, "too long");
        problem.kind_uri = "urn:grantd:problem:too-long".to_owned();
        assert_eq!(Failure::from(ClientError::Problem(Box::new(problem))).exit(), Exit::Limit);
    }

    #[test]
    fn a_refusal_is_one_line_whatever_is_in_it() {
        let mut problem = Problem::new(ProblemKind::Denied, "tier \"high\"\nneeds an approval\u{1b}[2J");
        problem.rule = Some("low-only".to_owned());
        problem.next = Some("ask an owner".to_owned());
        let failure = Failure::from(ClientError::Problem(Box::new(problem)));
        assert_eq!(
            failure.line(),
            Some("tier \"high\" needs an approval\\u{1b}[2J (rule: low-only; next: ask an owner)")
        );
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let failure = Failure::output(io::ErrorKind::BrokenPipe.into());
        assert_eq!((failure.exit(), failure.line()), (Exit::Ok, None));
        assert_eq!(Failure::output(io::ErrorKind::StorageFull.into()).exit(), Exit::Unexpected);
    }
}
