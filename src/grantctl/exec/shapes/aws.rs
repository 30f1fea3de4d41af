//! The container-credentials endpoint (AWS SDKs and Tools Reference Guide, "Container credential provider"). Errors have
//! the shape that the clients show: `{"code","message"}`.

use hyper::header::AUTHORIZATION;
use hyper::{Method, StatusCode};
use serde_json::json;

use super::{Asking, Problem, Reply};
use crate::forms::aws::Aws;

/// The one thing there is.
pub(in crate::exec) const PATH: &str = "/credentials";

pub(super) fn asked(asking: &Asking<'_>) -> Result<(), Problem> {
    if !asking.has_token(AUTHORIZATION) {
        let message = "the Authorization header is not the content of AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "token", message));
    }
    if asking.head.uri.path() != PATH {
        return Err(Problem::new(StatusCode::NOT_FOUND, "path", format!("there is only {PATH} here")));
    }
    asking.only(&Method::GET)
}

pub(super) fn given(aws: &Aws) -> Result<Reply, Problem> {
    aws.container_json().map(Reply::json).map_err(|_| Problem::internal())
}

pub(super) fn refused(problem: &Problem) -> Reply {
    Reply::says(problem.status, &json!({ "code": problem.code, "message": problem.message }))
}
