//! Telling people and systems what happens: by webhook, by a Slack-compatible hook, by a command of the host.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that breaks must say so"
)]

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use grantd_testkit::{clouds_environment, repository_root};
use grantd_tests::{Setup, User, World, eventually};
use serde_json::{Value, json};

/// The key that the receiver and the daemon share.
const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A receiver of webhooks, with what it was told.
struct Hook {
    child: Child,
    port: u16,
    out: PathBuf,
}

impl Drop for Hook {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Hook {
    fn start(directory: &Path, key: &str, status: Option<u16>) -> Self {
        let out = directory.join("told.jsonl");
        let mut command = Command::new(clouds_environment().unwrap().join("bin/python"));
        command.arg(repository_root().join("tests/setup/hook.py")).arg(key).arg(&out);
        command.args(status.map(|status| status.to_string())).stdout(Stdio::piped()).stdin(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, port: line.trim().parse().unwrap(), out }
    }

    fn told(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.out).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn types(&self) -> Vec<String> {
        self.told().iter().filter_map(|event| Some(event["type"].as_str()?.to_owned())).collect()
    }

    fn await_type(&self, kind: &str) -> Value {
        eventually(kind, Duration::from_secs(20), || self.types().iter().any(|it| it == kind));
        self.told().into_iter().find(|event| event["type"] == kind).unwrap()
    }
}

/// A world whose daemon is configured with `notify` besides, and not started.
fn world(notify: &str) -> World {
    let world = World::prepared(&Setup::default());
    world.scene.write("config/hook.key", KEY, User::Daemon, 0o600);
    let mut config = OpenOptions::new().append(true).open(world.config()).unwrap();
    writeln!(config, "\n{notify}").unwrap();
    world
}

fn webhook(port: u16, directory: &Path) -> String {
    let key = directory.join("hook.key");
    format!(
        "[[notify]]\nname = \"siem\"\ntype = \"webhook\"\nurl = \"http://127.0.0.1:{port}/hook\"\nsecret = \"{}\"\n",
        key.display()
    )
}

/// The text of a webhook to a port that is not known before the world is: the configuration is written anew.
fn point(world: &World, text: &str) {
    let before = fs::read_to_string(world.config()).unwrap();
    let (kept, _) = before.split_once("\n# told\n").unwrap_or((before.as_str(), ""));
    fs::write(world.config(), format!("{kept}\n# told\n{text}")).unwrap();
}

fn read_ledger(world: &World) -> String {
    let answer = world.request(&world.alice(), "ledger", json!({}));
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.body["id"].as_str().unwrap().to_owned()
}

fn approve(world: &World, grant: &str) {
    let digest = world.olga().curl("GET", &format!("/v1/grants/{grant}"), None).body["digest"].clone();
    let answer = world.olga().curl("POST", &format!("/v1/grants/{grant}/approve"), Some(&json!({ "digest": digest })));
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn approvers_learn_of_a_request_and_requesters_of_the_decision() {
    let mut world = world("");
    let hook = Hook::start(world.scene.path(), KEY, None);
    let told = world.scene.state().join("told");
    let script = world.scene.write("bin/tell", &format!("#!/bin/sh\ncat >> {}\n", told.display()), User::Root, 0o755);
    point(
        &world,
        &format!(
            "{}\n[[notify]]\nname = \"chat\"\ntype = \"slack\"\nurl = \"http://127.0.0.1:{}/slack\"\nevents = \
             [\"grant.request\"]\n\n[[notify]]\nname = \"page\"\ntype = \"command\"\nargv = [\"{}\"]\nevents = \
             [\"grant.approve\"]\n",
            webhook(hook.port, &world.scene.config()),
            hook.port,
            script.display()
        ),
    );
    world.start();
    let _ = world.grant(&world.alice(), "alpha");
    let grant = read_ledger(&world);
    let asked = hook.await_type("dev.grantd.grant.request");
    assert_eq!(asked["subject"], json!(grant));
    assert_eq!(asked["data"]["can_approve"], json!(["olga"]));
    assert_eq!(asked["data"]["grant"]["resource"], "ledger");
    let text = asked["data"]["text"].as_str().unwrap();
    assert!(text.contains(&format!("olga can approve: grantctl approve {grant}")), "{text}");
    approve(&world, &grant);
    let approved = hook.await_type("dev.grantd.grant.approve");
    assert_eq!(approved["subject"], json!(grant));
    // What policy gave by itself is nobody's concern, unless a target asked for it by name.
    assert_eq!(hook.types().len(), 2, "{:?}", hook.types());
    eventually("the chat is told of both requests", Duration::from_secs(20), || {
        hook.told().iter().filter(|event| event["slack"]["text"].is_string()).count() == 2
    });
    eventually("the program is told", Duration::from_secs(20), || {
        fs::read_to_string(&told).is_ok_and(|text| text.lines().count() == 2)
    });
    let last: Value = serde_json::from_str(fs::read_to_string(&told).unwrap().lines().last().unwrap()).unwrap();
    assert_eq!(last["id"], approved["id"]);
    assert_eq!(world.status()["alarms"], json!([]));
}

#[test]
fn p13_nobody_is_forgotten_over_kill_9_while_the_receiver_is_away() {
    let mut world = world("");
    let away = Hook::start(world.scene.path(), KEY, Some(503));
    point(&world, &webhook(away.port, &world.scene.config()));
    world.start();
    let grant = read_ledger(&world);
    away.await_type("dev.grantd.grant.request");
    eventually("an alarm", Duration::from_secs(20), || {
        world.status()["alarms"].to_string().contains("\\\"siem\\\" has not been told since")
    });
    world.take_daemon().kill9();
    drop(away);
    fs::remove_file(world.scene.path().join("told.jsonl")).unwrap();
    let hook = Hook::start(world.scene.path(), KEY, None);
    point(&world, &webhook(hook.port, &world.scene.config()));
    world.start();
    assert_eq!(hook.await_type("dev.grantd.grant.request")["subject"], json!(grant));
    eventually("no alarm", Duration::from_secs(20), || world.status()["alarms"] == json!([]));
    assert_eq!(hook.types().len(), 1);
}

#[test]
fn a_receiver_takes_nothing_that_another_key_signed() {
    let mut world = world("");
    let hook = Hook::start(world.scene.path(), "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", None);
    point(&world, &webhook(hook.port, &world.scene.config()));
    world.start();
    read_ledger(&world);
    eventually("an alarm", Duration::from_secs(20), || world.status()["alarms"].to_string().contains("401"));
    assert_eq!(hook.types(), Vec::<String>::new());
}

#[test]
fn a_name_that_policy_has_told_and_nobody_bears_is_an_alarm() {
    let mut world = world("");
    let path = world.policy().join("policies/approved.cedar");
    let path = if path.exists() { path } else { rule_file(&world, "@id(\"high-request\")") };
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("@id(\"high-request\")", "@id(\"high-request\")\n@notify(\"security\")")).unwrap();
    world.start();
    let alarms = world.status()["alarms"].to_string();
    assert!(alarms.contains("@notify(\\\"security\\\")") && alarms.contains("nobody is told"), "{alarms}");
}

fn rule_file(world: &World, rule: &str) -> PathBuf {
    let files = fs::read_dir(world.policy().join("policies")).unwrap().map(|entry| entry.unwrap().path());
    files.into_iter().find(|path| fs::read_to_string(path).unwrap().contains(rule)).unwrap()
}

#[test]
fn p9_a_key_that_others_can_read_and_an_address_that_is_not_safe_are_refused_at_start() {
    let world = world("");
    let check = |text: &str| {
        point(&world, text);
        let mut command = Command::new("setpriv");
        let user = User::Daemon.name();
        command.args(["--reuid", user, "--regid", user, "--clear-groups"]).arg(world.scene.bin("grantd"));
        let ran = command.arg("--config").arg(world.config()).arg("--check").output().unwrap();
        (ran.status.success(), String::from_utf8_lossy(&ran.stderr).into_owned())
    };
    let good = webhook(1, &world.scene.config());
    assert!(check(&good).0, "{}", check(&good).1);
    fs::set_permissions(world.scene.config().join("hook.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let (started, said) = check(&good);
    assert!(!started && said.contains("hook.key") && said.contains("chmod") && !said.contains(KEY), "{said}");
    let (started, said) = check("[[notify]]\nname = \"x\"\ntype = \"webhook\"\nurl = \"http://hooks.example.com/x\"\n");
    assert!(!started && said.contains("notify \"x\".url") && said.contains("https://"), "{said}");
}
