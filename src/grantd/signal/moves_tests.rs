//! Changes as Jira and GitHub tell of them.

use serde_json::json;

use super::*;

fn jira() -> Changes {
    Changes {
        url: None,
        list: "/changelog/histories".to_owned(),
        person: "/author/emailAddress".to_owned(),
        time: "/created".to_owned(),
        items: Some("/items".to_owned()),
        kind: "/field".to_owned(),
        kinds: BTreeSet::from(["status".to_owned()]),
        most: 100,
    }
}

fn history(who: &str, day: &str, fields: &[&str]) -> Value {
    let items: Vec<Value> = fields.iter().map(|field| json!({ "field": field })).collect();
    json!({ "author": { "emailAddress": who }, "created": format!("2026-01-{day}T03:04:05.678+0000"), "items": items })
}

fn movers(histories: &[Value]) -> Vec<Option<String>> {
    last(&json!({ "changelog": { "histories": histories } }), &jira()).unwrap().into_iter().collect()
}

#[test]
fn the_last_move_counts_in_whatever_order_and_no_other_change_does() {
    let (first, second) = (history("anna", "02", &["assignee", "status"]), history("ben", "03", &["status"]));
    let label = history("carl", "04", &["labels"]);
    assert_eq!(movers(&[first.clone(), second.clone(), label.clone()]), [Some("ben".to_owned())]);
    assert_eq!(movers(&[label.clone(), second.clone(), first]), [Some("ben".to_owned())]);
    assert_eq!(movers(&[label]), []);
    let same = history("anna", "03", &["status"]);
    assert_eq!(movers(&[second, same]), [Some("anna".to_owned()), Some("ben".to_owned())]);
}

#[test]
fn p6_who_is_not_named_is_not_nobody_and_what_may_be_cut_off_is_refused() {
    let mut hidden = history("", "03", &["status"]);
    assert_eq!(movers(&[hidden.clone()]), [None]);
    hidden["author"] = Value::Null;
    assert_eq!(movers(&[hidden]), [None]);
    for (histories, word) in [
        (json!(vec![history("anna", "02", &["labels"]); 100]), "whole"),
        (json!([{ "created": "2026-01-02T03:04:05Z" }]), "no list"),
        (json!([{ "items": [{}] }]), "no text"),
        (json!([{ "items": [{ "field": "status" }], "created": "yesterday" }]), "no time"),
        (json!({}), "no list of changes"),
    ] {
        let error = last(&json!({ "changelog": { "histories": histories } }), &jira()).unwrap_err();
        assert!(error.why.contains(word), "{word}: {error:?}");
    }
}
