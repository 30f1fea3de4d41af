//! `moved_by` of a `[[signal]]` of tickets, as it is written.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::notify::address;
use super::signal::{Changes, DIGITS, MovedBy, TICKET};
use super::signal_overrides::server;
use super::signal_raw::pointer;

/// `moved_by`, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMovedBy {
    url: Option<String>,
    list: Option<String>,
    person: String,
    time: Option<String>,
    items: Option<String>,
    kind: Option<String>,
    kinds: Option<BTreeSet<String>>,
    most: Option<usize>,
}

impl RawMovedBy {
    /// Checked. Its address is asked with the secret of `of`, so it has to be of the same server.
    pub fn checked(self, of: &str) -> Result<MovedBy, (&'static str, String)> {
        let wrong = |problem: &str| ("moved_by", problem.to_owned());
        let pointer =
            |key, text| pointer(key, text).map_err(|(key, problem)| ("moved_by", format!("{key}: {problem}")));
        let person = pointer("person", self.person)?;
        let Some(list) = self.list else {
            let alone = self.url.is_none() && self.time.is_none() && self.items.is_none() && self.kind.is_none();
            if alone && self.kinds.is_none() && self.most.is_none() && !person.is_empty() {
                return Ok(MovedBy::Person(person));
            }
            return Err(wrong("write list too, or of all of it the pointer of a person alone"));
        };
        let (Some(time), Some(kind), Some(kinds), Some(most)) = (self.time, self.kind, self.kinds, self.most) else {
            return Err(wrong("of a list of changes, write time, kind, kinds and most as well"));
        };
        if kinds.is_empty() || most == 0 {
            return Err(wrong("write which kinds of change are a move, and how many changes it tells at most"));
        }
        if let Some(url) = &self.url {
            address(&url.replace(TICKET, "1").replace(DIGITS, "1"))
                .map_err(|problem| wrong(&format!("url: {problem}")))?;
            if !server(url).eq(server(of)) || !(url.contains(TICKET) || url.contains(DIGITS)) {
                return Err(wrong("url: write one of the same server as url, with the ticket's id in it"));
            }
        }
        Ok(MovedBy::Changes(Changes {
            url: self.url,
            list: pointer("list", list)?,
            person,
            time: pointer("time", time)?,
            items: self.items.map(|items| pointer("items", items)).transpose()?,
            kind: pointer("kind", kind)?,
            kinds,
            most,
        }))
    }
}
