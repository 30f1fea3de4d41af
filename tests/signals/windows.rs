//! Change windows and freezes from calendars.

use std::time::Duration;

use grantd_tests::{User, World, eventually, now};
use jiff::{SignedDuration, Timestamp, ToSpan, tz::TimeZone};
use serde_json::json;

use super::stage::{FREEZE, Stage, WINDOW, fresh, is_denied};

/// The time of a lease, and the watch that comes after it.
const WATCH: Duration = Duration::from_secs(60);

const FILE: &str = "[[signal]]\nname = \"windows\"\ntype = \"change_window\"\ncontact = \"change management\"\n\
                    file = \"{config}/windows.ics\"\n";

const URL: &str = "[[signal]]\nname = \"year-end\"\ntype = \"freeze\"\ncontact = \"change management\"\n\
                   url = \"{desk}/calendars/freezes.ics\"\nsecret = \"{config}/bearer.secret\"\n\
                   time_zone = \"Europe/Berlin\"\nenvironments = [\"dev\"]\n";

fn calendar(events: &str) -> String {
    format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//acme//changes//EN\r\n{events}END:VCALENDAR\r\n")
}

fn event(lines: &str) -> String {
    format!("BEGIN:VEVENT\r\nUID:{}\r\nDTSTAMP:20260101T000000Z\r\n{lines}\r\nEND:VEVENT\r\n", lines.len())
}

/// As a calendar writes a moment of UTC.
fn utc(at: Timestamp) -> String {
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

fn window(world: &World, from: Timestamp, until: Timestamp) {
    let text = calendar(&event(&format!("DTSTART:{}\r\nDTEND:{}", utc(from), utc(until))));
    world.scene.write("config/windows.ics", &text, User::Root, 0o644);
}

#[test]
fn p6_a_lease_ends_with_its_window_unless_policy_lets_it_run() {
    for ends in [true, false] {
        println!("ends: {ends}");
        let more = if ends { "" } else { "@on_signal_change(\"keep\")" };
        let mut stage = Stage::prepared(&format!("{WINDOW}{}", fresh(more)), FILE);
        if !ends {
            stage.keep();
        }
        stage.world.start();
        let world = &stage.world;
        let closes = now() + SignedDuration::from_secs(30);
        let closes = Timestamp::from_second(closes.as_second()).unwrap();
        window(world, closes - SignedDuration::from_hours(1), closes);
        let grant = world.grant(&world.alice(), "beta");
        let longer = world.vend(&world.alice(), &grant, json!({ "ttl_seconds": 300 }));
        let (lease, key) = World::vended(&world.vend(&world.alice(), &grant, json!({})));
        assert!(world.can_read(&key, "beta"));
        assert!(now() < closes, "the machine is too slow for this test");
        let until: Timestamp = world.lease(&lease)["access_until"].as_str().unwrap().parse().unwrap();
        // What was asked for is not cut in silence; what the daemon chose ends with the window.
        if ends {
            longer.is_problem(422, "limit", &["change window ends"]);
            assert!(longer.body["limit"].as_u64().is_some_and(|most| most < 30), "{longer:?}");
            assert_eq!(until, closes);
        } else {
            let _ = World::vended(&longer);
            assert!(until > closes);
        }
        eventually("the window is closed", WATCH, || now() >= closes);
        is_denied(&world.vend(&world.alice(), &grant, json!({})), "beta-window", &["change window"]);
        assert_eq!(stage.recorded("lease.refused")["change_window"]["facts"], json!({ "in_change_window": false }));
        if ends {
            eventually("the lease is over", WATCH, || world.lease(&lease)["state"] == "expired");
            assert!(!world.can_read(&key, "beta"));
        } else {
            let later = now() + SignedDuration::from_secs(20);
            eventually("the watch has come by", WATCH, || now() > later);
            assert_eq!(world.lease(&lease)["state"], "active");
            assert!(world.can_read(&key, "beta"));
        }
    }
}

#[test]
fn p6_a_window_that_is_called_off_during_a_lease_ends_it() {
    let stage = Stage::new(&format!("{WINDOW}{}", fresh("")), FILE);
    let world = &stage.world;
    let hour = SignedDuration::from_hours(1);
    window(world, now() - hour, now() + hour);
    let grant = world.grant(&world.alice(), "beta");
    let (lease, key) = World::vended(&world.vend(&world.alice(), &grant, json!({})));
    assert!(world.can_read(&key, "beta"));
    window(world, now() - hour - hour, now() - hour);
    eventually("the lease is revoked", WATCH, || world.lease(&lease)["state"] == "revoked");
    assert_eq!(world.lease(&lease)["reason"], "signal_changed");
    assert!(!world.can_read(&key, "beta"));
}

#[test]
fn p6_a_window_that_comes_every_day_in_its_own_time_zone_lets_in_and_keeps_out() {
    let stage = Stage::new(&format!("{WINDOW}{}", fresh("")), FILE);
    let world = &stage.world;
    let grant = world.grant(&world.alice(), "beta");
    let vend = || world.vend(&world.alice(), &grant, json!({}));
    let daily = |hours: i64| {
        let zone = TimeZone::get("America/St_Johns").unwrap();
        let begins = (now() - SignedDuration::from_hours(hours)).to_zoned(zone);
        let first = begins.datetime().checked_sub(3.days()).unwrap();
        let text = calendar(&event(&format!(
            "DTSTART;TZID=America/St_Johns:{}\r\nDURATION:PT2H\r\nRRULE:FREQ=DAILY",
            first.strftime("%Y%m%dT%H%M%S")
        )));
        world.scene.write("config/windows.ics", &text, User::Root, 0o644);
    };
    daily(1);
    let _ = World::vended(&vend());
    daily(4);
    is_denied(&vend(), "beta-window", &[]);
    daily(-4);
    is_denied(&vend(), "beta-window", &[]);
}

#[test]
fn p6_a_freeze_that_is_declared_after_the_request_denies_the_issue_until_it_is_called_off() {
    let stage = Stage::new(&format!("{FREEZE}{}", fresh("")), URL);
    let world = &stage.world;
    let at = |hours: i64| {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        (now() + SignedDuration::from_hours(hours)).to_zoned(zone).strftime("%Y%m%dT%H%M%S").to_string()
    };
    let freeze = |more: &str| calendar(&event(&format!("DTSTART:{}\r\nDTEND:{}{more}", at(-2), at(2))));
    stage.desk.calendar("freezes", &calendar(""));
    let grant = world.grant(&world.alice(), "beta");
    let vend = || world.vend(&world.alice(), &grant, json!({}));
    let _ = World::vended(&vend());
    for more in ["", "\r\nSTATUS:TENTATIVE"] {
        stage.desk.calendar("freezes", &freeze(more));
        is_denied(&vend(), "beta-freeze", &["frozen"]);
    }
    assert_eq!(stage.recorded("lease.refused")["freeze"]["sources"], json!(["year-end"]));
    stage.desk.calendar("freezes", &freeze("\r\nSTATUS:CANCELLED"));
    let _ = World::vended(&vend());
}

#[test]
fn p6_a_calendar_file_that_others_can_write_or_that_is_gone_is_none() {
    let stage = Stage::new(&format!("{WINDOW}{}", fresh("")), FILE);
    let world = &stage.world;
    let grant = world.grant(&world.alice(), "beta");
    let vend = || world.vend(&world.alice(), &grant, json!({}));
    is_denied(&vend(), "signal:change_window", &["\"windows\"", "windows.ics"]);
    let open = calendar(&event("DTSTART:20200101T000000Z\r\nDTEND:20990101T000000Z"));
    world.scene.write("config/windows.ics", &open, User::Root, 0o666);
    is_denied(&vend(), "signal:change_window", &["\"windows\"", "windows.ics"]);
    world.scene.write("config/windows.ics", &open, User::Alice, 0o644);
    eventually("it is looked at again", WATCH, || {
        let refused = vend();
        is_denied(&refused, "signal:change_window", &["\"windows\""]);
        !refused.body["detail"].as_str().unwrap().contains("left alone")
    });
    world.scene.write("config/windows.ics", &open, User::Root, 0o644);
    eventually("it is trusted again", WATCH, || vend().status == 200);
}
