//! Grants that were approved elsewhere: a signed document is judged, its approvals are judged as any others, and policy of
//! this host decides, at import and at every issue.
//!
//! A document about a grant that waits here gives it its approvals. One about a grant of another installation makes that
//! grant here, until the document's own end.

use grantd_model::document::{Approved, Attestation, Attested, Document, Imported};
use grantd_model::statement::Statement;
use grantd_model::{
    Action, Approval, AuditDraft, Digest, Grant, GrantEvent, GrantId, GrantState, Obligations, Refusal, Signals,
    Signed, Subject, SubjectKind, Verdict,
};
use grantd_provider_api::CapabilityMap;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::approve::{ATTEMPTS, allowed_today, step};
use super::export::only_here;
use super::extend::APPROVE_WITHIN;
use super::matter::Matter;
use super::quorum::{floored, own_request};
use super::signals::Looks;
use super::{Broker, BrokerError, after, draft, facts};
use crate::attest::Caller;
use crate::config::People;
use crate::document::Unverified;
use crate::policy::{Bundle, Question};
use crate::store::{Guard, StoreError, Transaction, Write};

/// The rule of a refusal because a document does not count.
pub const DOCUMENT: &str = "grant-document";

/// How far the clock of an issuer may be ahead.
const SKEW: i64 = 60;

/// How long after its end a document is remembered as used: a clock that is set back must not let it in again.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(7 * 24);

impl Broker {
    /// Imports a grant document, whoever carries it.
    ///
    /// # Errors
    /// When it does not count, was used, policy or the quorum says no, or this host would issue something else than was
    /// approved; a refusal is on record when this returns.
    pub async fn import(&self, caller: &Caller, text: String) -> Result<Grant, BrokerError> {
        self.on_record(caller, "import.refused", (None, None), move |broker, caller| async move {
            for _ in 0..ATTEMPTS {
                if let Some(grant) = broker.import_once(&caller, &text).await? {
                    return Ok(grant);
                }
            }
            Err(BrokerError::Internal("the grant keeps changing: try again".to_owned()))
        })
        .await
    }

    async fn import_once(&self, caller: &Caller, text: &str) -> Result<Option<Grant>, BrokerError> {
        let bundle = self.bundle();
        let now = self.now();
        let (document, attestation) = match verified(text, &bundle.people, now) {
            Ok(verified) => verified,
            Err(why) => return self.not_imported(caller, None, refusal(why)).await,
        };
        let told = &document.grant;
        let id = told.id;
        let until = Timestamp::from_second(document.exp).unwrap_or(now);
        let here = told.installation == *self.node();
        if !told.hosts.is_empty() && !told.hosts.contains(self.node()) {
            let why = format!("it is for another host, and this is {}", self.node());
            return self.not_imported(caller, Some(id), refusal(why)).await;
        }
        let (grant, fresh) = match self.store().grant(id).await? {
            Some(waiting) if here => (waiting, false),
            Some(_) => return Err(BrokerError::State(format!("{id} was imported already: see grantctl show {id}"))),
            None if here => return Err(BrokerError::NotFound(format!("there is no {id} here: see grantctl list"))),
            None => match self.made_of(&bundle, told, Imported { document: attestation.clone(), until }).await? {
                Ok(grant) => (grant, true),
                Err(refusal) => return self.not_imported(caller, Some(id), refusal).await,
            },
        };
        if grant.request.break_glass.is_some() {
            let why =
                format!("{id} is a use of break-glass, which people confirm where it was begun: grantctl approve {id}");
            return self.not_imported(caller, Some(id), refusal(why)).await;
        }
        if grant.digest != told.digest {
            return Err(changed(id, told.digest, grant.digest));
        }
        let matter = Matter::waiting_at(&grant, now)?;
        if matter.extension.is_some() {
            return Err(BrokerError::State(format!("{id} is active: a document gives no extension")));
        }
        let signals = self.signals_of(&bundle, matter).await;
        let mut audit = vec![draft(
            now,
            "grant.import",
            caller.actor(),
            (Some(id), None),
            json!({ "from": attestation, "until": until, "document": text.trim(), "request": grant.request, "plan": grant.plan,
                    "tier": grant.tier, "digest": grant.digest }),
        )];
        let mut steps = vec![grant.clone()];
        let mut grant = grant;
        for told in &told.approvals {
            match self.attested(caller, &bundle, &grant, told, &attestation, &signals)? {
                Ok((next, record)) => {
                    audit.push(record);
                    steps.push(next.clone());
                    grant = next;
                }
                Err(refusal) => return self.not_imported(caller, Some(id), refusal).await,
            }
        }
        // What does not count is not taken: whoever brings it learns why now.
        let standing = self.standing(&bundle, Matter { grant: &grant, extension: None, signals: Some(&signals) })?;
        let void =
            standing.judged.iter().filter(|judged| told.approvals.iter().any(|t| t.person == judged.approval.person));
        let void: Vec<String> = void.filter_map(|judged| judged.void.clone()).collect();
        if !void.is_empty() {
            return self.not_imported(caller, Some(id), refusal(void.join("; "))).await;
        }
        if let Some((completed, record)) = self.completed(&bundle, &grant, &signals)? {
            audit.push(record);
            steps.push(completed.clone());
            grant = completed;
        } else if !standing.short().is_empty() {
            let short = grantd_model::approval::in_words(&standing.short());
            let why = format!("policy of this host needs {short} besides, and nobody here could give it");
            return self.not_imported(caller, Some(id), refusal(why)).await;
        }
        let forget = now.checked_sub(REMEMBERED).unwrap_or(Timestamp::MIN);
        let (issuer, jti) = (attestation.iss, attestation.jti);
        let mut writes = vec![
            Write::ForgetDocuments { before: forget },
            Write::UseDocument { issuer: issuer.clone(), jti: jti.clone(), until },
        ];
        if fresh {
            writes.push(Write::InsertGrant(grant.clone()));
        } else {
            writes.extend(steps.into_iter().skip(1).map(Write::UpdateGrant));
        }
        let guards = vec![Guard::DocumentUnused { issuer, jti }];
        match self.store().commit(Transaction { guards, writes, audit }).await {
            Ok(_) => Ok(Some(grant)),
            Err(StoreError::Stale { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The grant of another installation as this host would have made it, waiting; or why not.
    async fn made_of(
        &self,
        bundle: &Bundle,
        told: &Approved,
        imported: Imported,
    ) -> Result<Result<Grant, Refusal>, BrokerError> {
        let now = self.now();
        let request = told.request.clone();
        for party in [&request.subject, &request.requested_by] {
            if bundle.people.known(party).is_none_or(|known| known.name != party.name) {
                return Ok(Err(refusal(format!("{party} is nobody in people.toml of this host, or somebody else"))));
            }
        }
        if let Some(why) = only_here(&request) {
            return Ok(Err(refusal(format!("what was approved {why}"))));
        }
        let resource = bundle.catalog.of_request(&request).ok_or_else(|| super::allow::gone(&request))?;
        let empty = CapabilityMap::default();
        let map = bundle.maps.get(&resource.cloud).unwrap_or(&empty);
        let plan = self.provider(resource.cloud)?.plan(&request.entitlement, map)?;
        let mut question = Question {
            action: Action::Request,
            at: now,
            principal: &request.requested_by,
            uid: request.requested_by.id.parse().unwrap_or(u32::MAX),
            resource,
            facts: facts::of_request(&request, &plan),
        };
        let decision = self.decide(bundle, &mut question, Looks::Fresh).await;
        let obligations = match decision.verdict {
            Verdict::Allow { obligations } => obligations,
            Verdict::Deny { refusal } => return Ok(Err(refusal)),
        };
        if let Some(most) = obligations.max_duration.filter(|most| request.duration_seconds > *most) {
            let asked = request.duration_seconds;
            return Ok(Err(refusal(format!(
                "a grant of {asked} s was approved, and policy of this host allows {most} s or less"
            ))));
        }
        let within = obligations.approve_within.map_or(APPROVE_WITHIN, std::time::Duration::from_secs);
        let lapses_at = Some(after(now, within).min(imported.until));
        let approvals = floored(obligations.approvals.clone(), resource);
        let max_uses = [obligations.max_uses, told.max_uses].into_iter().flatten().min();
        let grant = Grant {
            id: told.id,
            node: told.installation.clone(),
            created_at: now,
            plan,
            tier: told.tier,
            digest: told.digest,
            policy: bundle.version,
            obligations: Obligations { approvals, max_uses, ..obligations },
            state: GrantState::Pending { lapses_at },
            approvals: Vec::new(),
            escalation: None,
            extension: None,
            extensions: Vec::new(),
            imported: Some(Box::new(imported)),
            version: 0,
            request,
        };
        // What this host would issue is what was approved elsewhere, to the letter (promise P12).
        let plan = self.plan_today(bundle, &grant)?;
        if max_uses.is_some() && told.hosts.as_slice() != std::slice::from_ref(self.node()) {
            let why =
                "what may be used a number of times is for exactly one host, and it names none, or several".to_owned();
            return Ok(Err(refusal(why)));
        }
        Ok(Ok(Grant { plan, ..grant }))
    }

    /// The grant with one approval of a document given, and the record of it; or why it is not.
    fn attested(
        &self,
        caller: &Caller,
        bundle: &Bundle,
        grant: &Grant,
        told: &Attested,
        attestation: &Attestation,
        signals: &Signals,
    ) -> Result<Result<(Grant, AuditDraft), Refusal>, BrokerError> {
        let now = self.now();
        let person = &told.person;
        let Some((first, also)) = told.capacities.split_first() else {
            return Ok(Err(refusal(format!("the approval of {person} is in no capacity"))));
        };
        let identity = match &told.signed {
            None => told_identity(&attestation.iss, person),
            Some(signed) => match bundle.people.signer(signed.statement.as_bytes(), &signed.signature, now) {
                Ok(signer) => signer,
                Err(why) => return Ok(Err(refusal(format!("the signature of {person} does not count: {why}")))),
            },
        };
        let signed = told.signed.as_ref().map(|signed| {
            let (statement, signature) = (signed.statement.clone(), signed.signature.clone());
            Box::new(Signed { statement, signature, carrier: caller.subject.clone() })
        });
        // A statement names one capacity.
        let capacity = match told.signed.as_ref().map(|signed| signed.statement.parse::<Statement>()) {
            // Where the grant waits, what was signed is handed in now, and in time.
            Some(Ok(said)) if grant.imported.is_none() && now >= said.expiry => {
                return Ok(Err(refusal(format!("the signature of {person} was good until {}", said.expiry))));
            }
            Some(Ok(said)) => said.capacity,
            Some(Err(error)) => return Ok(Err(refusal(error.to_string()))),
            None => *first,
        };
        let matter = Matter { grant, extension: None, signals: Some(signals) };
        let standing = self.standing(bundle, matter)?;
        if standing.requesters.include(person, Some(&identity)) {
            return Ok(Err(own_request(person, grant.id, &[])));
        }
        if let Err(refusal) = allowed_today(&standing, matter) {
            return Ok(Err(refusal));
        }
        let decision = self.decide_approve(bundle, &standing, matter, caller, &identity, (capacity, None));
        if let Verdict::Deny { refusal } = &decision.verdict {
            return Ok(Err(refusal.clone()));
        }
        let given = Box::new(Approval {
            person: person.clone(),
            identity,
            uid: caller.uid(),
            capacity,
            also: if signed.is_some() { Vec::new() } else { also.to_vec() },
            on_behalf_of: None,
            at: now,
            digest: grant.digest,
            comment: None,
            attested: signed.is_none().then(|| Box::new(attestation.clone())),
            signed,
        });
        let event = GrantEvent::GiveApproval { approval: given.clone() };
        let next = step(grant, &event)?;
        let detail = json!({ "approval": given, "decision": decision, "needed": standing.needed, "given_at": told.at });
        let record = draft(now, format!("grant.{}", event.name()), caller.actor(), (Some(grant.id), None), detail);
        Ok(Ok((next, record)))
    }

    async fn not_imported<T>(&self, caller: &Caller, id: Option<GrantId>, refusal: Refusal) -> Result<T, BrokerError> {
        let detail = json!({ "refusal": refusal, "decision": Value::Null });
        self.record("import.refused", caller.actor(), (id, None), detail).await?;
        Err(BrokerError::Denied(refusal))
    }
}

/// A person on an issuer's word.
fn told_identity(iss: &str, person: &str) -> Subject {
    let (issuer, id, name) = (iss.to_owned(), person.to_owned(), person.to_owned());
    Subject { kind: SubjectKind::Human, issuer, id, name }
}

/// The document, if a configured issuer signed it, for us and for now; with whose word it is.
fn verified(text: &str, people: &People, now: Timestamp) -> Result<(Document, Attestation), String> {
    let read = Unverified::read(text)?;
    let iss: String = read.iss().chars().take(255).collect();
    let issuer = people.grant_issuer(&iss).ok_or_else(|| format!("{iss:?} is no [[grant_issuer]] of people.toml"))?;
    let (document, kid) = read.verify(&issuer.keys)?;
    let seconds = now.as_second();
    let life = document.exp.saturating_sub(document.iat.min(document.nbf));
    if document.aud != issuer.audience {
        return Err(format!(
            "it is for {:?}, and documents of {iss:?} have to be for {:?}",
            document.aud, issuer.audience
        ));
    }
    if document.exp <= seconds {
        return Err("its time is over".to_owned());
    }
    if document.nbf > seconds || document.iat > seconds.saturating_add(SKEW) {
        return Err("its time has not come yet".to_owned());
    }
    if u64::try_from(life).is_ok_and(|life| life > issuer.longest) {
        return Err(format!("it is good for {life} s, and {} s are taken from {iss:?}", issuer.longest));
    }
    if document.jti.is_empty() || document.jti.len() > 128 || !document.jti.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err("its jti is 1 to 128 visible characters".to_owned());
    }
    if document.grant.version != 1 || document.grant.approvals.is_empty() {
        return Err("it is of another version, or tells of no approval".to_owned());
    }
    let jti = document.jti.clone();
    Ok((document, Attestation { iss, kid, jti }))
}

fn refusal(why: String) -> Refusal {
    Refusal {
        rule: DOCUMENT.to_owned(),
        reason: format!("the grant document does not count: {why}"),
        who_can_fix: "whoever issued it; for whose documents count, whoever maintains people.toml".to_owned(),
        next: "have a new one issued, with grantctl grant export where it was approved".to_owned(),
    }
}

fn changed(id: GrantId, told: Digest, here: Digest) -> BrokerError {
    BrokerError::PlanChanged(format!("what was approved elsewhere has the digest {told}, and {id} has {here} here"))
}
