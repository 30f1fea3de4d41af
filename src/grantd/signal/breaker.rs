//! Leaves a source alone for a while that failed several times over. Pure: no clock.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Failure, FailureKind};

/// After so many failures in a row a source is left alone.
pub(super) const BREAK_AFTER: u32 = 3;

/// For how long. Then one look tries.
pub(super) const PAUSE: Duration = Duration::from_secs(5);

/// One source's health.
#[derive(Debug, Clone, Default)]
pub(super) struct Breaker {
    failures: u32,
    last: Option<String>,
    paused_until: Option<Timestamp>,
}

impl Breaker {
    /// Whether it may be asked.
    pub fn admit(&mut self, now: Timestamp) -> Result<(), Failure> {
        match self.paused_until {
            // A pause that would last longer than a pause was set by another clock.
            Some(until) if now < until && until <= pause_from(now) => {
                let last = self.last.as_deref().unwrap_or("try again in a few seconds");
                Err(Failure::away(format!("it is left alone after {} failures: {last}", self.failures)))
            }
            Some(_) => {
                // This one tries; the others keep waiting.
                self.paused_until = Some(pause_from(now));
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Keeps what came of it.
    pub fn record(&mut self, failure: Option<&Failure>, now: Timestamp) {
        match failure.filter(|failure| failure.kind != FailureKind::Gone) {
            // It is told of, and is no reason to leave it alone.
            Some(failure) if failure.kind == FailureKind::Unfit => {
                *self = Self { last: Some(failure.why.clone()), ..Self::default() };
            }
            Some(failure) => {
                self.failures = self.failures.saturating_add(1);
                self.last = Some(failure.why.clone());
                self.paused_until = (self.failures >= BREAK_AFTER).then(|| pause_from(now));
            }
            None => *self = Self::default(),
        }
    }

    /// What it failed by last, if it has not worked since.
    pub fn last_error(&self) -> Option<&str> {
        self.last.as_deref()
    }
}

fn pause_from(now: Timestamp) -> Timestamp {
    SignedDuration::try_from(PAUSE).ok().and_then(|pause| now.checked_add(pause).ok()).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p11_a_dead_source_is_left_alone_and_tried_again_by_one() {
        let at = |seconds: i64| Timestamp::from_second(1_000_000 + seconds).unwrap();
        let dead = Failure::away("no connection");
        let mut breaker = Breaker::default();
        for _ in 0..BREAK_AFTER {
            assert_eq!(breaker.admit(at(0)), Ok(()));
            breaker.record(Some(&dead), at(0));
        }
        let refused = breaker.admit(at(4)).unwrap_err();
        assert!(refused.why.contains("no connection") && refused.kind == FailureKind::Away, "{refused:?}");
        assert_eq!(breaker.admit(at(5)), Ok(()), "one tries");
        assert!(breaker.admit(at(5)).is_err(), "the others wait for it");
        breaker.record(None, at(6));
        assert_eq!((breaker.admit(at(6)), breaker.last_error()), (Ok(()), None));
    }

    #[test]
    fn a_source_that_does_not_have_it_works() {
        let at = Timestamp::from_second(1_000_000).unwrap();
        let mut breaker = Breaker::default();
        for _ in 0..10 {
            breaker.record(Some(&Failure::gone("no such ticket")), at);
        }
        assert_eq!((breaker.admit(at), breaker.last_error()), (Ok(()), None));
    }

    #[test]
    fn a_clock_that_jumps_back_does_not_prolong_the_pause() {
        let at = |seconds: i64| Timestamp::from_second(1_000_000 + seconds).unwrap();
        let mut breaker = Breaker::default();
        for _ in 0..BREAK_AFTER {
            breaker.record(Some(&Failure::away("x")), at(100));
        }
        assert_eq!(breaker.admit(at(0)), Ok(()));
    }
}
