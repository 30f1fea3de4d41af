//! What the daemon tells Prometheus is what happened, is read by Prometheus's own reader, and names nobody.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that breaks must say so"
)]

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::Duration;

use grantd_testkit::{Fault, Rule};
use grantd_tests::{Setup, User, World, eventually};
use serde_json::{Value, json};

/// Reads OpenMetrics with Prometheus's own parser: a line `name{label=value,...} number` for each sample, labels sorted.
const READER: &str = r#"
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
samples = {}
for family in text_string_to_metric_families(open(sys.argv[1]).read()):
    assert family.documentation, family.name + " says nothing about itself"
    for sample in family.samples:
        labels = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()))
        samples[sample.name + "{" + labels + "}"] = sample.value
print(json.dumps(samples))
"#;

/// Every sample, as Prometheus reads it.
fn read(world: &World, text: &str) -> BTreeMap<String, f64> {
    let file = world.scene.write("metrics.txt", text, User::Root, 0o644);
    let reader = world.scene.write("reader.py", READER, User::Root, 0o644);
    let code = format!("import sys; sys.argv = ['', {:?}]; exec(open({:?}).read())", file, reader);
    let finished = world.alice().python(&code);
    assert!(finished.success(), "Prometheus does not read this: {finished}\n{text}");
    serde_json::from_str(&finished.stdout).unwrap()
}

fn text(world: &World) -> String {
    let answer = world.root().curl("GET", "/v1/metrics", None);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body.as_str().unwrap().to_owned()
}

fn scrape(world: &World) -> BTreeMap<String, f64> {
    read(world, &text(world))
}

fn value(samples: &BTreeMap<String, f64>, name: &str) -> f64 {
    *samples.get(name).unwrap_or_else(|| panic!("there is no {name} in {samples:#?}"))
}

#[test]
fn what_happens_is_counted_and_ages_are_told() {
    let world = World::new();
    let first = scrape(&world);
    assert_eq!(value(&first, "grantd_revocation_oldest_unconfirmed_seconds{}"), 0.0);
    assert_eq!(value(&first, "grantd_leases{state=active}"), 0.0);

    let grant = world.grant(&world.alice(), "alpha");
    let (lease, _) = World::vended(&world.vend(&world.alice(), &grant, json!({})));
    let (other, _) = World::vended(&world.vend(&world.alice(), &grant, json!({})));
    assert_eq!(world.request(&world.bob(), "nowhere", json!({})).status, 404);
    let samples = scrape(&world);
    for (name, expected) in [
        ("grantd_leases{state=active}", 2.0),
        ("grantd_grants{state=active}", 1.0),
        ("grantd_credentials_in_memory{}", 2.0),
        ("grantd_audit_records_written_total{kind=lease.issued}", 2.0),
        ("grantd_audit_records_written_total{kind=grant.request}", 1.0),
        ("grantd_decisions_total{action=request,rule=,verdict=allow}", 1.0),
        ("grantd_decisions_total{action=issue,rule=,verdict=allow}", 2.0),
        ("grantd_cloud_calls_total{account=main,call=issue,cloud=aws,outcome=ok}", 2.0),
        ("grantd_cloud_call_seconds_count{account=main,call=issue,cloud=aws}", 2.0),
        ("grantd_requests_total{route=POST /v1/leases,status=200}", 2.0),
        ("grantd_requests_total{route=POST /v1/grants,status=404}", 1.0),
        ("grantd_store_poisoned{}", 0.0),
        ("grantd_revocations_unconfirmed{}", 0.0),
    ] {
        assert_eq!(value(&samples, name), expected, "{name}");
    }
    let places: f64 =
        samples.iter().filter(|(name, _)| name.starts_with("grantd_deny_scope_places{")).map(|s| s.1).sum();
    assert_eq!(places, 2.0);

    // A revocation that the cloud does not take grows old where everybody can see it.
    let rule = world.proxy.add(Rule::on("CreatePolicyVersion", Fault::Status { status: 500, code: None })).unwrap();
    assert_eq!(world.alice().curl("POST", &format!("/v1/leases/{lease}/complete"), None).status, 200);
    eventually("it is late", Duration::from_secs(15), || {
        value(&scrape(&world), "grantd_revocation_oldest_unconfirmed_seconds{}") >= 1.0
    });
    let late = scrape(&world);
    assert_eq!(value(&late, "grantd_revocations_unconfirmed{}"), 1.0);
    assert_eq!(value(&late, "grantd_account_failing{account=main,cloud=aws}"), 1.0);
    assert!(value(&late, "grantd_cloud_calls_total{account=main,call=deny,cloud=aws,outcome=unknown}") >= 1.0);
    world.proxy.remove(rule);
    world.wait_for_lease(&lease, "revoked");
    let after = scrape(&world);
    assert_eq!(value(&after, "grantd_revocation_oldest_unconfirmed_seconds{}"), 0.0);
    assert_eq!(value(&after, "grantd_leases{state=active}"), 1.0);
    assert_eq!(world.lease(&other)["state"], "active");
    let head = world.root().curl("GET", "/v1/audit?after=0&limit=1", None).body["head_seq"].as_f64().unwrap();
    assert_eq!(value(&after, "grantd_audit_chain_records{}"), head);
}

#[test]
fn p9_the_figures_name_nobody_and_no_secret_and_are_not_for_everybody() {
    let world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let (lease, held) = World::vended(&world.vend(&world.alice(), &grant, json!({})));
    world.alice().curl("GET", "/v1/metrics", None).is_problem(403, "not-yours", &["administrators and auditors"]);
    let text = text(&world);
    let secrets = [&held.secret_access_key, &held.access_key_id, held.session_token.as_ref().unwrap()];
    for word in
        ["deploy", "indexer", "olga", "alpha", "gt-alice", &grant, &lease].into_iter().chain(secrets.map(|s| &**s))
    {
        assert!(!text.contains(word), "\"{word}\" is in the metrics");
    }
}

#[test]
fn the_issuer_tells_how_many_tokens_it_signed_and_how_its_keys_stand() {
    let lines = "url = \"https://tokens.example.com\"\nalgorithm = \"ES256\"\npublish_ahead = \"1h\"".to_owned();
    let mut world = World::prepared(&Setup { issuer: Some(lines), by_token: true, ..Setup::default() });
    world.start();
    let figures = |world: &World| {
        let samples = scrape(world);
        ["key_unpublished", "rotation_waits"]
            .map(|name| value(&samples, &format!("grantd_issuer_{name}{{issuer=federation}}")))
    };
    let minted = |samples: &BTreeMap<String, f64>, audience: &str| {
        value(samples, &format!("grantd_issuer_tokens_minted_total{{audience={audience},issuer=federation}}"))
    };
    let before = scrape(&world);
    let grant = world.grant(&world.alice(), "alpha");
    drop(World::vended(&world.vend(&world.alice(), &grant, json!({}))));
    let after = scrape(&world);
    // One for the session; the revoker may have taken one of its own meanwhile.
    assert!(minted(&after, "aws") > minted(&before, "aws"), "{before:?} {after:?}");
    assert_eq!(minted(&after, "other"), 0.0);
    assert_eq!(value(&after, "grantd_issuer_signing_errors_total{issuer=federation}"), 0.0);
    let age = value(&after, "grantd_issuer_key_age_seconds{issuer=federation}");
    assert!((0.0..3_600.0).contains(&age), "{age}");

    assert_eq!(figures(&world), [1.0, 0.0], "nobody was told of the first key");
    let publish = |world: &World| {
        let directory = world.scene.path().join("published").display().to_string();
        let done = world.root().grantctl(&["issuer", "publish", &directory]);
        assert!(done.success(), "{done}");
    };
    publish(&world);
    assert_eq!(figures(&world), [0.0, 0.0]);
    assert!(world.root().grantctl(&["issuer", "rotate"]).success());
    assert_eq!(figures(&world), [0.0, 1.0], "the next one waits, and the first one signs on");
    publish(&world);
    assert_eq!(figures(&world), [0.0, 0.0]);
    assert!(world.root().grantctl(&["issuer", "rotate", "--leaked"]).success());
    assert_eq!(figures(&world), [0.0, 0.0], "the one that is published takes its place");
    assert!(world.root().grantctl(&["issuer", "rotate", "--leaked"]).success());
    assert_eq!(figures(&world), [1.0, 0.0], "it signs before anybody can know it");
    publish(&world);

    // A key that nobody replaced: as old as the state says.
    world.take_daemon().stop();
    let path = world.scene.state().join("federation-keys.json");
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let mut text = kept.to_string();
    for key in kept["ring"]["keys"].as_array().unwrap() {
        let since = key["phase"]["since"].as_str().unwrap();
        text = text.replace(since, "2026-01-01T00:00:00Z");
    }
    std::fs::write(&path, text).unwrap();
    world.start();
    assert_eq!(figures(&world), [0.0, 1.0], "its successor is made and waits");
    assert!(value(&scrape(&world), "grantd_issuer_key_age_seconds{issuer=federation}") > 100.0 * 86_400.0);
    let status = world.root().grantctl(&["status"]);
    let words =
        ["is degraded", "signs", "since 2026-01-01", "was to be replaced by 2026-04-01", "waits to be published"];
    assert!(words.iter().all(|word| status.stdout.contains(word)), "{status}");
    publish(&world);
    let named = text_of_issuer(&world);
    for word in ["grantd:main", "sts.amazonaws.com", "tokens.example.com", "deploy"] {
        assert!(!named.contains(word), "{word}: {named}");
    }
}

/// The lines about issuers.
fn text_of_issuer(world: &World) -> String {
    text(world).lines().filter(|line| line.contains("grantd_issuer")).collect::<Vec<_>>().join("\n")
}

#[test]
fn over_tcp_there_is_one_page_and_the_daemon_goes_on() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut world = World::prepared(&Setup { metrics: format!("listen = \"127.0.0.1:{port}\""), ..Setup::default() });
    world.start();
    let get = |path: &str, more: &[&str]| {
        let url = format!("http://127.0.0.1:{port}{path}");
        let finished = world.alice().run("curl", &[&["-s", "-w", "\n%{http_code}", &url], more].concat());
        let (body, status) = finished.stdout.rsplit_once('\n').unwrap_or_else(|| panic!("{finished}"));
        (status.to_owned(), body.to_owned())
    };
    let (status, text) = get("/metrics", &[]);
    assert_eq!(status, "200");
    assert_eq!(value(&read(&world, &text), "grantd_store_poisoned{}"), 0.0);
    assert_eq!(get("/v1/grants", &[]).0, "404");
    assert_eq!(get("/metrics", &["-X", "POST"]).0, "405");
    // Whoever opens connections and says nothing keeps nobody from the socket.
    let idle: Vec<_> = (0..64).map(|_| std::net::TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    world.serves_bob();
    drop(idle);
    eventually("it is served again", Duration::from_secs(20), || get("/metrics", &["-m", "2"]).0 == "200");
    let _: &Value = &world.status();
}
