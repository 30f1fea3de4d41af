//! Issue: no credential without its record (P1), no session without its intent (P2), whatever the disk and the cloud do.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that breaks must say so"
)]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use grantd_testkit::{Fault, Rule};
use grantd_tests::{Setup, User, World, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

/// Timeouts that a test can wait for.
fn impatient() -> Setup {
    let timeouts = r#"connect = "1s", read = "1s", attempt = "1s", operation = "2s""#.to_owned();
    Setup { timeouts, ..Setup::default() }
}

/// A small file system in the place of the state directory. Dropping it takes it away again.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(state: &'a Path) -> Self {
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "grantd-test"]).arg(state).status();
        assert!(status.unwrap().success(), "a tmpfs cannot be mounted: run the tests as root");
        chown(state, Some(User::Daemon.uid()), Some(User::Daemon.gid())).unwrap();
        fs::set_permissions(state, fs::Permissions::from_mode(0o700)).unwrap();
        Self(state)
    }

    /// Leaves no room for another page.
    fn fill(&self) {
        let mut filler = OpenOptions::new().create(true).append(true).open(self.0.join("filler")).unwrap();
        for size in [4096, 1] {
            while filler.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        // Lazily: the daemon of a failed test may still be in it.
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

#[test]
fn p1_a_credential_whose_record_cannot_be_written_is_withheld_and_revoked() {
    let mut world = World::prepared(&Setup::default());
    let state = world.scene.state();
    let disk = SmallDisk::mount(&state);
    world.start();
    let grant = world.grant(&world.alice(), "alpha");
    let (before, _) = World::vended(&world.vend(&world.alice(), &grant, json!({})));

    let slow = world.proxy.add(Rule::on("AssumeRole", Fault::DelayAfter { millis: 1500 })).unwrap();
    let refused = thread::scope(|scope| {
        let vend = scope.spawn(|| world.vend(&world.alice(), &grant, json!({})));
        // The intent is on disk and the cloud has made the session: from here on nothing can be written any more.
        eventually("the session is made", Duration::from_secs(5), || world.proxy.ledger().len() == 2);
        disk.fill();
        vend.join().unwrap()
    });
    refused.is_problem(503, "store", &[]);
    world.proxy.remove(slow);
    // While nothing can be written nothing is issued, and what was not released is refused by the cloud all the same.
    let sessions = world.proxy.ledger();
    world.wait_refused(&sessions[1..]);
    world.vend(&world.alice(), &grant, json!({})).is_problem(503, "store", &[]);
    assert_eq!(world.proxy.ledger().len(), 2, "a session was made although its intent could not be written");
    let status = world.status();
    assert_eq!(status["state"], "degraded", "{status}");
    assert!(status["alarms"].to_string().contains("store"), "{status}");

    disk.make_room();
    eventually("grantd serves again by itself", Duration::from_secs(15), || {
        world.vend(&world.alice(), &grant, json!({})).status == 200
    });
    world.serves_bob();
    world.wait_no_intent();
    assert_eq!(world.allowed(&world.proxy.ledger()[..2]), [true, false]);
    let issued: Vec<_> = world.audited("lease.issued").iter().map(|record| record["lease"].clone()).collect();
    assert_eq!(issued[0], before.as_str());
    assert_eq!(issued.len(), world.proxy.ledger().len() - 1, "the withheld credential counts as issued");
    let status = world.status();
    assert_eq!((&status["state"], &status["revocation"]["unconfirmed"]), (&json!("ready"), &json!(0)), "{status}");
    world.audit_verifies();
    drop(world.take_daemon());
}

#[test]
fn p1_every_credential_that_left_has_its_record_after_a_crash() {
    let mut world = World::new();
    for _ in 0..3 {
        let grant = world.grant(&world.alice(), "alpha");
        let (lease, credentials) = World::vended(&world.vend(&world.alice(), &grant, json!({})));
        world.crash_and_restart();
        let issued = world.records_of(&lease, "lease.issued");
        assert_eq!(issued.len(), 1, "{lease} has no record of its issue");
        // The record is about this very session and says who and how long.
        let session = world.session_of(&lease);
        assert_eq!(session.access_key_id, credentials.access_key_id);
        assert_eq!(issued[0]["detail"]["session_name"], session.session_name);
        assert_eq!(issued[0]["grant"], grant);
        assert!(issued[0]["actor"].to_string().contains(&User::Alice.uid().to_string()), "{issued:?}");
    }
    assert_eq!(world.proxy.ledger().len(), 3);
    world.audit_verifies();
}

#[test]
fn p2_the_intent_is_on_disk_before_the_cloud_is_asked() {
    let mut world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    world.proxy.add(Rule::on("AssumeRole", Fault::DelayBefore { millis: 1000 }).times(1)).unwrap();
    let daemon = Pid::from_raw(i32::try_from(world.daemon().pid()).unwrap());
    let asked = thread::scope(|scope| {
        let vend = scope.spawn(|| {
            let mut command = world.alice().command("curl");
            command.args(["--silent", "--max-time", "20", "--unix-socket"]).arg(world.scene.socket());
            command.args(["--data-binary", &json!({ "grant": grant }).to_string(), "http://localhost/v1/leases"]);
            command.output().unwrap()
        });
        eventually("the cloud is asked", Duration::from_secs(5), || {
            world.proxy.records().iter().any(|record| record.action == "AssumeRole")
        });
        let intents = world.audited("lease.intent");
        assert_eq!(intents.len(), 1, "the cloud was asked before the intent was on disk");
        assert_eq!(world.status()["revocation"]["open_intents"], 1);
        let lease = intents[0]["lease"].as_str().unwrap().to_owned();
        assert_eq!(world.lease(&lease)["state"], "issuing");
        kill(daemon, Signal::SIGKILL).unwrap();
        let output = vend.join().unwrap();
        assert!(!String::from_utf8_lossy(&output.stdout).contains("session_token"), "a credential left");
        lease
    });
    // The cloud makes the session after the daemon has died: nobody but the intent knows its name.
    eventually("the session is made", Duration::from_secs(5), || world.proxy.ledger().len() == 1);
    drop(world.take_daemon());
    world.start();
    assert_eq!(world.session_of(&asked).role_arn, world.account.role_arns[0]);
    world.wait_refused(&world.proxy.ledger());
    world.wait_for_lease(&asked, "revoked");
    assert_eq!(world.lease(&asked)["reason"], "abandoned");
    assert_eq!(world.status()["revocation"]["open_intents"], 0);
    assert!(world.records_of(&asked, "lease.issued").is_empty());
    world.serves_bob();
    world.audit_verifies();
}

#[test]
fn p2_a_cloud_that_breaks_off_leaves_no_session_and_no_intent() {
    let mut world = World::prepared(&impatient());
    world.start();
    let grant = world.grant(&world.alice(), "alpha");
    let status = |status| Fault::Status { status, code: None };
    // Never five without an answer in a row: then the daemon would leave the cloud alone for a while.
    let faults = [
        ("the answer is lost", Fault::DropAfter),
        ("the answer comes too late", Fault::DelayAfter { millis: 3000 }),
        ("forbidden", status(403)),
        ("the cloud hears of it too late", Fault::DelayBefore { millis: 3000 }),
        ("no answer", Fault::Stall),
        ("throttled", status(429)),
        ("reset", Fault::Reset),
        ("no XML", Fault::Garbage),
        ("500", status(500)),
        ("503", status(503)),
    ];
    for (what, fault) in faults {
        let rule = world.proxy.add(Rule::on("AssumeRole", fault)).unwrap();
        let answer = world.vend(&world.alice(), &grant, json!({}));
        println!("{what}: {}", answer.body["detail"]);
        answer.is_problem(502, "cloud", &["grantd-target-1"]);
        assert!(world.proxy.fired(rule) > 0, "{what}");
        world.proxy.remove(rule);
    }
    // The last of the late ones reaches the cloud in the meantime.
    eventually("the late sessions are made", Duration::from_secs(5), || world.proxy.ledger().len() >= 3);
    world.wait_no_intent();
    world.wait_refused(&world.proxy.ledger());
    let leases = world.root().curl("GET", "/v1/leases?all=true&ended=true", None);
    let leases = leases.body["leases"].as_array().unwrap().clone();
    assert_eq!(leases.len(), 10);
    for lease in &leases {
        let id = lease["id"].as_str().unwrap();
        eventually(&format!("{id} is over"), Duration::from_secs(20), || {
            ["revoked", "failed"].contains(&world.lease(id)["state"].as_str().unwrap())
        });
    }
    assert!(world.audited("lease.issued").is_empty());
    // Whatever the cloud ever made was under the name of an intent.
    for session in world.proxy.ledger() {
        assert!(leases.iter().any(|lease| lease["session_name"] == session.session_name.as_str()));
    }
    world.serves_bob();
    world.audit_verifies();
}

#[test]
fn p2_a_client_that_hangs_up_leaves_no_session() {
    let world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let body = json!({ "grant": grant }).to_string();
    let slow = Fault::DelayAfter { millis: 1500 };
    let mut dies = world.alice().command("curl");
    dies.args(["--silent", "--max-time", "0.7", "--unix-socket"]).arg(world.scene.socket());
    dies.args(["--data-binary", &body, "http://localhost/v1/leases"]);
    // The other closes its connection and lives on.
    let mut closes = world.alice().command("/usr/bin/python3");
    closes.args([
        "-c",
        "import socket, sys, time\ns = socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n\
         head = f'POST /v1/leases HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: {len(sys.argv[2])}\\r\\n\\r\\n'\n\
         s.sendall((head + sys.argv[2]).encode())\ntime.sleep(0.7)\ns.close()\ntime.sleep(3)\nsys.exit(28)",
    ]);
    closes.arg(world.scene.socket()).arg(&body);
    for (n, mut client) in [dies, closes].into_iter().enumerate() {
        world.proxy.add(Rule::on("AssumeRole", slow.clone()).times(1)).unwrap();
        let output = client.output().unwrap();
        assert_eq!(output.status.code(), Some(28), "the client did not hang up before it had its answer: {output:?}");
        let intents = world.audited("lease.intent");
        assert_eq!(intents.len(), n + 1);
        let lease = intents[n]["lease"].as_str().unwrap();
        world.wait_for_lease(lease, "revoked");
        assert_eq!(world.lease(lease)["reason"], "not_released");
        world.wait_refused(&world.proxy.ledger());
    }
    world.serves_bob();
}

#[test]
fn p2_a_role_that_does_not_trust_us_is_named_and_leaves_nothing() {
    let role = "arn:aws:iam::123456789012:role/untrusting".to_owned();
    let mut world = World::prepared(&Setup { role: Some(role.clone()), ..Setup::default() });
    assert_eq!(world.account.untrusting_role_arn, role);
    world.start();
    let grant = world.grant(&world.alice(), "alpha");
    let answer = world.vend(&world.alice(), &grant, json!({}));
    answer.is_problem(502, "cloud", &[&role]);
    let intents = world.audited("lease.intent");
    let lease = world.lease(intents[0]["lease"].as_str().unwrap());
    assert_eq!(lease["state"], "failed", "{lease}");
    assert!(lease["error"].as_str().unwrap().contains(&role), "{lease}");
    assert_eq!(world.status()["revocation"]["open_intents"], 0);
    assert!(world.proxy.ledger().is_empty());
    // The daemon serves what does not need that role, and says what the account said.
    assert!(world.status()["alarms"].to_string().contains("main"), "{}", world.status());
    assert_eq!(world.request(&world.bob(), "beta", json!({})).status, 201);
}

#[test]
fn p2_an_sts_that_cannot_be_reached_is_said_and_leaves_nothing() {
    let mut world = World::prepared(&impatient());
    world.start();
    let grant = world.grant(&world.alice(), "alpha");
    world.proxy.add(Rule::on_all(Fault::Reset)).unwrap();
    world.vend(&world.alice(), &grant, json!({})).is_problem(502, "cloud", &["grantd-target-1"]);
    assert_eq!(world.request(&world.bob(), "beta", json!({})).status, 201);
    world.proxy.clear();
    world.wait_no_intent();
    assert!(world.proxy.ledger().is_empty());
    world.serves_bob();
}
