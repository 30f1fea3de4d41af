//! Signed policy (P12): whoever edits policy cannot thereby put it into force.
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
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use grantd_tests::{Daemon, Setup, User, World, eventually};
use serde_json::json;

const FROZEN: &str = r#"
@id("frozen")
@reason("everything is frozen")
@who_can_fix("the release manager")
@next("ask again tomorrow")
forbid (principal, action == Grantd::Action::"request", resource) when { context.duration_seconds > 0 };
"#;

/// A world whose daemon asks for the signatures of two of ana, bob and cleo; the daemon is not started.
fn world() -> World {
    let world = World::prepared(&Setup::default());
    let mut list = "# who signs policy\n".to_owned();
    for name in ["ana", "bob", "cleo", "eve"] {
        let key = key(&world, name);
        fs::create_dir_all(key.parent().unwrap()).unwrap();
        run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(&key));
        let public = fs::read_to_string(key.with_extension("pub")).unwrap();
        list += &if name == "eve" { String::new() } else { format!("{name} namespaces=\"grantd-policy\" {public}") };
    }
    let signers = world.scene.write("config/signers", &list, User::Root, 0o644);
    let mut config = OpenOptions::new().append(true).open(world.config()).unwrap();
    writeln!(config, "[policy]\nsigners = \"{}\"\nthreshold = 2", signers.display()).unwrap();
    world
}

fn key(world: &World, name: &str) -> PathBuf {
    world.scene.path().join("keys").join(name)
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Gives the bundle its place, and has exactly these sign it as the manual says.
fn sign(world: &World, sequence: u64, who: &[&str]) {
    let dir = world.policy();
    fs::remove_dir_all(dir.join("signatures")).ok();
    fs::write(dir.join("manifest.toml"), format!("sequence = {sequence}\n")).unwrap();
    let told = world.root().grantctl(&["policy", "statement", dir.to_str().unwrap()]);
    assert!(told.success(), "{told}");
    assert!(told.stdout.ends_with(&format!("sequence {sequence}\n")), "{told}");
    let statement = world.scene.path().join("keys/statement");
    for name in who {
        fs::write(&statement, &told.stdout).unwrap();
        let key = key(world, name);
        run(Command::new("ssh-keygen")
            .args(["-q", "-Y", "sign", "-n", "grantd-policy", "-f"])
            .arg(key)
            .arg(&statement));
        let signature = fs::read_to_string(statement.with_extension("sig")).unwrap();
        fs::remove_file(statement.with_extension("sig")).unwrap();
        world.scene.write(&format!("config/policy/signatures/{name}.sig"), &signature, User::Root, 0o644);
    }
}

/// The daemon does not start, and says this.
fn does_not_start(world: &World, words: &[&str]) {
    let mut daemon = Daemon::start(&world.scene, world.config());
    let status = daemon.wait_end(Duration::from_secs(20));
    assert!(!status.success(), "{status}");
    let output = daemon.output();
    let last = output.lines().last().unwrap_or_default();
    assert!(words.iter().all(|word| last.contains(word)), "{last}");
}

/// A reload changes nothing, raises an alarm that says this, and everything goes on.
fn is_refused(world: &mut World, words: &[&str]) {
    let version = world.status()["policy_version"].clone();
    world.reload();
    let status = world.status();
    assert_eq!((&status["state"], &status["policy_version"]), (&json!("degraded"), &version));
    let alarms = status["alarms"].to_string();
    assert!(words.iter().all(|word| alarms.contains(word)), "{alarms}");
    let last = world.audited("policy.refused").pop().unwrap();
    assert!(words.iter().all(|word| last["detail"]["refused"].to_string().contains(word)), "{last}");
}

#[test]
fn p12_a_bundle_comes_into_force_by_enough_signatures_and_never_goes_back() {
    let mut world = world();
    does_not_start(&world, &["manifest.toml", "needs its place"]);
    sign(&world, 1, &[]);
    does_not_start(&world, &["signed by 0 of the 2", "ssh-keygen -Y sign -n grantd-policy"]);
    sign(&world, 1, &["ana"]);
    does_not_start(&world, &["signed by 1 of the 2"]);
    sign(&world, 1, &["ana", "bob"]);
    world.start();
    let first = world.status()["policy_version"].clone();
    let seal = world.audited("policy.change").pop().unwrap()["detail"]["seal"].clone();
    assert_eq!((&seal["sequence"], &seal["signers"]), (&json!(1), &json!(["ana", "bob"])));
    let old = world.scene.path().join("old");
    run(Command::new("cp").arg("-r").arg(world.policy()).arg(&old));

    // Edited and not signed; signed by one; by one and somebody who is nobody; by one twice.
    world.scene.write("config/policy/policies/frozen.cedar", FROZEN, User::Root, 0o644);
    is_refused(&mut world, &["not over this text"]);
    sign(&world, 2, &["bob"]);
    is_refused(&mut world, &["signed by 1 of the 2"]);
    sign(&world, 2, &["bob", "eve"]);
    is_refused(&mut world, &["signed by 1 of the 2", "no signer on the list"]);
    let again = fs::read_to_string(world.policy().join("signatures/bob.sig")).unwrap();
    world.scene.write("config/policy/signatures/eve.sig", &again, User::Root, 0o644);
    is_refused(&mut world, &["signed by 1 of the 2"]);
    assert_eq!(world.request(&world.alice(), "alpha", json!({})).status, 201);

    sign(&world, 2, &["bob", "cleo"]);
    world.reload();
    assert_eq!(world.status()["state"], "ready");
    assert_ne!(world.status()["policy_version"], first);
    world.request(&world.alice(), "alpha", json!({})).is_problem(403, "denied", &["frozen"]);

    // The old one with its good signatures does not come back, at a reload as little as at a start; nor does another one
    // take the place.
    let new = world.scene.path().join("new");
    let lay = |world: &World, from: &PathBuf| {
        fs::remove_dir_all(world.policy()).unwrap();
        run(Command::new("cp").arg("-r").arg(from).arg(world.policy()));
    };
    run(Command::new("cp").arg("-r").arg(world.policy()).arg(&new));
    lay(&world, &old);
    is_refused(&mut world, &["sequence 1", "does not come back"]);
    world.take_daemon().stop();
    does_not_start(&world, &["sequence 1", "does not come back"]);
    sign(&world, 2, &["ana", "bob"]);
    does_not_start(&world, &["sequence 2", "other files"]);
    lay(&world, &new);
    world.start();
    assert_eq!(world.status()["state"], "ready");
    world.request(&world.alice(), "alpha", json!({})).is_problem(403, "denied", &["frozen"]);

    // What was in force is kept with its signatures, for those who may see it, and is the same bundle still.
    let digest = first.as_str().unwrap();
    let kept = world.scene.path().join("kept");
    let shown = world.root().grantctl(&["policy", "show", digest, "--into", kept.to_str().unwrap()]);
    assert!(shown.success(), "{shown}");
    let diff = Command::new("diff").args(["-r"]).arg(&old).arg(&kept).output().unwrap();
    assert!(diff.status.success(), "{}", String::from_utf8_lossy(&diff.stdout));
    let shown = world.alice().grantctl(&["policy", "show", digest]);
    assert_eq!(shown.status.code(), Some(3), "{shown}");
}

#[test]
fn p12_keys_are_judged_by_the_time_of_acceptance_and_a_signer_who_is_taken_off_counts_no_more() {
    let mut world = world();
    sign(&world, 1, &["ana", "bob"]);
    world.start();
    world.take_daemon().stop();
    let signers = world.scene.config().join("signers");
    let list = fs::read_to_string(&signers).unwrap();
    // From a moment after the acceptance on, no key of theirs signs anything new; what was accepted stands.
    let soon = run(Command::new("date").args(["-u", "-d", "+2 seconds", "+%Y%m%d%H%M%SZ"]));
    let over = list.replace("namespaces=", &format!("valid-before=\"{}\",namespaces=", soon.trim()));
    fs::write(&signers, over).unwrap();
    let now = || run(Command::new("date").args(["-u", "+%Y%m%d%H%M%SZ"]));
    eventually("the keys are over", Duration::from_secs(10), || now().trim() > soon.trim());
    world.start();
    sign(&world, 2, &["ana", "bob"]);
    is_refused(&mut world, &["counts until"]);
    sign(&world, 1, &["ana", "bob"]);
    world.take_daemon().stop();
    let without: String =
        list.lines().filter(|line| !line.starts_with("bob")).map(|line| format!("{line}\n")).collect();
    fs::write(&signers, without).unwrap();
    does_not_start(&world, &["signed by 1 of the 2"]);
}

#[test]
fn p12_the_list_of_signers_is_no_part_of_the_bundle_and_long_enough() {
    let world = world();
    sign(&world, 1, &["ana", "bob"]);
    let config = fs::read_to_string(world.config()).unwrap();
    let signers = world.scene.config().join("signers");
    let inside = world.policy().join("signers");
    fs::copy(&signers, &inside).unwrap();
    let with = |from: &str, to: &str| {
        assert!(config.contains(from));
        fs::write(world.config(), config.replace(from, to)).unwrap();
    };
    with(&signers.display().to_string(), &inside.display().to_string());
    does_not_start(&world, &["policy.signers", "policy_dir"]);
    with("threshold = 2", "threshold = 4");
    does_not_start(&world, &["3 can sign", "policy.threshold", "4"]);
    with("threshold = 2", "threshold = 0");
    does_not_start(&world, &["policy.threshold"]);
    fs::write(world.config(), &config).unwrap();
    fs::write(&signers, fs::read_to_string(&signers).unwrap().replace("bob", "b*b")).unwrap();
    does_not_start(&world, &["signers", "line 3", "one name"]);
}
