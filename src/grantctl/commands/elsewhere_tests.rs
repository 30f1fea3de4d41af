//! A request file is judged by recomputing its digest, and what is signed is what was shown.

use serde_json::{Value, json};

use super::*;

/// The sample of the model, whose digest was made by other means than this code.
fn file() -> RequestFile {
    let sample: Value = serde_json::from_str(include_str!("../../model/testdata/request-v1.json")).unwrap();
    let file = json!({
        "version": 1,
        "installation": "node-1",
        "id": "grant-aaaaaaaaaaaaaaaaaaaaaaaaae",
        "created_at": "2026-11-22T08:55:00Z",
        "request": sample["request"],
        "plan": sample["plan"],
        "tier": sample["tier"],
        "digest": include_str!("../../model/testdata/request-v1.sha256").trim(),
        "quorum": [{ "capacity": "owner", "needed": 1, "given": 0, "can_approve": ["olga"] }],
    });
    serde_json::from_value(file).unwrap()
}

fn now() -> Timestamp {
    "2026-11-22T09:00:00Z".parse().unwrap()
}

#[test]
fn p12_what_is_signed_is_the_digest_that_was_recomputed() {
    let review = Review::of(file()).unwrap();
    let statement = review.statement(Word::Approve, None, 3600, now()).unwrap();
    let read: Statement = statement.parse().unwrap();
    assert_eq!(read.digest.to_string(), include_str!("../../model/testdata/request-v1.sha256").trim());
    assert_eq!((read.capacity, read.decision), (Capacity::Owner, Word::Approve));
    assert_eq!((read.installation.0.as_str(), read.expiry.to_string()), ("node-1", "2026-11-22T10:00:00Z".to_owned()));
    let shown = review.text(now());
    for words in
        ["reports (tier low)", "read objects of arn:aws:s3:::reports", "s3:GetObject", "recomputed", "not checked"]
    {
        assert!(shown.contains(words), "{words}: {shown}");
    }
}

#[test]
fn p12_who_signs_is_shown_how_often_it_opens_and_that_it_is_an_emergency() {
    let shown = |member: &str, value: Value| {
        let mut file = file();
        file.request[member] = value;
        let request: Request = serde_json::from_value(file.request.clone()).unwrap();
        let plan: Plan = serde_json::from_value(file.plan.clone()).unwrap();
        file.digest = request_digest(&request, &plan, Tier::Low).unwrap().to_string();
        Review::of(file).unwrap().text(now())
    };
    let often = shown("recurrence", json!({ "every_seconds": 86400, "times": 366 }));
    assert!(often.contains("30m every 24h, 366 times in all"), "{often}");
    let glass = shown("break_glass", json!({ "profile": "repair", "incident": "INC-7" }));
    assert!(glass.contains("profile repair, incident INC-7"), "{glass}");
}

#[test]
fn p12_a_file_that_was_changed_on_the_way_is_not_signed() {
    let mut changes: Vec<RequestFile> = Vec::new();
    let mut change = |change: &dyn Fn(&mut RequestFile)| {
        let mut other = file();
        change(&mut other);
        changes.push(other);
    };
    change(&|file| file.request["duration_seconds"] = json!(1801));
    change(&|file| file.request["subject"]["name"] = json!("somebody"));
    change(&|file| file.plan["native"] = json!([]));
    change(&|file| file.plan["words"] = json!(["read one object"]));
    change(&|file| file.tier = "critical".to_owned());
    change(&|file| file.digest = file.digest.replace('6', "7"));
    for file in changes {
        let refused = Review::of(file).err().unwrap();
        assert_eq!(refused.exit(), Exit::State);
        assert!(refused.line().unwrap().contains("changed"), "{refused:?}");
    }
    let unknown = RequestFile { version: 2, ..file() };
    assert_eq!(Review::of(unknown).err().unwrap().exit(), Exit::Usage);
}

#[test]
fn an_extension_is_signed_by_its_own_digest() {
    let mut file = file();
    let asked_by: Subject = serde_json::from_value(file.request["subject"].clone()).unwrap();
    let until: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
    let digest = file.digest.parse().unwrap();
    let own = extension_digest(digest, until, &asked_by, &"not done yet".parse().unwrap()).unwrap();
    let more = |reason: &str| grantd_wire::ExtensionFile {
        until: until.to_string(),
        asked_by: serde_json::to_value(&asked_by).unwrap(),
        reason: reason.to_owned(),
        digest: own.to_string(),
    };
    file.extension = Some(more("not done yet"));
    let review = Review::of(file.clone()).unwrap();
    assert_eq!(review.digest, own);
    assert!(review.text(now()).contains("more time"));
    file.extension = Some(more("quite another"));
    assert_eq!(Review::of(file).err().unwrap().exit(), Exit::State);
}

#[test]
fn who_could_decide_in_more_than_one_capacity_says_in_which() {
    let mut file = file();
    let mut other = file.quorum[0].clone();
    other.capacity = "security".to_owned();
    file.quorum.push(other);
    let review = Review::of(file).unwrap();
    let refused = review.statement(Word::Deny, None, 60, now()).err().unwrap();
    assert!(refused.line().unwrap().contains("--capacity owner or security"), "{refused:?}");
    let chosen: Statement = review.statement(Word::Deny, Some("security"), 60, now()).unwrap().parse().unwrap();
    assert_eq!((chosen.capacity, chosen.decision), (Capacity::Security, Word::Deny));
    assert!(review.statement(Word::Deny, Some("boss"), 60, now()).is_err());
}
