//! Approving: who may, of exactly what, and the moment at which the quorum is complete (promise P12).

use grantd_model::approval::in_words;
use grantd_model::statement::Word;
use grantd_model::{
    Action, Approval, Capacity, Decision, Digest, Grant, GrantEvent, GrantId, Obligations, OnBehalf, Refusal, Signals,
    Signed, Subject, Verdict,
};
use serde_json::{Value, json};

use super::glass_rules::{became_overdue, not_overdue};
use super::matter::{Matter, Standing, Voice};
use super::quorum::{QUORUM, own_request, person};
use super::signed::{SignedWord, signer, unsigned};
use super::{Broker, BrokerError, daemon, draft, facts};
use crate::attest::Caller;
use crate::config::UNIX;
use crate::failpoint;
use crate::policy::{Bundle, Facts, Question};
use crate::store::{GuardFailure, StoreError, Transaction, Write};

/// How often a change is tried again that others got in the way of.
pub(super) const ATTEMPTS: usize = 16;

/// What an approver says.
#[derive(Debug, Clone)]
pub struct ApproveAsk {
    /// The digest of what the approver saw.
    pub digest: Digest,
    /// What the approver wants to have on record.
    pub comment: Option<String>,
    /// In which capacity, where the approver has several and it matters.
    pub capacity: Option<Capacity>,
    /// What the approver signed: then it is the signer who approves, whoever hands it in.
    pub signed: Option<SignedWord>,
}

impl ApproveAsk {
    /// What was signed, as what is asked: nothing beside it is anybody's word.
    #[must_use]
    pub fn of_signed(word: SignedWord) -> Self {
        let (digest, capacity) = (word.statement.digest, Some(word.statement.capacity));
        Self { digest, comment: None, capacity, signed: Some(word) }
    }
}

impl Broker {
    /// Approves what waits on a grant: the grant itself, or its extension. When that completes the quorum, the grant
    /// is active, scheduled or longer at once.
    ///
    /// # Errors
    /// When the caller may not, saw something else, or nothing waits; a refusal is on record when this returns.
    pub async fn approve(&self, caller: &Caller, id: GrantId, ask: ApproveAsk) -> Result<Grant, BrokerError> {
        self.on_record(caller, "approve.refused", (Some(id), None), move |broker, caller| async move {
            for _ in 0..ATTEMPTS {
                if let Some(grant) = broker.approve_once(&caller, id, &ask).await? {
                    return Ok(grant);
                }
            }
            Err(BrokerError::Internal(format!("{id} keeps changing: try again")))
        })
        .await
    }

    /// One attempt; nothing when somebody else changed the grant meanwhile.
    async fn approve_once(&self, caller: &Caller, id: GrantId, ask: &ApproveAsk) -> Result<Option<Grant>, BrokerError> {
        let bundle = self.bundle();
        self.read_delegations().await?;
        let grant = self.grant_or_missing(id).await?;
        let now = self.now();
        let approver = match &ask.signed {
            None => person(&bundle.people, caller),
            Some(word) => signer(word, Word::Approve, &grant, &bundle.people, now),
        };
        let approver = match approver {
            Ok(approver) => approver,
            Err(refusal) => return self.refused("approve.refused", caller, id, refusal, Value::Null).await,
        };
        let matter = Matter::waiting_at(&grant, now)?;
        if ask.digest != matter.digest() {
            return Err(BrokerError::PlanChanged(format!(
                "what you approve has the digest {}, and what waits on {id} has {}: look at it again with grantctl \
                 approve {id}",
                ask.digest,
                matter.digest()
            )));
        }
        let signals = self.signals_of(&bundle, matter).await;
        let matter = matter.knowing(&signals);
        let standing = self.standing(&bundle, matter)?;
        if standing.requesters.include(&approver.name, Some(&approver)) {
            let others = standing.who_can();
            let others: Vec<&str> = others.iter().map(String::as_str).collect();
            return self
                .refused("approve.refused", caller, id, own_request(&approver.name, id, &others), Value::Null)
                .await;
        }
        if standing.signed && ask.signed.is_none() {
            let refusal = unsigned(&grant, &approver.name);
            return self.refused("approve.refused", caller, id, refusal, json!(standing.request)).await;
        }
        if let Err(refusal) = allowed_today(&standing, matter) {
            return self.refused("approve.refused", caller, id, refusal, json!(standing.request)).await;
        }
        let chosen = match choose(&standing, &approver, id, ask.capacity)? {
            Ok(chosen) => chosen,
            Err(capacity) => {
                let decision = self.decide_approve(&bundle, &standing, matter, caller, &approver, (capacity, None));
                let refusal = match &decision.verdict {
                    Verdict::Deny { refusal } => refusal.clone(),
                    // Policy would let anybody: the catalogue does not.
                    Verdict::Allow { .. } => no_holder(&approver.name, capacity, &standing),
                };
                return self.refused("approve.refused", caller, id, refusal, json!(decision)).await;
            }
        };
        let decide = |capacity| {
            let absent = chosen.voice.on_behalf_of.as_ref();
            self.decide_approve(&bundle, &standing, matter, caller, &approver, (capacity, absent))
        };
        let decision = decide(chosen.capacity);
        if let Verdict::Deny { refusal } = &decision.verdict {
            return self.refused("approve.refused", caller, id, refusal.clone(), json!(decision)).await;
        }
        // Where the person may count in another capacity as well, the record says so, and who comes later can let it.
        let also = chosen.also.iter().copied();
        let also: Vec<Capacity> =
            also.filter(|capacity| matches!(decide(*capacity).verdict, Verdict::Allow { .. })).collect();
        failpoint::hit("approve.decided");
        let given = Box::new(Approval {
            person: approver.name.clone(),
            identity: approver,
            uid: caller.uid(),
            capacity: chosen.capacity,
            also,
            on_behalf_of: chosen.voice.on_behalf_of.clone(),
            at: now,
            digest: ask.digest,
            comment: ask.comment.clone(),
            signed: ask.signed.as_ref().map(|word| word.kept(caller.subject.clone())),
            attested: None,
        });
        let event = match matter.extension {
            None => GrantEvent::GiveApproval { approval: given.clone() },
            Some(_) => GrantEvent::ApproveExtension { approval: given.clone() },
        };
        if let Some(refusal) = given.signed.as_deref().and_then(|signed| used_before(&grant, signed)) {
            return self.refused("approve.refused", caller, id, refusal, json!(decision)).await;
        }
        let approved = step(&grant, &event)?;
        let detail = json!({
            "approval": given,
            "decision": decision,
            "request": standing.request,
            "needed": standing.needed,
            "counted_before": standing.counts,
        });
        let about = (Some(id), None);
        let mut audit = vec![draft(now, format!("grant.{}", event.name()), caller.actor(), about, detail)];
        let mut writes = vec![Write::UpdateGrant(approved.clone())];
        let last = match self.completed(&bundle, &approved, &signals)? {
            Some((completed, record)) => {
                writes.push(Write::UpdateGrant(completed.clone()));
                audit.push(record);
                if let Some(begun) = self.glass_begun(&bundle, &completed, caller.actor(), &signals) {
                    writes.push(begun.write);
                    audit.extend(begun.audit);
                }
                completed
            }
            None => approved,
        };
        let guards = not_overdue(&last, now).into_iter().collect();
        match self.store().commit(Transaction { guards, writes, audit }).await {
            Ok(_) => {
                failpoint::hit("approve.written");
                Ok(Some(last))
            }
            Err(StoreError::Stale { .. }) => Ok(None),
            Err(StoreError::Guard(GuardFailure::ReviewOverdue)) => {
                let overdue = self.overdue_of(&last.request.subject.name, now).await?;
                if overdue.is_empty() {
                    // Reviewed meanwhile.
                    return Ok(None);
                }
                let refusal = became_overdue(&last, &overdue);
                self.refused("approve.refused", caller, id, refusal, json!(decision)).await
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The grant with what waits on it given, and the record of that, if today's quorum is complete.
    pub(super) fn completed(
        &self,
        bundle: &Bundle,
        grant: &Grant,
        signals: &Signals,
    ) -> Result<Option<(Grant, grantd_model::AuditDraft)>, BrokerError> {
        let now = self.now();
        let Some(matter) = Matter::waiting(grant).map(|matter| matter.knowing(signals)) else { return Ok(None) };
        let standing = self.standing(bundle, matter)?;
        let late = matter.lapses_at().is_some_and(|lapses_at| now >= lapses_at);
        if late || !standing.missing().is_empty() || allowed_today(&standing, matter).is_err() {
            return Ok(None);
        }
        let event = match matter.extension {
            None => GrantEvent::Approve { at: now },
            Some(_) => GrantEvent::Extend { at: now },
        };
        let completed = step(grant, &event)?;
        let detail = json!({
            "state": completed.state,
            "digest": matter.digest(),
            "counted": standing.counts,
            "needed": standing.needed,
            "request": standing.request,
        });
        let record = draft(now, format!("grant.{}", event.name()), daemon("policy"), (Some(grant.id), None), detail);
        Ok(Some((completed, record)))
    }

    /// Gives what has its quorum since the policy changed, such as when somebody became an owner again.
    pub(super) async fn settle_waiting(&self) -> Result<(), BrokerError> {
        let bundle = self.bundle();
        for grant in self.waiting_grants(None, None).await? {
            // What would not be given today waits on, until it lapses or policy is as it was.
            let Some(matter) = Matter::waiting(&grant) else { continue };
            // Nothing is looked up for what lacks approvals anyway.
            if !self.standing(&bundle, matter).is_ok_and(|standing| standing.missing().is_empty()) {
                continue;
            }
            let signals = self.signals_of(&bundle, matter).await;
            let Ok(Some((completed, record))) = self.completed(&bundle, &grant, &signals) else { continue };
            let mut audit = vec![record];
            let begun = self.glass_begun(&bundle, &completed, daemon("policy"), &signals);
            let guards = not_overdue(&completed, self.now()).into_iter().collect();
            let mut writes = vec![Write::UpdateGrant(completed)];
            if let Some(begun) = begun {
                writes.push(begun.write);
                audit.extend(begun.audit);
            }
            match self.store().commit(Transaction { guards, writes, audit }).await {
                Ok(_) | Err(StoreError::Stale { .. } | StoreError::Guard(GuardFailure::ReviewOverdue)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    pub(super) fn decide_approve(
        &self,
        bundle: &Bundle,
        standing: &Standing<'_>,
        matter: Matter<'_>,
        caller: &Caller,
        approver: &Subject,
        (capacity, absent): (Capacity, Option<&OnBehalf>),
    ) -> Decision {
        let grant = matter.grant;
        let mut question = Question {
            action: Action::Approve,
            at: self.now(),
            principal: approver,
            // Whoever carries a signature or a document is not the one who approves: no user of this host does.
            uid: if approver.issuer == UNIX { caller.uid() } else { u32::MAX },
            resource: standing.resource,
            facts: Facts {
                duration_seconds: matter.duration(),
                approvals: standing.counts.clone(),
                capacity: Some(capacity),
                on_behalf_of: absent.map(|absent| absent.person.clone()),
                ..facts::of_request(&grant.request, &grant.plan)
            },
        };
        question.facts.signals = matter.signals.cloned().unwrap_or_else(|| self.remembered(bundle, &question));
        bundle.decide(&question)
    }

    /// Puts a refusal with its decision on record and gives it.
    pub(super) async fn refused<T>(
        &self,
        kind: &str,
        caller: &Caller,
        id: GrantId,
        refusal: Refusal,
        decision: Value,
    ) -> Result<T, BrokerError> {
        let detail = json!({ "refusal": refusal, "decision": decision });
        self.record(kind, caller.actor(), (Some(id), None), detail).await?;
        failpoint::hit("approve.refused");
        Err(BrokerError::Denied(refusal))
    }
}

/// Whether policy would still have the request today; it may have said yes and say no since.
pub(super) fn allowed_today(standing: &Standing<'_>, matter: Matter<'_>) -> Result<Obligations, Refusal> {
    if let Some(party) = standing.requesters.unknown() {
        return Err(Refusal {
            rule: QUORUM.to_owned(),
            reason: format!("{party} is nobody in people.toml any more, so who must not approve is not known"),
            who_can_fix: "whoever maintains people.toml".to_owned(),
            next: "have it requested anew with grantctl request".to_owned(),
        });
    }
    match &standing.request.verdict {
        Verdict::Deny { refusal } => Err(refusal.clone()),
        Verdict::Allow { obligations } if recurs_longer(matter, obligations) => Err(Refusal {
            rule: standing.request.determining.join(", "),
            reason: format!(
                "it would recur over {} s, and policy lets it recur over {} s now",
                matter.grant.request.span_seconds(),
                obligations.max_recurrence.unwrap_or_default()
            ),
            who_can_fix: "whoever maintains the policy bundle".to_owned(),
            next: "have it requested anew with grantctl request, for fewer times".to_owned(),
        }),
        Verdict::Allow { obligations } => match obligations.max_duration {
            Some(most) if matter.duration() > most => Err(Refusal {
                rule: standing.request.determining.join(", "),
                reason: format!("policy allows {most} s now, and this would last {} s", matter.duration()),
                who_can_fix: "whoever maintains the policy bundle".to_owned(),
                next: format!("have {most} s or less requested anew with grantctl request"),
            }),
            _ => Ok(obligations.clone()),
        },
    }
}

/// A signature says yes once: of an extension that was ended since, and asked for anew in the same words, its signer may
/// think otherwise.
fn used_before(grant: &Grant, signed: &Signed) -> Option<Refusal> {
    let past = grant.extensions.iter().flat_map(|past| &past.extension.approvals);
    let used = past.filter_map(|approval| approval.signed.as_deref()).any(|used| used.statement == signed.statement);
    used.then(|| Refusal {
        rule: super::signed::SIGNATURE.to_owned(),
        reason: format!("this signature approved an extension of {} that is decided since", grant.id),
        who_can_fix: "who signed it".to_owned(),
        next: format!("have it signed anew: grantctl request-file {}", grant.id),
    })
}

/// Whether a request recurs for longer than policy lets it today.
fn recurs_longer(matter: Matter<'_>, today: &Obligations) -> bool {
    let request = &matter.grant.request;
    request.recurrence.is_some() && request.span_seconds() > today.max_recurrence.unwrap_or_default()
}

pub(super) fn no_holder(person: &str, capacity: Capacity, standing: &Standing<'_>) -> Refusal {
    let resource = standing.resource;
    Refusal {
        rule: QUORUM.to_owned(),
        reason: format!("{person} is no {capacity} of \"{}\" in catalog.toml", resource.name),
        who_can_fix: format!("the owners of {}: {}", resource.name, resource.owners.join(", ")),
        next: format!("ask {} to approve or deny it", resource.owners.join(" or ")),
    }
}

fn waits_for(standing: &Standing<'_>) -> String {
    let who = standing.who_can();
    let who = if who.is_empty() { "nobody here can give it".to_owned() } else { who.join(" or ") };
    format!("it waits for {} ({who})", in_words(&standing.missing()))
}

/// As what an approval is given.
struct Chosen {
    voice: Voice,
    capacity: Capacity,
    /// In which others it may count.
    also: Vec<Capacity>,
}

/// In which capacity the approval is needed: the one that was named, or that of the approver's which fewest others could
/// fill; with the approver's own voice before one that was lent. `Err` is a capacity that the approver does not have.
fn choose(
    standing: &Standing<'_>,
    approver: &Subject,
    id: GrantId,
    named: Option<Capacity>,
) -> Result<Result<Chosen, Capacity>, BrokerError> {
    // One that does not count any more does not stand in the way of a new one, which takes its place.
    let counting = || standing.judged.iter().filter(|judged| judged.void.is_none()).map(|judged| judged.approval);
    if counting().any(|approval| approval.person == approver.name) {
        return Err(BrokerError::State(format!(
            "{} has approved {id} already, and a person counts once: {}",
            approver.name,
            waits_for(standing)
        )));
    }
    if let Some(before) = counting().find(|approval| approval.voice() == approver.name) {
        return Err(BrokerError::State(format!(
            "{} has approved {id} for {} already, and a voice counts once: {}",
            before.person,
            approver.name,
            waits_for(standing)
        )));
    }
    let wanted = |capacity: &Capacity| named.is_none_or(|named| named == *capacity);
    let mut mine = standing.open_voices();
    mine.retain(|voice| voice.person == approver.name);
    for voice in &mine {
        let fitting = voice.capacities.iter().copied().filter(wanted).filter(|capacity| standing.helps(&[*capacity]));
        if let Some(capacity) = fitting.min_by_key(|capacity| standing.can_approve(*capacity).len()) {
            let also = voice.capacities.iter().copied().filter(|held| named.is_none() && *held != capacity).collect();
            return Ok(Ok(Chosen { voice: voice.clone(), capacity, also }));
        }
    }
    let of_use = named.is_none_or(|named| standing.needed.contains_key(&named));
    let held = mine.iter().flat_map(|voice| &voice.capacities).filter(|capacity| wanted(capacity));
    if held.into_iter().any(|capacity| standing.needed.contains_key(capacity)) || !of_use {
        return Err(BrokerError::State(format!(
            "{id} needs no further approval of this kind: {}",
            waits_for(standing)
        )));
    }
    Ok(Err(named.or_else(|| standing.missing().keys().next().copied()).unwrap_or(Capacity::Owner)))
}

/// A grant after an event that must apply: that others changed it shows when it is written.
pub(super) fn step(grant: &Grant, event: &GrantEvent) -> Result<Grant, BrokerError> {
    grant.after(event).map_err(|error| BrokerError::State(error.to_string()))
}
