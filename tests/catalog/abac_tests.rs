//! The evaluator of Azure's conditions, on the examples that Microsoft publishes the language with, and on slips.

use crate::abac::{ATTRIBUTES, Condition, Request};

const READ: &str = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read";
const NAME: &str = ATTRIBUTES[3];
const PATH: &str = ATTRIBUTES[2];

fn request(action: &str, suboperation: Option<&'static str>, attributes: &[(&'static str, &str)]) -> Request {
    let attributes = attributes.iter().map(|&(name, value)| (name, value.to_owned())).collect();
    Request { action: action.to_owned(), suboperation, attributes }
}

#[test]
fn an_action_that_is_not_named_is_not_narrowed() {
    let condition = format!("((!(ActionMatches{{'{READ}'}})) OR ({NAME} StringEquals 'alpha'))");
    let condition = Condition::parse(&condition).unwrap();
    assert!(condition.holds(&request(READ, None, &[(NAME, "alpha")])));
    assert!(!condition.holds(&request(READ, None, &[(NAME, "beta")])));
    assert!(!condition.holds(&request(READ, None, &[])), "what has no name passed");
    assert!(condition.holds(&request("Microsoft.Storage/other/write", None, &[])));
    assert_eq!(condition.actions(), [READ]);
}

#[test]
fn suboperations_tell_listing_from_reading() {
    let text = format!(
        "((!(ActionMatches{{'{READ}'}} AND NOT SubOperationMatches{{'Blob.List'}})) OR ({PATH} StringStartsWith 'logs/'))"
    );
    let condition = Condition::parse(&text).unwrap();
    assert!(condition.holds(&request(READ, Some("Blob.List"), &[])));
    assert!(condition.holds(&request(READ, None, &[(PATH, "logs/x")])));
    for other in ["log", "Logs/x", "x/logs/", ""] {
        assert!(!condition.holds(&request(READ, None, &[(PATH, other)])), "{other} passed");
    }
}

#[test]
fn what_is_not_known_is_refused() {
    let with = |inner: &str| Condition::parse(&format!("((!(ActionMatches{{'{READ}'}})) OR ({inner}))"));
    with(&format!("{NAME} StringEquals 'a'")).unwrap();
    for slip in [
        format!("{NAME} StringEqual 'a'"),
        format!("{NAME} stringequals 'a'"),
        format!("{NAME} StringEquals a"),
        format!("{NAME} StringEquals 'a"),
        format!("{NAME} StringEquals ''"),
        format!("{NAME} StringEquals 'a\\'"),
        format!("{NAME} StringLike 'a*'"),
        format!("{NAME} == 'a'"),
        "@Resource[Microsoft.Storage/storageAccounts/blobServices/container:name] StringEquals 'a'".to_owned(),
        NAME.replace("@Resource", "@Request") + " StringEquals 'a'",
        "SubOperationMatches{'Blob.list'}".to_owned(),
        "SubOperationMatch{'Blob.List'}".to_owned(),
        "ActionMatches{'Microsoft.Storage/*'}".to_owned(),
        "ActionMatches('Microsoft.Storage/x')".to_owned(),
        format!("{NAME} StringEquals 'a' AND {NAME} StringEquals 'b' OR {NAME} StringEquals 'c'"),
        format!("{NAME} StringEquals 'a')"),
        String::new(),
    ] {
        assert!(with(&slip).is_err(), "{slip} was taken");
    }
}
