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

/// The machine's clock, guarded against being set back.
///
/// When the wall clock is set back while the process runs, time goes on from the latest moment seen at the pace of
/// the monotonic clock, so that no deadline moves into the future (promise P3). A clock set forward is believed:
/// that ends things early, which is the safe side, and the AWS adapter compares it with the cloud's own clock.
#[derive(Debug)]
pub struct SystemClock {
    latest: Mutex<(Timestamp, Instant)>,
}

impl SystemClock {
    /// Starts from what the machine's clock shows now.
    #[must_use]
    pub fn new() -> Self {
        let (wall, mono) = read();
        Self { latest: Mutex::new((wall, mono)) }
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
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let now = later_of(*latest, wall, mono);
        *latest = (now, mono);
        now
    }
}

/// The wall clock, or where the latest moment seen would be by now, whichever is later.
fn later_of(latest: (Timestamp, Instant), wall: Timestamp, mono: Instant) -> Timestamp {
    let elapsed = mono.checked_duration_since(latest.1).unwrap_or(Duration::ZERO);
    let carried = latest.0.checked_add(elapsed).unwrap_or(latest.0);
    // A few milliseconds are the two clocks drifting apart, not somebody setting one.
    let carried = carried.checked_sub(Duration::from_millis(50)).unwrap_or(carried).max(latest.0);
    truncate(wall.max(carried))
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
        let an_hour_back = wall - Duration::from_secs(3600);
        let now = later_of((wall, mono), an_hour_back, mono + Duration::from_secs(10));
        assert!(now >= wall + Duration::from_secs(9), "time went back to {now}");
    }

    #[test]
    fn a_clock_set_forward_is_believed() {
        let (wall, mono) = read();
        let ahead = wall + Duration::from_secs(3600);
        assert_eq!(later_of((wall, mono), ahead, mono), ahead);
    }
}
