//! `[[signal]]` of `grantd.toml` as it is written, and what makes it settings.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use grantd_model::{Signal, TicketState};
use serde::Deserialize;

use super::credential;
use super::notify::address;
use super::raw::{ConfigError, bounded_duration, plain_name};
use super::signal::{CalendarPlace, DIGITS, Endpoint, IdPattern, SignalSettings, SignalSource, TICKET, TicketMap};
use super::signal_moves::RawMovedBy;
use super::signal_overrides::RawOverrides;

const FILE: &str = "grantd.toml";

/// Where PagerDuty says that there is a further page; who has no such thing has nothing there.
pub(super) const MORE: &str = "/more";

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawKind {
    Ticket,
    OnCall,
    ChangeWindow,
    Freeze,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawStates {
    open: Vec<String>,
    active: Vec<String>,
    closed: Vec<String>,
}

/// `[[signal]]`, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSignal {
    name: String,
    #[serde(rename = "type")]
    kind: RawKind,
    url: Option<String>,
    file: Option<PathBuf>,
    header: Option<String>,
    secret: Option<String>,
    timeout: Option<String>,
    contact: String,
    ids: Option<String>,
    id: Option<String>,
    state: Option<String>,
    states: Option<RawStates>,
    assignee: Option<String>,
    opened_by: Option<String>,
    moved_by: Option<RawMovedBy>,
    resource: Option<String>,
    resource_name: Option<String>,
    list: Option<String>,
    person: Option<String>,
    more: Option<String>,
    overrides: Option<Vec<RawOverrides>>,
    accounts: Option<BTreeMap<String, String>>,
    time_zone: Option<String>,
    environments: Option<BTreeSet<String>>,
}

impl RawSignal {
    /// Checked; `credential:NAME` stays as it is until [`SignalSettings::resolve`].
    pub fn parse(self) -> Result<SignalSettings, ConfigError> {
        let table = format!("signal {:?}", self.name);
        plain_name(&self.name).map_err(|problem| ConfigError::new(FILE, format!("{table}.name"), problem))?;
        let (name, kind) = (self.name.clone(), self.kind);
        self.checked(kind)
            .map_err(|(key, problem)| ConfigError::new(FILE, format!("{table}.{key}"), problem))
            .map(|(source, timeout, contact)| SignalSettings { name, source, timeout, contact })
    }

    fn checked(mut self, kind: RawKind) -> Result<(SignalSource, Duration, String), (&'static str, String)> {
        let timeout = bounded_duration(self.timeout.as_deref().unwrap_or("3s"), "1s", "10s");
        let timeout = timeout.map_err(|problem| ("timeout", problem))?;
        let contact = std::mem::take(&mut self.contact);
        if contact.trim().is_empty() || contact.chars().any(char::is_control) {
            return Err(("contact", "write who can mend this source, on one line: refusals say it".to_owned()));
        }
        self.misplaced(kind)?;
        let source = match kind {
            RawKind::Ticket => self.ticket()?,
            RawKind::OnCall => self.on_call()?,
            RawKind::ChangeWindow => self.calendar(Signal::ChangeWindow)?,
            RawKind::Freeze => self.calendar(Signal::Freeze)?,
        };
        Ok((source, timeout, contact))
    }

    /// A setting that this type of source does not have is a mistake of somebody who believes that it has.
    fn misplaced(&self, kind: RawKind) -> Result<(), (&'static str, String)> {
        let (ticket, on_call) = (matches!(kind, RawKind::Ticket), matches!(kind, RawKind::OnCall));
        let calendar = !ticket && !on_call;
        let written = [
            ("file", self.file.is_some(), calendar),
            ("ids", self.ids.is_some(), ticket),
            ("id", self.id.is_some(), ticket),
            ("state", self.state.is_some(), ticket),
            ("states", self.states.is_some(), ticket),
            ("assignee", self.assignee.is_some(), ticket),
            ("opened_by", self.opened_by.is_some(), ticket),
            ("moved_by", self.moved_by.is_some(), ticket),
            ("resource", self.resource.is_some(), ticket),
            ("resource_name", self.resource_name.is_some(), ticket && self.resource.is_some()),
            ("list", self.list.is_some(), on_call),
            ("person", self.person.is_some(), on_call),
            ("more", self.more.is_some(), on_call),
            ("overrides", self.overrides.is_some(), on_call),
            ("accounts", self.accounts.is_some(), !calendar),
            ("time_zone", self.time_zone.is_some(), calendar),
            ("environments", self.environments.is_some(), calendar),
        ];
        match written.into_iter().find(|(_, there, fits)| *there && !fits) {
            Some((key, ..)) => Err((key, "a source of this type has no such setting: remove it".to_owned())),
            None => Ok(()),
        }
    }

    fn endpoint(&mut self) -> Result<Endpoint, (&'static str, String)> {
        let url = self.url.take().ok_or(("url", "write where it is asked".to_owned()))?;
        address(&url.replace(TICKET, "1").replace(DIGITS, "1")).map_err(|problem| ("url", problem))?;
        let header = self.header.take().unwrap_or_else(|| "Authorization".to_owned());
        let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if header.is_empty() || !header.bytes().all(good) {
            return Err(("header", format!("{header:?} is not the name of a header: write \"Authorization\"")));
        }
        let secret = match self.secret.take() {
            Some(text) if text.starts_with(credential::PREFIX) || Path::new(&text).is_absolute() => Some(text.into()),
            Some(text) => return Err(("secret", format!("{text:?} is neither an absolute path nor credential:NAME"))),
            None => None,
        };
        Ok(Endpoint { url, header, secret })
    }

    fn ticket(mut self) -> Result<SignalSource, (&'static str, String)> {
        let endpoint = self.endpoint()?;
        let places = endpoint.url.matches(TICKET).count().saturating_add(endpoint.url.matches(DIGITS).count());
        let host = endpoint.url.split('/').take(3).any(|part| part.contains('{'));
        if places != 1 || host {
            return Err((
                "url",
                format!("write {TICKET} or {DIGITS} once, where the ticket's id stands in the path or query"),
            ));
        }
        let ids = self.ids.take().ok_or(("ids", format!("write what its ids look like: \"OPS-{DIGITS}\"")))?;
        let ids = IdPattern::parse(&ids).map_err(|problem| ("ids", problem))?;
        let needed = |key: &'static str, value: Option<String>| {
            value.ok_or((key, "write its JSON pointer, such as \"/fields/status/name\"".to_owned()))
        };
        let map = TicketMap {
            id: pointer("id", needed("id", self.id.take())?)?,
            state: pointer("state", needed("state", self.state.take())?)?,
            states: states(self.states.take().unwrap_or_default())?,
            assignee: self.assignee.take().map(|text| pointer("assignee", text)).transpose()?,
            opened_by: self.opened_by.take().map(|text| pointer("opened_by", text)).transpose()?,
            moved_by: self.moved_by.take().map(|moved_by| moved_by.checked(&endpoint.url)).transpose()?,
            resource: self.resource.take().map(|text| pointer("resource", text)).transpose()?,
            resource_name: pointer("resource_name", self.resource_name.take().unwrap_or_default())?,
            accounts: accounts(self.accounts.take())?,
        };
        Ok(SignalSource::Ticket { endpoint, ids, map: Box::new(map) })
    }

    fn on_call(mut self) -> Result<SignalSource, (&'static str, String)> {
        let endpoint = self.endpoint()?;
        let list = pointer("list", self.list.take().unwrap_or_default())?;
        let person = pointer("person", self.person.take().unwrap_or_default())?;
        let more = pointer("more", self.more.take().unwrap_or_else(|| MORE.to_owned()))?;
        let accounts = accounts(self.accounts.take())?;
        if accounts.is_empty() {
            return Err((
                "accounts",
                "write who of people.toml is called what there: { anna = \"anna@example.com\" }".to_owned(),
            ));
        }
        let overrides = self.overrides.take().ok_or((
            "overrides",
            "write where it tells of overrides, or [] where whoever is on call by one counts: see the manual"
                .to_owned(),
        ))?;
        let overrides: Result<_, _> = overrides.into_iter().map(|one| one.checked(&endpoint.url)).collect();
        Ok(SignalSource::OnCall { endpoint, list, person, more, overrides: overrides?, accounts })
    }

    fn calendar(mut self, signal: Signal) -> Result<SignalSource, (&'static str, String)> {
        let place = match (self.file.take(), self.url.is_some()) {
            (Some(file), false) if file.is_absolute() && self.secret.is_none() && self.header.is_none() => {
                CalendarPlace::File(file)
            }
            (Some(_), false) => {
                return Err(("file", "write an absolute path, and neither header nor secret".to_owned()));
            }
            (None, true) => CalendarPlace::Url(self.endpoint()?),
            _ => return Err(("url", "write one of url and file".to_owned())),
        };
        let time_zone = self.time_zone.take().unwrap_or_else(|| "UTC".to_owned());
        let environments = self.environments.take().unwrap_or_default();
        Ok(SignalSource::Calendar { signal, place, time_zone, environments })
    }
}

/// All of `[[signal]]`.
pub(super) fn parse_all(raw: Vec<RawSignal>) -> Result<Vec<SignalSettings>, ConfigError> {
    let mut all: Vec<SignalSettings> = Vec::new();
    for raw in raw {
        let one = raw.parse()?;
        if all.iter().any(|other| other.name == one.name) {
            return Err(ConfigError::new(FILE, format!("signal {:?}", one.name), "the name stands twice"));
        }
        all.push(one);
    }
    Ok(all)
}

pub(super) fn pointer(key: &'static str, text: String) -> Result<String, (&'static str, String)> {
    if text.is_empty() && matches!(key, "list" | "person" | "resource_name") || text.starts_with('/') {
        return Ok(text);
    }
    Err((key, format!("{text:?} is not a JSON pointer: it begins with /, such as \"/fields/status/name\"")))
}

fn states(raw: RawStates) -> Result<BTreeMap<String, TicketState>, (&'static str, String)> {
    let words = [(raw.open, TicketState::Open), (raw.active, TicketState::Active), (raw.closed, TicketState::Closed)];
    let mut states = BTreeMap::new();
    for (word, state) in words.into_iter().flat_map(|(words, state)| words.into_iter().map(move |word| (word, state))) {
        if states.insert(word.clone(), state).is_some() {
            return Err(("states", format!("{word:?} stands twice")));
        }
    }
    if states.values().any(|state| *state == TicketState::Active) {
        return Ok(states);
    }
    Err(("states", "write which of its words mean open, active and closed, active at least".to_owned()))
}

fn accounts(raw: Option<BTreeMap<String, String>>) -> Result<BTreeMap<String, String>, (&'static str, String)> {
    let raw = raw.unwrap_or_default();
    let mut seen = BTreeSet::new();
    match raw.values().find(|account| account.is_empty() || !seen.insert(account.to_lowercase())) {
        Some(account) => Err(("accounts", format!("{account:?} stands twice, or is empty: it tells nobody apart"))),
        None => Ok(raw),
    }
}

#[cfg(test)]
#[path = "signal_tests.rs"]
mod tests;
