//! The routes under `/v1`.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, Response, StatusCode, Uri, header};
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};
use axum::{Extension, Json, Router};
use futures_util::stream;
use grantd_model::{GrantPhase, Task};
use grantd_provider_api::Narrowing;
use grantd_wire as wire;
use grantd_wire::ProblemKind;
use tower_http::catch_panic::CatchPanicLayer;

use super::problem::Reply;
use super::{Api, Connection, approvals, body, views};
use crate::attest::Caller;
use crate::broker::{AnchorAsk, GrantAsk, GrantsAsk, HoldGuard, LeasesAsk, RequestAsk, VendAsk};

/// What a list gives when not told how many, and the most it gives.
const LIST: (u32, u32) = (100, 1000);

/// The same for the audit.
const AUDIT: (u32, u32) = (500, 5000);

/// How often a held reply says that it is still there.
const HEARTBEAT: Duration = Duration::from_secs(10);

pub(super) type Answer<T> = Result<T, Reply>;

/// Every route.
pub fn router(api: Api) -> Router {
    Router::new()
        .route("/v1/grants", post(request_grant).get(list_grants))
        .route("/v1/grants/{id}", get(show_grant))
        .route("/v1/grants/{id}/approve", post(approvals::approve))
        .route("/v1/grants/{id}/request-file", get(approvals::request_file))
        .route("/v1/grants/{id}/deny", post(approvals::deny))
        .route("/v1/grants/{id}/cancel", post(approvals::cancel))
        .route("/v1/grants/{id}/extend", post(approvals::extend))
        .route("/v1/grants/{id}/complete", post(complete_grant))
        .route("/v1/grants/{id}/revoke", post(revoke_grant))
        .route("/v1/leases", post(vend).get(list_leases))
        .route("/v1/leases/{id}", get(show_lease))
        .route("/v1/leases/{id}/hold", post(hold))
        .route("/v1/leases/{id}/complete", post(complete_lease))
        .route("/v1/leases/{id}/revoke", post(revoke_lease))
        .route("/v1/anchors", post(attach))
        .route("/v1/anchors/{id}", delete(detach))
        .route("/v1/drain", post(drain).get(show_drain))
        .route("/v1/status", get(status))
        .route("/v1/audit", get(audit))
        .route("/v1/metrics", get(metrics))
        .merge(super::delegations::routes())
        .merge(super::documents::routes())
        .merge(super::freezes::routes())
        .merge(super::doctor::routes())
        .merge(super::issuers::routes())
        .merge(super::reviews::routes())
        .merge(super::policy::routes())
        .route_layer(axum::middleware::from_fn_with_state(api.clone(), super::measure::measured))
        .fallback(|uri: Uri| async move {
            Reply::new(ProblemKind::NotFound, format!("there is nothing at {}: the API is under /v1", uri.path()))
        })
        .method_not_allowed_fallback(|uri: Uri| async move {
            let mut reply = Reply::new(ProblemKind::BadRequest, format!("{} takes another method", uri.path()));
            reply.0.status = 405;
            reply
        })
        .layer(CatchPanicLayer::custom(|_| {
            Reply::new(ProblemKind::Internal, "the request met a fault of the daemon; see its log").into_response()
        }))
        .with_state(api)
}

/// Who calls, as today's people table knows it.
pub(super) fn caller(api: &Api, connection: &Connection) -> Caller {
    Caller::new(connection.peer.clone(), connection.number, &api.broker.bundle().people)
}

async fn request_grant(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    body: Body,
) -> Answer<impl IntoResponse> {
    let asked: wire::GrantCreate = body::read(body, api.limits.body_bytes).await?;
    let ask = RequestAsk {
        resource: asked.resource,
        capability: body::parsed(&asked.capability)?,
        narrowing: asked
            .narrowing
            .map(|narrow| Narrowing { prefix: narrow.prefix, source_networks: narrow.source_networks })
            .unwrap_or_default(),
        justification: body::parsed(&asked.justification)?,
        ticket: asked.ticket,
        duration: Duration::from_secs(asked.duration_seconds),
        recurrence: asked.recurrence.map(|recurs| (recurs.every_seconds, recurs.times)),
        not_before: asked.not_before.as_deref().map(body::parsed).transpose()?,
        subject: asked.subject,
        task: asked.task.map(|task| Task { system: task.system, run: task.run, attempt: task.attempt, job: task.job }),
    };
    let grant = api.broker.request(&caller(&api, &connection), ask).await?;
    Ok((StatusCode::CREATED, views::whole(&api, &grant).await?))
}

async fn list_grants(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    uri: Uri,
) -> Answer<Json<wire::GrantList>> {
    let asked: wire::GrantQuery = body::query(&uri)?;
    let phase = |name: &str| -> Answer<GrantPhase> {
        serde_json::from_value(serde_json::Value::String(name.to_owned()))
            .map_err(|_| Reply::new(ProblemKind::BadRequest, format!("\"{name}\" is no state of a grant")))
    };
    let phases = asked.state.as_deref().map(|names| names.split(',').map(phase).collect()).transpose()?;
    let limit = asked.limit.unwrap_or(LIST.0).min(LIST.1);
    let ask = GrantsAsk { phases, resource: asked.resource, all: asked.all, approvable: asked.approvable, limit };
    let mut grants = Vec::new();
    for grant in api.broker.see_grants(&caller(&api, &connection), ask).await? {
        grants.push(views::whole(&api, &grant).await?.0);
    }
    Ok(Json(wire::GrantList { grants }))
}

async fn show_grant(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    Path(id): Path<String>,
) -> Answer<Json<wire::GrantView>> {
    let grant = api.broker.see_grant(&caller(&api, &connection), body::parsed(&id)?).await?;
    views::whole(&api, &grant).await
}

async fn complete_grant(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    Path(id): Path<String>,
) -> Answer<Json<wire::GrantView>> {
    let grant = api.broker.complete_grant(&caller(&api, &connection), body::parsed(&id)?).await?;
    views::whole(&api, &grant).await
}

async fn revoke_grant(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    Path(id): Path<String>,
    body: Body,
) -> Answer<Json<wire::GrantView>> {
    let reason = reason(body, &api).await?;
    let grant = api.broker.revoke_grant(&caller(&api, &connection), body::parsed(&id)?, reason).await?;
    views::whole(&api, &grant).await
}

async fn vend(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    body: Body,
) -> Answer<Response<Body>> {
    let asked: wire::Vend = body::read(body, api.limits.body_bytes).await?;
    let grant = match asked.grant.as_str() {
        "auto" => GrantAsk::Auto { resource: asked.resource },
        id => GrantAsk::Id(body::parsed(id)?),
    };
    let anchor = match asked.anchor {
        wire::AnchorChoice::Auto => AnchorAsk::Auto,
        wire::AnchorChoice::Parent => AnchorAsk::Parent,
        wire::AnchorChoice::Caller => AnchorAsk::Caller,
        wire::AnchorChoice::Connection => AnchorAsk::Connection,
    };
    let ask = VendAsk { grant, ttl: asked.ttl_seconds.map(Duration::from_secs), anchor };
    let mut vended = api.broker.vend(&caller(&api, &connection), ask).await?;
    crate::failpoint::hit("issue.released");
    match vended.hold.take() {
        None => Ok(Json(views::vended(&vended)).into_response()),
        Some(guard) => Ok(held(&views::vended(&vended), guard)),
    }
}

async fn hold(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    Path(id): Path<String>,
) -> Answer<Response<Body>> {
    let (lease, guard) = api.broker.hold_again(&caller(&api, &connection), body::parsed(&id)?).await?;
    Ok(held(&views::lease(&lease), guard))
}

/// A reply that stays open: one line now, an empty one from time to time so that a client that went away is noticed, and
/// one when the lease ends. The guard ends the lease when the client goes.
fn held<T: serde::Serialize>(first: &T, guard: HoldGuard) -> Response<Body> {
    let first = line(first);
    let lines = stream::unfold((Some(first), Some(guard)), |(first, guard)| async move {
        if let Some(first) = first {
            return Some((first, (None, guard)));
        }
        let guard = guard?;
        tokio::select! {
            () = guard.ended() => {
                let reason = format!("{} has ended", guard.lease());
                Some((line(&wire::HoldEvent::Ended { reason }), (None, None)))
            }
            () = tokio::time::sleep(HEARTBEAT) => Some((Ok(b"\n".to_vec()), (None, Some(guard)))),
        }
    });
    let mut response = Response::new(Body::from_stream(lines));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(wire::NDJSON));
    response
}

fn line<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

async fn list_leases(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    uri: Uri,
) -> Answer<Json<wire::LeaseList>> {
    let asked: wire::LeaseQuery = body::query(&uri)?;
    let ask = LeasesAsk {
        grant: asked.grant.as_deref().map(body::parsed).transpose()?,
        ended: asked.ended,
        all: asked.all,
        limit: asked.limit.unwrap_or(LIST.0).min(LIST.1),
    };
    let leases = api.broker.see_leases(&caller(&api, &connection), ask).await?;
    Ok(Json(wire::LeaseList { leases: leases.iter().map(views::lease).collect() }))
}

async fn show_lease(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    Path(id): Path<String>,
) -> Answer<Json<wire::LeaseView>> {
    let lease = api.broker.see_lease(&caller(&api, &connection), body::parsed(&id)?).await?;
    Ok(Json(views::lease(&lease)))
}

async fn complete_lease(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    Path(id): Path<String>,
) -> Answer<Json<wire::LeaseView>> {
    let lease = api.broker.complete_lease(&caller(&api, &connection), body::parsed(&id)?).await?;
    Ok(Json(views::lease(&lease)))
}

async fn revoke_lease(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    Path(id): Path<String>,
    body: Body,
) -> Answer<Json<wire::LeaseView>> {
    let reason = reason(body, &api).await?;
    let lease = api.broker.revoke_lease(&caller(&api, &connection), body::parsed(&id)?, reason).await?;
    Ok(Json(views::lease(&lease)))
}

/// Why something is revoked: needed, and one line as every reason that goes on record.
async fn reason(body: Body, api: &Api) -> Answer<String> {
    let asked: wire::EndRequest = body::read(body, api.limits.body_bytes).await?;
    let given = asked.reason.unwrap_or_default();
    let reason: grantd_model::Justification = given.parse().map_err(|_| {
        Reply::new(ProblemKind::BadRequest, "a revocation needs a reason of one line, 1,000 characters at most")
    })?;
    Ok(reason.as_str().to_owned())
}

async fn attach(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    body: Body,
) -> Answer<impl IntoResponse> {
    let asked: wire::AnchorCreate = body::read(body, api.limits.body_bytes).await?;
    let anchor = api.broker.attach(&caller(&api, &connection), asked.pid).await?;
    Ok((StatusCode::CREATED, Json(views::anchor(&anchor))))
}

async fn detach(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.broker.detach(&caller(&api, &connection), body::parsed(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn drain(State(api): State<Api>, Extension(connection): Extension<Connection>) -> Answer<impl IntoResponse> {
    let state = api.broker.drain(&caller(&api, &connection)).await?;
    Ok((StatusCode::ACCEPTED, Json(views::drain(&state))))
}

async fn show_drain(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
) -> Answer<Json<wire::DrainView>> {
    Ok(Json(views::drain(&api.broker.see_drain(&caller(&api, &connection)).await?)))
}

async fn status(State(api): State<Api>, Extension(connection): Extension<Connection>) -> Answer<Json<wire::Status>> {
    Ok(Json(views::status(&api, &caller(&api, &connection)).await?))
}

/// The figures, for auditors; over TCP they can be configured for everybody on the host.
async fn metrics(State(api): State<Api>, Extension(connection): Extension<Connection>) -> Answer<impl IntoResponse> {
    api.broker.must_be_auditor(&caller(&api, &connection), "the metrics")?;
    let text = api.metrics.text(&api.broker).await?;
    Ok(([(header::CONTENT_TYPE, crate::metrics::OPENMETRICS)], text))
}

async fn audit(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    uri: Uri,
) -> Answer<Json<wire::AuditPage>> {
    let asked: wire::AuditQuery = body::query(&uri)?;
    let limit = asked.limit.unwrap_or(AUDIT.0).min(AUDIT.1);
    let (head, records) = api.broker.see_audit(&caller(&api, &connection), asked.after, limit).await?;
    let records = records.iter().map(serde_json::to_value).collect::<Result<_, _>>();
    let records = records.map_err(|error| Reply::new(ProblemKind::Internal, error.to_string()))?;
    Ok(Json(wire::AuditPage {
        node: api.broker.node().to_string(),
        head_seq: head.seq,
        head_hash: head.hash.to_string(),
        records,
    }))
}
