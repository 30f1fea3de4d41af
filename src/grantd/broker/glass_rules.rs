//! What a use of break-glass is held to beside policy: which access of the profile, how often, reviewed by whom; and the words
//! of the refusals. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use grantd_model::{
    Capacity, Grant, GrantState, Looked, Obligations, Refusal, Review, Signal, Signals, Subject, SubjectKind,
};
use jiff::Timestamp;

use super::glass::GlassAsk;
use super::quorum::Requesters;
use super::request::RequestAsk;
use super::{BrokerError, between};
use crate::attest::Caller;
use crate::config::{Access, Profile};
use crate::policy::NOT_ENROLLED;
use crate::store::{GlassUses, Guard};

/// The rule of a refusal because nobody could review a use.
const NO_REVIEWER: &str = "no-reviewer";

/// The rule of a refusal because a review of an earlier use by the same person is overdue.
const REVIEW_OVERDUE: &str = "review-overdue";

/// That a use of break-glass is over under today's profile and policy, though not under those of then.
pub(super) fn outlived(grant: &Grant, today: &Obligations, now: Timestamp) -> Option<Refusal> {
    grant.request.break_glass.as_ref()?;
    let (GrantState::Active { since, .. }, Some(most)) = (&grant.state, today.max_duration) else { return None };
    (between(*since, now).as_secs() >= most).then(|| Refusal {
        rule: "max_duration".to_owned(),
        reason: format!("{} began more than {most} s ago, which is how long break-glass lasts there now", grant.id),
        who_can_fix: "whoever maintains catalog.toml".to_owned(),
        next: "ask for a grant with grantctl request".to_owned(),
    })
}

/// Which access of the profile is meant: the one that fits what was named.
pub(super) fn chosen<'a>(profile: &'a Profile, ask: &GlassAsk) -> Result<&'a Access, BrokerError> {
    let mut fitting = profile.fitting(ask.resource.as_deref(), ask.capability.as_ref());
    let all = || {
        let words = profile.access.iter().map(|access| format!("{} on \"{}\"", access.capability, access.resource));
        words.collect::<Vec<_>>().join(", ")
    };
    match (fitting.next(), fitting.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => {
            Err(BrokerError::BadRequest(format!("\"{}\" gives nothing of that, only {}", profile.name, all())))
        }
        (Some(_), Some(_)) => Err(BrokerError::BadRequest(format!(
            "\"{}\" gives several things: name one with --resource and --can, of {}",
            profile.name,
            all()
        ))),
    }
}

pub(super) fn request_of(access: &Access, ask: &GlassAsk, duration: Duration) -> RequestAsk {
    RequestAsk {
        resource: access.resource.clone(),
        capability: access.capability.clone(),
        narrowing: access.narrowing.clone(),
        justification: ask.justification.clone(),
        ticket: Some(ask.incident.clone()),
        duration,
        recurrence: None,
        not_before: None,
        subject: None,
        task: ask.task.clone(),
    }
}

/// That it is not used more often than the profile says, by whoever uses which profile.
pub(super) fn limits(profile: &Profile, grant: &Grant, now: Timestamp) -> Vec<Guard> {
    let limits = profile.limits;
    let window = jiff::SignedDuration::try_from(limits.window).unwrap_or(jiff::SignedDuration::MAX);
    let since = now.checked_sub(window).unwrap_or(Timestamp::MIN);
    let uses = [
        (GlassUses::Person(grant.request.subject.name.clone()), limits.per_person),
        (GlassUses::Resource(grant.request.resource.clone()), limits.per_resource),
        (GlassUses::All, limits.in_total),
    ];
    uses.into_iter().map(|(of, limit)| Guard::GlassBelow { of, since, limit }).collect()
}

/// The reviewers of the profile who had no part in it.
pub(super) fn reviewers(profile: &Profile, parties: &Requesters<'_>) -> Vec<String> {
    profile.reviewers.iter().filter(|name| !parties.include(name, None)).cloned().collect()
}

pub(super) fn once(subjects: Vec<Subject>) -> Vec<Subject> {
    let mut seen: Vec<Subject> = Vec::new();
    for subject in subjects {
        if !seen.iter().any(|known| known.same_identity(&subject)) {
            seen.push(subject);
        }
    }
    seen
}

/// The signals that it did without.
pub(super) fn lacked(signals: &Signals) -> Vec<Signal> {
    let missing = signals.iter().filter(|(_, looked)| matches!(looked, Looked::Missing(_)));
    missing.map(|(signal, _)| *signal).collect()
}

pub(super) fn nobody(caller: &Caller) -> String {
    let who = match &caller.subject {
        Some(subject) if subject.kind != SubjectKind::Human => subject.to_string(),
        _ => format!("uid {}", caller.uid()),
    };
    format!("{who} is no person of people.toml, and only people use break-glass")
}

pub(super) fn not_enrolled(user: &str, profile: &Profile) -> Refusal {
    Refusal {
        rule: NOT_ENROLLED.to_owned(),
        reason: format!("{user} is not enrolled in break-glass profile \"{}\"", profile.name),
        who_can_fix: "whoever maintains catalog.toml, before the next incident".to_owned(),
        next: format!("ask {} to use it, or ask for a grant with grantctl request", profile.people.join(" or ")),
    }
}

pub(super) fn no_reviewer(profile: &Profile) -> Refusal {
    Refusal {
        rule: NO_REVIEWER.to_owned(),
        reason: format!("nobody of {} could review this use of \"{}\"", profile.reviewers.join(", "), profile.name),
        who_can_fix: "whoever maintains catalog.toml".to_owned(),
        next: "have them name a reviewer who is not enrolled".to_owned(),
    }
}

pub(super) fn blocked_by(overdue: &[Review], refusal: &Refusal) -> Refusal {
    let names: Vec<String> = overdue.iter().map(|review| review.id.to_string()).collect();
    let first = names.first().cloned().unwrap_or_default();
    Refusal {
        rule: REVIEW_OVERDUE.to_owned(),
        reason: format!(
            "{} overdue, so that the next use needs security's approval; {}",
            names.join(" and "),
            refusal.reason
        ),
        who_can_fix: refusal.who_can_fix.clone(),
        next: format!("have it reviewed with grantctl review complete {first}"),
    }
}

/// What has to hold when a use of break-glass begins that waited, unless security agreed to it: that no review of the same
/// person became overdue meanwhile.
pub(super) fn not_overdue(grant: &Grant, now: Timestamp) -> Option<Guard> {
    let active = matches!(grant.state, GrantState::Active { .. });
    let agreed = grant.approvals.iter().any(|approval| approval.capacities().contains(&Capacity::Security));
    let guarded = grant.request.break_glass.is_some() && active && !agreed;
    guarded.then(|| Guard::NoneOverdue { person: grant.request.subject.name.clone(), at: now })
}

/// That it did not hold, for `overdue`.
pub(super) fn became_overdue(grant: &Grant, overdue: &[Review]) -> Refusal {
    let user = &grant.request.subject.name;
    let names: Vec<String> = overdue.iter().map(|review| review.id.to_string()).collect();
    let reviewers: BTreeSet<&str> = overdue.iter().flat_map(|review| &review.reviewers).map(String::as_str).collect();
    let reviewers = reviewers.into_iter().collect::<Vec<_>>().join(" or ");
    Refusal {
        rule: REVIEW_OVERDUE.to_owned(),
        reason: format!(
            "the review of an earlier use by {user} became overdue while {} waited: {}",
            grant.id,
            names.join(", ")
        ),
        next: format!(
            "ask {reviewers} to run grantctl review complete, and approve again; or have {user} begin anew, which asks security \
             as well"
        ),
        who_can_fix: reviewers,
    }
}
