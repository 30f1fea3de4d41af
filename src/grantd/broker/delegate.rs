//! Absence: a person lends their voice to another one for a time. What is lent is what the person has by the catalogue at
//! the moment it is used; it cannot be lent on, and who has two voices uses one.

use std::sync::Arc;

use grantd_model::{Capacity, Delegation, DelegationId, Grant, MAX_ABSENCE, Refusal};
use jiff::Timestamp;
use serde_json::json;

use super::quorum::person;
use super::reach::held_by;
use super::{Broker, BrokerError, between, draft};
use crate::attest::Caller;
use crate::failpoint;
use crate::policy::Bundle;
use crate::store::{StoreError, Transaction, Write};

/// The rule of a refusal of a delegation.
const DELEGATION: &str = "delegation";

/// What somebody lends, to whom and until when.
#[derive(Debug, Clone)]
pub struct DelegateAsk {
    /// The person who is to speak.
    pub to: String,
    /// Until when.
    pub until: Timestamp,
    /// On this resource only.
    pub resource: Option<String>,
}

impl Broker {
    /// Lends the caller's voice.
    ///
    /// # Errors
    /// When the caller is no person or has nothing to lend, the other one is no other person, or it is for too long; a
    /// refusal is on record when this returns.
    pub async fn delegate(&self, caller: &Caller, ask: DelegateAsk) -> Result<Delegation, BrokerError> {
        self.on_record(caller, "delegation.refused", (None, None), move |broker, caller| async move {
            let (bundle, now) = (broker.bundle(), broker.now());
            let from = match person(&bundle.people, &caller) {
                Ok(from) => from,
                Err(refusal) => return broker.delegation_refused(&caller, refusal).await,
            };
            if ask.until <= now {
                return Err(BrokerError::BadRequest("a delegation ends in the future: say until when".to_owned()));
            }
            if between(now, ask.until).as_secs() > MAX_ABSENCE {
                return Err(BrokerError::Limit {
                    detail: format!(
                        "a delegation lasts {} days at most: for longer, have another owner named in catalog.toml",
                        MAX_ABSENCE / 86_400
                    ),
                    limit: MAX_ABSENCE,
                });
            }
            if !bundle.people.is_person(&ask.to) || ask.to == from.name {
                let text = format!("\"{}\" is no other person of people.toml: name one", shown(&ask.to));
                return Err(BrokerError::BadRequest(text));
            }
            if let Some(name) = &ask.resource
                && bundle.catalog.get(name).is_none()
            {
                return Err(BrokerError::NotFound(format!("\"{}\" is not in the catalogue", shown(name))));
            }
            if !has_anything(&bundle, &from.name, ask.resource.as_deref()) {
                let refusal = nothing_to_lend(&from.name, ask.resource.as_deref());
                return broker.delegation_refused(&caller, refusal).await;
            }
            let delegation = Delegation {
                id: DelegationId::new(broker.inner.ids.fresh()),
                node: broker.store().node().clone(),
                from: from.name.clone(),
                by: from,
                to: ask.to,
                resource: ask.resource,
                at: now,
                until: ask.until,
                revoked: None,
                version: 0,
            };
            failpoint::hit("delegate.decided");
            let audit = vec![draft(now, "delegation.create", caller.actor(), (None, None), json!(delegation))];
            let writes = vec![Write::PutDelegation(delegation.clone())];
            broker.store().commit(Transaction { guards: Vec::new(), writes, audit }).await?;
            failpoint::hit("delegate.written");
            broker.read_delegations().await?;
            Ok(delegation)
        })
        .await
    }

    /// Takes a delegation back: by who lent, by who was lent, or by an administrator. What was approved by it does not
    /// count any more from then on.
    ///
    /// # Errors
    /// When there is none, it is over, or the caller may not.
    pub async fn take_back(&self, caller: &Caller, id: DelegationId) -> Result<Delegation, BrokerError> {
        self.on_record(caller, "delegation.refused", (None, None), move |broker, caller| async move {
            let subject = Self::known_subject(&caller)?.clone();
            let known = broker.store().delegations().await?;
            let found = known.iter().find(|delegation| delegation.id == id);
            let found =
                found.ok_or_else(|| BrokerError::NotFound(format!("there is no {id}: see grantctl delegate list")))?;
            let now = broker.now();
            let mine = [&found.from, &found.to].contains(&&subject.name);
            if !mine && !broker.is_administrator(&caller) {
                return Err(BrokerError::NotYours {
                    what: id.to_string(),
                    owner: format!("{} and {}", found.from, found.to),
                    you: subject.to_string(),
                });
            }
            let back = found.stands(now).then(|| found.taken_back(now, subject)).flatten();
            let back = back.ok_or_else(|| BrokerError::State(format!("{id} is over already")))?;
            let audit = vec![draft(now, "delegation.revoke", caller.actor(), (None, None), json!(back))];
            let writes = vec![Write::PutDelegation(back.clone())];
            match broker.store().commit(Transaction { guards: Vec::new(), writes, audit }).await {
                Ok(_) => {}
                Err(StoreError::Stale { .. }) => return Err(BrokerError::State(format!("{id} is over already"))),
                Err(error) => return Err(error.into()),
            }
            failpoint::hit("delegate.revoked");
            broker.read_delegations().await?;
            broker.decide_again_now().await;
            Ok(back)
        })
        .await
    }

    /// Delegations, newest first, and the moment as of which they stand or not: those that stand, and with `over` the
    /// others. Administrators and auditors see each,
    /// everybody else those that they made or were given.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn see_delegations(
        &self,
        caller: &Caller,
        over: bool,
    ) -> Result<(Vec<Delegation>, Timestamp), BrokerError> {
        let now = self.now();
        let mut all = self.store().delegations().await?;
        let me = caller.subject.as_ref().map(|subject| subject.name.as_str());
        all.retain(|delegation| {
            let mine = me.is_some_and(|me| me == delegation.from || me == delegation.to);
            (over || delegation.stands(now)) && (mine || self.is_auditor(caller))
        });
        Ok((all, now))
    }

    /// Every delegation there ever was, as they were read last.
    pub(super) fn delegations(&self) -> Arc<Vec<Delegation>> {
        self.inner.delegations.load_full()
    }

    /// The same, read anew where an approval of `grant` rests on one: another node may have taken it back.
    pub(super) async fn delegations_of(&self, grant: &Grant) -> Result<Arc<Vec<Delegation>>, BrokerError> {
        if rests_on_one(grant) {
            self.read_delegations().await?;
        }
        Ok(self.delegations())
    }

    /// Whether what an approval of `grant` rests on is what it was when `judged` was read.
    pub(super) fn are_current(&self, grant: &Grant, judged: &[Delegation]) -> bool {
        !rests_on_one(grant) || epoch(&self.delegations()) == epoch(judged)
    }

    /// Reads the delegations anew. At start, after each change, before each approval, and from time to time.
    pub(super) async fn read_delegations(&self) -> Result<(), BrokerError> {
        let read = Arc::new(self.store().delegations().await?);
        // Two reads may overtake each other: an older view never replaces a newer one.
        self.inner.delegations.rcu(
            |known| {
                if epoch(known) > epoch(&read) { Arc::clone(known) } else { Arc::clone(&read) }
            },
        );
        Ok(())
    }

    async fn delegation_refused<T>(&self, caller: &Caller, refusal: Refusal) -> Result<T, BrokerError> {
        self.record("delegation.refused", caller.actor(), (None, None), json!({ "refusal": refusal })).await?;
        Err(BrokerError::Denied(refusal))
    }
}

/// A number that grows with every change of any delegation: rows are never removed.
fn epoch(delegations: &[Delegation]) -> u64 {
    delegations.iter().fold(0, |sum, delegation| sum.saturating_add(delegation.version.saturating_add(1)))
}

fn rests_on_one(grant: &Grant) -> bool {
    let extensions = grant.extensions.iter().flat_map(|past| &past.extension.approvals);
    grant.approvals.iter().chain(extensions).any(|approval| approval.on_behalf_of.is_some())
}

fn has_anything(bundle: &Bundle, person: &str, only: Option<&str>) -> bool {
    let mut resources = bundle.catalog.iter().filter(|resource| only.is_none_or(|only| resource.name == only));
    resources.any(|resource| !held_by(resource, person).is_empty())
}

fn nothing_to_lend(person: &str, resource: Option<&str>) -> Refusal {
    let what = resource.map_or_else(|| "any resource".to_owned(), |name| format!("\"{name}\""));
    let capacities: Vec<String> = Capacity::ALL.iter().map(ToString::to_string).collect();
    Refusal {
        rule: DELEGATION.to_owned(),
        reason: format!(
            "{person} has no capacity of {what} to lend ({}): what was lent to {person} cannot be lent on",
            capacities.join(", ")
        ),
        who_can_fix: "whoever maintains people.toml and catalog.toml".to_owned(),
        next: "have the one whose voice it is delegate to somebody else".to_owned(),
    }
}

fn shown(name: &str) -> String {
    name.chars().take(64).collect()
}
