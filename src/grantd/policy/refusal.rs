//! The words of a refusal: which rule, why, who can fix it, what to do next.

use std::collections::BTreeSet;

use grantd_model::{Action, Looked, Missing, PolicyVersion, Refusal, Signal, SignalFact, Signals};

use super::annotations::Words;
use super::question::Question;

/// The rule of a refusal when nothing permitted what was asked.
pub const DEFAULT_DENY: &str = "default-deny";

/// The rule of a refusal when a policy could not be evaluated.
pub const POLICY_ERROR: &str = "policy-error";

/// What stands before the name of a signal in the rule of a refusal because it could not be had.
pub const SIGNAL: &str = "signal:";

/// Who can mend a bundle.
const MAINTAINER: &str = "whoever maintains the policy bundle of this daemon";

/// Text with places for what the question was about, such as `{resource}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Place(Place),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Resource,
    Tier,
    Environment,
    Owners,
    Stewards,
    Security,
    Principal,
    Subject,
    Capability,
}

const PLACES: [(&str, Place); 9] = [
    ("resource", Place::Resource),
    ("tier", Place::Tier),
    ("environment", Place::Environment),
    ("owners", Place::Owners),
    ("stewards", Place::Stewards),
    ("security", Place::Security),
    ("principal", Place::Principal),
    ("subject", Place::Subject),
    ("capability", Place::Capability),
];

impl Template {
    /// Reads `text`: not empty, on one line, every `{` the start of a known place.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() || text.chars().any(char::is_control) {
            return Err("write a sentence, on one line".to_owned());
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, behind) = after.split_once('}').ok_or("a { has no }: close it")?;
            let Some((_, place)) = PLACES.iter().find(|(known, _)| *known == name) else {
                let known: Vec<&str> = PLACES.iter().map(|(known, _)| *known).collect();
                return Err(format!("{{{name}}} is not known: the places are {}", known.join(", ")));
            };
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(Piece::Place(*place));
            rest = behind;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Self(pieces))
    }

    fn fill(&self, question: &Question<'_>) -> String {
        self.0.iter().map(|piece| piece.fill(question)).collect()
    }
}

impl Piece {
    fn fill(&self, question: &Question<'_>) -> String {
        let (resource, facts) = (question.resource, &question.facts);
        match self {
            Self::Text(text) => text.clone(),
            Self::Place(Place::Resource) => resource.name.clone(),
            Self::Place(Place::Tier) => resource.tier.to_string(),
            Self::Place(Place::Environment) => resource.environment.clone(),
            Self::Place(Place::Owners) => resource.owners.join(", "),
            Self::Place(Place::Stewards) if resource.stewards.is_empty() => "nobody".to_owned(),
            Self::Place(Place::Stewards) => resource.stewards.join(", "),
            Self::Place(Place::Security) if resource.security.is_empty() => "nobody".to_owned(),
            Self::Place(Place::Security) => resource.security.join(", "),
            Self::Place(Place::Principal) => question.principal.name.clone(),
            Self::Place(Place::Subject) => facts.subject.name.clone(),
            Self::Place(Place::Capability) => facts.capability.to_string(),
        }
    }
}

/// Refused by forbids, the first of which gives the rule's name and the next step; the reasons of all are told, so that
/// nobody has to meet them one after the other.
pub(super) fn forbidden(rules: &[(&str, &Words)], question: &Question<'_>) -> Refusal {
    let all = |text: fn(&Words) -> &Template| {
        let mut seen = BTreeSet::new();
        let mut texts: Vec<String> = rules.iter().map(|(_, words)| text(words).fill(question)).collect();
        texts.retain(|text| seen.insert(text.clone()));
        texts.join("; ")
    };
    Refusal {
        rule: rules.first().map(|(id, _)| (*id).to_owned()).unwrap_or_default(),
        reason: all(|words| &words.reason),
        who_can_fix: all(|words| &words.who_can_fix),
        next: rules.first().map(|(_, words)| words.next.fill(question)).unwrap_or_default(),
    }
}

/// Refused because nothing permits it.
pub(super) fn default_deny(question: &Question<'_>) -> Refusal {
    let (principal, resource) = (question.principal, question.resource);
    let what = match question.action {
        Action::Request => "request",
        Action::Approve => "approve",
        Action::Issue => "be issued a credential for",
        Action::Revoke => "revoke somebody else's",
        Action::BreakGlass => "use break-glass for",
        Action::Review => "review the use of",
    };
    Refusal {
        rule: DEFAULT_DENY.to_owned(),
        reason: format!(
            "no rule permits the {} {} to {what} {} on {}, which is of tier {}",
            principal.kind, principal.name, question.facts.capability, resource.name, resource.tier
        ),
        who_can_fix: format!("{MAINTAINER}, with the owners of {}: {}", resource.name, resource.owners.join(", ")),
        next: match question.action {
            Action::Approve => format!("ask {} to approve or deny it", resource.owners.join(" or ")),
            _ => format!("ask {} whether a rule should permit it", resource.owners.join(" or ")),
        },
    }
}

/// Refused because something that a policy reads could not be looked up: the first gives the rule's name and the next step.
pub(super) fn signal_missing(facts: &BTreeSet<SignalFact>, signals: &Signals) -> Refusal {
    let why = |fact: &SignalFact| {
        let signal = fact.signal();
        let not_told = |why: String| Missing {
            why,
            who_can_fix: "whoever administers this daemon".to_owned(),
            next: format!("have them look at the [[signal]] of type \"{signal}\" in grantd.toml"),
            away: false,
        };
        match signals.get(&signal) {
            Some(Looked::Missing(missing)) => missing.clone(),
            Some(Looked::Had { sources, .. }) => {
                not_told(format!("{} does not tell {fact} of this request, and policy rests on it", sources.join(", ")))
            }
            None => not_told(format!("{fact} was not looked up, and policy rests on it")),
        }
    };
    let all: Vec<(Signal, Missing)> = facts.iter().map(|fact| (fact.signal(), why(fact))).collect();
    let told = |text: fn(&Missing) -> &String| {
        let mut seen = BTreeSet::new();
        let mut texts: Vec<String> = all.iter().map(|(_, missing)| text(missing).clone()).collect();
        texts.retain(|text| seen.insert(text.clone()));
        texts.join("; ")
    };
    Refusal {
        rule: all.first().map(|(signal, _)| format!("{SIGNAL}{signal}")).unwrap_or_default(),
        reason: told(|missing| &missing.why),
        who_can_fix: told(|missing| &missing.who_can_fix),
        next: all.first().map(|(_, missing)| missing.next.clone()).unwrap_or_default(),
    }
}

/// Refused because policy could not be evaluated.
pub(super) fn policy_error(errors: &[String], version: PolicyVersion) -> Refusal {
    Refusal {
        rule: POLICY_ERROR.to_owned(),
        reason: format!("policy could not be evaluated, and then nothing is allowed: {}", errors.join("; ")),
        who_can_fix: MAINTAINER.to_owned(),
        next: format!(
            "send them this message with the policy version {version}; asking again does not help until they correct it"
        ),
    }
}
