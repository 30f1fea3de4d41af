use super::*;

const POOL: &str = "principal://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/grantd/subject/";

fn lease(letter: char) -> LeaseId {
    format!("lease-{}", letter.to_string().repeat(26).replace('b', "a")).parse().unwrap_or_else(|_| {
        // Only some texts are canonical; these are.
        format!("lease-{}", "a".repeat(25) + "e").parse().unwrap()
    })
}

fn policy(bindings: Value) -> Policy {
    Policy::parse(
        json!({ "etag": "BwX=", "version": 1, "bindings": bindings, "kind": "k", "auditConfigs": [1] })
            .to_string()
            .as_bytes(),
    )
    .unwrap()
}

fn wanted(member: &str, until: &str) -> Wanted {
    let condition = Condition::until(Some("resource.name.startsWith(\"x\")"), until.parse().unwrap(), None);
    Wanted { role: "roles/storage.objectViewer".to_owned(), member: member.to_owned(), condition: Some(condition) }
}

fn foreign() -> Value {
    json!([
        { "role": "roles/storage.admin", "members": ["user:a@example.com"], "unknown": { "kept": true } },
        { "role": "roles/storage.objectViewer", "members": ["group:g@example.com"],
          "condition": { "title": "grantd until 2026", "expression": "request.time < timestamp(\"2020-01-01T00:00:00Z\")", "description": "theirs" } },
    ])
}

#[test]
fn p10_what_is_not_ours_stays_as_it_was_read() {
    let before = policy(foreign());
    let mut after = before.clone();
    let member = format!("{POOL}{}", lease('a'));
    after.add(&wanted(&member, "2026-11-22T05:00:00Z")).unwrap();
    assert_eq!(after.ours(POOL).len(), 1);
    after.remove(POOL, |ours| ours.lease == lease('a'));
    after.tidy(POOL, "2030-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(after, before);
    assert_eq!(after.to_write()["version"], 3);
    assert_eq!(after.to_write()["etag"], "BwX=");
    assert_eq!(after.to_write()["auditConfigs"], json!([1]));
}

#[test]
fn p10_leases_that_end_together_share_a_binding_and_leave_it_one_by_one() {
    let mut shared = policy(json!([]));
    let (one, two) = (format!("{POOL}{}", lease('a')), format!("{POOL}{}", lease('z')));
    for member in [&one, &two, &one] {
        shared.add(&wanted(member, "2026-11-22T05:00:00Z")).unwrap();
    }
    assert_eq!(shared.counts(), (2, 1));
    shared.add(&wanted(&one, "2026-11-22T05:00:01Z")).unwrap();
    assert_eq!(shared.counts(), (3, 2));
    // Somebody put a member of theirs into our binding: it stays there.
    shared.0["bindings"][0]["members"].as_array_mut().unwrap().push(json!("user:x@example.com"));
    shared.remove(POOL, |ours| ours.lease == lease('a'));
    assert_eq!(shared.counts(), (2, 1));
    shared.remove(POOL, |_| true);
    assert_eq!(shared.0["bindings"][0]["members"], json!(["user:x@example.com"]));
}

#[test]
fn only_what_ended_a_while_ago_is_tidied_away() {
    let mut found = policy(json!([]));
    let member = format!("{POOL}{}", lease('a'));
    found.add(&wanted(&member, "2026-11-22T05:00:00Z")).unwrap();
    found.add(&Wanted { condition: None, ..wanted(&member, "2026-11-22T05:00:00Z") }).unwrap();
    found.tidy(POOL, "2026-11-22T05:01:00Z".parse().unwrap());
    assert_eq!(found.ours(POOL).len(), 2);
    found.tidy(POOL, "2026-11-22T05:01:01Z".parse().unwrap());
    let left = found.ours(POOL);
    assert_eq!((left.len(), left[0].until), (1, None), "only its removal ends a binding without a condition");
}

#[test]
fn a_service_account_is_ours_only_under_a_lease_in_the_title() {
    let until: Timestamp = "2026-11-22T05:00:00Z".parse().unwrap();
    let titled = Condition::until(None, until, Some(lease('a')));
    let mut found = policy(json!([
        { "role": "r", "members": ["serviceAccount:x@p.iam.gserviceaccount.com"] },
        { "role": "r", "members": ["serviceAccount:x@p.iam.gserviceaccount.com"],
          "condition": { "title": "grantd until 2026", "expression": titled.expression } },
    ]));
    assert_eq!(found.ours(POOL), []);
    let member = "serviceAccount:x@p.iam.gserviceaccount.com".to_owned();
    found.add(&Wanted { role: "r".to_owned(), member, condition: Some(titled) }).unwrap();
    assert_eq!(
        found.ours(POOL).iter().map(|ours| (ours.lease, ours.until)).collect::<Vec<_>>(),
        [(lease('a'), Some(until))]
    );
}

#[test]
fn a_full_policy_says_how_full_it_is() {
    let many: Vec<Value> = (0..100)
        .map(|n| json!({ "role": "r", "members": ["user:a@example.com"], "condition": { "title": format!("{n}"), "expression": "true" } }))
        .collect();
    let mut full = policy(json!(many));
    let before = full.clone();
    let text = full.add(&wanted(POOL, "2026-11-22T05:00:00Z")).unwrap_err();
    assert!(text.contains("100 conditional bindings") && text.contains("share_expiry"), "{text}");
    let members: Vec<String> = (0..1_500).map(|n| format!("user:{n}@example.com")).collect();
    let mut crowded = policy(json!([{ "role": "r", "members": members }]));
    assert!(crowded.add(&wanted(POOL, "2026-11-22T05:00:00Z")).unwrap_err().contains("1500 principals"));
    assert_eq!(full, before);
}

#[test]
fn a_policy_without_an_etag_is_none() {
    for bad in [
        "",
        "[]",
        "{}",
        r#"{"etag":""}"#,
        r#"{"etag":"x","bindings":{}}"#,
        r#"{"etag":"x","bindings":[{"members":1}]}"#,
    ] {
        assert_eq!(Policy::parse(bad.as_bytes()), None, "{bad}");
    }
    assert!(Policy::parse(br#"{"etag":"ACAB"}"#).is_some(), "an empty policy has no bindings");
}

#[test]
fn the_end_is_read_only_where_it_ends_everything() {
    let until: Timestamp = "2026-11-22T05:00:00Z".parse().unwrap();
    for narrow in [None, Some("a || b")] {
        assert_eq!(end_of(&Condition::until(narrow, until, None).expression), Some(until));
    }
    assert_eq!(end_of("true || request.time < timestamp(\"2026-11-22T05:00:00Z\")"), None);
}
