//! What is denied together and what alone, checked by an evaluator of the two condition forms that knows nothing of how
//! a document is made.

use super::*;

use grantd_provider_api::{Id, LeaseId};
use proptest::prelude::*;
use serde_json::Value;
use uuid::Uuid;

use crate::document::{Document, Kind};
use crate::limits::{INLINE_POLICIES_CHARACTERS, LINE_CHARACTERS, MANAGED_POLICY_CHARACTERS};

const ROLES: [&str; 3] = ["AROAEXAMPLEROLEID0001", "AROAEXAMPLEROLEID0002", "AROAEXAMPLEROLEID0003"];
const SKEW: Duration = Duration::from_secs(60);
/// How long after its issue a session can be under a line: the line is 2 s above it, and both clocks and 2 s more must
/// have gone by.
const OLD_ENOUGH: i64 = 64;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn lease(nth: u128) -> LeaseId {
    // Suffixes come from the random part of an id.
    Id::new(Uuid::from_u128(nth.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)))
}

fn entry(nth: u128, role: &str, issued_at: i64, form: DenyForm) -> DenyEntry {
    let lease = lease(nth);
    DenyEntry {
        lease,
        session_name: format!("web-{}", lease.suffix()),
        target: format!("arn:aws:iam::123456789012:role/{role}"),
        origin: Some(Origin { identity: role.to_owned(), issued_at: at(issued_at) }),
        form,
    }
}

fn entries(count: u128, issued_at: i64, form: DenyForm) -> Vec<DenyEntry> {
    (0..count).map(|nth| entry(nth, ROLES[0], issued_at, form)).collect()
}

fn asked(entries: &[DenyEntry], now: i64) -> Wanted {
    wanted(entries, at(now), SKEW, true).unwrap()
}

/// Whether `document` denies everything to a session: the two condition forms as the IAM User Guide describes them
/// ("IAM JSON policy elements: Condition operators"), all conditions of a statement at once.
fn denies(document: &str, userid: &str, issued_at: Timestamp) -> bool {
    let document: Value = serde_json::from_str(document).unwrap();
    document["Statement"].as_array().unwrap().iter().filter(|statement| statement["Effect"] == "Deny").any(
        |statement| {
            let conditions = statement["Condition"].as_object().unwrap();
            conditions.iter().all(|(operator, keys)| {
                let (key, value) = keys.as_object().unwrap().iter().next().unwrap();
                match (operator.as_str(), key.as_str()) {
                    ("StringLike", "aws:userid") => match value {
                        Value::Array(patterns) => {
                            patterns.iter().any(|pattern| like(pattern.as_str().unwrap(), userid))
                        }
                        one => like(one.as_str().unwrap(), userid),
                    },
                    ("DateLessThan", "aws:TokenIssueTime") => {
                        issued_at < value.as_str().unwrap().parse::<Timestamp>().unwrap()
                    }
                    other => panic!("{other:?}"),
                }
            })
        },
    )
}

/// `*` stands for any characters.
fn like(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|text| {
            (0..=text.len()).filter(|cut| text.is_char_boundary(*cut)).any(|cut| like(rest, &text[cut..]))
        }),
    }
}

#[test]
fn many_ended_sessions_of_an_idle_role_become_one_line() {
    let mut many = entries(20, 0, DenyForm::MayCollapse);
    many[7].origin = Some(Origin { identity: ROLES[0].to_owned(), issued_at: at(10) });
    let found = asked(&many, 10 + OLD_ENOUGH);
    assert!(found.denials.suffixes.is_empty());
    assert_eq!(found.denials.lines.into_iter().collect::<Vec<_>>(), [(ROLES[0].to_owned(), at(12))]);
    assert_eq!((found.collapsed.len(), found.collapse_at), (20, None));
    assert_eq!(found.explained.len(), 20, "a suffix that is still in the document is no stranger's");
}

#[test]
fn p10_a_line_is_drawn_only_when_its_time_is_over_on_every_clock() {
    let many = entries(16, 0, DenyForm::MayCollapse);
    let early = wanted(&many, at(OLD_ENOUGH) - Duration::from_millis(1), SKEW, true).unwrap();
    assert_eq!((early.denials.suffixes.len(), early.denials.lines.len(), early.collapsed.len()), (16, 0, 0));
    assert_eq!(early.collapse_at, Some(at(OLD_ENOUGH)), "and it says when to ask again");
    let line = asked(&many, OLD_ENOUGH).denials.lines[ROLES[0]];
    // What is issued from the moment of reading on, by a cloud whose clock is as far behind as it may be.
    assert!(line < at(OLD_ENOUGH) - SKEW);
}

#[test]
fn too_few_are_not_worth_a_line() {
    let few = asked(&entries(15, 0, DenyForm::MayCollapse), 1000);
    assert_eq!((few.denials.suffixes.len(), few.denials.lines.len(), few.collapse_at), (15, 0, None));
    const { assert!(WORTH_A_LINE * 15 > LINE_CHARACTERS) };
}

#[test]
fn the_young_wait_and_the_old_do_not_wait_for_them() {
    let mut mixed = entries(16, 0, DenyForm::MayCollapse);
    mixed.extend((100..116).map(|nth| entry(nth, ROLES[0], 50, DenyForm::MayCollapse)));
    let found = asked(&mixed, OLD_ENOUGH);
    assert_eq!((found.collapsed.len(), found.denials.suffixes.len()), (16, 16));
    assert_eq!((found.denials.lines[ROLES[0]], found.collapse_at), (at(2), Some(at(50 + OLD_ENOUGH))));
}

#[test]
fn p10_what_is_not_said_to_be_idle_is_denied_by_its_own_name() {
    let found = asked(&entries(50, 0, DenyForm::Single), 10_000);
    assert_eq!((found.denials.suffixes.len(), found.denials.lines.len()), (50, 0));
    let strangers = wanted(&entries(50, 0, DenyForm::MayCollapse), at(10_000), SKEW, false).unwrap();
    assert_eq!((strangers.denials.suffixes.len(), strangers.collapsed.len()), (50, 0));
}

#[test]
fn p2_a_session_in_doubt_keeps_its_own_denial() {
    let mut many = entries(30, 0, DenyForm::MayCollapse);
    for doubtful in &mut many[..10] {
        doubtful.origin = None;
    }
    many[10].origin = Some(Origin { identity: "AIDAEXAMPLEUSERID0001".to_owned(), issued_at: at(0) });
    let found = asked(&many, 1000);
    assert_eq!((found.collapsed.len(), found.denials.suffixes.len()), (19, 11));
}

#[test]
fn p4_what_was_collapsed_once_stays_under_its_line_whatever_lives() {
    let mut mixed = entries(3, 5, DenyForm::Collapsed);
    mixed.push(entry(50, ROLES[0], 500, DenyForm::Single));
    let found = asked(&mixed, 501);
    assert_eq!((found.denials.lines[ROLES[0]], found.denials.suffixes.len()), (at(7), 1));
    assert!(mixed.iter().all(|entry| found.denials.refuse(entry).unwrap()));
}

#[test]
fn p4_a_line_confirms_only_what_it_certainly_refuses() {
    let own = entry(1, ROLES[0], 10, DenyForm::Collapsed);
    let with = |role: &str, until: i64| Denials { lines: [(role.to_owned(), at(until))].into(), ..Denials::default() };
    assert!(with(ROLES[0], 12).refuse(&own).unwrap());
    assert!(!with(ROLES[0], 11).refuse(&own).unwrap(), "STS may have rounded");
    assert!(!with(ROLES[0], 10).refuse(&own).unwrap());
    assert!(!with(ROLES[1], 500).refuse(&own).unwrap());
    let doubtful = DenyEntry { origin: None, ..own.clone() };
    assert!(!with(ROLES[0], 500).refuse(&doubtful).unwrap());
    let by_name = Denials { suffixes: [own.lease.suffix()].into(), ..Denials::default() };
    assert!(by_name.refuse(&own).unwrap() && by_name.refuse(&doubtful).unwrap());
}

#[test]
fn a_line_is_never_lowered() {
    let mut denials = Denials::default();
    for (until, expected) in [(10, 10), (5, 10), (20, 20)] {
        denials.draw(ROLES[0], at(until));
        assert_eq!(denials.lines[ROLES[0]], at(expected));
    }
}

#[test]
fn an_entry_must_carry_its_own_suffix() {
    let entry = |session_name: String| DenyEntry { session_name, ..entry(1, ROLES[0], 0, DenyForm::Single) };
    let lease = lease(1);
    assert!(suffix(&entry(format!("web-{}", lease.suffix()))).is_ok());
    assert!(suffix(&entry(format!("web{}", lease.suffix()))).is_err());
    assert!(suffix(&entry("web-aaaaaaaaaa".to_owned())).is_err());
}

/// A session in a random history.
#[derive(Debug, Clone)]
struct Session {
    role: usize,
    /// When the cloud issued it, in seconds and milliseconds of the cloud's clock; STS tells the seconds.
    issued: (i64, i64),
    lived: i64,
    doubtful: bool,
}

fn any_session() -> impl Strategy<Value = Session> {
    // Most live so briefly that there are moments at which nothing lives on a role.
    let lived = prop_oneof![30 => 0..4_i64, 1 => 0..60_i64];
    (0..ROLES.len(), 0..100_i64, 0..1000_i64, lived, prop::bool::weighted(0.1))
        .prop_map(|(role, second, millis, lived, doubtful)| Session { role, issued: (second, millis), lived, doubtful })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// The document is written at some moments of a random history, by the rules of the broker: what is live makes its
    /// role busy, what was collapsed stays so. At each moment, whatever the cloud's clock shows within the skew: every
    /// ended session is denied, no live one is, and none that is issued from then on will be.
    #[test]
    fn p10_random_histories_end_exactly_what_has_ended(
        sessions in prop::collection::vec(any_session(), 0..110),
        mut looks in prop::collection::vec(10..300_i64, 1..6),
        behind in 0..60_i64,
    ) {
        looks.sort_unstable();
        let issued = |session: &Session| at(session.issued.0) + Duration::from_millis(session.issued.1.unsigned_abs());
        let userid = |nth: usize, session: &Session| {
            format!("{}:web-{}", ROLES[session.role], lease(u128::try_from(nth).unwrap()).suffix())
        };
        let mut collapsed: std::collections::BTreeSet<LeaseId> = std::collections::BTreeSet::new();
        for look in looks {
            // Our clock runs ahead of the cloud's by `behind`, so what the cloud issues at second s we see at s + behind.
            let ours = |session: &Session| session.issued.0 + behind;
            let known: Vec<_> = sessions.iter().enumerate().filter(|(_, s)| ours(s) + 1 < look).collect();
            let live = |s: &Session| ours(s) + s.lived >= look;
            let busy = |role: usize| known.iter().any(|(_, s)| s.role == role && live(s));
            let list: Vec<DenyEntry> = known.iter().filter(|(_, s)| !live(s)).map(|(nth, s)| {
                let mut entry = entry(u128::try_from(*nth).unwrap(), ROLES[s.role], s.issued.0, DenyForm::Single);
                if collapsed.contains(&entry.lease) {
                    entry.form = DenyForm::Collapsed;
                } else if s.doubtful {
                    entry.origin = None;
                } else if !busy(s.role) {
                    entry.form = DenyForm::MayCollapse;
                }
                entry
            }).collect();
            let found = wanted(&list, at(look), SKEW, true).unwrap();
            for entry in &list {
                prop_assert!(found.denials.refuse(entry).unwrap());
            }
            for kind in [Kind::Boundary, Kind::Inline] {
                let document = Document::empty(kind).denying(found.denials.clone());
                let text = document.render(MANAGED_POLICY_CHARACTERS.max(INLINE_POLICIES_CHARACTERS)).unwrap();
                for (nth, session) in &known {
                    let denied = denies(&text, &userid(*nth, session), issued(session));
                    prop_assert_eq!(denied, !live(session), "{:?} at {}: {}", session, look, &text);
                }
                for role in ROLES {
                    // From the moment of reading on, by the cloud's clock.
                    prop_assert!(!denies(&text, &format!("{role}:web-zzzzzzzzzz"), at(look - behind)), "{}", &text);
                }
                prop_assert!(!denies(&text, "AIDAEXAMPLEUSERID0001:x", at(0)));
            }
            collapsed.extend(found.collapsed);
        }
    }
}
