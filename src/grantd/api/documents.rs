//! The routes of grant documents: handing a grant on, and taking one in.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Extension, Json, Router};
use grantd_model::NodeId;
use grantd_wire as wire;

use super::routes::{Answer, caller};
use super::{Api, Connection, body, views};

/// Their routes.
pub(super) fn routes() -> Router<Api> {
    Router::new().route("/v1/grants/{id}/export", post(export)).route("/v1/documents", post(import))
}

async fn export(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    Path(id): Path<String>,
    body: Body,
) -> Answer<Json<wire::ExportView>> {
    let asked: wire::ExportRequest = body::read(body, api.limits.body_bytes).await?;
    let hosts = asked.hosts.into_iter().map(NodeId).collect();
    let made = api.broker.export(&caller(&api, &connection), body::parsed(&id)?, hosts).await?;
    Ok(Json(wire::ExportView { document: made.text, jti: made.jti, until: made.until.to_string() }))
}

async fn import(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    body: Body,
) -> Answer<impl IntoResponse> {
    let asked: wire::ImportRequest = body::read(body, api.limits.body_bytes).await?;
    let grant = api.broker.import(&caller(&api, &connection), asked.document).await?;
    Ok((StatusCode::CREATED, views::whole(&api, &grant).await?))
}
