//! Problems as responses, and the broker's errors as problems.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use grantd_wire::{PROBLEM_JSON, Problem, ProblemKind};

use crate::broker::BrokerError;

/// A problem on its way out.
#[derive(Debug)]
pub struct Reply(pub Box<Problem>);

impl Reply {
    /// A problem of `kind`.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self(Box::new(Problem::new(kind, detail)))
    }
}

impl From<BrokerError> for Reply {
    fn from(error: BrokerError) -> Self {
        let mut problem = Problem::new(kind_of(&error), error.to_string());
        match error {
            BrokerError::Denied(refusal) | BrokerError::Frozen(refusal) => {
                problem.rule = Some(refusal.rule);
                problem.who_can_fix = Some(refusal.who_can_fix);
                problem.next = Some(refusal.next);
            }
            BrokerError::Gone { .. } => {
                problem.who_can_fix = Some("whoever maintains catalog.toml".to_owned());
                problem.next = Some(
                    "have them put it back, and what was granted holds as it did; or request what took its place"
                        .to_owned(),
                );
            }
            BrokerError::Limit { limit, .. } => problem.limit = Some(limit),
            BrokerError::Capacity { in_use, limit, .. } => {
                problem.limit = Some(limit);
                problem.in_use = Some(in_use);
            }
            BrokerError::Cloud(error) => problem.retryable = error.retryable(),
            BrokerError::Store(error) => tracing::error!(%error, "a request was refused for want of a store"),
            BrokerError::Internal(error) => tracing::error!(%error, "a request failed by a fault of the daemon"),
            _ => {}
        }
        Self(Box::new(problem))
    }
}

fn kind_of(error: &BrokerError) -> ProblemKind {
    match error {
        BrokerError::UnknownCaller { .. } => ProblemKind::UnknownCaller,
        BrokerError::NotYours { .. } => ProblemKind::NotYours,
        BrokerError::Denied(_) => ProblemKind::Denied,
        BrokerError::Frozen(_) => ProblemKind::Frozen,
        BrokerError::NotFound(_) => ProblemKind::NotFound,
        BrokerError::State(_) => ProblemKind::State,
        BrokerError::PlanChanged(_) | BrokerError::Gone { .. } => ProblemKind::PlanChanged,
        BrokerError::Limit { .. } => ProblemKind::Limit,
        BrokerError::Capacity { .. } => ProblemKind::Capacity,
        BrokerError::BadRequest(_) => ProblemKind::BadRequest,
        BrokerError::Busy(_) => ProblemKind::TooMany,
        BrokerError::Cloud(error) => match error.kind {
            grantd_provider_api::ErrorKind::Unsupported => ProblemKind::Limit,
            grantd_provider_api::ErrorKind::Capacity => ProblemKind::Capacity,
            _ => ProblemKind::Cloud,
        },
        BrokerError::Store(_) => ProblemKind::Store,
        BrokerError::Stopping => ProblemKind::Stopping,
        BrokerError::Draining => ProblemKind::Draining,
        BrokerError::Internal(_) => ProblemKind::Internal,
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response<Body> {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        response
    }
}
