//! The questions that a bundle could ever be asked, as far as it says by itself what they are: who could ask for what on
//! what. Everybody who stands alike towards a resource is asked about once. Pure.

use std::collections::{BTreeMap, BTreeSet};

use grantd_model::{Action, Capacity, Obligations, Quorum, Signals, Subject, SubjectKind};
use grantd_provider_api::{Capability, Persistence, Revocation};
use jiff::Timestamp;
use serde_json::Value;

use super::bundle::Bundle;
use super::certain::Scene;
use super::inputs::Inputs;
use super::question::{AnchorKind, Facts, Isolation, Question, Timing};
use crate::config::Resource;

/// A permit of requests that may come to apply to one who asks, with what it obliges to.
#[derive(Debug, Clone)]
pub struct Asking {
    /// The permit.
    pub rule: String,
    /// What it obliges to.
    pub obligations: Obligations,
    /// Who asks.
    pub requester: Subject,
    /// Who would use it.
    pub subject: Subject,
}

/// One rule as it is looked through.
pub(super) struct Text<'a> {
    pub(super) id: String,
    pub(super) json: Value,
    /// Of a permit.
    pub(super) obligations: Option<&'a Obligations>,
}

impl Bundle {
    /// Every permit of a request on `resource` that may come to apply, for each kind of one who could ask. `ids_hold`:
    /// whether the host's users are those that the bundle will decide about.
    #[must_use]
    pub fn asking(&self, resource: &Resource, ids_hold: bool) -> Vec<Asking> {
        let rules = self.engine.texts(Action::Request);
        let forbids: Vec<&Value> =
            rules.iter().filter(|rule| rule.obligations.is_none()).map(|rule| &rule.json).collect();
        let all = self.parties(resource, &rules);
        let capabilities = self.capabilities(resource, &rules, false);
        let mut asking: Vec<Asking> = Vec::new();
        for (requester, subject) in pairs(&all) {
            let scenes: Vec<Scene> = capabilities
                .iter()
                .map(|can| self.scene(Action::Request, resource, can.as_ref(), (requester, subject), None, ids_hold))
                .collect();
            for rule in &rules {
                let Some(obligations) = rule.obligations else { continue };
                if scenes.iter().any(|scene| scene.may_hold(&rule.json, &forbids)) {
                    asking.push(Asking {
                        rule: rule.id.clone(),
                        obligations: obligations.clone(),
                        requester: requester.clone(),
                        subject: subject.clone(),
                    });
                }
            }
        }
        asking
    }

    /// Whether policy may ever let this person approve on `resource` in this capacity.
    #[must_use]
    pub fn may_approve(&self, resource: &Resource, person: &Subject, capacity: Capacity, ids_hold: bool) -> bool {
        let rules = self.engine.texts(Action::Approve);
        let forbids: Vec<&Value> =
            rules.iter().filter(|rule| rule.obligations.is_none()).map(|rule| &rule.json).collect();
        let scene = |can: &Option<Capability>| {
            self.scene(Action::Approve, resource, can.as_ref(), (person, person), Some(capacity), ids_hold)
        };
        self.capabilities(resource, &rules, false)
            .iter()
            .map(scene)
            .any(|scene| rules.iter().any(|rule| rule.obligations.is_some() && scene.may_hold(&rule.json, &forbids)))
    }

    /// Every scene of `action` on `resource`, for rules that read `rules`.
    /// `elsewhere`: on something like it in whatever cloud, sensitive or not.
    pub(super) fn scenes(
        &self,
        action: Action,
        resource: &Resource,
        rules: &[Text<'_>],
        elsewhere: bool,
        ids_hold: bool,
    ) -> Vec<Scene> {
        let all = self.parties(resource, rules);
        let parties: Vec<(&Subject, &Subject)> = match action {
            Action::Request | Action::Issue => pairs(&all),
            _ => all.iter().map(|one| (one, one)).collect(),
        };
        let capacities: Vec<Option<Capacity>> = match action {
            Action::Approve => Capacity::ALL.into_iter().map(Some).collect(),
            _ => vec![None],
        };
        let mut scenes = Vec::new();
        for can in self.capabilities(resource, rules, elsewhere) {
            for parties in &parties {
                for capacity in &capacities {
                    let scene = self.scene(action, resource, can.as_ref(), *parties, *capacity, ids_hold);
                    scenes.push(if elsewhere { scene.forgetting(&["cloud", "sensitive"]) } else { scene });
                }
            }
        }
        scenes
    }

    /// What can be asked for on a resource: the capabilities of its type that the cloud's map has, or any cloud's; where that
    /// is none, or no rule reads it, something that nothing is known of.
    fn capabilities(&self, resource: &Resource, rules: &[Text<'_>], anywhere: bool) -> Vec<Option<Capability>> {
        if !rules.iter().any(|rule| rule.json.to_string().contains("\"capability\"")) {
            return vec![None];
        }
        let maps = self.maps.iter().filter(|(cloud, _)| anywhere || **cloud == resource.cloud);
        let named = maps.flat_map(|(_, map)| map.capability.keys());
        let named: BTreeSet<Capability> = named.filter(|can| can.resource_type() == resource.kind).cloned().collect();
        if named.is_empty() { vec![None] } else { named.into_iter().map(Some).collect() }
    }

    /// One of each kind of people and workloads that stand alike towards `resource`: of the same kind, with the same
    /// capacities. Whoever a rule names stands alone.
    fn parties(&self, resource: &Resource, rules: &[Text<'_>]) -> Vec<Subject> {
        let texts: Vec<String> = rules.iter().map(|rule| rule.json.to_string()).collect();
        let mut alike: BTreeMap<(SubjectKind, Vec<bool>, Option<String>), Subject> = BTreeMap::new();
        for subject in self.people.names().filter_map(|name| self.people.by_name(name)) {
            let held = [&resource.owners, &resource.stewards, &resource.security, &resource.delegated_admins];
            let mut held = held.map(|holders| holders.contains(&subject.name)).to_vec();
            held.push(resource.glass.as_ref().is_some_and(|profile| profile.enrols(&subject.name)));
            let (quoted, id) = (Value::from(subject.name.as_str()).to_string(), format!(":{}\"", subject.id));
            let named = texts.iter().any(|text| text.contains(&quoted) || text.contains(&id));
            alike.entry((subject.kind, held, named.then(|| subject.name.clone()))).or_insert(subject);
        }
        alike.into_values().collect()
    }

    fn scene(
        &self,
        action: Action,
        resource: &Resource,
        capability: Option<&Capability>,
        (principal, other): (&Subject, &Subject),
        capacity: Option<Capacity>,
        ids_hold: bool,
    ) -> Scene {
        let usual = || "any:any".parse::<Capability>().ok();
        let Some(stated) = capability.cloned().or_else(usual) else { return Scene::of(&Value::Null, &[], ids_hold) };
        let question = Question {
            action,
            at: Timestamp::UNIX_EPOCH,
            principal,
            uid: 0,
            resource,
            facts: Facts {
                capability: stated,
                duration_seconds: 0,
                timing: Timing::default(),
                ttl_seconds: None,
                justification_length: 0,
                ticket: None,
                subject: other.clone(),
                requester: principal.clone(),
                anchor: AnchorKind::None,
                isolation: Isolation::Uid,
                persistence: Persistence::None,
                widens: false,
                revocation: Revocation::Immediate,
                outlives_seconds: 0,
                approvals: Quorum::new(),
                capacity,
                on_behalf_of: None,
                asked_to_review: false,
                signals: Signals::new(),
            },
        };
        let known: &[&str] = match action {
            Action::Request => &["subject", "requester", "self_subject"],
            Action::Issue => &["subject", "self_subject"],
            Action::Approve => &["capacity"],
            Action::BreakGlass => &["subject", "requester", "self_subject", "profile"],
            Action::Review => &["profile"],
            Action::Revoke => &[],
        };
        let known: BTreeSet<&str> = known.iter().copied().chain(capability.map(|_| "capability")).collect();
        let known: Vec<&str> = known.into_iter().collect();
        Scene::of(&Inputs::of(&question, &self.people).into_json(), &known, ids_hold)
    }
}

fn pairs(all: &[Subject]) -> Vec<(&Subject, &Subject)> {
    all.iter().flat_map(|one| all.iter().map(move |other| (one, other))).collect()
}
