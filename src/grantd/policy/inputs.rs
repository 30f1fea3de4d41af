//! Everything that policy sees of a question, as the JSON that Cedar reads (Cedar documentation, "JSON format for
//! entities and context"). What is evaluated is parsed from the very value that the decision keeps, so that the record
//! is complete by construction and anybody can evaluate it again.

use std::collections::BTreeMap;

use cedar_policy::{Context, Entities, EntityUid, Request, Schema};
use grantd_model::{Action, Capacity, FactValue, SignalFact, Signals, Subject, SubjectKind, TicketState};
use grantd_provider_api::{Persistence, Revocation};
use serde_json::{Value, json};

use super::question::Question;
use crate::config::{People, Resource};

/// The inputs of one decision.
pub(super) struct Inputs {
    pub(super) principal: Value,
    pub(super) action: Value,
    pub(super) resource: Value,
    pub(super) entities: Value,
    pub(super) context: Value,
    pub(super) signals: Signals,
}

impl Inputs {
    /// Lays out `question`. Names and persons are taken from `people`, never from what a subject calls itself.
    pub(super) fn of(question: &Question<'_>, people: &People) -> Self {
        let facts = &question.facts;
        let subjects = [question.principal, &facts.subject, &facts.requester];
        let absent = facts.on_behalf_of.as_deref().filter(|_| question.action == Action::Approve);
        let entity = |subject: &Subject| {
            // Who speaks for an absent person is, for this one question, that person as well.
            let absent = absent.filter(|_| subject.same_identity(question.principal));
            (subject_id(subject), subject_entity(subject, people, absent))
        };
        let subjects: BTreeMap<String, Value> = subjects.into_iter().map(entity).collect();
        Self {
            principal: uid("Subject", &subject_id(question.principal)),
            action: uid("Action", question.action.name()),
            resource: uid("Resource", &question.resource.name),
            entities: subjects.into_values().chain([resource_entity(question.resource)]).collect(),
            context: context(question),
            signals: question.facts.signals.clone(),
        }
    }

    /// The same as Cedar types it.
    ///
    /// # Errors
    /// When the question does not fit the schema.
    pub(super) fn parse(&self, schema: &Schema) -> Result<(Request, Entities), String> {
        let one = |value: &Value| EntityUid::from_json(value.clone()).map_err(|error| error.to_string());
        let action = one(&self.action)?;
        let absent = self.absent();
        let mut whole = self.context.clone();
        if let Some(members) = whole.as_object_mut() {
            members.extend(absent.iter().map(|fact| (fact.as_str().to_owned(), as_cedar(placeholder(*fact)))));
        }
        let context = Context::from_json_value(whole, Some((schema, &action))).map_err(|error| explained(&error))?;
        let entities =
            Entities::from_json_value(self.entities.clone(), Some(schema)).map_err(|error| explained(&error))?;
        let (principal, resource) = (one(&self.principal)?, one(&self.resource)?);
        let request = Request::new(principal.clone(), action.clone(), resource.clone(), context.clone(), Some(schema))
            .map_err(|error| explained(&error))?;
        if absent.is_empty() {
            return Ok((request, entities));
        }
        // It fits with something in every place. What was not looked up is taken out again: whoever reads it fails.
        let known = context.into_iter().filter(|(name, _)| !absent.iter().any(|fact| fact.as_str() == name));
        let context = Context::from_pairs(known).map_err(|error| explained(&error))?;
        let request = Request::new(principal, action, resource, context, None).map_err(|error| explained(&error))?;
        Ok((request, entities))
    }

    /// The facts of signals that the schema has for this action, and that are not there.
    fn absent(&self) -> Vec<SignalFact> {
        // Taking something back rests on no signal.
        if [Action::Revoke, Action::Review].iter().any(|action| self.action == uid("Action", action.name())) {
            return Vec::new();
        }
        SignalFact::ALL.into_iter().filter(|fact| fact.of(&self.signals).is_none()).collect()
    }

    /// For the record.
    pub(super) fn into_json(self) -> Value {
        let mut inputs = json!({
            "principal": self.principal,
            "action": self.action,
            "resource": self.resource,
            "context": self.context,
            "entities": self.entities,
        });
        if let (false, Some(members)) = (self.signals.is_empty(), inputs.as_object_mut()) {
            members.insert("signals".to_owned(), json!(self.signals));
        }
        inputs
    }
}

/// As Cedar reads it.
fn as_cedar(value: FactValue) -> Value {
    match value {
        FactValue::Bool(value) => value.into(),
        FactValue::Ticket(state) => uid("TicketState", state.as_str()),
    }
}

/// Something of the type of a fact, to hold against the schema. It is never evaluated.
fn placeholder(fact: SignalFact) -> FactValue {
    match fact {
        SignalFact::TicketState => FactValue::Ticket(TicketState::None),
        _ => FactValue::Bool(false),
    }
}

/// An error with its causes.
fn explained(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

fn uid(kind: &str, id: &str) -> Value {
    json!({ "type": format!("Grantd::{kind}"), "id": id })
}

fn people_set(names: &[String]) -> Value {
    names.iter().map(|name| uid("Person", name)).collect()
}

/// Equal exactly for the same identity. Kinds hold no colon and the issuer's are escaped, so the parts cannot run into
/// each other.
fn subject_id(subject: &Subject) -> String {
    let issuer = subject.issuer.replace('%', "%25").replace(':', "%3A");
    format!("{}:{issuer}:{}", subject.kind, subject.id)
}

fn subject_entity(subject: &Subject, people: &People, absent: Option<&str>) -> Value {
    let known = people.known(subject);
    let name = known.map(|known| known.name.clone()).unwrap_or_default();
    let person = known.filter(|known| known.kind == SubjectKind::Human);
    json!({
        "uid": uid("Subject", &subject_id(subject)),
        "attrs": {
            "kind": uid("Kind", &subject.kind.to_string()),
            "issuer": subject.issuer,
            "name": name,
        },
        "parents": person
            .map(|person| person.name.as_str())
            .into_iter()
            .chain(absent)
            .map(|name| uid("Person", name))
            .collect::<Vec<_>>(),
    })
}

pub(super) fn resource_entity(resource: &Resource) -> Value {
    json!({
        "uid": uid("Resource", &resource.name),
        "attrs": {
            "cloud": uid("Cloud", &resource.cloud.to_string()),
            "account": resource.account,
            "type": resource.kind,
            "native": resource.native,
            "environment": resource.environment,
            "tier": uid("Tier", &resource.tier.to_string()),
            "owners": people_set(&resource.owners),
            "stewards": people_set(&resource.stewards),
            "security": people_set(&resource.security),
            "delegated_admins": people_set(&resource.delegated_admins),
            "sensitive": resource.sensitive,
            "enrolled": people_set(resource.glass.as_ref().map_or(&[], |profile| profile.people.as_slice())),
        },
        "parents": [],
    })
}

/// How long it is until the grant may be used at the earliest, in whole seconds, rounded up.
fn starts_in(question: &Question<'_>) -> i64 {
    let ahead = question.facts.timing.not_before.map(|not_before| not_before.duration_since(question.at));
    ahead.map_or(0, |ahead| ahead.as_secs().saturating_add(i64::from(ahead.subsec_nanos() > 0)).max(0))
}

fn context(question: &Question<'_>) -> Value {
    let facts = &question.facts;
    let (revocation, residual) = match facts.revocation {
        Revocation::Immediate => ("immediate", 0),
        Revocation::Eventual => ("eventual", 0),
        Revocation::ExpiryOnly => ("expiry_only", 0),
        Revocation::Residual(seconds) => ("residual", seconds),
    };
    let persistence = match facts.persistence {
        Persistence::None => "none",
        Persistence::CanCreate => "can_create",
    };
    let approvals: BTreeMap<&str, u32> = Capacity::ALL
        .into_iter()
        .map(|capacity| (capacity.as_str(), facts.approvals.get(&capacity).copied().unwrap_or_default()))
        .collect();
    let mut context = json!({
        "uid": question.uid,
        "capability": {
            "name": facts.capability.as_str(),
            "type": facts.capability.resource_type(),
            "verb": facts.capability.verb(),
        },
        "duration_seconds": facts.duration_seconds,
        "recurring": facts.timing.recurs_over.is_some(),
        "span_seconds": facts.timing.recurs_over.unwrap_or(facts.duration_seconds),
        "starts_in_seconds": starts_in(question),
        "justification_length": facts.justification_length,
        "ticket": facts.ticket.is_some(),
        "ticket_id": facts.ticket.as_deref().unwrap_or_default(),
        "subject": uid("Subject", &subject_id(&facts.subject)),
        "requester": uid("Subject", &subject_id(&facts.requester)),
        "self_subject": question.principal.same_identity(&facts.subject),
        "anchor": uid("Anchor", facts.anchor.as_str()),
        "isolation": uid("Isolation", facts.isolation.as_str()),
        "persistence": uid("Persistence", persistence),
        "widens": facts.widens,
        "revocation": uid("Revocation", revocation),
        "residual_seconds": residual,
        "outlives_seconds": facts.outlives_seconds,
        "approvals": approvals,
    });
    let rests_on_signals = !matches!(question.action, Action::Revoke | Action::Review);
    if let (true, Some(members)) = (rests_on_signals, context.as_object_mut()) {
        let had = SignalFact::ALL.into_iter().filter_map(|fact| Some((fact, fact.of(&facts.signals)?)));
        members.extend(had.map(|(fact, value)| (fact.as_str().to_owned(), as_cedar(value))));
    }
    if let (Action::Issue | Action::BreakGlass, Some(ttl), Some(members)) =
        (question.action, facts.ttl_seconds, context.as_object_mut())
    {
        members.insert("ttl_seconds".to_owned(), ttl.into());
    }
    if let (Action::BreakGlass | Action::Review, Some(members)) = (question.action, context.as_object_mut()) {
        let profile = question.resource.glass.as_ref().map(|profile| profile.name.as_str());
        members.insert("profile".to_owned(), profile.unwrap_or_default().into());
    }
    if let (Action::Review, Some(members)) = (question.action, context.as_object_mut()) {
        members.insert("asked_to_review".to_owned(), facts.asked_to_review.into());
    }
    if let (Action::Approve, Some(capacity), Some(members)) = (question.action, facts.capacity, context.as_object_mut())
    {
        members.insert("capacity".to_owned(), uid("Capacity", capacity.as_str()));
        members.insert("delegated".to_owned(), facts.on_behalf_of.is_some().into());
    }
    context
}
