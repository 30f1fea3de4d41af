//! Clients that mean harm, clouds that hang (P11): each gets its clear error, nobody else notices.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that breaks must say so"
)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Stdio};
use std::thread;
use std::time::Duration;

use grantd_testkit::{Fault, Rule, spawn_on_keeper};
use grantd_tests::{Setup, User, World, eventually};
use serde_json::{Value, json};

/// What the clients of this file have in common.
const PRELUDE: &str = r#"
import json, socket, sys, time
PATH = sys.argv[1]

def connect():
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(15)
    s.connect(PATH)
    return s

# Everything until the daemon hangs up.
def rest(s):
    found = b""
    try:
        while True:
            more = s.recv(65536)
            if not more:
                return found
            found += more
    except ConnectionResetError:
        return found

def say(s, data):
    try:
        s.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        pass

def status(answer):
    return int(answer.split(b" ")[1]) if answer.startswith(b"HTTP/1.1 ") else None

def problem(answer):
    return json.loads(answer.split(b"\r\n\r\n", 1)[1])
"#;

/// Runs a client as alice; it prints JSON.
fn client(world: &World, code: &str) -> Value {
    let socket = world.scene.socket().display().to_string();
    let finished = world.alice().run("/usr/bin/python3", &["-c", &format!("{PRELUDE}{code}"), &socket]);
    assert!(finished.success(), "{finished}");
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished}"))
}

/// A client that stays until it is dropped.
struct Staying {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Staying {
    fn start(world: &World, code: &str) -> Self {
        let mut command = world.alice().command("/usr/bin/python3");
        command.args(["-c", &format!("{PRELUDE}{code}")]).arg(world.scene.socket());
        let mut child = spawn_on_keeper({
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            command
        })
        .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    fn go_on(&mut self) {
        writeln!(self.child.stdin.as_mut().unwrap()).unwrap();
    }
}

impl Drop for Staying {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn limited(lines: &str) -> Setup {
    let Setup { limits, .. } = Setup::default();
    Setup { limits: format!("{limits}{lines}"), ..Setup::default() }
}

fn started(setup: &Setup) -> World {
    let mut world = World::prepared(setup);
    world.start();
    world
}

/// bob is answered soon, status and credential; who waits for somebody else's timeout is not.
fn bob_is_served_at_once(world: &World) {
    let bob = world.bob().limit(Duration::from_secs(3));
    assert_eq!(bob.curl("GET", "/v1/status", None).status, 200);
    let grant = world.grant(&bob, "alpha");
    let _ = World::vended(&world.vend(&bob, &grant, json!({})));
}

#[test]
fn p11_a_cloud_that_hangs_for_one_stops_nobody_else() {
    let timeouts = r#"connect = "1s", read = "8s", attempt = "8s", operation = "10s""#.to_owned();
    let world = started(&Setup { timeouts, ..Setup::default() });
    let grant = world.grant(&world.alice(), "alpha");
    let rule = world.proxy.add(Rule::on("AssumeRole", Fault::Stall).times(1)).unwrap();
    thread::scope(|scope| {
        let stalled = scope.spawn(|| world.vend(&world.alice(), &grant, json!({})));
        eventually("the cloud hangs", Duration::from_secs(5), || world.proxy.fired(rule) == 1);
        bob_is_served_at_once(&world);
        // Neither is alice herself stopped.
        let alice = world.alice().limit(Duration::from_secs(2));
        let other = world.grant(&alice, "beta");
        let _ = World::vended(&world.vend(&alice, &other, json!({})));
        assert!(!stalled.is_finished(), "the cloud did not hang long enough to see anything");
        let _ = stalled.join().unwrap();
    });
    // A revocation that hangs does not stop issue either.
    let (lease, _) = World::vended(&world.vend(&world.alice(), &grant, json!({})));
    let rule = world.proxy.add(Rule::on("CreatePolicyVersion", Fault::Stall)).unwrap();
    assert_eq!(world.alice().curl("POST", &format!("/v1/leases/{lease}/complete"), None).status, 200);
    eventually("the cloud hangs", Duration::from_secs(5), || world.proxy.fired(rule) >= 1);
    bob_is_served_at_once(&world);
    world.proxy.clear();
    eventually("it is revoked", Duration::from_secs(30), || world.lease(&lease)["state"] == "revoked");
}

#[test]
fn p11_a_cloud_that_stays_silent_is_left_alone_for_a_while() {
    let world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let (lease, _) = World::vended(&world.vend(&world.alice(), &grant, json!({})));
    let rule = world.proxy.add(Rule::on("AssumeRole", Fault::Reset)).unwrap();
    for _ in 0..5 {
        world.vend(&world.alice(), &grant, json!({})).is_problem(502, "cloud", &["grantd-target-1"]);
    }
    let paused = world.vend(&world.alice(), &grant, json!({}));
    paused.is_problem(502, "cloud", &["\"main\"", "paused", "nothing was sent"]);
    assert_eq!(paused.body["retryable"], true);
    assert_eq!(world.proxy.fired(rule), 5);
    let status = world.status();
    assert!(status["alarms"].to_string().contains("main"), "{status}");
    // Taking back is never paused, and needs nothing of what is broken.
    assert_eq!(world.alice().curl("POST", &format!("/v1/leases/{lease}/complete"), None).status, 200);
    world.wait_for_lease(&lease, "revoked");
    world.proxy.clear();
    eventually("it serves again by itself", Duration::from_secs(10), || {
        world.vend(&world.alice(), &grant, json!({})).status == 200
    });
    world.serves_bob();
    assert_eq!(world.status()["alarms"], json!([]));
}

#[test]
fn p11_a_thousand_connections_of_one_user_leave_room_for_another() {
    let world = started(&limited("header_timeout = \"30s\"\n"));
    let mut crowd = Staying::start(
        &world,
        r#"
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (2048, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
crowd = [connect() for _ in range(1000)]
time.sleep(0.5)
refused, quiet, example = 0, 0, None
for s in crowd:
    s.settimeout(0.001)
    try:
        answer = rest(s)
    except TimeoutError:
        quiet += 1
        continue
    if status(answer) == 429:
        refused, example = refused + 1, problem(answer)
print(json.dumps([refused, quiet, example]), flush=True)
sys.stdin.readline()
"#,
    );
    let seen = crowd.line();
    let (refused, quiet) = (seen[0].as_u64().unwrap(), seen[1].as_u64().unwrap());
    assert_eq!((refused, quiet), (936, 64), "{seen}");
    assert_eq!(seen[2]["type"], "urn:grantd:problem:too-many");
    let detail = seen[2]["detail"].as_str().unwrap();
    assert!(detail.contains(&format!("uid {}", User::Alice.uid())) && detail.contains("64"), "{detail}");
    bob_is_served_at_once(&world);
    world.alice().curl("GET", "/v1/status", None).is_problem(429, "too-many", &["close some"]);
    drop(crowd);
    // With the crowd gone alice is served again.
    eventually("alice is served", Duration::from_secs(5), || {
        world.alice().curl("GET", "/v1/status", None).status == 200
    });
}

#[test]
fn p11_a_user_who_asks_too_often_slows_down_nobody_else() {
    let world = started(&Setup { limits: "requests_per_second = 20\nburst = 20\n".to_owned(), ..Setup::default() });
    let statuses = client(
        &world,
        r#"
found, example = {}, None
for _ in range(100):
    s = connect()
    say(s, b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answer = rest(s)
    found[status(answer)] = found.get(status(answer), 0) + 1
    if status(answer) == 429:
        example = problem(answer)
print(json.dumps([found, example]))
"#,
    );
    assert!(statuses[0]["200"].as_u64().unwrap() >= 20 && statuses[0]["429"].as_u64().unwrap() >= 40, "{statuses}");
    assert_eq!(statuses[1]["type"], "urn:grantd:problem:too-many");
    assert!(statuses[1]["detail"].as_str().unwrap().contains("20 times a second"), "{statuses}");
    bob_is_served_at_once(&world);
}

#[test]
fn p11_slow_clients_are_let_go_and_wait_alone() {
    let world = started(&limited("header_timeout = \"1s\"\nrequest_timeout = \"2s\"\n"));
    let mut slow = Staying::start(
        &world,
        r#"
silent, dripping, stalled = connect(), connect(), connect()
say(stalled, b"POST /v1/grants HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{\"resource\":")
print(json.dumps("begun"), flush=True)
began = time.monotonic()
for byte in b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + b"y" * 100:
    try:
        dripping.sendall(bytes([byte]))
    except OSError:
        break
    time.sleep(0.05)
dripped = time.monotonic() - began
rest(silent), rest(dripping)
answer = stalled.recv(65536)
print(json.dumps([dripped, status(answer), problem(answer), time.monotonic() - began]), flush=True)
"#,
    );
    assert_eq!(slow.line(), "begun");
    bob_is_served_at_once(&world);
    let seen = slow.line();
    assert!(seen[0].as_f64().unwrap() < 5.0, "a dripping client was let drip: {seen}");
    assert_eq!(seen[1], 504, "{seen}");
    assert!(seen[2]["detail"].as_str().unwrap().contains("2 s"), "{seen}");
    assert!(seen[3].as_f64().unwrap() < 8.0, "{seen}");
    bob_is_served_at_once(&world);
}

#[test]
fn p11_requests_that_are_wrong_get_a_clear_error() {
    let world = World::new();
    let alice = world.alice();
    let right = json!({ "resource": "alpha", "capability": "object-storage:read", "justification": "a test",
                        "duration_seconds": 60 });
    let with = |name: &str, value: Value| {
        let mut body = right.clone();
        body[name] = value;
        body
    };
    let bad: [(&str, Value, &[&str]); 12] = [
        ("a list", json!([1, 2]), &["not valid"]),
        ("a text", json!("alpha"), &["not valid"]),
        ("null", json!(null), &["not valid"]),
        ("an unknown member", with("admin", json!(true)), &["admin"]),
        ("a wrong type", with("duration_seconds", json!("long")), &["not valid"]),
        ("a negative number", with("duration_seconds", json!(-1)), &["not valid"]),
        ("a fraction", with("duration_seconds", json!(1.5)), &["not valid"]),
        ("nothing", with("duration_seconds", json!(0)), &["one second"]),
        ("no capability", with("capability", json!("everything")), &["everything"]),
        ("no reason", with("justification", json!("")), &["justification"]),
        ("a reason of two lines", with("justification", json!("a\nb: c")), &["justification"]),
        ("no time", with("not_before", json!("soon")), &[]),
    ];
    for (what, body, words) in bad {
        println!("{what}");
        alice.curl("POST", "/v1/grants", Some(&body)).is_problem(400, "bad-request", words);
    }
    let big = with("justification", json!("x".repeat(70_000)));
    let big = alice.curl("POST", "/v1/grants", Some(&big));
    big.is_problem(413, "bad-request", &["65536 bytes"]);
    assert_eq!(big.body["limit"], 65_536);
    for (method, path, status, kind) in [
        ("GET", "/", 404, "not-found"),
        ("GET", "/v2/status", 404, "not-found"),
        ("PUT", "/v1/status", 405, "bad-request"),
        ("GET", "/v1/leases/%2e%2e%2f", 400, "bad-request"),
        ("GET", "/v1/leases/nonsense", 400, "bad-request"),
        ("GET", "/v1/grants?limit=many", 400, "bad-request"),
        ("GET", "/v1/grants?state=imaginary", 400, "bad-request"),
        ("GET", "/v1/grants?colour=red", 400, "bad-request"),
    ] {
        println!("{method} {path}");
        alice.curl(method, path, None).is_problem(status, kind, &[]);
    }
    for body in [
        json!({}),
        json!({ "grant": 1 }),
        json!({ "grant": "auto", "anchor": "moon" }),
        json!({ "grant": "auto", "ttl_seconds": 1e30 }),
    ] {
        alice.curl("POST", "/v1/leases", Some(&body)).is_problem(400, "bad-request", &["not valid"]);
    }
    // The narrowing goes into a policy document: nothing in it may become policy.
    let narrowed = |narrowing: Value| world.request(&alice, "alpha", json!({ "narrowing": narrowing }));
    for prefix in ["*", "a*b", "?", "${aws:username}", "a\nb"] {
        let answer = narrowed(json!({ "prefix": prefix }));
        answer.is_problem(400, "bad-request", &["prefix"]);
    }
    narrowed(json!({ "source_networks": ["everywhere"] })).is_problem(400, "bad-request", &["everywhere"]);
    narrowed(json!({ "prefixes": ["a"] })).is_problem(400, "bad-request", &["prefixes"]);
    assert!(world.proxy.ledger().is_empty());
    let quoted = "\"],\"Action\":\"s3:DeleteObject";
    let answer = narrowed(json!({ "prefix": quoted }));
    if answer.status == 201 {
        let _ = World::vended(&world.vend(&alice, answer.body["id"].as_str().unwrap(), json!({})));
        let policy = &world.proxy.records().pop().unwrap().parameters["Policy"];
        let policy: Value = serde_json::from_str(policy).unwrap();
        for statement in policy["Statement"].as_array().unwrap() {
            assert_ne!(statement["Action"], "s3:DeleteObject", "{policy}");
        }
        assert!(policy.to_string().contains(json!(quoted).to_string().trim_matches('"')), "{policy}");
    } else {
        answer.is_problem(400, "bad-request", &["prefix"]);
    }
    world.serves_bob();
}

#[test]
fn p11_what_is_no_http_is_answered_or_dropped_and_disturbs_nobody() {
    let world = World::new();
    let seen = client(
        &world,
        r#"
ok = b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n"
bad = {
    "binary": bytes(range(256)) * 64,
    "tls": bytes.fromhex("1603010200010001fc0303") + b"\0" * 200,
    "no version": b"GET /v1/status\r\n\r\n",
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "bad length": b"POST /v1/grants HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
    "two lengths": b"POST /v1/grants HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
    "length and chunks": b"POST /v1/grants HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "bad chunk": b"POST /v1/grants HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "bad header": b"GET /v1/status HTTP/1.1\r\nno colon here\r\n\r\n",
    "one huge header": b"GET /v1/status HTTP/1.1\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
    "many headers": b"GET /v1/status HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(2000)) + b"\r\n",
    "long path": b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "not UTF-8": b"POST /v1/grants HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nConnection: close\r\n\r\n\xff\xfe{}",
    "cut JSON": b"POST /v1/grants HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\nConnection: close\r\n\r\n{\"resource\":",
    "deep JSON": b"POST /v1/grants HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\nConnection: close\r\n\r\n" + b"[" * 60000,
}
found = {}
for name, data in bad.items():
    s = connect()
    say(s, data)
    if b"Connection: close" not in data:
        try:
            s.shutdown(socket.SHUT_WR)
        except OSError:
            pass
    found[name] = status(rest(s))

# Hanging up at every point of a request.
whole = b"POST /v1/grants HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{\"a\": 1}  "
for cut in range(0, len(whole), 7):
    s = connect()
    say(s, whole[:cut])
    s.close()
for _ in range(50):
    s = connect()
    say(s, ok)
    s.close()

# Many requests in one go, each answered in its turn.
s = connect()
paths = [b"/v1/status", b"/v1/none-1", b"/v1/grants", b"/v1/none-2", b"/v1/leases"] * 8
say(s, b"".join(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n" + (b"Connection: close\r\n" if n == len(paths) - 1 else b"") + b"\r\n" for n, path in enumerate(paths)))
answers = rest(s)
marks = []
while answers:
    head, _, body = answers.partition(b"\r\n\r\n")
    length = int([line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")][0].split(b":")[1])
    body, answers = json.loads(body[:length]), body[length:]
    marks.append("status" if "audit_seq" in body else "grants" if "grants" in body else "leases" if "leases" in body else body["detail"].split("/v1/")[1].split(":")[0])
print(json.dumps([found, marks]))
"#,
    );
    for (what, status) in seen[0].as_object().unwrap() {
        let expected: &[Option<u64>] = match what.as_str() {
            "not UTF-8" | "cut JSON" | "deep JSON" => &[Some(400)],
            "one huge header" | "many headers" | "long path" => &[Some(431), Some(414), None],
            _ => &[Some(400), Some(505), None],
        };
        assert!(expected.contains(&status.as_u64()), "{what}: {status}");
    }
    let turns = ["status", "none-1", "grants", "none-2", "leases"].map(|turn| json!(turn));
    assert_eq!(seen[1].as_array().unwrap().as_slice(), turns.iter().cycle().take(40).cloned().collect::<Vec<_>>());
    bob_is_served_at_once(&world);
}

#[test]
fn p11_a_daemon_without_descriptors_gets_over_it() {
    let mut world = World::new();
    let pid = world.daemon().pid();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let limit = |soft: usize| {
        // As its own user: not even root may without CAP_SYS_RESOURCE (prlimit(2)).
        let finished =
            world.scene.caller(User::Daemon).run("prlimit", &["--pid", &pid.to_string(), &format!("--nofile={soft}:")]);
        assert!(finished.success(), "{finished}");
    };
    limit(open + 8);
    let mut crowd = Staying::start(
        &world,
        "crowd = [connect() for _ in range(60)]\nprint(json.dumps('there'), flush=True)\nsys.stdin.readline()\n\
         crowd.clear()\nprint(json.dumps('gone'), flush=True)\nsys.stdin.readline()",
    );
    assert_eq!(crowd.line(), "there");
    eventually("the daemon is out of descriptors", Duration::from_secs(5), || {
        fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() >= open + 7
    });
    thread::sleep(Duration::from_millis(300));
    crowd.go_on();
    assert_eq!(crowd.line(), "gone");
    limit(4096);
    eventually("bob is served", Duration::from_secs(10), || world.bob().curl("GET", "/v1/status", None).status == 200);
    world.serves_bob();
    let log = world.daemon().output();
    assert!(log.contains("could not be accepted"), "it was never out of descriptors: {log}");
    assert_eq!(world.daemon().pid(), pid);
}
