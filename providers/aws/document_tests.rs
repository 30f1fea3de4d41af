use super::*;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::limits::{INLINE_POLICIES_CHARACTERS, LINE_CHARACTERS, MANAGED_POLICY_CHARACTERS, places};

const BOTH: [Kind; 2] = [Kind::Boundary, Kind::Inline];
const ROLE_ID: &str = "AROAEXAMPLEROLEID0001";

fn suffixes(count: u32) -> BTreeSet<String> {
    let letter = |digit: u8| char::from(b"abcdefghij"[usize::from(digit - b'0')]);
    (0..count).map(|n| format!("{n:010}").bytes().map(letter).collect()).collect()
}

fn of(kind: Kind, count: u32, lines: u32) -> Document {
    let until: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
    let lines = (0..lines).map(|n| (format!("AROA{n:028}"), until)).collect();
    Document::empty(kind).denying(Denials { suffixes: suffixes(count), lines })
}

fn render(document: &Document) -> Result<String, ProviderError> {
    document.render(MANAGED_POLICY_CHARACTERS)
}

fn parsed(statement: &Value, kind: Kind) -> Document {
    Document::parse(kind, &json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string()).unwrap()
}

#[test]
fn without_entries_nothing_is_denied_and_only_a_boundary_allows() {
    let statements = |kind| -> Value {
        let document: Value = serde_json::from_str(&render(&of(kind, 0, 0)).unwrap()).unwrap();
        assert_eq!(document["Version"], "2012-10-17");
        document["Statement"].clone()
    };
    assert_eq!(statements(Kind::Boundary), json!([{ "Effect": "Allow", "Action": "*", "Resource": "*" }]));
    // A policy must have a statement; no request has a hyphen for its user id.
    let nobody = json!({ "Effect": "Deny", "Action": "*", "Resource": "*",
        "Condition": { "StringLike": { "aws:userid": "-" } } });
    assert_eq!(statements(Kind::Inline), json!([nobody]));
}

#[test]
fn a_document_survives_being_written_and_read() {
    for kind in BOTH {
        for document in [of(kind, 0, 0), of(kind, 1, 0), of(kind, 3, 2), of(kind, 0, 1)] {
            let text = render(&document).unwrap();
            assert_eq!(Document::parse(kind, &text).unwrap(), document);
            let encoded = utf8_percent_encode(&text, NON_ALPHANUMERIC).to_string();
            assert_eq!(Document::parse(kind, &encoded).unwrap(), document);
            assert!(document.is_ours());
        }
    }
}

#[test]
fn the_document_holds_397_entries_and_not_one_more() {
    assert_eq!(render(&of(Kind::Boundary, 397, 0)).unwrap().len(), 175 + 15 * 397);
    let error = render(&of(Kind::Boundary, 398, 0)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Capacity);
    assert!(error.message.contains("398 ended sessions") && error.message.contains("1 more"), "{error}");
}

#[test]
fn room_for_lines_is_what_it_is_said_to_be() {
    let size = |lines| render(&of(Kind::Boundary, 9, lines)).unwrap().len();
    assert_eq!((size(1) - size(0), size(7) - size(6)), (LINE_CHARACTERS, LINE_CHARACTERS));
    for lines in 1..20 {
        let left = |limit: usize| places(limit - LINE_CHARACTERS * usize::try_from(lines).unwrap());
        let boundary = left(MANAGED_POLICY_CHARACTERS);
        render(&of(Kind::Boundary, boundary, lines)).unwrap();
        render(&of(Kind::Boundary, boundary + 1, lines)).unwrap_err();
        let inline = left(INLINE_POLICIES_CHARACTERS);
        of(Kind::Inline, inline, lines).render(INLINE_POLICIES_CHARACTERS).unwrap();
    }
}

#[test]
fn what_others_wrote_stays() {
    let emergency = json!({ "Effect": "Deny", "Action": "*", "Resource": "*" });
    let narrower = json!({ "Effect": "Allow", "Action": "s3:*", "Resource": "*" });
    let text = json!({ "Version": "2012-10-17", "Statement": [narrower, emergency] }).to_string();
    let found = Document::parse(Kind::Boundary, &text).unwrap();
    assert!(!found.is_ours());
    let written = render(&found.denying(of(Kind::Boundary, 2, 1).denied)).unwrap();
    let again = Document::parse(Kind::Boundary, &written).unwrap();
    assert_eq!(
        (again.others, again.denied),
        (vec![narrower.clone(), emergency.clone()], of(Kind::Boundary, 2, 1).denied)
    );

    // In an inline policy an allow would grant: it is taken out, and that alone is reason to write.
    let found = Document::parse(Kind::Inline, &text).unwrap();
    assert!(!found.is_ours() && found.denying(Denials::default()) != found);
    let written = render(&found.denying(Denials::default())).unwrap();
    let again = Document::parse(Kind::Inline, &written).unwrap();
    assert_eq!((again.others, again.grants), (vec![emergency], false));
}

#[test]
fn p4_only_a_deny_that_denies_everything_counts_as_one() {
    let name = "*-abcdefghij";
    for statement in [
        json!({ "Effect": "Deny", "Action": "s3:*", "Resource": "*", "Condition": { "StringLike": { "aws:userid": name } } }),
        json!({ "Effect": "Deny", "Action": "*", "Resource": "x", "Condition": { "StringLike": { "aws:userid": name } } }),
        json!({ "Effect": "Allow", "Action": "*", "Resource": "*", "Condition": { "StringLike": { "aws:userid": name } } }),
        json!({ "Effect": "Deny", "Action": "*", "Resource": "*", "Condition": { "StringEquals": { "aws:userid": name } } }),
        json!({ "Effect": "Deny", "Action": "*", "Resource": "*",
            "Condition": { "StringLike": { "aws:userid": name }, "Bool": { "aws:SecureTransport": "false" } } }),
        json!({ "Effect": "Deny", "Action": "*", "Resource": "*",
            "Condition": { "StringLike": { "aws:userid": name, "aws:username": "x" } } }),
        json!({ "Effect": "Deny", "Action": "*", "Resource": "*", "Condition": { "StringLike": { "aws:userid": 1 } } }),
    ] {
        for kind in BOTH {
            assert_eq!(parsed(&statement, kind).denied, Denials::default(), "{statement} was taken for a deny");
        }
    }
    for kind in BOTH {
        assert!(Document::parse(kind, "{}").is_err() && Document::parse(kind, "<html>").is_err());
    }
}

#[test]
fn p4_only_a_line_of_exactly_our_shape_counts_as_one() {
    let until = "2026-11-21T12:00:00Z";
    let role = format!("{ROLE_ID}:*");
    let line = |conditions: Value| json!({ "Effect": "Deny", "Action": "*", "Resource": "*", "Condition": conditions });
    let ours = line(json!({ "DateLessThan": { "aws:TokenIssueTime": until }, "StringLike": { "aws:userid": role } }));
    for kind in BOTH {
        let denied = parsed(&ours, kind).denied;
        assert_eq!(denied.lines.into_iter().collect::<Vec<_>>(), [(ROLE_ID.to_owned(), until.parse().unwrap())]);
    }
    let mut looser = vec![
        line(json!({ "DateLessThan": { "aws:TokenIssueTime": until } })),
        line(json!({ "StringLike": { "aws:userid": role } })),
        line(json!({ "DateLessThanEquals": { "aws:TokenIssueTime": until }, "StringLike": { "aws:userid": role } })),
        line(json!({ "DateLessThanIfExists": { "aws:TokenIssueTime": until }, "StringLike": { "aws:userid": role } })),
        line(json!({ "DateLessThan": { "aws:CurrentTime": until }, "StringLike": { "aws:userid": role } })),
        line(json!({ "DateLessThan": { "aws:TokenIssueTime": [until] }, "StringLike": { "aws:userid": role } })),
        line(json!({ "DateLessThan": { "aws:TokenIssueTime": until }, "StringLike": { "aws:userid": [role, "x"] } })),
        line(json!({ "DateLessThan": { "aws:TokenIssueTime": until }, "StringEquals": { "aws:userid": role } })),
        line(json!({ "DateLessThan": { "aws:TokenIssueTime": until }, "StringLike": { "aws:PrincipalArn": role } })),
        line(json!({ "DateLessThan": { "aws:TokenIssueTime": until }, "StringLike": { "aws:userid": role },
            "Bool": { "aws:SecureTransport": "false" } })),
        line(json!({ "DateLessThan": { "aws:TokenIssueTime": until, "aws:CurrentTime": until },
            "StringLike": { "aws:userid": role } })),
    ];
    for moment in ["2026-11-21T12:00:00.5Z", "2026-11-21T12:00:00+00:00", "2026-11-21", "1795262400", "x"] {
        looser.push(line(
            json!({ "DateLessThan": { "aws:TokenIssueTime": moment }, "StringLike": { "aws:userid": role } }),
        ));
    }
    for role in
        [&format!("{ROLE_ID}:web-*"), "*:*", "AROA*:*", "AIDAEXAMPLEUSERID0001:*", ROLE_ID, "aroaexampleroleid0001:*"]
    {
        looser.push(line(
            json!({ "DateLessThan": { "aws:TokenIssueTime": until }, "StringLike": { "aws:userid": role } }),
        ));
    }
    for (member, value) in [("Effect", "Allow"), ("Action", "s3:*"), ("Resource", "arn:aws:s3:::alpha")] {
        let mut statement = ours.clone();
        statement[member] = json!(value);
        looser.push(statement);
    }
    let mut with_sid = ours.clone();
    with_sid["Sid"] = json!("x");
    looser.push(with_sid);
    for statement in looser {
        for kind in BOTH {
            assert_eq!(parsed(&statement, kind).denied, Denials::default(), "{statement} was taken for a line");
        }
        // It is kept all the same, where it denies.
        assert_eq!(parsed(&statement, Kind::Boundary).others, [statement]);
    }
}

#[test]
fn of_two_lines_for_one_role_the_later_one_counts() {
    let (early, late) = ("2026-11-21T12:00:00Z".parse().unwrap(), "2026-11-21T13:00:00Z".parse().unwrap());
    let statements = [deny_line(ROLE_ID, late), deny_line(ROLE_ID, early)];
    let text = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
    let denied = Document::parse(Kind::Boundary, &text).unwrap().denied;
    assert_eq!(denied.lines.into_iter().collect::<Vec<_>>(), [(ROLE_ID.to_owned(), late)]);
}
