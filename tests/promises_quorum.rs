//! Tiers and quorums (P12): who has to approve at the top, whom nobody can replace, and whose voice counts as whose.
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

use grantd_tests::{Answer, Caller, Job, Setup, User, World, eventually, now};
use jiff::SignedDuration;
use serde_json::{Value, json};

/// olga and otto, and sara behind the user that is a service elsewhere. `{}` is what stands before them.
const PEOPLE: &str = "[[person]]\nname = \"olga\"\nunix = [\"gt-olga\", \"gt-olga-adm\"]\n\n\
    [[person]]\nname = \"otto\"\nunix = [\"gt-otto\"]\n\n\
    [[person]]\nname = \"sara\"\nunix = [\"gt-bob\"]\n\n\
    [[workload]]\nname = \"deploy\"\nkind = \"pipeline\"\nunix = \"gt-alice\"\n\n";

/// A world in which `ledger` is the bucket `alpha`, of `tier`, with these lines of who answers for it.
fn world(tier: &str, security: &str, lines: &str) -> World {
    let mut world = World::prepared(&Setup::default());
    people(&world, security, "");
    catalog(&world, tier, lines);
    world.start();
    world
}

fn people(world: &World, security: &str, more: &str) {
    fs::write(world.policy().join("people.toml"), format!("security = [{security}]\n{PEOPLE}{more}")).unwrap();
}

fn catalog(world: &World, tier: &str, lines: &str) {
    let text = format!(
        "[[resource]]\nname = \"ledger\"\ncloud = \"aws\"\naccount = \"main\"\ntype = \"object-storage\"\n\
         native = \"arn:aws:s3:::alpha\"\nenvironment = \"dev\"\ntier = \"{tier}\"\n{lines}\n"
    );
    fs::write(world.policy().join("catalog.toml"), text).unwrap();
}

fn policy(world: &World, name: &str, change: impl Fn(String) -> String) {
    let path = world.policy().join("policies").join(name);
    let before = fs::read_to_string(&path).unwrap();
    let after = change(before.clone());
    assert_ne!(before, after);
    fs::write(&path, after).unwrap();
}

fn sara(world: &World) -> Caller<'_> {
    world.scene.caller(User::Bob)
}

/// A grant on `ledger` that waits; its id and its digest.
fn waiting(world: &World) -> (String, String) {
    let answer = world.request(&world.alice(), "ledger", json!({ "ticket": "OPS-7" }));
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

/// That the approval was taken, and the grant is in this state then.
fn approved(caller: &Caller<'_>, (id, digest): &(String, String), state: &str) -> Value {
    let answer = approve(caller, id, digest);
    assert_eq!((answer.status, &answer.body["state"]), (200, &json!(state)), "{answer:?}");
    answer.body
}

fn seen(world: &World, id: &str) -> Value {
    let answer = world.root().curl("GET", &format!("/v1/grants/{id}"), None);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

fn lent(world: &World, from: &Caller<'_>, to: &str) -> String {
    let until = (now() + SignedDuration::from_hours(1)).to_string();
    let made = from.grantctl(&["delegate", "--to", to, "--until", &until]);
    assert!(made.success() && made.stdout.contains("standing"), "{made}");
    let _ = world;
    made.stdout.lines().next().unwrap().to_owned()
}

#[test]
fn p12_at_the_top_tier_an_owner_and_security_approve_and_two_owners_do_not() {
    let world = world("critical", "\"sara\"", "owners = [\"olga\", \"otto\"]");
    let asked = waiting(&world);
    let quorum = json!([
        { "capacity": "owner", "needed": 1, "given": 0, "can_approve": ["olga", "otto"] },
        { "capacity": "security", "needed": 1, "given": 0, "can_approve": ["sara"] },
    ]);
    assert_eq!(seen(&world, &asked.0)["approval"]["quorum"], quorum);
    // Who waits under exec is told the same, in words.
    let exec = ["exec", "--resource", "ledger", "--can", "object-storage:read", "--for", "5m", "--ticket", "OPS-7"];
    let why = ["--why", "a test that waits for two people", "--wait", "1s", "--", "true"];
    let waits = world.alice().grantctl(&[&exec[..], &why[..]].concat());
    assert!(waits.stderr.contains("waits for 1 owner (olga or otto) and 1 of security (sara)"), "{waits}");
    let list = sara(&world).grantctl(&["list", "--approvable"]);
    assert!(list.success() && list.stdout.contains(&asked.0), "{list}");
    approved(&world.olga(), &asked, "pending");
    approve(&world.otto(), &asked.0, &asked.1).is_problem(409, "state", &["1 of security", "sara"]);
    let waits = world.alice().grantctl(&["show", &asked.0]);
    assert!(waits.stdout.contains("1 of security, has 0; can approve: sara"), "{waits}");
    let mut job = Job::start(&world.scene, User::Alice);
    job.vend(&asked.0).is_problem(409, "state", &["pending"]);
    approved(&sara(&world), &asked, "active");
    // A lease there ends with its process: nothing else carries one.
    let loose = world.vend(&world.alice(), &asked.0, json!({}));
    loose.is_problem(403, "denied", &["ends with its process"]);
    assert_eq!(loose.body["rule"], "critical-watched");
    let (lease, key) = World::vended(&job.vend(&asked.0));
    assert!(world.can_read(&key, "alpha"));
    let counted = &world.audited("grant.approve")[0]["detail"]["counted"];
    assert_eq!(counted, &json!({ "owner": 1, "security": 1 }));
    // One use: another job needs another grant.
    drop(job);
    world.wait_for_lease(&lease, "revoked");
    Job::start(&world.scene, User::Alice).vend(&asked.0).is_problem(422, "limit", &["1 task has used this grant"]);
}

#[test]
fn p12_no_policy_does_without_an_owner_and_security_at_the_top() {
    let mut world =
        world("critical", "\"sara\"", "owners = [\"olga\"]\nstewards = [\"otto\"]\ndelegated_admins = [\"otto\"]");
    let shipped = fs::read_to_string(world.policy().join("policies/tiers.cedar")).unwrap();
    world.scene.write(
        "config/policy/policies/all.cedar",
        "@id(\"all\")\npermit (principal, action == Grantd::Action::\"approve\", resource);\n",
        User::Root,
        0o644,
    );
    let demand = "@approvals(\"owner:1, security:1\")\n";
    for weaker in
        ["", "@approvals(\"owner:1\")\n", "@approvals(\"steward:1\")\n", "@approvals(\"delegated_admin:1\")\n"]
    {
        fs::write(world.policy().join("policies/tiers.cedar"), shipped.replace(demand, weaker)).unwrap();
        world.reload();
        let asked = waiting(&world);
        let view = seen(&world, &asked.0);
        let needed: Vec<&str> = view["approval"]["quorum"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["capacity"].as_str().unwrap())
            .collect();
        assert!(needed.contains(&"owner") && needed.contains(&"security"), "{weaker}: {view}");
        if needed.len() > 2 {
            approved(&world.otto(), &asked, "pending");
        }
        approved(&world.olga(), &asked, "pending");
        world.vend(&world.alice(), &asked.0, json!({})).is_problem(409, "state", &["pending"]);
        approved(&sara(&world), &asked, "active");
        // Security is gone: whatever the bundle asks, the grant carries nothing any more.
        people(&world, "", "");
        world.reload();
        let refused = Job::start(&world.scene, User::Alice).vend(&asked.0);
        refused.is_problem(403, "denied", &["1 of security", "sara is no security"]);
        assert_eq!(refused.body["rule"], "quorum");
        let out = world.request(&world.alice(), "ledger", json!({ "ticket": "OPS-7" }));
        out.is_problem(403, "denied", &["people.toml names nobody in the capacity security"]);
        people(&world, "\"sara\"", "");
        world.reload();
    }
}

#[test]
fn p12_who_left_security_after_approving_ends_what_lives() {
    let mut world = world("critical", "\"sara\"", "owners = [\"olga\"]");
    people(&world, "\"group:secops\"", "[[group]]\nname = \"secops\"\nmembers = [\"sara\", \"otto\"]\n");
    world.reload();
    let asked = waiting(&world);
    approved(&sara(&world), &asked, "pending");
    approved(&world.olga(), &asked, "active");
    let mut job = Job::start(&world.scene, User::Alice);
    let (lease, _) = World::vended(&job.vend(&asked.0));
    people(&world, "\"group:secops\"", "[[group]]\nname = \"secops\"\nmembers = [\"otto\"]\n");
    world.reload();
    world.wait_for_lease(&lease, "revoked");
    assert_eq!(world.lease(&lease)["reason"], "policy_changed");
    job.vend(&asked.0).is_problem(403, "denied", &["sara is no security"]);
    assert!(seen(&world, &asked.0)["approval"]["given"][0]["void"].as_str().unwrap().contains("sara is no security"));
}

#[test]
fn p12_a_group_of_nobody_or_of_a_pipeline_is_no_bundle_and_a_unix_group_is_read_at_load() {
    let mut world = world("high", "", "owners = [\"olga\"]");
    let group = |lines: &str| format!("[[group]]\nname = \"ops\"\n{lines}\n");
    for (lines, words) in [
        ("members = []", "nobody is in it"),
        ("unix_group = \"gt-clients\"", "pipeline deploy"),
        ("unix_group = \"gt-nonesuch\"", "no Unix group"),
        ("members = [\"group:ops\"]", "do not nest"),
    ] {
        people(&world, "", &group(lines));
        world.reload();
        let alarms = world.root().curl("GET", "/v1/status", None).body["alarms"].to_string();
        assert!(alarms.contains(words), "{words}: {alarms}");
    }
    // gt-otto's own first group: otto is in it, and so he owns the ledger.
    people(&world, "", &group("unix_group = \"gt-otto\""));
    catalog(&world, "high", "owners = [\"group:ops\"]");
    world.reload();
    let asked = waiting(&world);
    assert_eq!(seen(&world, &asked.0)["approval"]["quorum"][0]["can_approve"], json!(["otto"]));
    approved(&world.otto(), &asked, "active");
    // It is never who will use the access.
    for name in ["ops", "group:ops"] {
        let team = world.request(&world.olga(), "ledger", json!({ "subject": name }));
        team.is_problem(400, "bad-request", &[name, "never a team"]);
    }
}

#[test]
fn p12_who_is_owner_and_security_is_one_voice_and_counts_where_it_is_needed() {
    let mut world = world("critical", "\"olga\", \"sara\"", "owners = [\"olga\", \"otto\"]");
    // olga first, then otto, who is an owner only: she counts for security.
    let asked = waiting(&world);
    let first = approved(&world.olga(), &asked, "pending");
    assert!(first["approval"]["given"][0]["also"].as_array().is_some_and(|also| also.len() == 1), "{first}");
    approve(&world.scene.caller(User::OlgaAdm), &asked.0, &asked.1).is_problem(409, "state", &["olga has approved"]);
    approved(&world.otto(), &asked, "active");
    let _ = World::vended(&Job::start(&world.scene, User::Alice).vend(&asked.0));
    // olga first, then sara: she counts as owner.
    let asked = waiting(&world);
    approved(&world.olga(), &asked, "pending");
    approved(&sara(&world), &asked, "active");
    // Who names a capacity keeps to it.
    let asked = waiting(&world);
    let owner = post(&world.olga(), &asked.0, "approve", json!({ "digest": asked.1, "capacity": "owner" }));
    assert_eq!(owner.body["state"], "pending", "{owner:?}");
    approve(&world.otto(), &asked.0, &asked.1).is_problem(409, "state", &["1 of security"]);
    approved(&sara(&world), &asked, "active");
    // Both in one person is nobody else: out of reach, before anybody waits.
    people(&world, "\"olga\"", "");
    catalog(&world, "critical", "owners = [\"olga\"]");
    world.reload();
    let alone = world.request(&world.alice(), "ledger", json!({ "ticket": "OPS-7" }));
    alone.is_problem(403, "denied", &["olga", "two capacities", "a person counts once"]);
    assert!(world.audited("request.refused")[0]["detail"]["refusal"]["reason"].to_string().contains("two capacities"));
}

#[test]
fn p12_delegated_admins_alone_never_open_sensitive_data() {
    let lines = "owners = [\"olga\"]\ndelegated_admins = [\"otto\", \"sara\"]";
    let mut world = world("moderate", "", lines);
    policy(&world, "tiers.cedar", |text| {
        text.replace("@approvals(\"owner:1\")\n@escalate(\"steward\")\n", "@approvals(\"delegated_admin:2\")\n")
    });
    let any = "@id(\"any\")\npermit (principal, action == Grantd::Action::\"approve\", resource);\n";
    world.scene.write("config/policy/policies/any.cedar", any, User::Root, 0o644);
    world.reload();
    let asked = waiting(&world);
    approved(&world.otto(), &asked, "pending");
    approved(&sara(&world), &asked, "active");
    let mut job = Job::start(&world.scene, User::Alice);
    let (lease, _) = World::vended(&job.vend(&asked.0));
    // It turns out to be sensitive: what they alone approved is over.
    catalog(&world, "moderate", &format!("{lines}\nsensitive = true"));
    world.reload();
    world.wait_for_lease(&lease, "revoked");
    assert_eq!(world.lease(&lease)["reason"], "policy_changed");
    let refused = job.vend(&asked.0);
    refused.is_problem(403, "denied", &["1 owner", "2 delegated admins"]);
    let asked = waiting(&world);
    approved(&world.otto(), &asked, "pending");
    approved(&sara(&world), &asked, "pending");
    approved(&world.olga(), &asked, "active");
    let _ = World::vended(&Job::start(&world.scene, User::Alice).vend(&asked.0));
}

#[test]
fn p12_an_absent_owner_is_one_voice_through_whoever_was_lent_it() {
    let mut world = world("high", "", "owners = [\"olga\", \"otto\"]");
    policy(&world, "tiers.cedar", |text| text.replace("owner:1", "owner:2"));
    world.reload();
    // Nobody lends what they do not have, to themselves, to a workload, or for ever.
    let until = (now() + SignedDuration::from_hours(1)).to_string();
    let lend = |caller: &Caller<'_>, body: Value| caller.curl("POST", "/v1/delegations", Some(&body));
    let nothing = lend(&sara(&world), json!({ "to": "otto", "until": until }));
    nothing.is_problem(403, "denied", &["sara has no capacity"]);
    assert_eq!(nothing.body["rule"], "delegation");
    lend(&world.alice(), json!({ "to": "otto", "until": until })).is_problem(403, "denied", &["no person"]);
    for to in ["olga", "deploy", "nobody-here"] {
        lend(&world.olga(), json!({ "to": to, "until": until })).is_problem(400, "bad-request", &[to]);
    }
    let ever = (now() + SignedDuration::from_hours(24 * 91)).to_string();
    lend(&world.olga(), json!({ "to": "sara", "until": ever })).is_problem(422, "limit", &["90 days"]);
    lend(&world.olga(), json!({ "to": "sara", "until": "2020-01-01T00:00:00Z" })).is_problem(
        400,
        "bad-request",
        &["future"],
    );
    assert_eq!(world.audited("delegation.refused").len(), 7);

    let id = lent(&world, &world.olga(), "sara");
    lent(&world, &world.olga(), "otto");
    world.crash_and_restart();
    let asked = waiting(&world);
    let quorum = &seen(&world, &asked.0)["approval"]["quorum"][0];
    assert_eq!(quorum["can_approve"], json!(["olga", "otto for olga", "sara for olga", "otto"]), "{quorum}");
    let view = approved(&sara(&world), &asked, "pending");
    let given = &view["approval"]["given"][0];
    assert_eq!(
        (&given["person"], &given["on_behalf_of"], &given["capacity"]),
        (&json!("sara"), &json!("olga"), &json!("owner"))
    );
    // Her own voice was heard; otto's own is another one, and he does not have two.
    approve(&world.olga(), &asked.0, &asked.1).is_problem(
        409,
        "state",
        &["sara has approved", "for olga", "counts once"],
    );
    approved(&world.otto(), &asked, "active");
    let shown = world.alice().grantctl(&["show", &asked.0]);
    assert!(shown.stdout.contains("sara for olga, who is away, as owner"), "{shown}");
    let record = &world.audited("grant.approval")[0]["detail"];
    assert_eq!(record["approval"]["on_behalf_of"], json!({ "person": "olga", "delegation": id }));
    assert_eq!(record["decision"]["inputs"]["context"]["delegated"], true);
    let mut job = Job::start(&world.scene, User::Alice);
    let (lease, _) = World::vended(&job.vend(&asked.0));

    // An owner with two voices uses one.
    let twice = waiting(&world);
    approved(&world.otto(), &twice, "pending");
    approve(&world.otto(), &twice.0, &twice.1).is_problem(409, "state", &["otto has approved"]);
    // Who asks is spoken for by nobody, and speaks for nobody.
    let own = world.request(&world.olga(), "ledger", json!({ "subject": "deploy" }));
    own.is_problem(403, "denied", &["only otto can approve it as owner"]);

    // Taken back: what was approved by it is over, and so is what lives.
    let list = sara(&world).grantctl(&["delegate", "list"]);
    assert!(list.success() && list.stdout.contains(&id) && list.stdout.contains("everything"), "{list}");
    let stranger = world.alice().curl("POST", &format!("/v1/delegations/{id}/revoke"), None);
    stranger.is_problem(403, "not-yours", &["olga and sara"]);
    let back = world.olga().grantctl(&["delegate", "revoke", &id]);
    assert!(back.success() && back.stdout.contains("revoked by human olga"), "{back}");
    world.wait_for_lease(&lease, "revoked");
    assert_eq!(world.lease(&lease)["reason"], "policy_changed");
    job.vend(&asked.0).is_problem(403, "denied", &["sara spoke for olga", &id, "is over"]);
    world.olga().curl("POST", &format!("/v1/delegations/{id}/revoke"), None).is_problem(
        409,
        "state",
        &["over already"],
    );
    world.crash_and_restart();
    job.vend(&asked.0).is_problem(403, "denied", &["is over"]);
    approve(&sara(&world), &twice.0, &twice.1).is_problem(403, "denied", &["sara"]);
    assert_eq!((world.audited("delegation.create").len(), world.audited("delegation.revoke").len()), (2, 1));
}

#[test]
fn p12_an_owner_who_leaves_takes_the_delegation_along_and_a_short_one_bounds_the_session() {
    let mut world = world("high", "", "owners = [\"olga\"]");
    let until = (now() + SignedDuration::from_secs(90)).to_string();
    let body = json!({ "to": "sara", "until": until, "resource": "ledger" });
    let made = world.olga().curl("POST", "/v1/delegations", Some(&body));
    assert_eq!(made.status, 201, "{made:?}");
    let asked = waiting(&world);
    approved(&sara(&world), &asked, "active");
    // No session outlives what its approval rests on.
    let mut job = Job::start(&world.scene, User::Alice);
    let (lease, _) = World::vended(&job.vend(&asked.0));
    let ends = world.lease(&lease)["access_until"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(ends <= until.parse::<jiff::Timestamp>().unwrap(), "{ends} is after {until}");
    let long = world.vend(&world.alice(), &asked.0, json!({ "ttl_seconds": 600 }));
    long.is_problem(422, "limit", &["600 s"]);
    catalog(&world, "high", "owners = [\"otto\"]");
    world.reload();
    world.wait_for_lease(&lease, "revoked");
    job.vend(&asked.0).is_problem(403, "denied", &["olga is no owner"]);
    let next = waiting(&world);
    approve(&sara(&world), &next.0, &next.1).is_problem(403, "denied", &["sara"]);
}

#[test]
fn p12_approval_and_denial_at_once_leave_one_of_them() {
    let world = world("high", "", "owners = [\"olga\", \"otto\"]");
    for _ in 0..5 {
        let (id, digest) = waiting(&world);
        let answers = thread::scope(|scope| {
            let yes = scope.spawn(|| approve(&world.olga(), &id, &digest));
            let no = scope.spawn(|| post(&world.otto(), &id, "deny", json!({ "reason": "not now" })));
            [yes.join().unwrap().status, no.join().unwrap().status]
        });
        let state = seen(&world, &id)["state"].clone();
        assert!(
            (answers == [200, 409] && state == "active") || (answers == [409, 200] && state == "denied"),
            "{answers:?} {state}"
        );
    }
}

#[test]
fn p12_stewards_are_asked_when_no_owner_answers_and_never_instead_of_security() {
    let mut world = world("high", "\"sara\"", "owners = [\"olga\"]\nstewards = [\"otto\"]");
    policy(&world, "tiers.cedar", |text| text.replace("@approve_within(\"4h\")", "@approve_within(\"6s\")"));
    world.reload();
    let escalation = |world: &World, id: &str| seen(world, id)["approval"]["escalation"]["state"].clone();
    let asked = waiting(&world);
    assert_eq!(escalation(&world, &asked.0), "due");
    approve(&world.otto(), &asked.0, &asked.1).is_problem(403, "denied", &["otto"]);
    eventually("the stewards are asked", Duration::from_secs(10), || escalation(&world, &asked.0) == "asked");
    let view = seen(&world, &asked.0);
    assert_eq!(view["approval"]["escalation"]["stewards"], json!(["otto"]), "{view}");
    assert_eq!(view["approval"]["quorum"][0]["can_approve"], json!(["olga", "otto"]), "{view}");
    let shown = world.alice().grantctl(&["show", &asked.0]);
    assert!(shown.stdout.contains("no owner answered: otto asked in the owner's place"), "{shown}");
    approved(&world.otto(), &asked, "active");
    assert_eq!(world.audited("grant.escalate")[0]["detail"]["escalation"]["stewards"], json!(["otto"]));
    assert_eq!(world.audited("grant.escalate")[0]["actor"]["part"], "reaper");
    let mut job = Job::start(&world.scene, User::Alice);
    let (lease, key) = World::vended(&job.vend(&asked.0));
    assert!(world.can_read(&key, "alpha"));
    world.crash_and_restart();

    // Policy does not have them asked any more: what a steward alone approved is over, and nobody is asked.
    policy(&world, "tiers.cedar", |text| text.replace("@escalate(\"steward\")\n", ""));
    world.reload();
    world.wait_for_lease(&lease, "revoked");
    assert_eq!(world.lease(&lease)["reason"], "policy_changed");
    job.vend(&asked.0).is_problem(403, "denied", &["1 owner"]);
    let quiet = waiting(&world);
    assert!(seen(&world, &quiet.0)["approval"]["escalation"].is_null());
    eventually("it lapses", Duration::from_secs(15), || seen(&world, &quiet.0)["state"] == "lapsed");

    // At the top nobody stands in for the owner, even where policy says so.
    policy(&world, "tiers.cedar", |text| {
        let text = text.replace(
            "@approvals(\"owner:1, security:1\")\n",
            "@approvals(\"owner:1, security:1\")\n@escalate(\"steward\")\n",
        );
        text.replace("@approve_within(\"2h\")", "@approve_within(\"4s\")")
    });
    catalog(&world, "critical", "owners = [\"olga\"]\nstewards = [\"otto\"]");
    world.reload();
    let top = waiting(&world);
    assert!(seen(&world, &top.0)["approval"]["escalation"].is_null());
    approved(&sara(&world), &top, "pending");
    approve(&world.otto(), &top.0, &top.1).is_problem(403, "denied", &["otto"]);
    eventually("it lapses", Duration::from_secs(15), || seen(&world, &top.0)["state"] == "lapsed");
}
