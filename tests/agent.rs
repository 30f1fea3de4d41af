//! `grantctl agent`: the file holds a live credential for as long as the grant lives, its reader is told of each change,
//! and nothing outlives the agent.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that breaks must say so"
)]

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use grantd_tests::{AgentProcess, Credentials, FileReader, Setup, User, World, eventually};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(40);

fn leases(world: &World) -> Vec<String> {
    world.audited("lease.issued").iter().map(|record| record["lease"].as_str().unwrap().to_owned()).collect()
}

/// The file in alice's home, and what tells of its changes: a program that writes them down.
struct Stage {
    file: PathBuf,
    changes: PathBuf,
    hook: String,
}

impl Stage {
    fn new(world: &World) -> Self {
        let home = world.scene.home(User::Alice);
        let changes = home.join("changes");
        let script = format!(
            "#!/bin/sh\nenv >>{}/environment\necho $GRANTD_CHANGE $GRANTD_FILE >>{}\n",
            home.display(),
            changes.display()
        );
        let hook = world.scene.write("bin/hook", &script, User::Root, 0o755).display().to_string();
        Self { file: home.join("credentials"), changes, hook }
    }

    fn path(&self) -> &str {
        self.file.to_str().unwrap()
    }

    fn changes(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.changes).unwrap_or_default();
        let path = format!(" {}", self.path());
        text.lines().map(|line| line.strip_suffix(&path).unwrap().to_owned()).collect()
    }

    /// An agent that tells the hook, with its file there.
    fn agent(&self, world: &World, grant: &str, more: &[&str]) -> AgentProcess {
        let arguments: Vec<&str> =
            ["--grant", grant, "--file", self.path()].into_iter().chain(more.iter().copied()).collect();
        let arguments: Vec<&str> = arguments.into_iter().chain(["--run", &self.hook]).collect();
        let mut agent = AgentProcess::start(world, User::Alice, &arguments, &[]);
        eventually("the file is there", LONG, || self.file.exists() || !agent.runs());
        assert!(agent.runs(), "{}", agent.said());
        agent
    }

    fn nothing_is_left(&self) {
        assert!(!self.file.exists());
        assert!(!self.file.with_file_name(".credentials.grantctl").exists());
    }
}

/// The credential in an AWS credentials file.
fn credential(path: &Path) -> Credentials {
    let text = fs::read_to_string(path).unwrap();
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} = ")));
        line.unwrap_or_else(|| panic!("no {name}")).to_owned()
    };
    Credentials {
        access_key_id: value("aws_access_key_id"),
        secret_access_key: value("aws_secret_access_key"),
        session_token: Some(value("aws_session_token")),
    }
}

#[test]
fn a_reader_that_never_looks_away_sees_a_whole_file_and_a_live_credential_over_renewals() {
    let world = World::new();
    let stage = Stage::new(&world);
    let grant = world.grant(&world.alice(), "alpha");
    let mut reader = FileReader::start(&world, User::Alice, stage.path());
    let pid_file = world.scene.write("run/reader.pid", &format!("{}\n", reader.pid()), User::Alice, 0o644);
    let signal = ["--ttl", "9s", "--signal", "USR1", "--pid-file", pid_file.to_str().unwrap()];
    let mut agent = stage.agent(&world, &grant, &signal);
    reader.asks("start");
    let mut seen = Value::Null;
    eventually("three renewals", Duration::from_secs(60), || {
        seen = reader.asks("say");
        seen["keys"].as_array().unwrap().len() > 3
    });
    let seen = reader.asks("stop");
    assert_eq!(seen["failures"], json!([]), "{seen}; {}", agent.said());
    assert!(seen["reads"].as_u64().unwrap() > 3 && seen["looks"].as_u64().unwrap() > 100, "{seen}");
    eventually("each change is told by the signal", LONG, || {
        reader.asks("say")["signals"].as_u64().unwrap() >= u64::try_from(stage.changes().len()).unwrap().min(4)
    });

    // The environment of what is run has what is needed, and no secret.
    let environment = fs::read_to_string(world.scene.home(User::Alice).join("environment")).unwrap();
    assert!(environment.contains(&format!("GRANTD_GRANT={grant}\n")), "{environment}");
    let held = credential(&stage.file);
    for secret in [&held.secret_access_key, held.session_token.as_ref().unwrap()] {
        assert!(!environment.contains(secret) && !agent.said().contains(secret));
        for name in ["environ", "cmdline"] {
            let bytes = fs::read(format!("/proc/{}/{name}", agent.pid())).unwrap();
            assert!(!String::from_utf8_lossy(&bytes).contains(secret.as_str()), "{name}");
        }
    }

    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.ended(), 0, "{}", agent.said());
    stage.nothing_is_left();
    let changes = stage.changes();
    assert_eq!((changes.first().unwrap().as_str(), changes.last().unwrap().as_str()), ("written", "removed"));
    assert!(changes.iter().filter(|change| *change == "renewed").count() >= 3, "{changes:?}");
    let last = leases(&world).pop().unwrap();
    eventually("the last lease is given back", LONG, || {
        matches!(world.lease(&last)["state"].as_str(), Some("revoked" | "expired"))
    });
    assert!(!world.can_read(&held, "alpha"));
    let view = world.alice().curl("GET", &format!("/v1/grants/{grant}"), None).body;
    assert_eq!((&view["state"], &view["uses"]), (&json!("active"), &json!(1)), "{view}");
}

#[test]
fn p10_an_agent_that_is_killed_takes_its_lease_with_it_and_the_next_one_removes_what_it_left() {
    let world = World::new();
    let stage = Stage::new(&world);
    let grant = world.grant(&world.alice(), "alpha");
    let mut agent = stage.agent(&world, "auto", &[]);
    let held = credential(&stage.file);
    assert!(world.can_read(&held, "alpha"));
    agent.signal(Signal::SIGKILL);
    assert_eq!(agent.ended(), -9);
    let lease = leases(&world).pop().unwrap();
    world.wait_for_lease(&lease, "revoked");
    assert_eq!(world.lease(&lease)["reason"], "anchor_exited");
    assert!(stage.file.exists(), "nobody was there to remove it");
    assert!(!world.can_read(&credential(&stage.file), "alpha"), "a dead credential");

    // Also when the next one gets nothing.
    let none = world.alice().grantctl(&["agent", "--resource", "beta", "--file", stage.path()]);
    assert_eq!(none.status.code(), Some(4), "{none}");
    stage.nothing_is_left();
    let mut agent = stage.agent(&world, &grant, &[]);
    let fresh = credential(&stage.file);
    assert!(fresh != held && world.can_read(&fresh, "alpha"));
    agent.signal(Signal::SIGINT);
    assert_eq!(agent.ended(), 0);
    stage.nothing_is_left();
    let lease = leases(&world).pop().unwrap();
    world.wait_for_lease(&lease, "revoked");
    assert_eq!(world.lease(&lease)["reason"], "completed");
}

#[test]
fn every_end_removes_the_file_tells_the_reader_and_has_its_code() {
    let world = World::new();
    for (how, code, words) in [("revoke", 13, "looks wrong"), ("complete", 5, "is ended")] {
        let stage = Stage::new(&world);
        let grant = world.grant(&world.alice(), "alpha");
        let mut agent = stage.agent(&world, &grant, &[]);
        let body = json!({ "reason": "looks wrong" });
        let body = (how == "revoke").then_some(&body);
        let caller = if how == "revoke" { world.root() } else { world.alice() };
        assert_eq!(caller.curl("POST", &format!("/v1/grants/{grant}/{how}"), body).status, 200);
        assert_eq!(agent.ended(), code, "{how}: {}", agent.said());
        assert!(agent.said().contains(words), "{how}: {}", agent.said());
        stage.nothing_is_left();
        assert_eq!(stage.changes().last().unwrap(), "removed", "{how}");
        fs::remove_file(&stage.changes).unwrap();
    }
}

#[test]
fn under_a_freeze_the_file_stays_as_long_as_its_credential_and_no_longer() {
    let world = World::new();
    let stage = Stage::new(&world);
    let grant = world.grant(&world.alice(), "alpha");
    let mut agent = stage.agent(&world, &grant, &["--ttl", "9s"]);
    let freeze = json!({ "cover": { "all": true }, "reason": "a token leaked" });
    assert_eq!(world.root().curl("POST", "/v1/freezes", Some(&freeze)).status, 201);
    assert!(world.can_read(&credential(&stage.file), "alpha"), "what was handed out lives on");
    assert_eq!(agent.ended(), 3, "{}", agent.said());
    assert!(agent.said().contains("a token leaked"), "{}", agent.said());
    stage.nothing_is_left();
    assert_eq!(stage.changes().last().unwrap(), "removed");
}

#[test]
fn p13_a_daemon_that_comes_back_is_found_again_and_one_that_stays_away_leaves_no_dead_credential() {
    let mut world = World::prepared(&Setup::default());
    world.start();
    let stage = Stage::new(&world);
    let grant = world.grant(&world.alice(), "alpha");
    let mut agent = stage.agent(&world, &grant, &["--ttl", "9s"]);
    let before = credential(&stage.file);
    world.crash_and_restart();
    eventually("it is renewed after the restart", LONG, || stage.file.exists() && credential(&stage.file) != before);
    assert!(!stage.changes().contains(&"removed".to_owned()), "{:?}; {}", stage.changes(), agent.said());
    assert!(world.can_read(&credential(&stage.file), "alpha"));

    world.take_daemon().kill9();
    eventually("the dead credential is removed", LONG, || !stage.file.exists());
    assert!(agent.runs(), "{}", agent.said());
    eventually("the reader is told", LONG, || stage.changes().last().unwrap() == "removed");
    world.start();
    eventually("the file is there again", LONG, || stage.file.exists());
    assert!(world.can_read(&credential(&stage.file), "alpha"));
    eventually("the reader is told", LONG, || stage.changes().last().unwrap() == "written");
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.ended(), 0);
}

#[test]
fn a_reader_that_fails_or_hangs_holds_nothing_up() {
    let world = World::new();
    let stage = Stage::new(&world);
    let grant = world.grant(&world.alice(), "alpha");
    let start = |command: &[&str]| {
        let arguments = ["--grant", &grant, "--file", stage.path(), "--run-timeout", "500ms", "--run"];
        let arguments: Vec<&str> = arguments.iter().chain(command).copied().collect();
        AgentProcess::start(&world, User::Alice, &arguments, &[])
    };
    for (command, words) in [
        (&["sh", "-c", "exit 7"][..], "sh failed when it was told that the file was written: exit status: 7"),
        (&["sh", "-c", "sleep 600 & wait"], "it took longer than 0.5s"),
        (&["no-such-command"], "no-such-command cannot be run"),
    ] {
        let mut agent = start(command);
        eventually("it is told", LONG, || agent.said().contains(words) || !agent.runs());
        assert!(agent.runs() && stage.file.exists(), "{}", agent.said());
        agent.signal(Signal::SIGTERM);
        assert_eq!(agent.ended(), 0, "{}", agent.said());
        stage.nothing_is_left();
    }
}

#[test]
fn systemd_hears_that_the_file_is_there_of_a_reload_and_of_the_end() {
    let world = World::new();
    let stage = Stage::new(&world);
    let grant = world.grant(&world.alice(), "alpha");
    let path = world.scene.path().join("manager");
    let ears = UnixDatagram::bind(&path).unwrap();
    std::os::unix::fs::chown(&path, Some(User::Alice.uid()), None).unwrap();
    ears.set_read_timeout(Some(LONG)).unwrap();
    let hear = || {
        let mut bytes = [0; 4096];
        let length = ears.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let arguments = ["--grant", &grant, "--file", stage.path(), "--run", &stage.hook];
    let manager = [("NOTIFY_SOCKET", path.to_str().unwrap())];
    let mut agent = AgentProcess::start(&world, User::Alice, &arguments, &manager);
    let ready = hear();
    assert!(stage.file.exists(), "it is ready when the file is there");
    let lease = leases(&world).pop().unwrap();
    assert!(ready.starts_with("READY=1\nSTATUS=") && ready.contains(&lease), "{ready}");
    eventually("it is told", LONG, || stage.changes() == ["written"]);
    let environment = fs::read_to_string(world.scene.home(User::Alice).join("environment")).unwrap();
    assert!(!environment.contains("NOTIFY_SOCKET"), "{environment}");

    // Somebody removed the file: a reload puts it back.
    fs::remove_file(&stage.file).unwrap();
    agent.signal(Signal::SIGHUP);
    let mut heard = String::new();
    while !heard.contains("keeping") {
        heard += &hear();
    }
    assert!(heard.contains("RELOADING=1\nMONOTONIC_USEC=") && heard.contains("READY=1"), "{heard}");
    assert!(stage.file.exists());
    agent.signal(Signal::SIGTERM);
    let mut heard = String::new();
    while !heard.contains("STOPPING=1") {
        heard = hear();
    }
    assert_eq!(agent.ended(), 0);
    stage.nothing_is_left();
}
