//! A web server for the files of a directory: what publishes an issuer's keys in a test.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use hyper::StatusCode;

use crate::serve::{Call, Handler, Reply, Server};

/// Serves a directory on loopback until it is dropped.
#[derive(Debug)]
pub struct FileServer(Server);

#[derive(Debug)]
struct Files(PathBuf);

impl FileServer {
    /// Serves `directory` on a free port.
    ///
    /// # Errors
    /// There is none.
    pub fn start(directory: &Path) -> io::Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Server::start("files", address, Arc::new(Files(directory.to_owned()))).map(Self)
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.0.address())
    }
}

impl Handler for Files {
    async fn handle(self: Arc<Self>, call: Call) -> Reply {
        let below = PathBuf::from(call.head.uri.path().trim_start_matches('/'));
        let inside = below.components().all(|part| matches!(part, Component::Normal(_)));
        match std::fs::read(self.0.join(&below)) {
            Ok(bytes) if inside => Reply::of(StatusCode::OK, "application/json", bytes),
            _ => Reply::of(StatusCode::NOT_FOUND, "text/plain", "not found"),
        }
    }
}
