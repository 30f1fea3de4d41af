//! Handing an approved grant to another host as a signed document. Nothing takes a document back, so it is short-lived; and
//! what is counted is counted in one place, so such a grant leaves this host with its document.

use std::time::Duration;

use grantd_model::document::{Approved, Attested, AttestedSignature, Document};
use grantd_model::{Grant, GrantEvent, GrantId, NodeId, Request, Verdict};
use jiff::Timestamp;
use serde_json::json;

use super::approve::{ATTEMPTS, step};
use super::issue::uses_of_grant;
use super::quorum::{Ground, Requesters, What, approvals_today, carried_until, judge};
use super::signals::Looks;
use super::{Broker, BrokerError, after, draft, facts};
use crate::attest::Caller;
use crate::document::{SigningKey, sign};
use crate::policy::Question;
use crate::store::{Guard, StoreError, Transaction, Write};

/// How documents are made here.
#[derive(Debug)]
pub struct Exporter {
    /// Who signs them.
    pub iss: String,
    /// For whom they are.
    pub audience: String,
    /// How long one is good for at most.
    pub longest: Duration,
    /// With what.
    pub key: SigningKey,
}

/// A document that was made.
#[derive(Debug)]
pub struct Exported {
    /// Its text.
    pub text: String,
    /// Its id.
    pub jti: String,
    /// Its end, and that of whatever is vended on it.
    pub until: Timestamp,
}

impl Broker {
    /// Makes a document of an active grant for `hosts`, or for whoever trusts this issuer when there is none. For its
    /// subject, its requester and administrators. A counted grant goes to exactly one other host and ends here.
    ///
    /// # Errors
    /// When the caller may not, nothing would be issued under the grant here, or it is counted and used already.
    pub async fn export(&self, caller: &Caller, id: GrantId, hosts: Vec<NodeId>) -> Result<Exported, BrokerError> {
        self.on_record(caller, "export.refused", (Some(id), None), move |broker, caller| async move {
            for _ in 0..ATTEMPTS {
                if let Some(exported) = broker.export_once(&caller, id, &hosts).await? {
                    return Ok(exported);
                }
            }
            Err(BrokerError::Internal(format!("{id} keeps changing: try again")))
        })
        .await
    }

    async fn export_once(
        &self,
        caller: &Caller,
        id: GrantId,
        hosts: &[NodeId],
    ) -> Result<Option<Exported>, BrokerError> {
        let Some(exporter) = &self.inner.exporter else {
            return Err(BrokerError::State(
                "this host hands out no grant documents: an administrator configures [grant_export] in grantd.toml"
                    .to_owned(),
            ));
        };
        let bundle = self.bundle();
        let grant = self.grant_or_missing(id).await?;
        if !self.is_administrator(caller) {
            self.must_be_party(caller, &grant)?;
        }
        let now = self.now();
        let usable_until = grant.state.active_until(now).ok_or_else(|| {
            BrokerError::State(format!("{id} is {}: only what is active is handed on", grant.state.phase().as_str()))
        })?;
        if grant.imported.is_some() {
            return Err(BrokerError::State(format!(
                "{id} came in a document itself: have it exported where it was approved"
            )));
        }
        if let Some(why) = only_here(&grant.request) {
            return Err(BrokerError::State(format!("{id} {why}")));
        }
        let unfrozen = self.unfrozen(&grant.request.subject, &grant)?;
        self.plan_today(&bundle, &grant)?;
        let request = &grant.request;
        let resource = bundle.catalog.of_request(request).ok_or_else(|| super::allow::gone(request))?;
        let delegations = self.delegations_of(&grant).await?;
        let ground = Ground { people: &bundle.people, delegations: &delegations, now, signed: false };
        let carried = carried_until(&grant, &grant.obligations.approvals, ground, resource, true);
        let end = match carried {
            Ok((_, None)) => usable_until,
            Ok((end, Some(_))) if now < end => end.min(usable_until),
            Ok((_, Some(refusal))) | Err(refusal) => return Err(BrokerError::Denied(refusal)),
        };
        let told = self.told(&grant, ground, resource);
        if told.is_empty() {
            return Err(BrokerError::State(format!(
                "nobody approved {id}: request it on the other host, where policy says as much"
            )));
        }
        let until = end.min(after(now, exporter.longest));
        // What would be counted at an issue today is counted as well.
        let approvals = approvals_today(&grant, ground, resource);
        let mut question = Question {
            action: request.issuing(),
            at: now,
            principal: &request.subject,
            uid: request.subject.id.parse().unwrap_or(u32::MAX),
            resource,
            facts: facts::of_usual_issue(request, &grant.plan, self.inner.settings.default_ttl, approvals),
        };
        let today = match self.decide(&bundle, &mut question, Looks::Fresh).await.verdict {
            Verdict::Allow { obligations } => obligations,
            Verdict::Deny { refusal } => return Err(BrokerError::Denied(refusal)),
        };
        let counted = [grant.obligations.max_uses, today.max_uses].into_iter().flatten().min();
        if counted.is_some() && (hosts.len() != 1 || hosts.contains(self.node())) {
            return Err(BrokerError::BadRequest(format!(
                "{id} may be used a number of times, so it goes to exactly one other host: name its node, which grantctl \
                 status says there"
            )));
        }
        let jti = self.inner.ids.fresh().to_string();
        let document = Document {
            iss: exporter.iss.clone(),
            aud: exporter.audience.clone(),
            jti: jti.clone(),
            iat: now.as_second(),
            nbf: now.as_second(),
            exp: until.as_second(),
            grant: Approved {
                version: 1,
                id,
                installation: grant.node.clone(),
                request: grant.request.clone(),
                tier: grant.tier,
                digest: grant.digest,
                approvals: told,
                hosts: hosts.to_vec(),
                max_uses: counted,
            },
        };
        let text = sign(&document, &exporter.key).map_err(BrokerError::Internal)?;
        let mut guards = vec![unfrozen, Guard::GrantActive { grant: id, at: now }];
        let mut writes = Vec::new();
        let detail = json!({ "jti": jti, "hosts": hosts, "until": until, "audience": exporter.audience, "digest": grant.digest });
        let mut audit = vec![draft(now, "grant.export", caller.actor(), (Some(id), None), detail)];
        if counted.is_some() {
            // Nobody used it here, and nobody does any more.
            guards.push(Guard::CounterBelow { counter: uses_of_grant(id), member: "exported".to_owned(), limit: 1 });
            let event = GrantEvent::Export { at: now };
            let given = step(&grant, &event)?;
            let detail = json!({ "state": given.state });
            audit.push(draft(now, format!("grant.{}", event.name()), caller.actor(), (Some(id), None), detail));
            writes.push(Write::UpdateGrant(given));
        }
        match self.store().commit(Transaction { guards, writes, audit }).await {
            Ok(_) => Ok(Some(Exported { text, jti, until })),
            Err(StoreError::Stale { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The approvals that count today, but for those that were given for an absent person: delegations do not travel.
    fn told(&self, grant: &Grant, ground: Ground<'_>, resource: &crate::config::Resource) -> Vec<Attested> {
        let requesters = Requesters::of(grant, ground.people);
        let in_place = |_: &grantd_model::Approval| false;
        let what = What::of(grant, grant.digest);
        let judged = judge(&grant.approvals, what, ground, Some(resource), &requesters, in_place);
        let counting =
            judged.into_iter().filter(|judged| judged.void.is_none() && judged.approval.on_behalf_of.is_none());
        let told = counting.map(|judged| Attested {
            person: judged.approval.person.clone(),
            capacities: judged.approval.capacities(),
            at: judged.approval.at,
            signed: judged.approval.signed.as_ref().map(|signed| AttestedSignature {
                statement: signed.statement.clone(),
                signature: signed.signature.clone(),
            }),
        });
        told.collect()
    }
}

/// Why a grant is not handed on, if it is one of those that are for this host alone.
pub(super) fn only_here(request: &Request) -> Option<&'static str> {
    if request.break_glass.is_some() {
        return Some("is a use of break-glass, which is counted and reviewed where it was begun: use it there");
    }
    request.recurrence.map(|_| "recurs, and its times are counted where it was approved: request it on the other host")
}
