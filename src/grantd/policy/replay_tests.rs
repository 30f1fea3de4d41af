//! Recorded decisions, decided again: nothing changes under the same bundle, each kind of change is told for what it is,
//! and no record can make this fail other than in words.

use std::sync::OnceLock;

use grantd_model::Decision;
use proptest::prelude::*;

use super::super::bundle_tests::{bundle, shipped, with};
use super::super::cases::File;
use super::*;

/// Every shipped case's decision, as the audit has it.
fn recorded() -> Vec<(String, Value)> {
    let shipped = bundle(shipped()).unwrap();
    let dir = super::super::bundle_tests::shipped_dir().join("tests");
    let texts = std::fs::read_dir(dir).unwrap().map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap());
    let cases = texts.flat_map(|text| toml::from_str::<File>(&text).unwrap().case);
    cases.map(|case| (case.name.clone(), json!(case.decide(&shipped).unwrap()))).collect()
}

fn decision(name: &str) -> Value {
    recorded().into_iter().find(|(case, _)| case == name).unwrap().1
}

fn again(files: &[(&str, &str, &str)], decision: &Value) -> Again {
    let mut all = shipped();
    for (name, from, to) in files {
        let text = all.get_mut(*name).unwrap();
        assert!(text.contains(from), "{name}: {from}");
        *text = text.replace(from, to);
    }
    bundle(all).unwrap().again(decision).unwrap()
}

#[test]
fn nothing_changes_under_the_same_bundle() {
    let shipped = bundle(shipped()).unwrap();
    let all = recorded();
    assert!(all.len() >= 25);
    for (name, decision) in all {
        assert_eq!(shipped.again(&decision), Ok(Again::Same), "{name}");
    }
}

#[test]
fn each_kind_of_change_is_told_for_what_it_is() {
    let asked = decision("a pipeline asks for itself");
    let low = "policies/low-tier.cedar";
    assert_eq!(
        again(
            &[(low, "@max_duration(\"8h\")", "@max_duration(\"4h\")"), (low, "@max_ttl(\"1h\")", "@max_ttl(\"2h\")"),],
            &asked
        ),
        Again::Obligations {
            stricter: vec!["max_duration: 28800 -> 14400".to_owned()],
            looser: vec!["max_ttl: 3600 -> 7200".to_owned()],
            other: vec![]
        }
    );
    assert_eq!(
        again(&[(low, "@id(\"low-request\")", "@id(\"low-ask\")")], &asked),
        Again::Rules { was: vec!["low-request".to_owned()], rules: vec!["low-ask".to_owned()] }
    );
    let Again::NowDenied { rule, reason } =
        again(&[(low, "context.self_subject &&", "!context.self_subject &&")], &asked)
    else {
        panic!()
    };
    assert!(rule == "default-deny" && reason.contains("deploy") && reason.contains("reports"), "{rule}: {reason}");
    // What the new catalogue says of the resource counts, and that it has it no more.
    let Again::Obligations { stricter, .. } =
        again(&[("catalog.toml", "tier = \"low\"", "tier = \"moderate\"")], &asked)
    else {
        panic!()
    };
    assert!(stricter.iter().any(|line| line == "approvals: none -> {\"owner\":1}"), "{stricter:?}");
    let gone = again(&[("catalog.toml", "name = \"reports\"", "name = \"retired\"")], &asked);
    assert!(matches!(&gone, Again::NowDenied { rule, .. } if rule == "catalog"), "{gone:?}");
    // So does who is nobody any more.
    let approved = decision("an owner approves");
    let gone = again(
        &[("people.toml", "name = \"bruno\"", "name = \"boris\""), ("catalog.toml", "\"bruno\"", "\"boris\"")],
        &approved,
    );
    assert!(matches!(gone, Again::NowDenied { .. }), "{gone:?}");
    let widened = decision("what the cloud cannot express narrowly is refused at request");
    let open = again(
        &[
            ("policies/lasting.cedar", "when { context.widens }", "when { context.widens && context.ticket }"),
            (low, "  !context.widens\n", "  true\n"),
        ],
        &widened,
    );
    assert_eq!(open, Again::NowAllowed { was: "no-widening".to_owned(), rules: vec!["low-request".to_owned()] });
}

#[test]
fn what_nobody_looked_up_then_is_not_guessed() {
    let forbid = "@id(\"frozen\") @reason(\"a\") @who_can_fix(\"b\") @next(\"c\")\n\
                  forbid (principal, action == Grantd::Action::\"request\", resource) when { context.in_freeze };\n";
    let bundle = bundle(with("policies/frozen.cedar", forbid)).unwrap();
    let asked = decision("a pipeline asks for itself");
    assert_eq!(bundle.again(&asked), Ok(Again::Undecided { needs: "signal:freeze".to_owned() }));
    // What was looked up then decides with what it said.
    let mut looked = asked;
    looked["inputs"]["context"]["in_freeze"] = json!(true);
    looked["inputs"]["signals"] =
        json!({ "freeze": { "looked_up": "had", "sources": ["x"], "age_seconds": 3, "facts": { "in_freeze": true } } });
    assert!(matches!(bundle.again(&looked), Ok(Again::NowDenied { rule, .. }) if rule == "frozen"));
}

#[test]
fn a_record_of_another_shape_is_told_in_words() {
    let shipped = bundle(shipped()).unwrap();
    let good = decision("a pipeline asks for itself");
    for bad in [json!(null), json!(7), json!({}), json!({ "action": "fly", "verdict": "allow" })] {
        assert!(shipped.again(&bad).unwrap_err().contains("shape"), "{bad}");
    }
    for path in ["principal", "resource", "context", "entities"] {
        let mut cut = good.clone();
        cut["inputs"].as_object_mut().unwrap().remove(path);
        assert!(shipped.again(&cut).is_err(), "{path}");
    }
    let mut newer = good.clone();
    newer["inputs"]["context"]["weather"] = json!("rain");
    assert!(shipped.again(&newer).unwrap_err().contains("schema"));
    // As a later version may write it, where that does not touch what decides.
    let mut more = good;
    more["explained"] = json!({ "by": "x" });
    assert_eq!(shipped.again(&more), Ok(Again::Same));
    let read: Decision = serde_json::from_value(decision("an owner approves")).unwrap();
    assert_eq!(read.commit, None);
}

/// Any JSON of a moderate size.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z:A-Z_]{0,12}".prop_map(Value::from),
        Just(json!({ "type": "Grantd::Subject", "id": "pipeline:unix:1" })),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("(uid|id|type|attrs|name|kind|context|subject|parents)", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_record_is_too_strange(part in anything(), at in 0_usize..7) {
        static ONCE: OnceLock<(Bundle, Value)> = OnceLock::new();
        let (shipped, good) =
            ONCE.get_or_init(|| (bundle(shipped()).unwrap(), decision("a pipeline asks for itself")));
        let mut decision = good.clone();
        let places = ["principal", "action", "resource", "context", "entities", "signals"];
        match places.get(at) {
            Some(place) => decision["inputs"][*place] = part,
            None => decision = part,
        }
        let _ = shipped.again(&decision);
    }
}
