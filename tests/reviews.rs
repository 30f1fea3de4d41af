//! Reviews: by somebody else, by a deadline, with findings; an overdue one keeps its user from break-glass; what is granted
//! again and again is looked at too.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that breaks must say so"
)]

use std::time::Duration;

use grantd_tests::{Setup, User, World, eventually};
use serde_json::{Value, json};

fn world(more: &str) -> World {
    let mut world = World::with_glass(&Setup::default(), more);
    world.start();
    world
}

fn review_of(grant: &Value) -> String {
    grant["break_glass"]["review"]["id"].as_str().unwrap().to_owned()
}

#[test]
fn p12_nobody_reviews_their_own_use_under_any_identity_and_a_reviewer_does_once() {
    let world = world("");
    let grant = world.broke(&world.olga(), "ledger");
    let review = review_of(&grant);
    for user in [User::Olga, User::OlgaAdm] {
        let refused = world.review(&world.scene.caller(user), &review, json!({}));
        refused.is_problem(403, "denied", &["nobody reviews their own use under any identity"]);
        assert_eq!(refused.body["next"], format!("ask nora to run grantctl review complete {review}"));
    }
    let otto = world.review(&world.otto(), &review, json!({}));
    assert_eq!((otto.status, &otto.body["rule"]), (403, &json!("default-deny")), "{otto:?}");
    world.review(&world.alice(), &review, json!({})).is_problem(403, "denied", &["no person"]);
    world.review(&world.nora(), &review, json!({ "outcome": "fine" })).is_problem(400, "bad-request", &["follow_up"]);
    world.review(&world.nora(), &review, json!({ "findings": "" })).is_problem(400, "bad-request", &["findings"]);
    // Who it concerns sees it, nobody else.
    let list = |user: User| world.scene.caller(user).curl("GET", "/v1/reviews", None).body["reviews"].clone();
    for user in [User::Olga, User::OlgaAdm, User::Bob, User::Root] {
        assert_eq!(list(user)[0]["id"], review.as_str(), "{user:?}");
    }
    assert_eq!((list(User::Otto), list(User::Alice)), (json!([]), json!([])));
    world.otto().curl("GET", &format!("/v1/reviews/{review}"), None).is_problem(403, "not-yours", &[&review]);

    let shown = world.nora().grantctl(&["review", "show", &review]);
    let shows =
        ["break-glass repair, INC-7", "object-storage:read on ledger", "leases taken", "grantctl review complete"];
    assert!(shown.success() && shows.iter().all(|word| shown.stdout.contains(word)), "{shown}");
    let findings = "it was used for the incident, and the job should not need it";
    let done =
        world.nora().grantctl(&["review", "complete", &review, "--outcome", "follow-up", "--findings", findings]);
    assert!(done.success() && done.stdout.contains("follow up"), "{done}");
    world.review(&world.nora(), &review, json!({})).is_problem(409, "state", &["completed by nora already"]);
    let record = &world.audited("review.complete")[0]["detail"];
    assert_eq!((&record["outcome"], &record["reason"]), (&json!("follow_up"), &json!(findings)), "{record}");
    assert_eq!(record["decision"]["determining"], json!(["asked-review", "security-review"]), "{record}");
    assert_eq!(record["break_glass"]["incident"], "INC-7");
    assert_eq!(world.audited("review.refused").len(), 5);
    assert_eq!(list(User::Bob), json!([]));
    let all = world.nora().grantctl(&["review", "list", "--completed"]);
    assert!(all.stdout.contains(&review) && all.stdout.contains("completed"), "{all}");
    world.audit_verifies();
}

#[test]
fn an_overdue_review_keeps_its_user_from_break_glass_until_security_says_so_or_it_is_made() {
    let mut world = World::with_glass(&Setup::default(), "");
    world.change_policy("policies/break-glass.cedar", "@review_within(\"24h\")", "@review_within(\"1s\")");
    world.change_policy(
        "catalog.toml",
        "per_person = 2, per_resource = 3, in_total = 4",
        "per_person = 9, per_resource = 9, in_total = 9",
    );
    world.start();
    let first = review_of(&world.broke(&world.olga(), "alpha"));
    eventually("it is overdue", Duration::from_secs(20), || !world.audited("review.overdue").is_empty());
    assert_eq!(world.audited("review.overdue")[0]["detail"]["can_review"], json!(["nora"]));
    assert!(world.status()["alarms"].to_string().contains(&format!("{first} is overdue")));
    let metrics = world.root().curl("GET", "/v1/metrics", None).body;
    assert!(metrics.as_str().unwrap().contains("grantd_reviews_overdue 1"), "{metrics}");
    // The next use of the same person waits for security, under each of the person's users; nobody else's does.
    for user in [User::Olga, User::OlgaAdm] {
        let asked = world.break_glass(&world.scene.caller(user), "alpha", json!({}));
        assert_eq!((asked.status, &asked.body["state"]), (201, &json!("pending")), "{asked:?}");
        let quorum = json!([{ "capacity": "security", "needed": 1, "given": 0, "can_approve": ["nora"] }]);
        assert_eq!(asked.body["approval"]["quorum"], quorum);
    }
    let waits = &world.audited("break_glass.request")[0]["detail"];
    assert_eq!(waits["overdue_reviews"], json!([first]), "{waits}");
    let others = world.broke(&world.otto(), "alpha");
    let asked = world.break_glass(&world.olga(), "ledger", json!({})).body;
    let grant = asked["id"].as_str().unwrap();
    assert_eq!(world.confirm(&world.otto(), grant).status, 403, "an enrolled person is not security");
    let confirmed = world.confirm(&world.nora(), grant);
    assert_eq!((confirmed.status, &confirmed.body["state"]), (200, &json!("active")), "{confirmed:?}");
    // Whoever let it happen reviews it all the same; once everything is reviewed, nobody has to be asked.
    for review in [first, review_of(&others), review_of(&confirmed.body)] {
        assert_eq!(world.review(&world.nora(), &review, json!({})).status, 200);
    }
    let _ = world.broke(&world.olga(), "ledger");
}

#[test]
fn p12_a_review_that_becomes_overdue_while_a_use_waits_keeps_that_use_from_beginning() {
    let mut world = World::with_glass(&Setup::default(), "");
    world.change_policy("policies/break-glass.cedar", "@review_within(\"24h\")", "@review_within(\"8s\")");
    world.start();
    let review = review_of(&world.broke(&world.olga(), "alpha"));
    let waits = world.break_glass(&world.olga(), "vault", json!({}));
    assert_eq!(waits.body["state"], "pending", "asked for before it was overdue: {waits:?}");
    let grant = waits.body["id"].as_str().unwrap();
    eventually("it is overdue", Duration::from_secs(20), || !world.audited("review.overdue").is_empty());
    let confirmed = world.confirm(&world.otto(), grant);
    confirmed.is_problem(403, "denied", &["olga", "became overdue while", grant, &review]);
    assert_eq!(confirmed.body["who_can_fix"], "nora");
    assert_eq!(confirmed.body["rule"], "review-overdue");
    assert_eq!(world.audited("approve.refused").len(), 1);
    assert_eq!(world.audited("break_glass.use").len(), 1, "only the first began");
    // Once it is reviewed, the same word counts.
    assert_eq!(world.review(&world.nora(), &review, json!({})).status, 200);
    let confirmed = world.confirm(&world.otto(), grant);
    assert_eq!((confirmed.status, &confirmed.body["state"]), (200, &json!("active")), "{confirmed:?}");
}

#[test]
fn where_nobody_of_security_is_there_an_overdue_review_is_the_end_of_it() {
    let mut world = World::with_glass(&Setup::default(), "");
    world.change_policy("policies/break-glass.cedar", "@review_within(\"24h\")", "@review_within(\"1s\")");
    world.change_policy("people.toml", "security = [\"nora\"]", "security = []");
    world.start();
    let review = review_of(&world.broke(&world.olga(), "alpha"));
    eventually("it is overdue", Duration::from_secs(20), || !world.audited("review.overdue").is_empty());
    let refused = world.break_glass(&world.olga(), "alpha", json!({}));
    refused.is_problem(403, "denied", &["overdue", "security"]);
    assert_eq!(refused.body["next"], format!("have it reviewed with grantctl review complete {review}"));
    assert_eq!(world.review(&world.nora(), &review, json!({})).status, 200);
    let _ = world.broke(&world.olga(), "alpha");
}

#[test]
fn what_is_granted_again_and_again_is_reviewed_once_by_who_owns_it() {
    let mut world = world("[review]\nrepeats = 2\nwindow = \"24h\"\nwithin = \"1h\"");
    for _ in 0..3 {
        let _ = world.grant(&world.alice(), "alpha");
    }
    let _ = world.grant(&world.alice(), "beta");
    let repeats = |world: &World| {
        let all = world.root().curl("GET", "/v1/reviews?completed=true", None).body["reviews"].clone();
        all.as_array().unwrap().iter().filter(|review| review["kind"] == "repeat").cloned().collect::<Vec<_>>()
    };
    eventually("it is opened", Duration::from_secs(60), || !repeats(&world).is_empty());
    let opened = repeats(&world)[0].clone();
    assert_eq!((&opened["person"], &opened["resource"]), (&json!("deploy"), &json!("alpha")));
    assert_eq!((&opened["grants"], &opened["reviewers"]), (&json!(3), &json!(["olga"])));
    // Nor again after a restart, nor for more of the same, nor once it is completed.
    let _ = world.grant(&world.alice(), "alpha");
    world.crash_and_restart();
    let id = opened["id"].as_str().unwrap();
    world.review(&world.otto(), id, json!({})).is_problem(403, "denied", &["no rule permits"]);
    assert_eq!(world.review(&world.olga(), id, json!({})).status, 200);
    for _ in 0..3 {
        let _ = world.grant(&world.alice(), "beta");
    }
    eventually("the other one is opened, and so it was looked again", Duration::from_secs(60), || {
        repeats(&world).len() == 2
    });
    let resources: Vec<Value> = repeats(&world).iter().map(|review| review["resource"].clone()).collect();
    assert_eq!(resources, [json!("beta"), json!("alpha")]);
}

#[test]
fn the_report_says_what_was_used_and_proposes_and_changes_nothing() {
    let world = world("");
    for _ in 0..3 {
        let grant = world.grant(&world.alice(), "alpha");
        let _ = World::vended(&world.vend(&world.alice(), &grant, json!({})));
    }
    let _ = world.broke(&world.olga(), "ledger");
    let before = world.status()["policy_version"].clone();
    let report = world.root().curl("GET", "/v1/reviews/report?since_seconds=3600", None);
    assert_eq!((report.status, &report.body["complete"]), (200, &json!(true)), "{report:?}");
    let first = &report.body["repetitions"][0];
    assert_eq!((&first["resource"], &first["subject"]["name"]), (&json!("alpha"), &json!("deploy")));
    assert_eq!((&first["grants"], &first["leases"], &first["used_grants"]), (&json!(3), &json!(3), &json!(3)));
    assert_eq!((&first["approved_seconds"], &first["proposal"]["kind"]), (&json!(5400), &json!("self_service")));
    let diff = first["proposal"]["diff"].as_str().unwrap();
    assert!(diff.contains("+  resource == Grantd::Resource::\"alpha\""), "{diff}");
    let glass = &report.body["repetitions"][1];
    assert_eq!((&glass["resource"], &glass["break_glass"]), (&json!("ledger"), &json!(1)));
    assert!(glass["proposal"].is_null());
    // For owners what is theirs, for nobody else.
    let owner = world.olga().curl("GET", "/v1/reviews/report", None);
    assert_eq!(owner.body["repetitions"].as_array().unwrap().len(), 2, "{owner:?}");
    world.otto().curl("GET", "/v1/reviews/report", None).is_problem(403, "not-yours", &["administrators and auditors"]);
    world.alice().curl("GET", "/v1/reviews/report", None).is_problem(403, "not-yours", &["report"]);
    world.root().curl("GET", "/v1/reviews/report?since_seconds=0", None).is_problem(400, "bad-request", &["366 days"]);
    for (format, words) in [
        ("table", ["self-service", "nothing was changed"]),
        ("csv", ["\"object-storage:read\",\"3\"", "\r\n"]),
        ("html", ["<!DOCTYPE html>", "<td>pipeline deploy</td>"]),
        ("json", ["\"repetitions\"", "\"diff\""]),
    ] {
        let printed = world.root().grantctl(&["review", "report", "--since", "1h", "--format", format]);
        assert!(printed.success() && words.iter().all(|word| printed.stdout.contains(word)), "{printed}");
    }
    assert_eq!(world.status()["policy_version"], before);
}
