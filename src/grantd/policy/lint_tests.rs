//! Mistakes in a bundle that Cedar's validation does not see, each found by name; and no complaint about what is good.

use super::super::bundle_tests::{bundle, shipped, with};
use super::*;

fn found(files: BTreeMap<String, String>) -> Vec<(String, &'static str, Standing, String)> {
    let findings = bundle(files).unwrap().lint(true);
    findings.into_iter().map(|one| (one.about, one.check, one.standing, one.found)).collect()
}

fn permit(id: &str, action: &str, condition: &str) -> String {
    format!(
        "@id(\"{id}\") @max_ttl(\"1h\") @max_duration(\"1h\")\n\
         permit (principal, action == Grantd::Action::\"{action}\", resource) when {{ {condition} }};\n"
    )
}

fn with_rule(text: &str) -> Vec<(String, &'static str, Standing, String)> {
    found(with("policies/more.cedar", text))
}

#[test]
fn the_shipped_bundle_has_nothing_unreachable_and_no_name_of_nothing() {
    assert_eq!(found(shipped()), []);
}

#[test]
fn a_name_of_nothing_is_found_with_what_it_may_have_meant() {
    for (condition, says) in [
        (r#"resource == Grantd::Resource::"report""#, "Grantd::Resource \"report\" is not in catalog.toml"),
        (r#"principal in Grantd::Person::"anna""#, "Grantd::Person \"anna\" is not in people.toml"),
        (
            r#"context.capability.name == "object-storage:reed""#,
            "\"object-storage:reed\" is not in any entitlement map",
        ),
        (r#"["dev", "prod"].contains(resource.environment)"#, "resource.environment \"prod\" is not in catalog.toml"),
        (r#"principal.name != "deploi""#, "principal.name \"deploi\" is not in people.toml"),
    ] {
        let all = with_rule(&permit("more", "request", condition));
        let hit = |one: &&(String, &str, Standing, String)| one.1 == "rule.unknown-name" && one.3.contains(says);
        let one = all.iter().find(hit).unwrap_or_else(|| panic!("{condition}: {all:?}"));
        assert_eq!((one.0.as_str(), one.2), ("rule more", Standing::Problem));
    }
    let text = permit("more", "request", r#"resource == Grantd::Resource::"report""#);
    let findings = bundle(with("policies/more.cedar", &text)).unwrap().lint(true);
    assert!(findings[0].fix.as_ref().unwrap().contains("did you mean \"reports\""), "{findings:?}");
}

#[test]
fn a_rule_that_can_never_match_is_found() {
    for (action, condition) in [
        ("request", r#"resource.tier == Grantd::Tier::"low" && resource.tier == Grantd::Tier::"high""#),
        ("request", "context.ticket && !context.ticket"),
        ("request", r#"principal.kind == Grantd::Kind::"agent" && principal in resource.owners"#),
        ("issue", "context.self_subject && principal != context.subject"),
        (
            "approve",
            r#"context.capacity == Grantd::Capacity::"owner" && context.capacity == Grantd::Capacity::"steward""#,
        ),
        ("request", r#"if context.widens then false else context.widens"#),
    ] {
        let all = with_rule(&permit("more", action, condition).replace(
            "@max_ttl(\"1h\") @max_duration(\"1h\")",
            match action {
                "approve" => "",
                _ => "@max_ttl(\"1h\") @max_duration(\"1h\")",
            },
        ));
        let ours: Vec<_> = all.iter().filter(|one| one.0 == "rule more").collect();
        let [(_, check, Standing::Problem, _)] = ours.as_slice() else { panic!("{condition}: {all:?}") };
        assert_eq!(*check, "rule.unreachable", "{condition}");
    }
}

#[test]
fn a_permit_that_a_forbid_always_covers_is_found_with_the_forbid() {
    let all = with_rule(&permit("more", "request", r#"resource.tier == Grantd::Tier::"low" && !context.self_subject"#));
    assert_eq!(
        all,
        [(
            "rule more".to_owned(),
            "rule.forbidden",
            Standing::Problem,
            "whatever it would permit is forbidden by self-only".to_owned()
        )]
    );
    // Covered by two together: one where it widens, the other where it does not.
    let forbid = |id: &str, condition: &str| {
        format!(
            "@id(\"{id}\") @reason(\"a\") @who_can_fix(\"b\") @next(\"c\")\n\
             forbid (principal, action == Grantd::Action::\"revoke\", resource) {condition};\n"
        )
    };
    let all = with_rule(&(forbid("one", "when { context.ticket }") + &forbid("two", "unless { context.ticket }")));
    let ours: Vec<_> = all.iter().filter(|one| one.1 == "rule.forbidden").collect();
    assert!(ours.len() == 1 && ours[0].0 == "rule owner-revoke" && ours[0].3.contains("one, two"), "{all:?}");
}

#[test]
fn a_rule_for_what_is_not_catalogued_yet_is_a_warning() {
    let all = with_rule(&permit("more", "request", r#"resource.cloud == Grantd::Cloud::"gcp""#));
    let [(about, check, Standing::Warning, _)] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!((about.as_str(), *check), ("rule more", "rule.unused"));
}

#[test]
fn what_may_match_is_left_alone() {
    for condition in [
        r#"principal in Grantd::Person::"ana" && context.duration_seconds < 60"#,
        r#"context.ticket_id like "OPS-*" || context.on_call"#,
        r#"context.subject.kind == Grantd::Kind::"pipeline" && principal.kind == Grantd::Kind::"human" && resource.tier == Grantd::Tier::"high""#,
        r#"resource.owners.contains(Grantd::Person::"bruno")"#,
        r#"principal == Grantd::Subject::"pipeline:unix:1004""#,
    ] {
        let text = permit("more", "request", condition);
        let files = with("policies/more.cedar", &text);
        assert_eq!(found(files), [], "{condition}");
    }
    // Where users are not those of the host that decides, nothing is said of their ids.
    let text = permit("more", "request", r#"principal == Grantd::Subject::"pipeline:unix:77""#);
    let bundle = bundle(with("policies/more.cedar", &text)).unwrap();
    assert_eq!(bundle.lint(false), []);
    assert_eq!(bundle.lint(true).len(), 1);
}

#[test]
fn a_resource_of_which_nothing_can_be_asked_for_is_found() {
    let catalog = shipped()["catalog.toml"].replacen("object-storage", "object-store", 1);
    let all = found(with("catalog.toml", &catalog));
    assert!(all.iter().any(|one| one.0 == "resource reports" && one.1 == "resource.unserved"), "{all:?}");
}
