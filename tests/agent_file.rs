//! The file of `grantctl agent`: whose it is and who can read it from the first instant, and where it is not put.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that breaks must say so"
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use grantd_tests::{AgentProcess, User, World, eventually};
use nix::sys::signal::Signal;
use serde_json::Value;

const LONG: Duration = Duration::from_secs(40);

/// A directory below the scene.
fn directory(world: &World, name: &str, owner: (u32, u32), mode: u32) -> PathBuf {
    let path = world.scene.path().join(name);
    fs::create_dir(&path).unwrap();
    chown(&path, Some(owner.0), Some(owner.1)).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path
}

fn alice() -> (u32, u32) {
    (User::Alice.uid(), User::Alice.gid())
}

/// Starts an agent and waits for its file; gives what is told of that.
fn kept(world: &World, user: User, file: &Path, more: &[&str]) -> (AgentProcess, fs::Metadata) {
    let arguments: Vec<&str> = ["--file", file.to_str().unwrap()].into_iter().chain(more.iter().copied()).collect();
    let mut agent = AgentProcess::start(world, user, &arguments, &[]);
    eventually("the file is there", LONG, || file.exists() || !agent.runs());
    assert!(agent.runs(), "{}", agent.said());
    (agent, fs::metadata(file).unwrap())
}

fn stop(mut agent: AgentProcess, file: &Path) {
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.ended(), 0, "{}", agent.said());
    assert!(!file.exists());
}

#[test]
fn p9_owner_and_mode_are_what_was_asked_for_from_before_there_is_a_secret() {
    let world = World::new();
    let place = directory(&world, "place", alice(), 0o755);
    let file = place.join("credentials");
    let _grant = world.grant(&world.alice(), "alpha");

    // Every system call that has to do with files, in order.
    let trace = world.scene.path().join("home/gt-alice/trace");
    let grantctl = world.scene.bin("grantctl").display().to_string();
    let traced =
        ["-f", "-e", "trace=openat,fchown,fchmod,write,fsync,renameat,renameat2", "-o", trace.to_str().unwrap()];
    let arguments =
        [grantctl.as_str(), "agent", "--file", file.to_str().unwrap(), "--mode", "0440", "--owner", ":gt-clients"];
    // As root: the memory of grantctl is closed to other processes of its user.
    let mut command = world.root().env("GRANTD_SOCKET", world.scene.socket().display().to_string()).command("strace");
    command.args(["-u", "gt-alice"]).args(traced).args(arguments);
    let mut child = grantd_testkit::spawn_on_keeper(command).unwrap();
    eventually("the file is there", LONG, || file.exists());
    let found = fs::metadata(&file).unwrap();
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (alice().0, User::clients_gid(), 0o440));
    let traced = || fs::read_to_string(&trace).unwrap_or_default();
    eventually("all of it is written down", LONG, || traced().contains("RENAME_NOREPLACE) = 0"));
    let lines = traced();
    // What is traced outlives who traces it.
    let pid: i32 = lines.split_whitespace().next().unwrap().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    child.wait().unwrap();
    assert!(!file.exists());
    let at = |words: &[&str]| {
        let place = lines.lines().position(|line| words.iter().all(|word| line.contains(word)));
        place.unwrap_or_else(|| panic!("no {words:?} in {lines}"))
    };
    let order = [
        at(&["credentials.grantctl.new\"", "O_CREAT|O_EXCL", "O_NOFOLLOW", "0600"]),
        at(&["fchmod(", "0440"]),
        at(&["fchown("]),
        at(&["[default]"]),
        at(&["RENAME_NOREPLACE"]),
    ];
    assert!(order.is_sorted(), "{order:?}: {lines}");
    // On disk before it is in its place.
    let synced = lines.lines().position(|line| line.contains("fsync(")).unwrap();
    assert!(order[3] < synced && synced < order[4], "{synced} {order:?}: {lines}");
}

#[test]
fn who_may_not_give_files_away_is_told_and_root_can() {
    let world = World::new();
    let place = directory(&world, "place", alice(), 0o755);
    let file = place.join("credentials");
    let _grant = world.grant(&world.alice(), "alpha");
    let refused = world.alice().grantctl(&["agent", "--file", file.to_str().unwrap(), "--owner", "gt-bob"]);
    assert_eq!(refused.status.code(), Some(1), "{refused}");
    assert!(
        refused.stderr.contains("only root may give it to user") && refused.stderr.contains("--owner"),
        "{refused}"
    );
    assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
    // What was taken for it is given back.
    let lease = world.audited("lease.issued").pop().unwrap()["lease"].as_str().unwrap().to_owned();
    world.wait_for_lease(&lease, "revoked");

    // Root cannot have a grant here; the right to give files away is what matters.
    let home = world.scene.path().join("given");
    fs::create_dir(&home).unwrap();
    let file = home.join("credentials");
    let arguments = [
        "--reuid",
        "gt-alice",
        "--regid",
        "gt-alice",
        "--init-groups",
        "--inh-caps",
        "+chown,+dac_override",
        "--ambient-caps",
        "+chown,+dac_override",
        "--",
    ];
    let mut command = world.root().env("GRANTD_SOCKET", world.scene.socket().display().to_string()).command("setpriv");
    command.args(arguments).arg(world.scene.bin("grantctl"));
    command.args(["agent", "--file", file.to_str().unwrap(), "--owner", "gt-bob:gt-clients", "--mode", "0640"]);
    let mut child = grantd_testkit::spawn_on_keeper(command).unwrap();
    eventually("the file is there", LONG, || file.exists());
    let found = fs::metadata(&file).unwrap();
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (User::Bob.uid(), User::clients_gid(), 0o640));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn modes_that_let_others_read_are_refused_before_anything_is_asked_for() {
    let world = World::new();
    let file = world.scene.home(User::Alice).join("credentials").display().to_string();
    let _grant = world.grant(&world.alice(), "alpha");
    for (more, words) in [
        (&["--mode", "0644"][..], "not for everybody"),
        (&["--mode", "0660"], "give 0600, 0400, 0640 or 0440"),
        (&["--mode", "0640"], "say which with --owner"),
        (&["--owner", "no-such-user"], "there is no user no-such-user"),
        (&["--signal", "HUP"], "--pid-file"),
        (&["--signal", "KILL", "--pid-file", "/run/x"], "KILL"),
        (&["--run-timeout", "1s"], "--run"),
        (&["--json"], "contradict"),
        (&["--grant", "grant-aaaa", "--resource", "alpha"], "give it with auto"),
    ] {
        let arguments: Vec<&str> = ["agent", "--file", &file].into_iter().chain(more.iter().copied()).collect();
        let refused = world.alice().grantctl(&arguments);
        assert_eq!(refused.status.code(), Some(2), "{more:?}: {refused}");
        assert!(refused.stderr.contains(words), "{more:?}: {refused}");
    }
    assert!(world.audited("lease.issued").is_empty());
}

#[test]
fn a_place_that_others_can_change_is_refused_and_no_link_is_followed() {
    let world = World::new();
    let _grant = world.grant(&world.alice(), "alpha");
    let bobs = (User::Bob.uid(), User::Bob.gid());
    directory(&world, "bobs", bobs, 0o755);
    directory(&world, "bobs/alices", alice(), 0o755);
    directory(&world, "open", alice(), 0o777);
    directory(&world, "group", alice(), 0o775);
    directory(&world, "sticky", alice(), 0o1777);
    let own = directory(&world, "own", alice(), 0o755);
    symlink(&own, world.scene.path().join("link")).unwrap();
    // As an attacker would, who wants something else overwritten, or the secret for themselves.
    let theirs = world.scene.write("theirs", "precious", User::Bob, 0o666);
    for name in ["credentials", ".other.grantctl"] {
        symlink(&theirs, own.join(name)).unwrap();
    }
    fs::write(own.join("mine"), "written by hand").unwrap();
    for (path, words) in [
        ("bobs/credentials", "belongs to user"),
        ("bobs/alices/credentials", "belongs to user"),
        ("open/credentials", "can be written by others"),
        ("group/credentials", "can be written by others"),
        ("sticky/credentials", "can be written by others"),
        ("link/credentials", "is a symbolic link"),
        ("own/credentials", "is a symbolic link"),
        ("own/other", "cannot lock"),
        ("own/mine", "--force"),
        ("own/../own/new", "without `..`"),
        ("nowhere/credentials", "No such file"),
    ] {
        let path = world.scene.path().join(path).display().to_string();
        let refused = world.alice().grantctl(&["agent", "--file", &path]);
        assert_eq!(refused.status.code(), Some(2), "{path}: {refused}");
        assert!(refused.stderr.contains(words), "{path}: {refused}");
    }
    assert_eq!(fs::read_to_string(&theirs).unwrap(), "precious");
    assert_eq!(fs::read_to_string(own.join("mine")).unwrap(), "written by hand");
    assert!(world.audited("lease.issued").is_empty(), "nothing is taken for a place that is not safe");

    // Asked for, what was written by hand gives way.
    let file = own.join("mine");
    let arguments = ["--file", file.to_str().unwrap(), "--force", "--format", "json"];
    let mut agent = AgentProcess::start(&world, User::Alice, &arguments, &[]);
    let holds = || fs::read_to_string(&file).unwrap_or_default().contains("SecretAccessKey");
    eventually("it is replaced", LONG, || holds() || !agent.runs());
    let document: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(document["Version"], 1);
    // One at a time.
    let second = world.alice().grantctl(&["agent", "--file", file.to_str().unwrap(), "--force"]);
    assert!(second.status.code() == Some(2) && second.stderr.contains("another agent keeps"), "{second}");
    stop(agent, &file);
}

#[test]
fn what_somebody_puts_in_the_place_of_the_file_is_theirs() {
    let world = World::new();
    let place = directory(&world, "place", alice(), 0o755);
    let file = place.join("credentials");
    let _grant = world.grant(&world.alice(), "alpha");
    let (mut agent, _) = kept(&world, User::Alice, &file, &["--ttl", "9s"]);
    fs::remove_file(&file).unwrap();
    fs::write(&file, "somebody's").unwrap();
    assert_eq!(agent.ended(), 1, "{}", agent.said());
    assert!(agent.said().contains("is left alone"), "{}", agent.said());
    assert_eq!(fs::read_to_string(&file).unwrap(), "somebody's");
}
