//! Who could approve, whether or not they did: who holds which capacity, who speaks for whom, and whether that would ever
//! be enough. Pure.

use std::collections::BTreeSet;

use grantd_model::approval::{in_words, missing, tally};
use grantd_model::assignment::assigned;
use grantd_model::{Capacity, Delegation, Quorum, Refusal};

use super::quorum::{Ground, QUORUM, Requesters, floored};
use crate::config::{Identity, Resource};

/// The people of a capacity.
pub fn holders(resource: &Resource, capacity: Capacity) -> &[String] {
    match capacity {
        Capacity::Owner => &resource.owners,
        Capacity::Steward => &resource.stewards,
        Capacity::Security => &resource.security,
        Capacity::DelegatedAdmin => &resource.delegated_admins,
        Capacity::Enrolled => resource.glass.as_ref().map_or(&[], |profile| &profile.people),
    }
}

/// The capacities that a person has by the catalogue, not by anybody's delegation.
pub fn held_by(resource: &Resource, person: &str) -> Vec<Capacity> {
    let held = |capacity: &Capacity| holders(resource, *capacity).iter().any(|name| name == person);
    Capacity::ALL.into_iter().filter(held).collect()
}

/// Somebody who could speak, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speaker<'a> {
    /// Who would approve.
    pub person: &'a str,
    /// By which delegation, where it is for an absent one.
    pub lent: Option<&'a Delegation>,
    /// The capacities of the one whose voice it is.
    pub capacities: Vec<Capacity>,
}

impl Speaker<'_> {
    /// Whose voice it is.
    pub fn voice(&self) -> &str {
        self.lent.map_or(self.person, |lent| &lent.from)
    }

    /// As people are told: `dora`, or `dora for bruno`.
    pub fn label(&self) -> String {
        self.lent.map_or_else(|| self.person.to_owned(), |lent| format!("{} for {}", self.person, lent.from))
    }
}

/// Everybody who could speak on `resource`: they have an identity here, and neither they nor the one for whom they would
/// speak are among those who must not.
pub fn speakers<'a>(resource: &'a Resource, ground: Ground<'a>, requesters: &Requesters<'_>) -> Vec<Speaker<'a>> {
    // Where only signatures count, whoever has no key cannot give one.
    let reachable = |name: &str| {
        let able = |found: &Identity| !found.keys.is_empty() || !ground.signed && !found.uids.is_empty();
        ground.people.get(name).is_some_and(able)
    };
    let mut speakers = Vec::new();
    let mut seen = BTreeSet::new();
    for person in Capacity::ALL.into_iter().flat_map(|capacity| holders(resource, capacity)) {
        if !seen.insert(person) || requesters.include(person, None) {
            continue;
        }
        let capacities = held_by(resource, person);
        if reachable(person) {
            speakers.push(Speaker { person, lent: None, capacities: capacities.clone() });
        }
        // Who was enrolled was chosen: that is not lent.
        let lendable: Vec<Capacity> =
            capacities.into_iter().filter(|capacity| *capacity != Capacity::Enrolled).collect();
        let lent = ground.delegations.iter().filter(|lent| lent.from == *person && !lendable.is_empty());
        for lent in lent.filter(|lent| lent.stands(ground.now) && lent.covers(&resource.name)) {
            let to = lent.to.as_str();
            if ground.people.is_person(to) && reachable(to) && !requesters.include(to, None) {
                speakers.push(Speaker { person: to, lent: Some(lent), capacities: lendable.clone() });
            }
        }
    }
    speakers
}

/// Nobody is there who could approve it: asking would be waiting for nothing.
pub fn out_of_reach(
    needed: &Quorum,
    resource: &Resource,
    ground: Ground<'_>,
    requesters: &Requesters<'_>,
) -> Option<Refusal> {
    let needed = &floored(needed.clone(), resource);
    let all = speakers(resource, ground, requesters);
    // Whoever could be heard by more than one mouth is one voice.
    let mut heard = BTreeSet::new();
    let mut once = all.clone();
    once.retain(|speaker| heard.insert(speaker.voice().to_owned()));
    let voices: Vec<Vec<Capacity>> = once.iter().map(|speaker| speaker.capacities.clone()).collect();
    let short = missing(needed, &tally(assigned(needed, &voices)));
    let why = |capacity: &Capacity| {
        let there: Vec<&Speaker<'_>> = once.iter().filter(|speaker| speaker.capacities.contains(capacity)).collect();
        let number = needed.get(capacity).copied().unwrap_or_default();
        let enough = u32::try_from(there.len()).is_ok_and(|there| there >= number);
        let names: Vec<String> = there.iter().map(|speaker| speaker.label()).collect();
        match (capacity, names.as_slice()) {
            (Capacity::Security, []) if resource.security.is_empty() => {
                "people.toml names nobody in the capacity security".to_owned()
            }
            (Capacity::Security, []) => "nobody of security can approve it here".to_owned(),
            (_, []) => format!("no {capacity} of \"{}\" can approve it here", resource.name),
            (_, some) if enough => format!(
                "as {capacity} it would have to be {}, who would stand in two capacities, and a person counts once",
                some.join(" or ")
            ),
            (_, some) => format!("only {} can approve it as {capacity}", some.join(", ")),
        }
    };
    let why: Vec<String> = short.keys().map(why).collect();
    let next = match short.keys().next()? {
        Capacity::Security => "have them name people under security in people.toml".to_owned(),
        Capacity::Owner => format!(
            "have them name another owner of {} in catalog.toml, or write a person's Unix user into people.toml",
            resource.name
        ),
        Capacity::Enrolled => "have them enrol another person in the profile in catalog.toml".to_owned(),
        other => format!(
            "have them name another {other} of {} in catalog.toml, or write a person's Unix user into people.toml",
            resource.name
        ),
    };
    Some(Refusal {
        rule: QUORUM.to_owned(),
        reason: format!(
            "this needs the approval of {}, and {} (who asks or will use it does not count)",
            in_words(needed),
            why.join("; ")
        ),
        who_can_fix: format!(
            "whoever maintains the policy bundle, with the owners of {}: {}",
            resource.name,
            resource.owners.join(", ")
        ),
        next,
    })
}
