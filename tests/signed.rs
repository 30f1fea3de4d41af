//! Approvals that were signed elsewhere (P12): by whom, of what, until when, and that nothing else counts where policy asks
//! for signatures. `ssh-keygen` signs and verifies; `grantctl` does both with it.
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

use grantd_testkit::Finished;
use grantd_tests::{Answer, Caller, Job, Setup, User, World, now};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// olga has users of this host, otto has none: only a key.
const PEOPLE: &str = "[[person]]\nname = \"olga\"\nunix = [\"gt-olga\", \"gt-olga-adm\"]\n\n\
    [[person]]\nname = \"otto\"\nunix = []\n\n\
    [[workload]]\nname = \"deploy\"\nkind = \"pipeline\"\nunix = \"gt-alice\"\n\n\
    [[workload]]\nname = \"indexer\"\nkind = \"service\"\nunix = \"gt-bob\"\n";

/// A world in which `ledger`, the bucket `alpha`, is of tier high, belongs to these, and asks for signatures or not.
fn world(owners: &str, signatures: bool) -> World {
    let mut world = World::prepared(&Setup::default());
    fs::write(world.policy().join("people.toml"), PEOPLE).unwrap();
    catalog(&world, owners);
    signers(&world, &[("olga", User::Olga), ("otto", User::Otto)]);
    if signatures {
        let path = world.policy().join("policies/tiers.cedar");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("@id(\"high-request\")", "@id(\"high-request\")\n@signed_approval")).unwrap();
    }
    world.start();
    world
}

fn catalog(world: &World, owners: &str) {
    let text = format!(
        "[[resource]]\nname = \"ledger\"\ncloud = \"aws\"\naccount = \"main\"\ntype = \"object-storage\"\n\
         native = \"arn:aws:s3:::alpha\"\nenvironment = \"dev\"\ntier = \"high\"\nowners = [{owners}]\n"
    );
    fs::write(world.policy().join("catalog.toml"), text).unwrap();
}

/// The SSH key of a user, made when it is asked for first.
fn key(world: &World, user: User) -> PathBuf {
    let path = world.scene.home(user).join("id_ed25519");
    if !path.exists() {
        let made = world.scene.caller(user).run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", text(&path)]);
        assert!(made.success(), "{made}");
    }
    path
}

fn text(path: &std::path::Path) -> &str {
    path.to_str().unwrap()
}

/// Whose key is whose.
fn signers(world: &World, whose: &[(&str, User)]) -> PathBuf {
    let line = |(name, user): &(&str, User)| {
        let public = fs::read_to_string(key(world, *user).with_extension("pub")).unwrap();
        format!("{name} namespaces=\"grantd-approval\" {public}")
    };
    let path = world.policy().join("allowed_signers");
    fs::write(&path, whose.iter().map(line).collect::<String>()).unwrap();
    path
}

fn waiting(world: &World) -> String {
    let answer = world.request(&world.alice(), "ledger", json!({}));
    assert_eq!((answer.status, &answer.body["state"]), (201, &json!("pending")), "{answer:?}");
    answer.body["id"].as_str().unwrap().to_owned()
}

/// The request file, as somebody who may see the grant writes it, where `user` can read it.
fn request_file(world: &World, id: &str, user: User) -> PathBuf {
    let written = world.alice().grantctl(&["request-file", id]);
    assert!(written.success(), "{written}");
    world.scene.write(&format!("home/{}/request.json", user.name()), &written.stdout, user, 0o600)
}

/// What `user` signs on a laptop without any daemon.
fn reviewed(world: &World, id: &str, user: User, more: &[&str]) -> Finished {
    let (file, key) = (request_file(world, id, user), key(world, user));
    let laptop = world.scene.caller(user).env("GRANTD_SOCKET", "/nonexistent");
    let line = ["review-request", text(&file), "--key", text(&key)];
    laptop.run(world.scene.bin("grantctl"), &[&line[..], more].concat())
}

/// A signed yes as the wire takes it.
fn signed(world: &World, id: &str, user: User, change: impl Fn(String) -> String) -> Value {
    let file: Value = serde_json::from_str(&fs::read_to_string(request_file(world, id, user)).unwrap()).unwrap();
    let word = |name: &str| file[name].as_str().unwrap().to_owned();
    // Of more time where that is what waits.
    let more = file["extension"]["digest"].as_str().map(str::to_owned);
    let (node, digest) = (word("installation"), more.unwrap_or_else(|| word("digest")));
    let expiry = Timestamp::from_second(now().as_second() + 600).unwrap();
    let statement = change(format!(
        "version: 1\ninstallation: {node}\nrequest: {id}\ndigest: {digest}\ndecision: approve\ncapacity: owner\n\
         expiry: {expiry}\n"
    ));
    json!({ "statement": statement, "signature": signature(world, user, &statement, "grantd-approval") })
}

/// By `ssh-keygen` alone.
fn signature(world: &World, user: User, statement: &str, namespace: &str) -> String {
    let path = world.scene.write(&format!("home/{}/statement", user.name()), statement, user, 0o600);
    let _ = fs::remove_file(path.with_extension("sig"));
    let key = key(world, user);
    let made = world
        .scene
        .caller(user)
        .run("ssh-keygen", &["-q", "-Y", "sign", "-n", namespace, "-f", text(&key), text(&path)]);
    assert!(made.success(), "{made}");
    fs::read_to_string(path.with_extension("sig")).unwrap()
}

fn hand_in(caller: &Caller<'_>, id: &str, signed: &Value) -> Answer {
    caller.curl("POST", &format!("/v1/grants/{id}/approve"), Some(&json!({ "signed": signed })))
}

fn is_refused(answer: &Answer, words: &[&str]) {
    answer.is_problem(403, "denied", words);
    assert_eq!(answer.body["rule"], "signature", "{answer:?}");
}

fn seen(world: &World, id: &str) -> Value {
    let answer = world.root().curl("GET", &format!("/v1/grants/{id}"), None);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

#[test]
fn p12_who_has_no_account_here_judges_on_a_laptop_signs_and_anybody_carries_it_back() {
    let world = world("\"otto\"", true);
    let id = waiting(&world);
    let view = seen(&world, &id);
    assert_eq!(view["approval"]["quorum"][0]["can_approve"], json!(["otto"]), "a key is enough to be waited for");
    let reviewed = reviewed(&world, &id, User::Otto, &["--yes"]);
    assert!(reviewed.success(), "{reviewed}");
    for words in [view["digest"].as_str().unwrap(), "read objects", "s3:GetObject", "recomputed", "not checked here"] {
        assert!(reviewed.stderr.contains(words), "{words}: {reviewed}");
    }
    // bob has nothing to do with it.
    let carried = world.scene.write("home/gt-bob/approval.signed", &reviewed.stdout, User::Bob, 0o600);
    let approved = world.bob().grantctl(&["approve", &id, "--signature", text(&carried)]);
    assert!(approved.success() && approved.stdout.contains("handed in by service indexer"), "{approved}");
    let given = &seen(&world, &id)["approval"]["given"][0];
    assert_eq!((&given["person"], &given["void"]), (&json!("otto"), &Value::Null), "{given}");
    assert!(given["identity"].as_str().unwrap().starts_with("ssh:SHA256:"), "{given}");
    let (_, credentials) = World::vended(&world.vend(&world.alice(), &id, json!({})));
    assert!(world.can_read(&credentials, "alpha"));
    let shown = world.alice().grantctl(&["show", &id]);
    assert!(shown.stdout.contains("otto as owner, signed with ssh:SHA256:"), "{shown}");

    // An auditor verifies it with what is in the audit, and OpenSSH.
    let record = &world.audited("grant.approval")[0];
    let kept = &record["detail"]["approval"]["signed"];
    assert_eq!(record["actor"]["subject"]["name"], "indexer");
    let write = |name: &str, value: &Value| {
        world.scene.write(&format!("home/root/{name}"), value.as_str().unwrap(), User::Root, 0o600)
    };
    let (statement, signature) = (write("statement", &kept["statement"]), write("signature", &kept["signature"]));
    let verify = |who: &str| {
        let list = world.policy().join("allowed_signers");
        let line = format!(
            "ssh-keygen -Y verify -f {} -I {who} -n grantd-approval -s {} < {}",
            text(&list),
            text(&signature),
            text(&statement)
        );
        world.root().run("sh", &["-c", &line])
    };
    assert!(verify("otto").success(), "{}", verify("otto"));
    assert!(!verify("olga").success());
    assert!(world.root().grantctl(&["audit", "verify"]).success());
}

#[test]
fn p12_where_policy_asks_for_signatures_no_other_approval_counts_and_the_refusal_names_the_command() {
    let mut world = world("\"olga\"", true);
    let id = waiting(&world);
    let digest = seen(&world, &id)["digest"].as_str().unwrap().to_owned();
    let path = format!("/v1/grants/{id}/approve");
    let plain = world.olga().curl("POST", &path, Some(&json!({ "digest": digest })));
    is_refused(&plain, &["signed approvals", "olga signed nothing"]);
    let next = plain.body["next"].as_str().unwrap();
    assert!(next.contains("--key") && next.contains("review-request"), "{next}");
    let shown = world.alice().grantctl(&["show", &id]);
    assert!(shown.stdout.contains("policy asks for signed approvals"), "{shown}");
    // The command that it names.
    let key = key(&world, User::Olga);
    let signs = world.olga().grantctl(&["approve", &id, "--key", text(&key), "--digest", &digest]);
    assert!(signs.success() && signs.stdout.contains("active"), "{signs}");
    assert!(signs.stdout.contains("signed with ssh:SHA256:"), "{signs}");
    let (lease, _) = World::vended(&world.vend(&world.alice(), &id, json!({})));

    // Without her key the grant carries nothing any more, and what lives ends.
    signers(&world, &[("otto", User::Otto)]);
    world.reload();
    world.wait_for_lease(&lease, "revoked");
    let refused = world.vend(&world.alice(), &id, json!({}));
    refused.is_problem(403, "denied", &["is not an identity of the person olga"]);
    assert_eq!(refused.body["rule"], "quorum");
    // Nobody is left who could sign one: asking would be waiting for nothing.
    let out = world.request(&world.alice(), "ledger", json!({}));
    out.is_problem(403, "denied", &["no owner of \"ledger\" can approve it here"]);
}

#[test]
fn p12_what_was_approved_without_a_signature_does_not_count_once_policy_asks_for_one() {
    let mut world = world("\"olga\"", false);
    let id = waiting(&world);
    let digest = seen(&world, &id)["digest"].as_str().unwrap().to_owned();
    let path = format!("/v1/grants/{id}/approve");
    let plain = world.olga().curl("POST", &path, Some(&json!({ "digest": digest })));
    assert_eq!(plain.body["state"], "active", "{plain:?}");
    let tiers = world.policy().join("policies/tiers.cedar");
    let text = fs::read_to_string(&tiers).unwrap();
    fs::write(&tiers, text.replace("@id(\"high-issue\")", "@id(\"high-issue\")\n@signed_approval")).unwrap();
    world.reload();
    let refused = world.vend(&world.alice(), &id, json!({}));
    refused.is_problem(403, "denied", &["olga did not sign it"]);
}

#[test]
fn p12_a_signature_counts_for_one_request_digest_installation_decision_capacity_and_time() {
    let world = world("\"otto\"", true);
    let (id, other) = (waiting(&world), waiting(&world));
    let good = signed(&world, &id, User::Otto, |text| text);
    let with = |from: &str, to: &str| signed(&world, &id, User::Otto, |text| text.replace(from, to));
    // Replayed on another request of the very same digest.
    is_refused(&hand_in(&world.bob(), &other, &good), &["was signed for", &id]);
    is_refused(&hand_in(&world.bob(), &id, &with("installation: ", "installation: x")), &["installation x"]);
    is_refused(&hand_in(&world.bob(), &id, &with("decision: approve", "decision: deny")), &["to deny"]);
    let past = now() - SignedDuration::from_secs(1);
    let expired = signed(&world, &id, User::Otto, |text| {
        let (head, _) = text.split_once("expiry: ").unwrap();
        format!("{head}expiry: {}\n", Timestamp::from_second(past.as_second()).unwrap())
    });
    is_refused(&hand_in(&world.bob(), &id, &expired), &["handed in before"]);
    let digest = seen(&world, &id)["digest"].as_str().unwrap().to_owned();
    let zero = "0".repeat(64);
    hand_in(&world.bob(), &id, &with(&digest, &zero)).is_problem(409, "plan-changed", &[&zero]);
    // In a capacity that otto does not have.
    hand_in(&world.bob(), &id, &with("owner", "security")).is_problem(409, "state", &["needs no further approval"]);
    // Changed after it was signed.
    for (from, to) in [("capacity: owner", "capacity: steward"), ("expiry: 20", "expiry: 21")] {
        let mut forged = good.clone();
        forged["statement"] = forged["statement"].as_str().unwrap().replace(from, to).into();
        is_refused(&hand_in(&world.bob(), &id, &forged), &["not over this text"]);
    }
    // For another purpose, by somebody else's key, or with words beside it that nobody signed.
    let mut git = good.clone();
    git["signature"] = signature(&world, User::Otto, good["statement"].as_str().unwrap(), "git").into();
    is_refused(&hand_in(&world.bob(), &id, &git), &["namespace \"git\""]);
    let mut stranger = good.clone();
    stranger["signature"] = signature(&world, User::Bob, good["statement"].as_str().unwrap(), "grantd-approval").into();
    is_refused(&hand_in(&world.bob(), &id, &stranger), &["no signer on the list"]);
    let beside = json!({ "signed": good, "capacity": "owner" });
    let path = format!("/v1/grants/{id}/approve");
    world.bob().curl("POST", &path, Some(&beside)).is_problem(400, "bad-request", &["nobody signed"]);
    // Of all this nothing counts, and each refusal is on record.
    assert_eq!(seen(&world, &id)["approval"]["given"], json!([]));
    assert!(world.audited("approve.refused").len() >= 8);
    let taken = hand_in(&world.bob(), &id, &good);
    assert_eq!((taken.status, &taken.body["state"]), (200, &json!("active")), "{taken:?}");
    hand_in(&world.bob(), &id, &good).is_problem(409, "state", &["nothing of it waits"]);
}

#[test]
fn p12_nobody_approves_for_themselves_with_a_key_either_and_who_owns_no_more_does_not_count() {
    let mut world = world("\"olga\", \"otto\"", true);
    let own = world.request(&world.olga(), "ledger", json!({ "subject": "deploy" }));
    let own = own.body["id"].as_str().unwrap().to_owned();
    let answer = hand_in(&world.bob(), &own, &signed(&world, &own, User::Olga, |text| text));
    answer.is_problem(403, "denied", &["olga asked for", "nobody approves for themselves"]);
    assert_eq!(answer.body["rule"], "own-request");
    let id = waiting(&world);
    let taken = hand_in(&world.bob(), &id, &signed(&world, &id, User::Otto, |text| text));
    assert_eq!(taken.body["state"], "active", "{taken:?}");
    let mut job = Job::start(&world.scene, User::Alice);
    let (lease, _) = World::vended(&job.vend(&id));
    catalog(&world, "\"olga\"");
    world.reload();
    world.wait_for_lease(&lease, "revoked");
    job.vend(&id).is_problem(403, "denied", &["otto is no owner"]);
}

#[test]
fn a_no_can_be_signed_elsewhere_as_well() {
    let world = world("\"otto\"", true);
    let id = waiting(&world);
    let no = reviewed(&world, &id, User::Otto, &["--deny", "--yes"]);
    assert!(no.success() && no.stdout.contains("decision: deny"), "{no}");
    let carried = world.scene.write("home/gt-bob/no.signed", &no.stdout, User::Bob, 0o600);
    let yes = world.bob().grantctl(&["approve", &id, "--signature", text(&carried)]);
    assert!(!yes.success() && yes.stderr.contains("to deny"), "{yes}");
    let denied = world.bob().grantctl(&["deny", &id, "--reason", "not this week", "--signature", text(&carried)]);
    assert!(denied.success(), "{denied}");
    let view = seen(&world, &id);
    assert_eq!(view["state"], "denied", "{view}");
    let reason = view["reason"].as_str().unwrap();
    assert!(reason.contains("otto said no"), "{view}");
    assert!(reason.contains("indexer, who brought it, says: not this week"), "otto did not sign these words: {view}");
    let record = &world.audited("grant.deny")[0]["detail"];
    assert!(record["signed"]["signature"].as_str().unwrap().contains("SSH SIGNATURE"), "{record}");
}

#[test]
fn a_statement_is_signed_by_ssh_keygen_or_by_grantctl_and_a_changed_request_file_by_neither() {
    let world = world("\"otto\"", true);
    let id = waiting(&world);
    let (file, key) = (request_file(&world, &id, User::Otto), key(&world, User::Otto));
    let laptop = world.scene.caller(User::Otto).env("GRANTD_SOCKET", "/nonexistent");
    let grantctl = |line: &[&str]| laptop.run(world.scene.bin("grantctl"), line);
    let statement = grantctl(&["review-request", text(&file), "--statement", "--yes"]);
    assert!(statement.success() && statement.stdout.starts_with("version: 1\n"), "{statement}");
    let path = world.scene.write("home/gt-otto/grant.statement", &statement.stdout, User::Otto, 0o644);
    let by_us = grantctl(&["sign", text(&path), "--key", text(&key)]);
    assert!(by_us.success(), "{by_us}");
    let by_openssh = signature(&world, User::Otto, &statement.stdout, "grantd-approval");
    assert_eq!(by_us.stdout, format!("{}{by_openssh}", statement.stdout), "Ed25519 signs the same the same way");
    // What ssh-keygen leaves beside the file is taken as it is.
    fs::write(path.with_extension("statement.sig"), &by_openssh).unwrap();
    let approved = world.root().grantctl(&["approve", &id, "--signature", &format!("{}.sig", text(&path))]);
    assert!(approved.success() && approved.stdout.contains("active"), "{approved}");

    let again = waiting(&world);
    let file = request_file(&world, &again, User::Otto);
    let changed = fs::read_to_string(&file).unwrap().replace("1800", "1799");
    fs::write(&file, changed).unwrap();
    let refused = grantctl(&["review-request", text(&file), "--key", text(&key), "--yes"]);
    assert!(refused.stdout.is_empty() && refused.stderr.contains("was changed"), "{refused}");
}

#[test]
fn p12_a_laptop_with_the_organisations_own_maps_plans_the_request_anew() {
    let world = world("\"otto\"", true);
    let id = waiting(&world);
    let (file, key) = (request_file(&world, &id, User::Otto), key(&world, User::Otto));
    // The organisation's own files, as they are on a laptop: no base identity, none of the host's users.
    let home = world.scene.home(User::Otto);
    let copied =
        std::process::Command::new("cp").arg("-r").arg(world.policy()).arg(home.join("policy")).status().unwrap();
    assert!(copied.success());
    let config = fs::read_to_string(world.config()).unwrap().replace("aws-credentials", "not-here");
    let config = world.scene.write("home/gt-otto/grantd.toml", &config, User::Otto, 0o600);
    let people = home.join("policy/people.toml");
    let elsewhere = fs::read_to_string(&people).unwrap().replace("gt-", "nobody-here-");
    fs::write(&people, elsewhere).unwrap();
    let owned = world.root().run("chown", &["-R", "gt-otto", text(&home)]);
    assert!(owned.success(), "{owned}");
    let laptop = world.scene.caller(User::Otto).env("GRANTD_SOCKET", "/nonexistent");
    let (policy, planner) = (home.join("policy"), world.scene.bin("grantd"));
    let line = [
        "review-request",
        text(&file),
        "--policy",
        text(&policy),
        "--config",
        text(&config),
        "--planner",
        text(&planner),
        "--key",
        text(&key),
        "--yes",
    ];
    let reviewed = laptop.run(world.scene.bin("grantctl"), &line);
    assert!(
        reviewed.success() && reviewed.stderr.contains("recomputed by your organisation's catalogue"),
        "{reviewed}"
    );
    let signed = world.scene.write("home/gt-bob/approval.signed", &reviewed.stdout, User::Bob, 0o600);
    let approved = world.bob().grantctl(&["approve", &id, "--signature", text(&signed)]);
    assert!(approved.success() && approved.stdout.contains("active"), "{approved}");
    // A host whose catalogue says that the name means another bucket, or another tier.
    for (from, to) in [("arn:aws:s3:::alpha", "arn:aws:s3:::other"), ("tier = \"high\"", "tier = \"low\"")] {
        let catalog = policy.join("catalog.toml");
        let before = fs::read_to_string(&catalog).unwrap();
        fs::write(&catalog, before.replace(from, to)).unwrap();
        let refused = laptop.run(world.scene.bin("grantctl"), &line);
        assert!(refused.stdout.is_empty() && refused.stderr.contains("plan something else"), "{refused}");
        fs::write(&catalog, before).unwrap();
    }
    fs::remove_file(policy.join("catalog.toml")).unwrap();
    let refused = laptop.run(world.scene.bin("grantctl"), &line);
    assert!(refused.stdout.is_empty() && refused.stderr.contains("catalog.toml"), "{refused}");
}

#[test]
fn more_time_is_signed_by_its_own_digest() {
    let world = world("\"otto\"", true);
    let id = waiting(&world);
    let first = signed(&world, &id, User::Otto, |text| text);
    let granted = hand_in(&world.bob(), &id, &first);
    assert_eq!(granted.body["state"], "active", "{granted:?}");
    let before = granted.body["active_until"].as_str().unwrap().to_owned();
    let asked = world.alice().grantctl(&["extend", &id, "--for", "30m", "--why", "it takes longer"]);
    assert!(asked.stderr.contains("wait for approval"), "{asked}");
    // What was signed for the grant itself says nothing of more time.
    hand_in(&world.bob(), &id, &first).is_problem(409, "plan-changed", &["has the digest"]);
    let reviewed = reviewed(&world, &id, User::Otto, &["--yes"]);
    assert!(reviewed.success() && reviewed.stderr.contains("to decide is more time"), "{reviewed}");
    let carried = world.scene.write("home/gt-bob/more.signed", &reviewed.stdout, User::Bob, 0o600);
    let approved = world.bob().grantctl(&["approve", &id, "--signature", text(&carried)]);
    assert!(approved.success(), "{approved}");
    let view = seen(&world, &id);
    assert!(view["active_until"].as_str().unwrap() > before.as_str(), "{view}");
    assert!(view["extensions"][0]["approval"]["given"][0]["signed"]["signature"].is_string(), "{view}");
    let (_, credentials) = World::vended(&world.vend(&world.alice(), &id, json!({})));
    assert!(world.can_read(&credentials, "alpha"));
}

#[test]
fn p12_a_signature_for_more_time_that_was_denied_says_nothing_when_it_is_asked_for_again() {
    let mut world = world("\"olga\", \"otto\"", false);
    let tiers = world.policy().join("policies/tiers.cedar");
    let text = fs::read_to_string(&tiers).unwrap();
    fs::write(&tiers, text.replace("@approvals(\"owner:1\")", "@approvals(\"owner:2\")")).unwrap();
    world.reload();
    let id = waiting(&world);
    let path = format!("/v1/grants/{id}/approve");
    let yes = |world: &World| {
        let digest = seen(world, &id)["digest"].clone();
        world.olga().curl("POST", &path, Some(&json!({ "digest": digest })))
    };
    assert_eq!(hand_in(&world.bob(), &id, &signed(&world, &id, User::Otto, |text| text)).status, 200);
    assert_eq!(yes(&world).body["state"], "active");
    let longer = || {
        let asked = world.alice().grantctl(&["extend", &id, "--for", "30m", "--why", "it takes longer"]);
        assert!(asked.stderr.contains("wait for approval"), "{asked}");
    };
    longer();
    let more = signed(&world, &id, User::Otto, |text| text);
    let given = hand_in(&world.bob(), &id, &more);
    assert_eq!(given.status, 200, "{given:?}");
    let denied = world.olga().grantctl(&["deny", &id, "--reason", "not tonight"]);
    assert!(denied.success(), "{denied}");
    // The same words and the same time, so the same digest: but otto would have to be asked again.
    longer();
    is_refused(&hand_in(&world.bob(), &id, &more), &["approved an extension", "decided since"]);
    let later = now() + SignedDuration::from_secs(1200);
    let anew = signed(&world, &id, User::Otto, |text| {
        let (head, _) = text.split_once("expiry: ").unwrap();
        format!("{head}expiry: {}\n", Timestamp::from_second(later.as_second()).unwrap())
    });
    let taken = hand_in(&world.bob(), &id, &anew);
    assert_eq!(taken.status, 200, "signed anew it counts: {taken:?}");
}
