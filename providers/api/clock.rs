//! Where time comes from. Everything else takes time as a parameter.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::{Timestamp, Unit};

/// A source of wall-clock time, in milliseconds, that never runs backwards within one process.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The present moment, truncated to milliseconds.
    fn now(&self) -> Timestamp;
}

/// How far the wall clock may fall behind the monotonic one at a time: the two drift apart, nobody set one.
const DRIFT: Duration = Duration::from_millis(50);

/// The machine's clock, guarded against being set back.
///
/// When the wall clock is set back while the process runs, time goes on from the latest moment seen at the pace of
/// the monotonic clock, so that no deadline moves into the future (promise P3). A clock set forward is believed:
/// that ends things early, which is the safe side, and the AWS adapter compares it with the cloud's own clock.
#[derive(Debug)]
pub struct SystemClock {
    guard: Mutex<Guard>,
}

impl SystemClock {
    /// Starts from what the machine's clock shows now.
    #[must_use]
    pub fn new() -> Self {
        let (wall, mono) = read();
        Self { guard: Mutex::new(Guard::new(wall, mono)) }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let (wall, mono) = read();
        self.guard.lock().unwrap_or_else(PoisonError::into_inner).later_of(wall, mono)
    }
}

/// When both clocks were last believed together, and the latest moment told.
#[derive(Debug)]
struct Guard {
    believed: (Timestamp, Instant),
    latest: Timestamp,
}

impl Guard {
    fn new(wall: Timestamp, mono: Instant) -> Self {
        Self { believed: (wall, mono), latest: wall }
    }

    /// The wall clock, or where it would be by now had nobody set it back, whichever is later.
    ///
    /// While it is behind, time is counted from where it was last believed and never from the answer before: what is
    /// allowed for drift would otherwise be lost with each call, and time stand still for a daemon that is busy.
    fn later_of(&mut self, wall: Timestamp, mono: Instant) -> Timestamp {
        let elapsed = mono.checked_duration_since(self.believed.1).unwrap_or(Duration::ZERO);
        let carried = self.believed.0.checked_add(elapsed).unwrap_or(self.believed.0);
        let now = if wall >= carried.checked_sub(DRIFT).unwrap_or(carried) {
            self.believed = (wall, mono);
            wall
        } else {
            carried
        };
        self.latest = truncate(now.max(self.latest));
        self.latest
    }
}

fn truncate(at: Timestamp) -> Timestamp {
    at.round(jiff::TimestampRound::new().smallest(Unit::Millisecond).mode(jiff::RoundMode::Trunc)).unwrap_or(at)
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clocks")]
fn read() -> (Timestamp, Instant) {
    (truncate(Timestamp::now()), Instant::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p3_a_clock_set_back_does_not_move_deadlines_away() {
        let (wall, mono) = read();
        let mut guard = Guard::new(wall, mono);
        // Asked once, or by a busy daemon every millisecond: ten seconds are ten seconds.
        let mut last = wall;
        for millis in 1..=10_000 {
            let past = wall - Duration::from_secs(3600) + Duration::from_millis(millis);
            let now = guard.later_of(past, mono + Duration::from_millis(millis));
            assert!(now >= last, "time went back from {last} to {now}");
            last = now;
        }
        assert_eq!(last, wall + Duration::from_secs(10));
        let now = guard.later_of(wall - Duration::from_secs(3500), mono + Duration::from_secs(60));
        assert_eq!(now, wall + Duration::from_secs(60));
        // Once the wall clock has caught up it is believed again.
        let ahead = wall + Duration::from_secs(62);
        assert_eq!(guard.later_of(ahead, mono + Duration::from_secs(61)), ahead);
    }

    #[test]
    fn a_clock_that_drifts_is_followed_and_never_runs_backwards() {
        let (wall, mono) = read();
        let mut guard = Guard::new(wall, mono);
        assert_eq!(guard.later_of(wall - Duration::from_millis(20), mono), wall);
        let second = Duration::from_secs(1);
        assert_eq!(guard.later_of(wall + second - DRIFT, mono + second), wall + second - DRIFT);
    }

    #[test]
    fn a_clock_set_forward_is_believed() {
        let (wall, mono) = read();
        let ahead = wall + Duration::from_secs(3600);
        assert_eq!(Guard::new(wall, mono).later_of(ahead, mono), ahead);
    }
}
