//! Tests of the wait for a grant, with a scripted daemon.

use serde_json::{Value, json};

use super::*;
use crate::testserver::{Reply, TestServer, grant};

fn now() -> Timestamp {
    "2026-11-22T09:00:00Z".parse().unwrap()
}

fn pending(given: u32, can_approve: &[&str]) -> Value {
    let mut view = grant();
    view["state"] = json!("pending");
    view["approval"] = json!({
        "quorum": [
            { "capacity": "owner", "needed": 1, "given": given, "can_approve": ["olga", "otto"] },
            { "capacity": "security", "needed": 1, "given": 0, "can_approve": can_approve },
        ],
        "given": [], "lapses_at": "2026-11-22T13:00:00Z",
    });
    view
}

fn state(name: &str, reason: Option<&str>) -> Value {
    let mut view = grant();
    view["state"] = json!(name);
    if let Some(reason) = reason {
        view["reason"] = json!(reason);
    }
    view
}

/// Waits for a grant that is `first` and then what the daemon says; gives what came of it and what was said.
async fn waited(
    first: &Value,
    replies: Vec<Reply>,
    limit: Duration,
    terminal: bool,
) -> (Result<String, Failure>, String) {
    let server = TestServer::new(replies);
    let client = Client::new(server.path.clone(), Duration::from_secs(5));
    let wait = Wait { client: &client, now, pause: Duration::from_millis(1), limit, terminal };
    let mut said: Vec<u8> = Vec::new();
    let first = serde_json::from_value(first.clone()).unwrap();
    let done = wait.until_active(first, &mut said).await;
    (done.map(|grant| grant.state), String::from_utf8(said).unwrap())
}

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_log_gets_a_line_for_each_change_that_names_who_can_approve() {
    let replies = [pending(0, &["sam"]), pending(0, &["sam"]), pending(1, &["sam"]), pending(1, &[]), grant()];
    let replies = replies.into_iter().map(|view| Reply::Json(200, view)).collect();
    let (done, said) = waited(&pending(0, &["sam"]), replies, LONG, false).await;
    assert_eq!(done.unwrap(), "active");
    assert_eq!(
        said,
        "grantctl: grant-aaaa waits for 1 owner (olga or otto) and 1 of security (sam)\n\
         grantctl: grant-aaaa waits for 1 of security (sam)\n\
         grantctl: grant-aaaa waits for 1 of security (nobody can give it: ask whoever maintains people \
         and catalogue)\n"
    );
}

#[tokio::test]
async fn a_terminal_gets_one_line_that_is_kept_up_to_date_and_then_taken_away() {
    let (done, said) = waited(&pending(0, &["sam"]), vec![Reply::Json(200, grant())], LONG, true).await;
    assert!(done.is_ok());
    assert!(!said.contains('\n'), "{said:?}");
    assert!(said.starts_with("\r\u{1b}[Kgrantctl: grant-aaaa waits for 1 owner"), "{said:?}");
    assert!(said.contains("; lapses in 4h") && said.ends_with("\r\u{1b}[K"), "{said:?}");
}

#[tokio::test]
async fn every_end_of_a_request_is_told_with_its_reason_and_its_code() {
    for (name, reason, code) in [
        ("denied", Some("olga: not on a Friday"), 3),
        ("lapsed", None, 5),
        ("cancelled", Some("not needed"), 5),
        ("revoked", Some("laptop lost"), 5),
        ("ended", None, 5),
    ] {
        let (done, _) = waited(&pending(0, &["sam"]), vec![Reply::Json(200, state(name, reason))], LONG, false).await;
        let failure = done.unwrap_err();
        let line = failure.line().unwrap();
        assert_eq!(failure.exit().code(), code, "{line}");
        assert!(line.contains(name) && reason.is_none_or(|reason| line.contains(reason)), "{line}");
        let not_started = failure.not_started();
        assert_eq!(not_started.exit().code(), 100 + code);
    }
}

#[tokio::test]
async fn a_wait_that_is_over_says_that_the_request_stays() {
    let replies = (0..2000).map(|_| Reply::Json(200, pending(0, &["sam"]))).collect();
    let (done, _) = waited(&pending(0, &["sam"]), replies, Duration::from_millis(200), false).await;
    let failure = done.unwrap_err();
    assert_eq!(failure.exit(), Exit::State);
    assert!(failure.line().unwrap().contains("grantctl exec --grant grant-aaaa"), "{failure:?}");
}

#[tokio::test]
async fn a_daemon_that_restarts_is_waited_for_and_one_that_refuses_is_not() {
    let replies = vec![Reply::Raw(Vec::new()), Reply::Json(503, stopping()), Reply::Json(200, grant())];
    let (done, said) = waited(&pending(0, &["sam"]), replies, LONG, false).await;
    assert!(done.is_ok(), "{done:?}");
    assert!(said.contains("closed the connection"), "{said}");
    let gone =
        json!({ "type": "urn:grantd:problem:not-found", "title": "t", "status": 404, "detail": "no such grant" });
    let (done, _) = waited(&pending(0, &["sam"]), vec![Reply::Json(404, gone)], LONG, false).await;
    assert_eq!(done.unwrap_err().exit(), Exit::NotFound);
}

#[tokio::test]
async fn a_grant_that_begins_later_is_waited_for() {
    let mut scheduled = state("scheduled", None);
    scheduled["active_since"] = json!("2026-11-22T09:10:00Z");
    let (done, said) = waited(&scheduled, vec![Reply::Json(200, grant())], LONG, false).await;
    assert!(done.is_ok());
    assert_eq!(said, "grantctl: grant-aaaa begins at 2026-11-22T09:10:00Z\n");
}

fn stopping() -> Value {
    let retryable = true;
    json!({ "type": "urn:grantd:problem:stopping", "title": "t", "status": 503, "detail": "stopping", "retryable": retryable })
}
