//! The signed text has one form, and every change of it is another text or none.

use super::*;

/// What `ssh-keygen -Y sign -n grantd-approval` signed for `statement-v1.sig`.
const VECTOR: &str = include_str!("testdata/statement-v1.txt");

fn vector() -> Statement {
    Statement {
        installation: NodeId("node-1".to_owned()),
        request: "grant-aaaaaaaaaaaaaaaaaaaaaaaaae".parse().unwrap(),
        digest: "62f9409a37e4c58a6ad98b978a6023e0df969c7f919c581df234981133589574".parse().unwrap(),
        decision: Word::Approve,
        capacity: Capacity::Owner,
        expiry: "2027-01-15T08:00:00Z".parse().unwrap(),
    }
}

/// A change of this is a change of the version: signatures that were given stop counting.
#[test]
fn the_signed_text_is_fixed() {
    assert_eq!(vector().to_string(), VECTOR);
    assert_eq!(VECTOR.parse(), Ok(vector()));
}

#[test]
fn p12_everything_that_was_decided_is_in_the_text() {
    let mut all = vec![vector().to_string()];
    let mut vary = |change: &dyn Fn(&mut Statement)| {
        let mut other = vector();
        change(&mut other);
        assert_eq!(other.to_string().parse(), Ok(other.clone()));
        all.push(other.to_string());
    };
    vary(&|s| s.installation = NodeId("node-2".to_owned()));
    vary(&|s| s.request = "grant-aaaaaaaaaaaaaaaaaaaaaaaaai".parse().unwrap());
    vary(&|s| s.digest = Digest::ZERO);
    vary(&|s| s.decision = Word::Deny);
    vary(&|s| s.capacity = Capacity::Security);
    vary(&|s| s.expiry = Timestamp::UNIX_EPOCH);
    let total = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), total);
}

#[test]
fn a_text_that_means_the_same_in_another_form_is_none() {
    let refused = |text: String, words: &str| {
        let error = text.parse::<Statement>().unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("grantctl review-request"), "{text:?}: {error}");
    };
    refused(String::new(), "version");
    refused(VECTOR.trim_end().to_owned(), "expiry");
    refused(VECTOR.replace('\n', "\r\n"), "version is not 1");
    refused(format!("{VECTOR}\n"), "seven lines");
    refused(format!("{VECTOR}comment: and more\n"), "seven lines");
    refused(VECTOR.replace("version: 1", "version: 2"), "version is not 1");
    refused(VECTOR.replace("version: 1", "version:  1"), "version is not 1");
    refused(VECTOR.replace("decision: approve\ncapacity: owner", "capacity: owner\ndecision: approve"), "decision");
    refused(VECTOR.replace("approve", "yes"), "neither approve nor deny");
    refused(VECTOR.replace("owner", "boss"), "boss");
    refused(VECTOR.replace("08:00:00Z", "08:00:00.5Z"), "one form");
    refused(VECTOR.replace("08:00:00Z", "09:00:00+01:00"), "one form");
    refused(VECTOR.replace("2027-01-15T08:00:00Z", "tomorrow"), "not a time");
    refused(VECTOR.replace("digest: 62", "digest: xx"), "64 lowercase");
    refused(VECTOR.replace("grant-a", "lease-a"), "not the id of a grant");
    refused(VECTOR.replace("node-1", &"n".repeat(2000)), "too long");
}
