//! Under systemd (P13): what it keeps for the daemon comes back, is believed only where it fits, and is not needed.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that breaks must say so"
)]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use grantd_testkit::spawn_on_keeper;
use grantd_tests::{Daemon, Job, Manager, Setup, User, World, eventually};
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

/// Stops one thread of another process, as a disk that hangs would, until its standard input closes.
const STOP_A_THREAD: &str = r#"
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
tasks = f"/proc/{sys.argv[1]}/task"
named = [t for t in os.listdir(tasks) if open(f"{tasks}/{t}/comm").read().strip() == sys.argv[2]]
assert len(named) == 1, named
SEIZE, INTERRUPT = 0x4206, 0x4207
for request in (SEIZE, INTERRUPT):
    if libc.ptrace(request, int(named[0]), None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")
os.waitpid(int(named[0]), 0x40000000)
print("stopped", flush=True)
sys.stdin.read()
"#;

#[test]
fn p11_systemd_is_told_that_all_is_well_only_while_the_store_can_be_written() {
    let mut world = World::prepared(&Setup::default());
    let manager = Manager::new(&world.scene, 8).with_watchdog(600_000);
    world.start_under(&manager, &[]);
    let told = || manager.heard().iter().filter(|message| *message == "WATCHDOG=1\n").count();
    eventually("systemd is told", SOON, || told() > 2);

    let mut command = world.root().command("/usr/bin/python3");
    command.args(["-c", STOP_A_THREAD, &world.daemon().pid().to_string(), "store-writer"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut stopper = spawn_on_keeper(command).unwrap();
    let mut said = String::new();
    BufReader::new(stopper.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "stopped\n");
    let complaints = |world: &mut World| world.daemon().output().matches("does not answer").count();
    eventually("it is seen", SOON, || complaints(&mut world) > 0);
    let (before, seen) = (told(), complaints(&mut world));
    eventually("it is seen again and again", SOON, || complaints(&mut world) > seen + 2);
    assert_eq!(told(), before, "systemd was told that all is well");
    // Reading goes on meanwhile.
    assert_eq!(world.status()["state"], "ready");

    drop(stopper.stdin.take());
    stopper.wait().unwrap();
    eventually("systemd is told again", SOON, || told() > before + 1);
    world.serves_bob();
}

#[test]
fn systemd_hears_of_start_reload_and_stop() {
    let (mut world, manager) = under(8);
    let heard = |what: &str| manager.heard().iter().filter(|message| message.contains(what)).count();
    eventually("it is ready", SOON, || heard("READY=1") == 1);
    world.daemon().signal(nix::sys::signal::Signal::SIGHUP);
    eventually("it is ready again", SOON, || heard("READY=1") == 2);
    assert!(world.take_daemon().stop().success());
    eventually("it stops", SOON, || heard("STOPPING=1") == 1);
    let words = |message: &String| message.split('\n').next().unwrap().to_owned();
    let order: Vec<String> = manager.heard().iter().map(words).collect();
    assert_eq!(order, ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]);
    let reloading = &manager.heard()[1];
    let at = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap();
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    let at: f64 = at.parse().unwrap();
    assert!(at > 0.0 && at / 1e6 <= uptime + 1.0, "{at} µs, up for {uptime} s");
}

#[test]
fn p9_a_credential_that_systemd_hands_over_is_used_if_nobody_else_could_have_written_it() {
    let mut world = World::prepared(&Setup::default());
    let manager = Manager::new(&world.scene, 8);
    let profile = world.scene.config().join("aws-credentials");
    let secret = std::fs::read_to_string(&profile).unwrap();
    std::fs::remove_file(&profile).unwrap();
    let settings = std::fs::read_to_string(world.config()).unwrap();
    let settings = settings.replace(&profile.display().to_string(), "credential:grantd.aws");
    world.scene.write("config/grantd.toml", &settings, User::Root, 0o644);

    let ended = |environment: &[(&str, &str)]| {
        let mut daemon = Daemon::start_under(&manager, &world.scene, world.config(), environment);
        assert!(!daemon.wait_end(SOON).success());
        daemon.output()
    };
    let said = ended(&[]);
    assert!(said.contains("LoadCredential=grantd.aws") && said.contains("aws.account.base.files"), "{said}");

    // As systemd leaves it: root's, and readable for the daemon by an entry in its list, which shows as its group's.
    let handed_over = world.scene.path().join("handed-over");
    let directory = handed_over.display().to_string();
    let environment = [("CREDENTIALS_DIRECTORY", directory.as_str())];
    let file = world.scene.write("handed-over/grantd.aws", &secret, User::Daemon, 0o460);
    assert!(ended(&environment).contains("can be written by its group"));
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o440)).unwrap();
    std::os::unix::fs::chown(&file, Some(0), Some(User::Daemon.gid())).unwrap();
    world.start_under(&manager, &environment);
    let grant = world.grant(&world.alice(), "alpha");
    let (_, credentials) = World::vended(&world.vend(&world.alice(), &grant, json!({})));
    assert!(world.can_read(&credentials, "alpha"));
}
