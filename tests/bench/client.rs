//! A client of the daemon's socket, as thin as it can be: HTTP/1.1 by hyper on a connection that is kept.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

/// A client that makes its connection when it needs one.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    open: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    /// A client without a connection.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), open: None }
    }

    /// Posts a body and gives the answer's, which must have status `expected`.
    pub async fn post(&mut self, path: &str, body: &Value, expected: u16) -> Value {
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::from(body.to_string()))
            .expect("a request");
        let sender = match &mut self.open {
            Some(sender) => sender,
            none => none.insert(connect(&self.socket).await),
        };
        let response = sender.send_request(request).await.expect("the daemon answers");
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.expect("the answer is whole").to_bytes();
        assert_eq!(status, expected, "POST {path}: {}", String::from_utf8_lossy(&bytes));
        serde_json::from_slice(&bytes).expect("the answer is JSON")
    }

    /// Hangs up.
    pub fn close(&mut self) {
        self.open = None;
    }
}

async fn connect(socket: &Path) -> SendRequest<Full<Bytes>> {
    let stream = UnixStream::connect(socket).await.expect("the daemon accepts");
    let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("HTTP can begin");
    // It ends when the sender is dropped; an error of it is seen by the request that meets it.
    tokio::spawn(connection);
    sender
}
