//! The daemon is upgraded under living jobs.

use std::fs;
use std::time::Duration;

use grantd_tests::{Manager, Setup, Worker, World, eventually};
use serde_json::json;

use crate::stage::{is_over, last_lease, leases, uses};

/// Puts another file in the place of the daemon's binary, as a package manager does.
fn replace(world: &World) {
    let path = world.scene.bin("grantd");
    let fresh = world.scene.bin("grantd.new");
    fs::copy(&path, &fresh).unwrap();
    fs::rename(&fresh, &path).unwrap();
}

fn upgraded_under_a_job(manager: impl Fn(&World) -> Option<Manager>) {
    let mut world = World::prepared(&Setup::default());
    let manager = manager(&world);
    let start = |world: &mut World| match &manager {
        Some(manager) => world.start_under(manager, &[]),
        None => world.start(),
    };
    start(&mut world);
    let grant = world.grant(&world.alice(), "alpha");
    let mut steady = Worker::start(&world, &["--grant", &grant], &[]);
    let lease = last_lease(&world);
    // One that has to renew meanwhile.
    let mut hasty = Worker::start(&world, &["--grant", &grant, "--ttl", "6s"], &[]);
    steady.keep_reading("alpha");
    hasty.keep_reading("alpha");
    for _ in 0..2 {
        let (one, other) = (steady.read_so_far().0, hasty.read_so_far().0);
        eventually("both have read", Duration::from_secs(20), || {
            steady.read_so_far().0 > one && hasty.read_so_far().0 > other
        });
        let before = world.daemon().pid();
        replace(&world);
        assert!(fs::read_link(format!("/proc/{before}/exe")).unwrap().to_string_lossy().ends_with(" (deleted)"));
        assert!(world.take_daemon().stop().success());
        let (one, other) = (steady.read_so_far().0, hasty.read_so_far().0);
        eventually("both read while it is away", Duration::from_secs(20), || {
            steady.read_so_far().0 > one && hasty.read_so_far().0 > other
        });
        start(&mut world);
        let exe = fs::read_link(format!("/proc/{}/exe", world.daemon().pid())).unwrap();
        assert_eq!(exe, world.scene.bin("grantd"), "it is the new file that runs");
        let so_far = leases(&world).len();
        eventually("the hasty one was renewed by the new daemon", Duration::from_secs(30), || {
            leases(&world).len() > so_far
        });
        assert_eq!(world.lease(&lease)["state"], "active");
    }
    for worker in [&mut steady, &mut hasty] {
        let (reads, failures) = worker.stop_reading();
        assert!(reads > 0 && failures.is_empty(), "{reads} {failures:?}");
        assert!(!worker.said().contains("access is over"), "{}", worker.said());
    }
    assert_eq!(uses(&world, &grant), 2, "nobody's task is another one for the upgrade");
    // The new daemon sees the end of what it did not see begin.
    steady.signal(nix::sys::signal::Signal::SIGKILL);
    assert_eq!(steady.ended(), -9);
    is_over(&world, &lease, "anchor_exited");
    let last = last_lease(&world);
    hasty.tell(&json!(["leave", 0]));
    assert_eq!(hasty.ended(), 0);
    eventually("its last lease is over", Duration::from_secs(20), || {
        matches!(world.lease(&last)["state"].as_str(), Some("revoked" | "expired"))
    });
    world.audit_verifies();
}

#[test]
fn p13_an_upgrade_costs_no_living_job_a_single_read() {
    upgraded_under_a_job(|_| None);
}

#[test]
fn p13_an_upgrade_costs_no_living_job_a_single_read_where_systemd_keeps_its_watches() {
    upgraded_under_a_job(|world| Some(Manager::new(&world.scene, 64)));
}
