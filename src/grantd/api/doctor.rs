//! The routes for setting up and looking over cloud accounts.

use axum::extract::{Path, State};
use axum::http::{HeaderValue, Uri, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Extension, Router};
use grantd_provider_api::Cloud;
use grantd_wire as wire;
use grantd_wire::ProblemKind;

use super::problem::Reply;
use super::routes::{Answer, caller};
use super::{Api, Connection, body};

/// Their routes.
pub(super) fn routes() -> Router<Api> {
    Router::new().route("/v1/bootstrap/{cloud}", get(bootstrap))
}

async fn bootstrap(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    Path(name): Path<String>,
    uri: Uri,
) -> Answer<impl IntoResponse> {
    let asked: wire::BootstrapQuery = body::query(&uri)?;
    let cloud = cloud(&name)?;
    let text = api.broker.bootstrap(&caller(&api, &connection), cloud, asked.account, asked.base).await?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))], text))
}

fn cloud(name: &str) -> Answer<Cloud> {
    serde_json::from_value(serde_json::Value::String(name.to_owned())).map_err(|_| {
        let shown: String = name.chars().take(32).collect();
        Reply::new(ProblemKind::NotFound, format!("\"{shown}\" is no cloud: say aws, azure or gcp"))
    })
}
