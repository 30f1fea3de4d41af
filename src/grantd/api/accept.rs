//! The accept loop: who is calling is proved before a byte is read, and nothing that a peer does ends the loop.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::IntoResponse;
use grantd_wire::{PROBLEM_JSON, Problem, ProblemKind};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::limits::{Gate, Place};
use super::problem::Reply;
use super::{Api, Connection, routes};
use crate::pulse::Beats;
use crate::sys::peer::Peer;

/// How long to wait after the kernel could not accept, e.g. for want of file descriptors.
const AFTER_ERROR: Duration = Duration::from_millis(50);

/// How long, and for how many bytes, somebody who was turned away may go on talking.
const LINGER: Duration = Duration::from_millis(250);
const LINGER_BYTES: u64 = 64 * 1024;

/// How long connections may take to finish what they are at when the daemon stops.
const AT_STOP: Duration = Duration::from_secs(5);

/// How often quiet users are forgotten.
const TIDY: Duration = Duration::from_secs(60);

/// Serves `listener` until `stop`, then lets what is under way finish. Answers `beats` as it comes round.
pub async fn serve(listener: UnixListener, api: Api, stop: CancellationToken, mut beats: Beats) {
    let gate = Arc::new(Gate::new(api.limits));
    let router = routes::router(api.clone());
    let numbers = AtomicU64::new(1);
    let connections = TaskTracker::new();
    let mut tidy = tokio::time::interval(TIDY);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = tidy.tick() => { gate.tidy(); continue }
            Some(asked) = beats.next() => { let _ = asked.send(()); continue }
            () = stop.cancelled() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(AFTER_ERROR).await;
                continue;
            }
        };
        match admit(&stream, &gate) {
            Ok((peer, place)) => {
                let open = api.metrics.opened();
                let connection = Connection { peer: Arc::new(peer), number: numbers.fetch_add(1, Ordering::Relaxed) };
                let work =
                    converse(stream, connection, place, router.clone(), Arc::clone(&gate), api.limits, stop.clone());
                connections.spawn(async move {
                    work.await;
                    drop(open);
                });
            }
            Err(reply) => {
                api.metrics.turned_away();
                tracing::warn!(why = reply.0.detail, "a connection was refused");
                connections.spawn(turn_away(stream, reply));
            }
        }
    }
    connections.close();
    let _ = tokio::time::timeout(AT_STOP, connections.wait()).await;
}

/// Proves who is calling and counts the connection. Nothing has been read yet.
fn admit(stream: &UnixStream, gate: &Gate) -> Result<(Peer, Place), Reply> {
    let peer = Peer::of(stream).map_err(|error| Reply::new(ProblemKind::UnknownCaller, error.to_string()))?;
    let place = gate.enter(peer.uid).map_err(|why| Reply::new(ProblemKind::TooMany, why))?;
    Ok((peer, place))
}

/// Answers without reading, and hangs up - but not before the other side has had the time to read it: a client that
/// finds the connection closed while it is still sending would see a broken pipe and no reason.
async fn turn_away(mut stream: UnixStream, reply: Reply) {
    let problem: &Problem = &reply.0;
    let body = serde_json::to_string(problem).unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: {PROBLEM_JSON}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        problem.status,
        problem.title,
        body.len()
    );
    let _ = tokio::time::timeout(LINGER, async {
        stream.write_all(format!("{head}{body}").as_bytes()).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(LINGER_BYTES), &mut tokio::io::sink()).await
    })
    .await;
}

async fn converse(
    stream: UnixStream,
    connection: Connection,
    place: Place,
    router: Router,
    gate: Arc<Gate>,
    limits: super::Limits,
    stop: CancellationToken,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (router, connection, gate) = (router.clone(), connection.clone(), Arc::clone(&gate));
        async move { Ok::<_, Infallible>(answer(request, connection, router, &gate, limits.request_timeout).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(AT_STOP, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended badly");
    }
    drop(place);
}

async fn answer(
    request: Request<Incoming>,
    connection: Connection,
    router: Router,
    gate: &Gate,
    patience: Duration,
) -> axum::http::Response<Body> {
    if let Err(why) = gate.pace(connection.peer.uid) {
        return Reply::new(ProblemKind::TooMany, why).into_response();
    }
    if !connection.peer.is_alive() {
        let why = "the process that opened this connection is gone: open one of your own";
        return Reply::new(ProblemKind::UnknownCaller, why).into_response();
    }
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(connection);
    match tokio::time::timeout(patience, router.oneshot(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => {
            let why = format!(
                "the request took longer than {} s and goes on without you: see grantctl list and leases",
                patience.as_secs()
            );
            let mut reply = Reply::new(ProblemKind::Cloud, why);
            reply.0.status = 504;
            reply.into_response()
        }
    }
}
