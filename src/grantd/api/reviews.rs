//! The routes of break-glass and of reviews.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use grantd_model::{Outcome, Repetition, Review, ReviewAbout, ReviewState, Task};
use grantd_wire as wire;
use grantd_wire::ProblemKind;
use jiff::Timestamp;

use super::problem::Reply;
use super::routes::{Answer, caller};
use super::{Api, Connection, body, views};
use crate::broker::{CompleteAsk, GlassAsk};

/// What a list gives when not told how many, and the most it gives.
const LIST: (u32, u32) = (100, 1000);

/// How far a report looks back when not told: 30 days.
const REPORT: u64 = 30 * 24 * 60 * 60;

/// Their routes.
pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/break-glass", post(break_glass))
        .route("/v1/reviews", get(list))
        .route("/v1/reviews/report", get(report))
        .route("/v1/reviews/{id}", get(show))
        .route("/v1/reviews/{id}/complete", post(complete))
}

async fn break_glass(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    body: Body,
) -> Answer<impl IntoResponse> {
    let asked: wire::GlassCreate = body::read(body, api.limits.body_bytes).await?;
    let ask = GlassAsk {
        profile: asked.profile,
        incident: asked.incident,
        justification: body::parsed(&asked.justification)?,
        resource: asked.resource,
        capability: asked.capability.as_deref().map(body::parsed).transpose()?,
        duration: asked.duration_seconds.map(Duration::from_secs),
        task: asked.task.map(|task| Task { system: task.system, run: task.run, attempt: task.attempt, job: task.job }),
    };
    let grant = api.broker.break_glass(&caller(&api, &connection), ask).await?;
    Ok((StatusCode::CREATED, views::whole(&api, &grant).await?))
}

async fn list(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    uri: Uri,
) -> Answer<Json<wire::ReviewList>> {
    let asked: wire::ReviewQuery = body::query(&uri)?;
    let limit = asked.limit.unwrap_or(LIST.0).min(LIST.1);
    let (reviews, now) = api.broker.see_reviews(&caller(&api, &connection), asked.completed, limit).await?;
    Ok(Json(wire::ReviewList { reviews: reviews.iter().map(|one| view(one, now)).collect() }))
}

async fn show(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    Path(id): Path<String>,
) -> Answer<Json<wire::ReviewView>> {
    let (review, now) = api.broker.see_review(&caller(&api, &connection), body::parsed(&id)?).await?;
    Ok(Json(view(&review, now)))
}

async fn complete(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    Path(id): Path<String>,
    body: Body,
) -> Answer<Json<wire::ReviewView>> {
    let asked: wire::ReviewComplete = body::read(body, api.limits.body_bytes).await?;
    let bad = |detail: String| Reply::new(ProblemKind::BadRequest, detail);
    let ask = CompleteAsk {
        outcome: asked.outcome.parse::<Outcome>().map_err(bad)?,
        findings: asked
            .findings
            .parse()
            .map_err(|_| bad("findings are one line, not empty, of 1,000 characters at most".to_owned()))?,
    };
    let review = api.broker.complete_review(&caller(&api, &connection), body::parsed(&id)?, ask).await?;
    Ok(Json(view(&review, review.opened_at)))
}

async fn report(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    uri: Uri,
) -> Answer<Json<wire::ReportView>> {
    let asked: wire::ReportQuery = body::query(&uri)?;
    let window = Duration::from_secs(asked.since_seconds.unwrap_or(REPORT));
    let report = api.broker.report(&caller(&api, &connection), window).await?;
    let repetition = |one: &Repetition| wire::RepetitionView {
        subject: views::subject(&one.subject),
        resource: one.resource.clone(),
        tier: one.tier.to_string(),
        capability: one.capability.to_string(),
        grants: one.grants,
        break_glass: one.break_glass,
        used_grants: one.used_grants,
        leases: one.leases,
        approved_seconds: one.approved_seconds,
        used_seconds: one.used_seconds,
        longest_approved_seconds: one.longest_approved,
        longest_used_seconds: one.longest_used,
        prefixes: one.prefixes.clone(),
        capabilities_approved: one.capabilities_approved,
        capabilities_used: one.capabilities_used,
        last_at: one.last_at.to_string(),
        proposal: one.proposal().map(|proposal| wire::ProposalView {
            kind: proposal.kind.as_str().to_owned(),
            words: proposal.words.clone(),
            diff: proposal.diff(),
        }),
    };
    Ok(Json(wire::ReportView {
        since: report.since.to_string(),
        until: report.until.to_string(),
        policy_version: api.broker.bundle().version.to_string(),
        complete: report.complete,
        repetitions: report.repetitions.iter().map(repetition).collect(),
    }))
}

/// A review as it stands at `now`.
pub(super) fn view(review: &Review, now: Timestamp) -> wire::ReviewView {
    let (profile, incident, grants, since) = match &review.about {
        ReviewAbout::BreakGlass { profile, incident } => (Some(profile.clone()), Some(incident.clone()), None, None),
        ReviewAbout::Repeat { grants, since } => (None, None, Some(*grants), Some(since.to_string())),
    };
    let completed = match &review.state {
        ReviewState::Open => None,
        ReviewState::Completed { at, person, outcome, findings, .. } => Some((at, person, outcome, findings)),
    };
    wire::ReviewView {
        id: review.id.to_string(),
        kind: review.about.as_str().to_owned(),
        state: review.standing(now).to_owned(),
        grant: review.grant.to_string(),
        resource: review.resource.clone(),
        capability: review.capability.to_string(),
        person: review.person.clone(),
        profile,
        incident,
        grants,
        since,
        reviewers: review.reviewers.clone(),
        opened_at: review.opened_at.to_string(),
        due_at: review.due_at.to_string(),
        completed_at: completed.map(|(at, ..)| at.to_string()),
        completed_by: completed.map(|(_, person, ..)| person.clone()),
        outcome: completed.map(|(_, _, outcome, _)| outcome.to_string()),
        findings: completed.map(|(.., findings)| findings.as_str().to_owned()),
    }
}
