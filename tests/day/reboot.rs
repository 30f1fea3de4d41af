//! The host is booted anew: what was watched before is over, whatever has the same process number now.

use grantd_tests::{Daemon, Job, Setup, User, Worker, World};
use serde_json::{Value, json};

use crate::stage::{exec_reads, is_over, narrowed, uses};

const NEXT_BOOT: &str = "6f1f7c0e-93d5-4f0e-9a52-7b0c7d3a11ee";

#[test]
fn p13_after_a_reboot_no_watched_lease_of_the_host_lives_and_the_next_job_is_served() {
    let mut world = World::prepared(&Setup::default());
    // The jobs of the last boot take up no place in this one.
    narrowed(&world, "@max_concurrent(\"5\")\n@max_uses(\"7\")");
    world.start();
    let grant = world.grant(&world.alice(), "alpha");
    let mut worker = Worker::start(&world, &["--grant", &grant], &[]);
    assert_eq!(worker.read("alpha"), "hello from alpha\n");
    let stolen = worker.credentials();
    let of_exec = crate::stage::last_lease(&world);
    let mut jobs: Vec<Job> = (0..3).map(|_| Job::start(&world.scene, User::Alice)).collect();
    let of_process = World::vended(&jobs[0].vend(&grant)).0;
    let of_connection = World::vended(&jobs[1].hold("/v1/leases", json!({ "grant": grant, "anchor": "connection" }))).0;
    assert_eq!(jobs[2].child_asks("POST", "/v1/anchors", json!({})).status, 201);
    let below_anchor = World::vended(&jobs[2].child_asks("POST", "/v1/leases", json!({ "grant": grant }))).0;
    let (unwatched, kept) = World::vended(&world.vend(&world.alice(), &grant, json!({})));
    let until = world.lease(&unwatched)["access_until"].clone();

    // The power fails; every process is still there with its number and its start time, which must not help.
    world.take_daemon().kill9();
    let mut daemon = Daemon::start_in_boot(&world.scene, world.config(), NEXT_BOOT);
    daemon.wait_ready();
    world.adopt(daemon);
    for lease in [&of_exec, &of_process, &of_connection, &below_anchor] {
        is_over(&world, lease, "anchor_exited");
    }
    assert!(!world.can_read(&stolen, "alpha"));
    jobs[1].ask("POST", &format!("/v1/leases/{of_connection}/hold"), Value::Null).is_problem(409, "state", &[]);
    // Nobody watched it before, so nothing ended it now: it has its own time and no more.
    let view = world.lease(&unwatched);
    assert_eq!((&view["state"], &view["access_until"]), (&json!("active"), &until), "{view}");
    assert!(world.can_read(&kept, "alpha"));

    // Nothing of before is handed out again: who asks is another task, with a session of its own and a use.
    assert_eq!(uses(&world, &grant), 5);
    let again = jobs[0].vend(&grant);
    assert_eq!(again.body["reused"], false, "{again:?}");
    let anew = World::vended(&again).0;
    assert_ne!(anew, of_process);
    assert_eq!(world.records_of(&anew, "lease.intent")[0]["detail"]["anchor"]["process"]["boot_id"], NEXT_BOOT);
    assert_eq!(uses(&world, &grant), 6);
    let next = exec_reads(&world, &["--grant", "auto"], "alpha");
    assert_eq!((next.status.code(), next.stdout.as_str()), (Some(0), "hello from alpha\n"), "{next}");
    assert_eq!(uses(&world, &grant), 7);
    world.audit_verifies();

    // A restart within the same boot is none.
    world.take_daemon().kill9();
    let mut daemon = Daemon::start_in_boot(&world.scene, world.config(), NEXT_BOOT);
    daemon.wait_ready();
    world.adopt(daemon);
    assert_eq!(world.lease(&anew)["state"], "active");
    drop(jobs);
    is_over(&world, &anew, "anchor_exited");
}
