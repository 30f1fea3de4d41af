//! Calendars in a form that the library takes as RFC 5545 has it; what it would pass over in silence is refused. Pure.

use std::collections::BTreeMap;
use std::str::FromStr;

use calcard::common::PartialDateTime;
use calcard::common::timezone::Tz;
use calcard::icalendar::{
    ICalendar, ICalendarComponent, ICalendarComponentType, ICalendarEntry, ICalendarParameter, ICalendarParameterName,
    ICalendarParameterValue, ICalendarProperty, ICalendarValue,
};
use jiff::{Timestamp, tz::TimeZone};

/// Puts straight what the library takes otherwise than RFC 5545 has it, and refuses what it would pass over.
pub(super) fn straighten(calendar: &mut ICalendar, default: Tz, until: Timestamp) -> Result<(), String> {
    check_zones(calendar)?;
    let mut moved: BTreeMap<String, Vec<ICalendarEntry>> = BTreeMap::new();
    for component in &mut calendar.components {
        if component.component_type != ICalendarComponentType::VEvent {
            // What is to be done, or busy, is no event; nothing of it counts.
            if component.has_times() {
                component.component_type = ICalendarComponentType::VAlarm;
            }
            continue;
        }
        component.check()?;
        if let Some(mut instead_of) = component.take(&ICalendarProperty::RecurrenceId) {
            if instead_of.has_parameter(&ICalendarParameterName::Range) {
                return Err("moves all later events of a series (RANGE): end the series and begin another".to_owned());
            }
            // The library finds what a moved event stands in for by its SEQUENCE; here it is by UID (3.8.4.4).
            let series = component.uid().ok_or("has an event without UID")?.to_owned();
            instead_of.name = ICalendarProperty::Exdate;
            moved.entry(series).or_default().push(instead_of);
        }
        component.zone_of_start();
        component.cut_series(default, until)?;
    }
    for component in &mut calendar.components {
        let of_series = component.uid().and_then(|uid| moved.get(uid)).cloned().unwrap_or_default();
        if component.has_property(&ICalendarProperty::Rrule) || component.has_property(&ICalendarProperty::Rdate) {
            component.entries.extend(of_series);
        }
        let all_of = [ICalendarProperty::Rdate, ICalendarProperty::Exdate];
        if all_of.iter().all(|property| component.has_property(property)) {
            return Err("has an event with RDATE and exceptions: write them as events of their own".to_owned());
        }
    }
    Ok(())
}

fn check_zones(calendar: &ICalendar) -> Result<(), String> {
    let known = calendar.build_tz_resolver();
    for entry in calendar.components.iter().flat_map(|component| &component.entries) {
        if let Some(name) = entry.tz_id()
            && known.resolve(name).is_none()
        {
            let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
            return Err(format!(
                "has a time in the zone {shown:?}, which is not known: use a name such as Europe/Berlin"
            ));
        }
    }
    Ok(())
}

/// What is done to one event.
trait Event {
    fn has_times(&self) -> bool;
    fn take(&mut self, property: &ICalendarProperty) -> Option<ICalendarEntry>;
    fn check(&self) -> Result<(), String>;
    fn zone_of_start(&mut self);
    fn cut_series(&mut self, default: Tz, until: Timestamp) -> Result<(), String>;
}

impl Event for ICalendarComponent {
    fn has_times(&self) -> bool {
        self.component_type.has_time_ranges()
    }

    fn take(&mut self, property: &ICalendarProperty) -> Option<ICalendarEntry> {
        let place = self.entries.iter().position(|entry| entry.name == *property)?;
        Some(self.entries.remove(place))
    }

    /// Every time of it was read, and nothing stands there that is not understood.
    fn check(&self) -> Result<(), String> {
        for entry in &self.entries {
            let time = |value: &ICalendarValue| matches!(value, ICalendarValue::PartialDateTime(_));
            let read = match entry.name {
                ICalendarProperty::Dtstart | ICalendarProperty::Dtend | ICalendarProperty::RecurrenceId => {
                    entry.values.len() == 1 && entry.values.iter().all(time)
                }
                ICalendarProperty::Exdate => entry.values.iter().all(time),
                ICalendarProperty::Rdate => {
                    entry.values.iter().all(|value| time(value) || matches!(value, ICalendarValue::Period(_)))
                }
                ICalendarProperty::Duration => matches!(entry.values.as_slice(), [ICalendarValue::Duration(_)]),
                ICalendarProperty::Rrule => match entry.values.as_slice() {
                    [ICalendarValue::RecurrenceRule(rule)] => rule.rscale.is_none() && rule.skip.is_none(),
                    _ => false,
                },
                ICalendarProperty::Status => {
                    matches!(entry.values.as_slice(), [ICalendarValue::Status(_)])
                }
                ICalendarProperty::Exrule => false,
                _ => true,
            };
            if !read {
                return Err(format!("has an event whose {} cannot be read", entry.name.as_str()));
            }
        }
        let count = |property: ICalendarProperty| self.properties(&property).count();
        if count(ICalendarProperty::Dtstart) != 1
            || count(ICalendarProperty::Dtend).saturating_add(count(ICalendarProperty::Duration)) > 1
            || count(ICalendarProperty::Rrule) > 1
        {
            return Err("has an event with DTSTART, DTEND or RRULE missing or standing twice".to_owned());
        }
        let start = self.property(&ICalendarProperty::Dtstart);
        let end = self.property(&ICalendarProperty::Dtend);
        let kind = |entry: Option<&ICalendarEntry>| {
            let time = entry.and_then(|entry| entry.values.first()).and_then(ICalendarValue::as_partial_date_time);
            time.map(|time| (time.hour.is_some(), time.tz_hour.is_some()))
        };
        let timed = kind(start).is_some_and(|(timed, _)| timed);
        if timed && end.is_none() && count(ICalendarProperty::Duration) == 0 {
            return Err("has an event without an end: give it DTEND or DURATION".to_owned());
        }
        let zones = (start.and_then(ICalendarEntry::tz_id), end.and_then(ICalendarEntry::tz_id));
        if end.is_some() && (kind(start) != kind(end) || zones.0 != zones.1) {
            return Err("has an event that begins in one time zone and ends in another".to_owned());
        }
        if self.has_property(&ICalendarProperty::Exdate) && !self.has_property(&ICalendarProperty::Rrule) {
            return Err("has an event with EXDATE that is no series".to_owned());
        }
        Ok(())
    }

    /// The library lays a series out in the zone that DTSTART names, and forgets a Z there: it is named then.
    fn zone_of_start(&mut self) {
        for entry in self.properties_mut(&ICalendarProperty::Dtstart) {
            let mut utc = false;
            for value in &mut entry.values {
                if let ICalendarValue::PartialDateTime(time) = value
                    && time.tz_hour.is_some()
                {
                    (time.tz_hour, time.tz_minute, time.tz_minus, utc) = (None, None, false, true);
                }
            }
            if utc {
                entry.params.retain(|parameter| parameter.name != ICalendarParameterName::Tzid);
                entry.params.push(ICalendarParameter {
                    name: ICalendarParameterName::Tzid,
                    value: ICalendarParameterValue::Text("UTC".to_owned()),
                });
            }
        }
    }

    /// Ends a series at the horizon, so that it has an end, and gives its end in the time of its own zone, with which the
    /// library compares.
    fn cut_series(&mut self, default: Tz, horizon: Timestamp) -> Result<(), String> {
        let Some(start) = self.property(&ICalendarProperty::Dtstart) else { return Ok(()) };
        let named = start.tz_id().map(|name| Tz::from_str(name).unwrap_or(default));
        let zone = named.unwrap_or(default);
        let begins = start.values.first().and_then(ICalendarValue::as_partial_date_time);
        let begins = begins.and_then(|time| time.to_date_time_with_tz(zone)).map(|time| time.timestamp());
        let begins = begins.ok_or("has an event that begins at a time that is not there, or twice")?;
        if begins > horizon.as_second() {
            // Nothing of the series is of interest yet.
            self.entries.retain(|entry| !matches!(entry.name, ICalendarProperty::Rrule | ICalendarProperty::Exdate));
            return Ok(());
        }
        for entry in self.properties_mut(&ICalendarProperty::Rrule) {
            for value in &mut entry.values {
                let ICalendarValue::RecurrenceRule(rule) = value else { continue };
                let ends = match &rule.until {
                    // A date: the whole of that day.
                    Some(day) if day.hour.is_none() => {
                        let mut last = day.clone();
                        (last.hour, last.minute, last.second) = (Some(23), Some(59), Some(59));
                        last.to_date_time_with_tz(zone).map(|time| time.timestamp())
                    }
                    Some(time) => time.to_date_time_with_tz(zone).map(|time| time.timestamp()),
                    None if rule.count.is_some() => continue,
                    None => Some(horizon.as_second()),
                };
                let ends = ends.ok_or("has a series that ends at a time that is not there, or twice")?;
                if ends < begins {
                    return Err("has a series that ends before it begins".to_owned());
                }
                rule.until = Some(local(ends.min(horizon.as_second()), zone)?);
            }
        }
        Ok(())
    }
}

/// A moment as the clocks of `zone` show it, without the zone.
fn local(second: i64, zone: Tz) -> Result<PartialDateTime, String> {
    let wrong = || "has a time that is out of bounds".to_owned();
    let name = zone.name().ok_or_else(wrong)?;
    let zone = TimeZone::get(&name).map_err(|_| format!("has a time in the zone {name:?}, which is not known"))?;
    let time = Timestamp::from_second(second).map_err(|_| wrong())?.to_zoned(zone).datetime();
    let small = |part: i8| u8::try_from(part).map_err(|_| wrong());
    Ok(PartialDateTime {
        year: Some(u16::try_from(time.year()).map_err(|_| wrong())?),
        month: Some(small(time.month())?),
        day: Some(small(time.day())?),
        hour: Some(small(time.hour())?),
        minute: Some(small(time.minute())?),
        second: Some(small(time.second())?),
        tz_hour: None,
        tz_minute: None,
        tz_minus: false,
    })
}
