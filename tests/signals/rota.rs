//! Who is on call, as PagerDuty and Opsgenie tell.

use grantd_tests::World;
use serde_json::json;

use super::stage::{ON_CALL, Stage, fresh, id_of, is_denied};

const PAGERDUTY: &str = r#"
[[signal]]
name = "pager"
type = "on_call"
contact = "the platform team"
url = "{desk}/oncalls?schedule_ids[]=PI7DH85&limit=100"
secret = "{config}/pagerduty.secret"
list = "/oncalls"
person = "/user/id"
accounts = { olga = "POLGA01" }
"#;

const OPSGENIE: &str = r#"
[[signal]]
name = "genie"
type = "on_call"
contact = "the platform team"
url = "{desk}/v2/schedules/operations/on-calls?scheduleIdentifierType=name&flat=true"
secret = "{config}/opsgenie.secret"
list = "/data/onCallRecipients"
accounts = { olga = "olga@example.com" }
"#;

#[test]
fn p6_whoever_is_off_call_by_the_time_of_the_issue_is_denied() {
    for (source, text, me) in [("pager", PAGERDUTY, "POLGA01"), ("genie", OPSGENIE, "Olga@example.com")] {
        println!("{source}");
        let stage = Stage::new(&format!("{ON_CALL}{}", fresh("")), text);
        let world = &stage.world;
        let turn = |users: &[&str]| {
            stage.desk.pagerduty("PI7DH85", users);
            stage.desk.opsgenie("operations", users);
        };
        turn(&["PSOMEBODY", me]);
        let grant = id_of(&world.request(&world.olga(), "beta", json!({})));
        assert_eq!(stage.recorded("grant.request")["on_call"]["sources"], json!([source]));
        turn(&["PSOMEBODY"]);
        is_denied(&world.vend(&world.olga(), &grant, json!({})), "beta-on-call", &["on call"]);
        assert_eq!(stage.recorded("lease.refused")["on_call"]["facts"], json!({ "on_call": false }));
        turn(&[me]);
        let _ = World::vended(&world.vend(&world.olga(), &grant, json!({})));
        // A machine is never on call; of whom it is not told what they are called there, nothing is known.
        is_denied(&world.request(&world.alice(), "beta", json!({})), "beta-on-call", &["on call"]);
        is_denied(&world.request(&world.otto(), "beta", json!({})), "signal:on_call", &[source, "otto"]);
    }
}

#[test]
fn p6_a_rota_that_does_not_take_the_daemons_word_or_is_not_there_is_denied_by_name() {
    let sources = PAGERDUTY.replace("pagerduty.secret", "basic.secret");
    let stage = Stage::new(&format!("{ON_CALL}{}", fresh("")), &sources);
    stage.desk.pagerduty("PI7DH85", &["POLGA01"]);
    let world = &stage.world;
    is_denied(&world.request(&world.olga(), "beta", json!({})), "signal:on_call", &["pager", "401", "may not ask"]);
    let stage = Stage::new(&format!("{ON_CALL}{}", fresh("")), OPSGENIE);
    let world = &stage.world;
    is_denied(&world.request(&world.olga(), "beta", json!({})), "signal:on_call", &["genie", "404"]);
    let alarms = world.status()["alarms"].to_string();
    assert!(alarms.contains("genie") && alarms.contains("404"), "{alarms}");
}
