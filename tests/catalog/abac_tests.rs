//! The evaluator of Azure's conditions, on the examples that Microsoft publishes the language with, and on slips.

use crate::abac::{ATTRIBUTES, Condition, DELEGATED, Request};

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

/// The example by which Microsoft shows how to delegate some roles ("Examples to delegate Azure role assignment management
/// with conditions", "Constrain roles").
#[test]
fn a_delegated_right_is_bound_to_what_it_lists() {
    const BACKUP: &str = "5e467623-bb1f-42f4-a55d-6e525e11384b";
    let part = |action: &str, attribute: &str, list: &str| {
        format!("((!(ActionMatches{{'Microsoft.Authorization/roleAssignments/{action}'}})) OR ({attribute} {list}))")
    };
    let list = format!("ForAnyOfAnyValues:GuidEquals {{{BACKUP}, a795c7a0-d4a2-40c1-ae25-d81f01202912}}");
    let text = format!("{} AND {}", part("write", DELEGATED[1], &list), part("delete", DELEGATED[3], &list));
    let condition = Condition::parse(&text).unwrap();
    let of = |action: &str, attribute: &'static str, id: &str| {
        condition.holds(&request(
            &format!("Microsoft.Authorization/roleAssignments/{action}"),
            None,
            &[(attribute, id)],
        ))
    };
    assert!(of("write", DELEGATED[1], BACKUP) && of("delete", DELEGATED[3], &BACKUP.to_uppercase()));
    assert!(!of("write", DELEGATED[1], "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"), "Owner");
    assert!(!of("write", DELEGATED[3], BACKUP), "what stands there is not what is asked for");
    for slip in [
        "GuidEquals {5e467623-bb1f-42f4-a55d-6e525e11384b}",
        "ForAnyOfAnyValues:GuidEqual {5e467623-bb1f-42f4-a55d-6e525e11384b}",
        "ForAnyOfAnyValues:GuidEquals {}",
        "ForAnyOfAnyValues:GuidEquals {5e467623-bb1f-42f4-a55d-6e525e11384b,}",
        "ForAnyOfAnyValues:GuidEquals {'5e467623-bb1f-42f4-a55d-6e525e11384b'}",
        "ForAnyOfAnyValues:GuidEquals {5e467623-bb1f-42f4-a55d}",
        "StringEquals '5e467623-bb1f-42f4-a55d-6e525e11384b'",
    ] {
        assert!(Condition::parse(&part("write", DELEGATED[1], slip)).is_err(), "{slip} was taken");
    }
}
