//! `grantctl exec`: the command has what was granted while it runs, by itself, and nobody else has.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that breaks must say so"
)]

use std::fs;
use std::time::Duration;

use grantd_testkit::{Fault, Rule, aws_environment};
use grantd_tests::{Setup, User, Worker, World, eventually};
use serde_json::{Value, json};

const READ: &str = "import boto3, sys
from botocore.config import Config
s3 = boto3.client('s3', config=Config(s3={'addressing_style': 'path'}))
print(s3.get_object(Bucket=sys.argv[1], Key='hello.txt')['Body'].read().decode(), end='')";

/// The leases that were issued, oldest first.
fn leases(world: &World) -> Vec<String> {
    world.audited("lease.issued").iter().map(|record| record["lease"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_command_reads_its_bucket_and_no_other_whatever_its_user_has_lying_about() {
    let world = World::new();
    let python = aws_environment().unwrap().join("bin/python").display().to_string();
    let aws = aws_environment().unwrap().join("bin/aws").display().to_string();
    // Each of these comes before a container's credentials in the clients' chains.
    let keys = "[default]\naws_access_key_id = AKIAFILE\naws_secret_access_key = file\n";
    for name in ["credentials", "config"] {
        world.scene.write(&format!("home/gt-alice/.aws/{name}"), keys, User::Alice, 0o600);
    }
    let boto2 = "[Credentials]\naws_access_key_id = AKIABOTO\naws_secret_access_key = boto\n";
    world.scene.write("home/gt-alice/.boto", boto2, User::Alice, 0o600);
    let alice = || {
        let caller = world.alice().cloud(&world.stack.url());
        caller.env("AWS_ACCESS_KEY_ID", "AKIAENV").env("AWS_SECRET_ACCESS_KEY", "env").env("AWS_PROFILE", "default")
    };
    let ask = ["--resource", "alpha", "--can", "object-storage:read", "--for", "30m", "--why", "a test reads"];
    let run = |command: &[&str]| {
        let arguments: Vec<&str> = ["exec"].iter().chain(&ask).chain(&["--"]).chain(command).copied().collect();
        alice().grantctl(&arguments)
    };
    let mine = run(&[&python, "-W", "ignore", "-c", READ, "alpha"]);
    assert_eq!((mine.status.code(), mine.stdout.as_str()), (Some(0), "hello from alpha\n"), "{mine}");
    assert!(mine.stderr.contains("AWS_ACCESS_KEY_ID, AWS_EC2") || mine.stderr.contains("AWS_PROFILE"), "{mine}");
    let other = run(&[&python, "-W", "ignore", "-c", READ, "beta"]);
    assert!(other.status.code() == Some(1) && other.stderr.contains("AccessDenied"), "{other}");
    let cli = run(&[&aws, "s3", "cp", "s3://alpha/hello.txt", "-"]);
    assert_eq!((cli.status.code(), cli.stdout.as_str()), (Some(0), "hello from alpha\n"), "{cli}");

    // What was requested for a command ends with it.
    for lease in leases(&world) {
        world.wait_for_lease(&lease, "revoked");
        assert_eq!(world.lease(&lease)["reason"], "grant_ended");
        assert_eq!(world.allowed(&[world.session_of(&lease)]), [false]);
    }
    let grants = world.alice().curl("GET", "/v1/grants", None).body["grants"].clone();
    assert!(grants.as_array().unwrap().iter().all(|grant| grant["state"] == "ended"), "{grants}");
    world.audit_verifies();
}

#[test]
fn a_named_or_found_grant_stays_when_the_command_ends() {
    let world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    for which in [&["--grant", &grant][..], &["--grant", "auto"], &[], &["--resource", "alpha"]] {
        let arguments: Vec<&str> =
            ["exec"].iter().chain(which).chain(&["--", "sh", "-c", "echo $GRANTD_GRANT"]).copied().collect();
        let done = world.alice().grantctl(&arguments);
        assert_eq!((done.status.code(), done.stdout.trim()), (Some(0), grant.as_str()), "{done}");
    }
    for lease in leases(&world) {
        world.wait_for_lease(&lease, "revoked");
        assert_eq!(world.lease(&lease)["reason"], "completed");
    }
    assert_eq!(leases(&world).len(), 4);
    let view = world.alice().curl("GET", &format!("/v1/grants/{grant}"), None).body;
    assert_eq!(view["state"], "active");
}

#[test]
fn p9_the_front_serves_what_the_command_started_and_refuses_everybody_else_even_with_the_token() {
    let world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let mut worker = Worker::start(&world, &["--grant", &grant], &[]);
    let environment = worker.asks(&json!(["environment"]));
    let text = |name: &str| environment[name].as_str().unwrap_or_default().to_owned();
    let (uri, token) = (text("AWS_CONTAINER_CREDENTIALS_FULL_URI"), text("AWS_CONTAINER_AUTHORIZATION_TOKEN"));
    let file = text("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    assert_eq!(fs::read_to_string(&file).unwrap(), token, "no line break, no Bearer");
    assert_eq!(token.len(), 64);

    let served = worker.asks(&json!(["ask", { "Authorization": token }]));
    assert_eq!(served["status"], 200, "{served}");
    let mut members: Vec<&String> = served["body"].as_object().unwrap().keys().collect();
    members.sort();
    assert_eq!(members, ["AccessKeyId", "Expiration", "SecretAccessKey", "Token"]);
    // Also what has lost its parent.
    let orphan = worker.asks(&json!(["orphan"]));
    assert_eq!(orphan["status"], 200, "{orphan}");

    for user in [User::Alice, User::Bob, User::Root] {
        let header = format!("Authorization: {token}");
        let stranger = world.scene.caller(user).run("curl", &["-s", "-w", "\n%{http_code}", "-H", &header, &uri]);
        assert!(stranger.stdout.ends_with("\n403"), "{user:?}: {stranger}");
        let said: Value = serde_json::from_str(stranger.stdout.lines().next().unwrap()).unwrap();
        assert!(said["code"] == "stranger" && said["message"].is_string(), "{said}");
        assert!(!stranger.stdout.contains("SecretAccessKey"), "{stranger}");
    }
    let said = worker.said();
    assert!(said.contains("refused a connection: only the command"), "{said}");
    assert!(said.contains(&format!("user {} is not the user", User::Bob.uid())), "{said}");

    for (headers, status, code) in [
        (json!({ "Authorization": "x" }), 401, "token"),
        (json!({}), 401, "token"),
        (json!({ "Authorization": token, "Host": "rebound.example" }), 403, "host"),
    ] {
        let answer = worker.asks(&json!(["ask", headers]));
        assert_eq!((&answer["status"], &answer["body"]["code"]), (&json!(status), &json!(code)), "{answer}");
    }
    assert_eq!(worker.read("alpha"), "hello from alpha\n");
}

#[test]
fn a_command_that_runs_longer_than_its_lease_goes_on_with_renewed_ones() {
    let world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let mut worker = Worker::start(&world, &["--grant", &grant, "--ttl", "6s"], &[]);
    let mut keys = vec![worker.asks(&json!(["key"]))];
    eventually("the credential is another one, twice", Duration::from_secs(40), || {
        assert_eq!(worker.read("alpha"), "hello from alpha\n");
        let key = worker.asks(&json!(["key"]));
        if key.is_string() && !keys.contains(&key) {
            keys.push(key);
        }
        keys.len() == 3
    });
    assert!(leases(&world).len() >= 3);
    worker.tell(&json!(["leave", 0]));
    assert_eq!(worker.ended(), 0);
    for lease in leases(&world) {
        eventually("no lease is left", Duration::from_secs(15), || {
            matches!(world.lease(&lease)["state"].as_str(), Some("revoked" | "expired"))
        });
    }
    let sessions: Vec<_> = leases(&world).iter().map(|lease| world.session_of(lease)).collect();
    assert!(!world.allowed(&sessions).contains(&true));
    // One task, however often it renewed.
    let view = world.alice().curl("GET", &format!("/v1/grants/{grant}"), None).body;
    assert_eq!(view["uses"], 1, "{view}");
}

#[test]
fn p13_a_daemon_that_dies_and_comes_back_is_found_again() {
    let mut world = World::prepared(&Setup::default());
    world.start();
    let grant = world.grant(&world.alice(), "alpha");
    let mut worker = Worker::start(&world, &["--grant", &grant, "--ttl", "15s"], &[]);
    let before = worker.asks(&json!(["key"]));
    assert!(before.is_string(), "{}", worker.said());
    world.take_daemon().kill9();
    assert_eq!(worker.read("alpha"), "hello from alpha\n", "the live lease is served while the daemon is away");
    eventually("the absence is told", Duration::from_secs(40), || worker.said().contains("cannot be renewed"));
    world.start();
    eventually("the credential is renewed", Duration::from_secs(40), || {
        // The old lease may die between the two, before there is a new one: then there is no key.
        let key = worker.asks(&json!(["key"]));
        key.is_string() && key != before && worker.read("alpha") == "hello from alpha\n"
    });
    worker.tell(&json!(["leave", 0]));
    assert_eq!(worker.ended(), 0);
    assert!(worker.said().contains("renewed again"), "{}", worker.said());
    let last = leases(&world).pop().unwrap();
    world.wait_for_lease(&last, "revoked");
}

#[test]
fn a_grant_that_is_taken_away_is_told_and_the_command_goes_on_without_it() {
    let world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let mut worker = Worker::start(&world, &["--grant", &grant], &[]);
    assert_eq!(worker.read("alpha"), "hello from alpha\n");
    let body = json!({ "reason": "looks wrong" });
    assert_eq!(world.root().curl("POST", &format!("/v1/grants/{grant}/revoke"), Some(&body)).status, 200);
    eventually("it is told", Duration::from_secs(20), || worker.said().contains("access is over: "));
    assert!(worker.said().contains("looks wrong"), "{}", worker.said());
    let token = worker.asks(&json!(["environment"]))["AWS_CONTAINER_AUTHORIZATION_TOKEN"].clone();
    let answer = worker.asks(&json!(["ask", { "Authorization": token }]));
    assert_eq!((&answer["status"], &answer["body"]["code"]), (&json!(403), &json!("over")), "{answer}");
    assert!(worker.read("alpha").contains("looks wrong"), "the client shows why");
    worker.tell(&json!(["leave", 3]));
    assert_eq!(worker.ended(), 3);
}

#[test]
fn nothing_is_started_when_there_is_no_credential() {
    let mut world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let marker = world.scene.home(User::Alice).join("started");
    let touch = ["--", "touch", marker.to_str().unwrap()];
    let request = |resource: &'static str| {
        vec!["--resource", resource, "--can", "object-storage:read", "--for", "30m", "--why", "x"]
    };
    let refused = |world: &World, arguments: &[&str], code: i32, words: &str| {
        let line: Vec<&str> = ["exec"].iter().chain(arguments).chain(&touch).copied().collect();
        let done = world.alice().grantctl(&line);
        assert_eq!(done.status.code(), Some(code), "{done}");
        let last = done.stderr.lines().last().unwrap_or_default();
        assert!(last.contains(words) && last.ends_with("the command was not started"), "{done}");
        assert!(!marker.exists(), "{done}");
    };
    refused(&world, &["--grant", "grant-aaaaaaaaaaaaaaaaaaaaaaaaaa"], 104, "grant-");
    refused(&world, &["--grant", &grant, "--ttl", "7h"], 106, "ask for");
    refused(&world, &request("vault"), 103, "rule");
    refused(&world, &["--resource", "beta"], 104, "no active grant");
    refused(&world, &["--grant", &grant, "--resource", "beta"], 102, "--resource");
    world.proxy.add(Rule::on("AssumeRole", Fault::Reset)).unwrap();
    refused(&world, &["--grant", &grant], 108, "");
    world.take_daemon().kill9();
    refused(&world, &["--grant", &grant], 109, "grantd");
}

#[test]
fn p9_no_secret_is_in_an_argv_in_an_environment_or_left_in_a_file() {
    let world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let run = world.scene.home(User::Alice).join("run");
    fs::create_dir(&run).unwrap();
    std::os::unix::fs::chown(&run, Some(User::Alice.uid()), Some(User::Alice.gid())).unwrap();
    let place = [("XDG_RUNTIME_DIR", run.to_str().unwrap())];
    let within = |needle: &str| {
        let found = world.root().run("grep", &["-rlF", needle, run.to_str().unwrap()]);
        found.stdout.lines().count()
    };
    for format in ["front", "file", "json"] {
        let mut worker = Worker::start(&world, &["--grant", &grant, "--format", format], &place);
        let session = world.session_of(&leases(&world).pop().unwrap());
        let secrets = [session.secret_access_key.expose(), session.session_token.expose()];
        for pid in [worker.pid(), worker.exec_pid()] {
            for name in ["environ", "cmdline"] {
                let bytes = fs::read(format!("/proc/{pid}/{name}")).unwrap();
                let text = String::from_utf8_lossy(&bytes);
                assert!(secrets.iter().all(|secret| !text.contains(secret)), "{format}: {name}");
            }
        }
        let environment = worker.asks(&json!(["environment"]));
        match format {
            "front" => {
                assert_eq!(secrets.map(within), [0, 0]);
                let token = environment["AWS_CONTAINER_AUTHORIZATION_TOKEN"].as_str().unwrap();
                let line = fs::read(format!("/proc/{}/cmdline", worker.pid())).unwrap();
                assert!(!String::from_utf8_lossy(&line).contains(token));
            }
            "file" => {
                assert_eq!(worker.read("alpha"), "hello from alpha\n");
                assert_eq!(secrets.map(within), [1, 1]);
            }
            _ => {
                let path = environment["GRANTD_CREDENTIALS_FILE"].as_str().unwrap();
                let document: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
                assert_eq!((&document["Version"], &document["SecretAccessKey"]), (&json!(1), &json!(secrets[0])));
                let spied = world.bob().run("cat", &[path]);
                assert!(!spied.success(), "{spied}");
            }
        }
        worker.tell(&json!(["leave", 0]));
        assert_eq!(worker.ended(), 0);
        assert_eq!(fs::read_dir(&run).unwrap().count(), 0, "{format} left something");
        assert!(!secrets.iter().any(|secret| worker.said().contains(secret)));
    }
    // Killed, it cannot tidy up; the next one does.
    let mut worker = Worker::start(&world, &["--grant", &grant, "--format", "file"], &place);
    worker.asks(&json!(["default", "SIGTERM"]));
    worker.signal(nix::sys::signal::Signal::SIGKILL);
    assert_eq!(worker.ended(), -9);
    worker.command_is_gone();
    assert_eq!(fs::read_dir(&run).unwrap().count(), 1);
    let next = world.alice().env(place[0].0, place[0].1).grantctl(&["exec", "--", "true"]);
    assert!(next.success(), "{next}");
    assert_eq!(fs::read_dir(&run).unwrap().count(), 0);
}

#[test]
fn files_are_kept_current_and_keys_in_the_environment_hold_until_what_is_said() {
    let world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let mut worker = Worker::start(&world, &["--grant", &grant, "--format", "json", "--ttl", "6s"], &[]);
    let path = worker.asks(&json!(["environment"]))["GRANTD_CREDENTIALS_FILE"].as_str().unwrap().to_owned();
    let key = || serde_json::from_str::<Value>(&fs::read_to_string(&path).unwrap()).unwrap()["AccessKeyId"].clone();
    let first = key();
    eventually("the file holds the renewed credential", Duration::from_secs(20), || key() != first);
    worker.tell(&json!(["leave", 0]));
    assert_eq!(worker.ended(), 0);

    let mut worker = Worker::start(&world, &["--grant", &grant, "--format", "env"], &[]);
    assert_eq!(worker.read("alpha"), "hello from alpha\n");
    let environment = worker.asks(&json!(["environment"]));
    let until = environment["AWS_CREDENTIAL_EXPIRATION"].as_str().unwrap();
    assert!(worker.said().contains(&format!("holds until {until} and is not renewed")), "{}", worker.said());
    assert!(environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI").is_none());
}
