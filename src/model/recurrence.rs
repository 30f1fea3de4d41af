//! A grant that opens again and again, such as for a nightly pipeline: pure, as all of the model. The words are those of
//! RFC 5545: each opening is an occurrence.

use grantd_provider_api::InvalidName;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// The shortest time from one occurrence to the next, in seconds.
pub const MIN_EVERY: u64 = 60;
/// The most occurrences of one grant: daily for a year, or hourly for two weeks.
pub const MAX_TIMES: u32 = 366;

/// How often a grant opens: first at its activation, and each time for as long as the request says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recurrence {
    /// From the start of one occurrence to the start of the next, in seconds.
    pub every_seconds: u64,
    /// How many occurrences there are in all.
    pub times: u32,
}

/// Where a moment falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occurrence {
    /// Into one, which ends then.
    Open {
        /// Its end.
        until: Timestamp,
    },
    /// Before the next one.
    Between {
        /// The start of that one.
        next: Timestamp,
    },
    /// After the last one, or before the first.
    Over,
}

impl Recurrence {
    /// Checks that occurrences of `duration` seconds do not run into each other.
    ///
    /// # Errors
    /// What is wrong with it, and what to write.
    pub fn new(every_seconds: u64, times: u32, duration: u64) -> Result<Self, InvalidName> {
        let wrong =
            |why| InvalidName { what: "recurrence", text: format!("every {every_seconds} s, {times} times"), why };
        if !(2..=MAX_TIMES).contains(&times) {
            return Err(wrong("write 2 to 366 times: what is needed once is an ordinary grant"));
        }
        if every_seconds < MIN_EVERY {
            return Err(wrong("leave a minute or more from one start to the next"));
        }
        if every_seconds <= duration {
            return Err(wrong("each time ends before the next begins: ask for less each time, or less often"));
        }
        // A year of years is more than any policy allows, and keeps every sum below in range.
        if every_seconds > 366 * 24 * 3600 {
            return Err(wrong("leave a year or less from one start to the next"));
        }
        Ok(Self { every_seconds, times })
    }

    /// From the start of the first occurrence to the end of the last one, in seconds.
    #[must_use]
    pub fn span(&self, duration: u64) -> u64 {
        let before_last = u64::from(self.times.saturating_sub(1)).saturating_mul(self.every_seconds);
        before_last.saturating_add(duration)
    }

    /// Where `now` falls, when the first occurrence began at `since` and each lasts `duration` seconds. A moment at which
    /// one ends is not in it.
    #[must_use]
    pub fn at(&self, since: Timestamp, duration: u64, now: Timestamp) -> Occurrence {
        let Ok(elapsed) = u64::try_from(now.duration_since(since).as_secs()) else { return Occurrence::Over };
        if now < since {
            return Occurrence::Over;
        }
        let index = elapsed.checked_div(self.every_seconds).unwrap_or(u64::MAX);
        let start_of = |index: u64| {
            let seconds = i64::try_from(index.saturating_mul(self.every_seconds)).unwrap_or(i64::MAX);
            since.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
        };
        if index >= u64::from(self.times) {
            return Occurrence::Over;
        }
        let length = SignedDuration::from_secs(i64::try_from(duration).unwrap_or(i64::MAX));
        let until = start_of(index).checked_add(length).unwrap_or(Timestamp::MAX);
        let next = index.saturating_add(1);
        if now < until {
            Occurrence::Open { until }
        } else if next < u64::from(self.times) {
            Occurrence::Between { next: start_of(next) }
        } else {
            Occurrence::Over
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: u64 = 24 * 3600;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    #[test]
    fn a_nightly_hour_is_open_for_an_hour_a_night_and_for_as_many_nights_as_were_asked() {
        let nightly = Recurrence::new(DAY, 3, 3600).unwrap();
        let falls = |seconds| nightly.at(at(0), 3600, at(seconds));
        assert_eq!(falls(-1), Occurrence::Over);
        assert_eq!(falls(0), Occurrence::Open { until: at(3600) });
        assert_eq!(falls(3599), Occurrence::Open { until: at(3600) });
        assert_eq!(falls(3600), Occurrence::Between { next: at(86400) });
        assert_eq!(falls(86399), Occurrence::Between { next: at(86400) });
        assert_eq!(falls(86400), Occurrence::Open { until: at(86400 + 3600) });
        assert_eq!(falls(2 * 86400 + 3599), Occurrence::Open { until: at(2 * 86400 + 3600) });
        assert_eq!(falls(2 * 86400 + 3600), Occurrence::Over, "there is no fourth night");
        assert_eq!(falls(3 * 86400), Occurrence::Over);
        assert_eq!(nightly.span(3600), 2 * DAY + 3600);
    }

    #[test]
    fn a_recurrence_that_is_none_is_refused_with_what_to_write() {
        for (every, times, duration, word) in [
            (DAY, 1, 3600, "ordinary grant"),
            (DAY, 0, 3600, "ordinary grant"),
            (DAY, MAX_TIMES + 1, 3600, "2 to 366"),
            (59, 2, 10, "a minute or more"),
            (3600, 2, 3600, "before the next"),
            (367 * DAY, 2, 3600, "a year or less"),
            (u64::MAX, 2, 3600, "a year or less"),
        ] {
            let refused = Recurrence::new(every, times, duration).unwrap_err().to_string();
            assert!(refused.contains(word), "{every} {times} {duration}: {refused}");
        }
        assert!(Recurrence::new(60, MAX_TIMES, 59).is_ok());
    }

    proptest! {
        /// Access is never open outside of an occurrence, whatever the numbers are.
        #[test]
        fn p3_what_is_open_is_within_an_occurrence(
            every in 60u64..1_000_000, times in 2u32..366, duration in 1u64..1_000_000, now in -10i64..100_000_000,
        ) {
            prop_assume!(every > duration);
            let recurrence = Recurrence::new(every, times, duration).unwrap();
            let inside = u64::try_from(now).is_ok_and(|now| now % every < duration && now / every < u64::from(times));
            match recurrence.at(at(0), duration, at(now)) {
                Occurrence::Open { until } => {
                    prop_assert!(inside);
                    prop_assert!(until > at(now));
                    prop_assert!(until.duration_since(at(now)).as_secs() <= i64::try_from(duration).unwrap());
                }
                Occurrence::Between { next } => {
                    prop_assert!(!inside && next > at(now));
                    let opens = matches!(recurrence.at(at(0), duration, next), Occurrence::Open { .. });
                    prop_assert!(opens);
                }
                Occurrence::Over => prop_assert!(!inside),
            }
        }
    }
}
