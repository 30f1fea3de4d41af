//! Whose approval counts, today: pure. No policy can switch off what is here (promise P12).
//!
//! An approval counts when its digest is that of what is approved, its identity is still that person's, the person still
//! has the capacity, and the person is none of those who asked or will use it, under any identity.

use std::collections::BTreeSet;

use grantd_model::approval::{both, counted, in_words, missing};
use grantd_model::{Approval, Capacity, Digest, Grant, GrantId, GrantState, Quorum, Refusal, Subject, SubjectKind};
use jiff::Timestamp;

use crate::attest::Caller;
use crate::config::{People, Resource};

/// The rule of a refusal because approvals are missing or void.
pub const QUORUM: &str = "quorum";

/// The rule of a refusal because the one who approves asked for it, or will use it.
pub const OWN_REQUEST: &str = "own-request";

/// The rule of a refusal because the one who approves is no person.
pub const NO_PERSON: &str = "not-a-person";

/// Everybody who must not approve: who asked and who will use it, with every identity of theirs.
#[derive(Debug, Clone)]
pub struct Requesters<'a> {
    identities: Vec<&'a Subject>,
    people: BTreeSet<&'a str>,
    unknown: Option<&'a Subject>,
}

impl<'a> Requesters<'a> {
    /// Of a grant, as the people table has them now.
    pub fn of(grant: &'a Grant, people: &'a People) -> Self {
        let asked = grant.extension.iter().map(|waiting| &waiting.asked_by);
        let past = grant.extensions.iter().map(|past| &past.extension.asked_by);
        let parties = [&grant.request.subject, &grant.request.requested_by];
        Self::of_parties(parties.into_iter().chain(asked).chain(past), people)
    }

    /// Of a request that is no grant yet.
    pub fn of_parties(parties: impl IntoIterator<Item = &'a Subject>, people: &'a People) -> Self {
        let identities: Vec<&Subject> = parties.into_iter().collect();
        let known = identities.iter().filter_map(|identity| people.known(identity));
        // Whoever has the identity now, and whoever had it when it was asked: a user may have changed hands since.
        let all = known.chain(identities.iter().copied());
        let names = all.filter(|party| party.kind == SubjectKind::Human).map(|party| party.name.as_str()).collect();
        // Somebody who is not in the table any more could be anybody in it, under another identity.
        let unknown = identities.iter().find(|identity| people.known(identity).is_none()).copied();
        Self { identities, people: names, unknown }
    }

    /// Whether this person, acting as this identity, is one of them.
    pub fn include(&self, person: &str, identity: Option<&Subject>) -> bool {
        let same = |identity: &Subject| self.identities.iter().any(|party| party.same_identity(identity));
        self.people.contains(person) || identity.is_some_and(same)
    }

    /// One of them who is not in the people table now.
    pub fn unknown(&self) -> Option<&'a Subject> {
        self.unknown
    }
}

/// An approval, and why it does not count today, if it does not.
#[derive(Debug, Clone)]
pub struct Judged<'a> {
    /// What was given.
    pub approval: &'a Approval,
    /// Why it does not count.
    pub void: Option<String>,
}

/// Judges `approvals` of what has `digest` on `resource` as it stands in the catalogue now.
pub fn judge<'a>(
    approvals: &'a [Approval],
    digest: Digest,
    people: &People,
    resource: Option<&Resource>,
    requesters: &Requesters<'_>,
) -> Vec<Judged<'a>> {
    let mut seen = BTreeSet::new();
    let mut void = |approval: &Approval| {
        let (person, name) = (&approval.person, resource.map_or("", |resource| resource.name.as_str()));
        let identity = people.known(&approval.identity);
        if approval.digest != digest {
            return Some(format!("{person} approved something else than this"));
        }
        if !identity.is_some_and(|known| known.kind == SubjectKind::Human && known.name == *person) {
            let Subject { issuer, id, .. } = &approval.identity;
            return Some(format!("{issuer}:{id} is not an identity of the person {person} any more"));
        }
        if requesters.include(person, Some(&approval.identity)) {
            return Some(format!("{person} asked for it or will use it, and nobody approves for themselves"));
        }
        if let Some(party) = requesters.unknown() {
            return Some(format!("{party} is nobody in people.toml any more, so who must not approve is not known"));
        }
        if !resource.is_some_and(|resource| holders(resource, approval.capacity).contains(person)) {
            return Some(format!("{person} is no {} of \"{name}\" any more", approval.capacity));
        }
        (!seen.insert(person.clone())).then(|| format!("{person} counts once already"))
    };
    approvals.iter().map(|approval| Judged { approval, void: void(approval) }).collect()
}

/// How many count, by capacity.
pub fn counts(judged: &[Judged<'_>]) -> Quorum {
    counted(judged.iter().filter(|judged| judged.void.is_none()).map(|judged| judged.approval))
}

/// The people of a capacity.
pub fn holders(resource: &Resource, capacity: Capacity) -> &[String] {
    match capacity {
        Capacity::Owner => &resource.owners,
        Capacity::Steward => &resource.stewards,
        // Nobody can be named in these yet, so what asks for them is refused.
        Capacity::Security | Capacity::DelegatedAdmin => &[],
    }
}

/// The people who could approve in a capacity: they have an identity here, and are none of those who must not.
pub fn eligible<'a>(
    resource: &'a Resource,
    capacity: Capacity,
    people: &People,
    requesters: &Requesters<'_>,
) -> Vec<&'a str> {
    let reachable = |name: &str| people.get(name).is_some_and(|person| !person.uids.is_empty());
    let names = holders(resource, capacity).iter().map(String::as_str);
    names.filter(|name| reachable(name) && !requesters.include(name, None)).collect()
}

/// The person who calls. Only people approve, whatever policy permits.
pub fn person(people: &People, caller: &Caller) -> Result<Subject, Refusal> {
    match people.by_uid(caller.uid()) {
        Some(subject) if subject.kind == SubjectKind::Human => Ok(subject),
        other => {
            let who = other.map_or_else(|| format!("uid {}", caller.uid()), |subject| subject.to_string());
            Err(Refusal {
                rule: NO_PERSON.to_owned(),
                reason: format!("{who} is no person of people.toml, and only people approve or deny"),
                who_can_fix: "an administrator, where this user is a person's: by writing it into people.toml"
                    .to_owned(),
                next: "approve as the Unix user of a person".to_owned(),
            })
        }
    }
}

/// Nobody approves for themselves.
pub fn own_request(person: &str, grant: GrantId, others: &[&str]) -> Refusal {
    let others = if others.is_empty() { "somebody else".to_owned() } else { others.join(" or ") };
    Refusal {
        rule: OWN_REQUEST.to_owned(),
        reason: format!(
            "{person} asked for {grant} or will use it, and nobody approves for themselves under any identity"
        ),
        who_can_fix: others.clone(),
        next: format!(
            "ask {others} to run grantctl approve {grant}; to take the request back, grantctl cancel {grant}"
        ),
    }
}

/// Nobody is there who could approve it: asking would be waiting for nothing.
pub fn out_of_reach(
    needed: &Quorum,
    resource: &Resource,
    people: &People,
    requesters: &Requesters<'_>,
) -> Option<Refusal> {
    let short = |(capacity, number): (&Capacity, &u32)| {
        let there = eligible(resource, *capacity, people, requesters);
        let enough = u32::try_from(there.len()).is_ok_and(|there| there >= *number);
        (!enough).then(|| match (capacity, there.as_slice()) {
            (Capacity::Security | Capacity::DelegatedAdmin, _) => {
                format!("this version of grantd knows nobody in the capacity {capacity}")
            }
            (_, []) => format!("no {capacity} of \"{}\" can approve it here", resource.name),
            (_, some) => format!("only {} can approve it as {capacity}", some.join(", ")),
        })
    };
    let short: Vec<String> = needed.iter().filter_map(short).collect();
    (!short.is_empty()).then(|| Refusal {
        rule: QUORUM.to_owned(),
        reason: format!(
            "this needs the approval of {}, and {} (who asks or will use it does not count)",
            in_words(needed),
            short.join("; ")
        ),
        who_can_fix: format!(
            "whoever maintains the policy bundle, with the owners of {}: {}",
            resource.name,
            resource.owners.join(", ")
        ),
        next: format!(
            "have them name another owner of {} in catalog.toml, or write a person's Unix user into people.toml",
            resource.name
        ),
    })
}

/// Approvals that a use needs are missing or do not count any more.
pub fn unmet(grant: GrantId, needed: &Quorum, judged: &[Judged<'_>], resource: &Resource) -> Refusal {
    let left = missing(needed, &counts(judged));
    let void: Vec<&str> = judged.iter().filter_map(|judged| judged.void.as_deref()).collect();
    let void = if void.is_empty() { String::new() } else { format!(": {}", void.join("; ")) };
    Refusal {
        rule: QUORUM.to_owned(),
        reason: format!(
            "{grant} needs the approval of {}, and today {} is missing{void}",
            in_words(needed),
            in_words(&left)
        ),
        who_can_fix: format!("the owners of {}: {}", resource.name, resource.owners.join(", ")),
        next: format!("request it anew with grantctl request, and have {} approve it", resource.owners.join(" or ")),
    }
}

/// Until when the approvals of an active grant carry it today, and what is missing from then on if that is before its
/// end: an extension whose approvals do not count any more is as if it had not been given.
pub fn carried_until(
    grant: &Grant,
    needed: &Quorum,
    people: &People,
    resource: &Resource,
) -> Result<(Timestamp, Option<Refusal>), Refusal> {
    let requesters = Requesters::of(grant, people);
    let judge = |approvals, digest| judge(approvals, digest, people, Some(resource), &requesters);
    let judged = judge(grant.approvals.as_slice(), grant.digest);
    if !missing(needed, &counts(&judged)).is_empty() {
        return Err(unmet(grant.id, needed, &judged, resource));
    }
    let GrantState::Active { since, until } = grant.state else { return Ok((Timestamp::MIN, None)) };
    let seconds = i64::try_from(grant.request.duration_seconds).unwrap_or(i64::MAX);
    let mut end = since.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(until);
    for past in grant.extensions.iter().filter(|past| past.is_granted()) {
        let needed = both(past.extension.needed.clone(), needed);
        let judged = judge(&past.extension.approvals, past.extension.digest);
        if !missing(&needed, &counts(&judged)).is_empty() {
            let mut refusal = unmet(grant.id, &needed, &judged, resource);
            refusal.reason = format!("{}, for its extension until {}", refusal.reason, past.extension.until);
            return Ok((end, Some(refusal)));
        }
        end = past.extension.until;
    }
    Ok((end, None))
}

/// How many approvals of a grant count today, by capacity: what policy is told at issue.
pub fn approvals_today(grant: &Grant, people: &People, resource: &Resource) -> Quorum {
    let requesters = Requesters::of(grant, people);
    counts(&judge(&grant.approvals, grant.digest, people, Some(resource), &requesters))
}

#[cfg(test)]
#[path = "quorum_tests.rs"]
mod tests;
