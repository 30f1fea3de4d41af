//! Policy as code: checked, tested, replayed and explained by the built programs.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that breaks must say so"
)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use grantd_testkit::{Finished, repository_root};
use grantd_tests::{Scene, User, World};
use serde_json::{Value, json};

/// The shipped bundle in a directory that may be changed, with its entitlement maps.
fn shipped(scene: &Scene) -> PathBuf {
    let (from, to) = (repository_root().join("config"), scene.path().join("bundle"));
    copy(&from.join("policy"), &to);
    copy(&from.join("entitlements"), &to.join("entitlements"));
    to
}

fn copy(from: &PathBuf, to: &PathBuf) {
    let status = Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

fn change(path: PathBuf, from: &str, to: &str) {
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

fn code(finished: &Finished) -> i32 {
    finished.status.code().unwrap_or(-1)
}

#[test]
fn the_shipped_bundle_is_checked_and_its_cases_hold_for_anybody_without_a_daemon() {
    let scene = Scene::new();
    let bundle = shipped(&scene);
    let bundle = bundle.to_str().unwrap();
    let checked = scene.caller(User::Alice).grantctl(&["policy", "check", bundle]);
    assert_eq!(code(&checked), 0, "{checked}");
    assert!(checked.stdout.contains(" 0 problems,"), "{checked}");
    let tried = scene.caller(User::Alice).grantctl(&["--json", "policy", "test", bundle]);
    assert_eq!(code(&tried), 0, "{tried}");
    let told: Value = serde_json::from_str(&tried.stdout).unwrap();
    assert!(told["cases"]["passed"].as_u64().unwrap() >= 25, "{told}");
    assert_eq!((&told["cases"]["failed"], &told["cases"]["untried"]), (&json!([]), &json!([])));
}

#[test]
fn a_mistake_is_found_by_name_and_fails_the_build() {
    let scene = Scene::new();
    let bundle = shipped(&scene);
    let (dir, low) = (bundle.to_str().unwrap().to_owned(), bundle.join("policies/low-tier.cedar"));
    let good = fs::read_to_string(&low).unwrap();
    let check = |what: &str| scene.caller(User::Alice).grantctl(&["policy", what, &dir]);
    for (from, to, says) in [
        ("resource.tier == Grantd::Tier::\"low\"", "resource.tier == Grantd::Tier::\"lwo\"", "lwo"),
        ("context.self_subject &&", "context.self_subjekt &&", "self_subjekt"),
        ("context.self_subject &&", "resource == Grantd::Resource::\"report\" &&", "did you mean \"reports\""),
        ("context.self_subject &&", "!context.self_subject &&", "forbidden by self-only"),
        (
            "@max_ttl(\"1h\")",
            "@max_ttl(\"1h\") @approvals(\"security:9\") @approve_within(\"1h\")",
            "nobody can give that",
        ),
    ] {
        fs::write(&low, good.replacen(from, to, 1)).unwrap();
        let found = check("check");
        assert_eq!(code(&found), 20, "{to}: {found}");
        assert!(format!("{}{}", found.stdout, found.stderr).contains(says), "{to}: {found}");
    }
    fs::write(&low, good.replacen("@max_ttl(\"1h\")", "@max_ttl(\"2h\")", 1)).unwrap();
    let failed = check("test");
    assert_eq!(code(&failed), 20, "{failed}");
    assert!(failed.stdout.contains("a pipeline asks for itself") && failed.stdout.contains("7200"), "{failed}");
    fs::write(&low, good).unwrap();
    fs::remove_file(bundle.join("tests/revoke.toml")).unwrap();
    let untried = check("test");
    assert_eq!(code(&untried), 20, "{untried}");
    assert!(untried.stdout.contains("rule owner-revoke"), "{untried}");
    let named = scene.caller(User::Alice).grantctl(&["policy", "check", "--grantd", "grantd-not-there", &dir]);
    assert_eq!(code(&named), 2, "{named}");
}

#[test]
fn what_was_decided_is_decided_again_under_another_bundle() {
    let world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let _ = World::vended(&world.vend(&world.alice(), &grant, json!({})));
    world.request(&world.bob(), "alpha", json!({ "subject": "deploy" })).is_problem(403, "denied", &[]);
    let other = world.scene.path().join("other");
    copy(&world.policy(), &other);
    let other = other.to_str().unwrap().to_owned();
    let replay =
        |more: &[&str]| world.root().grantctl(&[&["policy", "replay", "--bundle", other.as_str()], more].concat());
    let same = replay(&[]);
    assert_eq!(code(&same), 0, "{same}");
    assert!(same.stdout.contains(" 0 would change"), "{same}");

    let low = PathBuf::from(&other).join("policies/low-tier.cedar");
    change(low.clone(), "@max_ttl(\"1h\")", "@max_ttl(\"30m\")");
    change(
        PathBuf::from(&other).join("policies/self-only.cedar"),
        "  context.self_subject ||",
        "  context.uid >= 0 ||",
    );
    change(low, "context.self_subject &&", "context.uid >= 0 &&");
    let changed = replay(&[]);
    assert_eq!(code(&changed), 21, "{changed}");
    for says in [
        "request by deploy on alpha: stricter (max_ttl: 3600 -> 1800)",
        "denied by self-only -> allowed by low-request",
    ] {
        assert!(changed.stdout.contains(says), "{says}: {changed}");
    }
    let whole: Value = {
        let told = world.root().grantctl(&["--json", "policy", "replay", "--bundle", &other]);
        serde_json::from_str(&told.stdout).unwrap()
    };
    assert!(
        whole["replayed"]["changes"].as_array().unwrap().iter().any(|one| one["grant"] == grant.as_str()),
        "{whole}"
    );
    let later = replay(&["--since", "2999-01-01T00:00:00Z"]);
    assert_eq!(code(&later), 0, "{later}");
    assert!(later.stdout.contains(" 0 decisions decided again"), "{later}");

    // Out of a file, with what is no record of ours in it.
    let mut lines: String = world.audit().iter().map(|record| format!("{record}\n")).collect();
    lines.push_str("no record\n{\"detail\":{\"decision\":{\"action\":\"fly\"}}}\n{\"detail\":7}\n[]\n");
    let file = world.scene.write("log/audit.jsonl", &lines, User::Alice, 0o600);
    let told = world.alice().grantctl(&["policy", "replay", "--bundle", &other, "--records", file.to_str().unwrap()]);
    assert_eq!(code(&told), 21, "{told}");
    for says in ["1 not decided again: a line that is no JSON", "1 not decided again: not a decision of a shape"] {
        assert!(told.stdout.contains(says), "{told}");
    }
    // The daemon's records are not for everybody.
    let refused = world.alice().grantctl(&["policy", "replay", "--bundle", &other]);
    assert_eq!(code(&refused), 3, "{refused}");
}

#[test]
fn policy_explains_itself_to_whom_it_concerns() {
    let world = World::new();
    let asked = world.alice().grantctl(&[
        "request",
        "--resource",
        "ledger",
        "--can",
        "object-storage:read",
        "--for",
        "30m",
        "--why",
        "month end",
    ]);
    assert_eq!(code(&asked), 11, "{asked}");
    let grants = world.root().curl("GET", "/v1/grants?all=true", None).body["grants"].clone();
    let grant = grants[0]["id"].as_str().unwrap().to_owned();
    let told = world.alice().grantctl(&["policy", "explain", &grant]);
    assert_eq!(code(&told), 0, "{told}");
    for says in [
        "request today",
        "high-request",
        "issue today",
        "high-issue",
        "max_ttl=1800",
        "olga",
        "owner",
        "duration_seconds=1800",
    ] {
        assert!(told.stdout.contains(says), "{says}: {told}");
    }
    for other in [world.olga(), world.root()] {
        assert_eq!(code(&other.grantctl(&["policy", "explain", &grant])), 0);
    }
    for other in [world.bob(), world.otto()] {
        assert_eq!(code(&other.grantctl(&["policy", "explain", &grant])), 3);
    }
    // Every decision tells its policy, its rules and its inputs.
    let record = world.audited("grant.request").pop().unwrap();
    let decision = &record["detail"]["decision"];
    assert_eq!(decision["policy"], world.status()["policy_version"]);
    assert_eq!(decision["determining"], json!(["high-request"]));
    assert_eq!(decision["inputs"]["context"]["duration_seconds"], 1800);
}

#[test]
fn a_decision_tells_the_git_commit_of_its_policy() {
    let mut world = World::new();
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=x", "-c", "user.email=x@localhost"];
        let status = Command::new("git").arg("-C").arg(world.policy()).args(identity).args(arguments).output().unwrap();
        assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
        String::from_utf8(status.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "-q"]);
    fs::write(world.policy().join("manifest.toml"), "sequence = 1\n").unwrap();
    git(&["add", "-A"]);
    git(&["commit", "-q", "-m", "policy"]);
    let commit = git(&["rev-parse", "HEAD"]);
    world.reload();
    assert_eq!(world.audited("policy.change").pop().unwrap()["detail"]["commit"], commit.as_str());
    let _ = world.grant(&world.alice(), "alpha");
    let record = world.audited("grant.request").pop().unwrap();
    assert_eq!(record["detail"]["decision"]["commit"], commit.as_str(), "{record}");
}
