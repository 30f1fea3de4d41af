//! The daemon dies on the way of a request to its decision: what was answered stands, what was not is as it was before.

use std::fs;
use std::time::Duration;

use grantd_tests::{User, eventually, now};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::agent::{Agent, Heard};
use crate::stage::{Stage, asked};

/// The same on the way to asking stewards, for whom half of a short time has to pass.
pub fn escalate(stage: &mut Stage, point: &str) {
    let mut bob = Agent::start(&stage.world.scene, User::Bob);
    let mut otto = Agent::start(&stage.world.scene, User::Otto);
    let files = ["policies/tiers.cedar", "catalog.toml"].map(|name| stage.world.policy().join(name));
    let before = files.each_ref().map(|file| fs::read_to_string(file).unwrap());
    let ledger = before[1].replace("tier = \"high\"\n", "tier = \"high\"\nstewards = [\"otto\"]\n");
    assert_ne!(ledger, before[1]);
    fs::write(&files[0], before[0].replace("@approve_within(\"4h\")", "@approve_within(\"20s\")")).unwrap();
    fs::write(&files[1], ledger).unwrap();
    stage.world.reload();
    // Half of it has passed when the daemon comes back; what it does then is what it would have done.
    let asked = bob.post("/v1/grants", asked("ledger"));
    assert_eq!((asked.status, &asked.body["state"]), (Some(201), &json!("pending")), "{asked:?}");
    stage.arm(point);
    let id = asked.body["id"].as_str().unwrap();
    stage.await_death(point);
    stage.recover(point);
    let seen = || stage.world.root().curl("GET", &format!("/v1/grants/{id}"), None).body;
    eventually("the steward is asked", Duration::from_secs(10), || {
        seen()["approval"]["escalation"]["state"] == "asked"
    });
    let given = otto.post(&format!("/v1/grants/{id}/approve"), json!({ "digest": asked.body["digest"] }));
    assert_eq!(given.body["state"], "active", "{point}: {given:?}");
    for (file, text) in files.iter().zip(before) {
        fs::write(file, text).unwrap();
    }
    stage.world.reload();
}

/// The same on the way of a voice that is lent, or taken back.
pub fn delegate(stage: &mut Stage, point: &str) {
    let mut olga = Agent::start(&stage.world.scene, User::Olga);
    let until = (now() + SignedDuration::from_hours(1)).to_string();
    let body = json!({ "to": "otto", "until": until, "resource": "ledger" });
    let revoked = point == "delegate.revoked";
    let path = if revoked {
        let made = olga.post("/v1/delegations", body.clone());
        assert_eq!(made.status, Some(201), "{made:?}");
        format!("/v1/delegations/{}/revoke", made.body["id"].as_str().unwrap())
    } else {
        "/v1/delegations".to_owned()
    };
    let standing = |stage: &Stage| {
        let list = stage.world.root().curl("GET", "/v1/delegations", None).body;
        list["delegations"].as_array().unwrap().len()
    };
    let before = standing(stage);
    stage.arm(point);
    let heard = olga.post(&path, if revoked { json!({}) } else { body });
    assert_eq!(heard.status, None, "{point}: {heard:?}");
    stage.await_death(point);
    stage.recover(point);
    let after = match point {
        "delegate.decided" => before,
        "delegate.written" => before + 1,
        _ => before - 1,
    };
    assert_eq!(standing(stage), after, "{point}");
}

/// Brings the daemon to `point`, where it dies, and lets it recover.
pub fn die_at(stage: &mut Stage, point: &str) {
    let mut bob = Agent::start(&stage.world.scene, User::Bob);
    let mut olga = Agent::start(&stage.world.scene, User::Olga);
    let tiers = stage.world.policy().join("policies/tiers.cedar");
    let before = fs::read_to_string(&tiers).unwrap();
    let lapses = point.starts_with("lapse");
    if lapses {
        fs::write(&tiers, before.replace("@approve_within(\"4h\")", "@approve_within(\"2s\")")).unwrap();
        stage.world.reload();
        stage.arm(point);
    }
    let asked = bob.post("/v1/grants", asked("ledger"));
    assert_eq!((asked.status, &asked.body["state"]), (Some(201), &json!("pending")), "{asked:?}");
    let id = asked.body["id"].as_str().unwrap();
    let approval = json!({ "digest": asked.body["digest"] });
    let post = |agent: &mut Agent, what: &str, body: &Value| -> Heard {
        agent.post(&format!("/v1/grants/{id}/{what}"), body.clone())
    };
    if point.starts_with("extend") {
        assert_eq!(post(&mut olga, "approve", &approval).status, Some(200));
    }
    if !lapses {
        stage.arm(point);
        let heard = match point {
            "approve.refused" => post(&mut bob, "approve", &approval),
            "approve.decided" | "approve.written" => post(&mut olga, "approve", &approval),
            "deny.decided" | "deny.written" => post(&mut olga, "deny", &json!({ "reason": "the test says no" })),
            "cancel.written" => post(&mut bob, "cancel", &json!({})),
            "extend.decided" | "extend.written" => {
                post(&mut bob, "extend", &json!({ "duration_seconds": 600, "reason": "the test is slow" }))
            }
            _ => panic!("nobody knows how to bring the daemon to {point}: add it here"),
        };
        assert_eq!(heard.status, None, "{point}: {heard:?}");
    }
    stage.await_death(point);
    fs::write(&tiers, before).unwrap();
    stage.recover(point);
    let seen = || stage.world.root().curl("GET", &format!("/v1/grants/{id}"), None).body;
    if lapses {
        eventually("the request lapses", Duration::from_secs(10), || seen()["state"] == "lapsed");
        return;
    }
    let (state, extensions) = match point {
        "approve.written" => ("active", 0),
        "deny.written" => ("denied", 0),
        "cancel.written" => ("cancelled", 0),
        "extend.decided" => ("active", 0),
        "extend.written" => ("active", 1),
        _ => ("pending", 0),
    };
    let view = seen();
    let waiting = view["extensions"].as_array().map_or(0, Vec::len);
    assert_eq!((view["state"].as_str().unwrap(), waiting), (state, extensions), "{point}: {view}");
    // What waits is decided now as it would have been then.
    if state == "pending" {
        assert_eq!(olga.post(&format!("/v1/grants/{id}/approve"), approval).body["state"], "active", "{point}");
    }
}
