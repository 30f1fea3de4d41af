//! The built binary as a shell sees it: exit codes, standard output and error, signals.
#![cfg(test)]

#[path = "../testserver.rs"]
mod testserver;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use grantd_wire::{Problem, ProblemKind};
use testserver::{Reply, SECRETS, TestServer, grant, lease, vended};

fn grantctl(server: &TestServer) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_grantctl"));
    command.env_clear().env("GRANTD_SOCKET", &server.path).stdin(Stdio::null());
    command
}

fn run(replies: Vec<Reply>, line: &str) -> Output {
    let server = TestServer::new(replies);
    grantctl(&server).args(line.split(' ')).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

/// Standard error, which has to be one line of ours.
fn one_line(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(text.starts_with("grantctl: ") && text.ends_with('\n') && text.lines().count() == 1, "{text:?}");
    text
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if done() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("{what} did not happen");
}

#[test]
fn every_problem_is_one_line_and_its_exit_code() {
    let kinds = [
        (ProblemKind::BadRequest, 2),
        (ProblemKind::UnknownCaller, 3),
        (ProblemKind::NotYours, 3),
        (ProblemKind::Denied, 3),
        (ProblemKind::NotFound, 4),
        (ProblemKind::State, 5),
        (ProblemKind::PlanChanged, 5),
        (ProblemKind::Limit, 6),
        (ProblemKind::TooMany, 7),
        (ProblemKind::Capacity, 7),
        (ProblemKind::Cloud, 8),
        (ProblemKind::Store, 9),
        (ProblemKind::Stopping, 9),
        (ProblemKind::Draining, 9),
        (ProblemKind::Internal, 1),
    ];
    for (kind, expected) in kinds {
        for line in ["credential-process auto", "vend auto --hold", "status"] {
            let problem = serde_json::to_value(Problem::new(kind, "it is\nso")).unwrap();
            let output = run(vec![Reply::Json(kind.status(), problem)], line);
            assert_eq!((code(&output), output.stdout.len()), (expected, 0), "{kind:?} {line}");
            assert_eq!(one_line(&output), "grantctl: it is so\n");
        }
    }
}

#[test]
fn a_wrong_command_line_is_refused_in_one_line_before_anything_is_sent() {
    for line in [
        "",
        "frobnicate",
        "request --resource r",
        "request --resource r --can c --for soon --why x",
        "request --resource r --can c --for 1500ms --why x",
        "request --resource r --can c --for 5m --why x --task-run 7",
        "vend auto --ttl 0s",
        "vend lease-a",
        "vend auto --hold --anchor caller",
        "vend auto --json --format env",
        "show ../audit",
        "revoke grant-aaaa",
        "detach grant-aaaa",
        "leases --grant lease-aaaa",
        "exec",
        "exec --can object-storage:read -- true",
        "exec --for 5m -- true",
        "exec --grant auto --resource r --can c --for 5m --why x -- true",
        "audit",
        "status --timeout never",
    ] {
        let server = TestServer::new(vec![Reply::Json(500, json!({}))]);
        let mut command = grantctl(&server);
        let output = command.args(line.split(' ').filter(|word| !word.is_empty())).output().unwrap();
        // An exec that starts nothing has no code that its command could have.
        let expected = if line.starts_with("exec") { 102 } else { 2 };
        assert_eq!((code(&output), output.stdout.len(), server.asked().len()), (expected, 0, 0), "{line}");
        one_line(&output);
    }
}

#[test]
fn help_and_version_go_to_standard_output() {
    for line in ["--help", "vend --help", "--version"] {
        let output = run(vec![], line);
        assert_eq!((code(&output), output.stderr.len()), (0, 0), "{line}");
        assert!(!output.stdout.is_empty());
    }
    let help = String::from_utf8(run(vec![], "--help").stdout).unwrap();
    assert!(help.contains("Exit codes:") && help.contains("10  the audit chain does not hold"), "{help}");
}

#[test]
fn a_daemon_that_is_not_there_or_misbehaves_has_its_exit_code() {
    let absent = Command::new(env!("CARGO_BIN_EXE_grantctl"))
        .args(["--socket", "/does/not/exist.sock", "status"])
        .output()
        .unwrap();
    assert_eq!(code(&absent), 9);
    assert!(one_line(&absent).contains("/does/not/exist.sock"), "{absent:?}");
    for (reply, expected) in [
        (Reply::Stall, 9),
        (Reply::Raw(Vec::new()), 9),
        (Reply::Raw(b"garbage\r\n\r\n".to_vec()), 1),
        (Reply::Json(200, json!([])), 1),
        (Reply::Huge(17 << 20), 1),
        (Reply::Raw(b"HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n".to_vec()), 9),
    ] {
        let output = run(vec![reply], "--timeout 500ms status");
        assert_eq!(code(&output), expected, "{output:?}");
        one_line(&output);
    }
}

#[test]
fn credential_process_prints_what_aws_clients_read() {
    let output = run(vec![Reply::Json(201, vended())], "credential-process auto");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(code(&output), 0);
    assert_eq!(
        document,
        json!({
            "Version": 1, "AccessKeyId": "ASIAEXAMPLE", "SecretAccessKey": SECRETS[0], "SessionToken": SECRETS[1],
            "Expiration": "2026-11-22T09:04:12Z"
        })
    );
}

#[test]
fn a_chain_that_does_not_hold_is_exit_10() {
    let record = json!({ "v": 1, "node": "n", "seq": 1, "hash": "0" });
    let page = json!({ "node": "n", "head_seq": 1, "head_hash": "0", "records": [record] });
    let output = run(vec![Reply::Json(200, page)], "audit verify");
    assert_eq!(code(&output), 10);
    one_line(&output);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let grants: Vec<Value> = (0..1_000).map(|_| grant()).collect();
    let server = TestServer::new(vec![Reply::Json(200, json!({ "grants": grants }))]);
    let mut child =
        grantctl(&server).args(["list", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), output.stderr.len()), (0, 0), "{output:?}");
}

/// Starts `vend --hold` and reads the credential.
fn hold(server: &TestServer) -> Child {
    let mut child = grantctl(server)
        .args(["vend", "auto", "--hold"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let first: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(first["credential"]["secret_access_key"], SECRETS[0]);
    assert!(server.asked()[0].contains(r#""anchor":"connection""#));
    child
}

fn finish(mut child: Child) -> (i32, String) {
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (child.wait().unwrap().code().unwrap(), said)
}

#[test]
fn a_hold_lasts_until_standard_input_closes() {
    let server = TestServer::new(vec![Reply::Hold { first: vended(), later: vec!["\n".to_owned()], close: false }]);
    let mut child = hold(&server);
    thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none() && !server.gone(), "the hold ended by itself");
    drop(child.stdin.take());
    assert_eq!(finish(child).0, 0);
    wait_until("the end of the connection", || server.gone());
}

#[test]
fn a_hold_lasts_until_a_signal() {
    for signal in ["-TERM", "-INT"] {
        let server = TestServer::new(vec![Reply::Hold { first: vended(), later: vec![], close: false }]);
        let child = hold(&server);
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        assert_eq!(finish(child).0, 0, "{signal}");
        wait_until("the end of the connection", || server.gone());
    }
}

#[test]
fn a_hold_whose_lease_is_taken_away_says_so() {
    let ended = "{\"event\":\"ended\",\"reason\":\"revoked: laptop lost\"}\n".to_owned();
    let server = TestServer::new(vec![Reply::Hold { first: vended(), later: vec![ended], close: false }]);
    let (code, said) = finish(hold(&server));
    assert_eq!(code, 5);
    assert!(said.ends_with("grantctl: lease-bbbb ended: revoked: laptop lost\n"), "{said}");
}

#[test]
fn a_hold_whose_daemon_comes_back_is_taken_up_again() {
    let ended = "{\"event\":\"ended\",\"reason\":\"revoked: laptop lost\"}\n".to_owned();
    let server = TestServer::new(vec![
        Reply::Hold { first: vended(), later: vec![], close: true },
        Reply::Hold { first: lease(), later: vec![ended], close: false },
    ]);
    let (code, said) = finish(hold(&server));
    assert_eq!(code, 5);
    assert!(said.ends_with("grantctl: lease-bbbb ended: revoked: laptop lost\n"), "{said}");
    assert!(server.asked()[1].starts_with("POST /v1/leases/lease-bbbb/hold"), "{:?}", server.asked());
}

#[test]
fn a_hold_whose_lease_ended_while_the_daemon_was_away_says_so() {
    let problem = json!({
        "type": "urn:grantd:problem:state", "title": "t", "status": 409, "detail": "lease-bbbb is revoking: take a new one",
    });
    let server =
        TestServer::new(vec![Reply::Hold { first: vended(), later: vec![], close: true }, Reply::Json(409, problem)]);
    let (code, said) = finish(hold(&server));
    assert_eq!(code, 5);
    assert!(said.contains("lease-bbbb is no longer held: lease-bbbb is revoking"), "{said}");
}

#[test]
fn tail_follows_a_daemon_through_its_restart() {
    let page = |seq: u64, records: Value| json!({ "node": "n", "head_seq": seq, "head_hash": "h", "records": records });
    let record = json!({ "seq": 2, "kind": "grant.request" });
    let server = TestServer::new(vec![
        Reply::Json(200, page(1, json!([{ "seq": 1 }]))),
        Reply::Json(200, page(1, json!([{ "seq": 1 }]))),
        Reply::Raw(Vec::new()),
        Reply::Json(200, page(2, json!([record]))),
        Reply::Json(200, page(2, json!([record]))),
        Reply::Stall,
    ]);
    let mut child = grantctl(&server)
        .args(["audit", "tail", "-f", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), r#"{"seq":1}"#);
    assert_eq!(lines.next().unwrap().unwrap(), r#"{"kind":"grant.request","seq":2}"#);
    child.kill().unwrap();
    let said = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
    assert!(said.contains("waiting for it to come back") && said.lines().count() == 1, "{said}");
}

/// Runs `configure` with a home of its own.
fn configure(home: &std::path::Path, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_grantctl"));
    command.env_clear().env("HOME", home).arg("configure").args(line.split(' ')).output().unwrap()
}

#[test]
fn configure_aws_writes_a_profile_once_and_leaves_what_is_not_its_own() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join(".aws/config");
    let read = || std::fs::read_to_string(&config).unwrap();
    let printed = configure(home.path(), "aws --resource reports --print");
    assert!(code(&printed) == 0 && !config.exists());
    let done = configure(home.path(), "aws --resource reports");
    assert_eq!((code(&done), done.stderr.len()), (0, 0), "{done:?}");
    assert_eq!(read().as_bytes(), printed.stdout);
    let program = env!("CARGO_BIN_EXE_grantctl");
    let line = format!("credential_process = {program} credential-process --grant auto --resource reports\n");
    assert!(read().ends_with(&line) && !read().contains("grant-"), "{}", read());
    // Again, under another grant: in its place, beside what a person added.
    std::fs::write(&config, format!("[default]\nregion = a\n\n{}region = b\n\n[profile c]\nregion = c\n", read()))
        .unwrap();
    let before = read();
    let again = configure(home.path(), "aws --grant grant-aaaa");
    assert_eq!(code(&again), 0, "{again:?}");
    assert_eq!(read(), before.replace("--grant auto --resource reports", "--grant grant-aaaa"));
    for (line, said) in [
        ("aws --profile c", "[profile c]"),
        ("aws --grant grant-aaaa --resource reports", "--resource chooses"),
        ("aws --profile ]x", "a profile's name"),
    ] {
        let before = read();
        let refused = configure(home.path(), line);
        assert!(code(&refused) != 0 && one_line(&refused).contains(said), "{line}: {refused:?}");
        assert_eq!(read(), before);
    }
    assert_eq!(code(&configure(home.path(), "aws --profile c --force")), 0);
    // Keys under the same name come first in the clients' chain.
    std::fs::write(home.path().join(".aws/credentials"), "[grantd]\naws_access_key_id = x\n").unwrap();
    let hidden = configure(home.path(), "aws");
    assert!(code(&hidden) == 5 && one_line(&hidden).contains("come first"), "{hidden:?}");
}

#[test]
fn configure_kubernetes_writes_a_user_that_starts_this_command_again() {
    let home = tempfile::tempdir().unwrap();
    let done = configure(home.path(), "kubernetes --cluster prod-1 --user ops");
    assert_eq!(code(&done), 0, "{done:?}");
    let path = home.path().join(".kube/grantd-ops.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let config: Value = serde_json::from_str(text.split_once('\n').unwrap().1).unwrap();
    let exec = &config["users"][0]["user"]["exec"];
    assert_eq!(
        (&config["users"][0]["name"], &exec["command"]),
        (&json!("ops"), &json!(env!("CARGO_BIN_EXE_grantctl")))
    );
    assert_eq!(exec["args"], json!(["kubectl-token", "--grant", "auto", "--cluster", "prod-1"]));
    assert_eq!(exec["apiVersion"], "client.authentication.k8s.io/v1");
    std::fs::write(&path, "apiVersion: v1\n").unwrap();
    let refused = configure(home.path(), "kubernetes --user ops");
    assert!(code(&refused) == 5 && one_line(&refused).contains("somebody else"), "{refused:?}");
    assert_eq!(code(&configure(home.path(), "kubernetes --user ops --force")), 0);
}

#[test]
fn configure_says_how_to_start_clients_that_start_no_command() {
    let home = tempfile::tempdir().unwrap();
    for (cloud, alias) in
        [("gcp", "exec --grant auto --format file -- gcloud'"), ("azure", "exec --grant auto -- azcopy'")]
    {
        let done = configure(home.path(), cloud);
        let said = String::from_utf8(done.stdout).unwrap();
        assert!(done.status.success() && said.contains(alias), "{said}");
    }
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn configure_gcp_writes_a_credential_file_that_starts_this_command_for_a_token() {
    let home = tempfile::tempdir().unwrap();
    let audience = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q";
    let line = format!("gcp --audience {audience} --resource billing --service-account a@b.iam.gserviceaccount.com");
    let done = configure(home.path(), &line);
    assert_eq!(code(&done), 0, "{done:?}");
    let path = home.path().join(".config/grantd/gcp.json");
    let config: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!((&config["type"], &config["audience"]), (&json!("external_account"), &json!(audience)));
    assert_eq!(config["token_url"], "https://sts.googleapis.com/v1/token");
    assert!(config["service_account_impersonation_url"].as_str().unwrap().contains("a@b.iam.gserviceaccount.com:"));
    let command = config["credential_source"]["executable"]["command"].as_str().unwrap();
    let end = " token --grant auto --resource billing --format executable";
    assert_eq!(command, format!("{}{end}", env!("CARGO_BIN_EXE_grantctl")));
    // Ours is written again; another one's is not.
    assert_eq!(code(&configure(home.path(), &line)), 0);
    std::fs::write(&path, "{\"type\":\"service_account\"}").unwrap();
    let refused = configure(home.path(), &line);
    assert!(code(&refused) == 5 && one_line(&refused).contains("somebody else"), "{refused:?}");
    assert_eq!(code(&configure(home.path(), &format!("{line} --force"))), 0);
    assert_eq!(code(&configure(home.path(), "gcp --audience projects/1")), 2);
}
