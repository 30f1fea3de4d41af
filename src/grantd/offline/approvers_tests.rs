//! Approver sets that can never be met, each of its own kind, and those that can.

use super::*;
use crate::config::Host;

const PEOPLE: &str = r#"
security = ["sara"]
[[person]]
name = "ana"
unix = [1001]
[[person]]
name = "bruno"
unix = [1002]
[[person]]
name = "olga"
unix = []
[[person]]
name = "sara"
unix = [1003]
[[workload]]
name = "deploy"
kind = "pipeline"
unix = 2001
"#;

const APPROVE: &str = r#"
@id("owners") permit (principal, action == Grantd::Action::"approve", resource)
when { principal in resource.owners && context.capacity == Grantd::Capacity::"owner" };
@id("security") permit (principal, action == Grantd::Action::"approve", resource)
when { principal in resource.security && context.capacity == Grantd::Capacity::"security" };
@id("delegated") permit (principal, action == Grantd::Action::"approve", resource)
when { principal in resource.delegated_admins && context.capacity == Grantd::Capacity::"delegated_admin" };
"#;

fn bundle(people: &str, resource: &str, approvals: &str, when: &str, approve: &str) -> Bundle {
    let files = [
        ("schema.cedarschema", include_str!("../../../config/policy/schema.cedarschema").to_owned()),
        ("people.toml", people.to_owned()),
        (
            "catalog.toml",
            format!(
                "[[resource]]\nname = \"ledger\"\ncloud = \"aws\"\naccount = \"main\"\ntype = \"object-storage\"\n\
                 native = \"arn:aws:s3:::ledger\"\nenvironment = \"prod\"\n{resource}"
            ),
        ),
        ("entitlements/aws.toml", include_str!("../policy/testdata/aws.toml").to_owned()),
        (
            "policies/all.cedar",
            format!(
                "@id(\"ask\") @max_duration(\"1h\") @max_ttl(\"1h\") @approve_within(\"1h\") @approvals(\"{approvals}\")\n\
                 permit (principal, action == Grantd::Action::\"request\", resource) {when};\n{approve}"
            ),
        ),
    ];
    let files = files.into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
    Bundle::parse(files, Host::users(&|_| None)).unwrap()
}

fn found(resource: &str, approvals: &str, when: &str) -> Vec<(&'static str, String)> {
    let findings = unmet(&bundle(PEOPLE, resource, approvals, when, APPROVE), true);
    findings.into_iter().map(|one| (one.check, one.found)).collect()
}

#[test]
fn two_owners_are_asked_for_where_there_is_one() {
    let all = found("tier = \"high\"\nowners = [\"ana\"]\n", "owner:2", "");
    let [("approvals.never", text)] = all.as_slice() else { panic!("{all:?}") };
    assert!(text.contains("rule ask asks for 2 owners") || text.contains("owner"), "{text}");
}

#[test]
fn the_only_owner_is_always_the_one_who_asks() {
    let owners_ask = "when { principal in resource.owners }";
    let all = found("tier = \"high\"\nowners = [\"ana\"]\n", "owner:1", owners_ask);
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(all[0].0, "approvals.never");
    // With a second owner each can approve what the other asks for.
    assert_eq!(found("tier = \"high\"\nowners = [\"ana\", \"bruno\"]\n", "owner:1", owners_ask), []);
}

#[test]
fn who_asks_in_vain_is_named_where_others_do_not() {
    let all = found("tier = \"high\"\nowners = [\"ana\"]\n", "owner:1", "");
    let [("approvals.some-never", text)] = all.as_slice() else { panic!("{all:?}") };
    assert!(text.contains("asked for by ana;") || text.contains("by ana:") || text.contains("ana for"), "{text}");
}

#[test]
fn an_owner_without_a_user_cannot_approve() {
    let all = found("tier = \"high\"\nowners = [\"olga\"]\n", "owner:1", "");
    assert_eq!(all.iter().map(|one| one.0).collect::<Vec<_>>(), ["approvals.never"]);
}

#[test]
fn security_that_nobody_is_in_cannot_approve() {
    let without = PEOPLE.replace("security = [\"sara\"]", "");
    let resource = "tier = \"critical\"\nowners = [\"ana\", \"bruno\"]\n";
    let findings = unmet(&bundle(&without, resource, "owner:1, security:1", "", APPROVE), true);
    let [one] = findings.as_slice() else { panic!("{findings:?}") };
    assert!(one.check == "approvals.never" && one.found.contains("nobody in the capacity security"), "{one:?}");
    assert_eq!(
        found(
            resource,
            "owner:1, security:1",
            "when { principal.kind == Grantd::Kind::\"pipeline\" && context.self_subject }"
        ),
        []
    );
}

#[test]
fn what_no_rule_of_approve_lets_anybody_give_is_found() {
    let approve = APPROVE.replace("Capacity::\"owner\"", "Capacity::\"steward\"");
    let resource = "tier = \"high\"\nowners = [\"ana\", \"bruno\"]\n";
    let findings = unmet(&bundle(PEOPLE, resource, "owner:1", "", &approve), true);
    assert_eq!(findings.iter().map(|one| one.check).collect::<Vec<_>>(), ["approvals.never"]);
}

#[test]
fn a_delegated_admin_alone_on_sensitive_data_is_found() {
    let resource =
        "tier = \"moderate\"\nowners = [\"ana\", \"bruno\"]\ndelegated_admins = [\"sara\"]\nsensitive = true\n";
    let asks = "when { principal.kind == Grantd::Kind::\"pipeline\" && context.self_subject }";
    let all = found(resource, "delegated_admin:1", asks);
    let [("approvals.floor", text)] = all.as_slice() else { panic!("{all:?}") };
    assert!(text.contains("owner"), "{text}");
    assert_eq!(found(&resource.replace("true", "false"), "delegated_admin:1", asks), []);
}

#[test]
fn what_can_be_met_is_left_alone() {
    let asks = "when { principal.kind == Grantd::Kind::\"pipeline\" && context.self_subject }";
    assert_eq!(found("tier = \"high\"\nowners = [\"ana\"]\n", "owner:1", asks), []);
}
