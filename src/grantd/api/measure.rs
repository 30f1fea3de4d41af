//! Every answered request is counted by the route that it took, and told to the log.

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, Response};
use axum::middleware::Next;

use super::{Api, Connection};

/// Around every route. The route is the pattern, never the path: ids stay out of the metrics.
pub(super) async fn measured(State(api): State<Api>, request: Request, next: Next) -> Response<Body> {
    let since = api.metrics.now();
    let path = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str);
    let route = format!("{} {path}", request.method());
    let reads = request.method() == Method::GET;
    let peer = request.extensions().get::<Connection>().map(|connection| connection.peer.clone());
    let response = next.run(request).await;
    let status = response.status().as_u16();
    api.metrics.answered(&route, status, since);
    let (uid, pid) = peer.map_or((None, None), |peer| (Some(peer.uid), Some(peer.process.pid)));
    if reads {
        tracing::debug!(uid, pid, route, status, "answered");
    } else {
        tracing::info!(uid, pid, route, status, "answered");
    }
    response
}
