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
