//! Calendars as people and tools write them.

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn event(lines: &str) -> String {
    format!(
        "BEGIN:VEVENT\r\nUID:a@example.com\r\nDTSTAMP:20260101T000000Z\r\n{}\r\nEND:VEVENT\r\n",
        lines.replace('\n', "\r\n")
    )
}

fn calendar(inside: &str) -> String {
    format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//acme//en\r\n{inside}END:VCALENDAR\r\n")
}

fn on(inside: &str, when: &str) -> bool {
    let now = at(when);
    read(&calendar(inside), "Europe/Berlin", Count::Settled, now).unwrap().covers(now).unwrap()
}

fn refused(inside: &str) -> String {
    read(&calendar(inside), "Europe/Berlin", Count::Settled, at("2026-06-01T00:00:00Z")).unwrap_err().why
}

#[test]
fn an_event_has_its_first_moment_and_not_its_last() {
    let once = event("DTSTART:20260601T090000Z\nDTEND:20260601T110000Z");
    for (when, expected) in [
        ("2026-06-01T08:59:59Z", false),
        ("2026-06-01T09:00:00Z", true),
        ("2026-06-01T10:59:59.999Z", true),
        ("2026-06-01T11:00:00Z", false),
    ] {
        assert_eq!(on(&once, when), expected, "{when}");
    }
    let by_duration = event("DTSTART:20260601T090000Z\nDURATION:PT2H");
    assert!(on(&by_duration, "2026-06-01T10:00:00Z") && !on(&by_duration, "2026-06-01T11:00:00Z"));
}

#[test]
fn a_window_follows_the_clocks_of_its_zone() {
    // Tuesdays from 22 to 24 in Berlin: at 20 UTC in summer, at 21 in winter.
    for start in [
        "DTSTART;TZID=Europe/Berlin:20260106T220000\nDTEND;TZID=Europe/Berlin:20260107T000000",
        "DTSTART:20260106T220000\nDTEND:20260107T000000",
    ] {
        let weekly = event(&format!("{start}\nRRULE:FREQ=WEEKLY;BYDAY=TU"));
        for (when, expected) in [
            ("2026-01-13T20:30:00Z", false),
            ("2026-01-13T21:30:00Z", true),
            ("2026-07-14T20:30:00Z", true),
            ("2026-07-14T22:00:00Z", false),
            ("2026-07-15T20:30:00Z", false),
            ("2031-07-15T20:30:00Z", true),
        ] {
            assert_eq!(on(&weekly, when), expected, "{start} {when}");
        }
    }
}

#[test]
fn a_series_in_utc_stays_in_utc_whatever_the_zone_of_the_source() {
    let daily = event("DTSTART:20260101T090000Z\nDTEND:20260101T100000Z\nRRULE:FREQ=DAILY");
    assert!(on(&daily, "2026-07-01T09:30:00Z"));
    assert!(!on(&daily, "2026-07-01T08:30:00Z") && !on(&daily, "2026-07-01T07:30:00Z"));
}

#[test]
fn the_last_of_a_series_counts() {
    // UNTIL is the start of the last one, in UTC as RFC 5545 (3.3.10) wants it.
    let ends = event(
        "DTSTART;TZID=Europe/Berlin:20260601T090000\nDTEND;TZID=Europe/Berlin:20260601T100000\n\
         RRULE:FREQ=DAILY;UNTIL=20260605T070000Z",
    );
    assert!(on(&ends, "2026-06-05T07:30:00Z") && !on(&ends, "2026-06-06T07:30:00Z"));
    let west = ends.replace("Europe/Berlin", "America/New_York").replace("T070000Z", "T130000Z");
    assert!(on(&west, "2026-06-05T13:30:00Z") && !on(&west, "2026-06-06T13:30:00Z"));
    let counted = event("DTSTART:20260601T090000Z\nDTEND:20260601T100000Z\nRRULE:FREQ=DAILY;COUNT=3");
    assert!(on(&counted, "2026-06-03T09:30:00Z") && !on(&counted, "2026-06-04T09:30:00Z"));
}

#[test]
fn what_was_taken_out_of_a_series_or_moved_or_cancelled_is_out_of_it() {
    let series =
        "DTSTART;TZID=Europe/Berlin:20260601T090000\nDTEND;TZID=Europe/Berlin:20260601T100000\nRRULE:FREQ=DAILY";
    let without = event(&format!("{series}\nEXDATE;TZID=Europe/Berlin:20260603T090000"));
    assert!(on(&without, "2026-06-02T07:30:00Z") && !on(&without, "2026-06-03T07:30:00Z"));
    // Tools count SEQUENCE up in what they move.
    let moved = event(&format!("{series}\nSEQUENCE:0"))
        + &event(
            "SEQUENCE:3\nRECURRENCE-ID;TZID=Europe/Berlin:20260604T090000\nDTSTART;TZID=Europe/Berlin:20260604T150000\n\
             DTEND;TZID=Europe/Berlin:20260604T160000",
        );
    assert!(!on(&moved, "2026-06-04T07:30:00Z") && on(&moved, "2026-06-04T13:30:00Z"));
    assert!(on(&moved, "2026-06-05T07:30:00Z"));
    let cancelled = event(series)
        + &event(
            "SEQUENCE:1\nSTATUS:CANCELLED\nRECURRENCE-ID;TZID=Europe/Berlin:20260604T090000\n\
             DTSTART;TZID=Europe/Berlin:20260604T090000\nDTEND;TZID=Europe/Berlin:20260604T100000",
        );
    assert!(!on(&cancelled, "2026-06-04T07:30:00Z") && on(&cancelled, "2026-06-05T07:30:00Z"));
    assert!(!on(&event(&format!("{series}\nSTATUS:CANCELLED")), "2026-06-02T07:30:00Z"));
}

#[test]
fn what_is_tentative_freezes_and_opens_nothing() {
    let text = calendar(&event("DTSTART:20260601T090000Z\nDTEND:20260601T110000Z\nSTATUS:TENTATIVE"));
    let now = at("2026-06-01T10:00:00Z");
    let covers = |count| read(&text, "UTC", count, now).unwrap().covers(now);
    assert_eq!((covers(Count::Tentative), covers(Count::Settled)), (Some(true), Some(false)));
}

#[test]
fn a_whole_day_is_that_of_the_zone() {
    let day = event("DTSTART;VALUE=DATE:20261224\nDTEND;VALUE=DATE:20261227");
    assert!(!on(&day, "2026-12-23T22:59:59Z") && on(&day, "2026-12-23T23:00:00Z"));
    assert!(on(&day, "2026-12-26T22:59:59Z") && !on(&day, "2026-12-26T23:00:00Z"));
    assert!(on(&event("DTSTART;VALUE=DATE:20261224"), "2026-12-24T12:00:00Z"));
}

#[test]
fn many_series_without_an_end_do_not_crowd_each_other_out() {
    let all: String = (0..24)
        .map(|hour| {
            let text = format!("DTSTART:20200101T{hour:02}0000Z\nDTEND:20200101T{hour:02}3000Z\nRRULE:FREQ=WEEKLY");
            event(&text).replace("a@example", &format!("h{hour}@example"))
        })
        .collect();
    assert!(on(&all, "2026-06-03T23:10:00Z") && !on(&all, "2026-06-03T23:40:00Z") && on(&all, "2026-06-03T00:10:00Z"));
}

#[test]
fn what_is_not_understood_without_doubt_is_refused_whole() {
    let good = "DTSTART:20260601T090000Z\nDTEND:20260601T110000Z";
    for (lines, word) in [
        ("DTSTART:soon\nDTEND:20260601T110000Z", "cannot be read"),
        ("DTSTART:20260601T090000Z", "without an end"),
        ("DTEND:20260601T110000Z", "DTSTART"),
        ("DTSTART;TZID=Mars/Olympus:20260601T090000\nDURATION:PT1H", "Mars/Olympus"),
        ("DTSTART;TZID=Europe/Berlin:20260601T090000\nDTEND:20260601T110000Z", "another"),
        (&format!("{good}\nRRULE:FREQ=SOMETIMES"), "RRULE"),
        (&format!("{good}\nRRULE:FREQ=DAILY\nRRULE:FREQ=WEEKLY"), "twice"),
        (&format!("{good}\nRRULE:FREQ=DAILY\nEXRULE:FREQ=WEEKLY"), "EXRULE"),
        (&format!("{good}\nRRULE:FREQ=DAILY\nEXDATE:never"), "EXDATE"),
        (&format!("{good}\nRECURRENCE-ID;RANGE=THISANDFUTURE:20260601T090000Z"), "RANGE"),
        ("DTSTART:20200101T000000Z\nDTEND:20200101T000001Z\nRRULE:FREQ=MINUTELY", "begin its series later"),
    ] {
        let why = refused(&event(lines));
        assert!(why.contains(word), "{lines}: {why}");
    }
    for text in ["", "<html></html>", "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\n", "{}"] {
        assert!(read(text, "UTC", Count::Settled, at("2026-06-01T00:00:00Z")).is_err(), "{text}");
    }
    assert!(read(&calendar(""), "Moon/Base", Count::Settled, at("2026-06-01T00:00:00Z")).is_err());
    assert!(!on("", "2026-06-01T00:00:00Z"), "a calendar with no event is one");
}

#[test]
fn an_hour_that_is_twice_or_not_there_is_refused_when_it_matters() {
    let nightly =
        event("DTSTART;TZID=Europe/Berlin:20260101T023000\nDTEND;TZID=Europe/Berlin:20260101T033000\nRRULE:FREQ=DAILY");
    let read = |when: &str| read(&calendar(&nightly), "UTC", Count::Tentative, at(when));
    assert!(read("2026-10-25T00:00:00Z").unwrap_err().why.contains("twice"));
    assert!(read("2026-03-29T00:00:00Z").unwrap_err().why.contains("twice"));
    assert_eq!(read("2026-06-01T00:45:00Z").unwrap().covers(at("2026-06-01T00:45:00Z")), Some(true));
}

#[test]
fn p6_what_was_laid_out_too_long_ago_is_not_asked() {
    let now = at("2026-06-01T00:00:00Z");
    let read = read(&calendar(""), "UTC", Count::Settled, now).unwrap();
    assert_eq!(read.covers(now), Some(false));
    assert_eq!(read.covers(at("2026-06-03T00:00:00Z")), None);
    assert_eq!(read.covers(at("2026-05-31T23:59:59Z")), None, "a clock that jumped back");
}

#[test]
fn when_calendars_change_next_is_known_as_far_as_they_are_laid_out() {
    let now = at("2026-06-01T10:00:00Z");
    let one = |from: &str, until: &str| {
        let text = calendar(&event(&format!("DTSTART:202606{from}00Z\nDTEND:202606{until}00Z")));
        read(&text, "UTC", Count::Settled, now).unwrap()
    };
    let (early, late) = (one("01T0900", "01T1100"), one("01T1030", "01T1200"));
    let (after, never) = (one("01T1300", "01T1400"), one("05T0900", "05T1000"));
    for (calendars, expected) in [
        (vec![&early], Some("2026-06-01T11:00:00Z")),
        (vec![&early, &late, &after], Some("2026-06-01T12:00:00Z")),
        (vec![&late, &after], Some("2026-06-01T10:30:00Z")),
        (vec![&never], None),
        (vec![], None),
    ] {
        assert_eq!(changes_at(&calendars, now), expected.map(at));
    }
}
