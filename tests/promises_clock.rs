//! The clock jumps (P3): set back it prolongs nothing, set forward it does not make sessions that live longer than they
//! were allowed to. libfaketime moves the daemon's clock; the cloud's stays.
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
use std::time::Duration;

use grantd_tests::{Setup, User, World, eventually, now};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// A daemon whose wall clock is as far off as a file says. Its monotonic clock is the machine's.
struct Shifted {
    world: World,
    offset: PathBuf,
}

impl Shifted {
    fn start() -> Self {
        let mut world = World::prepared(&Setup::default());
        let offset = world.scene.write("config/offset", "+0", User::Root, 0o644);
        let places = fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
        let library = places.map(|place| place.join("faketime/libfaketime.so.1")).find(|library| library.exists());
        let library = library.expect("libfaketime is there: run make setup").display().to_string();
        // A script in its place, so that the library is in the daemon alone and not in what starts it as another user.
        let real = world.scene.path().join("bin/grantd-itself");
        fs::rename(world.scene.bin("grantd"), &real).unwrap();
        let script = format!(
            "#!/bin/sh\nexec env LD_PRELOAD={library} FAKETIME_TIMESTAMP_FILE={} FAKETIME_NO_CACHE=1 \
             FAKETIME_DONT_FAKE_MONOTONIC=1 {} \"$@\"\n",
            offset.display(),
            real.display()
        );
        world.scene.write("bin/grantd", &script, User::Root, 0o755);
        world.start();
        Self { world, offset }
    }

    /// Moves the clock to this many seconds off.
    fn set(&self, seconds: i64) {
        fs::write(&self.offset, format!("{seconds:+}")).unwrap();
    }
}

impl Drop for Shifted {
    fn drop(&mut self) {
        // A library that is killed cannot take its shared memory away itself.
        let pid = self.world.daemon().pid();
        for name in [format!("faketime_shm_{pid}"), format!("sem.faketime_sem_{pid}")] {
            let _ = fs::remove_file(PathBuf::from("/dev/shm").join(name));
        }
    }
}

fn moment(value: &Value) -> Timestamp {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value} is no time"))
}

#[test]
fn p3_a_clock_set_back_prolongs_nothing() {
    let shifted = Shifted::start();
    let world = &shifted.world;
    let short = world.request(&world.alice(), "alpha", json!({ "duration_seconds": 8 }));
    let grant = short.body["id"].as_str().unwrap();
    let (lease, _) = World::vended(&world.vend(&world.alice(), grant, json!({ "ttl_seconds": 6 })));
    let session = [world.session_of(&lease)];
    let over = moment(&short.body["active_until"]);

    shifted.set(-3600);
    let late = world.request(&world.alice(), "alpha", json!({}));
    let asked_at = moment(&late.body["created_at"]);
    assert!(asked_at > now() - SignedDuration::from_secs(60), "{asked_at} was an hour ago");
    let left = Duration::try_from(over.duration_since(now())).unwrap_or_default();
    std::thread::sleep(left + Duration::from_millis(200));
    world.vend(&world.alice(), grant, json!({})).is_problem(409, "state", &[grant, "request a new one"]);
    assert_eq!(world.allowed(&session), [false]);
    world.wait_for_lease(&lease, "expired");
    eventually("the grant has ended", Duration::from_secs(5), || {
        world.root().curl("GET", &format!("/v1/grants/{grant}"), None).body["state"] == "ended"
    });
    world.audit_verifies();
}

#[test]
fn p3_a_clock_set_forward_makes_no_session_that_lives_too_long() {
    let shifted = Shifted::start();
    let world = &shifted.world;
    let before = world.grant(&world.alice(), "alpha");
    shifted.set(600);
    let grant = world.grant(&world.alice(), "alpha");
    let refused = world.vend(&world.alice(), &grant, json!({ "ttl_seconds": 30 }));
    refused.is_problem(502, "cloud", &["clock", "time synchronisation"]);
    // A session that was made on the way is taken back.
    world.wait_no_intent();
    if !world.proxy.ledger().is_empty() {
        world.wait_refused(&world.proxy.ledger());
    }
    assert!(world.audited("lease.issued").is_empty());
    assert_eq!(world.vend(&world.alice(), &before, json!({})).status, 502);
    world.audit_verifies();
}

#[test]
fn p12_a_moment_to_ask_stewards_that_passed_while_the_daemon_was_down_or_the_clock_jumped_is_made_up_for() {
    let mut shifted = Shifted::start();
    let catalog = shifted.world.policy().join("catalog.toml");
    let text = fs::read_to_string(&catalog).unwrap();
    fs::write(&catalog, text.replace("tier = \"high\"\n", "tier = \"high\"\nstewards = [\"otto\"]\n")).unwrap();
    shifted.world.reload();
    let waiting = |world: &World| {
        let asked = world.request(&world.alice(), "ledger", json!({}));
        assert_eq!(asked.body["state"], "pending", "{asked:?}");
        (asked.body["id"].as_str().unwrap().to_owned(), asked.body["digest"].clone())
    };
    let seen = |world: &World, id: &str| world.root().curl("GET", &format!("/v1/grants/{id}"), None).body;
    let escalation = |world: &World, id: &str| seen(world, id)["approval"]["escalation"]["state"].clone();
    let (jumped, digest) = waiting(&shifted.world);
    // Set back: it is not due again later, nor earlier.
    shifted.set(-3600);
    assert_eq!(escalation(&shifted.world, &jumped), "due");
    shifted.set(2 * 3600 + 5);
    let world = &shifted.world;
    eventually("the stewards are asked", Duration::from_secs(10), || escalation(world, &jumped) == "asked");
    shifted.set(0);
    let answer =
        shifted.world.otto().curl("POST", &format!("/v1/grants/{jumped}/approve"), Some(&json!({ "digest": digest })));
    assert_eq!(answer.body["state"], "active", "{answer:?}");

    // Down at half: asked at the start. Down until the end: lapsed, and nobody is asked.
    for (away, state, escalated) in [(3 * 3600, "pending", "asked"), (9 * 3600, "lapsed", "due")] {
        let (id, _) = waiting(&shifted.world);
        let before = moment(&seen(&shifted.world, &id)["created_at"]).duration_since(now()).as_secs();
        shifted.world.take_daemon().kill9();
        shifted.set(before + away);
        shifted.world.start();
        let world = &shifted.world;
        eventually("it is made up for", Duration::from_secs(10), || {
            seen(world, &id)["state"] == state && escalation(world, &id) == escalated
        });
        shifted.set(before + away);
    }
    assert_eq!(shifted.world.audited("grant.escalate").len(), 2);
    shifted.world.audit_verifies();
}

#[test]
fn p12_a_delegation_that_ended_between_approval_and_issue_carries_nothing() {
    let shifted = Shifted::start();
    let world = &shifted.world;
    let until = (now() + SignedDuration::from_secs(120)).to_string();
    let lent = world.olga().grantctl(&["delegate", "--to", "otto", "--until", &until, "--resource", "ledger"]);
    assert!(lent.success(), "{lent}");
    let asked = world.request(&world.alice(), "ledger", json!({}));
    let path = format!("/v1/grants/{}/approve", asked.body["id"].as_str().unwrap());
    let answer = world.otto().curl("POST", &path, Some(&json!({ "digest": asked.body["digest"] })));
    assert_eq!(answer.body["state"], "active", "{answer:?}");
    let grant = asked.body["id"].as_str().unwrap();
    let _ = World::vended(&world.vend(&world.alice(), grant, json!({})));
    shifted.set(130);
    let over = world.vend(&world.alice(), grant, json!({}));
    over.is_problem(403, "denied", &["otto spoke for olga", "is over"]);
    assert_eq!(over.body["rule"], "quorum");
    let next = world.request(&world.alice(), "ledger", json!({}));
    let path = format!("/v1/grants/{}/approve", next.body["id"].as_str().unwrap());
    let late = world.otto().curl("POST", &path, Some(&json!({ "digest": next.body["digest"] })));
    late.is_problem(403, "denied", &["otto"]);
    let list = world.otto().grantctl(&["delegate", "list", "--over"]);
    assert!(list.success() && list.stdout.contains("over"), "{list}");
}

#[test]
fn p3_a_grant_that_recurs_gives_nothing_between_its_times_and_nothing_after_the_last() {
    let shifted = Shifted::start();
    let world = &shifted.world;
    let nightly = ["request", "--resource", "alpha", "--can", "object-storage:read", "--for", "2m", "--every", "1h"];
    let asked =
        world.alice().grantctl(&[&nightly[..], &["--times", "3", "--why", "the hourly export", "--json"]].concat());
    let asked: Value = serde_json::from_str(&asked.stdout).unwrap_or_else(|_| panic!("{asked}"));
    let grant = asked["id"].as_str().unwrap();
    let since = moment(&asked["active_since"]);
    assert_eq!(moment(&asked["active_until"]).duration_since(since).as_secs(), 2 * 3600 + 120);
    assert_eq!(asked["occurrence"]["open"], true, "{asked}");

    let (lease, _) = World::vended(&world.vend(&world.alice(), grant, json!({})));
    let access_until = moment(&world.lease(&lease)["access_until"]);
    assert!(access_until <= since + SignedDuration::from_secs(120), "{access_until} is after the first time");
    let (too_long, extension) = (json!({ "ttl_seconds": 300 }), json!({ "duration_seconds": 60, "reason": "more" }));
    world.vend(&world.alice(), grant, too_long).is_problem(422, "limit", &["300 s", "or less"]);
    let longer = world.alice().curl("POST", &format!("/v1/grants/{grant}/extend"), Some(&extension));
    longer.is_problem(409, "state", &["recurs", "request one for the times to come"]);

    shifted.set(130);
    let next = since + SignedDuration::from_secs(3600);
    let between = world.vend(&world.alice(), grant, json!({}));
    between.is_problem(409, "state", &[grant, "opens again at", &next.to_string()]);
    let auto = world.alice().curl("POST", "/v1/leases", Some(&json!({ "grant": "auto", "resource": "alpha" })));
    auto.is_problem(409, "state", &["opens again at"]);
    let shown = world.alice().grantctl(&["show", grant]);
    assert!(shown.stdout.contains("every 1h, 3 times in all") && shown.stdout.contains("opens again at"), "{shown}");
    world.wait_for_lease(&lease, "expired");

    let occurrence = || world.root().curl("GET", &format!("/v1/grants/{grant}"), None).body;
    shifted.set(3605);
    assert_eq!(occurrence()["occurrence"]["open"], true);
    shifted.set(2 * 3600 + 130);
    eventually("it has ended with its last time", Duration::from_secs(10), || occurrence()["state"] == "ended");
    world.audit_verifies();
}

#[test]
fn p3_what_recurs_does_so_only_as_long_as_policy_says_and_for_no_person() {
    let world = World::new();
    let recurring = |every: u64, times: u32| json!({ "recurrence": { "every_seconds": every, "times": times } });
    let month = world.request(&world.alice(), "alpha", recurring(86400, 33));
    month.is_problem(422, "limit", &["fewer times", "2678400 s or less"]);
    assert_eq!(world.request(&world.alice(), "alpha", recurring(86400, 31)).status, 201);
    world.request(&world.alice(), "ledger", recurring(86400, 2)).is_problem(
        422,
        "limit",
        &["policy lets no grant recur"],
    );
    world.request(&world.olga(), "alpha", recurring(86400, 2)).is_problem(
        400,
        "bad-request",
        &["olga", "ask once for each"],
    );
    for (every, times, word) in
        [(86400, 1, "ordinary grant"), (1800, 2, "before the next"), (30, 2, "a minute or more")]
    {
        world.request(&world.alice(), "alpha", recurring(every, times)).is_problem(400, "bad-request", &[word]);
    }
    assert_eq!(world.audited("request.refused").len(), 6, "each refusal is on record");
}

#[test]
fn p6_what_policy_lets_recur_no_more_is_not_approved_any_more() {
    let mut world = World::new();
    let tiers = world.policy().join("policies/tiers.cedar");
    let shipped = fs::read_to_string(&tiers).unwrap();
    let (was, may) = ("@max_duration(\"4h\")", "@max_duration(\"4h\")\n@max_recurrence(\"72h\")");
    assert!(shipped.contains(was));
    fs::write(&tiers, shipped.replace(was, may)).unwrap();
    world.reload();
    let often = json!({ "recurrence": { "every_seconds": 86400, "times": 2 } });
    let asked = world.request(&world.alice(), "ledger", often);
    assert_eq!(asked.body["state"], "pending", "{asked:?}");
    fs::write(&tiers, shipped).unwrap();
    world.reload();
    let path = format!("/v1/grants/{}/approve", asked.body["id"].as_str().unwrap());
    let approved = world.olga().curl("POST", &path, Some(&json!({ "digest": asked.body["digest"] })));
    approved.is_problem(403, "denied", &["recur over 88200 s", "0 s now"]);
}
