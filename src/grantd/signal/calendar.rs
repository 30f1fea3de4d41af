//! Change windows and freezes from calendars (RFC 5545), with recurrence and time zones. Pure.
//!
//! A calendar that is not understood without doubt is refused whole: an event that was passed over could be the freeze.
//! The library expands recurrences; what it would pass over, or take otherwise than the RFC has it, is put straight or
//! refused before (see [`straighten`]).

use std::str::FromStr;

use calcard::common::timezone::Tz;
use calcard::icalendar::{ICalendar, ICalendarStatus};
use calcard::{Entry, Parser};
use jiff::{SignedDuration, Timestamp};

use super::Failure;
use super::straighten::straighten;

/// The most occurrences from the beginning of all series until the horizon.
const MOST: usize = 20_000;

/// How far ahead occurrences are laid out; what is older than that is read anew.
pub(super) const HORIZON: SignedDuration = SignedDuration::from_hours(48);

/// When its events are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Calendar {
    spans: Vec<(i64, i64)>,
    from: Timestamp,
    until: Timestamp,
}

/// What an event has to be to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    /// Also what is tentative: freezes.
    Tentative,
    /// Only what is settled: change windows.
    Settled,
}

/// Reads `text` as of `now`. Times without a zone are those of `time_zone`.
pub(super) fn read(text: &str, time_zone: &str, count: Count, now: Timestamp) -> Result<Calendar, Failure> {
    let default = zone(time_zone).ok_or_else(|| Failure::away(format!("{time_zone:?} is no time zone")))?;
    let until = now.checked_add(HORIZON).map_err(|_| Failure::away("it is too late for calendars"))?;
    let mut spans = Vec::new();
    for mut calendar in parse(text)? {
        straighten(&mut calendar, default, until).map_err(|why| Failure::away(format!("its calendar {why}")))?;
        let expanded = calendar.expand_dates(default, MOST);
        if let Some(error) = expanded.errors.first() {
            return Err(Failure::away(format!("its calendar has an event that cannot be read: {:?}", error.error)));
        }
        if expanded.events.len() >= MOST {
            return Err(Failure::away(format!(
                "its calendar has more than {MOST} occurrences until now: begin its series later"
            )));
        }
        for event in expanded.events {
            let component = calendar.component_by_id(event.comp_id);
            let component = component.ok_or_else(|| Failure::away("its calendar has an event without a component"))?;
            let twofold = event.start.timezone().is_floating();
            let (start, end) = event.timestamps();
            let settled = match component.status() {
                Some(ICalendarStatus::Cancelled) => continue,
                None | Some(ICalendarStatus::Confirmed) => true,
                Some(_) => false,
            };
            if end <= now.as_second() || !settled && count == Count::Settled {
                continue;
            }
            // The hour that a change to summer time leaves out, and the one that the change back has twice.
            if twofold && start < until.as_second() {
                return Err(Failure::away("its calendar has an event at a time of day that is not there, or twice"));
            }
            spans.push((start, end));
        }
    }
    Ok(Calendar { spans, from: now, until })
}

impl Calendar {
    /// Whether an event of it is on at `at`; its first moment belongs to an event, its last does not. Nothing when `at`
    /// is outside of what was laid out.
    pub fn covers(&self, at: Timestamp) -> Option<bool> {
        let second = at.as_second();
        let known = self.from <= at && at < self.until;
        known.then(|| self.spans.iter().any(|(start, end)| *start <= second && second < *end))
    }
}

/// When what all of `calendars` say together changes next after `at`. Nothing when that is beyond what was laid out.
pub(super) fn changes_at(calendars: &[&Calendar], at: Timestamp) -> Option<Timestamp> {
    let spans = || calendars.iter().flat_map(|calendar| &calendar.spans);
    let end_at = |second| spans().filter(|(start, end)| *start <= second && second < *end).map(|(_, end)| *end).max();
    let now = at.as_second();
    let changes = match end_at(now) {
        None => spans().map(|(start, _)| *start).filter(|start| *start > now).min()?,
        // One event may go over into another.
        Some(end) => std::iter::successors(Some(end), |end| end_at(*end)).last()?,
    };
    let known = calendars.iter().map(|calendar| calendar.until).min()?;
    Timestamp::from_second(changes).ok().filter(|changes| *changes < known)
}

/// Whether a time zone of this name is known.
pub(super) fn is_zone(name: &str) -> bool {
    zone(name).is_some()
}

fn zone(name: &str) -> Option<Tz> {
    Tz::from_str(name).ok().filter(|zone| !zone.is_floating())
}

fn parse(text: &str) -> Result<Vec<ICalendar>, Failure> {
    if !is_framed(text) {
        return Err(Failure::away("its answer is no calendar, or one that is not whole"));
    }
    let mut parser = Parser::new(text);
    let mut calendars = Vec::new();
    loop {
        match parser.entry() {
            Entry::ICalendar(calendar) => calendars.push(calendar),
            Entry::Eof if calendars.is_empty() => return Err(Failure::away("its answer is no calendar")),
            Entry::Eof => return Ok(calendars),
            _ => return Err(Failure::away("its answer is no calendar, or one that is not whole")),
        }
    }
}

/// Whether every line is one of a calendar, and every part of it has its end. The library passes over what is not.
fn is_framed(text: &str) -> bool {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut open: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with([' ', '\t'])) {
        let Some((name, value)) = line.split_once(':') else { return false };
        let value = value.trim().to_ascii_uppercase();
        match (name.to_ascii_uppercase().as_str(), open.last()) {
            ("BEGIN", None) if value != "VCALENDAR" => return false,
            ("BEGIN", _) => open.push(value),
            ("END", Some(last)) if *last == value => drop(open.pop()),
            ("END", _) | (_, None) => return false,
            _ => {}
        }
    }
    open.is_empty()
}

#[cfg(test)]
#[path = "calendar_tests.rs"]
mod tests;
