//! Who is on call, as PagerDuty and Opsgenie tell.

use grantd_testkit::DeskFault;
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
overrides = [
    { url = "{desk}/schedules/PI7DH85/overrides?since={since}&until={until}", list = "/overrides", person = "/user/id" },
]
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
overrides = [
    { url = "{desk}/v2/schedules/operations/overrides?scheduleIdentifierType=name", list = "/data", person = "/user/username", begins = "/startDate", ends = "/endDate", more = "/paging/next" },
]
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

#[test]
fn p6_whoever_is_on_call_by_an_override_alone_is_not_on_call_and_nobody_is_when_overrides_are_not_told() {
    for (source, text, schedule, path, [me, somebody]) in [
        ("pager", PAGERDUTY, "PI7DH85", "/schedules", ["POLGA01", "PSOMEBODY"]),
        ("genie", OPSGENIE, "operations", "/v2/schedules/operations/overrides", ["olga@example.com", "x@example.com"]),
    ] {
        println!("{source}");
        let stage = Stage::new(&format!("{ON_CALL}{}", fresh("")), text);
        let world = &stage.world;
        let rota = |users: &[&str]| {
            stage.desk.pagerduty("PI7DH85", users);
            stage.desk.opsgenie("operations", users);
        };
        rota(&[me]);
        let grant = id_of(&world.request(&world.olga(), "beta", json!({})));
        let vend = || world.vend(&world.olga(), &grant, json!({}));
        // Who is not on call has put themselves there: the vendor tells of whom, and not by whom.
        rota(&[somebody]);
        stage.desk.overrides(schedule, &[(me, -3600, 3600)]);
        is_denied(&vend(), "beta-on-call", &["on call"]);
        assert_eq!(stage.recorded("lease.refused")["on_call"]["facts"], json!({ "on_call": false }));
        is_denied(&world.request(&world.olga(), "beta", json!({})), "beta-on-call", &["on call"]);
        // That of another, and one that is long over or far away, takes nothing from who is on call by the rota.
        rota(&[me]);
        stage.desk.overrides(schedule, &[(somebody, 7200, 9000), (me, -9000, -7200), (me, 90_000, 99_000)]);
        let _ = World::vended(&vend());
        // What is not told is not passed over.
        stage.desk.breaks(path, Some(DeskFault::Status(500)));
        is_denied(&vend(), "signal:on_call", &[source, "override", "500"]);
        stage.desk.breaks(path, Some(DeskFault::LoginPageAsJson));
        is_denied(&vend(), "signal:on_call", &[source, "override", "not JSON"]);
        stage.desk.breaks(path, None);
        let _ = World::vended(&vend());
    }
}

#[test]
fn p6_a_rota_that_goes_on_on_a_further_page_is_denied_by_name() {
    // Without the limit, a page of PagerDuty has 25: who stands on the next must not be told that they are not on call.
    let stage = Stage::new(&format!("{ON_CALL}{}", fresh("")), &PAGERDUTY.replace("&limit=100", ""));
    let crowd: Vec<String> = (0..30).map(|n| format!("P{n:02}")).chain(["POLGA01".to_owned()]).collect();
    stage.desk.pagerduty("PI7DH85", &crowd.iter().map(String::as_str).collect::<Vec<_>>());
    let world = &stage.world;
    is_denied(&world.request(&world.olga(), "beta", json!({})), "signal:on_call", &["pager", "further page", "/more"]);
    let alarms = world.status()["alarms"].to_string();
    assert!(alarms.contains("pager") && alarms.contains("further page"), "{alarms}");
    let stage = Stage::new(&format!("{ON_CALL}{}", fresh("")), PAGERDUTY);
    stage.desk.pagerduty("PI7DH85", &crowd.iter().map(String::as_str).collect::<Vec<_>>());
    let _ = id_of(&stage.world.request(&stage.world.olga(), "beta", json!({})));
}
