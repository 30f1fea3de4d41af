//! Settings that the tables of several clouds share: how each is written, and what it may be. Errors are in words.

use std::path::Path;
use std::time::Duration;

use jiff::SignedDuration;
use serde::Deserialize;

/// How long a change of what may be done takes to be felt in a cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Propagation {
    /// Typically.
    pub expected: Duration,
    /// At worst.
    pub worst: Duration,
}

/// `propagation = { expected = "2m", worst = "30m" }`, as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawPropagation {
    /// Typically.
    pub expected: SignedDuration,
    /// At worst.
    pub worst: SignedDuration,
}

/// What is written, or `default`: `longest` bounds both, and the worst is no less than what is expected.
///
/// # Errors
/// In words, naming the setting.
pub fn propagation(
    raw: Option<&RawPropagation>,
    default: Propagation,
    longest: Propagation,
) -> Result<Propagation, String> {
    let Some(raw) = raw else { return Ok(default) };
    let expected = bounded("propagation.expected", raw.expected, Duration::ZERO, longest.expected)?;
    Ok(Propagation { expected, worst: bounded("propagation.worst", raw.worst, expected, longest.worst)? })
}

/// How long to wait for a cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// For the answer to one request.
    pub attempt: Duration,
    /// For all that one step takes.
    pub operation: Duration,
}

/// `timeouts = { connect = "2s", attempt = "6s", operation = "15s" }`, as it is written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTimeouts {
    /// For a connection; 2 s.
    pub connect: Option<SignedDuration>,
    /// For the answer to one request; 6 s.
    pub attempt: Option<SignedDuration>,
    /// For all that one step takes.
    pub operation: Option<SignedDuration>,
}

impl RawTimeouts {
    /// Checked: each from 50 ms to a minute, and an operation, `operation` by default, no shorter than an attempt.
    ///
    /// # Errors
    /// In words, naming the setting.
    pub fn checked(&self, operation: Duration) -> Result<Timeouts, String> {
        let (least, most) = (Duration::from_millis(50), Duration::from_secs(60));
        let attempt = bounded_or("timeouts.attempt", self.attempt, Duration::from_secs(6), least, most)?;
        Ok(Timeouts {
            connect: bounded_or("timeouts.connect", self.connect, Duration::from_secs(2), least, most)?,
            attempt,
            operation: bounded_or("timeouts.operation", self.operation, operation.max(attempt), attempt, most)?,
        })
    }
}

/// A duration between two others, or `default` where none is given.
///
/// # Errors
/// In words, naming the setting `what`.
pub fn bounded_or(
    what: &str,
    given: Option<SignedDuration>,
    default: Duration,
    least: Duration,
    most: Duration,
) -> Result<Duration, String> {
    given.map_or(Ok(default), |given| bounded(what, given, least, most))
}

/// A duration between two others, ends included.
///
/// # Errors
/// In words, naming the setting `what`.
pub fn bounded(what: &str, given: SignedDuration, least: Duration, most: Duration) -> Result<Duration, String> {
    match Duration::try_from(given) {
        Ok(duration) if duration >= least && duration <= most => Ok(duration),
        _ => {
            let (least, most) = (SignedDuration::try_from(least), SignedDuration::try_from(most));
            let (least, most) = (least.unwrap_or_default(), most.unwrap_or_default());
            Err(format!("{what} = {given:#} is not between {least:#} and {most:#}"))
        }
    }
}

/// The path of a file that is named in a setting.
///
/// # Errors
/// In words, naming the setting `what`, unless it is absolute.
pub fn absolute(what: &str, path: &Path) -> Result<(), String> {
    if path.is_absolute() { Ok(()) } else { Err(format!("{what}: {} is not an absolute path", path.display())) }
}

/// The name that an account has in the configuration.
///
/// # Errors
/// In words.
pub fn account_name(name: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if !name.is_empty() && name.len() <= 64 && name.bytes().all(plain) {
        return Ok(());
    }
    Err(format!("account name {name:?} is 1 to 64 letters, digits, hyphens, underscores and full stops"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_duration_outside_its_bounds_is_told_with_them() {
        assert_eq!(bounded_or("x", None, secs(5), secs(1), secs(2)), Ok(secs(5)));
        assert_eq!(bounded("x", SignedDuration::from_secs(2), secs(1), secs(2)), Ok(secs(2)));
        for wrong in [SignedDuration::from_secs(3), SignedDuration::ZERO, SignedDuration::from_secs(-2)] {
            let error = bounded("x", wrong, secs(1), secs(2)).unwrap_err();
            assert!(error.starts_with("x = ") && error.ends_with("between 1s and 2s"), "{error}");
        }
    }

    #[test]
    fn the_worst_is_no_better_than_what_is_expected() {
        let given = Propagation { expected: secs(1), worst: secs(2) };
        let of = |expected, worst| {
            let (expected, worst) = (SignedDuration::from_secs(expected), SignedDuration::from_secs(worst));
            let longest = Propagation { expected: secs(60), worst: secs(99) };
            propagation(Some(&RawPropagation { expected, worst }), given, longest)
        };
        assert_eq!(of(10, 10), Ok(Propagation { expected: secs(10), worst: secs(10) }));
        assert!(of(10, 9).unwrap_err().contains("propagation.worst"));
        assert!(of(61, 99).unwrap_err().contains("propagation.expected"));
        assert_eq!(propagation(None, given, given), Ok(given));
    }

    #[test]
    fn an_operation_is_no_shorter_than_an_attempt() {
        let raw = RawTimeouts { attempt: Some(SignedDuration::from_secs(30)), ..RawTimeouts::default() };
        assert_eq!(raw.checked(secs(15)).map(|timeouts| timeouts.operation), Ok(secs(30)));
        let raw = RawTimeouts { operation: Some(SignedDuration::from_secs(20)), ..raw };
        assert!(raw.checked(secs(15)).unwrap_err().contains("timeouts.operation"));
    }

    #[test]
    fn a_path_and_a_name_are_plain() {
        assert!(absolute("x", Path::new("/a")).is_ok());
        assert!(absolute("x", Path::new("a")).unwrap_err().contains("x: a"));
        for name in ["prod", "a.b-c_9"] {
            assert!(account_name(name).is_ok());
        }
        for name in ["", "a b", &"a".repeat(65)] {
            assert!(account_name(name).is_err());
        }
    }
}
