//! The routes of absence: lend a voice, list what is lent, take it back.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Extension, Json, Router};
use grantd_model::Delegation;
use grantd_wire as wire;
use jiff::Timestamp;

use super::routes::{Answer, caller};
use super::{Api, Connection, body};
use crate::broker::DelegateAsk;

/// Their routes.
pub(super) fn routes() -> Router<Api> {
    Router::new().route("/v1/delegations", post(delegate).get(list)).route("/v1/delegations/{id}/revoke", post(revoke))
}

async fn delegate(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    body: Body,
) -> Answer<impl IntoResponse> {
    let asked: wire::DelegationCreate = body::read(body, api.limits.body_bytes).await?;
    let ask = DelegateAsk { to: asked.to, until: body::parsed(&asked.until)?, resource: asked.resource };
    let made = api.broker.delegate(&caller(&api, &connection), ask).await?;
    Ok((StatusCode::CREATED, Json(view(&made, made.at))))
}

async fn list(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    uri: Uri,
) -> Answer<Json<wire::DelegationList>> {
    let asked: wire::DelegationQuery = body::query(&uri)?;
    let (delegations, now) = api.broker.see_delegations(&caller(&api, &connection), asked.over).await?;
    Ok(Json(wire::DelegationList { delegations: delegations.iter().map(|one| view(one, now)).collect() }))
}

async fn revoke(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    Path(id): Path<String>,
) -> Answer<Json<wire::DelegationView>> {
    let back = api.broker.take_back(&caller(&api, &connection), body::parsed(&id)?).await?;
    let now = back.revoked.as_ref().map_or(back.at, |revoked| revoked.at);
    Ok(Json(view(&back, now)))
}

fn view(delegation: &Delegation, now: Timestamp) -> wire::DelegationView {
    let revoked = delegation.revoked.as_ref();
    wire::DelegationView {
        id: delegation.id.to_string(),
        from: delegation.from.clone(),
        to: delegation.to.clone(),
        resource: delegation.resource.clone(),
        state: match revoked {
            Some(_) => "revoked",
            None if delegation.stands(now) => "standing",
            None => "over",
        }
        .to_owned(),
        at: delegation.at.to_string(),
        until: delegation.until.to_string(),
        revoked_at: revoked.map(|revoked| revoked.at.to_string()),
        revoked_by: revoked.map(|revoked| revoked.by.to_string()),
    }
}
