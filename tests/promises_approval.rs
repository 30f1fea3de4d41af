//! Approval (P12): what waits, who may decide it, what an approval is bound to, and how it is judged again at each use.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that breaks must say so"
)]

use std::fs;
use std::thread;
use std::time::Duration;

use grantd_tests::{Answer, Caller, Job, Setup, User, World, eventually};
use serde_json::{Value, json};

const PEOPLE: &str = "[[person]]\nname = \"olga\"\nunix = [\"gt-olga\", \"gt-olga-adm\"]\n\n\
    [[person]]\nname = \"otto\"\nunix = [\"gt-otto\"]\n\n\
    [[workload]]\nname = \"deploy\"\nkind = \"pipeline\"\nunix = \"gt-alice\"\n\n\
    [[workload]]\nname = \"indexer\"\nkind = \"service\"\nunix = \"gt-bob\"\n";

/// A world in which `ledger` (tier high) belongs to olga and otto, and is the bucket `alpha`, in which there is something.
fn world() -> World {
    let mut world = World::prepared(&Setup::default());
    let path = world.policy().join("catalog.toml");
    let text = fs::read_to_string(&path).unwrap().replace(":::ledger\"", ":::other\"");
    let text = text.replace(":::alpha\"", ":::ledger\"").replace(":::other\"", ":::alpha\"");
    fs::write(&path, text).unwrap();
    owners(&world, "\"olga\", \"otto\"");
    world.start();
    world
}

fn catalog(world: &World, change: impl Fn(&str) -> String) {
    let path = world.policy().join("catalog.toml");
    let text = fs::read_to_string(&path).unwrap();
    let (before, ledger) = text.split_once("name = \"ledger\"").unwrap();
    fs::write(&path, format!("{before}name = \"ledger\"{}", change(ledger))).unwrap();
}

/// Makes these people, as TOML writes them, the owners of `ledger`.
fn owners(world: &World, names: &str) {
    catalog(world, |ledger| {
        let (head, rest) = ledger.split_once("owners = [").unwrap();
        format!("{head}owners = [{names}]{}", rest.split_once(']').unwrap().1)
    });
}

fn people(world: &World, text: &str) {
    fs::write(world.policy().join("people.toml"), text).unwrap();
}

fn policy(world: &World, name: &str, change: impl Fn(String) -> String) {
    let path = world.policy().join("policies").join(name);
    let before = fs::read_to_string(&path).unwrap();
    let after = change(before.clone());
    assert_ne!(before, after);
    fs::write(&path, after).unwrap();
}

/// A grant on `ledger` that waits; its id and its digest.
fn waiting(world: &World, caller: &Caller<'_>, changes: Value) -> (String, String) {
    let answer = world.request(caller, "ledger", changes);
    assert_eq!((answer.status, &answer.body["state"]), (201, &json!("pending")), "{answer:?}");
    let text = |name: &str| answer.body[name].as_str().unwrap().to_owned();
    (text("id"), text("digest"))
}

fn post(caller: &Caller<'_>, id: &str, what: &str, body: Value) -> Answer {
    caller.curl("POST", &format!("/v1/grants/{id}/{what}"), Some(&body))
}

fn approve(caller: &Caller<'_>, id: &str, digest: &str) -> Answer {
    post(caller, id, "approve", json!({ "digest": digest }))
}

fn seen(caller: &Caller<'_>, id: &str) -> Value {
    let answer = caller.curl("GET", &format!("/v1/grants/{id}"), None);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

/// A grant that an owner has approved.
fn active(world: &World) -> String {
    let (id, digest) = waiting(world, &world.alice(), json!({}));
    let answer = approve(&world.olga(), &id, &digest);
    assert_eq!((answer.status, &answer.body["state"]), (200, &json!("active")), "{answer:?}");
    id
}

fn two_owners(world: &World) {
    policy(world, "tiers.cedar", |text| text.replace("@approvals(\"owner:1\")", "@approvals(\"owner:2\")"));
}

#[test]
fn p12_a_request_waits_until_an_owner_approves_exactly_what_was_seen() {
    let world = world();
    let (id, digest) = waiting(&world, &world.alice(), json!({ "task": { "system": "github", "run": "7" } }));
    world.vend(&world.alice(), &id, json!({})).is_problem(409, "state", &[&id, "pending"]);
    let view = seen(&world.alice(), &id);
    let quorum = json!([{ "capacity": "owner", "needed": 1, "given": 0, "can_approve": ["olga", "otto"] }]);
    assert_eq!(view["approval"]["quorum"], quorum, "{view}");
    assert!(view["approval"]["lapses_at"].is_string() && view["approval"]["blocked"].is_null(), "{view}");
    // Who could approve it finds it and may look at it; nobody else does.
    let list = |caller: &Caller<'_>| caller.curl("GET", "/v1/grants?approvable=true", None);
    assert_eq!(list(&world.olga()).body["grants"][0]["id"], id.as_str());
    list(&world.alice()).is_problem(403, "denied", &["no person"]);
    assert_eq!(seen(&world.otto(), &id)["task"]["run"], "7");
    world.bob().curl("GET", &format!("/v1/grants/{id}"), None).is_problem(403, "not-yours", &[&id]);

    let stale = digest.replace(&digest[..4], "0000");
    approve(&world.olga(), &id, &stale).is_problem(409, "plan-changed", &["digest", &digest]);
    let answer = post(&world.olga(), &id, "approve", json!({ "digest": digest, "comment": "agreed in stand-up" }));
    assert_eq!((answer.status, &answer.body["state"]), (200, &json!("active")), "{answer:?}");
    let given = &answer.body["approval"]["given"][0];
    assert_eq!((&given["person"], &given["capacity"]), (&json!("olga"), &json!("owner")));
    assert!(given["void"].is_null() && given["comment"] == "agreed in stand-up", "{given}");
    let (_, key) = World::vended(&world.vend(&world.alice(), &id, json!({})));
    assert!(world.can_read(&key, "alpha"));
    assert_eq!(list(&world.otto()).body["grants"], json!([]));
    approve(&world.otto(), &id, &digest).is_problem(409, "state", &["active", "nothing of it waits"]);
    // On record: the approval with its decision, that it completed the quorum, and what was refused.
    let record = &world.audited("grant.approval")[0]["detail"];
    assert_eq!(record["approval"]["digest"], digest.as_str());
    assert_eq!(record["decision"]["determining"], json!(["owner-approve"]), "{record}");
    assert_eq!(world.audited("grant.approve")[0]["detail"]["counted"], json!({ "owner": 1 }));
    let refused = world.audited("approve.refused");
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(refused[0]["detail"].to_string().contains(&stale));
}

#[test]
fn p12_nobody_approves_for_themselves_under_any_identity() {
    let world = world();
    // A person asks for the pipeline, and owns the resource too.
    let (id, digest) = waiting(&world, &world.olga(), json!({ "subject": "deploy" }));
    assert_eq!(seen(&world.alice(), &id)["approval"]["quorum"][0]["can_approve"], json!(["otto"]));
    for user in [User::Olga, User::OlgaAdm] {
        let caller = world.scene.caller(user);
        for (what, body) in [("approve", json!({ "digest": digest })), ("deny", json!({ "reason": "no" }))] {
            let refused = post(&caller, &id, what, body);
            refused.is_problem(403, "denied", &["olga", "nobody approves for themselves"]);
            assert_eq!(refused.body["rule"], "own-request", "{refused:?}");
        }
        assert_eq!(caller.curl("GET", "/v1/grants?approvable=true", None).body["grants"], json!([]));
    }
    // Who will use it neither, nor any workload.
    approve(&world.alice(), &id, &digest).is_problem(403, "denied", &["deploy", "only people approve"]);
    assert_eq!(approve(&world.otto(), &id, &digest).body["state"], "active");
    let _ = World::vended(&world.vend(&world.alice(), &id, json!({})));
    world.vend(&world.olga(), &id, json!({})).is_problem(403, "not-yours", &["deploy"]);
    assert_eq!((world.audited("approve.refused").len(), world.audited("deny.refused").len()), (3, 2));

    // For oneself: under the other user as well.
    let (own, digest) = waiting(&world, &world.scene.caller(User::OlgaAdm), json!({}));
    approve(&world.olga(), &own, &digest).is_problem(403, "denied", &["nobody approves for themselves"]);
    // For another person nobody asks.
    let other = world.request(&world.otto(), "ledger", json!({ "subject": "olga" }));
    other.is_problem(403, "denied", &["otto asks for olga"]);
    assert_eq!(other.body["rule"], "self-only");
}

#[test]
fn p12_who_owns_nothing_approves_nothing_and_learns_whom_to_ask() {
    let mut world = world();
    owners(&world, "\"olga\"");
    world.reload();
    let (id, digest) = waiting(&world, &world.alice(), json!({}));
    let refused = approve(&world.otto(), &id, &digest);
    refused.is_problem(403, "denied", &["no rule permits the human otto to approve"]);
    assert!(refused.body["next"].as_str().unwrap().contains("ask olga to approve"), "{refused:?}");
    post(&world.otto(), &id, "deny", json!({ "reason": "no" })).is_problem(403, "denied", &["otto"]);
    // Not even where policy would let everybody: the catalogue says who owns it.
    world.scene.write(
        "config/policy/policies/all.cedar",
        "@id(\"all\")\npermit (principal, action == Grantd::Action::\"approve\", resource);\n",
        User::Root,
        0o644,
    );
    world.reload();
    let refused = approve(&world.otto(), &id, &digest);
    refused.is_problem(403, "denied", &["otto is no owner of \"ledger\""]);
    assert_eq!(refused.body["rule"], "quorum");
    // The only owner asks: nobody is left, and that is said before anybody waits.
    let alone = world.request(&world.olga(), "ledger", json!({ "subject": "deploy" }));
    alone.is_problem(403, "denied", &["1 owner", "no owner of \"ledger\" can approve"]);
    assert_eq!(alone.body["rule"], "quorum");
    catalog(&world, |ledger| ledger.replace("\"high\"", "\"critical\""));
    world.reload();
    let critical = world.request(&world.alice(), "ledger", json!({ "ticket": "OPS-1" }));
    critical.is_problem(
        403,
        "denied",
        &["1 owner and 1 of security", "people.toml names nobody in the capacity security"],
    );
    assert_eq!(critical.body["rule"], "quorum");
    assert!(critical.body["next"].as_str().unwrap().contains("security in people.toml"), "{critical:?}");
}

#[test]
fn p12_what_changed_since_it_was_asked_or_approved_is_plan_changed() {
    let mut world = world();
    let (id, digest) = waiting(&world, &world.alice(), json!({}));
    let approved = active(&world);
    let (lease, _) = World::vended(&world.vend(&world.alice(), &approved, json!({})));
    for (from, to, word) in [
        ("arn:aws:s3:::alpha", "arn:aws:s3:::gamma", "another asset"),
        ("tier = \"high\"", "tier = \"moderate\"", "tier moderate"),
    ] {
        catalog(&world, |ledger| ledger.replace(from, to));
        world.reload();
        approve(&world.olga(), &id, &digest).is_problem(409, "plan-changed", &["ledger", word, "request it anew"]);
        world.vend(&world.alice(), &approved, json!({})).is_problem(409, "plan-changed", &["ledger", word]);
        assert!(seen(&world.alice(), &id)["approval"]["blocked"].as_str().unwrap().contains(word));
        catalog(&world, |ledger| ledger.replace(to, from));
    }
    world.wait_for_lease(&lease, "revoked");
    world.reload();
    // It is again what was asked: it can be approved after all, and what was approved can be used.
    assert_eq!(approve(&world.olga(), &id, &digest).body["state"], "active");
    let _ = World::vended(&world.vend(&world.alice(), &approved, json!({})));
}

#[test]
fn p12_a_quorum_that_no_longer_stands_refuses_the_issue_and_ends_what_lives() {
    let mut world = world();
    let id = active(&world);
    let mut job = Job::start(&world.scene, User::Alice);
    let (lease, _) = World::vended(&job.vend(&id));
    owners(&world, "\"otto\"");
    world.reload();
    world.wait_for_lease(&lease, "revoked");
    assert_eq!(world.lease(&lease)["reason"], "policy_changed");
    let refused = world.vend(&world.alice(), &id, json!({}));
    refused.is_problem(403, "denied", &[&id, "olga is no owner of \"ledger\" any more"]);
    assert_eq!(refused.body["rule"], "quorum");
    assert!(refused.body["who_can_fix"].as_str().unwrap().contains("otto"), "{refused:?}");
    assert!(refused.body["next"].as_str().unwrap().contains("grantctl request"), "{refused:?}");
    let view = seen(&world.alice(), &id);
    assert!(view["approval"]["given"][0]["void"].as_str().unwrap().contains("no owner"), "{view}");
    assert!(world.audited("lease.refused")[0]["detail"].to_string().contains("no owner"));
    owners(&world, "\"olga\", \"otto\"");
    world.reload();
    let _ = World::vended(&world.vend(&world.alice(), &id, json!({})));

    // The one who asked turns out to be the one who approved: the pipeline's requester is olga's user now.
    let (asked, digest) = waiting(&world, &world.otto(), json!({ "subject": "deploy" }));
    assert_eq!(approve(&world.olga(), &asked, &digest).body["state"], "active");
    people(&world, &PEOPLE.replace("\"gt-olga-adm\"", "\"gt-otto\"").replace("unix = [\"gt-otto\"]", "unix = []"));
    world.reload();
    let own = world.vend(&world.alice(), &asked, json!({}));
    own.is_problem(403, "denied", &["olga asked for it", "nobody approves for themselves"]);
}

#[test]
fn p12_two_owners_are_two_people_whatever_their_users_and_however_fast() {
    let mut world = world();
    two_owners(&world);
    world.reload();
    let (id, digest) = waiting(&world, &world.alice(), json!({}));
    let first = approve(&world.olga(), &id, &digest);
    assert_eq!((first.status, &first.body["state"]), (200, &json!("pending")), "{first:?}");
    let twice = approve(&world.scene.caller(User::OlgaAdm), &id, &digest);
    twice.is_problem(409, "state", &["olga has approved", "counts once", "otto"]);
    assert_eq!(seen(&world.alice(), &id)["approval"]["quorum"][0]["given"], 1);
    world.vend(&world.alice(), &id, json!({})).is_problem(409, "state", &["pending"]);
    // What was given survives a crash.
    world.crash_and_restart();
    assert_eq!(seen(&world.alice(), &id)["approval"]["given"][0]["person"], "olga");
    assert_eq!(approve(&world.otto(), &id, &digest).body["state"], "active");
    world.crash_and_restart();
    let _ = World::vended(&world.vend(&world.alice(), &id, json!({})));

    // At the same moment: each counts, and neither is lost.
    for _ in 0..5 {
        let (id, digest) = waiting(&world, &world.bob(), json!({}));
        let answers = thread::scope(|scope| {
            let at_once = [User::Olga, User::Otto, User::OlgaAdm].map(|user| {
                let (world, id, digest) = (&world, &id, &digest);
                scope.spawn(move || approve(&world.scene.caller(user), id, digest).status)
            });
            at_once.map(|answer| answer.join().unwrap())
        });
        assert_eq!(answers.iter().filter(|status| **status == 200).count(), 2, "{answers:?}");
        let view = seen(&world.bob(), &id);
        assert_eq!((&view["state"], view["approval"]["given"].as_array().unwrap().len()), (&json!("active"), 2));
    }

    // An owner who comes back completes a quorum that waited for nothing else.
    let (id, digest) = waiting(&world, &world.alice(), json!({}));
    assert_eq!(approve(&world.olga(), &id, &digest).body["state"], "pending");
    people(&world, &format!("{PEOPLE}\n[[person]]\nname = \"petra\"\nunix = []\n"));
    owners(&world, "\"otto\", \"petra\"");
    world.reload();
    assert_eq!(approve(&world.otto(), &id, &digest).body["state"], "pending");
    owners(&world, "\"olga\", \"otto\"");
    world.reload();
    eventually("the quorum is complete", Duration::from_secs(10), || seen(&world.alice(), &id)["state"] == "active");
}

#[test]
fn p12_whose_approval_became_void_can_approve_anew_and_still_counts_once() {
    let mut world = world();
    two_owners(&world);
    world.reload();
    let (id, digest) = waiting(&world, &world.alice(), json!({}));
    assert_eq!(approve(&world.olga(), &id, &digest).body["state"], "pending");
    // The user with which olga approved is hers no more.
    people(&world, &PEOPLE.replace("\"gt-olga\", ", ""));
    world.reload();
    let view = seen(&world.alice(), &id);
    assert!(view["approval"]["given"][0]["void"].as_str().unwrap().contains("not an identity"), "{view}");
    assert!(view["approval"]["quorum"][0]["can_approve"].to_string().contains("olga"), "{view}");
    let other = world.scene.caller(User::OlgaAdm);
    assert_eq!(approve(&other, &id, &digest).body["state"], "pending");
    let view = seen(&world.alice(), &id);
    let given = view["approval"]["given"].as_array().unwrap();
    assert!(given.len() == 1 && given[0]["void"].is_null(), "{view}");
    assert_eq!(world.audited("grant.approval").len(), 2, "both stand in the audit");
    // Her first user comes back: it is still one person.
    people(&world, PEOPLE);
    world.reload();
    approve(&world.olga(), &id, &digest).is_problem(409, "state", &["olga has approved", "counts once"]);
    assert_eq!(approve(&world.otto(), &id, &digest).body["state"], "active");
}

#[test]
fn a_request_is_denied_with_its_reason_taken_back_or_lapses() {
    let mut world = world();
    let (denied, digest) = waiting(&world, &world.alice(), json!({}));
    let answer = post(&world.otto(), &denied, "deny", json!({ "reason": "not before the audit is over" }));
    assert_eq!((answer.status, &answer.body["state"]), (200, &json!("denied")), "{answer:?}");
    let told = world.alice().grantctl(&["show", &denied]);
    assert!(told.stdout.contains("denied: otto said no: not before the audit is over"), "{told}");
    approve(&world.olga(), &denied, &digest).is_problem(409, "state", &["denied"]);
    post(&world.otto(), &denied, "deny", json!({ "reason": "" })).is_problem(400, "bad-request", &["reason"]);

    let (cancelled, digest) = waiting(&world, &world.otto(), json!({ "subject": "deploy" }));
    post(&world.bob(), &cancelled, "cancel", json!({})).is_problem(403, "not-yours", &[&cancelled]);
    assert_eq!(post(&world.alice(), &cancelled, "cancel", json!({})).body["state"], "cancelled");
    approve(&world.olga(), &cancelled, &digest).is_problem(409, "state", &["cancelled"]);
    for kind in ["grant.deny", "grant.cancel", "cancel.refused"] {
        assert_eq!(world.audited(kind).len(), 1, "{kind}");
    }

    policy(&world, "tiers.cedar", |text| text.replace("@approve_within(\"4h\")", "@approve_within(\"1s\")"));
    world.reload();
    let (lapsed, digest) = waiting(&world, &world.alice(), json!({}));
    eventually("it lapses", Duration::from_secs(10), || seen(&world.alice(), &lapsed)["state"] == "lapsed");
    approve(&world.olga(), &lapsed, &digest).is_problem(409, "state", &["lapsed"]);
    assert_eq!(world.audited("grant.lapse")[0]["actor"]["part"], "reaper");
    world.serves_bob();
}

#[test]
fn p12_a_freeze_after_the_request_refuses_the_approval_and_denial_goes_on() {
    let mut world = world();
    let (id, digest) = waiting(&world, &world.alice(), json!({}));
    world.scene.write(
        "config/policy/policies/freeze.cedar",
        "@id(\"freeze\")\n@reason(\"{resource} is frozen\")\n@who_can_fix(\"the release manager\")\n@next(\"wait\")\n\
         forbid (principal, action == Grantd::Action::\"request\", resource);\n",
        User::Root,
        0o644,
    );
    world.reload();
    let refused = approve(&world.olga(), &id, &digest);
    refused.is_problem(403, "denied", &["ledger is frozen"]);
    assert_eq!(refused.body["rule"], "freeze");
    assert_eq!(world.audited("approve.refused")[0]["detail"]["decision"]["determining"], json!(["freeze"]));
    let answer = post(&world.olga(), &id, "deny", json!({ "reason": "frozen" }));
    assert_eq!(answer.body["state"], "denied", "{answer:?}");
}

#[test]
fn p3_an_extension_goes_on_without_interrupting_the_lease() {
    let mut world = world();
    let id = active(&world);
    let mut job = Job::start(&world.scene, User::Alice);
    let (lease, key) = World::vended(&job.vend(&id));
    let before = seen(&world.alice(), &id);
    let more = |seconds: u64| json!({ "duration_seconds": seconds, "reason": "the export is slow" });
    post(&world.bob(), &id, "extend", more(600)).is_problem(403, "not-yours", &[&id]);
    let long = post(&world.alice(), &id, "extend", more(4 * 3600));
    long.is_problem(422, "limit", &["14400 s are allowed in all", "12600 s or less"]);
    assert_eq!(long.body["limit"], 12600);
    let asked = post(&world.alice(), &id, "extend", more(600));
    let extension = &asked.body["extensions"][0];
    assert_eq!((asked.status, &extension["state"]), (200, &json!("pending")), "{asked:?}");
    assert_eq!(asked.body["active_until"], before["active_until"]);
    post(&world.alice(), &id, "extend", more(600)).is_problem(409, "state", &["waits for approval already"]);
    assert_eq!(world.otto().curl("GET", "/v1/grants?approvable=true", None).body["grants"][0]["id"], id.as_str());
    // The digest of the grant is not that of the longer one.
    let old = before["digest"].as_str().unwrap();
    approve(&world.otto(), &id, old).is_problem(409, "plan-changed", &["digest"]);

    world.crash_and_restart();
    let denied = post(&world.otto(), &id, "deny", json!({ "reason": "finish first" }));
    assert_eq!((&denied.body["state"], &denied.body["extensions"][0]["state"]), (&json!("active"), &json!("denied")));
    assert_eq!(denied.body["extensions"][0]["reason"], "otto said no: finish first");
    assert_eq!(denied.body["active_until"], before["active_until"]);

    let asked = post(&world.alice(), &id, "extend", more(600));
    let digest = asked.body["extensions"][1]["digest"].as_str().unwrap();
    let granted = approve(&world.otto(), &id, digest);
    assert_eq!((granted.status, &granted.body["extensions"][1]["state"]), (200, &json!("granted")), "{granted:?}");
    let end = |view: &Value| view["active_until"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert_eq!(end(&granted.body).duration_since(end(&before)).as_secs(), 600);
    // The lease went on through all of it.
    assert_eq!(world.lease(&lease)["state"], "active");
    assert!(world.can_read(&key, "alpha"));
    assert_eq!(world.audited("lease.end").len(), 0);
    assert_eq!(world.audited("grant.extend").len(), 1);

    // Who approved the extension alone is no owner any more: the grant is what it was without it.
    owners(&world, "\"olga\"");
    world.reload();
    assert_eq!(world.lease(&lease)["state"], "active", "its access ends before the first end");
    let view = seen(&world.alice(), &id);
    assert!(view["extensions"][1]["approval"]["given"][0]["void"].as_str().unwrap().contains("otto"), "{view}");
}

#[test]
fn p3_low_tier_extends_itself_within_the_longest_grant() {
    let world = world();
    let id = world.grant(&world.alice(), "alpha");
    let more = |seconds: u64| json!({ "duration_seconds": seconds, "reason": "one more file" });
    let longer = post(&world.alice(), &id, "extend", more(600));
    assert_eq!((longer.status, &longer.body["extensions"][0]["state"]), (200, &json!("granted")), "{longer:?}");
    post(&world.alice(), &id, "extend", more(8 * 3600)).is_problem(422, "limit", &["28800 s are allowed in all"]);
    post(&world.alice(), &id, "extend", more(0)).is_problem(400, "bad-request", &["at least one second"]);
    assert_eq!(world.audited("extend.refused").len(), 2);
    let done = world.alice().grantctl(&["complete", &id]);
    assert!(done.success(), "{done}");
    post(&world.alice(), &id, "extend", more(60)).is_problem(409, "state", &["ended"]);
}

#[test]
fn p12_grantctl_shows_asks_and_sends_what_it_showed() {
    let world = world();
    let why = "the export of november";
    let asked = world.alice().grantctl(&[
        "request",
        "--resource",
        "ledger",
        "--can",
        "object-storage:read",
        "--for",
        "30m",
        "--why",
        why,
    ]);
    assert_eq!(asked.status.code(), Some(11), "{asked}");
    assert!(asked.stderr.contains("waits for approval: 1 owner (olga or otto)"), "{asked}");
    let id = asked.stdout.lines().next().unwrap();
    let silent = world.olga().grantctl(&["approve", id]);
    assert_eq!(silent.status.code(), Some(2), "{silent}");
    assert!(silent.stderr.contains("--digest"), "{silent}");

    // On a terminal it asks, and no is no.
    let on_terminal = |caller: &Caller<'_>, answer: &str| {
        let command = format!("'{}' approve {id} --native", world.scene.bin("grantctl").display());
        let socket = world.scene.socket().display().to_string();
        let code = format!(
            "import os, pty, sys\nsaid = b''\npid, fd = pty.fork()\n\
             if pid == 0: os.execvp('sh', ['sh', '-c', \"\"\"{command}\"\"\"])\n\
             while b'[y/N]' not in said:\n    said += os.read(fd, 4096)\n\
             os.write(fd, b'{answer}\\n')\n\
             try:\n    while True:\n        piece = os.read(fd, 4096)\n        if not piece: break\n        said += piece\n\
             except OSError: pass\n\
             print(said.decode())\nsys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
        );
        caller.clone().env("GRANTD_SOCKET", socket).run("/usr/bin/python3", &["-c", &code])
    };
    let no = on_terminal(&world.olga(), "n");
    assert_eq!(no.status.code(), Some(2), "{no}");
    for word in [why, "pipeline deploy", "30m", "object-storage:read", "s3:GetObject", "digest", "needs"] {
        assert!(no.stdout.contains(word), "{word} is not shown: {no}");
    }
    assert_eq!(seen(&world.alice(), id)["state"], "pending");
    let yes = on_terminal(&world.olga(), "y");
    assert!(yes.success() && yes.stdout.contains("approved"), "{yes}");
    assert_eq!(seen(&world.alice(), id)["state"], "active");
    let extend = world.alice().grantctl(&["extend", id, "--for", "10m", "--why", "slow"]);
    assert_eq!(extend.status.code(), Some(11), "{extend}");
    let list = world.otto().grantctl(&["list", "--approvable"]);
    assert!(list.success() && list.stdout.contains(id), "{list}");
    let cancel = world.alice().grantctl(&["cancel", id]);
    assert!(cancel.success() && cancel.stdout.contains("cancelled"), "{cancel}");
    let show = world.otto().grantctl(&["show", id]);
    assert!(show.stdout.contains("olga as owner") && show.stdout.contains("needs"), "{show}");
}

#[test]
fn p12_a_rule_that_lets_anybody_deny_lets_only_those_who_could_approve() {
    let world = world();
    let open = "@id(\"anybody\")\npermit (\n  principal,\n  action == Grantd::Action::\"approve\",\n  resource\n)\n\
                when { context.capacity == Grantd::Capacity::\"owner\" };\n";
    world.scene.write("config/policy/policies/anybody.cedar", open, User::Root, 0o644);
    owners(&world, "\"olga\"");
    let mut world = world;
    world.reload();
    let (id, digest) = waiting(&world, &world.alice(), json!({}));
    let otto = world.scene.caller(User::Otto);
    let denied = post(&otto, &id, "deny", json!({ "reason": "because I can" }));
    denied.is_problem(403, "denied", &["otto"]);
    approve(&otto, &id, &digest).is_problem(403, "denied", &["otto"]);
    assert_eq!(world.audited("deny.refused").len(), 1);
    assert_eq!(seen(&world.alice(), &id)["state"], "pending");
    let olga = world.scene.caller(User::Olga);
    assert_eq!(post(&olga, &id, "deny", json!({ "reason": "not this week" })).status, 200);
}

#[test]
fn p12_who_asked_is_excluded_as_another_user_even_when_the_old_one_changed_hands() {
    let mut world = world();
    let olga_adm = world.scene.caller(User::OlgaAdm);
    let (id, digest) = waiting(&world, &olga_adm, json!({ "subject": "deploy" }));
    // The user under which olga asked is otto's now.
    let moved = PEOPLE.replace("\"gt-olga\", \"gt-olga-adm\"", "\"gt-olga\"");
    people(&world, &moved.replace("\"gt-otto\"", "\"gt-otto\", \"gt-olga-adm\""));
    world.reload();
    let refused = approve(&world.scene.caller(User::Olga), &id, &digest);
    refused.is_problem(403, "denied", &["olga"]);
    assert_eq!(refused.body["rule"], "own-request");
    let other = approve(&world.scene.caller(User::Otto), &id, &digest);
    assert_eq!(other.body["rule"], "own-request", "{other:?}");
}

#[test]
fn p11_nobody_fills_the_approvers_list() {
    let world = world();
    let mut taken = 0;
    let refused = loop {
        let answer = world.request(&world.alice(), "ledger", json!({}));
        if answer.status != 201 {
            break answer;
        }
        taken += 1;
        assert!(taken <= 100, "there is no end to it");
    };
    refused.is_problem(429, "too-many", &["100 requests", "grantctl cancel"]);
    assert_eq!(world.audited("request.refused").len(), 1);
    // Somebody else's finds its place, what needs nobody is not concerned, and one taken back makes room for another.
    let (others, _) = waiting(&world, &world.bob(), json!({}));
    let _ = world.grant(&world.alice(), "beta");
    let mine = world.alice().curl("GET", "/v1/grants?state=pending&limit=1", None).body["grants"][0]["id"].clone();
    assert_eq!(post(&world.alice(), mine.as_str().unwrap(), "cancel", json!({})).status, 200);
    waiting(&world, &world.alice(), json!({}));
    assert_eq!(seen(&world.bob(), &others)["state"], "pending");
}
