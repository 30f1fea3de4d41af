//! Cedar: parsed and validated once, evaluated for every question.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use cedar_policy::{
    ActionConstraint, AuthorizationError, Authorizer, Decision as CedarDecision, EntityId, EntityTypeName, EntityUid,
    Policy, PolicyId, PolicySet, Response, Schema, ValidationMode, Validator,
};
use grantd_model::{Action, Capacity, Decision, Looked, Obligations, PolicyVersion, Signal, SignalFact, Verdict};

use super::annotations::{self, Consequence, Words};
use super::inputs::Inputs;
use super::question::Question;
use super::scenes::Text;
use super::{references, refusal};
use crate::config::People;

pub(super) const ACTIONS: [Action; 6] =
    [Action::Request, Action::Approve, Action::Issue, Action::Revoke, Action::BreakGlass, Action::Review];

/// Policies ready to decide.
#[derive(Debug)]
pub(super) struct Engine {
    schema: Schema,
    /// For each action the policies whose scope can hold for it. The others cannot match.
    slices: BTreeMap<Action, PolicySet>,
    rules: BTreeMap<PolicyId, Rule>,
    authorizer: Authorizer,
}

#[derive(Debug)]
struct Rule {
    /// Its place in the bundle: by file name, then from the top down.
    place: usize,
    consequence: Consequence,
    /// The facts of signals that it reads.
    facts: BTreeSet<SignalFact>,
}

/// What has to be looked up before a question can be decided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// The signals. When there are none, it can be decided.
    pub signals: BTreeSet<Signal>,
    /// How old they may be, in seconds: the least that a permit says which may come to apply.
    pub max_age: Option<u64>,
    /// The same when a lease runs and a source cannot be asked.
    pub renew_max_age: Option<u64>,
}

impl Engine {
    /// Everybody named by an `@notify`.
    pub(super) fn notified(&self) -> BTreeSet<String> {
        let permits = self.rules.values().filter_map(|rule| match &rule.consequence {
            Consequence::Permit(obligations) => Some(&obligations.notify),
            Consequence::Forbid(_) => None,
        });
        permits.flatten().cloned().collect()
    }

    /// The ids of every rule, in the bundle's order.
    pub(super) fn rules(&self) -> Vec<String> {
        let mut rules: Vec<(usize, String)> =
            self.rules.iter().map(|(id, rule)| (rule.place, id.to_string())).collect();
        rules.sort_unstable();
        rules.into_iter().map(|(_, id)| id).collect()
    }

    /// The rules of an action in Cedar's JSON form, in the bundle's order.
    pub(super) fn texts(&self, action: Action) -> Vec<Text<'_>> {
        let slice = self.slices.get(&action).into_iter().flat_map(|slice| slice.policies());
        let mut texts: Vec<(usize, Text<'_>)> = slice
            .filter_map(|policy| {
                let rule = self.rules.get(policy.id())?;
                let obligations = match &rule.consequence {
                    Consequence::Permit(obligations) => Some(obligations),
                    Consequence::Forbid(_) => None,
                };
                Some((rule.place, Text { id: policy.id().to_string(), json: policy.to_json().ok()?, obligations }))
            })
            .collect();
        texts.sort_by_key(|(place, _)| *place);
        texts.into_iter().map(|(_, text)| text).collect()
    }

    /// Reads the schema and `files`, pairs of name and text.
    ///
    /// # Errors
    /// The file at fault and what is wrong: whatever Cedar's strict validation finds, warnings included, an annotation
    /// that is missing, unknown or malformed, or an id that stands twice.
    pub(super) fn new<'a>(
        schema: (&str, &str),
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, (String, String)> {
        let (schema_name, schema_text) = schema;
        let schema = parse_schema(schema_text).map_err(|problem| (schema_name.to_owned(), problem))?;
        let actions = action_uids().map_err(|problem| (schema_name.to_owned(), problem))?;
        let mut rules = BTreeMap::new();
        let mut slices: BTreeMap<Action, PolicySet> = ACTIONS.map(|action| (action, PolicySet::new())).into();
        for (file, text) in files {
            let at = |problem: String| (file.to_owned(), problem);
            let policies = parse_file(text).map_err(at)?;
            validate(&schema, &policies).map_err(at)?;
            for policy in policies {
                let named = |problem: String| at(format!("policy {}: {problem}", policy.id()));
                let consequence = annotations::consequence(&policy).map_err(named)?;
                let covered: Vec<Action> = actions
                    .iter()
                    .filter(|(_, uid)| covers(&policy.action_constraint(), uid, &actions))
                    .map(|(action, _)| *action)
                    .collect();
                bounded(&consequence, &covered).map_err(named)?;
                let facts = references::of(&policy).map_err(named)?;
                let rule = Rule { place: rules.len(), consequence, facts };
                if rules.insert(policy.id().clone(), rule).is_some() {
                    return Err(named("the @id stands twice in the bundle: give each policy its own".to_owned()));
                }
                for action in covered {
                    let slice = slices.entry(action).or_default();
                    slice.add(policy.clone()).map_err(|error| named(error.to_string()))?;
                }
            }
        }
        if rules.is_empty() {
            return Err((
                "policies".to_owned(),
                "no policy at all, so nothing could ever be allowed: write one".to_owned(),
            ));
        }
        Ok(Self { schema, slices, rules, authorizer: Authorizer::new() })
    }

    /// Whether the schema can express `question`.
    ///
    /// # Errors
    /// What does not fit.
    pub(super) fn fits(&self, question: &Question<'_>, people: &People) -> Result<(), String> {
        Inputs::of(question, people).parse(&self.schema).map(|_| ())
    }

    /// Evaluates with what is there. Whoever fails because it reads a signal that was not looked up needs that one, and what
    /// else it reads; when something forbids it already, nothing has to be looked up.
    pub(super) fn needs(&self, question: &Question<'_>, people: &People) -> Needs {
        let Ok(response) = self.evaluate(question.action, &Inputs::of(question, people)) else {
            return Needs::default();
        };
        let failed = response.diagnostics().errors().map(|AuthorizationError::PolicyEvaluationError(e)| e.policy_id());
        let failed: Vec<&Rule> = failed.filter_map(|id| self.rules.get(id)).collect();
        let matching: Vec<&Rule> = response.diagnostics().reason().filter_map(|id| self.rules.get(id)).collect();
        if matching.iter().any(|rule| matches!(rule.consequence, Consequence::Forbid(_))) {
            return Needs::default();
        }
        let signals = failed.iter().flat_map(|rule| &rule.facts).map(|fact| fact.signal());
        let signals = signals.filter(|signal| !question.facts.signals.contains_key(signal)).collect();
        let obligations: Vec<&Obligations> = failed
            .into_iter()
            .chain(matching)
            .filter_map(|rule| match &rule.consequence {
                Consequence::Permit(obligations) => Some(obligations),
                Consequence::Forbid(_) => None,
            })
            .collect();
        Needs {
            signals,
            max_age: obligations.iter().filter_map(|permit| permit.signal_max_age).min(),
            renew_max_age: obligations.iter().filter_map(|permit| permit.renew_signal_max_age).min(),
        }
    }

    /// The most that some question of `action` could need: every signal that a policy reads, as young as any permit wants
    /// it.
    pub(super) fn needs_at_most(&self, action: Action) -> Needs {
        let slice = self.slices.get(&action);
        let rules = slice.iter().flat_map(|slice| slice.policies()).filter_map(|policy| self.rules.get(policy.id()));
        let mut needs = Needs::default();
        for rule in rules {
            needs.signals.extend(rule.facts.iter().map(|fact| fact.signal()));
            if let Consequence::Permit(permit) = &rule.consequence {
                needs.max_age = needs.max_age.into_iter().chain(permit.signal_max_age).min();
                needs.renew_max_age = needs.renew_max_age.into_iter().chain(permit.renew_signal_max_age).min();
            }
        }
        needs
    }

    /// Decides. Never fails: what cannot be evaluated is denied.
    pub(super) fn decide(&self, question: &Question<'_>, people: &People, version: PolicyVersion) -> Decision {
        let inputs = Inputs::of(question, people);
        let (verdict, determining) = self.verdict(&inputs, question, version);
        Decision {
            action: question.action,
            at: question.at,
            policy: version,
            commit: None,
            verdict,
            determining,
            inputs: inputs.into_json(),
        }
    }

    /// The verdict on `inputs`, with the rules that determine it; `question` has the words for a refusal.
    pub(super) fn verdict(
        &self,
        inputs: &Inputs,
        question: &Question<'_>,
        version: PolicyVersion,
    ) -> (Verdict, Vec<String>) {
        match self.evaluate(question.action, inputs) {
            Ok(response) => self.judge(&response, question, version),
            Err(problem) => denied_by_error(&[problem], Vec::new(), version),
        }
    }

    /// Whether the schema can express `inputs` that were not made by this version.
    ///
    /// # Errors
    /// In words.
    pub(super) fn expressed(&self, inputs: &Inputs) -> Result<(), String> {
        inputs.parse(&self.schema).map(drop).map_err(|_| "a question that the schema cannot express".to_owned())
    }

    fn evaluate(&self, action: Action, inputs: &Inputs) -> Result<Response, String> {
        let (request, entities) = inputs.parse(&self.schema)?;
        let slice = self.slices.get(&action).ok_or_else(|| format!("no policies for {}", action.name()))?;
        Ok(self.authorizer.is_authorized(&request, slice, &entities))
    }

    /// Cedar skips a policy that errors, a forbid included, and decides by the rest: that would let an error open what
    /// a forbid closes. Here any error denies.
    fn judge(&self, response: &Response, question: &Question<'_>, version: PolicyVersion) -> (Verdict, Vec<String>) {
        let mut failed: Vec<_> = response.diagnostics().errors().collect();
        // What failed only because it reads what could not be looked up is no fault of the policy.
        let absent = |fact: &SignalFact| fact.of(&question.facts.signals).is_none();
        let mut missing: BTreeSet<SignalFact> = BTreeSet::new();
        let mut waiting = Vec::new();
        failed.retain(|AuthorizationError::PolicyEvaluationError(error)| {
            let reads = self.rules.get(error.policy_id()).map(|rule| &rule.facts).into_iter().flatten();
            let reads: Vec<SignalFact> = reads.copied().filter(absent).collect();
            if !reads.is_empty() {
                waiting.push(error.policy_id().to_string());
            }
            missing.extend(&reads);
            reads.is_empty()
        });
        if !failed.is_empty() {
            let mut errors: Vec<String> = failed.iter().map(ToString::to_string).collect();
            let mut ids: Vec<String> = failed.iter().map(|error| failing_policy(error)).collect();
            errors.sort_unstable();
            ids.sort_unstable();
            return denied_by_error(&errors, ids, version);
        }
        let mut determining = Vec::new();
        for id in response.diagnostics().reason() {
            match self.rules.get(id) {
                Some(rule) => determining.push((id, rule)),
                None => return denied_by_error(&[format!("policy {id} is not known")], vec![id.to_string()], version),
            }
        }
        determining.sort_by_key(|(_, rule)| rule.place);
        let ids = determining.iter().map(|(id, _)| id.to_string()).collect();
        let mut permits: Vec<&Obligations> = Vec::new();
        let mut forbids: Vec<(&str, &Words)> = Vec::new();
        for (id, rule) in &determining {
            match &rule.consequence {
                Consequence::Permit(obligations) => permits.push(obligations),
                Consequence::Forbid(words) => forbids.push((id.as_ref(), words)),
            }
        }
        let permits = match self.done_without(&missing, &waiting, permits, question) {
            Ok(permits) => {
                missing.clear();
                permits
            }
            Err(permits) => permits,
        };
        if !missing.is_empty() && forbids.is_empty() {
            waiting.sort_unstable();
            return (Verdict::Deny { refusal: refusal::signal_missing(&missing, &question.facts.signals) }, waiting);
        }
        let strictest = strictest(permits);
        let verdict = match (response.decision(), strictest, forbids.is_empty()) {
            (CedarDecision::Allow, Some(obligations), true) => Verdict::Allow { obligations },
            (_, _, false) => Verdict::Deny { refusal: refusal::forbidden(&forbids, question) },
            (_, _, true) => Verdict::Deny { refusal: refusal::default_deny(question) },
        };
        (verdict, ids)
    }

    /// The permits that count where a use of break-glass may do without all that is `missing`: those that matched, and
    /// those that could not be told because of it, so that nothing is wider for its being away. `Err` where it may not.
    fn done_without<'a>(
        &'a self,
        missing: &BTreeSet<SignalFact>,
        waiting: &[String],
        permits: Vec<&'a Obligations>,
        question: &Question<'_>,
    ) -> Result<Vec<&'a Obligations>, Vec<&'a Obligations>> {
        let Some(strict) = strictest(permits.clone()).filter(|_| question.action == Action::BreakGlass) else {
            return Err(permits);
        };
        // A source that says no, such as that there is no such incident, is not away.
        let away = |fact: &SignalFact| matches!(question.facts.signals.get(&fact.signal()), Some(Looked::Missing(missing)) if missing.away);
        if !missing.iter().all(|fact| strict.may_lack.contains(&fact.signal()) && away(fact)) {
            return Err(permits);
        }
        let untold = waiting.iter().filter_map(|id| match &self.rules.get(&PolicyId::new(id))?.consequence {
            Consequence::Permit(obligations) => Some(obligations),
            Consequence::Forbid(_) => None,
        });
        let untold: Vec<&Obligations> = untold.collect();
        Ok(permits.into_iter().chain(untold).collect())
    }
}

/// The strictest of all.
fn strictest(permits: Vec<&Obligations>) -> Option<Obligations> {
    permits.into_iter().cloned().reduce(Obligations::strictest)
}

fn failing_policy(error: &AuthorizationError) -> String {
    match error {
        AuthorizationError::PolicyEvaluationError(error) => error.policy_id().to_string(),
    }
}

fn denied_by_error(errors: &[String], ids: Vec<String>, version: PolicyVersion) -> (Verdict, Vec<String>) {
    (Verdict::Deny { refusal: refusal::policy_error(errors, version) }, ids)
}

fn parse_schema(text: &str) -> Result<Schema, String> {
    let (schema, warnings) = Schema::from_cedarschema_str(text).map_err(|error| error.to_string())?;
    let warnings: Vec<String> = warnings.map(|warning| warning.to_string()).collect();
    if warnings.is_empty() { Ok(schema) } else { Err(warnings.join("; ")) }
}

/// The policies of a file, in its order, each under its `@id`.
fn parse_file(text: &str) -> Result<Vec<Policy>, String> {
    let set = PolicySet::from_str(text)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    if let Some(template) = set.templates().next() {
        return Err(format!(
            "{} is a template, and nothing links templates: write it without ?principal and ?resource",
            template.id()
        ));
    }
    set.policies().map(|policy| Ok(policy.new_id(PolicyId::new(annotations::id(policy)?)))).collect()
}

fn validate(schema: &Schema, policies: &[Policy]) -> Result<(), String> {
    let set = PolicySet::from_policies(policies.iter().cloned())
        .map_err(|error| format!("{error}: give each policy its own @id"))?;
    let result = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
    if result.validation_passed_without_warnings() {
        return Ok(());
    }
    let errors = result.validation_errors().map(ToString::to_string);
    let warnings = result.validation_warnings().map(ToString::to_string);
    Err(errors.chain(warnings).collect::<Vec<_>>().join("; "))
}

/// The actions as Cedar names them.
fn action_uids() -> Result<Vec<(Action, EntityUid)>, String> {
    let kind = EntityTypeName::from_str("Grantd::Action").map_err(|error| error.to_string())?;
    let uid = |action: Action| EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(action.name()));
    Ok(ACTIONS.map(|action| (action, uid(action))).to_vec())
}

/// Whether a policy of this scope can match `action`. An action that is none of ours may be a group of them.
fn covers(scope: &ActionConstraint, action: &EntityUid, ours: &[(Action, EntityUid)]) -> bool {
    let may_be = |uid: &EntityUid| uid == action || !ours.iter().any(|(_, known)| known == uid);
    match scope {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(uid) => may_be(uid),
        ActionConstraint::In(uids) => uids.iter().any(may_be),
    }
}

/// What a permit gives must have an end.
fn bounded(consequence: &Consequence, covered: &[Action]) -> Result<(), String> {
    let Consequence::Permit(obligations) = consequence else { return Ok(()) };
    let needs = |action, limit: Option<u64>, key: &str| {
        if covered.contains(&action) && limit.is_none() {
            return Err(format!("a permit of {} needs @{key}, such as @{key}(\"1h\")", Action::name(action)));
        }
        Ok(())
    };
    needs(Action::Issue, obligations.max_ttl, "max_ttl")?;
    needs(Action::Request, obligations.max_duration, "max_duration")?;
    needs(Action::BreakGlass, obligations.max_ttl, "max_ttl")?;
    needs(Action::BreakGlass, obligations.max_duration, "max_duration")?;
    needs(Action::BreakGlass, obligations.review_within, "review_within")?;
    if !obligations.approvals.is_empty() {
        needs(Action::Request, obligations.approve_within, "approve_within")?;
    }
    if obligations.escalate && !obligations.approvals.contains_key(&Capacity::Owner) {
        return Err(
            "@escalate has stewards asked in an owner's place, and no owner is asked here: write \"owner\" into \
                    @approvals"
                .to_owned(),
        );
    }
    let glass = covered.contains(&Action::BreakGlass);
    let only_glass = |key: &str| format!("@{key} is kept for break_glass only: write it on a permit of that");
    if !glass && obligations.review_within.is_some() {
        return Err(only_glass("review_within"));
    }
    if !glass && !obligations.may_lack.is_empty() {
        return Err(only_glass("may_lack"));
    }
    if !glass && obligations.approvals.contains_key(&Capacity::Enrolled) {
        return Err(
            "only a use of break-glass is confirmed by who is enrolled: write \"enrolled\" into @approvals of a \
                    permit of break_glass"
                .to_owned(),
        );
    }
    let obliged = glass || covered.contains(&Action::Request) || covered.contains(&Action::Issue);
    // How old a fact may be is kept wherever one is looked up.
    let other = Obligations { signal_max_age: None, ..obligations.clone() };
    if !obliged && !covered.is_empty() && other != Obligations::default() {
        return Err(
            "nothing keeps the obligations of a permit of approve, revoke or review: write them on the permits of \
                    request and issue"
                .to_owned(),
        );
    }
    Ok(())
}
