//! Signals: facts that are looked up outside at the moment of a decision - a ticket, who is on call, change windows and
//! freezes - each with its age (promise P6).
//!
//! A source that is slow, dead or wrong costs those decisions that need it and nothing else (promise P11): every look
//! has a time limit, few run at once, and one that failed several times over is left alone for a while. What cannot be
//! read without doubt is not there: nothing is guessed.

mod breaker;
mod calendar;
mod examine;
mod fetch;
mod http;
mod look;
mod memory;
mod moves;
mod on_call;
mod source;
mod straighten;
mod telling;
mod ticket;

pub use look::{About, Lookout, Party, Wanted};
pub use source::{Reader, Standing};

/// Why a source did not tell.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Failure {
    /// In words, without a secret and without what was answered.
    why: String,
    kind: FailureKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FailureKind {
    /// The source does not work, or does not answer as it should: another look may help, and what it said before may do.
    Away,
    /// The source works, and what it says of this is of no use. Who asks may have chosen or written what was asked for, so
    /// it is no reason to leave the source alone, and not as good as silence.
    Unfit,
    /// The source works and does not have it: what it said before does not hold any more.
    Gone,
}

impl Failure {
    fn away(why: impl Into<String>) -> Self {
        Self { why: why.into(), kind: FailureKind::Away }
    }

    fn unfit(why: impl Into<String>) -> Self {
        Self { why: why.into(), kind: FailureKind::Unfit }
    }

    /// The same of a further question of a look: a source that has the thing itself has this as well, so that it does not is
    /// no word on the thing.
    fn beside(self, what: &str) -> Self {
        let kind = if self.kind == FailureKind::Unfit { FailureKind::Unfit } else { FailureKind::Away };
        Self { why: format!("{what}: {}", self.why), kind }
    }

    fn gone(why: impl Into<String>) -> Self {
        Self { why: why.into(), kind: FailureKind::Gone }
    }
}
