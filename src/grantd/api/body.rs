//! Reading a request: its body within its limit, its ids and its query, each with an error that says what is wrong.

use std::str::FromStr;

use axum::body::Body;
use axum::http::Uri;
use grantd_wire::ProblemKind;
use http_body_util::{BodyExt, Limited};
use serde::de::DeserializeOwned;

use super::problem::Reply;

/// The body as `T`; an empty body is an empty object.
pub async fn read<T: DeserializeOwned>(body: Body, most: usize) -> Result<T, Reply> {
    let collected = Limited::new(body, most).collect().await.map_err(|error| {
        if error.is::<http_body_util::LengthLimitError>() {
            let mut reply =
                Reply::new(ProblemKind::BadRequest, format!("the body is larger than {most} bytes: send less"));
            reply.0.status = 413;
            reply.0.limit = u64::try_from(most).ok();
            return reply;
        }
        Reply::new(ProblemKind::BadRequest, "the body did not arrive whole: send it again")
    })?;
    let bytes = collected.to_bytes();
    let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
    serde_json::from_slice(text)
        .map_err(|error| Reply::new(ProblemKind::BadRequest, format!("the body is not valid: {error}")))
}

/// The query as `T`.
pub fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Reply> {
    axum::extract::Query::try_from_uri(uri)
        .map(|axum::extract::Query(query)| query)
        .map_err(|error| Reply::new(ProblemKind::BadRequest, format!("the query is not valid: {}", error.body_text())))
}

/// A name, a number or a word as `T`.
pub fn parsed<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Reply> {
    text.parse().map_err(|error: T::Err| Reply::new(ProblemKind::BadRequest, error.to_string()))
}
