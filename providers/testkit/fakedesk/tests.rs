//! What the fake refuses, and in which shape it tells.

use serde_json::Value;

use super::*;
use crate::testing::exchange;

fn get(desk: &FakeDesk, path: &str, proof: &str) -> (u16, Value) {
    let proof = if proof.is_empty() { String::new() } else { format!("Authorization: {proof}\r\n") };
    let request = format!("GET {path} HTTP/1.1\r\nHost: desk\r\nUser-Agent: test\r\n{proof}Connection: close\r\n\r\n");
    let (status, body) = exchange(&desk.url(), &request).unwrap();
    (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
}

fn ticket(state: &str) -> DeskTicket {
    DeskTicket {
        state: state.to_owned(),
        assignee: Some("anna@example.com".to_owned()),
        opened_by: "ben@example.com".to_owned(),
        names: vec!["orders".to_owned()],
        moves: Vec::new(),
        moved_to: None,
    }
}

#[test]
fn every_system_refuses_who_does_not_prove_who_asks() {
    let desk = FakeDesk::start().unwrap();
    desk.jira("OPS-17", ticket("Done"));
    desk.servicenow("CHG1", ticket("-1"));
    desk.github("acme/ops#1", ticket("open"));
    desk.pagerduty("P1", &["PANNA"]);
    desk.opsgenie("ops", &["anna@example.com"]);
    desk.calendar("windows", "BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n");
    let change = "/api/now/table/change_request?sysparm_query=number=CHG1";
    let opsgenie = "/v2/schedules/ops/on-calls?scheduleIdentifierType=name&flat=true";
    for (path, wrong, refusal, right) in [
        ("/rest/api/3/issue/OPS-17", DESK_BEARER, 401, DESK_BASIC),
        (change, "", 401, DESK_BASIC),
        ("/repos/acme/ops/issues/1", "Bearer x", 401, DESK_BEARER),
        ("/repos/acme/ops/issues/1", "", 404, DESK_BEARER),
        ("/oncalls?schedule_ids[]=P1", DESK_BEARER, 401, DESK_PAGERDUTY),
        (opsgenie, "GenieKey x", 422, DESK_OPSGENIE),
        (opsgenie, DESK_BEARER, 401, DESK_OPSGENIE),
        ("/calendars/windows.ics", "", 401, DESK_BEARER),
    ] {
        assert_eq!(get(&desk, path, wrong).0, refusal, "{path}");
        assert_eq!(get(&desk, path, right).0, 200, "{path}");
    }
    assert_eq!(desk.asked().len(), 16);
}

#[test]
fn what_is_not_there_is_told_as_each_vendor_tells_it() {
    let desk = FakeDesk::start().unwrap();
    desk.servicenow("CHG1", ticket("-1"));
    desk.github("acme/ops#2", DeskTicket { moved_to: Some("deleted".to_owned()), ..ticket("open") });
    let place = format!("{}/repositories/5/issues/2", desk.url());
    desk.github("acme/ops#3", DeskTicket { moved_to: Some(place), ..ticket("open") });
    let (status, body) = get(&desk, "/rest/api/3/issue/OPS-1", DESK_BASIC);
    assert!(status == 404 && body["errorMessages"][0].as_str().unwrap().contains("does not exist"), "{body}");
    let (status, body) = get(&desk, "/api/now/table/change_request?sysparm_query=number=CHG2", DESK_BASIC);
    assert_eq!((status, &body["result"]), (200, &serde_json::json!([])));
    // A query that it does not understand is none at all.
    let (_, body) = get(&desk, "/api/now/table/change_request?sysparm_query=nummer=CHG2", DESK_BASIC);
    assert_eq!(body["result"][0]["number"], "CHG1");
    assert_eq!(get(&desk, "/api/now/table/change", DESK_BASIC).0, 400);
    for (number, status) in [(1, 404), (2, 410), (3, 301)] {
        assert_eq!(get(&desk, &format!("/repos/acme/ops/issues/{number}"), DESK_BEARER).0, status);
    }
    assert_eq!(get(&desk, "/v2/schedules/ops/on-calls?flat=true", DESK_OPSGENIE).0, 404);
    assert_eq!(get(&desk, "/oncalls?schedule_ids[]=P2", DESK_PAGERDUTY).1["oncalls"], serde_json::json!([]));
}

#[test]
fn overrides_take_the_place_of_the_rota_and_are_told_for_the_time_that_is_asked_for() {
    let desk = FakeDesk::start().unwrap();
    desk.pagerduty("P1", &["PANNA"]);
    desk.opsgenie("ops", &["anna@example.com"]);
    let oncalls = |desk: &FakeDesk| get(desk, "/oncalls?schedule_ids[]=P1", DESK_PAGERDUTY).1["oncalls"].clone();
    desk.overrides("P1", &[("PBEN", 3600, 7200)]);
    assert_eq!(oncalls(&desk)[0]["user"]["id"], "PANNA");
    desk.overrides("P1", &[("PBEN", -60, 3600)]);
    assert_eq!(oncalls(&desk)[0]["user"]["id"], "PBEN");
    let time = "since=2020-01-01T00:00:00Z&until=2020-01-02T00:00:00Z";
    for (path, proof, status, count) in [
        (format!("/schedules/P1/overrides?{time}"), DESK_PAGERDUTY, 200, 0),
        (format!("/schedules/P1/overrides?{}", time.replace("until=2020", "until=2090")), DESK_PAGERDUTY, 200, 1),
        (format!("/schedules/P2/overrides?{time}"), DESK_PAGERDUTY, 404, 0),
        (format!("/schedules/P1/overrides?{time}"), DESK_BEARER, 401, 0),
        ("/schedules/P1/overrides".to_owned(), DESK_PAGERDUTY, 400, 0),
    ] {
        let (told, body) = get(&desk, &path, proof);
        assert_eq!((told, body["overrides"].as_array().map_or(0, Vec::len)), (status, count), "{path}: {body}");
    }
    desk.overrides("ops", &[("ben@example.com", 3600, 7200), ("carl@example.com", -7200, -3600)]);
    let path = "/v2/schedules/ops/overrides?scheduleIdentifierType=name";
    let (_, body) = get(&desk, path, DESK_OPSGENIE);
    assert_eq!(body["data"].as_array().unwrap().len(), 1, "{body}");
    assert_eq!(body["data"][0]["user"]["username"], "ben@example.com");
    assert_eq!(get(&desk, path, DESK_BEARER).0, 401);
}

#[test]
fn answers_have_what_was_asked_for_and_no_more() {
    let desk = FakeDesk::start().unwrap();
    desk.jira("OPS-17", DeskTicket { moved_to: Some("SEC-4".to_owned()), ..ticket("In Progress") });
    desk.servicenow("CHG1", ticket("-1"));
    desk.pagerduty("P1", &["PANNA"; 30]);
    let (_, body) = get(&desk, "/rest/api/3/issue/ops%2D17?fields=status,labels", DESK_BASIC);
    assert_eq!((&body["key"], &body["fields"]["labels"][0]), (&Value::from("SEC-4"), &Value::from("orders")));
    assert_eq!(body["fields"].as_object().unwrap().len(), 2);
    let fields = "sysparm_fields=number,assigned_to.email,opened_by&sysparm_query=number=CHG1";
    let (_, body) = get(&desk, &format!("/api/now/table/change_request?{fields}"), DESK_BASIC);
    assert_eq!(body["result"][0]["assigned_to.email"], "anna@example.com");
    assert!(body["result"][0]["opened_by"]["link"].is_string() && body["result"][0].get("state").is_none());
    let (_, body) = get(&desk, "/oncalls?schedule_ids[]=P1", DESK_PAGERDUTY);
    assert_eq!((body["oncalls"].as_array().unwrap().len(), &body["more"]), (25, &Value::Bool(true)));
    // One path segment is one, whatever is encoded in it.
    assert_eq!(get(&desk, "/rest/api/3/issue/..%2Fissue%2FOPS-17", DESK_BASIC).0, 404);
}
