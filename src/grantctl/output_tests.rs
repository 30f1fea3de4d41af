//! What each command asks, prints and returns, kept as transcripts in `testdata/`: for people, and with `--json`.

use std::ffi::OsString;
use std::io;
use std::time::Duration;

use clap::Parser;
use serde_json::{Value, json};

use grantd_model::{Actor, AuditDraft, AuditRecord, ChainHead, NodeId, ProcessRef, Subject, SubjectKind};
use grantd_wire::{Problem, ProblemKind};

use crate::cli::Cli;
use crate::client::Client;
use crate::exit::Exit;
use crate::testserver::{Reply, SECRETS, TestServer, grant, lease, vended, vended_azure, vended_gcp, vended_token};
use crate::{Context, run};

/// How one command line went.
struct Ran {
    asked: Vec<String>,
    out: String,
    err: String,
    exit: Exit,
}

async fn ran(line: &[&str], replies: Vec<Reply>, terminal: bool) -> Ran {
    let server = TestServer::new(replies);
    let arguments = std::iter::once(OsString::from("grantctl")).chain(line.iter().map(OsString::from));
    let cli = Cli::try_parse_from(arguments).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut context = Context {
        client: Client::new(server.path.clone(), Duration::from_secs(10)),
        json: cli.global.json,
        now: "2026-11-22T09:00:00Z".parse().unwrap(),
        out: &mut out,
        err: &mut err,
        out_is_terminal: terminal,
        err_is_terminal: false,
        color: cli.global.color.on(false),
    };
    let done = run(&mut context, cli.command).await;
    let mut err = String::from_utf8(err).unwrap();
    if let Err(Some(line)) = done.as_ref().map_err(|failure| failure.line()) {
        err.push_str(&format!("grantctl: {line}\n"));
    }
    Ran {
        asked: server.asked(),
        out: String::from_utf8(out).unwrap(),
        err,
        exit: done.map_or_else(|failure| failure.exit(), |()| Exit::Ok),
    }
}

/// One command for people and with `--json`, as `testdata/<name>.txt` has it.
async fn transcript(expected: &str, line: &[&str], answers: &[(u16, Value)]) {
    let replies = || answers.iter().map(|(status, body)| Reply::Json(*status, body.clone())).collect();
    let mut text = String::new();
    for more in [&[][..], &["--json"][..]] {
        let line: Vec<&str> = line.iter().chain(more).copied().collect();
        let ran = ran(&line, replies(), false).await;
        text.push_str(&format!("$ grantctl {}\n", line.join(" ")));
        for (mark, said) in [("<", ran.asked.join("\n")), (" ", ran.out), ("!", ran.err)] {
            for said in said.lines() {
                text.push_str(&format!("{mark} {said}\n"));
            }
        }
        text.push_str(&format!("= {}\n\n", ran.exit.code()));
    }
    assert_eq!(text.trim_end(), expected.trim_end(), "the transcript is now:\n{text}");
}

macro_rules! transcripts {
    ($($name:ident: [$($word:expr),*] => $answers:expr;)*) => {$(
        #[tokio::test]
        async fn $name() {
            transcript(include_str!(concat!("testdata/", stringify!($name), ".txt")), &[$($word),*], &$answers).await;
        }
    )*};
}

transcripts! {
    request: ["request", "--resource", "reports", "--can", "object-storage:read", "--for", "30m", "--why",
        "nightly export", "--prefix", "exports/", "--source-network", "10.0.0.0/8", "--ticket", "OPS-1",
        "--not-before", "2026-11-22T10:00:00+01:00", "--subject", "deploy", "--task-system", "github", "--task-run",
        "7", "--task-attempt", "1", "--task-job", "build"] => [(201, grant())];
    request_pending: ["request", "--resource", "reports", "--can", "object-storage:read", "--for", "1h 30m", "--why",
        "x"] => [(201, waiting())];
    approve: ["approve", "grant-aaaa", "--yes", "--native", "--comment", "for the audit"]
        => [(200, waiting()), (200, approved())];
    approve_digest: ["approve", "grant-aaaa", "--digest", "d1"] => [(200, waiting()), (200, approved())];
    approve_other_digest: ["approve", "grant-aaaa", "--digest", "d0"] => [(200, waiting())];
    approve_nothing: ["approve", "grant-aaaa", "--yes"] => [(200, grant())];
    approve_extension: ["approve", "grant-aaaa", "--yes"] => [(200, extending()), (200, grant())];
    deny: ["deny", "grant-aaaa", "--reason", "not on a Friday"] => [(200, grant_in("denied"))];
    cancel: ["cancel", "grant-aaaa"] => [(200, grant_in("cancelled"))];
    extend: ["extend", "grant-aaaa", "--for", "30m", "--why", "the export is slow"] => [(200, extending())];
    list_approvable: ["list", "--approvable"] => [(200, json!({ "grants": [] }))];
    show_voided: ["show", "grant-aaaa"] => [(200, voided()), (200, json!({ "leases": [lease()] }))];
    request_denied: ["request", "--resource", "reports", "--can", "object-storage:read", "--for", "30m", "--why", "x"]
        => [(403, denied())];
    show_grant: ["show", "grant-aaaa"] => [(200, grant()), (200, json!({ "leases": [lease()] }))];
    show_lease: ["show", "lease-bbbb"] => [(200, lease())];
    show_nothing: ["show", "lease-cccc"] => [(404, problem(ProblemKind::NotFound, "there is no lease lease-cccc"))];
    list: ["list", "--all", "--state", "active,revoked", "--resource", "reports"]
        => [(200, json!({ "grants": [grant(), grant_in("revoked")] }))];
    list_empty: ["list"] => [(200, json!({ "grants": [] }))];
    vend: ["vend", "grant-aaaa", "--ttl", "5m", "--anchor", "parent"] => [(201, vended())];
    vend_too_long: ["vend", "auto", "--resource", "reports", "--ttl", "2h"] => [(422, too_long())];
    credential_process: ["credential-process", "auto", "--ttl", "5m"] => [(201, vended())];
    credential_process_reused: ["credential-process", "grant-aaaa"] => [(200, reused())];
    credential_process_other_cloud: ["credential-process", "auto"] => [(201, vended_gcp()), (200, lease())];
    vend_gcp_env: ["vend", "auto", "--format", "env"] => [(201, vended_gcp())];
    kubectl_token_gke: ["kubectl-token", "auto", "--ttl", "5m"] => [(201, vended_gcp())];
    kubectl_token_eks: ["kubectl-token", "--grant", "auto", "--cluster", "prod-1"] => [(201, vended())];
    kubectl_token_no_cluster: ["kubectl-token"] => [(201, vended()), (200, lease())];
    kubectl_token_no_audience: ["kubectl-token", "auto"] => [(200, reused_azure())];
    gcp_token: ["gcp-token", "grant-aaaa"] => [(201, vended_gcp())];
    gcp_token_other_cloud: ["gcp-token"] => [(200, reused_azure())];
    token: ["token", "grant-aaaa", "--ttl", "5m"] => [(201, vended_token())];
    token_executable: ["token", "--resource", "billing", "--format", "executable"] => [(201, vended_token())];
    token_executable_denied: ["token", "--format", "executable"] => [(403, denied())];
    token_executable_other_cloud: ["token", "--format", "executable"] => [(201, vended_gcp()), (200, lease())];
    token_other_cloud: ["token"] => [(200, reused_azure())];
    vend_token_env: ["vend", "auto", "--format", "env"] => [(201, vended_token())];
    vend_azure_env: ["vend", "auto", "--format", "env"] => [(201, vended_azure())];
    credential_process_denied: ["credential-process", "auto"] => [(403, denied())];
    attach: ["attach", "--pid", "4312"]
        => [(201, json!({ "id": "anchor-dddd", "pid": 4312, "uid": 1001, "created_at": "2026-11-22T09:00:00Z" }))];
    detach: ["detach", "anchor-dddd"] => [(204, json!(null))];
    complete_grant: ["complete", "grant-aaaa"] => [(200, grant_in("ended"))];
    complete_lease: ["complete", "lease-bbbb"] => [(200, ended("expiring", None, Some("2026-11-22T09:04:12Z")))];
    revoke_grant: ["revoke", "grant-aaaa", "--reason", "laptop lost"] => [(200, grant_in("revoked"))];
    revoke_lease: ["revoke", "lease-bbbb", "--reason", "laptop lost"]
        => [(200, ended("revoking", Some("requested"), Some("2026-11-22T09:04:12Z")))];
    leases: ["leases", "--grant", "grant-aaaa", "--ended", "--all"] => [(200, json!({ "leases": [
        lease(), ended("revoked", Some("confirmed"), None)
    ] }))];
    leases_empty: ["leases"] => [(200, json!({ "leases": [] }))];
    drain: ["drain"] => [(202, drained(3, 1)), (200, drained(0, 0))];
    status: ["status"] => [(200, status_body())];
    status_issuer: ["status"] => [(200, status_of_issuer())];
    bootstrap_denied: ["bootstrap", "aws", "--account", "main", "--base", "arn:aws:iam::123456789012:role/a b"]
        => [(403, problem(ProblemKind::NotYours, "the set-up of accounts belongs to administrators, and you are uid 7"))];
    audit_verify: ["audit", "verify"] => [(200, page(&chain(3), 0..2)), (200, page(&chain(3), 2..3))];
    audit_verify_empty: ["audit", "verify"] => [(200, page(&[], 0..0))];
    audit_tail: ["audit", "tail", "-n", "2"] => [(200, page(&chain(3), 0..1)), (200, page(&chain(3), 1..3))];
}

#[tokio::test]
async fn auto_is_the_one_active_grant_wherever_a_grant_is_named() {
    let one = || Reply::Json(200, json!({ "grants": [grant()] }));
    let done = ran(&["complete", "auto"], vec![one(), Reply::Json(200, grant_in("ended"))], false).await;
    assert_eq!(done.exit, Exit::Ok, "{}", done.err);
    assert_eq!(done.asked[0], "GET /v1/grants?limit=100&state=active");
    assert!(done.asked[1].starts_with("POST /v1/grants/grant-aaaa/complete"), "{:?}", done.asked);
    let listed =
        ran(&["leases", "--grant", "auto"], vec![one(), Reply::Json(200, json!({ "leases": [] }))], false).await;
    assert_eq!(listed.asked[1], "GET /v1/leases?grant=grant-aaaa");
    for line in [&["vend"][..], &["vend", "--grant", "auto"], &["credential-process", "--grant", "auto"]] {
        let vend = ran(line, vec![Reply::Json(201, vended())], false).await;
        assert!(vend.asked[0].contains(r#""grant":"auto""#), "{:?}", vend.asked);
    }
    let none = ran(&["show", "auto"], vec![Reply::Json(200, json!({ "grants": [] }))], false).await;
    assert_eq!((none.exit, none.err.contains("grantctl request")), (Exit::NotFound, true), "{}", none.err);
    let two = Reply::Json(200, json!({ "grants": [grant(), grant()] }));
    let many = ran(&["revoke", "auto", "--reason", "x"], vec![two], false).await;
    assert_eq!((many.exit, many.asked.len()), (Exit::State, 1), "{}", many.err);
}

#[tokio::test]
async fn colours_are_there_when_wanted_and_take_nothing_from_the_text() {
    let list = || vec![Reply::Json(200, json!({ "grants": [grant(), grant_in("revoked")] }))];
    let plain = ran(&["list"], list(), false).await;
    let painted = ran(&["list", "--color", "always"], list(), false).await;
    assert!(!plain.out.contains('\u{1b}') && painted.out.contains("\u{1b}[32mactive\u{1b}[0m"), "{:?}", painted.out);
    let mut bare = painted.out;
    for mark in ["\u{1b}[1m", "\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m", "\u{1b}[0m"] {
        bare = bare.replace(mark, "");
    }
    assert_eq!(bare, plain.out);
    let json = ran(&["list", "--json", "--color", "always"], list(), false).await;
    assert!(!json.out.contains('\u{1b}'));
}

#[tokio::test]
async fn completions_and_man_pages_are_made_without_a_daemon() {
    for shell in ["bash", "zsh", "fish"] {
        let made = ran(&["completions", shell], vec![], false).await;
        assert!(made.exit == Exit::Ok && made.out.contains("credential-process"), "{shell}: {}", made.err);
        assert!(!made.out.contains("exec-child"), "{shell} tells of what is hidden");
    }
    let directory = tempfile::tempdir().unwrap();
    let made = ran(&["man", directory.path().to_str().unwrap()], vec![], false).await;
    assert_eq!(made.exit, Exit::Ok, "{}", made.err);
    let page = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap_or_default();
    assert!(page("grantctl.1").contains("Exit codes") && page("grantctl-exec.1").contains("keep\\-aws\\-config"));
    assert!(page("grantctl-exec-child.1").is_empty());
}

fn with(mut grant: Value, name: &str, value: Value) -> Value {
    grant[name] = value;
    grant
}

fn quorum(given: u32, can_approve: &[&str]) -> Value {
    json!([{ "capacity": "owner", "needed": 2, "given": given, "can_approve": can_approve }])
}

fn olga(void: Option<&str>) -> Value {
    json!({ "person": "olga", "identity": "unix:1007", "capacity": "owner", "at": "2026-11-22T08:57:00Z",
        "comment": "seen with Ana", "void": void })
}

fn waiting() -> Value {
    let approval = json!({ "quorum": quorum(1, &["otto", "petra"]), "given": [olga(None)],
        "lapses_at": "2026-11-22T12:55:00Z" });
    with(grant_in("pending"), "approval", approval)
}

fn approved() -> Value {
    with(grant(), "approval", json!({ "quorum": quorum(2, &[]), "given": [olga(None)] }))
}

fn voided() -> Value {
    let given = olga(Some("olga is no owner of \"reports\" any more"));
    with(grant(), "approval", json!({ "quorum": quorum(1, &["otto"]), "given": [given] }))
}

fn extending() -> Value {
    let extension = json!({ "state": "pending", "asked_at": "2026-11-22T08:59:00Z", "until": "2026-11-22T09:55:00Z",
        "asked_by": grant()["subject"], "justification": "the export is slow", "digest": "e1",
        "approval": { "quorum": quorum(0, &["olga"]), "given": [], "lapses_at": "2026-11-22T09:25:00Z" } });
    with(approved(), "extensions", json!([extension]))
}

/// Nobody is there to be asked, and nothing says that nobody has to be.
#[tokio::test]
async fn p12_nothing_is_approved_that_nobody_was_shown() {
    let ran = ran(&["approve", "grant-aaaa"], Vec::new(), false).await;
    assert_eq!((ran.exit, ran.asked.len()), (Exit::Usage, 0));
    assert!(ran.err.contains("--digest") && ran.err.contains("grantctl show grant-aaaa"), "{}", ran.err);
}

/// A person tries `vend` in a terminal: nothing is taken that could not be shown.
#[tokio::test]
async fn p9_no_credential_goes_to_a_terminal_unasked() {
    for line in [&["vend", "auto"][..], &["gcp-token"]] {
        let refused = ran(line, vec![], true).await;
        assert_eq!((refused.exit, refused.out.as_str(), refused.asked.len()), (Exit::Usage, "", 0), "{line:?}");
    }
    let wanted = ran(&["vend", "auto", "--format", "env"], vec![Reply::Json(201, vended())], true).await;
    assert_eq!(wanted.exit, Exit::Ok);
    assert!(wanted.out.contains(&format!("export AWS_SECRET_ACCESS_KEY='{}'\n", SECRETS[0])), "{}", wanted.out);
}

/// Standard error may end in a log: whatever happens, no secret is on it.
#[tokio::test]
async fn p9_secrets_are_on_standard_output_only() {
    for line in [&["vend", "auto"][..], &["vend", "auto", "--format", "env"], &["credential-process", "auto"]] {
        let ran = ran(line, vec![Reply::Json(201, vended())], false).await;
        assert!(SECRETS.iter().all(|secret| ran.out.contains(secret) && !ran.err.contains(secret)), "{}", ran.err);
    }
}

#[tokio::test]
async fn env_lines_survive_a_shell() {
    let mut body = vended();
    body["credential"]["session_token"] = json!("a'b $(touch x) \"c\"\\");
    let ran = ran(&["vend", "auto", "--format", "env"], vec![Reply::Json(201, body)], false).await;
    let script = format!("{}\nprintf %s \"$AWS_SESSION_TOKEN\"", ran.out);
    let shell = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
    assert_eq!(String::from_utf8(shell.stdout).unwrap(), "a'b $(touch x) \"c\"\\");
}

/// Nobody took the credential: that is no success, and the lease is named so that it can be ended.
#[tokio::test]
async fn a_credential_that_nobody_reads_is_a_failure() {
    struct Closed;
    impl io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for (line, code) in [("credential-process auto", 1), ("vend auto", 1), ("leases", 0)] {
        let body = if line == "leases" { json!({ "leases": [] }) } else { vended() };
        let server = TestServer::new(vec![Reply::Json(200, body)]);
        let cli = Cli::try_parse_from(["grantctl"].into_iter().chain(line.split(' '))).unwrap();
        let mut context = Context {
            client: Client::new(server.path.clone(), Duration::from_secs(10)),
            json: false,
            now: "2026-11-22T09:00:00Z".parse().unwrap(),
            out: &mut Closed,
            err: &mut io::sink(),
            out_is_terminal: false,
            err_is_terminal: false,
            color: cli.global.color.on(false),
        };
        let failure = run(&mut context, cli.command).await.unwrap_err();
        assert_eq!(failure.exit().code(), code, "{line}");
        assert_eq!(failure.line().is_some_and(|said| said.contains("grantctl complete lease-bbbb")), code == 1);
    }
}

#[tokio::test]
async fn a_chain_that_does_not_hold_is_found() {
    let good = chain(3);
    let mut changed = good.clone();
    changed[1]["detail"]["n"] = json!(7);
    let mut added = good.clone();
    added[1]["approved_by"] = json!("somebody");
    let missing = vec![good[0].clone(), good[2].clone()];
    let mut foreign = page(&good, 0..3);
    foreign["node"] = json!("node-2");
    let mut cut = page(&good, 0..2);
    let (head, hash) = (cut["head_seq"].clone(), good[2]["hash"].clone());
    assert_eq!((head, cut["head_hash"].clone()), (json!(3), hash));
    let mut shorter = page(&good[..2], 0..2);
    shorter["head_hash"] = good[2]["hash"].clone();
    for (what, pages) in [
        ("changed", vec![page(&changed, 0..3)]),
        ("added", vec![page(&added, 0..3)]),
        ("missing", vec![page(&missing, 0..2)]),
        ("no record", vec![page(&[json!({ "seq": 1, "hash": "0" })], 0..1)]),
        ("foreign", vec![foreign]),
        ("cut", vec![cut.take(), page(&good, 3..3)]),
        ("other head", vec![shorter]),
        ("not from the first", vec![page(&good, 1..3)]),
        (
            "other node later",
            vec![page(&good, 0..2), {
                let mut p = page(&good, 2..3);
                p["node"] = json!("x");
                p
            }],
        ),
    ] {
        let replies = pages.into_iter().map(|page| Reply::Json(200, page)).collect();
        let ran = ran(&["audit", "verify"], replies, false).await;
        assert_eq!((ran.exit, ran.out.as_str()), (Exit::Chain, ""), "{what}: {}", ran.err);
        assert_eq!(ran.err.lines().count(), 1, "{what}: {}", ran.err);
    }
}

#[tokio::test]
async fn a_file_is_verified_from_its_first_record() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let good = chain(3);
    let mut changed = good.clone();
    changed[2]["kind"] = json!("lease.revoked");
    for (records, code) in [(&good[..], 0), (&good[..2], 0), (&good[1..], 10), (&changed[..], 10), (&[], 0)] {
        let text: String = records.iter().map(|record| format!("{record}\n")).collect();
        std::fs::write(&path, text).unwrap();
        let ran = ran(&["audit", "verify", "--file", path.to_str().unwrap()], vec![], false).await;
        assert_eq!(ran.exit.code(), code, "{}", ran.err);
        assert!(code == 10 || ran.out.contains("compare the head"), "{}", ran.out);
    }
    std::fs::write(&path, "no json\n").unwrap();
    let garbage = ran(&["audit", "verify", "--file", path.to_str().unwrap()], vec![], false).await;
    assert_eq!(garbage.exit, Exit::Chain);
    let absent = ran(&["audit", "verify", "--file", "/does/not/exist"], vec![], false).await;
    assert_eq!(absent.exit, Exit::Usage);
}

#[tokio::test]
async fn a_resource_chooses_among_grants_only() {
    let ran = ran(&["vend", "grant-aaaa", "--resource", "reports"], vec![], false).await;
    assert_eq!((ran.exit, ran.asked.len()), (Exit::Usage, 0));
}

fn grant_in(state: &str) -> Value {
    let mut grant = grant();
    grant["state"] = json!(state);
    match state {
        "pending" => {
            let members = grant.as_object_mut().unwrap();
            members.remove("active_since");
            members.remove("active_until");
        }
        "revoked" => grant["reason"] = json!("laptop lost"),
        _ => grant["reason"] = json!("completed"),
    }
    grant
}

fn ended(state: &str, revocation: Option<&str>, worst: Option<&str>) -> Value {
    let mut lease = lease();
    lease["state"] = json!(state);
    lease["reason"] = json!("revoked: laptop lost");
    let members = lease.as_object_mut().unwrap();
    members.remove("worst_case_until");
    for (name, value) in [("revocation", revocation), ("worst_case_until", worst)] {
        if let Some(value) = value {
            members.insert(name.to_owned(), json!(value));
        }
    }
    lease
}

fn reused_azure() -> Value {
    let mut body = vended_azure();
    body["reused"] = json!(true);
    body
}

fn reused() -> Value {
    let mut body = vended();
    body["reused"] = json!(true);
    body
}

fn problem(kind: ProblemKind, detail: &str) -> Value {
    serde_json::to_value(Problem::new(kind, detail)).unwrap()
}

fn denied() -> Value {
    let mut problem = problem(ProblemKind::Denied, "no policy permits object-storage:read on \"reports\" (tier high)");
    problem["rule"] = json!("low-tier-only");
    problem["who_can_fix"] = json!("the policy's owners");
    problem["next"] = json!("ask for a resource of tier low");
    problem
}

fn too_long() -> Value {
    let mut problem = problem(ProblemKind::Limit, "2h asked, 15m allowed");
    problem["limit"] = json!(900);
    problem
}

fn status_body() -> Value {
    json!({
        "version": "0.1.0", "state": "degraded", "alarms": ["1 revocation is not confirmed since 5m"],
        "node": "node-1", "you": "pipeline deploy (unix:1001)", "policy_version": "p1",
        "started_at": "2026-11-20T07:00:00Z", "audit_seq": 12, "live_leases": 2,
        "revocation": { "unconfirmed": 1, "oldest_requested_at": "2026-11-22T08:55:00Z", "open_intents": 0 },
        "accounts": [
            { "cloud": "aws", "account": "prod" },
            { "cloud": "aws", "account": "test", "last_error": "AccessDenied" }
        ],
        "hardening": ["memory is not dumpable", "memory is locked"]
    })
}

/// As it is when nobody published the keys of the issuer, and nobody replaced them either.
fn status_of_issuer() -> Value {
    let mut status = status_body();
    status["alarms"] = json!([
        "issuer federation: the key that signs was never published, so no cloud can take its tokens: grantctl issuer publish \
         DIR --issuer federation",
        "issuer federation: the key that signs does so since 2026-01-01 and was to be replaced by 2026-04-01: the next one \
         waits to be published: grantctl issuer publish DIR --issuer federation",
    ]);
    status
}

/// A chain as the daemon would write it.
fn chain(length: u64) -> Vec<Value> {
    let node = NodeId("node-1".to_owned());
    let mut head = ChainHead::EMPTY;
    let subject = Subject {
        kind: SubjectKind::Pipeline,
        issuer: "unix".to_owned(),
        id: "1001".to_owned(),
        name: "deploy".to_owned(),
    };
    let process = ProcessRef { boot_id: "b".to_owned(), pid: 4312, start_time: 9 };
    let actors = [
        Actor::Daemon { part: "main".to_owned() },
        Actor::Peer { uid: 1001, gid: 1001, process: process.clone(), subject: None },
        Actor::Peer { uid: 1001, gid: 1001, process, subject: Some(subject) },
    ];
    let records = (0..length).zip(actors.into_iter().cycle()).map(|(n, actor)| {
        let draft = AuditDraft {
            at: "2026-11-22T08:59:12.345Z".parse().unwrap(),
            kind: "lease.issued".to_owned(),
            actor,
            grant: None,
            lease: (n == 2).then(|| "lease-aemk6iqy7z6yhkmmshfhk23tuy".parse().unwrap()),
            detail: json!({ "n": n, "why": "a\nb" }),
        };
        let record = AuditRecord::chain(&node, head, draft).unwrap();
        head = record.head();
        serde_json::to_value(&record).unwrap()
    });
    records.collect()
}

/// A drain of five leases.
fn drained(live: u64, unaccepted: u64) -> Value {
    let settled = 4 - live - unaccepted;
    json!({ "complete": live + unaccepted == 0, "expiring": 1, "leases": 5, "live": live, "settled": settled,
        "since": "2026-11-22T08:59:58Z", "unaccepted": unaccepted, "worst_case_until": "2026-11-22T09:04:12Z" })
}

fn page(chain: &[Value], part: std::ops::Range<usize>) -> Value {
    let (seq, hash) =
        chain.last().map_or((json!(0), json!("0".repeat(64))), |last| (last["seq"].clone(), last["hash"].clone()));
    json!({ "node": "node-1", "head_seq": seq, "head_hash": hash, "records": chain[part].to_vec() })
}
