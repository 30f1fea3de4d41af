//! A pipeline's jobs: rerun, in parallel, and longer than their leases.

use std::fs;
use std::process::{Child, Stdio};
use std::time::Duration;

use grantd_testkit::{Fault, Rule, spawn_on_keeper};
use grantd_tests::{Setup, User, Worker, World, eventually};
use serde_json::json;

use crate::stage::{READ, exec, exec_reads, is_over, last_lease, leases, narrowed, not_started, python, uses};

#[test]
fn a_failed_job_that_is_rerun_has_a_session_of_its_own_while_uses_are_left() {
    let mut world = World::prepared(&Setup::default());
    narrowed(&world, "@max_uses(\"2\")");
    world.start();
    let grant = world.grant(&world.alice(), "alpha");
    let failed = exec(&world, &["--grant", "auto"], &[&python(), "-W", "ignore", "-c", READ, "alpha", "7"]);
    assert_eq!((failed.status.code(), failed.stdout.as_str()), (Some(7), "hello from alpha\n"), "{failed}");
    let first = last_lease(&world);
    is_over(&world, &first, "completed");

    let rerun = exec_reads(&world, &["--grant", "auto"], "alpha");
    assert_eq!((rerun.status.code(), rerun.stdout.as_str()), (Some(0), "hello from alpha\n"), "{rerun}");
    let second = last_lease(&world);
    assert_ne!(first, second);
    assert_ne!(world.session_of(&first).access_key_id, world.session_of(&second).access_key_id);
    assert_eq!(uses(&world, &grant), 2);

    let again = exec_reads(&world, &["--grant", "auto"], "alpha");
    not_started(&again, 106, &["2 tasks have used this grant", "policy allows 2", "request a new one"]);
    assert_eq!(world.proxy.ledger().len(), 2, "a session was made for a job that was refused");
    world.audit_verifies();
}

#[test]
fn of_a_matrix_as_many_jobs_run_at_once_as_policy_allows_and_a_job_that_got_nothing_used_nothing() {
    let mut world = World::prepared(&Setup::default());
    narrowed(&world, "@max_concurrent(\"2\")\n@max_uses(\"3\")");
    world.start();
    let grant = world.grant(&world.alice(), "alpha");
    let which = ["--grant", grant.as_str()];
    let mut one = Worker::start(&world, &which, &[]);
    let mut two = Worker::start(&world, &which, &[]);
    assert_eq!((one.read("alpha"), two.read("alpha")), ("hello from alpha\n".into(), "hello from alpha\n".into()));
    let third = exec_reads(&world, &which, "alpha");
    not_started(&third, 106, &["2 other tasks hold a lease", "allows 2 at once", "wait until one of them is done"]);

    // One ends; the next gets in, unless the cloud fails it, and then it has used nothing up.
    let ended = leases(&world)[0].clone();
    one.tell(&json!(["leave", 0]));
    assert_eq!(one.ended(), 0);
    is_over(&world, &ended, "completed");
    for fault in [Fault::Status { status: 403, code: None }, Fault::DropAfter] {
        world.proxy.add(Rule::on("AssumeRole", fault)).unwrap();
        not_started(&exec_reads(&world, &which, "alpha"), 108, &["AssumeRole"]);
        world.proxy.clear();
        assert_eq!(uses(&world, &grant), 2);
    }
    let mut three = Worker::start(&world, &which, &[]);
    assert_eq!((three.read("alpha"), two.read("alpha")), ("hello from alpha\n".into(), "hello from alpha\n".into()));
    assert_eq!(uses(&world, &grant), 3);

    two.tell(&json!(["leave", 0]));
    assert_eq!(two.ended(), 0);
    let fourth = exec_reads(&world, &which, "alpha");
    not_started(&fourth, 106, &["3 tasks have used this grant", "policy allows 3", "request a new one"]);
    assert_eq!(three.read("alpha"), "hello from alpha\n");
    world.audit_verifies();
}

#[test]
fn of_a_matrix_that_starts_at_once_no_job_too_many_gets_in() {
    let mut world = World::prepared(&Setup::default());
    narrowed(&world, "@max_concurrent(\"2\")");
    world.start();
    let grant = world.grant(&world.alice(), "alpha");
    let place = world.scene.home(User::Alice);
    let wait = "touch in-$$; while [ ! -e go ]; do sleep 0.05; done; exec \"$@\"";
    let start = |_| {
        let socket = world.scene.socket().display().to_string();
        let caller = world.alice().cloud(&world.stack.url()).env("GRANTD_SOCKET", socket);
        let mut command = caller.command(world.scene.bin("grantctl"));
        command.current_dir(&place).args(["exec", "--grant", &grant, "--", "sh", "-c", wait, "job"]);
        command.args([&python(), "-W", "ignore", "-c", READ, "alpha"]);
        spawn_on_keeper({
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            command
        })
        .unwrap()
    };
    let mut jobs: Vec<Child> = (0..4).map(start).collect();
    let inside = || {
        let names = fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with("in-")).count()
    };
    eventually("two are in and two are refused", Duration::from_secs(30), || {
        let over = jobs.iter_mut().filter_map(|job| job.try_wait().unwrap()).count();
        over == 2 && inside() == 2
    });
    world.scene.write("home/gt-alice/go", "", User::Alice, 0o644);
    let done: Vec<_> = jobs.into_iter().map(|job| job.wait_with_output().unwrap()).collect();
    let mut codes: Vec<_> = done.iter().map(|done| done.status.code().unwrap()).collect();
    codes.sort_unstable();
    assert_eq!(codes, [0, 0, 106, 106]);
    for one in done {
        let (out, said) = (String::from_utf8_lossy(&one.stdout), String::from_utf8_lossy(&one.stderr));
        assert_eq!(out == "hello from alpha\n", one.status.success(), "{out} {said}");
        assert_eq!(said.contains("allows 2 at once"), !one.status.success(), "{said}");
    }
    assert_eq!(world.proxy.ledger().len(), 2);
    assert_eq!(uses(&world, &grant), 2);
}

#[test]
fn a_job_longer_than_its_leases_reads_on_and_is_one_use() {
    let mut world = World::prepared(&Setup::default());
    narrowed(&world, "@max_ttl(\"5s\")\n@max_concurrent(\"1\")\n@max_uses(\"1\")");
    world.start();
    let grant = world.grant(&world.alice(), "alpha");
    let mut worker = Worker::start(&world, &["--grant", &grant], &[]);
    worker.keep_reading("alpha");
    eventually("it was renewed four times", Duration::from_secs(60), || leases(&world).len() >= 5);
    let (reads, failures) = worker.stop_reading();
    assert!(reads > 0 && failures.is_empty(), "{reads} {failures:?}");
    assert_eq!(uses(&world, &grant), 1);
    worker.tell(&json!(["leave", 0]));
    assert_eq!(worker.ended(), 0);
    let sessions: Vec<_> = leases(&world).iter().map(|lease| world.session_of(lease)).collect();
    world.wait_refused(&sessions);
    not_started(&exec_reads(&world, &["--grant", &grant], "alpha"), 106, &["policy allows 1"]);
    world.audit_verifies();
}
