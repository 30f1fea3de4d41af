//! Tickets at request, at approval and at issue, as three systems tell of them.

use grantd_testkit::DeskTicket;
use grantd_tests::World;
use serde_json::json;

use super::stage::{Stage, TICKET, fresh, github, id_of, is_denied, jira, servicenow, ticket};

fn all() -> Stage {
    Stage::new(&format!("{TICKET}{}", fresh("")), &(jira("jira", "OPS") + &servicenow() + &github()))
}

#[test]
fn p6_a_ticket_that_was_closed_since_the_request_denies_the_issue() {
    let stage = all();
    type Put = fn(&Stage, &str);
    let systems: [(&str, &str, &str, &str, Put); 3] = [
        ("jira", "OPS-17", "In Progress", "Done", |s, state| s.desk.jira("OPS-17", ticket(state))),
        ("now", "CHG0030192", "-1", "3", |s, state| {
            s.desk.servicenow("CHG0030192", DeskTicket { names: vec!["beta".to_owned()], ..ticket(state) });
        }),
        ("hub", "acme/ops#1347", "open", "closed", |s, state| s.desk.github("acme/ops#1347", ticket(state))),
    ];
    for (source, id, active, closed, put) in systems {
        println!("{source}");
        put(&stage, active);
        let grant = stage.granted(id);
        let asked = stage.recorded("grant.request");
        assert_eq!(asked["ticket"]["sources"], json!([source]));
        assert_eq!(asked["ticket"]["facts"]["ticket_state"], "active");
        assert!(asked["ticket"]["age_seconds"].as_u64().is_some_and(|age| age <= 10), "{asked}");
        put(&stage, closed);
        let refused = stage.world.vend(&stage.world.alice(), &grant, json!({}));
        is_denied(&refused, "beta-ticket", &["beta", "worked on"]);
        assert_eq!(stage.recorded("lease.refused")["ticket"]["facts"]["ticket_state"], "closed");
        put(&stage, active);
        let (lease, _) = World::vended(&stage.world.vend(&stage.world.alice(), &grant, json!({})));
        let record = stage.world.records_of(&lease, "lease.intent").pop().unwrap();
        let signal = &record["detail"]["decision"]["inputs"]["signals"]["ticket"];
        assert_eq!((&signal["looked_up"], &signal["sources"]), (&json!("had"), &json!([source])), "{record}");
        assert!(signal["age_seconds"].is_u64() && signal["facts"]["ticket_names_resource"] == true, "{record}");
    }
    assert!(stage.world.proxy.ledger().len() == 3, "only what was allowed was issued");
}

#[test]
fn p6_a_ticket_that_was_closed_since_the_request_stops_its_approval_and_after_it_the_issue() {
    let high = "@id(\"high-fresh\") @max_duration(\"4h\") @max_ttl(\"30m\") @approve_within(\"4h\") @approvals(\"owner:1\") @escalate(\"steward\") @signal_max_age(\"0s\")\npermit (principal, \
                action in [Grantd::Action::\"request\", Grantd::Action::\"issue\"], resource)\nwhen { resource.tier == \
                Grantd::Tier::\"high\" };\n";
    let stage = Stage::new(&format!("{TICKET}{high}"), &jira("jira", "OPS"));
    stage.desk.jira("OPS-17", ticket("In Progress"));
    let world = &stage.world;
    let grant = id_of(&world.request(&world.alice(), "ledger", json!({ "ticket": "OPS-17" })));
    let digest = world.olga().curl("GET", &format!("/v1/grants/{grant}"), None).body["digest"].clone();
    let digest = json!({ "digest": digest });
    let approve = || world.olga().curl("POST", &format!("/v1/grants/{grant}/approve"), Some(&digest));
    stage.desk.jira("OPS-17", ticket("Done"));
    is_denied(&approve(), "beta-ticket", &["worked on"]);
    stage.desk.jira("OPS-17", ticket("In Progress"));
    assert_eq!(approve().status, 200);
    stage.desk.jira("OPS-17", ticket("Done"));
    is_denied(&world.vend(&world.alice(), &grant, json!({})), "beta-ticket", &["worked on"]);
    assert!(world.proxy.ledger().is_empty());
    stage.desk.jira("OPS-17", ticket("In Progress"));
    let _ = World::vended(&world.vend(&world.alice(), &grant, json!({})));
}

#[test]
fn p6_only_the_ticket_that_was_named_and_of_somebody_else_is_evidence() {
    let stage = all();
    let (desk, world) = (&stage.desk, &stage.world);
    let by = |address: &str| DeskTicket { opened_by: address.to_owned(), ..ticket("In Progress") };
    desk.jira("OPS-1", by("olga@example.com"));
    desk.jira("OPS-2", DeskTicket { names: vec!["betamax".to_owned()], ..ticket("In Progress") });
    desk.jira("OPS-3", DeskTicket { moved_to: Some("SEC-4".to_owned()), ..ticket("In Progress") });
    desk.jira("OPS-5", ticket("Waiting for the moon"));
    let olga = |id: &str| world.request(&world.olga(), "beta", json!({ "ticket": id }));
    is_denied(&olga("OPS-1"), "beta-ticket", &["one's own"]);
    assert_eq!(stage.recorded("request.refused")["ticket"]["facts"]["ticket_by_requester"], true);
    assert_eq!(stage.request("OPS-1").status, 201, "for somebody else it is evidence");
    is_denied(&stage.request("OPS-2"), "beta-ticket", &["names it"]);
    is_denied(&stage.request("OPS-3"), "signal:ticket", &["jira", "another ticket"]);
    is_denied(&stage.request("OPS-5"), "signal:ticket", &["jira", "Waiting for the moon"]);
    is_denied(&stage.request("OPS-6"), "signal:ticket", &["jira", "404"]);
    is_denied(&world.request(&world.alice(), "beta", json!({})), "beta-ticket", &["worked on"]);
    // Who is not told of there may have opened it under any name.
    let otto = world.request(&world.otto(), "beta", json!({ "ticket": "OPS-1" }));
    is_denied(&otto, "signal:ticket", &["ticket_by_requester"]);
    // A query that finds another, one that finds none, an issue that was moved or deleted.
    desk.servicenow("CHG1", ticket("-1"));
    is_denied(&stage.request("CHG2"), "signal:ticket", &["now", "no ticket"]);
    let place = format!("{}/repos/acme/elsewhere/issues/9", desk.url());
    desk.github("acme/ops#8", DeskTicket { moved_to: Some(place), ..ticket("open") });
    desk.github("acme/elsewhere#9", ticket("open"));
    is_denied(&stage.request("acme/ops#8"), "signal:ticket", &["hub", "301", "no redirect"]);
    desk.github("acme/ops#9", DeskTicket { moved_to: Some("deleted".to_owned()), ..ticket("open") });
    is_denied(&stage.request("acme/ops#9"), "signal:ticket", &["hub", "410"]);
    assert!(!desk.asked().iter().any(|path| path.contains("elsewhere")), "{:?}", desk.asked());
}

#[test]
fn p6_an_id_that_no_ticket_system_has_is_asked_of_nobody() {
    let stage = all();
    for id in [
        "ops-17",
        "OPS-17/../OPS-18",
        "OPS-",
        "OPS-1?x=1",
        "XOPS-1",
        "acme/ops#1#2",
        "acme/other#1",
        "CHG1^ORnumber=CHG2",
    ] {
        let refused = stage.request(id);
        assert!(refused.status == 400 || refused.body["rule"] == "signal:ticket", "{id}: {refused:?}");
    }
    assert!(stage.desk.asked().is_empty(), "{:?}", stage.desk.asked());
    // And one of a pattern with more than letters in it is one segment of the path, or none.
    stage.desk.github("acme/ops#12", ticket("open"));
    assert_eq!(stage.request("acme/ops#12").status, 201);
    assert_eq!(stage.desk.asked(), ["/repos/acme/ops/issues/12"]);
}

#[test]
fn p6_a_ticket_that_was_moved_by_who_asks_is_no_evidence() {
    let jira = jira("jira", "OPS").replace("reporter,labels\"", "reporter,labels&expand=changelog\"").replace(
        "opened_by",
        "moved_by = { list = \"/changelog/histories\", person = \"/author/emailAddress\", time = \"/created\", items = \
         \"/items\", kind = \"/field\", kinds = [\"status\"], most = 100 }\nopened_by",
    );
    let now = servicenow().replace("opened_by.email,", "opened_by.email,sys_updated_by,").replace(
        "\nopened_by",
        "\naccounts = { olga = \"olga@example.com\" }\nmoved_by = { person = \"/result/0/sys_updated_by\" }\nopened_by",
    );
    let hub = github().replace(
        "opened_by",
        "moved_by = { url = \"{desk}/repos/acme/ops/issues/{digits}/events?per_page=100\", list = \"\", person = \
         \"/actor/login\", time = \"/created_at\", kind = \"/event\", kinds = [\"closed\", \"reopened\"], most = 100 \
         }\nopened_by",
    );
    let stage = Stage::new(&format!("{TICKET}{}", fresh("")), &(jira + &now + &hub));
    let (desk, world) = (&stage.desk, &stage.world);
    let olga = |id: &str| world.request(&world.olga(), "beta", json!({ "ticket": id }));
    let moved = |state: &str, moves: &[&str]| DeskTicket {
        moves: moves.iter().map(|&who| who.to_owned()).collect(),
        names: vec!["beta".to_owned()],
        ..ticket(state)
    };
    for (id, state, me, other) in [
        ("OPS-17", "In Progress", "Olga@example.com", "otto@example.com"),
        ("CHG17", "-1", "olga@example.com", "otto@example.com"),
        ("acme/ops#17", "open", "olga-hub", "otto-hub"),
    ] {
        let put = |moves: &[&str]| match id.as_bytes()[0] {
            b'O' => desk.jira(id, moved(state, moves)),
            b'C' => desk.servicenow(id, moved(state, moves)),
            _ => desk.github(id, moved(state, moves)),
        };
        println!("{id}");
        put(&[other, me]);
        is_denied(&olga(id), "beta-ticket", &["one's own"]);
        assert_eq!(stage.recorded("request.refused")["ticket"]["facts"]["ticket_by_requester"], true);
        assert_eq!(stage.request(id).status, 201, "for somebody else it is evidence");
        put(&[me, other]);
        assert_eq!(olga(id).status, 201, "somebody else moved it since");
    }
    // Nobody was ever moved; by one whom Jira does not name; in a list that may go on; in one that is not told.
    desk.jira("OPS-18", moved("In Progress", &[]));
    assert_eq!(olga("OPS-18").status, 201);
    desk.jira("OPS-19", moved("In Progress", &["otto@example.com", "automation"]));
    is_denied(&olga("OPS-19"), "signal:ticket", &["ticket_by_requester"]);
    desk.github("acme/ops#20", moved("open", &["otto-hub"; 100]));
    is_denied(&olga("acme/ops#20"), "signal:ticket", &["hub", "moved", "whole"]);
    desk.breaks("/repos/acme/ops/issues/17/events", Some(grantd_testkit::DeskFault::Status(404)));
    is_denied(&olga("acme/ops#17"), "signal:ticket", &["hub", "moved", "404"]);
}
