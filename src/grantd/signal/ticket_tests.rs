//! Tickets as Jira, ServiceNow and GitHub answer.

use super::super::FailureKind;
use super::*;

fn map(id: &str, state: &str, states: &[(&str, TicketState)]) -> TicketMap {
    TicketMap {
        id: id.to_owned(),
        state: state.to_owned(),
        states: states.iter().map(|(word, state)| ((*word).to_owned(), *state)).collect(),
        assignee: None,
        opened_by: None,
        moved_by: None,
        resource: None,
        resource_name: String::new(),
        accounts: BTreeMap::from([("anna".to_owned(), "anna@example.com".to_owned())]),
    }
}

fn jira() -> TicketMap {
    TicketMap {
        assignee: Some("/fields/assignee/emailAddress".to_owned()),
        opened_by: Some("/fields/reporter/emailAddress".to_owned()),
        resource: Some("/fields/customfield_10042".to_owned()),
        ..map("/key", "/fields/status/name", &[("In Progress", TicketState::Active), ("Done", TicketState::Closed)])
    }
}

const JIRA: &str = r#"{"id":"10002","key":"OPS-17","fields":{"status":{"name":"In Progress"},
    "assignee":{"emailAddress":"Anna@example.com"},"reporter":{"emailAddress":"ben@example.com"},
    "customfield_10042":["db","orders"]}}"#;

const ANNA: Party<'_> = Party { name: "anna", human: true };
const BEN: Party<'_> = Party { name: "ben", human: true };
const ROBOT: Party<'_> = Party { name: "robot", human: false };

#[test]
fn a_ticket_of_jira_is_read() {
    let ticket = read(JIRA, &jira(), "OPS-17", "17").unwrap();
    let facts = ticket.facts(&jira(), &[ANNA, ROBOT], "orders");
    assert_eq!(facts[&SignalFact::TicketState], FactValue::Ticket(TicketState::Active));
    assert_eq!(facts[&SignalFact::TicketAssigned], FactValue::Bool(true));
    assert_eq!(facts[&SignalFact::TicketNamesResource], FactValue::Bool(true));
    assert_eq!(facts[&SignalFact::TicketByRequester], FactValue::Bool(false));
    assert_eq!(ticket.facts(&jira(), &[ANNA], "order")[&SignalFact::TicketNamesResource], FactValue::Bool(false));
    let unassigned = JIRA.replace(r#"{"emailAddress":"Anna@example.com"}"#, "null");
    let facts = read(&unassigned, &jira(), "OPS-17", "17").unwrap().facts(&jira(), &[ANNA], "orders");
    assert_eq!(facts[&SignalFact::TicketAssigned], FactValue::Bool(false));
}

#[test]
fn who_is_not_known_there_is_not_taken_for_another_than_the_opener() {
    let ticket = read(JIRA, &jira(), "OPS-17", "17").unwrap();
    assert!(!ticket.facts(&jira(), &[BEN], "orders").contains_key(&SignalFact::TicketByRequester));
    let own = read(&JIRA.replace("ben@", "anna@"), &jira(), "OPS-17", "17").unwrap();
    assert_eq!(own.facts(&jira(), &[ANNA, BEN], "x")[&SignalFact::TicketByRequester], FactValue::Bool(true));
}

#[test]
fn p6_a_ticket_that_somebody_moved_for_themselves_is_their_own() {
    let map = TicketMap { moved_by: Some(MovedBy::Person("/by".to_owned())), ..jira() };
    let told = |by: &str, parties: &[Party<'_>]| {
        let ticket = read(&JIRA.replacen('{', &format!("{{\"by\":{by},"), 1), &map, "OPS-17", "17").unwrap();
        ticket.facts(&map, parties, "x").get(&SignalFact::TicketByRequester).copied()
    };
    assert_eq!(told("\"Anna@example.com\"", &[ANNA]), Some(FactValue::Bool(true)));
    assert_eq!(told("\"Anna@example.com\"", &[ROBOT, BEN, ANNA]), Some(FactValue::Bool(true)));
    assert_eq!(told("\"ben@example.com\"", &[ANNA, ROBOT]), Some(FactValue::Bool(false)));
    // By nobody knows whom; by somebody, for one who has no name there.
    assert_eq!((told("null", &[ANNA]), told("\"\"", &[ANNA])), (None, None));
    assert_eq!(told("\"ben@example.com\"", &[BEN]), None);
}

#[test]
fn a_ticket_of_servicenow_is_read_and_an_empty_search_is_no_ticket() {
    let map = map("/result/0/number", "/result/0/state", &[("-1", TicketState::Active), ("3", TicketState::Closed)]);
    let answer = r#"{"result":[{"number":"CHG0030192","state":"-1"}]}"#;
    let facts = read(answer, &map, "CHG0030192", "0030192").unwrap().facts(&map, &[ANNA], "x");
    assert_eq!(facts, BTreeMap::from([(SignalFact::TicketState, FactValue::Ticket(TicketState::Active))]));
    let error = read(r#"{"result":[]}"#, &map, "CHG1", "1").unwrap_err();
    assert_eq!(error.kind, FailureKind::Gone);
}

#[test]
fn a_ticket_of_github_is_read() {
    let map = TicketMap {
        resource: Some("/labels".to_owned()),
        resource_name: "/name".to_owned(),
        ..map("/number", "/state", &[("open", TicketState::Active), ("closed", TicketState::Closed)])
    };
    let answer = r#"{"number":1347,"state":"closed","labels":[{"id":1},{"id":2,"name":"orders"}]}"#;
    let ticket = read(answer, &map, "acme/ops#1347", "1347").unwrap();
    assert_eq!(ticket.state, TicketState::Closed);
    let names = |resource| ticket.facts(&map, &[ANNA], resource)[&SignalFact::TicketNamesResource];
    assert_eq!((names("orders"), names("2")), (FactValue::Bool(true), FactValue::Bool(false)));
}

#[test]
fn what_is_not_exactly_the_ticket_that_was_asked_for_is_no_evidence() {
    for (answer, word) in [
        ("<html><body>Please log in</body></html>", "not JSON"),
        ("", "not JSON"),
        ("[]", "no ticket"),
        (r#"{"key":"OPS-18","fields":{"status":{"name":"In Progress"}}}"#, "another ticket"),
        (r#"{"key":"OPS-17"}"#, "no state"),
        (r#"{"key":"OPS-17","fields":{"status":{"name":null}}}"#, "no state"),
        (r#"{"key":"OPS-17","fields":{"status":{"name":"Blocked"}}}"#, "Blocked"),
        (r#"{"key":"OPS-17","fields":{"status":{"name":"Done"},"assignee":{"emailAddress":{}}}}"#, "no text"),
    ] {
        let error = read(answer, &jira(), "OPS-17", "17").unwrap_err();
        assert!(error.why.contains(word), "{answer}: {error:?}");
    }
}
