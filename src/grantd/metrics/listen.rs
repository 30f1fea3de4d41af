//! The figures over TCP, for a Prometheus server that cannot speak to a Unix socket. Off unless configured, and on
//! loopback only: nobody proves here who is asking.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{Metrics, OPENMETRICS};
use crate::broker::Broker;

/// How many connections are served at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 8;

/// How long a connection may take for its one request and the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait after the kernel could not accept.
const AFTER_ERROR: Duration = Duration::from_millis(50);

/// Serves `GET /metrics` until `stop`. Nothing that a peer does ends it.
pub async fn serve(listener: TcpListener, metrics: Metrics, broker: Broker, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection for metrics could not be accepted");
                tokio::time::sleep(AFTER_ERROR).await;
                continue;
            }
        };
        let (metrics, broker) = (metrics.clone(), broker.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let (metrics, broker) = (metrics.clone(), broker.clone());
                async move { Ok::<_, Infallible>(answer(&request, &metrics, &broker).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            if let Ok(Err(error)) = tokio::time::timeout(PATIENCE, connection).await {
                tracing::debug!(%error, "a connection for metrics ended badly");
            }
            drop(place);
        });
    }
}

async fn answer(request: &Request<Incoming>, metrics: &Metrics, broker: &Broker) -> Response<Body> {
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "there is nothing here but /metrics\n");
    }
    if request.method() != Method::GET {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "/metrics takes GET\n");
    }
    match metrics.text(broker).await {
        Ok(text) => {
            let mut response = plain(StatusCode::OK, text);
            response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(OPENMETRICS));
            response
        }
        Err(error) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}

fn plain(status: StatusCode, text: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response
}
