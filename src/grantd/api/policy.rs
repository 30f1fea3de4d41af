//! The routes about policy itself: explaining what it says, and showing what was in force.

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Extension, Json, Router};
use grantd_model::{Decision, PolicyVersion, Verdict};
use grantd_wire as wire;
use serde_json::json;

use super::routes::{Answer, caller};
use super::{Api, Connection, body, views};

pub fn routes() -> Router<Api> {
    Router::new().route("/v1/grants/{id}/explain", get(explain)).route("/v1/policy/{digest}", get(show))
}

async fn explain(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    Path(id): Path<String>,
) -> Answer<Json<wire::ExplainView>> {
    let explained = api.broker.explain(&caller(&api, &connection), body::parsed(&id)?).await?;
    let grant = views::whole(&api, &explained.grant).await?.0;
    let today = explained.answers.first();
    let policy = today.map_or_else(|| explained.grant.policy, |decision| decision.policy);
    Ok(Json(wire::ExplainView {
        grant: grant.id,
        state: grant.state,
        asked_under: explained.grant.policy.to_string(),
        policy: policy.to_string(),
        commit: today.and_then(|decision| decision.commit.clone()),
        answers: explained.answers.iter().map(answer).collect(),
        approval: grant.approval,
    }))
}

fn answer(decision: &Decision) -> wire::AnswerView {
    let (verdict, obligations, refusal) = match &decision.verdict {
        Verdict::Allow { obligations } => ("allow", Some(json!(obligations)), None),
        Verdict::Deny { refusal } => {
            let refusal = refusal.clone();
            let view = wire::RefusalView {
                rule: refusal.rule,
                reason: refusal.reason,
                who_can_fix: refusal.who_can_fix,
                next: refusal.next,
            };
            ("deny", None, Some(view))
        }
    };
    let part = |name: &str| decision.inputs.get(name).cloned().unwrap_or_default();
    wire::AnswerView {
        action: decision.action.name().to_owned(),
        verdict: verdict.to_owned(),
        rules: decision.determining.clone(),
        obligations,
        refusal,
        signals: part("signals"),
        facts: part("context"),
    }
}

async fn show(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    Path(digest): Path<String>,
) -> Answer<Json<wire::BundleView>> {
    let version = PolicyVersion(body::parsed(&digest)?);
    let kept = api.broker.see_bundle(&caller(&api, &connection), version).await?;
    Ok(Json(wire::BundleView {
        policy: version.to_string(),
        files: kept.files,
        seal: kept.seal.map(|seal| wire::SealView {
            sequence: seal.sequence,
            files: seal.files.to_string(),
            accepted_at: seal.accepted_at.to_string(),
            signers: seal.signers.into_iter().collect(),
            signatures: seal.signatures,
        }),
    }))
}
