//! `grantctl exec`: however the command or grantctl itself ends, the lease ends with it, and signals arrive once.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that breaks must say so"
)]

use std::process::Stdio;
use std::time::Duration;

use grantd_testkit::run;
use grantd_tests::{Worker, World, eventually};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::json;

fn last_lease(world: &World) -> String {
    world.audited("lease.issued").last().unwrap()["lease"].as_str().unwrap().to_owned()
}

/// Checks that the last lease is revoked for `reason` and refused by the cloud.
fn is_over(world: &World, reason: &str) {
    let lease = last_lease(world);
    world.wait_for_lease(&lease, "revoked");
    assert_eq!(world.lease(&lease)["reason"], reason);
    assert_eq!(world.allowed(&[world.session_of(&lease)]), [false]);
}

#[test]
fn p10_however_the_command_ends_its_lease_ends_and_its_exit_code_is_passed_on() {
    let world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let neighbour = World::vended(&world.vend(&world.alice(), &grant, json!({}))).0;
    for (how, code) in [(json!(["leave", 0]), 0), (json!(["leave", 42]), 42), (json!(["die"]), 137)] {
        let mut worker = Worker::start(&world, &["--grant", &grant], &[]);
        assert_eq!(worker.read("alpha"), "hello from alpha\n");
        worker.tell(&how);
        assert_eq!(worker.ended(), code, "{how}");
        is_over(&world, "completed");
    }
    // What cannot be run has its codes too, and its lease ends.
    for (command, code, words) in [("no-such-command", 127, "there is no such command"), ("/", 126, "cannot be run")] {
        let done = world.alice().grantctl(&["exec", "--grant", &grant, "--", command]);
        assert_eq!(done.status.code(), Some(code), "{done}");
        assert!(done.stderr.contains(words), "{done}");
        is_over(&world, "completed");
    }
    assert_eq!(world.allowed(&[world.session_of(&neighbour)]), [true]);
}

#[test]
fn p10_a_grantctl_that_is_killed_takes_lease_and_command_with_it() {
    let world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let mut worker = Worker::start(&world, &["--grant", &grant], &[]);
    assert_eq!(worker.asks(&json!(["seen", 0])), json!([]));
    worker.signal(Signal::SIGKILL);
    assert_eq!(worker.ended(), -9);
    // The command is told: it catches SIGTERM and goes on, but it knows.
    // The kernel may say it twice, for each thread of grantctl that was there (prctl(2), PR_SET_PDEATHSIG).
    let seen = worker.asks(&json!(["seen", 1]));
    assert!(seen.as_array().unwrap().iter().all(|signal| signal == "SIGTERM"), "{seen}");
    is_over(&world, "anchor_exited");
    assert!(!worker.read("alpha").contains("hello"));

    // One that does not catch it is gone.
    let mut worker = Worker::start(&world, &["--grant", &grant], &[]);
    worker.asks(&json!(["default", "SIGTERM"]));
    worker.signal(Signal::SIGKILL);
    worker.command_is_gone();
    is_over(&world, "anchor_exited");
}

#[test]
fn without_a_terminal_each_signal_reaches_the_whole_command_once() {
    let world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let mut worker = Worker::start(&world, &["--grant", &grant], &[]);
    worker.signal(Signal::SIGHUP);
    assert_eq!(worker.asks(&json!(["seen", 1])), json!(["SIGHUP"]));
    worker.signal(Signal::SIGUSR1);
    assert_eq!(worker.asks(&json!(["seen", 2])), json!(["SIGHUP", "SIGUSR1"]));
    // As a CI runner that cancels: at the group of grantctl.
    killpg(Pid::from_raw(worker.exec_pid()), Signal::SIGINT).unwrap();
    assert_eq!(worker.asks(&json!(["seen", 3])), json!(["SIGHUP", "SIGUSR1", "SIGINT"]));
    // Signals arrive in order of their sending: a second SIGINT would be before this.
    worker.signal(Signal::SIGUSR1);
    assert_eq!(worker.asks(&json!(["seen", 4])), json!(["SIGHUP", "SIGUSR1", "SIGINT", "SIGUSR1"]));
    let stopped = || std::fs::read_to_string(format!("/proc/{}/stat", worker.pid())).unwrap().contains(") T ");
    worker.signal(Signal::SIGTSTP);
    eventually("the command is stopped", Duration::from_secs(10), stopped);
    worker.signal(Signal::SIGCONT);
    eventually("the command runs again", Duration::from_secs(10), || !stopped());
    assert_eq!(worker.read("alpha"), "hello from alpha\n");
    worker.asks(&json!(["default", "SIGTERM"]));
    worker.signal(Signal::SIGTERM);
    assert_eq!(worker.ended(), 128 + 15);
    is_over(&world, "completed");
}

/// Runs `grantctl exec` in a terminal of its own, below a shell with job control, types keys, and says what came back.
const TERMINAL: &str = r#"
import os, pty, re, select, signal, sys, time
grantctl, grant = sys.argv[1:]
pid, terminal = pty.fork()
if pid == 0:
    os.environ["PS1"] = "prompt-> "
    os.execvp("bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"])
seen = ""
def until(words):
    global seen
    end = time.monotonic() + 30
    while not re.search(words, seen):
        assert time.monotonic() < end, "never seen: " + words + " in " + repr(seen)
        if select.select([terminal], [], [], 0.2)[0]:
            seen += os.read(terminal, 4096).decode(errors="replace")
    cut = re.search(words, seen).end()
    past, seen = seen[:cut], seen[cut:]
    return past
def type(keys):
    os.write(terminal, keys.encode())
CHILD = "import signal,time,sys,os;signal.signal(2,lambda *a:os.write(1,b'GOT-INT\\n'));signal.signal(10,lambda *a:sys.exit(7));os.write(1,b'PID-%d-\\n'%os.getpid())\nwhile 1:signal.pause()"
until("prompt-> ")
open("child.py", "w").write(CHILD)
type(grantctl + " exec --grant " + grant + " -- python3 child.py\n")
child = int(re.search(r"PID-(\d+)-\r", until(r"PID-(\d+)-\r")).group(1))
type("\x03")
until("GOT-INT")
type("\x1a")
until("Stopped")
until("prompt-> ")
def stopped(wanted):
    end = time.monotonic() + 30
    while (") T " in open(f"/proc/{child}/stat").read()) != wanted:
        assert time.monotonic() < end, "the command is never " + ("stopped" if wanted else "going on")
        time.sleep(0.02)
stopped(True)
type("fg\n")
until("exec --grant")
stopped(False)
os.kill(child, signal.SIGUSR1)
past = until("prompt-> ")
type("echo CODE-$?-\n")
past += until(r"CODE-(\d+)-\r")
print("ints after the first:", past.count("GOT-INT"), "code:", re.search(r"CODE-(\d+)-", past).group(1))
"#;

#[test]
fn in_a_terminal_ctrl_c_arrives_once_and_ctrl_z_and_fg_work() {
    let world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let socket = world.scene.socket().display().to_string();
    let mut command = world.alice().env("GRANTD_SOCKET", socket).command("/usr/bin/python3");
    command.current_dir(world.scene.home(grantd_tests::User::Alice));
    command.args(["-c", TERMINAL]).arg(world.scene.bin("grantctl")).arg(&grant).stdin(Stdio::null());
    let done = run(command, "", Duration::from_secs(90)).unwrap();
    assert_eq!(done.stdout.trim(), "ints after the first: 0 code: 7", "{done}");
    is_over(&world, "completed");
}

#[test]
fn a_command_that_is_killed_from_outside_ends_like_any_other() {
    let world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let mut worker = Worker::start(&world, &["--grant", &grant], &[]);
    kill(Pid::from_raw(worker.pid()), Signal::SIGKILL).unwrap();
    assert_eq!(worker.ended(), 137);
    is_over(&world, "completed");
}
