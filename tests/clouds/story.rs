//! Promise P8: one policy, one entitlement model, three clouds. The same story on each, told by the same kinds of record.

use grantd_tests::User;
use serde_json::{Value, json};

use crate::stage::{Cloud, Clouds, id_of};

/// What of the story can be compared: nothing of it has a name, a time or a cloud in it.
#[derive(Debug, PartialEq)]
struct Told {
    /// What was answered, step by step.
    answers: Vec<(String, u16, Value)>,
    /// What is on record of each grant and lease, in order: the kind, who, the decision, and what else it tells.
    records: Vec<(String, String, Value, Vec<String>)>,
}

/// Asks for what is refused, what waits for approval and what is granted; takes the credential, uses it, gives it back.
fn tell(clouds: &Clouds, cloud: Cloud) -> Told {
    let before = clouds.audit().len();
    let mut answers = Vec::new();
    let mut step = |what: &str, status: u16, seen: Value| answers.push((what.to_owned(), status, seen));

    let refused = clouds.request(cloud, "vault");
    step("the vault is refused", refused.status, json!([refused.body["type"], refused.body["rule"]]));
    let waits = clouds.request(cloud, "ledger");
    step("the ledger waits", waits.status, json!([waits.body["state"], waits.body["approval"]["quorum"]]));
    let cancelled = clouds.alice().grantctl(&["cancel", &id_of(&waits)]);
    step("the ledger is not wanted any more", 0, json!(cancelled.status.code()));

    let granted = clouds.request(cloud, "reports");
    let view = &granted.body;
    let limits = json!([view["state"], view["tier"], view["max_ttl_seconds"], view["max_concurrent"]]);
    step("the reports are granted", granted.status, limits);
    let grant = id_of(&granted);
    let others = clouds.scene.caller(User::Bob).curl("POST", "/v1/leases", Some(&json!({ "grant": grant })));
    step("bob cannot use alice's grant", others.status, others.body["type"].clone());

    let ask = json!({ "grant": grant, "ttl_seconds": 300 });
    let vended = clouds.scene.caller(User::Alice).curl("POST", "/v1/leases", Some(&ask));
    let (lease, credential) = (vended.body["lease"]["id"].as_str().unwrap(), &vended.body["credential"]);
    step("the credential", vended.status, json!([vended.body["lease"]["state"], vended.body["reused"]]));
    let (place, other) = cloud.places();
    let can = |place| clouds.can_read(cloud, credential, place);
    step("it does what was granted and nothing else", 0, json!([can(place), can(other)]));

    let path = format!("/v1/leases/{lease}/complete");
    let ended = clouds.scene.caller(User::Alice).curl("POST", &path, None);
    step("it is given back", ended.status, ended.body["reason"].clone());
    let over = clouds.wait_confirmed(lease);
    step("it is confirmed", 0, json!([over["state"], over["revocation"], over.get("worst_case_until")]));
    step("it does nothing any more", 0, json!(can(place)));
    let path = format!("/v1/grants/{grant}/complete");
    let done = clouds.scene.caller(User::Alice).curl("POST", &path, None);
    step("the grant is over", done.status, done.body["state"].clone());
    let again = clouds.scene.caller(User::Alice).curl("POST", "/v1/leases", Some(&json!({ "grant": grant })));
    step("nothing comes of it", again.status, again.body["type"].clone());

    let records = clouds.audit().split_off(before);
    Told { answers, records: records.iter().filter_map(of_the_story).collect() }
}

/// What a record tells in every cloud; nothing of the daemon's own housekeeping, which nobody in the story asked for.
fn of_the_story(record: &Value) -> Option<(String, String, Value, Vec<String>)> {
    let kind = record["kind"].as_str().unwrap();
    if ["deny.", "issuer.", "sweep."].iter().any(|start| kind.starts_with(start)) {
        return None;
    }
    let actor = &record["actor"];
    let who = format!("{} {}{}", actor["type"], actor["part"], actor["subject"]["name"]);
    let decision = &record["detail"]["decision"];
    let decided = match decision.is_null() {
        true => Value::Null,
        false => json!([
            decision["action"],
            decision["verdict"],
            decision["determining"],
            decision["obligations"],
            decision["refusal"]["rule"],
        ]),
    };
    let mut names: Vec<String> = record["detail"].as_object().into_iter().flat_map(|one| one.keys().cloned()).collect();
    names.sort();
    Some((kind.to_owned(), who, decided, names))
}

#[test]
fn p8_the_same_story_has_the_same_decisions_states_and_records_on_every_cloud() {
    let clouds = Clouds::new("0s");
    let told: Vec<Told> = Cloud::ALL.into_iter().map(|cloud| tell(&clouds, cloud)).collect();
    let kinds: Vec<&str> = told[0].records.iter().map(|(kind, ..)| kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "request.refused",
            "grant.request",
            "grant.cancel",
            "grant.request",
            "grant.approve",
            "lease.refused",
            "lease.intent",
            "lease.issued",
            "lease.end",
            "lease.revocation_accepted",
            "lease.revocation_confirmed",
            "grant.complete",
            "lease.refused",
        ]
    );
    for (cloud, other) in Cloud::ALL.into_iter().zip(&told).skip(1) {
        assert_eq!(told[0].answers, other.answers, "{cloud:?}");
        assert_eq!(told[0].records, other.records, "{cloud:?}");
    }
    let verified = clouds.root().grantctl(&["audit", "verify"]);
    assert!(verified.success(), "{verified}");
}
