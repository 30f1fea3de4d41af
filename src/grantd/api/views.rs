//! The model as the wire shows it.

use std::collections::BTreeSet;

use axum::Json;
use grantd_model::{
    Anchor, EndReason, Grant, GrantEnd, GrantState, Lease, LeaseState, Occurrence, RegisteredAnchor, Subject,
};
use grantd_provider_api::{Credential, Persistence, Revocation};
use grantd_wire as wire;

use super::problem::Reply;
use super::{Api, approvals, reviews};
use crate::attest::Caller;
use crate::broker::{DrainState, Vended};

/// A grant with its uses and with how it stands on its way to a decision.
pub async fn whole(api: &Api, grant: &Grant) -> Result<Json<wire::GrantView>, Reply> {
    let found = api.broker.approvals(grant);
    let mut view = self::grant(grant, api.broker.uses(grant.id).await?);
    view.occurrence = api.broker.occurrence(grant).and_then(occurrence);
    view.approval = found.approval.as_ref().map(approvals::approval);
    if let Some(glass) = &grant.request.break_glass {
        let review = api.broker.review_of(grant).await?;
        let review = review.map(|review| reviews::view(&review, api.broker.present()));
        let (profile, incident) = (glass.profile.clone(), glass.incident.clone());
        view.break_glass = Some(wire::GlassView { profile, incident, review });
    }
    view.extensions = found.extensions.iter().map(approvals::extension).collect();
    Ok(Json(view))
}

fn grant(grant: &Grant, uses: u64) -> wire::GrantView {
    let request = &grant.request;
    let (active_since, active_until) = match &grant.state {
        GrantState::Active { since, until } => (Some(since.to_string()), Some(until.to_string())),
        GrantState::Scheduled { not_before } => (Some(not_before.to_string()), None),
        _ => (None, None),
    };
    let narrowing = &request.entitlement.narrowing;
    wire::GrantView {
        id: grant.id.to_string(),
        state: grant.state.phase().as_str().to_owned(),
        reason: match &grant.state {
            GrantState::Ended { why: GrantEnd::Expired, .. } => Some("its time was up".to_owned()),
            GrantState::Ended { why: GrantEnd::Completed, .. } => Some("its task was done".to_owned()),
            GrantState::Ended { why: GrantEnd::Exported, .. } => Some("it was handed to another host".to_owned()),
            GrantState::Denied { by, reason, .. } if !by.is_empty() => Some(format!("{by} said no: {reason}")),
            GrantState::Denied { reason, .. } | GrantState::Revoked { reason, .. } => Some(reason.clone()),
            GrantState::Lapsed { .. } => Some("nobody approved it in time".to_owned()),
            _ => None,
        },
        created_at: grant.created_at.to_string(),
        active_since,
        active_until,
        resource: request.resource.clone(),
        tier: grant.tier.to_string(),
        capability: request.entitlement.capability.to_string(),
        narrowing: (*narrowing != grantd_provider_api::Narrowing::default()).then(|| wire::NarrowingBody {
            prefix: narrowing.prefix.clone(),
            source_networks: narrowing.source_networks.clone(),
        }),
        justification: request.justification.as_str().to_owned(),
        ticket: request.ticket.clone(),
        duration_seconds: request.duration_seconds,
        recurrence: request
            .recurrence
            .map(|recurs| wire::RecurrenceBody { every_seconds: recurs.every_seconds, times: recurs.times }),
        occurrence: None,
        subject: subject(&request.subject),
        requested_by: subject(&request.requested_by),
        task: request.task.as_ref().map(|task| wire::TaskBody {
            system: task.system.clone(),
            run: task.run.clone(),
            attempt: task.attempt.clone(),
            job: task.job.clone(),
        }),
        plan: wire::PlanView {
            cloud: grant.plan.cloud.to_string(),
            account: grant.plan.account.clone(),
            targets: grant.plan.targets.clone(),
            words: grant.plan.words.clone(),
            native: grant.plan.native.clone(),
            revocation: match &grant.plan.revocation {
                Revocation::Immediate => "immediate".to_owned(),
                Revocation::Eventual => "eventual".to_owned(),
                Revocation::ExpiryOnly => "expiry_only".to_owned(),
                Revocation::Residual(seconds) => format!("residual({seconds}s)"),
            },
            persistence: match grant.plan.persistence {
                Persistence::None => "none".to_owned(),
                Persistence::CanCreate => "can_create".to_owned(),
            },
            widens: grant.plan.widens.clone(),
            outlives_seconds: (!grant.plan.ending.is_exact()).then(|| grant.plan.ending.outlives()),
        },
        digest: grant.digest.to_string(),
        policy_version: grant.policy.to_string(),
        max_ttl_seconds: grant.obligations.max_ttl,
        max_uses: grant.obligations.max_uses,
        max_concurrent: grant.obligations.max_concurrent,
        uses,
        approval: None,
        break_glass: None,
        extensions: Vec::new(),
        imported: grant.imported.as_ref().map(|imported| wire::ImportedView {
            issuer: imported.document.iss.clone(),
            jti: imported.document.jti.clone(),
            until: imported.until.to_string(),
        }),
    }
}

fn occurrence(occurrence: Occurrence) -> Option<wire::OccurrenceView> {
    match occurrence {
        Occurrence::Open { until } => Some(wire::OccurrenceView { open: true, at: until.to_string() }),
        Occurrence::Between { next } => Some(wire::OccurrenceView { open: false, at: next.to_string() }),
        Occurrence::Over => None,
    }
}

pub fn subject(subject: &Subject) -> wire::SubjectView {
    wire::SubjectView {
        kind: subject.kind.to_string(),
        issuer: subject.issuer.clone(),
        id: subject.id.clone(),
        name: subject.name.clone(),
    }
}

/// What there is to say about an end beyond its name.
fn because(reason: &EndReason) -> Option<String> {
    match reason {
        EndReason::Revoked { reason } | EndReason::NotReleased { reason } => Some(reason.clone()),
        EndReason::PolicyChanged { rule } => {
            Some(format!("under the policy in force it would not be issued (rule: {rule})"))
        }
        EndReason::SignalChanged { rule } => {
            Some(format!("what was looked up for it has changed, and it would not be issued now (rule: {rule})"))
        }
        EndReason::Completed
        | EndReason::GrantEnded
        | EndReason::TimeUp
        | EndReason::AnchorExited
        | EndReason::ConnectionClosed
        | EndReason::Abandoned
        | EndReason::Drained => None,
    }
}

pub fn lease(lease: &Lease) -> wire::LeaseView {
    wire::LeaseView {
        id: lease.id.to_string(),
        grant: lease.grant.to_string(),
        state: lease.state.phase().as_str().to_owned(),
        reason: lease.state.end_reason().map(|reason| reason.name().to_owned()),
        because: lease.state.end_reason().and_then(because),
        revocation: match &lease.state {
            LeaseState::Revoking { accepted: None, .. } | LeaseState::RevokeFailed { .. } => Some("requested"),
            LeaseState::Revoking { accepted: Some(_), .. } => Some("accepted"),
            LeaseState::Revoked { .. } => Some("confirmed"),
            _ => None,
        }
        .map(str::to_owned),
        worst_case_until: lease.worst_case_until().map(|at| at.to_string()),
        created_at: lease.created_at.to_string(),
        access_until: lease.access_until.to_string(),
        anchor: match lease.anchor {
            Anchor::Process { .. } => "process",
            Anchor::Connection { .. } => "connection",
            Anchor::Unwatched { .. } => "unwatched",
        }
        .to_owned(),
        anchor_pid: lease.anchor.process().pid,
        subject: lease.subject.to_string(),
        target: lease.target.clone(),
        session_name: lease.session_name.clone(),
        error: match &lease.state {
            LeaseState::Failed { error, .. } | LeaseState::RevokeFailed { error, .. } => Some(error.clone()),
            _ => None,
        },
    }
}

pub fn anchor(anchor: &RegisteredAnchor) -> wire::AnchorView {
    wire::AnchorView {
        id: anchor.id.to_string(),
        pid: anchor.process.pid,
        uid: anchor.uid,
        created_at: anchor.created_at.to_string(),
    }
}

pub fn drain(state: &DrainState) -> wire::DrainView {
    wire::DrainView {
        since: state.since.to_string(),
        leases: state.leases,
        settled: state.settled(),
        live: state.live,
        unaccepted: state.unaccepted,
        expiring: state.expiring,
        worst_case_until: state.worst_case_until.map(|at| at.to_string()),
        complete: state.is_complete(),
    }
}

/// The one place where a secret is put into a reply.
pub fn vended(vended: &Vended) -> wire::Vended {
    let credential = match vended.credential.as_ref() {
        Credential::Aws { access_key_id, secret_access_key, session_token, region } => wire::CredentialBody::Aws {
            access_key_id: access_key_id.clone(),
            secret_access_key: secret_access_key.expose().to_owned(),
            session_token: session_token.expose().to_owned(),
            expiration: vended.lease.access_until.to_string(),
            region: Some(region.clone()),
        },
        Credential::Azure { tenant, client_id, subscription, tokens } => wire::CredentialBody::Azure {
            tenant: tenant.clone(),
            client_id: client_id.clone(),
            subscription: subscription.clone(),
            tokens: tokens
                .iter()
                .map(|one| wire::AzureTokenBody {
                    audience: one.audience.clone(),
                    token: one.token.expose().to_owned(),
                })
                .collect(),
            expiration: vended.lease.access_until.to_string(),
        },
        Credential::Gcp { access_token, principal, project } => wire::CredentialBody::Gcp {
            access_token: access_token.expose().to_owned(),
            principal: principal.clone(),
            project: project.clone(),
            expiration: vended.lease.access_until.to_string(),
        },
        Credential::Token { token, audience, issuer, subject } => wire::CredentialBody::Token {
            token: token.expose().to_owned(),
            audience: audience.clone(),
            issuer: issuer.clone(),
            subject: subject.clone(),
            expiration: vended.lease.access_until.to_string(),
        },
    };
    wire::Vended { lease: lease(&vended.lease), reused: vended.reused, notes: vended.notes.clone(), credential }
}

/// Who is not told what should be told.
fn untold(api: &Api) -> impl Iterator<Item = String> {
    let failing = api.outbox.health().into_iter().filter_map(|target| {
        let (since, why) = target.failing?;
        Some(format!("\"{}\" has not been told since {since:.0}: {why}", target.name))
    });
    let known: BTreeSet<String> = api.outbox.names().map(str::to_owned).collect();
    let named = api.broker.bundle().notified();
    let unknown = named.into_iter().filter(move |name| !known.contains(name)).map(|name| {
        format!("policy says @notify(\"{name}\"), and grantd.toml has no [[notify]] of that name: nobody is told")
    });
    failing.chain(unknown)
}

pub async fn status(api: &Api, caller: &Caller) -> Result<wire::Status, Reply> {
    let broker = &api.broker;
    let all = broker.is_auditor(caller);
    let revocation = broker.revocation_state().await?;
    let mut alarms = Vec::new();
    if let Some(why) = broker.store_alarm() {
        alarms.push(format!("the store is poisoned, so nothing is issued: {why}"));
    }
    if let Some(why) = broker.policy_alarm() {
        alarms.push(format!("the policy on disk is not valid, so the last good one stays in force: {why}"));
    }
    if revocation.deferred > 0 {
        alarms.push(format!("{} ends are not on disk yet; the cloud is told all the same", revocation.deferred));
    }
    alarms.extend(broker.issuer_alarms());
    if all {
        alarms.extend(broker.signal_alarms());
    }
    let name = caller.subject.as_ref().map(|subject| subject.name.as_str());
    for review in broker.open_reviews().await?.1 {
        if all
            || name == Some(review.person.as_str())
            || name.is_some_and(|me| review.reviewers.iter().any(|one| one == me))
        {
            alarms.push(format!(
                "{} is overdue since {:.0}: {} had {} on \"{}\", and {} can complete it",
                review.id,
                review.due_at,
                review.person,
                review.capability,
                review.resource,
                if review.reviewers.is_empty() { "security".to_owned() } else { review.reviewers.join(" or ") }
            ));
        }
    }
    for freeze in broker.standing_freezes() {
        let covers = caller.subject.as_ref().is_some_and(|subject| freeze.target.covers_all_of(broker.node(), subject));
        if all || covers {
            alarms.push(format!(
                "{} is frozen by {} since {:.0}: {}",
                freeze.target, freeze.id, freeze.at, freeze.reason
            ));
        }
    }
    let accounts: Vec<_> = if all { broker.accounts() } else { Vec::new() };
    for account in &accounts {
        if let Some(error) = &account.last_error {
            // Errors of an account begin with its name.
            let named = format!("account \"{}\": ", account.account);
            let error = error.strip_prefix(&named).unwrap_or(error);
            alarms.push(format!("account \"{}\" of {}: {error}", account.account, account.cloud));
        }
    }
    if all {
        alarms.extend(untold(api));
    }
    let state = match (broker.stopping().is_cancelled(), broker.is_draining(), alarms.is_empty()) {
        (true, _, _) => "stopping",
        (false, true, _) => "draining",
        (false, false, true) => "ready",
        (false, false, false) => "degraded",
    };
    Ok(wire::Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        state: state.to_owned(),
        alarms,
        node: broker.node().to_string(),
        you: caller.subject.as_ref().map(ToString::to_string),
        policy_version: broker.bundle().version.to_string(),
        started_at: broker.started_at().to_string(),
        audit_seq: broker.head().await?.seq,
        live_leases: revocation.live,
        revocation: wire::RevocationStatus {
            unconfirmed: revocation.unconfirmed,
            oldest_requested_at: revocation.oldest_requested_at.map(|at| at.to_string()),
            open_intents: revocation.open_intents,
        },
        accounts: accounts
            .into_iter()
            .map(|account| wire::AccountStatus {
                cloud: account.cloud.to_string(),
                propagation: super::doctor::propagation(broker, account.cloud, &account.account),
                account: account.account,
                last_error: account.last_error,
            })
            .collect(),
        hardening: api.hardening.as_ref().clone(),
    })
}
