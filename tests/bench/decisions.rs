//! How long policy takes to decide: the very code that the daemon decides with, in this process, on the shipped policy and
//! on one that grew. Next to it stands what a decision has to wait for besides: making its record durable.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use grantd::config::Host;
use grantd::policy::{AnchorKind, Bundle, Facts, Isolation, Question, Timing};
use grantd_model::{Action, Capacity, Quorum, Signals, Verdict};
use grantd_provider_api::{Persistence, Revocation};
use serde_json::json;

use crate::disk;
use crate::report::{Results, Table};
use crate::samples::{Samples, Watch};
use crate::stage::Stage;

/// Decisions of each kind that are measured, and before that that are not.
const EACH: usize = 5_000;
const WARM_UP: usize = 500;
/// How much the policy grew.
const MORE_RESOURCES: usize = 1_000;
const MORE_RULES: usize = 100;
const APPENDS: usize = 200;

/// What is asked, of whom it is, and whether the answer is yes.
const QUESTIONS: [(&str, Action, &str, bool); 4] = [
    ("request, self-service", Action::Request, "reports", true),
    ("request, owner and security", Action::Request, "vault", true),
    ("issue", Action::Issue, "reports", true),
    ("issue, forbidden", Action::Issue, "vault", false),
];

/// Measures and writes `policy-decisions`.
pub fn measure(results: &Results) {
    let stage = Stage::new();
    let mut table = Table::new("policy-decisions", "How long policy takes to decide", &stage);
    let head = ["policy", "question", "median (µs)", "p99 (µs)", "max (µs)", "median, of one durable append"];
    table.head(&head);
    let directory = stage.scene.path().to_owned();
    let mut disk = disk::appends(&directory, APPENDS);
    let bundles = [("shipped", bundle(0, 0)), ("grown", bundle(MORE_RESOURCES, MORE_RULES))];
    let mut samples: BTreeMap<(usize, usize), Samples> = BTreeMap::new();
    for round in 0..WARM_UP + EACH {
        // Each in turn, so that whatever disturbs the machine disturbs all of them.
        for (place, (_, bundle)) in bundles.iter().enumerate() {
            for (number, question) in QUESTIONS.iter().enumerate() {
                let micros = decide(bundle, question);
                if round >= WARM_UP {
                    samples.entry((place, number)).or_default().0.push(micros);
                }
            }
        }
    }
    disk.0.extend(disk::appends(&directory, APPENDS).0);
    let mut raw = Vec::new();
    for ((place, number), taken) in &samples {
        let (policy, question) = (bundles[*place].0, QUESTIONS[*number].0);
        table.row(&[
            policy.to_owned(),
            question.to_owned(),
            format!("{:.0}", taken.median()),
            format!("{:.0}", taken.quantile(0.99)),
            format!("{:.0}", taken.most()),
            format!("{:.2}", taken.median() / disk.median()),
        ]);
        raw.push(json!({ "policy": policy, "question": question, "micros": taken }));
    }
    table.note(format!(
        "{EACH} decisions of each kind after {WARM_UP} as a warm-up, the kinds in turn, by one task of one process. A decision \
         is whole: the inputs laid out, typed against the schema, every rule on that action evaluated, obligations or the \
         refusal's words, and the inputs for the record. No signal is looked up. The shipped policy is that of \
         config/policy with four resources; the grown one has {MORE_RESOURCES} resources and {MORE_RULES} rules on \
         requests and issues more."
    ));
    table.note(format!(
        "A durable append is 16 KiB followed by fdatasync, {} of them, half before and half after: median {:.0} µs, p99 {:.0} µs.",
        disk.0.len(),
        disk.median(),
        disk.quantile(0.99)
    ));
    results.write(&table, &json!({ "decisions": raw, "durable_appends_micros": disk }));
}

/// The shipped policy and four resources, with so many more of each.
fn bundle(resources: usize, rules: usize) -> Bundle {
    let shipped = grantd_testkit::repository_root().join("config");
    let mut files = BTreeMap::new();
    let read = |path: &Path| fs::read_to_string(path).expect("what is shipped can be read");
    for what in ["schema.cedarschema", "catalog.toml", "people.toml"] {
        files.insert(what.to_owned(), read(&shipped.join("policy").join(what)));
    }
    for entry in fs::read_dir(shipped.join("policy/policies")).expect("there are policies") {
        let path = entry.expect("it can be listed").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a plain name").to_owned();
        files.insert(format!("policies/{name}"), read(&path));
    }
    let catalog = files.get_mut("catalog.toml").expect("it was read");
    for number in 0..resources {
        *catalog += &format!(
            "\n[[resource]]\nname = \"more-{number}\"\ncloud = \"aws\"\naccount = \"main\"\ntype = \"object-storage\"\n\
             native = \"arn:aws:s3:::more-{number}\"\nenvironment = \"dev\"\ntier = \"low\"\nowners = [\"ana\"]\n"
        );
    }
    let more: String = (0..rules)
        .map(|number| {
            format!(
                "@id(\"more-{number}\")\n@reason(\"r\")\n@who_can_fix(\"w\")\n@next(\"n\")\nforbid (\n  principal,\n  \
                 action in [Grantd::Action::\"request\", Grantd::Action::\"issue\"],\n  resource == \
                 Grantd::Resource::\"more-{number}\"\n)\nwhen {{ context.duration_seconds > {number} }};\n\n"
            )
        })
        .collect();
    if rules > 0 {
        files.insert("policies/more.cedar".to_owned(), more);
    }
    // Whoever the shipped people are, they have users of their own here.
    let user =
        |name: &str| name.bytes().map(u32::from).reduce(|sum, byte| sum * 31 % 50_000 + byte).map(|uid| uid + 1000);
    Bundle::parse(files, Host::users(&user)).expect("it is a bundle")
}

/// One decision, in microseconds.
fn decide(bundle: &Bundle, (name, action, resource, allowed): &(&str, Action, &str, bool)) -> f64 {
    let subject = bundle.people.by_name("deploy").expect("a pipeline is shipped");
    let approvals = if *action == Action::Issue { Quorum::from([(Capacity::Owner, 1)]) } else { Quorum::new() };
    let question = Question {
        action: *action,
        at: jiff::Timestamp::UNIX_EPOCH,
        principal: &subject,
        uid: subject.id.parse().expect("a uid"),
        resource: bundle.catalog.get(resource).expect("it is shipped"),
        facts: Facts {
            capability: "object-storage:read".parse().expect("a capability"),
            duration_seconds: 1800,
            timing: Timing::default(),
            ttl_seconds: (*action == Action::Issue).then_some(300),
            justification_length: 40,
            ticket: Some("OPS-1".to_owned()),
            subject: subject.clone(),
            requester: subject.clone(),
            // What nobody watches is forbidden at critical.
            anchor: if *allowed { AnchorKind::Process } else { AnchorKind::Unwatched },
            isolation: Isolation::Uid,
            persistence: Persistence::None,
            widens: false,
            revocation: Revocation::Immediate,
            outlives_seconds: 0,
            approvals,
            capacity: None,
            on_behalf_of: None,
            asked_to_review: false,
            signals: Signals::new(),
        },
    };
    let watch = Watch::start();
    let decision = bundle.decide(&question);
    let micros = watch.micros();
    assert_eq!(matches!(decision.verdict, Verdict::Allow { .. }), *allowed, "{name}: {decision:?}");
    micros
}
