//! The routes on the way to a decision - approve, deny, cancel, extend - and approvals as the wire shows them.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use grantd_model::{Escalation, ExtensionEnd, GrantState, Justification};
use grantd_wire as wire;
use grantd_wire::ProblemKind;

use super::problem::Reply;
use super::routes::{Answer, caller};
use super::{Api, Connection, body, views};
use crate::broker::{ApprovalState, ApproveAsk, ExtensionState, SignedWord};

pub async fn approve(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    Path(id): Path<String>,
    body: Body,
) -> Answer<Json<wire::GrantView>> {
    let asked: wire::ApproveRequest = body::read(body, api.limits.body_bytes).await?;
    let comment = asked.comment.map(|text| one_line(&text, "a comment")).transpose()?;
    let beside = comment.is_some() || asked.capacity.is_some();
    let ask = match (asked.signed, asked.digest) {
        (Some(signed), None) if !beside => ApproveAsk::of_signed(word(signed)?),
        (Some(_), _) => return Err(alone()),
        (None, None) => return Err(Reply::new(ProblemKind::BadRequest, "say the digest of what is approved")),
        (None, Some(digest)) => ApproveAsk {
            digest: body::parsed(&digest)?,
            comment: comment.map(|comment| comment.as_str().to_owned()),
            capacity: asked.capacity.as_deref().map(body::parsed).transpose()?,
            signed: None,
        },
    };
    let grant = api.broker.approve(&caller(&api, &connection), body::parsed(&id)?, ask).await?;
    views::whole(&api, &grant).await
}

pub async fn deny(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    Path(id): Path<String>,
    body: Body,
) -> Answer<Json<wire::GrantView>> {
    let asked: wire::DenyRequest = body::read(body, api.limits.body_bytes).await?;
    let reason = one_line(&asked.reason, "a reason")?;
    let signed = asked.signed.map(word).transpose()?;
    let grant = api.broker.deny(&caller(&api, &connection), body::parsed(&id)?, reason, signed).await?;
    views::whole(&api, &grant).await
}

/// What waits on a grant, for somebody who judges it elsewhere.
pub async fn request_file(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    Path(id): Path<String>,
) -> Answer<Json<wire::RequestFile>> {
    let grant = api.broker.see_grant(&caller(&api, &connection), body::parsed(&id)?).await?;
    let found = api.broker.approvals(&grant);
    let json = |value: Result<serde_json::Value, serde_json::Error>| {
        value.map_err(|error| Reply::new(ProblemKind::Internal, error.to_string()))
    };
    let waiting = grant.extension.as_deref();
    let extension = waiting
        .map(|extension| {
            Ok::<_, Reply>(wire::ExtensionFile {
                until: extension.until.to_string(),
                asked_by: json(serde_json::to_value(&extension.asked_by))?,
                reason: extension.reason.as_str().to_owned(),
                digest: extension.digest.to_string(),
            })
        })
        .transpose()?;
    let state = match (&grant.state, found.extensions.last().filter(|last| last.past.is_none())) {
        (GrantState::Pending { .. }, _) => found.approval.as_ref(),
        (_, Some(last)) => Some(&last.approval),
        _ => None,
    };
    let Some(state) = state else {
        let phase = grant.state.phase().as_str();
        let said = format!("{} is {phase}, and nothing of it waits for approval", grant.id);
        return Err(Reply::new(ProblemKind::State, said));
    };
    let shown = approval(state);
    Ok(Json(wire::RequestFile {
        version: 1,
        installation: grant.node.to_string(),
        id: grant.id.to_string(),
        created_at: grant.created_at.to_string(),
        request: json(serde_json::to_value(&grant.request))?,
        plan: json(serde_json::to_value(&grant.plan))?,
        tier: grant.tier.to_string(),
        digest: grant.digest.to_string(),
        extension,
        quorum: shown.quorum,
        lapses_at: shown.lapses_at,
    }))
}

/// What was signed, read. Whether it counts is for the broker to say.
fn word(body: wire::SignedBody) -> Answer<SignedWord> {
    let statement = body::parsed(&body.statement)?;
    Ok(SignedWord { statement, text: body.statement, signature: body.signature })
}

fn alone() -> Reply {
    let said = "what was signed says everything: leave digest, comment and capacity out, which nobody signed";
    Reply::new(ProblemKind::BadRequest, said)
}

pub async fn cancel(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    Path(id): Path<String>,
) -> Answer<Json<wire::GrantView>> {
    let grant = api.broker.cancel(&caller(&api, &connection), body::parsed(&id)?).await?;
    views::whole(&api, &grant).await
}

pub async fn extend(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    Path(id): Path<String>,
    body: Body,
) -> Answer<Json<wire::GrantView>> {
    let asked: wire::ExtendRequest = body::read(body, api.limits.body_bytes).await?;
    let (more, reason) = (Duration::from_secs(asked.duration_seconds), one_line(&asked.reason, "a reason")?);
    let grant = api.broker.extend(&caller(&api, &connection), body::parsed(&id)?, more, reason).await?;
    views::whole(&api, &grant).await
}

fn one_line(text: &str, what: &str) -> Answer<Justification> {
    text.parse().map_err(|_| {
        Reply::new(ProblemKind::BadRequest, format!("{what} is one line, not empty, of 1,000 characters at most"))
    })
}

pub fn approval(state: &ApprovalState) -> wire::ApprovalView {
    let quorum = state.quorum.iter().map(|one| wire::QuorumView {
        capacity: one.capacity.to_string(),
        needed: one.needed,
        given: one.given,
        can_approve: one.can_approve.clone(),
    });
    let given = state.given.iter().map(|given| wire::GivenApprovalView {
        person: given.approval.person.clone(),
        identity: format!("{}:{}", given.approval.identity.issuer, given.approval.identity.id),
        capacity: given.approval.capacity.to_string(),
        also: given.approval.also.iter().map(ToString::to_string).collect(),
        on_behalf_of: given.approval.on_behalf_of.as_ref().map(|absent| absent.person.clone()),
        delegation: given.approval.on_behalf_of.as_ref().map(|absent| absent.delegation.to_string()),
        at: given.approval.at.to_string(),
        comment: given.approval.comment.clone(),
        void: given.void.clone(),
        signed: given.approval.signed.as_ref().map(|signed| wire::SignedBody {
            statement: signed.statement.clone(),
            signature: signed.signature.clone(),
        }),
        carried_by: given.approval.signed.as_ref().and_then(|signed| signed.carrier.as_ref()).map(ToString::to_string),
    });
    wire::ApprovalView {
        quorum: quorum.collect(),
        given: given.collect(),
        lapses_at: state.lapses_at.map(|at| at.to_string()),
        blocked: state.blocked.clone(),
        escalation: state.escalation.as_ref().map(escalation),
        signed: state.signed,
    }
}

fn escalation(escalation: &Escalation) -> wire::EscalationView {
    let (state, at, stewards, reason) = match escalation {
        Escalation::Due { at } => ("due", at, Vec::new(), None),
        Escalation::Asked { at, stewards } => ("asked", at, stewards.clone(), None),
        Escalation::NotAsked { at, why } => ("not_asked", at, Vec::new(), Some(why.clone())),
    };
    wire::EscalationView { state: state.to_owned(), at: at.to_string(), stewards, reason }
}

pub fn extension(state: &ExtensionState) -> wire::ExtensionView {
    let outcome = state.past.as_ref().map(|past| &past.outcome);
    wire::ExtensionView {
        state: match outcome {
            None => "pending",
            Some(ExtensionEnd::Granted { .. }) => "granted",
            Some(ExtensionEnd::Denied { .. }) => "denied",
            Some(ExtensionEnd::Cancelled { .. }) => "cancelled",
            Some(ExtensionEnd::Lapsed { .. }) => "lapsed",
        }
        .to_owned(),
        asked_at: state.extension.asked_at.to_string(),
        asked_by: views::subject(&state.extension.asked_by),
        justification: state.extension.reason.as_str().to_owned(),
        until: state.extension.until.to_string(),
        digest: state.extension.digest.to_string(),
        reason: match outcome {
            Some(ExtensionEnd::Denied { by, reason, .. }) => Some(format!("{by} said no: {reason}")),
            _ => None,
        },
        approval: approval(&state.approval),
    }
}
