//! A job that is cancelled: what it had is refused, and nobody else's.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use grantd_testkit::spawn_on_keeper;
use grantd_tests::{Credentials, Worker, World};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::json;

use crate::stage::{is_over, last_lease};

#[test]
fn a_cancelled_job_has_nothing_left_and_its_neighbour_goes_on() {
    let world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let mut neighbour = Worker::start(&world, &["--grant", &grant], &[]);
    neighbour.keep_reading("alpha");
    // As runners do it: politely at the whole group; and then, or at once, for good.
    for (signal, code, reason) in [(Signal::SIGTERM, 128 + 15, "completed"), (Signal::SIGKILL, -9, "anchor_exited")] {
        let mut job = Worker::start(&world, &["--grant", &grant], &[]);
        assert_eq!(job.read("alpha"), "hello from alpha\n");
        job.asks(&json!(["default", "SIGTERM"]));
        let stolen = job.credentials();
        assert!(world.can_read(&stolen, "alpha"));
        killpg(Pid::from_raw(job.exec_pid()), signal).unwrap();
        assert_eq!(job.ended(), code, "{signal}");
        job.command_is_gone();
        is_over(&world, &last_lease(&world), reason);
        assert!(!world.can_read(&stolen, "alpha"), "{signal}");
    }
    // One that does not listen, and is killed after it was asked: it lives on, with nothing.
    let mut deaf = Worker::start(&world, &["--grant", &grant], &[]);
    assert_eq!(deaf.read("alpha"), "hello from alpha\n");
    killpg(Pid::from_raw(deaf.exec_pid()), Signal::SIGTERM).unwrap();
    assert_eq!(deaf.asks(&json!(["seen", 1])), json!(["SIGTERM"]));
    killpg(Pid::from_raw(deaf.exec_pid()), Signal::SIGKILL).unwrap();
    assert_eq!(deaf.ended(), -9);
    is_over(&world, &last_lease(&world), "anchor_exited");
    assert!(!deaf.read("alpha").contains("hello"));

    let (reads, failures) = neighbour.stop_reading();
    assert!(reads > 0 && failures.is_empty(), "{reads} {failures:?}");
    world.audit_verifies();
}

#[test]
fn a_cancelled_shell_takes_along_what_its_command_line_took_by_credential_process() {
    let world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let other = world.vend(&world.alice(), &grant, json!({}));
    let (_, kept) = World::vended(&other);
    let grantctl = world.scene.bin("grantctl").display().to_string();
    let config = format!("[default]\nregion = eu-west-1\ncredential_process = {grantctl} credential-process auto\n");
    world.scene.write("home/gt-alice/.aws/config", &config, grantd_tests::User::Alice, 0o600);
    let aws = grantd_testkit::aws_environment().unwrap().join("bin/aws").display().to_string();
    let steps = format!(
        "set -e; {grantctl} attach >&2; {aws} s3 cp s3://alpha/hello.txt -; {aws} s3 cp s3://alpha/hello.txt -; \
         {grantctl} credential-process auto | tr -d '\\n'; echo; sleep 600; true"
    );
    let socket = world.scene.socket().display().to_string();
    let mut command = world.alice().cloud(&world.stack.url()).env("GRANTD_SOCKET", socket).command("sh");
    command.args(["-c", &steps]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut shell = spawn_on_keeper(command).unwrap();
    let mut lines = BufReader::new(shell.stdout.take().unwrap()).lines().map(Result::unwrap);
    for _ in 0..2 {
        assert_eq!(lines.next().unwrap(), "hello from alpha");
    }
    let printed = serde_json::from_str(&lines.next().unwrap()).unwrap();
    let stolen = Credentials::from_json(&printed).unwrap();
    let lease = last_lease(&world);
    assert_eq!(world.proxy.ledger().len(), 2, "the steps of one shell share its lease");
    assert!(world.can_read(&stolen, "alpha"));
    killpg(Pid::from_raw(i32::try_from(shell.id()).unwrap()), Signal::SIGKILL).unwrap();
    shell.wait().unwrap();
    is_over(&world, &lease, "anchor_exited");
    assert!(!world.can_read(&stolen, "alpha"));
    assert!(world.can_read(&kept, "alpha"));
}
