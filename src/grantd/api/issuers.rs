//! The routes of the daemon's own issuers of tokens. Only public parts of keys pass here.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use grantd_model::{KeyPhase, RingKey};
use grantd_wire as wire;

use super::routes::{Answer, caller};
use super::{Api, Connection, body};
use crate::issuer::Issuer;

/// Their routes.
pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/issuers", get(list))
        .route("/v1/issuers/{name}/documents", get(documents))
        .route("/v1/issuers/{name}/published", post(published))
        .route("/v1/issuers/{name}/rotate", post(rotate))
}

async fn list(State(api): State<Api>, Extension(connection): Extension<Connection>) -> Answer<Json<wire::IssuerList>> {
    let issuers = api.broker.see_issuers(&caller(&api, &connection))?;
    Ok(Json(wire::IssuerList { issuers: issuers.iter().map(|issuer| view(issuer)).collect() }))
}

async fn documents(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    Path(name): Path<String>,
) -> Answer<Json<wire::IssuerDocuments>> {
    let issuer = api.broker.issuer_to_publish(&caller(&api, &connection), &name)?;
    let (view, documents) = (view(&issuer), issuer.documents());
    let document =
        |found: crate::issuer::Document| wire::DocumentView { path: found.path.to_owned(), content: found.content };
    Ok(Json(wire::IssuerDocuments { issuer: view, documents: documents.into_iter().map(document).collect() }))
}

async fn published(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    Path(name): Path<String>,
    body: Body,
) -> Answer<Json<wire::IssuerView>> {
    let asked: wire::PublishedRequest = body::read(body, api.limits.body_bytes).await?;
    let issuer = api.broker.issuer_published(&caller(&api, &connection), &name, asked.keys).await?;
    Ok(Json(view(&issuer)))
}

async fn rotate(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    Path(name): Path<String>,
    body: Body,
) -> Answer<Json<wire::IssuerView>> {
    let asked: wire::RotateRequest = body::read(body, api.limits.body_bytes).await?;
    let issuer = api.broker.rotate_issuer(&caller(&api, &connection), &name, asked.leaked).await?;
    Ok(Json(view(&issuer)))
}

fn view(issuer: &Issuer) -> wire::IssuerView {
    let ring = issuer.ring();
    let key = |key: &RingKey| wire::KeyView {
        id: key.id.clone(),
        algorithm: key.algorithm.as_str().to_owned(),
        state: key.phase.as_str().to_owned(),
        made_at: key.made_at.to_string(),
        published_at: key.published_at.map(|at| at.to_string()),
        signs_from: ring.takes_over_at(key, issuer.life()).map(|at| at.to_string()),
        signs_since: match key.phase {
            KeyPhase::Signing { since, .. } => Some(since.to_string()),
            _ => None,
        },
        published_until: match key.phase {
            KeyPhase::Retired { until, .. } => Some(until.to_string()),
            _ => None,
        },
    };
    wire::IssuerView {
        name: issuer.name().to_owned(),
        url: issuer.url().to_owned(),
        source: issuer.source(),
        published: ring.is_published(),
        keys: ring.keys().iter().map(key).collect(),
    }
}
