//! The words of the command line that are parsed once, here: ids, durations, moments. An id is safe as a path segment;
//! whether there is such a thing is for the daemon to say.

use std::str::FromStr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// In place of an id: the one active grant that matches the caller.
pub const AUTO: &str = "auto";

/// A grant's id as far as the command line can tell. It is safe as a path segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantName(pub String);

/// A registered anchor's id as far as the command line can tell. It is safe as a path segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnchorName(pub String);

/// A grant or a lease. The ids are safe as path segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thing {
    /// A grant, by its id, or `auto`.
    Grant(String),
    /// A lease, by its id.
    Lease(String),
}

/// Which grant to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantChoice {
    /// The one active grant that matches the caller.
    Auto,
    /// This one.
    Named(String),
}

impl FromStr for GrantName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        is_id(text, "grant").then(|| Self(text.to_owned())).ok_or_else(|| "a grant's id begins with grant-".to_owned())
    }
}

impl FromStr for AnchorName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        is_id(text, "anchor")
            .then(|| Self(text.to_owned()))
            .ok_or_else(|| "an anchor's id begins with anchor-; attach prints it".to_owned())
    }
}

impl FromStr for Thing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == AUTO || is_id(text, "grant") {
            Ok(Self::Grant(text.to_owned()))
        } else if is_id(text, "lease") {
            Ok(Self::Lease(text.to_owned()))
        } else {
            Err("give the id of a grant (grant-…) or of a lease (lease-…), or auto".to_owned())
        }
    }
}

impl FromStr for GrantChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == AUTO {
            return Ok(Self::Auto);
        }
        is_id(text, "grant")
            .then(|| Self::Named(text.to_owned()))
            .ok_or_else(|| "give the id of a grant (grant-…) or auto".to_owned())
    }
}

/// Whether `text` could be an id: the prefix, then lowercase letters and digits. Whether it is one the daemon says.
pub(crate) fn is_id(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-')).is_some_and(|rest| {
        (1..=64).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    })
}

fn duration(text: &str) -> Result<SignedDuration, String> {
    let parsed: SignedDuration =
        text.parse().map_err(|_| "write a duration as 30s, 5m or 1h 30m (a day is 24h)".to_owned())?;
    if parsed.is_positive() { Ok(parsed) } else { Err("a duration must be longer than nothing".to_owned()) }
}

pub(crate) fn whole_seconds(text: &str) -> Result<u64, String> {
    let parsed = duration(text)?;
    if parsed.subsec_nanos() != 0 {
        return Err("give a whole number of seconds".to_owned());
    }
    u64::try_from(parsed.as_secs()).map_err(|error| error.to_string())
}

pub(crate) fn patience(text: &str) -> Result<Duration, String> {
    let parsed = Duration::try_from(duration(text)?).map_err(|error| error.to_string())?;
    // Timers further away than this would never fire anyway, and the runtime's must not overflow.
    if parsed > Duration::from_secs(86_400) { Err("wait for 24h at most".to_owned()) } else { Ok(parsed) }
}

pub(crate) fn moment(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "write a time with its offset, e.g. 2026-11-22T09:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_friendly_and_become_whole_seconds() {
        for (text, seconds) in [("30m", 1800), ("1h 30m", 5400), ("1h30m", 5400), ("90s", 90), ("PT5M", 300)] {
            assert_eq!(whole_seconds(text), Ok(seconds), "{text}");
        }
        for text in ["", "30", "0s", "-5m", "5m ago", "1500ms", "1d", "soon", "1mo", "9999999999999999999h"] {
            assert!(whole_seconds(text).is_err(), "{text}");
        }
        assert_eq!(patience("250ms"), Ok(Duration::from_millis(250)));
        assert!(patience("25h").is_err());
    }

    #[test]
    fn ids_are_safe_as_path_segments() {
        assert_eq!("grant-abc234".parse(), Ok(Thing::Grant("grant-abc234".to_owned())));
        assert_eq!("lease-abc234".parse(), Ok(Thing::Lease("lease-abc234".to_owned())));
        for text in ["grant-", "grant-../audit", "grant-a?all=true", "grant-A", "lease", "anchor-a", "grant-a b", ""] {
            assert!(text.parse::<Thing>().is_err(), "{text}");
        }
        assert_eq!("auto".parse(), Ok(GrantChoice::Auto));
        assert!("lease-abc".parse::<GrantChoice>().is_err());
        assert!("grant-abc".parse::<AnchorName>().is_err());
    }

    #[test]
    fn a_time_needs_its_offset() {
        assert_eq!(moment("2026-11-22T10:00:00+01:00").map(|at| at.to_string()), Ok("2026-11-22T09:00:00Z".to_owned()));
        assert!(moment("2026-11-22 09:00").is_err());
    }
}
