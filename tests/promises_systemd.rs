//! Under systemd (P13): what it keeps for the daemon comes back, is believed only where it fits, and is not needed.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that breaks must say so"
)]

use std::time::Duration;

use grantd_tests::{Job, Manager, Setup, User, World, eventually};
use serde_json::json;

const SOON: Duration = Duration::from_secs(10);

/// A world whose daemon is a service.
fn under(most: usize) -> (World, Manager) {
    let mut world = World::prepared(&Setup::default());
    let manager = Manager::new(&world.scene, most);
    world.start_under(&manager, &[]);
    (world, manager)
}

/// The name under which the handle on a process is kept: its pid and its start time.
fn handle(job: &Job) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", job.pid())).unwrap();
    let start_time = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap();
    format!("process-{}-{start_time}", job.pid())
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

/// What the daemon said of the watches that it took up, the last time that it started.
fn taken_up(world: &mut World) -> String {
    let output = world.daemon().output();
    let line = output.lines().rfind(|line| line.contains("watches of an earlier run")).unwrap().to_owned();
    line.split_once("watches of an earlier run are taken up ").unwrap().1.to_owned()
}

#[test]
fn p13_an_end_during_a_restart_is_seen_through_what_systemd_kept() {
    let (mut world, manager) = under(64);
    let grant = world.grant(&world.alice(), "alpha");
    let mut jobs: Vec<Job> = (0..3).map(|_| Job::start(&world.scene, User::Alice)).collect();
    let living = World::vended(&jobs[0].vend(&grant)).0;
    // Registered, and with a lease below it: two watches of one process, and one handle.
    assert_eq!(jobs[1].child_asks("POST", "/v1/anchors", json!({})).status, 201);
    let attached = World::vended(&jobs[1].child_asks("POST", "/v1/leases", json!({ "grant": grant }))).0;
    let dying = World::vended(&jobs[2].vend(&grant)).0;
    let leases = [&living, &attached, &dying];
    let sessions = leases.map(|lease| world.session_of(lease));
    let handles = sorted(jobs.iter().map(handle).collect());
    eventually("every process is kept, each once", SOON, || manager.kept() == handles);

    // A crash, with an end while nobody watches. Who connects meanwhile waits, and is served.
    world.take_daemon().kill9();
    jobs.pop().unwrap().kill();
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| world.alice().curl("GET", "/v1/status", None).status);
        let mut daemon = grantd_tests::Daemon::start_under(&manager, &world.scene, world.config(), &[]);
        daemon.wait_ready();
        (waiting.join().unwrap(), daemon)
    });
    assert_eq!(waiting.0, 200);
    world.adopt(waiting.1);
    assert_eq!(taken_up(&mut world), "through_kept=4 unfit=0");
    world.wait_for_lease(&dying, "revoked");
    assert_eq!(world.lease(&dying)["reason"], "anchor_exited");
    for lease in [&living, &attached] {
        assert_eq!(world.lease(lease)["state"], "active", "{lease}");
    }
    assert_eq!(world.allowed(&sessions), [true, true, false]);
    let handles = sorted(jobs.iter().map(handle).collect());
    eventually("what is over is given up", SOON, || manager.kept() == handles);

    // An upgrade: a stop and a start. Nothing ends by it and nothing is kept twice.
    assert!(world.take_daemon().stop().success());
    assert_eq!(manager.kept(), handles, "a stop gives nothing up");
    world.start_under(&manager, &[]);
    assert_eq!(taken_up(&mut world), "through_kept=3 unfit=0");
    assert_eq!(world.allowed(&sessions), [true, true, false]);

    // The watches that were taken up see the ends of what they watch.
    jobs.clear();
    for lease in [&living, &attached] {
        world.wait_for_lease(lease, "revoked");
        assert_eq!(world.lease(lease)["reason"], "anchor_exited");
    }
    assert_eq!(world.allowed(&sessions), [false; 3]);
    eventually("nothing is kept for nothing", SOON, || manager.kept().is_empty());
    world.audit_verifies();
    world.serves_bob();
}

#[test]
fn p13_without_what_systemd_kept_no_watch_is_lost_either() {
    let (mut world, manager) = under(64);
    let grant = world.grant(&world.alice(), "alpha");
    let mut jobs: Vec<Job> = (0..2).map(|_| Job::start(&world.scene, User::Alice)).collect();
    let leases: Vec<String> = jobs.iter_mut().map(|job| World::vended(&job.vend(&grant)).0).collect();
    let handles = sorted(jobs.iter().map(handle).collect());
    eventually("both are kept", SOON, || manager.kept() == handles);
    world.take_daemon().kill9();
    manager.lose_all();
    jobs.pop().unwrap().kill();
    world.start_under(&manager, &[]);
    assert_eq!(taken_up(&mut world), "through_kept=0 unfit=0");
    world.wait_for_lease(&leases[1], "revoked");
    assert_eq!(world.lease(&leases[0])["state"], "active");
    let living = vec![handle(&jobs[0])];
    eventually("what lives is kept again", SOON, || manager.kept() == living);
    jobs.clear();
    world.wait_for_lease(&leases[0], "revoked");
    world.audit_verifies();
}

#[test]
fn p13_a_full_store_costs_no_lease_and_no_watch() {
    let (mut world, manager) = under(1);
    let grant = world.grant(&world.alice(), "alpha");
    let mut jobs: Vec<Job> = (0..3).map(|_| Job::start(&world.scene, User::Alice)).collect();
    let leases: Vec<String> = jobs.iter_mut().map(|job| World::vended(&job.vend(&grant)).0).collect();
    let first = vec![handle(&jobs[0])];
    eventually("the first is kept", SOON, || manager.kept() == first);
    world.take_daemon().kill9();
    jobs.pop().unwrap().kill();
    world.start_under(&manager, &[]);
    assert_eq!(taken_up(&mut world), "through_kept=1 unfit=0");
    world.wait_for_lease(&leases[2], "revoked");
    for lease in &leases[..2] {
        assert_eq!(world.lease(lease)["state"], "active", "{lease}");
    }
    jobs.clear();
    for lease in &leases[..2] {
        world.wait_for_lease(lease, "revoked");
        assert_eq!(world.lease(lease)["reason"], "anchor_exited");
    }
    eventually("nothing is kept for nothing", SOON, || manager.kept().is_empty());
}

#[test]
fn p5_a_kept_handle_on_another_process_is_not_believed() {
    let (mut world, manager) = under(64);
    let grant = world.grant(&world.alice(), "alpha");
    let mut jobs: Vec<Job> = (0..2).map(|_| Job::start(&world.scene, User::Alice)).collect();
    let leases: Vec<String> = jobs.iter_mut().map(|job| World::vended(&job.vend(&grant)).0).collect();
    let handles = sorted(jobs.iter().map(handle).collect());
    eventually("both are kept", SOON, || manager.kept() == handles);
    world.take_daemon().kill9();
    manager.exchange(&handles[0], &handles[1]);
    jobs.pop().unwrap().kill();
    world.start_under(&manager, &[]);
    // Had it believed the names, the first lease would have ended for the second one's process, and the second lived.
    world.wait_for_lease(&leases[1], "revoked");
    assert_eq!(world.lease(&leases[0])["state"], "active");
    jobs.clear();
    world.wait_for_lease(&leases[0], "revoked");
    eventually("nothing is kept for nothing", SOON, || manager.kept().is_empty());
}
