use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::fakests::{FakeSts, FakeStsSettings};
use crate::query::{xml_text, xml_texts};
use crate::testing::{KEY, assume, exchange, post};

const BOUNDARY: &str = "arn:aws:iam::123456789012:policy/grantd-boundary-1";
const DENY: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}"#;

fn scene() -> (FakeSts, FaultProxy) {
    let fake = FakeSts::start(FakeStsSettings::default()).unwrap();
    let proxy = FaultProxy::start(fake.address()).unwrap();
    (fake, proxy)
}

fn on_boundary(proxy: &FaultProxy, action: &str, more: &[(&str, &str)]) -> (u16, String) {
    let form: Vec<_> = [("Action", action), ("PolicyArn", BOUNDARY)].into_iter().chain(more.iter().copied()).collect();
    post(&proxy.url(), &form).unwrap()
}

fn create_version(proxy: &FaultProxy) -> (u16, String) {
    on_boundary(proxy, "CreatePolicyVersion", &[("PolicyDocument", DENY), ("SetAsDefault", "true")])
}

fn versions(proxy: &FaultProxy) -> Vec<String> {
    let (status, body) = on_boundary(proxy, "ListPolicyVersions", &[]);
    assert_eq!(status, 200, "{body}");
    xml_texts(&body, "VersionId").collect()
}

#[expect(clippy::disallowed_methods, reason = "measures how long a fault takes")]
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    (work(), start.elapsed())
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..300 {
        if holds() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("never happened: {what}");
}

#[test]
fn without_rules_everything_passes_and_is_recorded() {
    let (fake, proxy) = scene();
    let (status, body) = assume(&proxy.url(), "job-aaaaaaaaaa").unwrap();
    assert_eq!(status, 200, "{body}");
    assert_eq!(fake.issued(), 1);

    let records = proxy.records();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].action, "AssumeRole");
    assert_eq!(records[0].parameters["RoleSessionName"], "job-aaaaaaaaaa");
    assert_eq!(records[0].access_key.as_deref(), Some(KEY));
    assert_eq!((records[0].upstream_status, records[0].status), (Some(200), Some(200)));

    let ledger = proxy.ledger();
    assert_eq!(ledger.len(), 1);
    assert_eq!(ledger[0].session_name, "job-aaaaaaaaaa");
    assert_eq!(ledger[0].role_arn, "arn:aws:iam::123456789012:role/grantd-target-1");
    assert_eq!(Some(ledger[0].access_key_id.clone()), xml_text(&body, "AccessKeyId"));
    assert_eq!(Some(ledger[0].secret_access_key.expose().to_owned()), xml_text(&body, "SecretAccessKey"));
    assert_eq!(Some(ledger[0].session_token.expose().to_owned()), xml_text(&body, "SessionToken"));
    assert_eq!(Some(ledger[0].expiration.clone()), xml_text(&body, "Expiration"));
}

#[test]
fn p9_neither_records_nor_debug_show_a_secret() {
    let (_fake, proxy) = scene();
    assume(&proxy.url(), "job-aaaaaaaaaa").unwrap();
    post(&proxy.url(), &[("Action", "AssumeRoleWithWebIdentity"), ("WebIdentityToken", "eyJsecret")]).unwrap();
    let ledger = proxy.ledger();
    let (secret, token) = (ledger[0].secret_access_key.expose(), ledger[0].session_token.expose());
    let shown = format!("{:?} {:?} {proxy:?}", proxy.records(), ledger);
    for hidden in [secret, token, "eyJsecret"] {
        assert!(!shown.contains(hidden), "{hidden} is shown");
    }
}

#[test]
fn a_refused_session_is_not_in_the_ledger() {
    let (_fake, proxy) = scene();
    assert_eq!(assume(&proxy.url(), "not a name").unwrap().0, 400);
    assert!(proxy.ledger().is_empty());
}

#[test]
fn a_delay_before_is_a_late_effect_even_if_the_client_gives_up() {
    let (fake, proxy) = scene();
    proxy.add(Rule::on("AssumeRole", Fault::DelayBefore { millis: 300 })).unwrap();
    let address = proxy.server.address();
    let body = "Action=AssumeRole";
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    eventually("the request arrives", || proxy.records().len() == 1);
    drop(stream);
    assert_eq!(proxy.records()[0].upstream_status, None);
    eventually("the cloud is asked", || proxy.records()[0].upstream_status == Some(403));
    assert_eq!(proxy.records()[0].status, None);
    assert_eq!(fake.issued(), 0);
}

#[test]
fn a_delay_after_is_a_late_answer_to_a_prompt_effect() {
    let (fake, proxy) = scene();
    proxy.add(Rule::on("AssumeRole", Fault::DelayAfter { millis: 400 })).unwrap();
    let url = proxy.url();
    let client = thread::spawn(move || timed(|| assume(&url, "job-aaaaaaaaaa")));
    eventually("the cloud issues", || fake.issued() == 1);
    assert!(!client.is_finished());
    let (answer, took) = client.join().unwrap();
    assert_eq!(answer.unwrap().0, 200);
    assert!(took >= Duration::from_millis(400), "{took:?}");
}

#[test]
fn a_dropped_answer_is_a_reset_and_a_session_in_the_ledger() {
    let (fake, proxy) = scene();
    let rule = proxy.add(Rule::on("AssumeRole", Fault::DropAfter).times(1)).unwrap();
    let error = assume(&proxy.url(), "job-aaaaaaaaaa").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!((fake.issued(), proxy.ledger().len(), proxy.fired(rule)), (1, 1, 1));
    assert_eq!((proxy.records()[0].upstream_status, proxy.records()[0].status), (Some(200), None));
    assert_eq!(assume(&proxy.url(), "job-bbbbbbbbbb").unwrap().0, 200);
}

#[test]
fn a_reset_never_reaches_the_cloud() {
    let (fake, proxy) = scene();
    proxy.add(Rule::on_all(Fault::Reset)).unwrap();
    assert_eq!(assume(&proxy.url(), "job-aaaaaaaaaa").unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(fake.issued(), 0);
}

#[test]
fn a_stall_gives_no_answer_and_stops_nobody_else() {
    let (fake, proxy) = scene();
    proxy.add(Rule::on("AssumeRole", Fault::Stall).times(1)).unwrap();
    let url = proxy.url();
    let stalled = thread::spawn(move || assume(&url, "job-aaaaaaaaaa"));
    eventually("the request arrives", || proxy.records().len() == 1);
    assert_eq!(assume(&proxy.url(), "job-bbbbbbbbbb").unwrap().0, 200);
    assert!(!stalled.is_finished());
    assert_eq!(fake.issued(), 1);
    drop(proxy);
    assert!(stalled.join().unwrap().is_err());
}

#[test]
fn garbage_is_a_success_that_cannot_be_read() {
    let (fake, proxy) = scene();
    proxy.add(Rule::on_all(Fault::Garbage)).unwrap();
    let (status, body) = assume(&proxy.url(), "job-aaaaaaaaaa").unwrap();
    assert_eq!((status, xml_text(&body, "AccessKeyId")), (200, None));
    assert_eq!(fake.issued(), 0);
}

#[test]
fn a_status_comes_with_the_error_that_aws_would_send() {
    let (fake, proxy) = scene();
    let expected = [
        (403, "AccessDenied"),
        (404, "NoSuchEntity"),
        (429, "Throttling"),
        (500, "InternalFailure"),
        (503, "ServiceUnavailable"),
    ];
    for (status, code) in expected {
        proxy.clear();
        proxy.add(Rule::on_all(Fault::Status { status, code: None })).unwrap();
        let (answered, body) = assume(&proxy.url(), "job-aaaaaaaaaa").unwrap();
        assert_eq!((answered, xml_text(&body, "Code").as_deref()), (status, Some(code)));
    }
    proxy.clear();
    proxy.add(Rule::on_all(Fault::Status { status: 400, code: Some("Throttling".to_owned()) })).unwrap();
    assert_eq!(xml_text(&assume(&proxy.url(), "x1").unwrap().1, "Code").as_deref(), Some("Throttling"));
    assert_eq!(fake.issued(), 0);
}

#[test]
fn a_delayed_effect_is_answered_at_once_and_happens_later() {
    let (fake, proxy) = scene();
    proxy.add(Rule::delayed_effect(Duration::from_millis(400))).unwrap();
    let ((status, body), took) = timed(|| create_version(&proxy));
    assert_eq!((status, xml_text(&body, "VersionId").as_deref()), (200, Some("v2")));
    assert!(took < Duration::from_millis(300), "{took:?}");
    assert!(!fake.document(BOUNDARY).unwrap().contains("Deny"));
    assert_eq!(versions(&proxy), ["v1"]);
    eventually("the deny takes effect", || fake.document(BOUNDARY).unwrap().contains("Deny"));
    assert_eq!(versions(&proxy), ["v2", "v1"]);
    proxy.clear();
    assert_eq!(xml_text(&create_version(&proxy).1, "VersionId").as_deref(), Some("v3"));
}

#[test]
fn a_stale_read_shows_the_past_and_then_catches_up() {
    let (_fake, proxy) = scene();
    assert_eq!(versions(&proxy), ["v1"]);
    proxy.add(Rule::stale_reads(Duration::from_millis(500))).unwrap();
    assert_eq!(create_version(&proxy).0, 200);
    assert_eq!(versions(&proxy), ["v1"]);
    let read_v2 = || on_boundary(&proxy, "GetPolicyVersion", &[("VersionId", "v2")]).0;
    assert_eq!(read_v2(), 404);
    thread::sleep(Duration::from_millis(550));
    assert_eq!(versions(&proxy), ["v2", "v1"]);
    assert_eq!(read_v2(), 200);
}

#[test]
fn the_admin_port_does_what_the_handle_does() {
    let (_fake, proxy) = scene();
    let call = |method: &str, path: &str, body: &str| {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        exchange(&proxy.admin_url(), &request).unwrap()
    };
    let rule = r#"{"actions":["AssumeRole"],"fault":{"kind":"status","status":503},"times":1}"#;
    let (status, body) = call("POST", "/rules", rule);
    assert_eq!((status, body.as_str()), (200, r#"{"id":1}"#));
    assert_eq!(call("POST", "/rules", r#"{"actions":["*"],"fault":{"kind":"status","status":200}}"#).0, 400);
    assert_eq!(call("POST", "/rules", r#"{"actions":["*"],"fault":{"kind":"reset"},"tims":1}"#).0, 400);
    assert_eq!(assume(&proxy.url(), "job-aaaaaaaaaa").unwrap().0, 503);
    assert_eq!(assume(&proxy.url(), "job-bbbbbbbbbb").unwrap().0, 200);
    assert!(call("GET", "/rules", "").1.contains(r#""fired":1"#));
    assert!(call("GET", "/records", "").1.contains("job-aaaaaaaaaa"));
    let ledger = call("GET", "/ledger", "").1;
    assert!(ledger.contains("job-bbbbbbbbbb") && ledger.contains(proxy.ledger()[0].session_token.expose()));
    assert_eq!(call("DELETE", "/rules/1", "").0, 200);
    assert!(proxy.rules().is_empty());
    assert_eq!(call("GET", "/nowhere", "").0, 404);
}

#[test]
fn an_unreachable_cloud_is_a_bad_gateway() {
    let (fake, proxy) = scene();
    drop(fake);
    assert_eq!(assume(&proxy.url(), "job-aaaaaaaaaa").unwrap().0, 502);
}
