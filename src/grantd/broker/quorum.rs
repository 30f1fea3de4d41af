//! Whose approval counts, today: pure. No policy can switch off what is here (promise P12).
//!
//! An approval counts when its digest is that of what is approved, its identity is still that person's, what was signed
//! for it holds (and it was signed, where policy asks for that), the person still has the capacity, or speaks for an absent one who has it by a delegation that stands, and neither of them is one of
//! those who asked or will use it, under any identity. Each person and each voice counts once, in the capacity where that
//! helps most. At tier critical an owner and security approve, two people; on sensitive data delegated admins never
//! suffice alone.

use std::collections::BTreeSet;

use grantd_model::approval::{Heard, both, in_words, missing, standing_in, tally};
use grantd_model::assignment::assigned;
use grantd_model::{
    Approval, Capacity, Delegation, Digest, Grant, GrantId, GrantState, NodeId, Quorum, Refusal, Subject, SubjectKind,
    Tier,
};
use jiff::Timestamp;

use super::reach::holders;
use super::signed::{still_holds, still_told};
use crate::attest::Caller;
use crate::config::{People, Resource, UNIX};

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

/// What approvals are judged by: people and delegations, as they stand at a moment.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// Who exists.
    pub people: &'a People,
    /// Every delegation there ever was.
    pub delegations: &'a [Delegation],
    /// The moment.
    pub now: Timestamp,
    /// Whether only approvals count that were signed.
    pub signed: bool,
}

/// What an approval has to be of.
#[derive(Debug, Clone, Copy)]
pub struct What<'a> {
    /// The digest of the request, or of its extension.
    pub digest: Digest,
    /// The request.
    pub request: GrantId,
    /// The node on which it was requested.
    pub installation: &'a NodeId,
}

impl<'a> What<'a> {
    /// This digest of this grant.
    pub fn of(grant: &'a Grant, digest: Digest) -> Self {
        Self { digest, request: grant.id, installation: &grant.node }
    }
}

/// An approval, and why it does not count today, if it does not.
#[derive(Debug, Clone)]
pub struct Judged<'a> {
    /// What was given.
    pub approval: &'a Approval,
    /// The capacities in which it may count today.
    pub capacities: Vec<Capacity>,
    /// Why it does not count.
    pub void: Option<String>,
}

/// Judges `approvals` of `what` on `resource` as it stands in the catalogue now. `in_place` says which of them
/// a steward may have given in the owner's place.
pub fn judge<'a>(
    approvals: &'a [Approval],
    what: What<'_>,
    ground: Ground<'_>,
    resource: Option<&Resource>,
    requesters: &Requesters<'_>,
    in_place: impl Fn(&Approval) -> bool,
) -> Vec<Judged<'a>> {
    let mut heard = Heard::default();
    let mut judge = |approval: &'a Approval| {
        let (person, voice) = (&approval.person, approval.voice());
        let name = resource.map_or("", |resource| resource.name.as_str());
        let identity = ground.people.known(&approval.identity);
        if approval.digest != what.digest {
            return Err(format!("{person} approved something else than this"));
        }
        if !identity.is_some_and(|known| known.kind == SubjectKind::Human && known.name == *person) {
            let Subject { issuer, id, .. } = &approval.identity;
            return Err(format!("{issuer}:{id} is not an identity of the person {person} any more"));
        }
        let mut believed = Capacity::ALL.as_slice();
        match &approval.signed {
            None if ground.signed => {
                return Err(format!("{person} did not sign it, and policy asks for signed approvals"));
            }
            None if approval.identity.issuer != UNIX => believed = still_told(approval, ground)?,
            None => {}
            Some(signed) => still_holds(approval, signed, what, ground)?,
        }
        if requesters.include(person, Some(&approval.identity)) {
            return Err(format!("{person} asked for it or will use it, and nobody approves for themselves"));
        }
        if voice != person && requesters.include(voice, None) {
            return Err(format!("{person} speaks for {voice}, who asked for it or will use it"));
        }
        if let Some(party) = requesters.unknown() {
            return Err(format!("{party} is nobody in people.toml any more, so who must not approve is not known"));
        }
        if let Some(absent) = &approval.on_behalf_of {
            let lent = ground.delegations.iter().find(|delegation| delegation.id == absent.delegation);
            let lent = lent.filter(|lent| lent.from == absent.person && lent.to == *person && lent.covers(name));
            if !lent.is_some_and(|lent| lent.stands(ground.now)) {
                return Err(format!("{person} spoke for {voice}, and {} is over", absent.delegation));
            }
        }
        let held = |capacity: &Capacity| {
            let holds = |resource| holders(resource, *capacity).iter().any(|holder| holder == voice);
            // Who was enrolled was chosen: that is not lent.
            (*capacity != Capacity::Enrolled || approval.on_behalf_of.is_none())
                && believed.contains(capacity)
                && resource.is_some_and(holds)
        };
        let capacities: Vec<Capacity> = approval.capacities().into_iter().filter(held).collect();
        if capacities.is_empty() {
            return Err(format!("{voice} is no {} of \"{name}\" any more", approval.capacity));
        }
        match heard.again(approval) {
            Some(again) => Err(format!("{again} counts once already")),
            None => Ok(standing_in(capacities, in_place(approval))),
        }
    };
    let judged = |approval| match judge(approval) {
        Ok(capacities) => Judged { approval, capacities, void: None },
        Err(void) => Judged { approval, capacities: Vec::new(), void: Some(void) },
    };
    approvals.iter().map(judged).collect()
}

/// The voices that count, each by the capacities in which it may.
pub fn voices(judged: &[Judged<'_>]) -> Vec<Vec<Capacity>> {
    judged.iter().filter(|judged| judged.void.is_none()).map(|judged| judged.capacities.clone()).collect()
}

/// How many count, by capacity, each where it helps most to what is needed.
pub fn counts(needed: &Quorum, judged: &[Judged<'_>]) -> Quorum {
    tally(assigned(needed, &voices(judged)))
}

/// What is needed at least, whatever policy says: at tier critical an owner and security; and where delegated admins
/// alone would approve on sensitive data, an owner besides them. Of break-glass, at tier critical another enrolled person.
pub fn floored(needed: Quorum, resource: &Resource) -> Quorum {
    if resource.glass.is_some() {
        // Break-glass waits for none of those who answer for it, and at tier critical for a second enrolled person.
        let second = resource.tier == Tier::Critical;
        return if second { both(needed, &[(Capacity::Enrolled, 1)].into()) } else { needed };
    }
    let critical = resource.tier == Tier::Critical;
    let mut needed = needed;
    if critical {
        needed = both(needed, &[(Capacity::Owner, 1), (Capacity::Security, 1)].into());
    }
    let delegated = |needed: &Quorum| needed.keys().all(|capacity| *capacity == Capacity::DelegatedAdmin);
    if resource.sensitive && !needed.is_empty() && delegated(&needed) {
        needed.insert(Capacity::Owner, 1);
    }
    needed
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

/// Approvals that a use needs are missing or do not count any more.
pub fn unmet(grant: GrantId, needed: &Quorum, judged: &[Judged<'_>], resource: &Resource) -> Refusal {
    let left = missing(needed, &counts(needed, judged));
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
/// end: an extension whose approvals do not count any more is as if it had not been given, and what was approved for an
/// absent person counts as long as the delegation stands. `escalates`: stewards may stand in for owners.
pub fn carried_until(
    grant: &Grant,
    needed: &Quorum,
    ground: Ground<'_>,
    resource: &Resource,
    escalates: bool,
) -> Result<(Timestamp, Option<Refusal>), Refusal> {
    let ground = Ground { signed: ground.signed || grant.obligations.signed_approval, ..ground };
    let requesters = Requesters::of(grant, ground.people);
    let needed = &floored(needed.clone(), resource);
    let unmet_at = |now, approvals: &[Approval], digest, needed: &Quorum, in_place: bool| {
        let ground = Ground { now, ..ground };
        let in_place = |approval: &Approval| in_place && grant.in_place(approval);
        let judged = judge(approvals, What::of(grant, digest), ground, Some(resource), &requesters, in_place);
        let short = !missing(needed, &counts(needed, &judged)).is_empty();
        short.then(|| unmet(grant.id, needed, &judged, resource))
    };
    // The first end of a delegation after which these approvals are not enough any more.
    let breaks = |approvals: &[Approval], digest, needed: &Quorum, in_place: bool| {
        let lent = approvals.iter().filter_map(|approval| approval.on_behalf_of.as_ref());
        let ends = lent.filter_map(|absent| ground.delegations.iter().find(|lent| lent.id == absent.delegation));
        let ends: BTreeSet<Timestamp> = ends.map(|lent| lent.until).filter(|until| *until > ground.now).collect();
        ends.into_iter().find_map(|end| Some((end, unmet_at(end, approvals, digest, needed, in_place)?)))
    };
    if let Some(refusal) = unmet_at(ground.now, &grant.approvals, grant.digest, needed, escalates) {
        return Err(refusal);
    }
    let GrantState::Active { since, until } = grant.state else { return Ok((Timestamp::MIN, None)) };
    let seconds = i64::try_from(grant.request.span_seconds()).unwrap_or(i64::MAX);
    let mut end = since.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(until);
    let first = breaks(&grant.approvals, grant.digest, needed, escalates);
    for past in grant.extensions.iter().filter(|past| past.is_granted()) {
        let extension = &past.extension;
        let needed = both(extension.needed.clone(), needed);
        let told = |mut refusal: Refusal| {
            refusal.reason = format!("{}, for its extension until {}", refusal.reason, extension.until);
            Some(refusal)
        };
        let earliest = |end: Timestamp, refusal| match &first {
            Some((at, first)) if *at < end => Ok((*at, Some(first.clone()))),
            _ => Ok((end, refusal)),
        };
        if let Some(refusal) = unmet_at(ground.now, &extension.approvals, extension.digest, &needed, false) {
            return earliest(end, told(refusal));
        }
        if let Some((at, refusal)) = breaks(&extension.approvals, extension.digest, &needed, false)
            && at < extension.until
        {
            return earliest(at.max(end), told(refusal));
        }
        end = extension.until;
    }
    match first {
        Some((at, refusal)) if at < end => Ok((at, Some(refusal))),
        _ => Ok((end, None)),
    }
}

/// How many approvals of a grant count today, by capacity: what policy is told at issue.
pub fn approvals_today(grant: &Grant, ground: Ground<'_>, resource: &Resource) -> Quorum {
    let ground = Ground { signed: ground.signed || grant.obligations.signed_approval, ..ground };
    let requesters = Requesters::of(grant, ground.people);
    let in_place = |approval: &Approval| grant.in_place(approval);
    let judged = judge(&grant.approvals, What::of(grant, grant.digest), ground, Some(resource), &requesters, in_place);
    counts(&floored(grant.obligations.approvals.clone(), resource), &judged)
}

#[cfg(test)]
#[path = "quorum_tests.rs"]
mod tests;
