//! Approvals that nobody can give: for every resource and everybody who could ask, whether the people of today could ever
//! approve what the permits ask for, by the same rules by which the daemon counts.

use std::collections::{BTreeMap, BTreeSet};

use grantd_model::approval::in_words;
use grantd_model::{Capacity, Quorum, Subject};
use grantd_provider_api::{Finding, Standing};
use jiff::Timestamp;

use crate::broker::quorum::{Ground, Requesters, floored};
use crate::broker::reach::{holders, out_of_reach};
use crate::config::Resource;
use crate::policy::Bundle;

/// What can never be met is a problem; what some who ask can never have is a warning.
pub(super) fn unmet(bundle: &Bundle, ids_hold: bool) -> Vec<Finding> {
    bundle.catalog.iter().flat_map(|resource| unmet_on(bundle, resource, ids_hold)).collect()
}

/// How a rule fares on a resource.
#[derive(Default)]
struct Fate {
    met: bool,
    needed: Quorum,
    /// Who asks in vain, and why.
    in_vain: BTreeMap<String, String>,
    fix: String,
}

fn unmet_on(bundle: &Bundle, resource: &Resource, ids_hold: bool) -> Vec<Finding> {
    let ground = Ground { people: &bundle.people, delegations: &[], now: Timestamp::UNIX_EPOCH, signed: false };
    let heard = heard(bundle, resource, ids_hold);
    let mut fates: BTreeMap<String, Fate> = BTreeMap::new();
    let mut findings = Vec::new();
    for asking in bundle.asking(resource, ids_hold) {
        let needed = &asking.obligations.approvals;
        let floor = floored(needed.clone(), resource);
        if floor.is_empty() {
            continue;
        }
        let fate = fates.entry(asking.rule.clone()).or_default();
        let first = fate.needed.is_empty();
        if first && floor != *needed {
            findings.push(Finding::bad(
                format!("rule {}", asking.rule),
                "approvals.floor",
                Standing::Warning,
                format!("on {} the daemon asks for {} whatever it says", resource.name, in_words(&floor)),
                "write that into @approvals, or narrow the rule, so that it says what happens",
            ));
        }
        fate.needed = floor;
        let requesters = Requesters::of_parties([&asking.requester, &asking.subject], &bundle.people);
        match out_of_reach(needed, &heard, ground, &requesters) {
            None => fate.met = true,
            Some(refusal) => {
                fate.in_vain.insert(label(&asking.requester, &asking.subject), refusal.reason);
                fate.fix = refusal.next;
            }
        }
    }
    for (rule, fate) in fates.into_iter().filter(|(_, fate)| !fate.in_vain.is_empty()) {
        let why: BTreeSet<&String> = fate.in_vain.values().collect();
        let why = why.into_iter().next().cloned().unwrap_or_default();
        let asked: Vec<&str> = fate.in_vain.keys().map(String::as_str).collect();
        findings.push(if fate.met {
            Finding::bad(
                format!("resource {}", resource.name),
                "approvals.some-never",
                Standing::Warning,
                format!("by rule {rule} nobody could approve what is asked for by {}: {why}", asked.join("; ")),
                "it is as it has to be if they are not to ask; else name more people",
            )
        } else {
            Finding::bad(
                format!("resource {}", resource.name),
                "approvals.never",
                Standing::Problem,
                format!(
                    "rule {rule} asks for {}, and whoever asks, nobody can give that: {why}",
                    in_words(&fate.needed)
                ),
                fate.fix,
            )
        });
    }
    findings
}

/// The resource with those alone whom some permit of `approve` lets be heard.
fn heard(bundle: &Bundle, resource: &Resource, ids_hold: bool) -> Resource {
    let heard = |capacity: Capacity| -> Vec<String> {
        let may = |name: &&String| match bundle.people.by_name(name) {
            // Whoever has no user here cannot approve; somebody else may for them, which is not known here.
            None => true,
            Some(person) => bundle.may_approve(resource, &person, capacity, ids_hold),
        };
        holders(resource, capacity).iter().filter(may).cloned().collect()
    };
    Resource {
        owners: heard(Capacity::Owner),
        stewards: heard(Capacity::Steward),
        security: heard(Capacity::Security),
        delegated_admins: heard(Capacity::DelegatedAdmin),
        ..resource.clone()
    }
}

fn label(requester: &Subject, subject: &Subject) -> String {
    if requester.same_identity(subject) {
        requester.name.clone()
    } else {
        format!("{} for {}", requester.name, subject.name)
    }
}

#[cfg(test)]
#[path = "approvers_tests.rs"]
mod tests;
