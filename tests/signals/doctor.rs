//! What the doctor says of each source.

use grantd_testkit::DeskFault;
use serde_json::{Value, json};

use super::stage::{ON_CALL, Stage, TICKET, fresh, jira, ticket};

const SOURCES: &str = r#"
[[signal]]
name = "pager"
type = "on_call"
contact = "the platform team"
url = "{desk}/oncalls?schedule_ids[]=PI7DH85&limit=100"
secret = "{config}/pagerduty.secret"
list = "/oncalls"
person = "/user/id"
overrides = [
    { url = "{desk}/schedules/PI7DH85/overrides?since={since}&until={until}", list = "/overrides", person = "/user/id" },
]
accounts = { olga = "POLGA01" }

[[signal]]
name = "windows"
type = "change_window"
contact = "change management"
url = "{desk}/calendars/windows.ics"
secret = "{config}/bearer.secret"
"#;

const CALENDAR: &str = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x//EN\r\nBEGIN:VEVENT\r\nUID:1\r\n\
                        DTSTAMP:20260101T000000Z\r\nDTSTART:20200101T000000Z\r\nDTEND:20990101T000000Z\r\nEND:VEVENT\r\n\
                        END:VCALENDAR\r\n";

/// What `grantctl doctor` prints of this source: how it stands, and the whole.
fn finding(stage: &Stage, name: &str) -> (String, String) {
    let told = stage.world.root().grantctl(&["--json", "doctor", "--metadata", "127.0.0.1:9"]);
    let lines = told.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut all = lines.filter(|line| line["about"] == json!(format!("signal \"{name}\"")));
    let one = all.next().unwrap_or_else(|| panic!("no finding about {name}: {told:?}"));
    assert!(all.next().is_none(), "{told:?}");
    assert_eq!(one["check"], "signal.answers");
    (one["standing"].as_str().unwrap().to_owned(), one.to_string())
}

fn is(stage: &Stage, name: &str, standing: &str, words: &[&str]) {
    let (stands, text) = finding(stage, name);
    assert_eq!(stands, standing, "{text}");
    for word in words {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn the_doctor_tells_of_each_source_how_it_answers_and_changes_nothing_by_it() {
    let stage = Stage::new(&format!("{TICKET}{ON_CALL}{}", fresh("")), &(jira("jira", "OPS") + SOURCES));
    stage.desk.pagerduty("PI7DH85", &["POLGA01"]);
    stage.desk.calendar("windows", CALENDAR);
    // Nobody named a ticket yet, and there is no first one.
    is(&stage, "jira", "not_checked", &["OPS-1", "404", "nothing for a decision yet"]);
    is(&stage, "pager", "ok", &["who is on call"]);
    is(&stage, "windows", "ok", &["whole"]);
    stage.desk.jira("OPS-17", ticket("In Progress"));
    let olga = stage.world.request(&stage.world.olga(), "beta", json!({ "ticket": "OPS-17" }));
    assert_eq!(olga.status, 201, "{olga:?}");
    is(&stage, "jira", "ok", &["OPS-17", "s old"]);
    for (name, path, fault, words) in [
        ("jira", "/rest", DeskFault::Status(401), ["401", "the Jira desk"]),
        ("jira", "/rest", DeskFault::LoginPageAsJson, ["not JSON", "the Jira desk"]),
        ("pager", "/schedules", DeskFault::Status(500), ["override", "the platform team"]),
        ("windows", "/calendars", DeskFault::LoginPage, ["text/calendar", "change management"]),
    ] {
        stage.desk.breaks(path, Some(fault));
        for _ in 0..4 {
            is(&stage, name, "problem", &words);
        }
        stage.desk.breaks(path, None);
        is(&stage, name, "ok", &[]);
    }
    stage.desk.jira("OPS-17", ticket("Waiting for the moon"));
    is(&stage, "jira", "problem", &["Waiting for the moon"]);
    // It failed for the doctor many times over: decisions know nothing of it.
    let alarms = stage.world.status()["alarms"].to_string();
    assert!(!alarms.contains("jira") && !alarms.contains("pager"), "{alarms}");
}
