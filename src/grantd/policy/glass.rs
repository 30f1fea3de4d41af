//! What no policy can change about a use of break-glass: who is enrolled, and for how long it is at most. Pure.

use grantd_model::{MAX_BREAK_GLASS, Obligations, Refusal, SubjectKind, Verdict};

use super::question::Question;
use crate::config::{People, Profile};

/// The rule of a refusal because somebody is not enrolled in a break-glass profile.
pub const NOT_ENROLLED: &str = "not-enrolled";

/// What policy said of a use of break-glass, kept within its profile.
pub(super) fn bounded(verdict: Verdict, question: &Question<'_>, people: &People) -> Verdict {
    let Some(profile) = &question.resource.glass else {
        return Verdict::Deny { refusal: not_enrolled(question, None) };
    };
    let known = people.known(&question.facts.subject);
    let enrolled = known.is_some_and(|known| known.kind == SubjectKind::Human && profile.enrols(&known.name));
    if !enrolled || !question.principal.same_identity(&question.facts.subject) {
        return Verdict::Deny { refusal: not_enrolled(question, Some(profile)) };
    }
    let Verdict::Allow { obligations } = verdict else { return verdict };
    let most = profile.max_ttl.as_secs().min(MAX_BREAK_GLASS);
    let least = |policy: Option<u64>, most: u64| Some(policy.map_or(most, |policy| policy.min(most)));
    Verdict::Allow {
        obligations: Obligations {
            max_ttl: least(obligations.max_ttl, most),
            max_duration: least(obligations.max_duration, most),
            review_within: least(obligations.review_within, profile.review_within.as_secs()),
            ..obligations
        },
    }
}

fn not_enrolled(question: &Question<'_>, profile: Option<&Profile>) -> Refusal {
    let name = &question.facts.subject.name;
    let (what, who) = match profile {
        Some(profile) => (format!("break-glass profile \"{}\"", profile.name), profile.people.join(" or ")),
        None => ("any break-glass profile".to_owned(), "somebody who is enrolled".to_owned()),
    };
    Refusal {
        rule: NOT_ENROLLED.to_owned(),
        reason: format!("{name} is not enrolled in {what}, or not under this user, and only who is uses it themselves"),
        who_can_fix: "whoever maintains catalog.toml, before the next incident".to_owned(),
        next: format!("ask {who} to use it, or ask for a grant with grantctl request"),
    }
}
