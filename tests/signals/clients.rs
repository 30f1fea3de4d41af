//! That the fake of the systems that facts are looked up in is one that their own clients take for the real thing: what they
//! read is what stands there, and they know a refusal when they see one. Opsgenie's own client has no schedules in it.

use std::fs;
use std::process::Command;
use std::time::Duration;

use grantd_testkit::{DeskTicket, FakeDesk, desk_environment, repository_root, run};
use serde_json::{Value, json};

#[test]
fn each_systems_own_client_reads_the_fake_and_is_refused_by_it() {
    let desk = FakeDesk::start_tls().unwrap();
    let ticket = |state: &str, assignee: &str, by: &str| DeskTicket {
        state: state.to_owned(),
        assignee: Some(assignee.to_owned()),
        opened_by: by.to_owned(),
        names: vec!["orders".to_owned()],
        moves: vec![assignee.to_owned(), by.to_owned()],
        moved_to: None,
    };
    desk.jira("OPS-17", ticket("In Progress", "anna@example.com", "ben@example.com"));
    desk.servicenow("CHG0030191", ticket("3", "carl@example.com", "ben@example.com"));
    desk.servicenow("CHG0030192", ticket("-1", "anna@example.com", "ben@example.com"));
    desk.github("acme/ops#12", ticket("open", "anna", "ben"));
    desk.pagerduty("PI7DH85", &["PANNA"; 30]);
    desk.overrides("PI7DH85", &[("PBEN", 3600, 7200)]);
    let scratch = tempfile::tempdir().unwrap();
    let authority = scratch.path().join("authority.pem");
    fs::write(&authority, desk.authority_pem().unwrap()).unwrap();
    let mut python = Command::new(desk_environment().unwrap().join("bin/python"));
    python.args(["-W", "ignore"]).arg(repository_root().join("tests/signals/clients.py")).arg(desk.url());
    // As requests and httpx want to be told.
    python.env("REQUESTS_CA_BUNDLE", &authority).env("SSL_CERT_FILE", &authority);
    let finished = run(python, "", Duration::from_secs(120)).unwrap();
    assert!(finished.success(), "{finished}");
    let told: Value = serde_json::from_str(&finished.stdout).unwrap();
    println!("{told:#}");
    let read = |system: &str| told[system]["read"].clone();
    assert_eq!(
        read("jira"),
        json!({
            "key": "OPS-17", "state": "In Progress", "assignee": "anna@example.com", "reporter": "ben@example.com",
            "labels": ["orders"], "moved_by": "ben@example.com",
        })
    );
    let change = json!({ "number": "CHG0030192", "state": "-1", "assigned_to.email": "anna@example.com" });
    assert_eq!(read("servicenow"), change);
    assert_eq!(
        read("github"),
        json!({
            "number": 12, "state": "open", "assignee": "anna", "opened_by": "ben", "labels": ["orders"],
            "moved_by": ["anna", "ben"],
        })
    );
    // More than a page of them: the client goes on to the last.
    assert_eq!(read("pagerduty"), json!({ "on_call": vec!["panna@example.com"; 30], "overrides": ["PBEN"] }));
    for (system, words) in [
        ("jira", ["JIRAError", "401"]),
        ("servicenow", ["HTTPError", "401"]),
        ("github", ["BadCredentialsException", "401"]),
        ("pagerduty", ["Error", "401"]),
    ] {
        let refused = told[system]["refused"].as_str().unwrap();
        assert!(words.iter().all(|word| refused.contains(word)), "{system}: {refused}");
    }
}
