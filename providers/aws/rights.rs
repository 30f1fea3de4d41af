//! The rights that a role needs so that every session which can be asked for is possible, and no more: the union of what
//! the plans allow, packed into managed policies. Pure.

use std::collections::{BTreeMap, BTreeSet};

use grantd_provider_api::{ErrorKind, Need, Persistence, ProviderError};
use serde::Serialize;
use serde_json::Value;

use crate::limits::{MANAGED_POLICIES_OF_A_ROLE, MANAGED_POLICY_CHARACTERS};

/// The rights of a role.
#[derive(Debug, Default)]
pub(crate) struct Rights {
    /// For what reaches exactly the catalogued resources and leaves nothing behind.
    pub plain: Vec<Document>,
    /// For what can leave something behind, or reaches further than the resource.
    pub wide: Vec<Document>,
    /// Why each of the wide ones is that, in words.
    pub wide_because: Vec<String>,
}

/// A policy document, its members always in the same order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Document {
    #[serde(rename = "Version")]
    version: &'static str,
    #[serde(rename = "Statement")]
    pub statements: Vec<Statement>,
}

/// One `Allow`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Statement {
    #[serde(rename = "Effect")]
    effect: &'static str,
    #[serde(rename = "Action", serialize_with = "one_or_many")]
    action: Vec<String>,
    #[serde(rename = "Resource", serialize_with = "one_or_many")]
    resource: Vec<String>,
}

/// As the daemon itself writes it: what Terraform makes of a boundary is then one of ours.
fn one_or_many<S: serde::Serializer>(texts: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    match texts {
        [one] => serializer.serialize_str(one),
        many => many.serialize(serializer),
    }
}

impl Document {
    pub fn new(statements: Vec<Statement>) -> Self {
        Self { version: "2012-10-17", statements }
    }

    /// Its size as AWS counts it: without white space.
    fn characters(&self) -> usize {
        serde_json::to_string(self).map_or(usize::MAX, |text| text.chars().filter(|c| !c.is_whitespace()).count())
    }
}

impl Statement {
    pub fn allow(action: impl IntoIterator<Item = String>, resource: impl IntoIterator<Item = String>) -> Self {
        Self { effect: "Allow", action: action.into_iter().collect(), resource: resource.into_iter().collect() }
    }
}

impl Rights {
    /// The union of `needs`.
    ///
    /// # Errors
    /// `Unsupported` when they do not fit into the managed policies that a role can carry; `Config` when a plan is not
    /// one of this adapter's.
    pub fn of(account: &str, needs: &[Need]) -> Result<Self, ProviderError> {
        let (mut plain, mut wide) = (Union::default(), Union::default());
        let mut wide_because = BTreeSet::new();
        for need in needs {
            let lasting = need.plan.persistence == Persistence::CanCreate;
            if lasting {
                let text =
                    format!("{}: its holder can leave something behind that outlives the lease", need.capability);
                wide_because.insert(text);
            }
            for text in &need.plan.widens {
                wide_because.insert(format!("{}: {text}", need.capability));
            }
            let union = if lasting || !need.plan.widens.is_empty() { &mut wide } else { &mut plain };
            union.add(need)?;
        }
        // What is allowed anyway has no place among what has to be switched on.
        wide.subtract(&plain);
        let rights =
            Self { plain: plain.documents(), wide: wide.documents(), wide_because: wide_because.into_iter().collect() };
        let count = rights.plain.len().saturating_add(rights.wide.len());
        if count <= MANAGED_POLICIES_OF_A_ROLE {
            return Ok(rights);
        }
        Err(ProviderError::new(
            ErrorKind::Unsupported,
            format!(
                "account \"{account}\": what can be asked for takes {count} managed policies, more than the \
                 {MANAGED_POLICIES_OF_A_ROLE} that AWS attaches to a role: take what nobody needs out of the catalogue \
                 or the entitlement map, or spread the resources over more accounts"
            ),
        ))
    }

    /// The services whose resources can be asked for.
    pub fn services(&self) -> BTreeSet<&str> {
        let statements = self.plain.iter().chain(&self.wide).flat_map(|document| &document.statements);
        let actions = statements.flat_map(|statement| &statement.action);
        actions.filter_map(|action| action.split_once(':').map(|(service, _)| service)).collect()
    }
}

/// Which actions on which resource.
#[derive(Debug, Default)]
struct Union(BTreeMap<String, BTreeSet<String>>);

impl Union {
    /// Adds what the plan of `need` allows. Its denials are the session's own matter.
    fn add(&mut self, need: &Need) -> Result<(), ProviderError> {
        let statements = need.plan.native.get("Statement").and_then(Value::as_array);
        let foreign = || {
            let text =
                format!("the plan of {} on \"{}\" is not one of the aws adapter", need.capability, need.resource);
            ProviderError::new(ErrorKind::Config, text)
        };
        for statement in statements.ok_or_else(foreign)? {
            if statement.get("Effect").and_then(Value::as_str) != Some("Allow") {
                continue;
            }
            let on = statement.get("Resource").and_then(Value::as_str).ok_or_else(foreign)?;
            let actions = match statement.get("Action") {
                Some(Value::String(one)) => vec![one.as_str()],
                Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
                _ => return Err(foreign()),
            };
            self.0.entry(on.to_owned()).or_default().extend(actions.into_iter().map(str::to_owned));
        }
        Ok(())
    }

    fn subtract(&mut self, other: &Self) {
        for (on, actions) in &mut self.0 {
            let allowed = other.0.get(on);
            actions.retain(|action| allowed.is_none_or(|allowed| !allowed.contains(action)));
        }
        self.0.retain(|_, actions| !actions.is_empty());
    }

    /// As few documents as a simple packing gives, each within AWS's limit.
    fn documents(self) -> Vec<Document> {
        // Resources on which the same may be done share a statement.
        let mut by_actions: BTreeMap<BTreeSet<String>, Vec<String>> = BTreeMap::new();
        for (on, actions) in self.0 {
            by_actions.entry(actions).or_default().push(on);
        }
        let mut documents: Vec<Document> = Vec::new();
        for (actions, resources) in by_actions {
            for on in resources {
                place(&mut documents, &actions, on);
            }
        }
        documents
    }
}

/// Puts one resource into the last document: into its last statement if that is of the same actions, into a new
/// statement otherwise, into a new document if there is no room.
fn place(documents: &mut Vec<Document>, actions: &BTreeSet<String>, on: String) {
    let alone = || Statement::allow(actions.iter().cloned(), [on.clone()]);
    if let Some(last) = documents.last_mut() {
        let before = last.statements.clone();
        match last.statements.last_mut() {
            Some(statement) if statement.action.iter().eq(actions) => statement.resource.push(on.clone()),
            _ => last.statements.push(alone()),
        }
        if last.characters() <= MANAGED_POLICY_CHARACTERS {
            return;
        }
        last.statements = before;
    }
    documents.push(Document::new(vec![alone()]));
}
