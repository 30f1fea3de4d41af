//! The routes of the brake: freezes, and ending many at once.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Extension, Json, Router};
use grantd_model::{Actor, Freeze, Justification, THAW_QUORUM};
use grantd_wire as wire;
use grantd_wire::ProblemKind;

use super::problem::Reply;
use super::routes::{Answer, caller};
use super::{Api, Connection, body};
use crate::broker::{Broker, Cover};

/// Their routes.
pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/freezes", post(freeze).get(list))
        .route("/v1/freezes/{id}/thaw", post(thaw))
        .route("/v1/revocations", post(revoke))
}

async fn freeze(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    body: Body,
) -> Answer<impl IntoResponse> {
    let asked: wire::CoverRequest = body::read(body, api.limits.body_bytes).await?;
    let (cover, reason) = (cover(asked.cover)?, reason(&asked.reason)?);
    let freeze = api.broker.freeze(&caller(&api, &connection), cover, reason).await?;
    Ok((StatusCode::CREATED, Json(view(&api.broker, &freeze))))
}

async fn list(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    uri: Uri,
) -> Answer<Json<wire::FreezeList>> {
    let asked: wire::FreezeQuery = body::query(&uri)?;
    let freezes = api.broker.see_freezes(&caller(&api, &connection), asked.lifted).await?;
    Ok(Json(wire::FreezeList { freezes: freezes.iter().map(|freeze| view(&api.broker, freeze)).collect() }))
}

async fn thaw(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    Path(id): Path<String>,
    body: Body,
) -> Answer<Json<wire::FreezeView>> {
    let asked: wire::ThawRequest = body::read(body, api.limits.body_bytes).await?;
    let reason = reason(&asked.reason)?;
    let freeze = api.broker.thaw(&caller(&api, &connection), body::parsed(&id)?, reason).await?;
    Ok(Json(view(&api.broker, &freeze)))
}

async fn revoke(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    body: Body,
) -> Answer<Json<wire::MassRevoked>> {
    let asked: wire::CoverRequest = body::read(body, api.limits.body_bytes).await?;
    let (cover, reason) = (cover(asked.cover)?, reason(&asked.reason)?);
    let ended = api.broker.revoke_covered(&caller(&api, &connection), cover, reason).await?;
    Ok(Json(wire::MassRevoked { grants: ended.grants, leases: ended.leases, scopes: ended.scopes }))
}

fn cover(body: wire::CoverBody) -> Answer<Cover> {
    match (body.all, body.host, body.subject, body.resource) {
        (true, false, None, None) => Ok(Cover::All),
        (false, true, None, None) => Ok(Cover::Host),
        (false, false, Some(name), None) => Ok(Cover::Subject(name)),
        (false, false, None, Some(name)) => Ok(Cover::Resource(name)),
        _ => Err(Reply::new(
            ProblemKind::BadRequest,
            "say what is meant by exactly one of all, host, subject and resource",
        )),
    }
}

fn reason(given: &str) -> Answer<String> {
    let reason: Justification = given.parse().map_err(|_| {
        Reply::new(ProblemKind::BadRequest, "this needs a reason of one line, 1,000 characters at most")
    })?;
    Ok(reason.as_str().to_owned())
}

fn view(broker: &Broker, freeze: &Freeze) -> wire::FreezeView {
    let thaw = |thaw: &grantd_model::Thaw| wire::ThawView {
        person: thaw.person.clone(),
        at: thaw.at.to_string(),
        reason: thaw.reason.clone(),
    };
    let stands = freeze.stands();
    let missing = if stands { THAW_QUORUM.saturating_sub(freeze.thaws.len()) } else { 0 };
    wire::FreezeView {
        id: freeze.id.to_string(),
        covers: freeze.target.to_string(),
        stands,
        reason: freeze.reason.clone(),
        by: match &freeze.by {
            Actor::Peer { subject: Some(subject), .. } => subject.to_string(),
            Actor::Peer { uid, .. } => format!("uid {uid}"),
            Actor::Daemon { part } => format!("the daemon's {part}"),
        },
        at: freeze.at.to_string(),
        thaws: freeze.thaws.iter().map(thaw).collect(),
        thaws_missing: u64::try_from(missing).unwrap_or(u64::MAX),
        can_thaw: if stands { broker.can_thaw(freeze) } else { Vec::new() },
        lifted_at: freeze.lifted_at.map(|at| at.to_string()),
    }
}
