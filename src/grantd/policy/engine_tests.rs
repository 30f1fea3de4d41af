//! What a decision says, and that nothing but a clean permit allows.

use std::collections::BTreeMap;

use cedar_policy::{Authorizer, Context, Entities, EntityUid, PolicySet, Request, Schema};
use grantd_model::{Action, Capacity, Decision, Obligations, Refusal, SignalFact, Subject, Verdict};
use grantd_provider_api::{Persistence, Revocation};
use serde_json::{Value, json};

use super::bundle_tests::{bundle, shipped, with};
use super::*;

type Change = fn(&mut Facts);

fn facts(subject: &Subject) -> Facts {
    Facts {
        capability: "object-storage:read".parse().unwrap(),
        duration_seconds: 1800,
        timing: Timing::default(),
        ttl_seconds: Some(300),
        justification_length: 14,
        ticket: Some("OPS-1".to_owned()),
        subject: subject.clone(),
        requester: subject.clone(),
        anchor: AnchorKind::Process,
        isolation: Isolation::Uid,
        persistence: Persistence::None,
        widens: false,
        revocation: Revocation::Immediate,
        outlives_seconds: 0,
        approvals: BTreeMap::new(),
        capacity: None,
        on_behalf_of: None,
        asked_to_review: false,
        signals: BTreeMap::new(),
    }
}

fn ask(bundle: &Bundle, action: Action, principal: &str, change: impl FnOnce(&mut Facts)) -> Decision {
    let principal = bundle.people.by_name(principal).unwrap();
    let mut facts = facts(&principal);
    change(&mut facts);
    bundle.decide(&Question {
        action,
        at: "2026-01-02T03:04:05Z".parse().unwrap(),
        uid: principal.id.parse().unwrap(),
        principal: &principal,
        resource: bundle.catalog.get("reports").unwrap(),
        facts,
    })
}

fn allowed(decision: &Decision) -> &Obligations {
    match &decision.verdict {
        Verdict::Allow { obligations } => obligations,
        Verdict::Deny { refusal } => panic!("{refusal:?}"),
    }
}

fn refusal(decision: &Decision) -> &Refusal {
    match &decision.verdict {
        Verdict::Deny { refusal } => refusal,
        Verdict::Allow { obligations } => panic!("allowed: {obligations:?}"),
    }
}

/// Validates, and overflows when it is evaluated (Cedar longs are 64-bit and checked).
const OVERFLOW: &str = "context.uid + 9223372036854775807 > 0";

fn forbid(id: &str, when: &str) -> String {
    format!(
        "@id(\"{id}\") @reason(\"{id} says no\") @who_can_fix(\"{id}\") @next(\"leave {id}\") \
         forbid(principal, action == Grantd::Action::\"issue\", resource) when {{ {when} }};\n"
    )
}

fn permit(id: &str, annotations: &str, when: &str) -> String {
    format!(
        "@id(\"{id}\") {annotations} \
         permit(principal, action == Grantd::Action::\"issue\", resource) when {{ {when} }};\n"
    )
}

#[test]
fn p7_a_policy_that_errors_denies() {
    // First without the error: what is denied below is allowed by the same permits.
    assert_eq!(allowed(&ask(&bundle(shipped()).unwrap(), Action::Issue, "deploy", |_| ())).max_ttl, Some(3600));

    let erring_permit = permit("loud", "@max_ttl(\"1h\")", OVERFLOW);
    let erring_forbid = forbid("freeze", OVERFLOW);
    for (id, text) in [("loud", erring_permit), ("freeze", erring_forbid)] {
        let bundle = bundle(with("policies/x.cedar", &text)).unwrap();
        let decision = ask(&bundle, Action::Issue, "deploy", |_| ());
        let refusal = refusal(&decision);
        assert_eq!(
            (refusal.rule.as_str(), decision.determining.as_slice()),
            (POLICY_ERROR, [id.to_owned()].as_slice())
        );
        assert!(refusal.reason.contains(id) && refusal.reason.contains("overflow"), "{}", refusal.reason);
        assert!(refusal.next.contains(&bundle.version.to_string()));
        // An error in a policy for issue is none in one for request.
        allowed(&ask(&bundle, Action::Request, "deploy", |_| ()));
    }
}

#[test]
fn p7_what_the_schema_cannot_express_denies() {
    let bundle = bundle(shipped()).unwrap();
    let changes: [Change; 3] = [
        |facts| facts.ttl_seconds = None,
        |facts| facts.duration_seconds = u64::MAX,
        |facts| facts.revocation = Revocation::Residual(u64::MAX),
    ];
    for change in changes {
        let decision = ask(&bundle, Action::Issue, "deploy", change);
        assert_eq!(refusal(&decision).rule, POLICY_ERROR);
        assert_eq!(decision.determining, Vec::<String>::new());
    }
}

#[test]
fn p6_a_decision_rests_on_the_facts_of_now_and_keeps_them_all() {
    let bundle = bundle(shipped()).unwrap();
    let decision = ask(&bundle, Action::Issue, "deploy", |facts| {
        facts.anchor = AnchorKind::Unwatched;
        facts.revocation = Revocation::Residual(43200);
        facts.approvals.insert(Capacity::Owner, 2);
    });
    assert_eq!(decision.policy, bundle.version);
    assert_eq!(decision.at.to_string(), "2026-01-02T03:04:05Z");
    assert_eq!(decision.determining, ["low-issue", "low-issue-unwatched"]);

    let uid = bundle.people.by_name("deploy").unwrap().id;
    let entity = |kind: &str, id: &str| json!({"type": format!("Grantd::{kind}"), "id": id});
    let deploy = entity("Subject", &format!("pipeline:unix:{uid}"));
    assert_eq!(
        decision.inputs,
        json!({
            "principal": deploy,
            "action": entity("Action", "issue"),
            "resource": entity("Resource", "reports"),
            "context": {
                "uid": uid.parse::<u32>().unwrap(),
                "capability": {"name": "object-storage:read", "type": "object-storage", "verb": "read"},
                "duration_seconds": 1800,
                "recurring": false,
                "span_seconds": 1800,
                "starts_in_seconds": 0,
                "ttl_seconds": 300,
                "justification_length": 14,
                "ticket": true,
                "ticket_id": "OPS-1",
                "subject": deploy,
                "requester": deploy,
                "self_subject": true,
                "anchor": entity("Anchor", "unwatched"),
                "isolation": entity("Isolation", "uid"),
                "persistence": entity("Persistence", "none"),
                "widens": false,
                "revocation": entity("Revocation", "residual"),
                "residual_seconds": 43200,
                "outlives_seconds": 0,
                "approvals": {"owner": 2, "security": 0, "steward": 0, "delegated_admin": 0, "enrolled": 0},
            },
            "entities": [
                {
                    "uid": deploy,
                    "attrs": {"kind": entity("Kind", "pipeline"), "issuer": "unix", "name": "deploy"},
                    "parents": [],
                },
                {
                    "uid": entity("Resource", "reports"),
                    "attrs": {
                        "cloud": entity("Cloud", "aws"),
                        "account": "main",
                        "type": "object-storage",
                        "native": "arn:aws:s3:::example-reports",
                        "environment": "dev",
                        "tier": entity("Tier", "low"),
                        "owners": [entity("Person", "ana"), entity("Person", "bruno")],
                        "stewards": [],
                        "security": [entity("Person", "dora"), entity("Person", "ana")],
                        "delegated_admins": [],
                        "sensitive": false,
                        "enrolled": [],
                    },
                    "parents": [],
                },
            ],
        })
    );

    // The same question with other facts is another decision, each time.
    let watched = ask(&bundle, Action::Issue, "deploy", |_| ());
    assert_eq!((allowed(&decision).max_ttl, allowed(&watched).max_ttl), (Some(900), Some(3600)));
    assert_eq!(refusal(&ask(&bundle, Action::Issue, "deploy", |facts| facts.widens = true)).rule, "no-widening");
}

/// An auditor a year later has the kept bundle and the kept inputs, and needs nothing of ours to decide again.
#[test]
fn p6_a_kept_decision_can_be_made_again_from_its_record() {
    let bundle = bundle(shipped()).unwrap();
    let ana = bundle.people.by_name("ana").unwrap();
    let cases: [(&str, Change); 3] = [
        ("deploy", |_| ()),
        ("ana", |facts| facts.anchor = AnchorKind::Unwatched),
        ("helper", |facts| facts.persistence = Persistence::CanCreate),
    ];
    for (who, change) in cases {
        for action in [Action::Request, Action::Issue, Action::Revoke] {
            let decision = ask(&bundle, action, who, |facts| {
                facts.requester = ana.clone();
                change(facts);
            });
            let (allow, reasons) = decide_again(&bundle.bytes, &decision.inputs);
            assert_eq!(allow, matches!(decision.verdict, Verdict::Allow { .. }), "{decision:?}");
            assert_eq!(reasons.len(), decision.determining.len(), "{decision:?}");
        }
    }
}

fn decide_again(kept: &[u8], inputs: &Value) -> (bool, Vec<String>) {
    let files: BTreeMap<String, String> = serde_json::from_slice(kept).unwrap();
    let policies: String =
        files.iter().filter(|(name, _)| name.ends_with(".cedar")).map(|(_, text)| text.as_str()).collect();
    let schema: Schema = files["schema.cedarschema"].parse().unwrap();
    let uid = |member: &str| EntityUid::from_json(inputs[member].clone()).unwrap();
    // What was not looked up is not in the record, and whoever read it failed: it is filled in for the schema alone.
    let mut context = inputs["context"].clone();
    let absent = SignalFact::ALL.map(SignalFact::as_str).into_iter().filter(|name| context.get(name).is_none());
    let absent: Vec<&str> = absent.filter(|_| inputs["action"]["id"] != "revoke").collect();
    for name in &absent {
        let none = json!({ "type": "Grantd::TicketState", "id": "none" });
        context[*name] = if *name == "ticket_state" { none } else { false.into() };
    }
    let context = Context::from_json_value(context, Some((&schema, &uid("action")))).unwrap();
    let context =
        Context::from_pairs(context.into_iter().filter(|(name, _)| !absent.contains(&name.as_str()))).unwrap();
    let entities = Entities::from_json_value(inputs["entities"].clone(), Some(&schema)).unwrap();
    let request = Request::new(uid("principal"), uid("action"), uid("resource"), context, None).unwrap();
    let response = Authorizer::new().is_authorized(&request, &policies.parse::<PolicySet>().unwrap(), &entities);
    let reasons = response.diagnostics().reason().map(ToString::to_string).collect();
    (response.decision() == cedar_policy::Decision::Allow, reasons)
}

#[test]
fn the_strictest_of_all_determining_permits_applies() {
    let text =
        permit("a-1", r#"@max_ttl("2h") @max_uses("5") @approvals("owner:1") @on_policy_change("keep")"#, "true")
            + &permit(
                "a-2",
                r#"@max_ttl("10m") @max_uses("9") @approvals("owner:2, security:1") @notify("x")"#,
                "true",
            )
            + &permit("a-3", r#"@max_ttl("1s") @max_concurrent("1")"#, "context.uid == 0");
    let bundle = bundle(with("policies/a.cedar", &text)).unwrap();
    let decision = ask(&bundle, Action::Issue, "deploy", |_| ());
    assert_eq!(decision.determining, ["a-1", "a-2", "low-issue"]);
    let mut expected = Obligations {
        approvals: BTreeMap::from([(Capacity::Owner, 2), (Capacity::Security, 1)]),
        max_ttl: Some(600),
        max_duration: Some(28800),
        max_uses: Some(5),
        ..Obligations::default()
    };
    expected.notify.insert("x".to_owned());
    assert_eq!(allowed(&decision), &expected);
}

#[test]
fn one_forbid_outweighs_every_permit_and_all_that_match_are_told() {
    let text = forbid("z-first", "context.ticket") + &forbid("a-second", "true") + &forbid("other", "!context.ticket");
    let bundle = bundle(with("policies/a.cedar", &text)).unwrap();
    let decision = ask(&bundle, Action::Issue, "deploy", |_| ());
    assert_eq!(decision.determining, ["z-first", "a-second"]);
    let refusal = refusal(&decision);
    assert_eq!(refusal.rule, "z-first");
    assert_eq!(refusal.reason, "z-first says no; a-second says no");
    assert_eq!(refusal.who_can_fix, "z-first; a-second");
    assert_eq!(refusal.next, "leave z-first");
}

#[test]
fn what_no_rule_permits_is_denied_and_says_whom_to_ask() {
    let decision = ask(&bundle(shipped()).unwrap(), Action::Revoke, "deploy", |_| ());
    assert_eq!(decision.determining, Vec::<String>::new());
    let refusal = refusal(&decision);
    assert_eq!(refusal.rule, DEFAULT_DENY);
    for word in ["pipeline deploy", "revoke", "object-storage:read", "reports", "tier low"] {
        assert!(refusal.reason.contains(word), "{}", refusal.reason);
    }
    assert!(refusal.who_can_fix.contains("ana, bruno") && refusal.next.contains("ana or bruno"));
}

/// A name is looked up in `people.toml` by the proved identity: a subject cannot bring its own.
#[test]
fn p5_a_claimed_name_or_kind_opens_nothing() {
    let text =
        permit("for-ana", "@max_ttl(\"2h\")", "principal.name == \"ana\" && principal in Grantd::Person::\"ana\"");
    let bundle = bundle(with("policies/x.cedar", &text)).unwrap();
    let claimed = |subject: Subject| {
        let reports = bundle.catalog.get("reports").unwrap();
        let question = Question {
            action: Action::Issue,
            at: "2026-01-02T03:04:05Z".parse().unwrap(),
            principal: &subject,
            uid: 1001,
            resource: reports,
            facts: facts(&subject),
        };
        bundle.decide(&question).determining.contains(&"for-ana".to_owned())
    };
    let ana = bundle.people.by_name("ana").unwrap();
    assert!(claimed(ana.clone()));
    assert!(claimed(Subject { name: "an old name".to_owned(), ..ana.clone() }));
    let deploy = bundle.people.by_name("deploy").unwrap();
    assert!(!claimed(Subject { name: "ana".to_owned(), ..deploy.clone() }));
    assert!(!claimed(Subject { kind: ana.kind, name: "ana".to_owned(), ..deploy }));
    assert!(!claimed(Subject { issuer: "https://issuer.example".to_owned(), ..ana }));
}

#[test]
fn p12_nobody_is_another_by_spelling() {
    let bundle = bundle(shipped()).unwrap();
    let deploy = bundle.people.by_name("deploy").unwrap();
    for other in [
        Subject { issuer: "unix:1".to_owned(), id: deploy.id.clone(), ..deploy.clone() },
        Subject { issuer: "unix".to_owned(), id: format!("1:{}", deploy.id), ..deploy.clone() },
        Subject { kind: grantd_model::SubjectKind::Agent, ..deploy.clone() },
    ] {
        let decision = ask(&bundle, Action::Issue, "deploy", |facts| facts.subject = other);
        assert_eq!(refusal(&decision).rule, "self-only-issue");
        assert_ne!(decision.inputs["context"]["subject"], decision.inputs["principal"]);
    }
    let two = [("unix:1", "2"), ("unix", "1:2"), ("unix%3A1", "2")].map(|(issuer, id)| {
        let subject = Subject { issuer: issuer.to_owned(), id: id.to_owned(), ..deploy.clone() };
        ask(&bundle, Action::Issue, "deploy", |facts| facts.subject = subject).inputs["context"]["subject"].clone()
    });
    assert!(two[0] != two[1] && two[0] != two[2] && two[1] != two[2], "{two:?}");
}

#[test]
fn a_rule_can_ask_for_a_ticket_of_a_pattern_and_a_longer_reason() {
    let rule = "@id(\"ops-ticket\")\n@reason(\"it needs a ticket of OPS\")\n@who_can_fix(\"{principal}\")\n@next(\"name one\")\n\
                forbid (principal, action == Grantd::Action::\"request\", resource)\n\
                unless { context.ticket_id like \"OPS-*\" && context.justification_length >= 14 };\n";
    let bundle = bundle(with("policies/ops.cedar", rule)).unwrap();
    let asked = |ticket: Option<&str>, length| {
        ask(&bundle, Action::Request, "deploy", |facts| {
            facts.anchor = AnchorKind::None;
            facts.ticket = ticket.map(str::to_owned);
            facts.justification_length = length;
        })
    };
    let _ = allowed(&asked(Some("OPS-12"), 14));
    for (ticket, length) in [(None, 14), (Some("OPS"), 14), (Some("DEV-OPS-1"), 14), (Some("OPS-12"), 13)] {
        assert_eq!(refusal(&asked(ticket, length)).rule, "ops-ticket", "{ticket:?}");
    }
}
