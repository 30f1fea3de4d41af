//! `[review]` of `grantd.toml`: when what is granted again and again is looked at.

use std::time::Duration;

use serde::Deserialize;

use super::raw::{ConfigError, bounded_duration};

const FILE: &str = "grantd.toml";

/// The most grants that may be made before somebody looks.
const MOST: u32 = 10_000;

/// When what is granted again and again is reviewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReviewSettings {
    /// More grants than this of the same to the same subject are reviewed; 0 for never.
    pub repeats: u32,
    /// Within so much time.
    pub window: Duration,
    /// How long reviewers have.
    pub within: Duration,
}

/// `[review]`, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawReview {
    repeats: u32,
    window: String,
    within: String,
}

impl Default for RawReview {
    fn default() -> Self {
        Self { repeats: 20, window: "720h".to_owned(), within: "168h".to_owned() }
    }
}

impl RawReview {
    pub(super) fn parse(self) -> Result<ReviewSettings, ConfigError> {
        let wrong = |key: &str, problem: String| ConfigError::new(FILE, format!("review.{key}"), problem);
        if self.repeats > MOST {
            let problem = format!("{} is out of bounds: write a number up to {MOST}, or 0 for never", self.repeats);
            return Err(wrong("repeats", problem));
        }
        let time = |key: &str, text: &str| bounded_duration(text, "1h", "2160h").map_err(|problem| wrong(key, problem));
        Ok(ReviewSettings {
            repeats: self.repeats,
            window: time("window", &self.window)?,
            within: time("within", &self.within)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_within_bounds() {
        let parse = |text: &str| toml::from_str::<RawReview>(text).unwrap().parse();
        let read = parse("repeats = 3\nwindow = \"24h\"").unwrap();
        assert_eq!((read.repeats, read.window.as_secs(), read.within.as_secs()), (3, 86_400, 604_800));
        for (text, key) in [
            ("repeats = 10001", "review.repeats"),
            ("window = \"1m\"", "review.window"),
            ("within = \"30\"", "review.within"),
        ] {
            assert!(parse(text).unwrap_err().to_string().contains(key), "{text}");
        }
    }
}
