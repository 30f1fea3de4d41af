//! Where facts are looked up that policy rests on: `[[signal]]` of `grantd.toml`, checked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use grantd_model::{Signal, TicketState};

use super::credential;
use super::raw::ConfigError;

/// What stands for the number in the pattern of a ticket's id, and in an address.
pub const DIGITS: &str = "{digits}";

/// What stands for the whole id in an address.
pub const TICKET: &str = "{ticket}";

/// What stands in the address of overrides for the time from which they are wanted (RFC 3339).
pub const SINCE: &str = "{since}";

/// What stands there for the time until which they are wanted.
pub const UNTIL: &str = "{until}";

/// One source of a signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalSettings {
    /// Its name, by which refusals, status and audit call it.
    pub name: String,
    /// What it tells.
    pub source: SignalSource,
    /// How long one look may take, with everything that belongs to it.
    pub timeout: Duration,
    /// Who can mend it, in words.
    pub contact: String,
}

/// What a source tells, and how it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignalSource {
    /// Tickets, one answer each.
    Ticket {
        /// Where; with [`TICKET`] or [`DIGITS`] in it.
        endpoint: Endpoint,
        /// What its ids look like.
        ids: IdPattern,
        /// How its answer is read.
        map: Box<TicketMap>,
    },
    /// Who is on call.
    OnCall {
        /// Where.
        endpoint: Endpoint,
        /// The JSON pointer of the list.
        list: String,
        /// The JSON pointer, within each of the list, of who it is; the whole element when empty.
        person: String,
        /// The JSON pointer of what says that the list goes on elsewhere.
        more: String,
        /// Where it is asked who is on call by an exception from the rota.
        overrides: Vec<Overrides>,
        /// By the name in `people.toml`, what that source calls them.
        accounts: BTreeMap<String, String>,
    },
    /// A calendar.
    Calendar {
        /// Whether its events are change windows or freezes.
        signal: Signal,
        /// Where.
        place: CalendarPlace,
        /// The time zone of what names none.
        time_zone: String,
        /// The environments that it is for; all when empty.
        environments: BTreeSet<String>,
    },
}

/// Where a source of who is on call tells of exceptions from its rota, with the same proof of who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overrides {
    /// The address; with [`SINCE`] and [`UNTIL`] in it where it is to be told of which time.
    pub url: String,
    /// The JSON pointer of the list.
    pub list: String,
    /// The JSON pointer, within each of the list, of who is on call by it; the whole element when empty.
    pub person: String,
    /// The JSON pointers, within each, of when it begins and when it ends; without them each of the list counts.
    pub times: Option<(String, String)>,
    /// The JSON pointer of what says that the list goes on elsewhere.
    pub more: String,
}

/// Where something is asked by HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The address.
    pub url: String,
    /// The header that proves who asks.
    pub header: String,
    /// The file with the value of that header, if there is one.
    pub secret: Option<PathBuf>,
}

/// Where a calendar is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CalendarPlace {
    /// On this host.
    File(PathBuf),
    /// Elsewhere.
    Url(Endpoint),
}

/// What ids look like: a text, then a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdPattern {
    prefix: String,
}

/// How the answer of a ticket system is read: JSON pointers (RFC 6901), and words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TicketMap {
    /// Of its id, which must be the one that was asked for.
    pub id: String,
    /// Of its state.
    pub state: String,
    /// What its own words for states mean.
    pub states: BTreeMap<String, TicketState>,
    /// Of who works on it.
    pub assignee: Option<String>,
    /// Of who opened it.
    pub opened_by: Option<String>,
    /// Of who moved it to another state last.
    pub moved_by: Option<MovedBy>,
    /// Of the resource that it is about, or of a list of them.
    pub resource: Option<String>,
    /// Of its name, within each of that list; empty where the list is of names.
    pub resource_name: String,
    /// By the name in `people.toml`, what that source calls them.
    pub accounts: BTreeMap<String, String>,
}

/// How it is read who moved a ticket to another state last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MovedBy {
    /// The JSON pointer of one who stands in the answer itself.
    Person(String),
    /// The last of a list of changes.
    Changes(Changes),
}

/// A list of a ticket's changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Where it is asked, with [`TICKET`] or [`DIGITS`] in it and with the same proof; in the ticket's own answer without.
    pub url: Option<String>,
    /// The JSON pointer of the list.
    pub list: String,
    /// The JSON pointer, within each, of who made it.
    pub person: String,
    /// The JSON pointer, within each, of when it was made.
    pub time: String,
    /// The JSON pointer, within each, of a list of what was changed at once.
    pub items: Option<String>,
    /// The JSON pointer, within each or each of that list, of what kind of change it is.
    pub kind: String,
    /// The kinds that are a move to another state.
    pub kinds: BTreeSet<String>,
    /// How many it tells at most: a list that is so long may lack what came after.
    pub most: usize,
}

impl IdPattern {
    /// Reads `PREFIX{digits}`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no pattern: write what each id begins with, then {DIGITS}: \"OPS-{DIGITS}\"");
        let prefix = text.strip_suffix(DIGITS).ok_or_else(wrong)?;
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/' | b'#');
        let digit_last = prefix.bytes().last().is_some_and(|byte| byte.is_ascii_digit());
        if digit_last || prefix.len() > 64 || !prefix.bytes().all(good) {
            return Err(wrong());
        }
        Ok(Self { prefix: prefix.to_owned() })
    }

    /// What an id looks like, for people.
    #[must_use]
    pub fn example(&self) -> String {
        format!("{}1234", self.prefix)
    }

    /// The first id of all.
    #[must_use]
    pub fn first(&self) -> String {
        format!("{}1", self.prefix)
    }

    /// The number in `id`, when all of it fits.
    #[must_use]
    pub fn digits<'a>(&self, id: &'a str) -> Option<&'a str> {
        let digits = id.strip_prefix(&self.prefix)?;
        let good = (1..=18).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        good.then_some(digits)
    }
}

impl SignalSettings {
    /// Puts the path of the credential that is named in its place.
    ///
    /// # Errors
    /// When systemd handed nothing over, or a name cannot be a credential's.
    pub fn resolve(&mut self, directory: Option<&Path>) -> Result<(), ConfigError> {
        let endpoint = match &mut self.source {
            SignalSource::Ticket { endpoint, .. } | SignalSource::OnCall { endpoint, .. } => endpoint,
            SignalSource::Calendar { place: CalendarPlace::Url(endpoint), .. } => endpoint,
            SignalSource::Calendar { place: CalendarPlace::File(_), .. } => return Ok(()),
        };
        if let Some(file) = &mut endpoint.secret
            && let Some(text) = file.to_str()
        {
            *file = credential::resolve_one(&format!("signal {:?}", self.name), text, directory)?.into();
        }
        Ok(())
    }

    /// What it tells of.
    #[must_use]
    pub fn signal(&self) -> Signal {
        match &self.source {
            SignalSource::Ticket { .. } => Signal::Ticket,
            SignalSource::OnCall { .. } => Signal::OnCall,
            SignalSource::Calendar { signal, .. } => *signal,
        }
    }
}
