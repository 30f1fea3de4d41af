//! An endpoint on the loopback interface, for one command: its cloud's clients ask it whenever they need a credential.
//!
//! Three locks, each refusing by itself: the kernel's word on who is calling, a Host header that only a client with our
//! URL sends, and a random token wherever the cloud's protocol has a place for one; metadata servers have none, and want a
//! header that a browser does not send. What is asked and answered is the matter of [`shapes`](super::shapes).

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedSender;
use zeroize::Zeroizing;

use super::keeper::{Keeper, News, Refusal};
use super::peer::Family;
use super::place::random;
use super::shapes::{Asking, Problem, Reply, Shape, single};
use crate::secret::Cloud;

/// The most that the body of a request has, in bytes.
const BODY: usize = 16 * 1024;

/// Connections that are served at once. Clients make one for each credential.
const AT_ONCE: usize = 64;

/// How many of those who are refused may be told so at once; more are hung up on.
const STRANGERS: usize = 4;

/// For the head of a request, and for all of one connection.
const HEAD: Duration = Duration::from_secs(5);
const WHOLE: Duration = Duration::from_secs(90);

/// How many refused strangers are told of on standard error.
const TOLD: usize = 5;

/// How long to wait after an accept that failed, for want of file descriptors for instance.
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// An endpoint that nobody is served by yet.
pub(super) struct Front {
    listener: TcpListener,
    door: Arc<Door>,
}

/// What a caller has to know. It has no `Debug`: the token is a secret.
struct Door {
    address: SocketAddr,
    token: Zeroizing<String>,
}

impl Front {
    /// Listens on a port that the kernel chooses.
    pub(super) async fn open() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let mut token = Zeroizing::new(String::with_capacity(64));
        for byte in Zeroizing::new(random::<32>()?).iter() {
            token.push_str(&format!("{byte:02x}"));
        }
        let door = Door { address: listener.local_addr()?, token };
        Ok(Self { listener, door: Arc::new(door) })
    }

    /// Where it is to be asked for `path`.
    pub(super) fn uri(&self, path: &str) -> String {
        format!("http://{}{path}", self.door.address)
    }

    /// Host and port.
    pub(super) fn authority(&self) -> String {
        self.door.address.to_string()
    }

    /// What a client has to know, for the protocols that have a place for it.
    pub(super) fn token(&self) -> &str {
        &self.door.token
    }

    /// Serves until it is dropped.
    pub(super) async fn serve(
        self,
        shape: Shape,
        keeper: Arc<Keeper>,
        family: Arc<Family>,
        news: UnboundedSender<News>,
    ) {
        let (places, strangers) = (Arc::new(Semaphore::new(AT_ONCE)), Arc::new(Semaphore::new(STRANGERS)));
        let mut told = 0_usize;
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let (stream, from) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(_) => {
                    tokio::time::sleep(AFTER_ERROR).await;
                    continue;
                }
            };
            let (asked, to) = (Arc::clone(&family), self.door.address);
            let admitted = tokio::task::spawn_blocking(move || asked.admit(from, to));
            let refused = match admitted.await {
                Ok(Ok(())) => None,
                Ok(Err(stranger)) => Some(stranger.to_string()),
                Err(_) => Some("who is calling cannot be found out".to_owned()),
            };
            if let Some(why) = refused.as_ref().filter(|_| told < TOLD) {
                told = told.saturating_add(1);
                let _ = news.send(News::Note(format!("the front refused a connection: {why}")));
            }
            // A stranger takes no place from the command, however many come and say nothing.
            let place = match refused {
                None => place,
                Some(_) => match Arc::clone(&strangers).try_acquire_owned() {
                    Ok(place) => place,
                    Err(_) => continue,
                },
            };
            let (door, keeper) = (Arc::clone(&self.door), Arc::clone(&keeper));
            tokio::spawn(async move {
                // A client that hangs or hangs up harms nobody but itself.
                let _ = tokio::time::timeout(WHOLE, converse(stream, (shape, &door), &keeper, refused)).await;
                drop(place);
            });
        }
    }
}

async fn converse(
    stream: TcpStream,
    (shape, door): (Shape, &Door),
    keeper: &Arc<Keeper>,
    refused: Option<String>,
) -> Result<(), hyper::Error> {
    let service = service_fn(|request: Request<Incoming>| {
        let refused = refused.clone();
        async move {
            let (head, body) = request.into_parts();
            let said = match door.admits(&head, refused) {
                Ok(()) => respond((shape, door), &head, body, keeper).await,
                Err(problem) => Err(problem),
            };
            Ok::<_, Infallible>(answer(shape, said.unwrap_or_else(|problem| shape.refused(head.uri.path(), &problem))))
        }
    });
    // One request for each connection: who is calling was asked of the kernel for this one.
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD).keep_alive(false).max_buf_size(16 * 1024);
    server.serve_connection(TokioIo::new(stream), service).await
}

impl Door {
    /// The locks that are the same for every cloud.
    fn admits(&self, head: &Parts, refused: Option<String>) -> Result<(), Problem> {
        let forbidden = |code, message| Err(Problem { status: StatusCode::FORBIDDEN, code, message });
        if let Some(why) = refused {
            return forbidden("stranger", why);
        }
        // A page in a browser that was led here by a name of its own sends that name.
        if single(head, HOST) != Some(self.address.to_string().as_bytes()) || head.uri.authority().is_some() {
            return forbidden("host", "the Host header is not that of this front".to_owned());
        }
        Ok(())
    }
}

async fn respond(
    (shape, door): (Shape, &Door),
    head: &Parts,
    body: Incoming,
    keeper: &Arc<Keeper>,
) -> Result<Reply, Problem> {
    let body = match Limited::new(body, BODY).collect().await {
        Ok(body) => Zeroizing::new(body.to_bytes().to_vec()),
        Err(_) => {
            let message = format!("a request has {BODY} bytes at most");
            return Err(Problem { status: StatusCode::PAYLOAD_TOO_LARGE, code: "size", message });
        }
    };
    let wanted = shape.asked(&Asking { head, body: &body, token: &door.token })?;
    if let Some(reply) = Shape::here(&wanted) {
        return Ok(reply);
    }
    // In a task of its own: a client that gives up after two seconds finds the credential there at its next try.
    let asked = Arc::clone(keeper);
    match tokio::spawn(async move { asked.credential().await }).await {
        Ok(Ok(current)) => Shape::given(&wanted, &current.secret, keeper.now()),
        Ok(Err(Refusal { retryable, code, message, .. })) => {
            let status = if retryable { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::FORBIDDEN };
            Err(Problem { status, code, message })
        }
        Err(_) => Err(Problem::internal()),
    }
}

fn answer(shape: Shape, mut reply: Reply) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(std::mem::take(&mut *reply.body))));
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(reply.kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if reply.status == StatusCode::SERVICE_UNAVAILABLE {
        // Without it Azure's clients wait twice as long each time, for a quarter of an hour in all.
        headers.insert(RETRY_AFTER, HeaderValue::from_static("2"));
    }
    if shape == Shape(Cloud::Gcp) {
        // By this Google's clients know that it is a metadata server.
        headers.insert("metadata-flavor", HeaderValue::from_static("Google"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door() -> Door {
        Door { address: SocketAddr::from(([127, 0, 0, 1], 4711)), token: Zeroizing::new("t0ken".to_owned()) }
    }

    #[test]
    fn only_the_command_and_only_by_the_fronts_own_name() {
        let host = ("host", "127.0.0.1:4711");
        let status = |target: &str, headers: &[(&str, &str)], refused: Option<&str>| {
            let mut request = Request::builder().uri(target);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let (head, ()) = request.body(()).unwrap().into_parts();
            door().admits(&head, refused.map(str::to_owned)).map_err(|problem| problem.code)
        };
        assert_eq!(status("/credentials", &[host], None), Ok(()));
        assert_eq!(status("/credentials", &[host], Some("user 7 is not the user")), Err("stranger"));
        for (target, headers) in [
            ("/credentials", &[][..]),
            ("/credentials", &[("host", "evil.example:4711")]),
            ("/credentials", &[("host", "127.0.0.1")]),
            ("/credentials", &[("host", "localhost:4711")]),
            ("/credentials", &[host, ("host", "evil.example")]),
            ("http://evil.example/credentials", &[host]),
        ] {
            assert_eq!(status(target, headers, None), Err("host"), "{target} {headers:?}");
        }
    }

    #[test]
    fn what_may_be_had_later_says_when_and_only_googles_shape_says_that_it_is_a_metadata_server() {
        let said = |cloud, status, name: &str| {
            let reply = Reply { status, kind: "text/plain", body: Zeroizing::default() };
            let answer = answer(Shape(cloud), reply);
            assert_eq!(answer.headers()[CACHE_CONTROL], "no-store");
            answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
        };
        let (busy, refused) = (StatusCode::SERVICE_UNAVAILABLE, StatusCode::FORBIDDEN);
        assert_eq!(said(Cloud::Azure, busy, "retry-after").as_deref(), Some("2"));
        assert_eq!(said(Cloud::Azure, refused, "retry-after"), None);
        assert_eq!(said(Cloud::Gcp, refused, "metadata-flavor").as_deref(), Some("Google"));
        assert_eq!(said(Cloud::Aws, refused, "metadata-flavor"), None);
    }

    #[tokio::test]
    async fn the_token_is_256_bits_and_another_each_time() {
        let (one, two) = (Front::open().await.unwrap(), Front::open().await.unwrap());
        assert_eq!(one.token().len(), 64);
        assert_ne!(one.token(), two.token());
        let uri = one.uri("/credentials");
        assert!(uri.starts_with("http://127.0.0.1:") && uri.ends_with("/credentials"), "{uri}");
    }
}
