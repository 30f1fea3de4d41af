//! The ways in which a request does not become a grant: denied by who could approve it, taken back, lapsed. Of an active
//! grant they end the extension that waits and leave the grant as it was.

use grantd_model::approval::standing_in;
use grantd_model::statement::Word;
use grantd_model::{Capacity, ExtensionEnd, Grant, GrantEvent, GrantId, GrantState, Justification, Verdict};
use serde_json::{Value, json};

use super::approve::{ATTEMPTS, no_holder, step};
use super::matter::Matter;
use super::quorum::{Requesters, own_request, person};
use super::signed::{SignedWord, signer};
use super::{Broker, BrokerError, daemon, draft};
use crate::attest::Caller;
use crate::failpoint;
use crate::store::{StoreError, Transaction, Write};

impl Broker {
    /// Denies what waits on a grant. Whoever could approve it may, of whatever plan, also when others approved already.
    /// With `signed` it is the signer who denies it, whoever hands that in.
    ///
    /// # Errors
    /// When the caller may not, or nothing waits; a refusal is on record when this returns.
    pub async fn deny(
        &self,
        caller: &Caller,
        id: GrantId,
        reason: Justification,
        signed: Option<SignedWord>,
    ) -> Result<Grant, BrokerError> {
        self.on_record(caller, "deny.refused", (Some(id), None), move |broker, caller| async move {
            for _ in 0..ATTEMPTS {
                if let Some(grant) = broker.deny_once(&caller, id, &reason, signed.as_ref()).await? {
                    return Ok(grant);
                }
            }
            Err(BrokerError::Internal(format!("{id} keeps changing: try again")))
        })
        .await
    }

    async fn deny_once(
        &self,
        caller: &Caller,
        id: GrantId,
        reason: &Justification,
        signed: Option<&SignedWord>,
    ) -> Result<Option<Grant>, BrokerError> {
        let bundle = self.bundle();
        self.read_delegations().await?;
        let grant = self.grant_or_missing(id).await?;
        let now = self.now();
        let approver = match signed {
            None => person(&bundle.people, caller),
            Some(word) => signer(word, Word::Deny, &grant, &bundle.people, now),
        };
        let approver = match approver {
            Ok(approver) => approver,
            Err(refusal) => return self.refused("deny.refused", caller, id, refusal, Value::Null).await,
        };
        let matter = Matter::waiting_at(&grant, now)?;
        if let Some(word) = signed.filter(|word| word.statement.digest != matter.digest()) {
            return Err(BrokerError::PlanChanged(format!(
                "what was denied has the digest {}, and what waits on {id} has {}",
                word.statement.digest,
                matter.digest()
            )));
        }
        if Requesters::of(&grant, &bundle.people).include(&approver.name, Some(&approver)) {
            return self.refused("deny.refused", caller, id, own_request(&approver.name, id, &[]), Value::Null).await;
        }
        // A plan that changed can be denied as well as any.
        let Some(resource) = bundle.catalog.of_request(&grant.request) else {
            return Err(BrokerError::State(format!(
                "\"{}\" is no longer in the catalogue, so nobody can approve or deny it: it lapses, or have an \
                 administrator run grantctl revoke {id}",
                grant.request.resource
            )));
        };
        let signals = self.signals_of(&bundle, matter).await;
        let matter = matter.knowing(&signals);
        let mut standing = self.standing_whatever_the_plan(&bundle, matter, resource);
        // A no counts without a signature.
        standing.signed = false;
        // Whoever could approve it may, whether that is needed yet or not.
        let needed = standing.needed.keys().copied();
        let voices = standing.all_voices().into_iter().filter(|voice| voice.person == approver.name);
        let held = voices.flat_map(|voice| {
            let absent = voice.on_behalf_of;
            voice.capacities.into_iter().map(move |capacity| (capacity, absent.clone()))
        });
        let counts = |capacity: Capacity| standing_in(vec![capacity], standing.in_place);
        // Who signed in which capacity denies in that one.
        let as_signed = |capacity: Capacity| signed.is_none_or(|word| word.statement.capacity == capacity);
        let has = held
            .into_iter()
            .find(|(held, _)| as_signed(*held) && counts(*held).iter().any(|one| standing.needed.contains_key(one)));
        let (capacity, absent) = match &has {
            Some((capacity, absent)) => (*capacity, absent.as_ref()),
            None => {
                let named = signed.map(|word| word.statement.capacity);
                (named.or_else(|| needed.clone().next()).unwrap_or(Capacity::Owner), None)
            }
        };
        let decision = self.decide_approve(&bundle, &standing, matter, caller, &approver, (capacity, absent));
        if let Verdict::Deny { refusal } = &decision.verdict {
            return self.refused("deny.refused", caller, id, refusal.clone(), json!(decision)).await;
        }
        if has.is_none() {
            // Policy would let anybody: the catalogue does not.
            let refusal = no_holder(&approver.name, capacity, &standing);
            return self.refused("deny.refused", caller, id, refusal, json!(decision)).await;
        }
        // Only the no was signed: the words are those of whoever brings it.
        let reason = match signed {
            None => reason.as_str().to_owned(),
            Some(_) => {
                let carrier = caller
                    .subject
                    .as_ref()
                    .map_or_else(|| format!("uid {}", caller.uid()), |subject| subject.name.clone());
                format!("signed elsewhere; {carrier}, who brought it, says: {}", reason.as_str())
            }
        };
        let by = approver.name;
        let event = match matter.extension {
            None => GrantEvent::Deny { at: now, by, reason },
            Some(_) => GrantEvent::EndExtension { outcome: ExtensionEnd::Denied { at: now, by, reason } },
        };
        failpoint::hit("deny.decided");
        let (denied, mut detail) = outcome(&grant, &event, json!(decision))?;
        if let (Some(word), Some(members)) = (signed, detail.as_object_mut()) {
            members.insert("signed".to_owned(), json!(word.kept(caller.subject.clone())));
        }
        let written = self.turned(&denied, &event, caller.actor(), detail).await?;
        failpoint::hit("deny.written");
        Ok(written.then_some(denied))
    }

    /// Takes back what waits on a grant, or a grant that waits for its time.
    ///
    /// # Errors
    /// When the caller neither asked for it nor is to use it, or it is past that.
    pub async fn cancel(&self, caller: &Caller, id: GrantId) -> Result<Grant, BrokerError> {
        self.on_record(caller, "cancel.refused", (Some(id), None), move |broker, caller| async move {
            for _ in 0..ATTEMPTS {
                let grant = broker.grant_or_missing(id).await?;
                broker.must_be_party(&caller, &grant)?;
                let now = broker.now();
                let event = match (&grant.state, &grant.extension) {
                    (GrantState::Active { .. }, Some(_)) => {
                        GrantEvent::EndExtension { outcome: ExtensionEnd::Cancelled { at: now } }
                    }
                    (GrantState::Active { .. }, None) => {
                        return Err(BrokerError::State(format!(
                            "{id} is active: end it with grantctl complete {id} or grantctl revoke {id}"
                        )));
                    }
                    _ => GrantEvent::Cancel { at: now },
                };
                let (cancelled, detail) = outcome(&grant, &event, Value::Null)?;
                if broker.turned(&cancelled, &event, caller.actor(), detail).await? {
                    failpoint::hit("cancel.written");
                    return Ok(cancelled);
                }
            }
            Err(BrokerError::Internal(format!("{id} keeps changing: try again")))
        })
        .await
    }

    /// Lapses what waits on a grant and was not approved in time.
    pub(super) async fn lapse(&self, grant: &Grant) -> Result<(), BrokerError> {
        let now = self.now();
        let event = match Matter::waiting(grant) {
            Some(matter) if matter.lapses_at().is_some_and(|lapses_at| now >= lapses_at) => match matter.extension {
                None => GrantEvent::Lapse { at: now },
                Some(_) => GrantEvent::EndExtension { outcome: ExtensionEnd::Lapsed { at: now } },
            },
            _ => return Ok(()),
        };
        failpoint::hit("lapse.due");
        let (lapsed, detail) = outcome(grant, &event, Value::Null)?;
        // Who was quicker decides: what was approved or taken back meanwhile is looked at again in the next round.
        if self.turned(&lapsed, &event, daemon("reaper"), detail).await? {
            failpoint::hit("lapse.written");
        }
        Ok(())
    }

    /// Whether the caller asked for the grant or is to use it.
    pub(super) fn must_be_party(&self, caller: &Caller, grant: &Grant) -> Result<(), BrokerError> {
        let subject = Self::known_subject(caller)?;
        let request = &grant.request;
        if subject.same_identity(&request.subject) || subject.same_identity(&request.requested_by) {
            return Ok(());
        }
        let owner = if request.subject.same_identity(&request.requested_by) {
            request.subject.to_string()
        } else {
            format!("{} and {}", request.requested_by, request.subject)
        };
        // Whoever owned it before cannot be told from anybody else now.
        let ownerless = match self.bundle().catalog.of_request(request) {
            Some(_) => "",
            None => {
                " (what it is on is no longer in the catalogue, so nobody answers for it until whoever maintains \
                 catalog.toml puts it back)"
            }
        };
        let owner = format!("{owner}{ownerless}");
        Err(BrokerError::NotYours { what: grant.id.to_string(), owner, you: subject.to_string() })
    }

    /// Writes a grant after `event` with its record; says whether nobody changed it meanwhile.
    pub(super) async fn turned(
        &self,
        grant: &Grant,
        event: &GrantEvent,
        actor: grantd_model::Actor,
        detail: Value,
    ) -> Result<bool, BrokerError> {
        let audit = vec![draft(self.now(), format!("grant.{}", event.name()), actor, (Some(grant.id), None), detail)];
        let writes = vec![Write::UpdateGrant(grant.clone())];
        match self.store().commit(Transaction { guards: Vec::new(), writes, audit }).await {
            Ok(_) => Ok(true),
            Err(StoreError::Stale { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// The grant after `event`, and what the record says of it.
fn outcome(grant: &Grant, event: &GrantEvent, decision: Value) -> Result<(Grant, Value), BrokerError> {
    let after = step(grant, event)?;
    let mut detail = json!({ "state": after.state, "decision": decision });
    if let (GrantEvent::EndExtension { .. }, Some(members)) = (event, detail.as_object_mut()) {
        members.insert("extension".to_owned(), json!(after.extensions.last()));
    }
    Ok((after, detail))
}
