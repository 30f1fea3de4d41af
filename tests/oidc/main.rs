//! Tokens of the daemon's own, from the request to whoever verifies them.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test that breaks must say so"
)]

mod fronts;
mod world;

use std::fs;
use std::time::Duration;

use grantd_tests::{Job, User, eventually, now};
use serde_json::{Value, json};

use crate::world::{BILLING, FEDERATION, ISSUER, REPORTS, Setup, World};

#[test]
fn a_token_says_what_was_planned_and_whoever_has_the_published_keys_verifies_it() {
    for algorithm in ["ES256", "RS256"] {
        let world = World::new(&Setup { algorithm, ..Setup::default() });
        let task = json!({ "task": { "system": "github", "run": "42", "job": "bill" } });
        let asked = world.request(User::Alice, "billing", task);
        assert_eq!(asked.status, 201, "{asked:?}");
        let (grant, plan) = (asked.body["id"].as_str().unwrap(), &asked.body["plan"]);
        assert_eq!((&plan["revocation"], &plan["persistence"]), (&json!("expiry_only"), &json!("none")));
        let native = json!({
            "issuer": ISSUER, "audience": BILLING, "subject": "grantd:{kind}:{name}", "max_lifetime_seconds": 300,
            "claims": ["iss", "sub", "aud", "iat", "nbf", "exp", "jti", "grantd"], "exchange": false,
        });
        assert_eq!(plan["native"], native);
        let shown = world.alice().grantctl(&["show", grant]);
        for words in ["cannot be taken back", "whoever verifies the token ends it", "expiry_only", BILLING, ISSUER] {
            assert!(shown.success() && shown.stdout.contains(words), "{words}: {shown}");
        }

        let taken = World::vended(&world.vend(User::Alice, grant, json!({})));
        let seen = world.verified(&taken.token, BILLING);
        let claims = &seen["claims"];
        assert_eq!(
            (&claims["iss"], &claims["aud"], &claims["jti"]),
            (&json!(ISSUER), &json!(BILLING), &json!(taken.lease))
        );
        assert_eq!(claims["sub"], "grantd:pipeline:deploy");
        let told = json!({
            "lease": taken.lease, "grant": grant, "resource": "billing",
            "subject": { "kind": "pipeline", "name": "deploy" },
            "claimed_task": { "system": "github", "run": "42", "job": "bill" },
        });
        assert_eq!(claims["grantd"], told);
        assert_eq!(
            (&seen["header"]["alg"], &seen["header"]["kid"]),
            (&json!(algorithm), &json!(world.keys("signing")[0]))
        );
        // It ends with the lease, to the second.
        let lease = world.lease(&taken.lease);
        let until: jiff::Timestamp = lease["access_until"].as_str().unwrap().parse().unwrap();
        assert_eq!((claims["exp"].as_i64(), taken.expiration), (Some(until.as_second()), until));
        assert!(until <= now().checked_add(Duration::from_secs(300)).unwrap());
        assert_eq!(lease["target"], ISSUER);

        // Nobody else takes it.
        assert_eq!(world.verified(&taken.token, REPORTS)["refused"], "InvalidAudienceError");
        assert_eq!(world.verified_as(&taken.token, FEDERATION, BILLING)["refused"], "InvalidIssuerError");
        let mut forged = taken.token.clone();
        forged.replace_range(forged.len() - 8.., "AAAAAAAA");
        assert_eq!(world.verified(&forged, BILLING)["refused"], "InvalidSignatureError");
        let issued = &world.audited("lease.issued")[0]["detail"];
        assert_eq!((&issued["facts"]["key"], &issued["native_id"]), (&seen["header"]["kid"], &claims["sub"]));
    }
}

#[test]
fn a_rotation_disturbs_no_token_and_no_verifier() {
    let world = World::new(&Setup::default());
    let grant = world.grant(User::Alice, "billing");
    let first = World::vended(&world.vend(User::Alice, &grant, json!({})));
    let rotated = world.root().grantctl(&["issuer", "rotate", "--issuer", "oidc"]);
    assert!(rotated.success() && rotated.stdout.contains("waits to be published"), "{rotated}");
    // The new key signs nothing that nobody could verify.
    let second = World::vended(&world.vend(User::Alice, &grant, json!({})));
    let key = |token: &str| world.verified(token, BILLING)["header"]["kid"].as_str().unwrap().to_owned();
    assert_eq!(key(&first.token), key(&second.token));
    let waiting = world.keys("next");
    world.publish();
    let third = World::vended(&world.vend(User::Alice, &grant, json!({})));
    assert_eq!(vec![key(&third.token)], waiting);
    assert_ne!(key(&first.token), key(&third.token));
    assert_eq!(world.keys("retired"), [key(&first.token)], "the old one is published while its tokens live");
    // The issuer that clouds trust has keys of its own, and is not touched.
    let issuers = world.root().curl("GET", "/v1/issuers", None).body["issuers"].clone();
    let federation = issuers.as_array().unwrap().iter().find(|issuer| issuer["name"] == "federation").unwrap();
    assert_eq!(federation["keys"].as_array().unwrap().len(), 1);
    assert!(world.keys("signing").iter().all(|key| federation["keys"][0]["id"] != **key));
}

#[test]
fn p4_a_token_that_is_taken_away_is_expiring_until_its_end_and_never_called_revoked() {
    let world = World::new(&Setup::default());
    let grant = world.grant(User::Alice, "billing");
    let taken = World::vended(&world.vend(User::Alice, &grant, json!({ "ttl_seconds": 20 })));
    let neighbour = World::vended(&world.vend(User::Bob, &world.grant(User::Bob, "billing"), json!({})));
    let revoked = world.root().grantctl(&["revoke", &taken.lease, "--reason", "a test looks what that means"]);
    assert!(revoked.success(), "{revoked}");
    let lease = world.lease(&taken.lease);
    assert_eq!((&lease["state"], &lease["reason"]), (&json!("expiring"), &json!("revoked")));
    assert_eq!(lease["worst_case_until"], json!(taken.expiration.to_string()), "that is the truth until its end");
    assert!(lease["revocation"].is_null(), "{lease}");
    let status = world.root().curl("GET", "/v1/status", None).body["revocation"].clone();
    assert_eq!(
        (&status["unconfirmed"], &status["oldest_requested_at"]),
        (&json!(1), &Value::Null),
        "and nobody is late"
    );
    // That is no pessimism: whoever verifies it asks nobody.
    assert!(world.verified(&taken.token, BILLING)["claims"].is_object());
    let shown = world.root().grantctl(&["leases", "--all", "--ended"]);
    assert!(shown.stdout.contains("expiring"), "{shown}");

    world.wait_for_lease(&taken.lease, "expired");
    assert!(now() >= taken.expiration, "not before its end");
    assert_eq!(world.verified(&taken.token, BILLING)["refused"], "ExpiredSignatureError");
    assert!(world.lease(&taken.lease)["worst_case_until"].is_null());
    assert_eq!(world.lease(&neighbour.lease)["state"], "active", "p10");
    for kind in ["lease.revocation_accepted", "lease.revocation_confirmed", "lease.revocation_failed"] {
        assert!(world.audited(kind).is_empty(), "{kind}");
    }
    assert!(!world.daemon().output().contains("revocation is late"));

    // Nothing more is given under a grant that was taken away, and what is out is counted as what it is.
    let gone = world.root().grantctl(&["revoke", &world.grant(User::Alice, "reports"), "--reason", "enough"]);
    assert!(gone.success(), "{gone}");
    let drained = world.root().grantctl(&["drain"]);
    assert!(drained.success(), "{drained}");
    assert_eq!(world.lease(&neighbour.lease)["state"], "expiring");
    assert!(world.verified(&neighbour.token, BILLING)["claims"].is_object());
}

#[test]
fn p13_a_restart_ends_no_token_and_a_crash_in_the_middle_hands_out_none() {
    let mut world = World::new(&Setup::default());
    let grant = world.grant(User::Alice, "billing");
    let taken = World::vended(&world.vend(User::Alice, &grant, json!({})));
    let keys = world.keys("signing");
    world.take_daemon().kill9();
    world.start(&[("GRANTD_FAILPOINT", "issue.session_made")]);
    assert_eq!((&world.lease(&taken.lease)["state"], world.keys("signing")), (&json!("active"), keys));
    assert!(world.verified(&taken.token, BILLING)["claims"].is_object());

    let mut daemon = world.take_daemon();
    let mut vend = world.alice().command("curl");
    vend.args(["--silent", "--max-time", "20", "--unix-socket"]).arg(world.scene.socket());
    vend.args(["-H", "Content-Type: application/json", "-d", &json!({ "grant": grant }).to_string()]);
    let told = vend.arg("http://localhost/v1/leases").output().unwrap();
    daemon.wait_end(Duration::from_secs(20));
    assert!(told.stdout.is_empty(), "p1: nothing leaves before its record");
    world.start(&[]);
    let ended = world.audited("lease.end");
    assert_eq!((ended.len(), &ended[0]["detail"]["why"]["why"]), (1, &json!("abandoned")), "{ended:?}");
    let orphan = world.lease(ended[0]["lease"].as_str().unwrap());
    assert_eq!(
        orphan["state"], "expiring",
        "whether it was signed is not known, and it cannot be taken back: {orphan}"
    );
    assert_eq!(world.audited("lease.issued").len(), 1);

    let revoked = world.root().grantctl(&["revoke", &grant, "--reason", "after the restart"]);
    assert!(revoked.success(), "{revoked}");
    assert_eq!(world.lease(&taken.lease)["state"], "expiring");
    world.vend(User::Alice, &grant, json!({})).is_problem(409, "state", &[]);
}

#[test]
fn the_same_anchor_is_handed_the_same_token_and_nobody_else_is() {
    let world = World::new(&Setup::default());
    let grant = world.grant(User::Alice, "billing");
    let mut job = Job::start(&world.scene, User::Alice);
    let ask = json!({ "grant": grant, "anchor": "caller" });
    let [first, again] = [(), ()].map(|()| job.ask("POST", "/v1/leases", ask.clone()));
    assert_eq!((&first.body["reused"], &again.body["reused"]), (&json!(false), &json!(true)));
    assert_eq!(World::vended(&first).token, World::vended(&again).token);
    let other = World::vended(&world.vend(User::Alice, &grant, json!({})));
    assert_ne!(World::vended(&first).token, other.token);
    let refused = world.vend(User::Bob, &grant, json!({}));
    assert!(refused.status >= 400 && refused.body.get("credential").is_none(), "{refused:?}");
    // The lease ends with the job, as far as anybody can end it.
    let lease = World::vended(&first).lease;
    drop(job);
    world.wait_for_lease(&lease, "expiring");
    assert_eq!(world.lease(&lease)["reason"], "anchor_exited");
    // By the command line: one process, one token.
    let script = "grantctl token --grant \"$1\" > a && grantctl token --grant \"$1\" > b && cmp a b && cat a";
    let script = script.replace("grantctl", &world.scene.bin("grantctl").display().to_string());
    let script = format!("cd \"$HOME\" && {script}");
    let told = world.alice().env("GRANTD_SOCKET", world.scene.socket().display().to_string());
    let told = told.run("sh", &["-c", &script, "sh", &grant]);
    assert!(told.success(), "{told}");
    assert_eq!(world.verified(told.stdout.trim(), BILLING)["claims"]["sub"], "grantd:pipeline:deploy");
}

#[test]
fn p3_no_token_lives_longer_than_is_configured_and_none_is_shortened_in_silence() {
    let account = format!("audiences = [\"{BILLING}\", \"{REPORTS}\"]\nmax_lifetime = \"2m\"\nsubject = \"acme/ci\"");
    let world = World::new(&Setup { account, ..Setup::default() });
    let grant = world.grant(User::Alice, "billing");
    let over = world.vend(User::Alice, &grant, json!({ "ttl_seconds": 121 }));
    over.is_problem(422, "limit", &["120 s"]);
    assert_eq!(over.body["limit"], 120);
    world.vend(User::Alice, &grant, json!({ "ttl_seconds": 4 })).is_problem(422, "limit", &["5 s"]);
    // Unasked it is the longest that may be, although the daemon's default is longer.
    let taken = World::vended(&world.vend(User::Alice, &grant, json!({})));
    let claims = world.verified(&taken.token, BILLING)["claims"].clone();
    assert_eq!(claims["sub"], "acme/ci:pipeline:deploy");
    assert!(claims["exp"].as_i64().unwrap() - now().as_second() <= 120);
    let short = World::vended(&world.vend(User::Alice, &grant, json!({ "ttl_seconds": 10 })));
    let exp = world.verified(&short.token, BILLING)["claims"]["exp"].as_i64().unwrap();
    assert!(exp - now().as_second() <= 10);
}

const NO_TOKENS: &str = r#"
@id("no-tokens-for-services")
@reason("what cannot be taken back is not for a {principal}")
@who_can_fix("the test")
@next("ask otherwise")
forbid (principal, action in [Grantd::Action::"request", Grantd::Action::"issue"], resource)
when { resource.cloud == Grantd::Cloud::"oidc" && context.revocation == Grantd::Revocation::"expiry_only" &&
       principal.kind == Grantd::Kind::"service" };
"#;

#[test]
fn p8_policy_sees_that_a_token_cannot_be_taken_back_and_forbids_what_can_be_exchanged() {
    let account = format!("audiences = [\"{BILLING}\", \"{REPORTS}\"]\nexchange_audiences = [\"sts.amazonaws.com\"]");
    let resources = vec![("aws", "sts.amazonaws.com".to_owned()), ("elsewhere", "https://elsewhere".to_owned())];
    let world = World::new(&Setup { account, resources, policy: Some(NO_TOKENS), ..Setup::default() });
    let refused = world.request(User::Bob, "billing", json!({}));
    refused.is_problem(403, "denied", &[]);
    assert_eq!(refused.body["rule"], "no-tokens-for-services");
    assert_eq!(world.request(User::Alice, "billing", json!({})).status, 201);

    // As shipped nothing is handed out that outlives its lease.
    let exchange = json!({ "capability": "oidc-audience:exchange" });
    let refused = world.request(User::Alice, "aws", exchange.clone());
    refused.is_problem(403, "denied", &[]);
    assert_eq!(refused.body["rule"], "no-persistence");
    // By no other name either, and for nobody who is not configured.
    let refused = world.request(User::Alice, "aws", json!({}));
    assert!(refused.body["detail"].as_str().unwrap().contains("oidc-audience:exchange"), "{refused:?}");
    let refused = world.request(User::Alice, "elsewhere", json!({}));
    assert!(refused.body["detail"].as_str().unwrap().contains("makes no tokens for"), "{refused:?}");
    let refused = world.request(User::Alice, "billing", exchange);
    assert!(
        refused.status >= 400 && refused.body["detail"].as_str().unwrap().contains("exchange_audiences"),
        "{refused:?}"
    );

    let doctor = world.root().grantctl(&["doctor", "--json", "--metadata", "127.0.0.1:9"]);
    let findings: Vec<Value> = doctor.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let standing = |check: &str, about: &str| -> Vec<String> {
        let there = findings.iter().filter(|one| one["check"] == check && one["about"] == about);
        there.map(|one| one["standing"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(standing("issuer.published", "issuer oidc"), ["ok"], "{doctor}");
    assert_eq!(standing("audience.configured", BILLING), ["ok"]);
    assert_eq!(standing("audience.configured", "https://elsewhere"), ["problem"]);
    assert_eq!(standing("audience.exchange", "account services"), ["warning"]);
    let page = world.root().grantctl(&["bootstrap", "oidc"]);
    assert!(page.success() && page.stdout.contains(&format!("{ISSUER}/.well-known/jwks.json")), "{page}");
}

#[test]
fn the_daemon_does_not_start_with_two_issuers_that_are_not_apart() {
    let world = World::prepared(&Setup::default());
    assert!(world.check().success());
    let good = fs::read_to_string(world.config()).unwrap();
    let refused = |text: &str, words: &[&str]| {
        world.scene.write("config/grantd.toml", text, User::Root, 0o644);
        let told = world.check();
        assert!(!told.success(), "{told}");
        for word in words {
            assert!(told.stderr.contains(word), "{word}: {told}");
        }
    };
    refused(&good.replace(ISSUER, FEDERATION), &["url", "issuer oidc", "issuer federation"]);
    // One key in two files.
    let made = world.root().run("openssl", &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    assert!(made.success(), "{made}");
    let [one, other] = ["one.pem", "other.pem"].map(|name| {
        world.scene.write(&format!("config/{name}"), &made.stdout, User::Daemon, 0o600).display().to_string()
    });
    for second in [&one, &other] {
        let text = good
            .replace(&format!("url = \"{FEDERATION}\""), &format!("url = \"{FEDERATION}\"\nkeys = [\"{one}\"]"))
            .replace(&format!("url = \"{ISSUER}\""), &format!("url = \"{ISSUER}\"\nkeys = [\"{second}\"]"));
        refused(&text, &["is a key of issuer federation, too"]);
    }
    let (before, _) = good.split_once("[oidc.issuer]").unwrap();
    refused(
        &format!("{before}[[oidc.account]]\nname = \"services\"\naudiences = [\"{BILLING}\"]\n"),
        &["[oidc.issuer]"],
    );
    refused(&good.replace(BILLING, "sts.amazonaws.com"), &["oidc", "exchange_audiences"]);
    refused(&format!("{good}max_lifetime = \"2h\"\n"), &["max_lifetime", "3600 s"]);
}

#[test]
fn p9_a_token_is_nowhere_but_with_its_holder() {
    let world = World::new(&Setup::default());
    let grant = world.grant(User::Alice, "billing");
    let taken = World::vended(&world.vend(User::Alice, &grant, json!({})));
    let revoked = world.root().grantctl(&["revoke", &taken.lease, "--reason", "a look around"]);
    assert!(revoked.success(), "{revoked}");
    let mut places = vec![("the log".to_owned(), world.daemon().output())];
    places.push(("the audit".to_owned(), json!(world.audit()).to_string()));
    places.push(("the lease".to_owned(), world.lease(&taken.lease).to_string()));
    for entry in fs::read_dir(world.scene.state()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            places.push((path.display().to_string(), String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned()));
        }
    }
    assert!(places.len() > 4 && places.iter().any(|(place, _)| place.ends_with("oidc-keys.json")), "{}", places.len());
    let signature = taken.token.rsplit('.').next().unwrap();
    for (place, text) in &places {
        assert!(!text.contains(signature) && !text.contains("eyJ0eXAi"), "the token is in {place}");
    }
    eventually("the lease is listed", Duration::from_secs(5), || {
        world.root().grantctl(&["leases", "--all", "--ended"]).stdout.contains(&taken.lease)
    });
}
