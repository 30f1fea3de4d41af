//! Sources that are slow, dead, or say something else than what they were asked: each is denied by its name, within its
//! time, and nobody else waits for it.

use std::net::TcpListener;
use std::thread;

use grantd_testkit::{DeskFault, FakeDesk};
use grantd_tests::{Answer, World};
use serde_json::json;

use super::stage::{ON_CALL, Stage, TICKET, WINDOW, fresh, id_of, is_denied, jira, ticket};

#[test]
fn p6_what_a_source_says_that_is_slow_broken_huge_or_elsewhere_is_denied_with_its_name() {
    let elsewhere = FakeDesk::start().unwrap();
    elsewhere.jira("F5-1", ticket("In Progress"));
    let faults = [
        (DeskFault::Silent, "no answer in 2 s"),
        (DeskFault::LoginPage, "not of type application/json"),
        (DeskFault::LoginPageAsJson, "not JSON"),
        (DeskFault::Status(500), "500"),
        (DeskFault::Huge, "larger than 1048576 bytes"),
        (DeskFault::Redirect(format!("{}/rest/api/3/issue/F5-1", elsewhere.url())), "no redirect is followed"),
        (DeskFault::Reset, "the connection broke"),
        (DeskFault::Status(204), "204"),
        (DeskFault::Status(429), "429"),
    ];
    // Each has a source of its own, so that none is left alone for the failures of another.
    let sources: String = (0..faults.len()).map(|n| jira(&format!("jira-{n}"), &format!("F{n}"))).collect();
    let stage = Stage::new(&format!("{TICKET}{}", fresh("")), &sources);
    for (n, (fault, words)) in faults.into_iter().enumerate() {
        println!("{fault:?}");
        let (id, path) = (format!("F{n}-1"), format!("/rest/api/3/issue/F{n}-1"));
        stage.desk.jira(&id, ticket("In Progress"));
        let grant = stage.granted(&id);
        // What one of its tickets says is nothing against the source.
        let alarms_of_it = fault != DeskFault::Huge;
        stage.desk.breaks(&path, Some(fault));
        let source = format!("\"jira-{n}\"");
        for refused in [stage.request(&id), stage.world.vend(&stage.world.alice(), &grant, json!({}))] {
            is_denied(&refused, "signal:ticket", &[&source, words]);
            assert_eq!(refused.body["who_can_fix"], "the Jira desk");
        }
        let recorded = stage.recorded("lease.refused");
        assert_eq!(recorded["ticket"]["looked_up"], "missing");
        assert!(recorded["ticket"]["why"].as_str().unwrap().contains(words), "{recorded}");
        let alarms = stage.world.status()["alarms"].to_string();
        assert_eq!(alarms.contains(&format!("jira-{n}")), alarms_of_it, "{alarms}");
        assert!(!alarms_of_it || alarms.contains(words), "{alarms}");
        stage.desk.breaks(&path, None);
        let _ = World::vended(&stage.world.vend(&stage.world.alice(), &grant, json!({})));
        assert!(!stage.world.status()["alarms"].to_string().contains(&format!("jira-{n}")));
    }
    assert!(elsewhere.asked().is_empty(), "a redirect was followed");
    stage.world.serves_bob();
    stage.world.audit_verifies();
}

#[test]
fn p6_a_calendar_and_a_rota_that_cannot_be_read_are_denied_with_their_names() {
    let sources = "[[signal]]\nname = \"windows\"\ntype = \"change_window\"\ncontact = \"change management\"\n\
                   url = \"{desk}/calendars/windows.ics\"\nsecret = \"{config}/bearer.secret\"\n\n\
                   [[signal]]\nname = \"genie\"\ntype = \"on_call\"\ncontact = \"the platform team\"\n\
                   url = \"{desk}/v2/schedules/operations/on-calls?scheduleIdentifierType=name&flat=true\"\n\
                   secret = \"{config}/opsgenie.secret\"\nlist = \"/data/onCallRecipients\"\noverrides = []\n\
                   accounts = { olga = \"olga@example.com\" }\n";
    let on_issue = ON_CALL.replace("Grantd::Action::\"request\", ", "");
    let stage = Stage::new(&format!("{WINDOW}{on_issue}{}", fresh("")), sources);
    let world = &stage.world;
    let whole = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x//EN\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20260101T000000Z\r\n\
                 DTSTART:20200101T000000Z\r\nDTEND:20990101T000000Z\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
    stage.desk.calendar("windows", whole);
    stage.desk.opsgenie("operations", &["olga@example.com"]);
    let grant = id_of(&world.request(&world.olga(), "beta", json!({})));
    let vend = || world.vend(&world.olga(), &grant, json!({}));
    let _ = World::vended(&vend());
    // Half a calendar could lack the very event that matters.
    for (text, words) in [
        (&whole[..whole.len() - 20], "not whole"),
        ("<html>Please log in</html>", "no calendar"),
        (&whole.replace("DTEND:20990101T000000Z", "DTEND;TZID=Mars/Olympus:20990101T000000"), "Mars/Olympus"),
        (&whole.replace("DTSTAMP", "RRULE:FREQ=SECONDLY\r\nDTSTAMP"), "more than"),
    ] {
        println!("{words}");
        stage.desk.calendar("windows", text);
        is_denied(&vend(), "signal:change_window", &["\"windows\"", words]);
        stage.desk.calendar("windows", whole);
        let _ = World::vended(&vend());
    }
    stage.desk.breaks("/v2/schedules", Some(DeskFault::LoginPageAsJson));
    is_denied(&vend(), "signal:on_call", &["\"genie\"", "not JSON"]);
    stage.desk.breaks("/v2/schedules", Some(DeskFault::Huge));
    is_denied(&vend(), "signal:on_call", &["\"genie\"", "larger than"]);
}

#[test]
fn p11_a_source_that_is_silent_holds_up_nobody_who_does_not_need_it() {
    let stage = Stage::new(&format!("{TICKET}{}", fresh("")), &jira("jira", "OPS"));
    for n in 0..24 {
        stage.desk.jira(&format!("OPS-{n}"), ticket("In Progress"));
    }
    stage.desk.breaks("/rest", Some(DeskFault::Silent));
    let world = &stage.world;
    let bob = world.grant(&world.bob(), "alpha");
    let refused: Vec<Answer> = thread::scope(|threads| {
        let stage = &stage;
        let asking: Vec<_> = (0..24).map(|n| threads.spawn(move || stage.request(&format!("OPS-{n}")))).collect();
        grantd_tests::eventually("somebody waits for the source", std::time::Duration::from_secs(10), || {
            !stage.desk.asked().is_empty()
        });
        // While they wait: a request, a credential, a reload, a look at the status.
        let mut served = 0;
        while asking.iter().any(|one| !one.is_finished()) || served == 0 {
            let _ = World::vended(&world.vend(&world.bob(), &bob, json!({})));
            world.serves_bob();
            assert!(world.status()["state"].is_string());
            served += 1;
        }
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    });
    for one in &refused {
        is_denied(one, "signal:ticket", &["\"jira\""]);
    }
    // It is left alone by then: who comes next is told at once, and is not a look more.
    let asked = stage.desk.asked().len();
    assert!(asked < 24, "{asked} looks at a source that is dead");
    stage.desk.breaks("/rest", None);
    grantd_tests::eventually("it is asked again", std::time::Duration::from_secs(20), || {
        stage.request("OPS-1").status == 201
    });
}

#[test]
fn p6_p11_a_source_that_nobody_listens_at_is_denied_and_the_daemon_starts_without_it() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sources = jira("jira", "OPS").replace("{desk}", &format!("http://{closed}"));
    let stage = Stage::new(&format!("{TICKET}{}", fresh("")), &sources);
    is_denied(&stage.request("OPS-1"), "signal:ticket", &["\"jira\"", "no connection"]);
    stage.world.serves_bob();
}
