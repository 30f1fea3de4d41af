//! Early ends: whatever ends a task, its session is refused by the cloud and its neighbours live on (P10).
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that breaks must say so"
)]

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use grantd_testkit::spawn_on_keeper;
use grantd_tests::{Credentials, Job, User, World, eventually};
use serde_json::{Value, json};

#[test]
fn p10_every_way_to_end_is_felt_by_its_own_session_alone() {
    let world = World::new();
    let (alice, root) = (world.alice(), world.root());
    let grant = world.grant(&alice, "alpha");
    let vend = || World::vended(&world.vend(&alice, &grant, json!({}))).0;
    let post = |caller: &grantd_tests::Caller<'_>, path: String, body: Value| {
        let answer = caller.curl("POST", &path, Some(&body));
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    let mut dying = Job::start(&world.scene, User::Alice);
    let mut holding = Job::start(&world.scene, User::Alice);
    let mut lost = Job::start(&world.scene, User::Alice);
    let mut attached = Job::start(&world.scene, User::Alice);
    let mut living = Job::start(&world.scene, User::Alice);

    let (completed, revoked, taken) = (vend(), vend(), vend());
    let second = world.grant(&alice, "alpha");
    let third = world.grant(&alice, "alpha");
    let by_grant = World::vended(&world.vend(&alice, &second, json!({}))).0;
    let by_revoked_grant = World::vended(&world.vend(&alice, &third, json!({}))).0;
    let anchored = World::vended(&dying.vend(&grant)).0;
    let hold = json!({ "grant": grant, "anchor": "connection" });
    let held = World::vended(&holding.hold("/v1/leases", hold.clone())).0;
    let held_by_lost = World::vended(&lost.hold("/v1/leases", hold)).0;
    let anchor = attached.child_asks("POST", "/v1/anchors", json!({})).body["id"].as_str().unwrap().to_owned();
    let detached = World::vended(&attached.child_asks("POST", "/v1/leases", json!({ "grant": grant }))).0;
    let neighbours = [vend(), World::vended(&living.vend(&grant)).0];

    let ends = [
        (&completed, "completed"),
        (&revoked, "revoked"),
        (&taken, "revoked"),
        (&by_grant, "grant_ended"),
        (&by_revoked_grant, "revoked"),
        (&anchored, "anchor_exited"),
        (&held, "connection_closed"),
        (&held_by_lost, "connection_closed"),
        (&detached, "anchor_exited"),
    ];
    let sessions: Vec<_> = ends.iter().map(|(id, _)| world.session_of(id)).collect();
    let beside = neighbours.each_ref().map(|id| world.session_of(id));
    assert_eq!(world.allowed(&sessions), [true; 9]);

    post(&alice, format!("/v1/leases/{completed}/complete"), json!({}));
    post(&alice, format!("/v1/leases/{revoked}/revoke"), json!({ "reason": "not needed" }));
    post(&root, format!("/v1/leases/{taken}/revoke"), json!({ "reason": "looks wrong" }));
    post(&alice, format!("/v1/grants/{second}/complete"), json!({}));
    post(&root, format!("/v1/grants/{third}/revoke"), json!({ "reason": "looks wrong" }));
    dying.kill();
    holding.let_go();
    lost.kill();
    assert_eq!(attached.ask("DELETE", &format!("/v1/anchors/{anchor}"), Value::Null).status, 204);

    for (id, why) in ends {
        world.wait_for_lease(id, "revoked");
        let lease = world.lease(id);
        // Of a process that is dead either is seen first: that its connection is closed, or that it has exited.
        let seen = if id == &held_by_lost && lease["reason"] == "anchor_exited" { "anchor_exited" } else { why };
        assert_eq!((&lease["reason"], &lease["revocation"]), (&json!(seen), &json!("confirmed")), "{lease}");
        assert_eq!(lease["worst_case_until"], Value::Null);
        assert_eq!(world.records_of(id, "lease.end").len(), 1);
    }
    // What the daemon calls revoked is refused by the cloud from the first look on.
    assert_eq!(world.allowed(&sessions), [false; 9]);
    assert_eq!(world.allowed(&beside), [true, true]);
    for id in &neighbours {
        assert_eq!(world.lease(id)["state"], "active");
    }
    // A revocation says why, or is no revocation.
    let mute = root.curl("POST", &format!("/v1/leases/{}/revoke", neighbours[0]), Some(&json!({})));
    mute.is_problem(400, "bad-request", &["reason"]);
    world.audit_verifies();
}

#[test]
fn p10_a_held_connection_is_told_when_its_lease_ends_otherwise() {
    let world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let mut job = Job::start(&world.scene, User::Alice);
    let answer = job.hold("/v1/leases", json!({ "grant": grant, "anchor": "connection" }));
    assert_eq!(answer.body["lease"]["anchor"], "connection");
    let (lease, _) = World::vended(&answer);
    let answer = world.alice().curl("POST", &format!("/v1/leases/{lease}/complete"), None);
    assert_eq!(answer.status, 200, "{answer:?}");
    let event = job.event();
    assert_eq!(event["event"], "ended", "{event}");
    assert!(event["reason"].as_str().unwrap().contains(&lease), "{event}");
    assert_eq!(job.event(), Value::Null);
}

#[test]
fn p10_what_a_shell_took_ends_with_the_shell() {
    let world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let (neighbour, _) = World::vended(&world.vend(&world.alice(), &grant, json!({})));
    let socket = world.scene.socket().display().to_string();
    let mut command = world.alice().env("GRANTD_SOCKET", socket).command("sh");
    let grantctl = world.scene.bin("grantctl");
    let script = format!(
        "set -e; {0} attach >&2; {0} credential-process {grant}; {0} credential-process {grant}; sleep 600; true",
        grantctl.display()
    );
    command.args(["-c", &script]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut shell = spawn_on_keeper(command).unwrap();
    let lines: Vec<String> = BufReader::new(shell.stdout.take().unwrap()).lines().take(2).map(Result::unwrap).collect();
    // The shell is what they have in common: the second program is handed the lease of the first.
    assert_eq!(lines[0], lines[1]);
    let printed: Value = serde_json::from_str(&lines[0]).unwrap();
    let credentials = Credentials::from_json(&printed).unwrap();
    assert!(world.can_read(&credentials, "alpha") && !world.can_read(&credentials, "beta"));
    let issued = world.audited("lease.issued");
    assert_eq!(issued.len(), 2);
    let lease = issued[1]["lease"].as_str().unwrap();
    assert_eq!(world.lease(lease)["anchor_pid"], shell.id(), "the anchor is not the shell");

    // Only the shell: its child lives on, and must not keep the lease alive.
    shell.kill().unwrap();
    shell.wait().unwrap();
    world.wait_for_lease(lease, "revoked");
    assert_eq!(world.lease(lease)["reason"], "anchor_exited");
    assert!(!world.can_read(&credentials, "alpha"));
    assert_eq!(world.allowed(&[world.session_of(&neighbour)]), [true]);
    let group = nix::unistd::Pid::from_raw(i32::try_from(shell.id()).unwrap());
    nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL).unwrap();
    eventually("the anchor's exit is on record", Duration::from_secs(5), || world.audited("anchor.exit").len() == 1);
}
