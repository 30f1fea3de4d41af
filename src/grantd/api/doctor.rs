//! The routes for setting up and looking over cloud accounts.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, Response, Uri, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Extension, Router};
use futures_util::stream;
use grantd_provider_api::{Cloud, Standing};
use grantd_wire as wire;
use grantd_wire::ProblemKind;
use tokio::sync::mpsc::UnboundedReceiver;

use super::problem::Reply;
use super::routes::{Answer, caller};
use super::{Api, Connection, body};
use crate::broker::{Broker, Proof, ProveAsk, Told};

/// Their routes.
pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/bootstrap/{cloud}", get(bootstrap))
        .route("/v1/doctor", get(examine))
        .route("/v1/doctor/prove", post(prove))
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

async fn examine(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    uri: Uri,
) -> Answer<Response<Body>> {
    let asked: wire::DoctorQuery = body::query(&uri)?;
    let host = Arc::clone(&api.host);
    let told = api.broker.examine(&caller(&api, &connection), asked.account, move || host.examine()).await?;
    Ok(lines(api.broker.clone(), told))
}

async fn prove(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    body: Body,
) -> Answer<Response<Body>> {
    let asked: wire::ProveRequest = body::read(body, api.limits.body_bytes).await?;
    let ask = ProveAsk {
        cloud: cloud(&asked.cloud)?,
        account: asked.account,
        resource: asked.resource,
        capability: asked.capability.as_deref().map(body::parsed).transpose()?,
    };
    let told = api.broker.prove(&caller(&api, &connection), ask).await?;
    Ok(lines(api.broker.clone(), told))
}

/// A reply that tells what happens while it happens, one document a line.
fn lines(broker: Broker, told: UnboundedReceiver<Told>) -> Response<Body> {
    let lines = stream::unfold((broker, told), |(broker, mut told)| async move {
        let mut line = serde_json::to_vec(&event(&broker, told.recv().await?));
        if let Ok(line) = &mut line {
            line.push(b'\n');
        }
        Some((line, (broker, told)))
    });
    let mut response = Response::new(Body::from_stream(lines));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(wire::NDJSON));
    response
}

fn event(broker: &Broker, told: Told) -> wire::DoctorEvent {
    match told {
        Told::Finding(finding) => wire::DoctorEvent::Finding(wire::FindingView {
            about: finding.about,
            check: finding.check.to_owned(),
            standing: match finding.standing {
                Standing::Ok => "ok",
                Standing::NotChecked => "not_checked",
                Standing::Warning => "warning",
                Standing::Problem => "problem",
            }
            .to_owned(),
            found: finding.found,
            fix: finding.fix,
        }),
        Told::Step(text) => wire::DoctorEvent::Step { text },
        Told::Proof(proof) => wire::DoctorEvent::Proof(proved(broker, &proof)),
        Told::Failed(error) => wire::DoctorEvent::Failed { problem: Reply::from(error).0 },
        Told::Done(tally) => wire::DoctorEvent::Done(wire::TallyView {
            ok: tally.ok,
            not_checked: tally.not_checked,
            warnings: tally.warnings,
            problems: tally.problems,
        }),
    }
}

fn proved(broker: &Broker, proof: &Proof) -> wire::ProofView {
    let plan = &proof.need.plan;
    wire::ProofView {
        cloud: plan.cloud.to_string(),
        account: plan.account.clone(),
        resource: proof.need.resource.clone(),
        capability: proof.need.capability.to_string(),
        action: proof.action.clone(),
        felt_milliseconds: millis(proof.felt),
        accepted_milliseconds: proof.accepted.map(millis),
        samples: proof.samples,
        propagation: propagation(broker, plan.cloud, &plan.account),
    }
}

/// How long a revocation is reckoned to take in an account.
pub(super) fn propagation(broker: &Broker, cloud: Cloud, account: &str) -> Option<wire::PropagationView> {
    let reckoned = broker.reckoned(cloud, account)?;
    let measured = broker.measured(cloud, account);
    Some(wire::PropagationView {
        expected_milliseconds: millis(reckoned.expected_propagation),
        worst_milliseconds: millis(reckoned.worst_propagation),
        measured_milliseconds: measured.as_ref().map(|measured| millis(measured.slowest())),
        samples: measured.as_ref().map_or(0, |measured| measured.samples),
        measured_at: measured.as_ref().and_then(|measured| measured.latest()).map(|sample| sample.at.to_string()),
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn cloud(name: &str) -> Answer<Cloud> {
    serde_json::from_value(serde_json::Value::String(name.to_owned())).map_err(|_| {
        let shown: String = name.chars().take(32).collect();
        Reply::new(ProblemKind::NotFound, format!("\"{shown}\" is no cloud: say aws, azure, gcp or oidc"))
    })
}
