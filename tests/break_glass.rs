//! Break-glass: nobody's approval, and instead enrolled people, exact access, little time, limits, two at critical, everybody
//! told, every record marked; and it works when whatever could be asked is away.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that breaks must say so"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use grantd_testkit::{aws_environment, clouds_environment, repository_root};
use grantd_tests::{Job, Setup, User, World, eventually};
use serde_json::{Value, json};

const READ: &str = "import boto3, sys
from botocore.config import Config
s3 = boto3.client('s3', config=Config(s3={'addressing_style': 'path'}))
print(s3.get_object(Bucket=sys.argv[1], Key='hello.txt')['Body'].read().decode(), end='')";

const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn world() -> World {
    let mut world = World::with_glass(&Setup::default(), "");
    world.start();
    world
}

fn id(grant: &Value) -> String {
    grant["id"].as_str().unwrap().to_owned()
}

/// A lease under a use, held by a process that lives.
fn taken(job: &mut Job, grant: &str) -> String {
    World::vended(&job.vend(grant)).0
}

#[test]
fn one_command_uses_it_and_gives_everything_back_and_every_record_of_it_is_marked() {
    let world = world();
    let python = aws_environment().unwrap().join("bin/python").display().to_string();
    let olga = world.olga().cloud(&world.stack.url());
    let ask = ["break-glass", "repair", "--incident", "INC-7", "--why", "the nightly job left the ledger half written"];
    let run = |more: &[&str]| {
        let line: Vec<&str> = ask.iter().chain(more).copied().collect();
        olga.grantctl(&line)
    };
    let done = run(&["--resource", "ledger", "--", &python, "-W", "ignore", "-c", READ, "ledger"]);
    assert_eq!((done.status.code(), done.stdout.as_str()), (Some(0), "hello from ledger\n"), "{done}");
    for word in
        ["BREAK-GLASS: object-storage:read on ledger (tier high) by profile repair for INC-7", "nora reviews it by"]
    {
        assert!(done.stderr.contains(word), "{done}");
    }
    // Its own exit code comes through, and everything ends whatever becomes of the command.
    let failed = run(&["--resource", "alpha", "--", "sh", "-c", "exit 7"]);
    assert_eq!(failed.status.code(), Some(7), "{failed}");
    let none = run(&["--", "true"]);
    assert_eq!(none.status.code(), Some(102), "{none}");
    assert!(none.stderr.contains("several things"), "{none}");

    let used = world.audited("break_glass.use");
    assert_eq!(used.len(), 2);
    for record in &used {
        let grant = record["grant"].as_str().unwrap();
        let view = world.root().curl("GET", &format!("/v1/grants/{grant}"), None).body;
        assert_eq!((&view["state"], &view["ticket"]), (&json!("ended"), &json!("INC-7")));
        let records = world.records_about(grant);
        for kind in [
            "grant.request",
            "grant.approve",
            "break_glass.use",
            "review.open",
            "lease.intent",
            "lease.issued",
            "grant.complete",
            "lease.end",
        ] {
            assert!(records.iter().any(|record| record["kind"] == kind), "{kind}: {records:?}");
        }
        let mark = json!({ "profile": "repair", "incident": "INC-7" });
        for record in &records {
            assert_eq!(record["detail"]["break_glass"], mark, "{record}");
        }
    }
    // A grant of another kind is not marked.
    let plain = world.grant(&world.olga(), "alpha");
    assert!(world.records_about(&plain).iter().all(|record| record["detail"]["break_glass"].is_null()));
    for lease in world.audited("lease.issued") {
        world.wait_for_lease(lease["lease"].as_str().unwrap(), "revoked");
    }
    world.audit_verifies();
}

#[test]
fn only_who_is_enrolled_uses_it_for_what_the_profile_names_and_not_longer_than_it_says() {
    let world = world();
    world.break_glass(&world.nora(), "ledger", json!({})).is_problem(403, "denied", &["nora is not enrolled"]);
    let refused = world.break_glass(&world.alice(), "ledger", json!({}));
    refused.is_problem(403, "denied", &["only people use break-glass"]);
    let olga = world.olga();
    let ask = |changes: Value| world.break_glass(&olga, "ledger", changes);
    ask(json!({ "resource": "beta" })).is_problem(400, "bad-request", &["gives nothing of that"]);
    ask(json!({ "capability": "object-storage:write" })).is_problem(400, "bad-request", &["gives nothing of that"]);
    ask(json!({ "profile": "other" })).is_problem(404, "not-found", &["no break-glass profile", "enrol you: repair"]);
    ask(json!({ "incident": "whatever" })).is_problem(400, "bad-request", &["INC-1234", "--incident"]);
    ask(json!({ "incident": "INC-" })).is_problem(400, "bad-request", &["--incident"]);
    ask(json!({ "justification": "because" })).is_problem(403, "denied", &["20 characters"]);
    let long = ask(json!({ "duration_seconds": 601 }));
    long.is_problem(422, "limit", &["600 s at most"]);
    assert_eq!(long.body["limit"], 600);
    for record in world.audited("request.refused") {
        assert!(record["detail"]["break_glass"]["incident"].is_string(), "{record}");
    }
    // Nothing was used up by any of these.
    let grant = ask(json!({ "duration_seconds": 60 })).body;
    assert_eq!(grant["duration_seconds"], 60);
    let id = id(&grant);
    // Not longer afterwards either, and a credential ends with a process.
    let more = json!({ "duration_seconds": 60, "reason": "it takes longer" });
    olga.curl("POST", &format!("/v1/grants/{id}/extend"), Some(&more)).is_problem(409, "state", &["not made longer"]);
    let vend = |changes: Value| world.vend(&olga, &id, changes);
    assert_eq!(vend(json!({})).body["rule"], "break-glass-watched");
    let mut job = Job::start(&world.scene, User::Olga);
    let long = job.ask("POST", "/v1/leases", json!({ "grant": id, "anchor": "caller", "ttl_seconds": 120 }));
    assert_eq!((long.status, long.body["limit"].as_u64().unwrap() <= 60), (422, true), "{long:?}");
    assert_eq!(world.lease(&taken(&mut job, &id))["state"], "active");
}

#[test]
fn limits_hold_by_person_resource_and_in_all_and_when_two_come_at_once() {
    let world = world();
    let (olga, otto) = (world.olga(), world.otto());
    let answers: Vec<u16> = std::thread::scope(|scope| {
        let ask = || world.break_glass(&olga, "ledger", json!({})).status;
        let all: Vec<_> = (0..6).map(|_| scope.spawn(ask)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let began = answers.iter().filter(|status| **status == 201).count();
    assert_eq!(began, 2, "two of six at once, as one person may: {answers:?}");
    let other_user = world.scene.caller(User::OlgaAdm);
    world.break_glass(&other_user, "alpha", json!({})).is_problem(422, "limit", &["2 times lately by olga"]);
    let _ = world.broke(&otto, "ledger");
    world.break_glass(&otto, "ledger", json!({})).is_problem(422, "limit", &["3 times lately on \"ledger\""]);
    let _ = world.broke(&otto, "alpha");
    world.change_policy("catalog.toml", "per_person = 2", "per_person = 9");
    world.change_policy("catalog.toml", "per_resource = 3", "per_resource = 9");
    let mut world = world;
    world.reload();
    world.break_glass(&world.otto(), "alpha", json!({})).is_problem(422, "limit", &["4 times lately in all"]);
    // What is past its use counts over a restart.
    world.crash_and_restart();
    world.break_glass(&world.otto(), "alpha", json!({})).is_problem(422, "limit", &["in all"]);
}

#[test]
fn p12_at_critical_another_enrolled_person_confirms_and_nobody_their_own() {
    let world = world();
    let asked = world.break_glass(&world.olga(), "vault", json!({}));
    assert_eq!((asked.status, &asked.body["state"]), (201, &json!("pending")), "{asked:?}");
    let grant = id(&asked.body);
    let quorum = json!([{ "capacity": "enrolled", "needed": 1, "given": 0, "can_approve": ["otto"] }]);
    assert_eq!(asked.body["approval"]["quorum"], quorum);
    assert!(asked.body["break_glass"]["review"].is_null(), "nothing was used yet");
    world.vend(&world.olga(), &grant, json!({})).is_problem(409, "state", &["pending"]);
    for user in [User::Olga, User::OlgaAdm] {
        world.confirm(&world.scene.caller(user), &grant).is_problem(403, "denied", &["nobody approves for themselves"]);
    }
    // An owner's and security's word is not what is asked for here, and the owner is who asked.
    let nora = world.confirm(&world.nora(), &grant);
    assert_eq!(nora.status, 403, "{nora:?}");
    let list = world.otto().curl("GET", "/v1/grants?approvable=true", None);
    assert_eq!(list.body["grants"][0]["id"], grant.as_str());
    let confirmed = world.confirm(&world.otto(), &grant);
    assert_eq!((confirmed.status, &confirmed.body["state"]), (200, &json!("active")), "{confirmed:?}");
    assert_eq!(confirmed.body["approval"]["given"][0]["capacity"], "enrolled");
    let record = &world.audited("break_glass.use")[0]["detail"];
    assert_eq!(record["approved_by"], json!(["otto"]), "{record}");
    let review = confirmed.body["break_glass"]["review"].clone();
    assert_eq!((&review["state"], &review["reviewers"]), (&json!("open"), &json!(["nora"])));
    let mut job = Job::start(&world.scene, User::Olga);
    let _ = taken(&mut job, &grant);
    // Who confirmed it had a part in it.
    let review = review["id"].as_str().unwrap();
    world.review(&world.otto(), review, json!({})).is_problem(403, "denied", &["nobody reviews their own use"]);
    assert_eq!(world.review(&world.nora(), review, json!({})).status, 200);
}

#[test]
fn p6_who_is_not_enrolled_any_more_has_nothing_left() {
    let mut world = world();
    let (one, two) = (id(&world.broke(&world.olga(), "ledger")), id(&world.broke(&world.otto(), "alpha")));
    let (mut olga, mut otto) = (Job::start(&world.scene, User::Olga), Job::start(&world.scene, User::Otto));
    let (first, second) = (taken(&mut olga, &one), taken(&mut otto, &two));
    world.change_policy("catalog.toml", "people = [\"olga\", \"otto\"]", "people = [\"otto\", \"nora\"]");
    world.change_policy("catalog.toml", "reviewers = [\"nora\"]", "reviewers = [\"olga\"]");
    world.reload();
    world.wait_for_lease(&first, "revoked");
    assert_eq!(world.lease(&first)["reason"], "policy_changed");
    assert_eq!(world.lease(&second)["state"], "active", "another's use goes on");
    let refused = olga.ask("POST", "/v1/leases", json!({ "grant": one, "anchor": "caller" }));
    assert_eq!(refused.body["rule"], "not-enrolled", "{refused:?}");
    // The profile does not give it any more.
    world.change_policy("catalog.toml", "{ resource = \"alpha\", capability = \"object-storage:read\" },", "");
    world.reload();
    world.wait_for_lease(&second, "revoked");
    let refused = otto.ask("POST", "/v1/leases", json!({ "grant": two, "anchor": "caller" }));
    refused.is_problem(409, "plan-changed", &["profile \"repair\" does not give"]);
}

/// A receiver of webhooks on a port of its own choice.
struct Hook(Child, u16);

impl Hook {
    fn start(world: &World, status: Option<u16>) -> Self {
        let mut command = Command::new(clouds_environment().unwrap().join("bin/python"));
        command.arg(repository_root().join("tests/setup/hook.py")).arg(KEY).arg(world.scene.path().join("told.jsonl"));
        command.args(status.map(|status| status.to_string())).stdout(Stdio::piped()).stdin(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self(child, line.trim().parse().unwrap())
    }

    fn told(world: &World, kind: &str) -> Vec<Value> {
        let text = fs::read_to_string(world.scene.path().join("told.jsonl")).unwrap_or_default();
        let all = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        all.filter(|event| event["type"] == format!("dev.grantd.{kind}")).collect()
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn it_works_when_sources_targets_and_approvers_are_all_away_and_is_told_until_it_was_heard() {
    let on_call = "[[signal]]\nname = \"pager\"\ntype = \"on_call\"\nurl = \"http://127.0.0.1:9/on-call\"\nlist = \"\"\noverrides = []\n\
                   accounts = { olga = \"olga@example.com\" }\ntimeout = \"1s\"\ncontact = \"ops\"\n";
    let mut world = World::with_glass(&Setup::default(), on_call);
    world.scene.write("config/hook.key", KEY, User::Daemon, 0o600);
    // A permit of break-glass that wants to know who is on call, and of an ordinary request the same.
    let rule = "\n@id(\"on-call\")\n@reason(\"{principal} is not on call\")\n@who_can_fix(\"ops\")\n@next(\"ask who is\")\n\
                forbid (principal, action in [Grantd::Action::\"request\", Grantd::Action::\"break_glass\"], resource)\n\
                when { resource.name == \"ledger\" && !context.on_call };\n";
    let rule = rule.replace("resource.name == \"ledger\"", "resource == Grantd::Resource::\"ledger\"");
    world.scene.write("config/policy/policies/on-call.cedar", &rule, User::Root, 0o644);
    let away = Hook::start(&world, Some(503));
    let config = fs::read_to_string(world.config()).unwrap();
    let key = world.scene.config().join("hook.key");
    let hook = |port: u16| {
        // It wants to be told of nothing but freezes; break-glass it is told all the same.
        format!(
            "{config}\n[[notify]]\nname = \"siem\"\ntype = \"webhook\"\nurl = \"http://127.0.0.1:{port}/hook\"\n\
             secret = \"{}\"\nevents = [\"freeze.*\"]\n",
            key.display()
        )
    };
    fs::write(world.config(), hook(away.1)).unwrap();
    world.start();
    // Where policy does not say that it may do without, what cannot be had is a denial as ever.
    let refused = world.break_glass(&world.olga(), "ledger", json!({}));
    assert_eq!((refused.status, &refused.body["rule"]), (403, &json!("signal:on_call")), "{refused:?}");
    world.change_policy(
        "policies/break-glass.cedar",
        "@id(\"break-glass\")",
        "@id(\"break-glass\")\n@may_lack(\"on_call\")",
    );
    world.reload();
    let ordinary = world.request(&world.otto(), "ledger", json!({}));
    assert_eq!((ordinary.status, &ordinary.body["rule"]), (403, &json!("signal:on_call")), "{ordinary:?}");
    let grant = id(&world.broke(&world.olga(), "ledger"));
    let record = &world.audited("break_glass.use")[0]["detail"];
    assert_eq!(record["lacked"], json!(["on_call"]), "{record}");
    let mut job = Job::start(&world.scene, User::Olga);
    let _ = taken(&mut job, &grant);
    // Refused again and again, which for anything else ends in being passed over; and over a crash.
    eventually("the receiver refused it", Duration::from_secs(30), || Hook::told(&world, "break_glass.use").len() >= 2);
    world.take_daemon().kill9();
    drop(away);
    fs::remove_file(world.scene.path().join("told.jsonl")).unwrap();
    let there = Hook::start(&world, None);
    fs::write(world.config(), hook(there.1)).unwrap();
    world.start();
    eventually("it is told", Duration::from_secs(30), || !Hook::told(&world, "break_glass.use").is_empty());
    let told = &Hook::told(&world, "break_glass.use")[0]["data"];
    let text = told["text"].as_str().unwrap();
    for word in [
        "BREAK-GLASS: object-storage:read on ledger (high) for human olga",
        "INC-7",
        "half written",
        "nora to review it",
    ] {
        assert!(text.contains(word), "{text}");
    }
    assert_eq!((&told["break_glass"]["profile"], &told["grant"]["id"]), (&json!("repair"), &json!(grant)));
}

#[test]
fn a_freeze_stops_break_glass_too_and_uses_nothing_up() {
    let world = world();
    let freeze = json!({ "cover": { "resource": "ledger" }, "reason": "a token leaked" });
    let set = world.root().curl("POST", "/v1/freezes", Some(&freeze));
    assert_eq!(set.status, 201, "{set:?}");
    for _ in 0..3 {
        world.break_glass(&world.olga(), "ledger", json!({})).is_problem(403, "frozen", &["frozen"]);
    }
    let _ = world.broke(&world.olga(), "alpha");
}
