//! One loop for every HTTP server of this crate: HTTP/1.1 on loopback, on a thread and runtime of its own.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

/// A request that has been read to its end.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) head: Parts,
    pub(crate) body: Bytes,
}

/// What to do with a call.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Send this.
    Answer(Response<Full<Bytes>>),
    /// Close the connection with a TCP reset and without a byte.
    Reset,
}

impl Reply {
    /// An answer with a body of type `content_type`.
    pub(crate) fn of(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut response = Response::new(Full::new(body.into()));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        Self::Answer(response)
    }
}

/// Answers calls.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Answers one call. Dropped half-way when the client hangs up.
    fn handle(self: Arc<Self>, call: Call) -> impl Future<Output = Reply> + Send;
}

/// A running server. Dropping it closes the listener and every connection.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens on `address` (port 0 for a free one) and answers with `handler` from the moment this returns.
    pub(crate) fn start<H: Handler>(name: &str, address: SocketAddr, handler: Arc<H>) -> io::Result<Self> {
        Self::start_any(name, address, handler, None)
    }

    /// The same over TLS.
    pub(crate) fn start_tls<H: Handler>(
        name: &str,
        address: SocketAddr,
        handler: Arc<H>,
        config: ServerConfig,
    ) -> io::Result<Self> {
        Self::start_any(name, address, handler, Some(TlsAcceptor::from(Arc::new(config))))
    }

    fn start_any<H: Handler>(
        name: &str,
        address: SocketAddr,
        handler: Arc<H>,
        tls: Option<TlsAcceptor>,
    ) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, handler, tls) => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_background();
        })?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the server thread has been printed already; there is nobody to hand it to.
            let _ = thread.join();
        }
    }
}

async fn accept<H: Handler>(listener: std::net::TcpListener, handler: Arc<H>, tls: Option<TlsAcceptor>) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return eprintln!("test server cannot listen: {error}"),
    };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, Arc::clone(&handler), tls.clone()));
            }
            Err(error) => {
                eprintln!("test server cannot accept: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
    }
}

async fn connection<H: Handler>(stream: TcpStream, handler: Arc<H>, tls: Option<TlsAcceptor>) {
    let _ = stream.set_nodelay(true);
    let Ok(twin) = stream.as_fd().try_clone_to_owned() else { return };
    let service = service_fn(|request| respond(request, Arc::clone(&handler), &twin));
    let server = hyper::server::conn::http1::Builder::new();
    // Errors here are the client's hanging up or our own resets.
    match tls {
        None => drop(server.serve_connection(TokioIo::new(stream), service).await),
        Some(tls) => {
            // Whoever does not trust the certificate says so by hanging up.
            if let Ok(stream) = tls.accept(stream).await {
                drop(server.serve_connection(TokioIo::new(stream), service).await);
            }
        }
    }
}

async fn respond<H: Handler>(
    request: Request<Incoming>,
    handler: Arc<H>,
    twin: &OwnedFd,
) -> io::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    match handler.handle(Call { head, body }).await {
        Reply::Answer(response) => Ok(response),
        Reply::Reset => {
            // With no time to linger, closing sends RST instead of FIN (socket(7), SO_LINGER).
            setsockopt(twin, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 })?;
            Err(io::Error::other("reset on purpose"))
        }
    }
}
