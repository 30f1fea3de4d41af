//! Policy at every issue (P6): what changed since the grant is judged again, and a bad bundle changes nothing.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that breaks must say so"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use grantd_tests::{Daemon, Setup, User, World, eventually};
use serde_json::json;

const FREEZE: &str = r#"
@id("freeze")
@reason("alpha is frozen until the release is out")
@who_can_fix("the release manager")
@next("ask again after the release")
forbid (principal, action == Grantd::Action::"issue", resource)
when { resource == Grantd::Resource::"alpha" };
"#;

fn policies(world: &World, name: &str, text: &str) -> PathBuf {
    world.scene.write(&format!("config/policy/policies/{name}"), text, User::Root, 0o644)
}

fn change_catalog(world: &World, from: &str, to: &str) {
    let path = world.policy().join("catalog.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

fn alarms(world: &World) -> String {
    world.status()["alarms"].to_string()
}

#[test]
fn p6_a_new_rule_refuses_the_next_issue_and_ends_what_it_would_not_give() {
    let mut world = World::new();
    let (alpha, beta) = (world.grant(&world.alice(), "alpha"), world.grant(&world.alice(), "beta"));
    let (lease, _) = World::vended(&world.vend(&world.alice(), &alpha, json!({})));
    let (other, other_key) = World::vended(&world.vend(&world.alice(), &beta, json!({})));
    let session = [world.session_of(&lease)];
    assert_eq!(world.allowed(&session), [true]);
    let before = world.status()["policy_version"].clone();

    let file = policies(&world, "freeze.cedar", FREEZE);
    world.reload();
    world.wait_for_lease(&lease, "revoked");
    assert_eq!(world.lease(&lease)["reason"], "policy_changed");
    assert_eq!(world.allowed(&session), [false]);
    let refused = world.vend(&world.alice(), &alpha, json!({}));
    refused.is_problem(403, "denied", &["alpha is frozen until the release is out"]);
    assert_eq!(refused.body["rule"], "freeze");
    assert_eq!(refused.body["who_can_fix"], "the release manager");
    assert_eq!(refused.body["next"], "ask again after the release");
    // On record with the version that decided; what the rule does not name goes on.
    let during = world.status()["policy_version"].clone();
    assert_ne!(before, during);
    let record = &world.audited("lease.refused")[0];
    assert!(record["detail"].to_string().contains(during.as_str().unwrap()), "{record}");
    assert_eq!(world.lease(&other)["state"], "active");
    assert!(world.can_read(&other_key, "beta"));
    let _ = World::vended(&world.vend(&world.alice(), &beta, json!({})));

    fs::remove_file(file).unwrap();
    world.reload();
    assert_eq!(world.status()["policy_version"], before);
    let _ = World::vended(&world.vend(&world.alice(), &alpha, json!({})));
}

#[test]
fn p6_a_live_lease_is_not_handed_out_again_under_a_policy_that_would_not_issue_it() {
    let mut world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let mut job = grantd_tests::Job::start(&world.scene, User::Alice);
    let (lease, _) = World::vended(&job.vend(&grant));
    policies(&world, "freeze.cedar", FREEZE);
    world.reload();
    job.vend(&grant).is_problem(403, "denied", &["frozen"]);
    world.wait_for_lease(&lease, "revoked");
}

#[test]
fn p6_what_is_no_longer_what_was_granted_is_plan_changed() {
    let mut world = World::new();
    let grants: Vec<String> = (0..3).map(|_| world.grant(&world.alice(), "alpha")).collect();
    let (lease, _) = World::vended(&world.vend(&world.alice(), &grants[0], json!({})));

    change_catalog(&world, "tier = \"low\"", "tier = \"moderate\"");
    world.reload();
    let tier = world.vend(&world.alice(), &grants[0], json!({}));
    tier.is_problem(409, "plan-changed", &["alpha", "moderate", "low", "request it anew"]);
    world.wait_for_lease(&lease, "revoked");

    change_catalog(&world, "tier = \"moderate\"", "tier = \"low\"");
    change_catalog(&world, "arn:aws:s3:::alpha", "arn:aws:s3:::gamma");
    world.reload();
    let asset = world.vend(&world.alice(), &grants[1], json!({}));
    asset.is_problem(409, "plan-changed", &["alpha", "another asset"]);

    change_catalog(&world, "arn:aws:s3:::gamma", "arn:aws:s3:::alpha");
    let map = world.policy().join("entitlements/aws.toml");
    let text = fs::read_to_string(&map).unwrap();
    assert!(text.contains("\"s3:GetObject\""), "{text}");
    fs::write(&map, text.replacen("\"s3:GetObject\"", "\"s3:GetObject\", \"s3:GetObjectTagging\"", 1)).unwrap();
    world.reload();
    world.vend(&world.alice(), &grants[2], json!({})).is_problem(409, "plan-changed", &["alpha", "permissions"]);

    // Only the one session that was made before all this.
    assert_eq!(world.proxy.ledger().len(), 1);
    let anew = world.grant(&world.alice(), "alpha");
    let _ = World::vended(&world.vend(&world.alice(), &anew, json!({})));
    world.serves_bob();
}

#[test]
fn p6_the_highest_tier_and_an_unknown_resource_are_refused_with_the_reason() {
    let mut world = World::new();
    change_catalog(&world, "tier = \"high\"", "tier = \"critical\"");
    world.reload();
    let high = world.request(&world.alice(), "ledger", json!({}));
    high.is_problem(403, "denied", &["ledger", "tier critical", "names its ticket"]);
    assert_eq!(high.body["rule"], "critical-reason");
    for (member, word) in [("who_can_fix", "deploy"), ("next", "--ticket")] {
        assert!(high.body[member].as_str().unwrap().contains(word), "{high:?}");
    }
    world.request(&world.alice(), "nonesuch", json!({})).is_problem(404, "not-found", &["nonesuch", "catalogue"]);
    let other = world.request(&world.alice(), "alpha", json!({ "capability": "kms-key:sign" }));
    other.is_problem(400, "bad-request", &["kms-key:sign", "object-storage"]);
    // Refusals and grants alike are on record with the version and the rules that decided.
    let version = world.status()["policy_version"].clone();
    let refusals = world.audited("request.refused");
    assert_eq!(refusals.len(), 3, "the tier, the unknown resource and the wrong capability: {refusals:?}");
    assert!(refusals[1].to_string().contains("nonesuch") && refusals[2].to_string().contains("kms-key:sign"));
    let refused = refusals[0]["detail"].to_string();
    assert!(refused.contains("critical-reason") && refused.contains(version.as_str().unwrap()), "{refused}");
    world.serves_bob();
    let granted = world.audited("grant.request")[0]["detail"].to_string();
    assert!(granted.contains("low-request") && granted.contains(version.as_str().unwrap()), "{granted}");
    let issued = world.audited("lease.intent")[0]["detail"].to_string();
    assert!(issued.contains("low-issue") && issued.contains(version.as_str().unwrap()), "{issued}");
}

#[test]
fn p6_a_bad_bundle_keeps_the_old_one_and_raises_an_alarm() {
    let mut world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let (lease, _) = World::vended(&world.vend(&world.alice(), &grant, json!({})));
    let version = world.status()["policy_version"].clone();
    let good = fs::read_to_string(world.policy().join("catalog.toml")).unwrap();
    let still_in_force = |world: &World, word: &str| {
        assert!(alarms(world).contains(word), "{} does not say {word}", alarms(world));
        assert_eq!((&world.status()["state"], &world.status()["policy_version"]), (&json!("degraded"), &version));
        assert_eq!(world.lease(&lease)["state"], "active");
        let _ = World::vended(&world.vend(&world.alice(), &grant, json!({})));
    };

    let bad = [
        ("no Cedar", "permit (principal"),
        ("no such attribute", "forbid (principal, action, resource) when { resource.colour == 1 };"),
    ];
    for (what, text) in bad {
        println!("{what}");
        let file = policies(&world, "bad.cedar", text);
        world.reload();
        still_in_force(&world, "bad.cedar");
        fs::remove_file(file).unwrap();
    }
    for (what, text, word) in [
        ("no TOML", "[[resource]\n".to_owned(), "catalog.toml"),
        ("an unknown key", good.replacen("tier = ", "teir = ", 1), "catalog.toml"),
        ("an unknown owner", good.replacen("\"olga\"", "\"nobody-here\"", 1), "nobody-here"),
    ] {
        println!("{what}");
        fs::write(world.policy().join("catalog.toml"), text).unwrap();
        world.reload();
        still_in_force(&world, word);
    }
    fs::write(world.policy().join("catalog.toml"), &good).unwrap();

    // What others can write is not read.
    for path in ["catalog.toml", "policies", "policies/tiers.cedar", "."] {
        println!("{path}");
        let path = world.policy().join(path);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode | 0o002)).unwrap();
        world.reload();
        still_in_force(&world, path.canonicalize().unwrap().file_name().unwrap().to_str().unwrap());
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    assert_eq!(world.audited("policy.refused").len(), 9);
    world.daemon().signal(nix::sys::signal::Signal::SIGHUP);
    eventually("the alarm is over", Duration::from_secs(5), || world.status()["state"] == "ready");
    assert_eq!(alarms(&world), "[]");
}

#[test]
fn p6_grantd_does_not_start_on_what_the_wrong_people_can_write() {
    let mut world = World::prepared(&Setup::default());
    let config = world.config().to_owned();
    let alice = Some(User::Alice.uid());
    for (path, word) in [
        (world.policy().join("policies/tiers.cedar"), "tiers.cedar"),
        (world.policy().join("people.toml"), "people.toml"),
        (world.policy(), "policy"),
        (config.clone(), "grantd.toml"),
        (world.scene.config().join("aws-credentials"), "aws-credentials"),
        (world.scene.state(), "state"),
    ] {
        let before = fs::metadata(&path).unwrap().permissions();
        fs::set_permissions(&path, fs::Permissions::from_mode(before.mode() | 0o022)).unwrap();
        let mut daemon = Daemon::start(&world.scene, &config);
        let error = daemon.ready_within(Duration::from_secs(10)).unwrap_err();
        assert!(error.contains("ended before it was ready"), "{word}: {error}");
        assert!(daemon.output().lines().last().unwrap().contains(word), "{word}: {error}");
        fs::set_permissions(&path, before).unwrap();
        // The same by its owner.
        let owner = fs::metadata(&path).unwrap();
        std::os::unix::fs::chown(&path, alice, None).unwrap();
        let mut daemon = Daemon::start(&world.scene, &config);
        let error = daemon.ready_within(Duration::from_secs(10)).unwrap_err();
        assert!(daemon.output().lines().last().unwrap().contains(word), "{word}: {error}");
        std::os::unix::fs::chown(&path, Some(std::os::unix::fs::MetadataExt::uid(&owner)), None).unwrap();
    }
    world.start();
    world.serves_bob();
}
