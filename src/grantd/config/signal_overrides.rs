//! `overrides` of a `[[signal]]` that tells who is on call, as they are written.

use serde::Deserialize;

use super::notify::address;
use super::signal::{Overrides, SINCE, UNTIL};
use super::signal_raw::{MORE, pointer};

/// A moment, to see whether an address is one.
const SOME_TIME: &str = "2026-01-01T00%3A00%3A00Z";

/// One of `overrides`, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOverrides {
    url: String,
    list: Option<String>,
    person: Option<String>,
    begins: Option<String>,
    ends: Option<String>,
    more: Option<String>,
}

impl RawOverrides {
    /// Checked. It is asked with the secret of `of`, so it has to be of the same server.
    pub fn checked(self, of: &str) -> Result<Overrides, (&'static str, String)> {
        let wrong = |problem: String| ("overrides", problem);
        let pointer = |key, text| pointer(key, text).map_err(|(key, problem)| wrong(format!("{key}: {problem}")));
        let filled = self.url.replace(SINCE, SOME_TIME).replace(UNTIL, SOME_TIME);
        address(&filled).map_err(|problem| wrong(format!("url: {problem}")))?;
        if !server(&self.url).eq(server(of)) {
            return Err(wrong("url: write one of the same server as url: it is asked with the same secret".to_owned()));
        }
        let times = match (self.begins, self.ends) {
            (Some(begins), Some(ends)) => Some((pointer("begins", begins)?, pointer("ends", ends)?)),
            (None, None) => None,
            _ => {
                return Err(wrong("write both begins and ends, or neither where it tells of no other time".to_owned()));
            }
        };
        Ok(Overrides {
            url: self.url,
            list: pointer("list", self.list.unwrap_or_default())?,
            person: pointer("person", self.person.unwrap_or_default())?,
            times,
            more: pointer("more", self.more.unwrap_or_else(|| MORE.to_owned()))?,
        })
    }
}

/// The scheme, the host and the port of an address.
pub(super) fn server(url: &str) -> impl Iterator<Item = &str> {
    url.split(['/', '?', '#']).take(3)
}
