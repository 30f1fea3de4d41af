//! Who is on call, as PagerDuty and Opsgenie answer.

use super::super::FailureKind;
use super::*;

const ANNA: Party<'_> = Party { name: "anna", human: true };
const BEN: Party<'_> = Party { name: "ben", human: true };

fn accounts() -> BTreeMap<String, String> {
    BTreeMap::from([("anna".to_owned(), "PANNA".to_owned()), ("ben".to_owned(), "ben@example.com".to_owned())])
}

fn now() -> Timestamp {
    "2026-06-01T10:00:00Z".parse().unwrap()
}

fn pagerduty() -> Overrides {
    Overrides {
        url: String::new(),
        list: "/overrides".to_owned(),
        person: "/user/id".to_owned(),
        times: None,
        more: "/more".to_owned(),
    }
}

fn opsgenie() -> Overrides {
    Overrides {
        list: "/data".to_owned(),
        person: "/user/username".to_owned(),
        times: Some(("/startDate".to_owned(), "/endDate".to_owned())),
        ..pagerduty()
    }
}

#[test]
fn the_answers_of_pagerduty_and_opsgenie_are_read() {
    let accounts = accounts();
    let pagerduty =
        r#"{"oncalls":[{"user":{"id":"PANNA","type":"user_reference"},"escalation_level":1}],"more":false}"#;
    let on_call = read(pagerduty, "/oncalls", "/user/id", "/more").unwrap();
    assert_eq!(on_call.includes(&ANNA, &accounts), Some(true));
    assert_eq!(on_call.includes(&BEN, &accounts), Some(false));
    assert_eq!(on_call.includes(&Party { name: "carl", human: true }, &accounts), None);
    assert_eq!(on_call.includes(&Party { name: "anna", human: false }, &accounts), Some(false));
    let opsgenie = r#"{"data":{"onCallRecipients":["Ben@example.com"]}}"#;
    assert_eq!(read(opsgenie, "/data/onCallRecipients", "", "/more").unwrap().includes(&BEN, &accounts), Some(true));
    assert_eq!(read("[]", "", "", "/more").unwrap().includes(&BEN, &accounts), Some(false));
}

#[test]
fn what_is_no_such_list_is_refused() {
    for answer in ["<html>", "{}", r#"{"oncalls":{}}"#, r#"{"oncalls":[{"user":{}}]}"#, r#"{"oncalls":[null]}"#] {
        assert!(read(answer, "/oncalls", "/user/id", "/more").is_err(), "{answer}");
    }
    let whole_team = r#"{"overrides":[{"team":{"id":"P1"}}]}"#;
    let error = OnCall::default().except(whole_team, &pagerduty(), now()).unwrap_err();
    assert_eq!(error.kind, FailureKind::Unfit);
}

#[test]
fn p6_half_a_list_is_none() {
    for (answer, more) in [
        (r#"{"oncalls":[],"more":true}"#, "/more"),
        (r#"{"oncalls":[],"paging":{"next":"https://x/?offset=20"}}"#, "/paging/next"),
        (r#"{"oncalls":[],"more":1}"#, "/more"),
    ] {
        let error = read(answer, "/oncalls", "/user/id", more).unwrap_err();
        assert!(error.why.contains("further page") && error.why.contains(more), "{error:?}");
        assert_eq!(error.kind, FailureKind::Unfit, "whoever may make overrides may have made it so long");
    }
    let mut on_call = OnCall::default();
    assert!(on_call.except(r#"{"overrides":[],"more":true}"#, &pagerduty(), now()).is_err());
    for whole in [r#"{"oncalls":[],"more":null}"#, r#"{"oncalls":[]}"#, r#"{"oncalls":[],"more":false}"#] {
        assert!(read(whole, "/oncalls", "/user/id", "/more").is_ok(), "{whole}");
    }
}

#[test]
fn p6_whoever_is_put_there_by_an_override_is_not_on_call_by_the_rota() {
    let accounts = accounts();
    let oncalls = r#"{"oncalls":[{"user":{"id":"PANNA"}},{"user":{"id":"ben@example.com"}}]}"#;
    let mut on_call = read(oncalls, "/oncalls", "/user/id", "/more").unwrap();
    on_call.except(r#"{"overrides":[{"id":"Q1","user":{"id":"panna"}}]}"#, &pagerduty(), now()).unwrap();
    assert_eq!((on_call.includes(&ANNA, &accounts), on_call.includes(&BEN, &accounts)), (Some(false), Some(true)));
    for (begins, ends, counts) in [
        ("2026-06-01T09:00:00Z", "2026-06-01T11:00:00Z", true),
        ("2026-06-01T12:00:00+03:00", "2026-06-01T13:10:00+03:00", true),
        ("2026-06-01T09:00:00Z", "2026-06-01T09:54:59Z", false),
        ("2026-06-01T09:00:00Z", "2026-06-01T09:55:00Z", true),
        ("2026-06-01T10:05:00Z", "2026-06-01T11:00:00Z", true),
        ("2026-06-01T10:05:01Z", "2026-06-01T11:00:00Z", false),
    ] {
        let mut on_call = read(oncalls, "/oncalls", "/user/id", "/more").unwrap();
        let user = r#"{"type":"user","username":"Ben@example.com"}"#;
        let told = format!(r#"{{"data":[{{"user":{user},"startDate":"{begins}","endDate":"{ends}"}}]}}"#);
        on_call.except(&told, &opsgenie(), now()).unwrap();
        assert_eq!(on_call.includes(&BEN, &accounts), Some(!counts), "{begins} {ends}");
    }
}

#[test]
fn p6_overrides_that_cannot_be_read_are_not_passed_over() {
    for told in [
        "<html>",
        "{}",
        r#"{"data":[{"startDate":"2026-06-01T09:00:00Z","endDate":"2026-06-01T11:00:00Z","user":{"type":"team","id":"x"}}]}"#,
        r#"{"data":[{"startDate":"tomorrow","endDate":"2026-06-01T11:00:00Z","user":{"username":"x"}}]}"#,
        r#"{"data":[{"user":{"username":"x"}}]}"#,
    ] {
        assert!(OnCall::default().except(told, &opsgenie(), now()).is_err(), "{told}");
    }
    // Of a team that takes over next week nobody has to know who it is.
    let later =
        r#"{"data":[{"startDate":"2026-06-08T09:00:00Z","endDate":"2026-06-08T11:00:00Z","user":{"type":"team"}}]}"#;
    OnCall::default().except(later, &opsgenie(), now()).unwrap();
}
