//! The container-credentials endpoint on the loopback interface, for one command: AWS clients ask it at every use
//! (AWS SDKs and Tools Reference Guide, "Container credential provider").
//!
//! Three locks, each refusing by itself: the kernel's word on who is calling, a Host header that only a client with our
//! URL sends, and a random token. Errors have the shape that the clients show: `{"code","message"}`.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use subtle::ConstantTimeEq;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedSender;
use zeroize::Zeroizing;

use super::keeper::{Keeper, News, Refusal};
use super::peer::Family;
use super::place::random;

/// The one thing there is.
const PATH: &str = "/credentials";

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

    /// For `AWS_CONTAINER_CREDENTIALS_FULL_URI`.
    pub(super) fn uri(&self) -> String {
        format!("http://{}{PATH}", self.door.address)
    }

    /// For `AWS_CONTAINER_AUTHORIZATION_TOKEN`: sent as it is, without `Bearer`.
    pub(super) fn token(&self) -> &str {
        &self.door.token
    }

    /// Serves until it is dropped.
    pub(super) async fn serve(self, keeper: Arc<Keeper>, family: Arc<Family>, news: UnboundedSender<News>) {
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
                let _ = tokio::time::timeout(WHOLE, converse(stream, &door, &keeper, refused)).await;
                drop(place);
            });
        }
    }
}

async fn converse(
    stream: TcpStream,
    door: &Door,
    keeper: &Arc<Keeper>,
    refused: Option<String>,
) -> Result<(), hyper::Error> {
    let service = service_fn(|request: Request<Incoming>| {
        let refused = refused.clone();
        async move {
            Ok::<_, Infallible>(match door.opens(&request, refused) {
                Ok(()) => credential(keeper).await,
                Err((status, code, message)) => problem(status, code, &message),
            })
        }
    });
    // One request for each connection: who is calling was asked of the kernel for this one.
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD).keep_alive(false).max_buf_size(16 * 1024);
    server.serve_connection(TokioIo::new(stream), service).await
}

impl Door {
    fn opens<B>(
        &self,
        request: &Request<B>,
        refused: Option<String>,
    ) -> Result<(), (StatusCode, &'static str, String)> {
        let header = |name| {
            let mut values = request.headers().get_all(name).iter();
            values.next().filter(|_| values.next().is_none()).map(|value| value.as_bytes())
        };
        if let Some(why) = refused {
            return Err((StatusCode::FORBIDDEN, "stranger", why));
        }
        // A page in a browser that was led here by a name of its own sends that name.
        if header(HOST) != Some(self.address.to_string().as_bytes()) || request.uri().authority().is_some() {
            return Err((StatusCode::FORBIDDEN, "host", "the Host header is not that of this front".to_owned()));
        }
        let token = header(AUTHORIZATION).unwrap_or_default();
        if !bool::from(token.ct_eq(self.token.as_bytes())) {
            let message = "the Authorization header is not the content of AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
            return Err((StatusCode::UNAUTHORIZED, "token", message.to_owned()));
        }
        if request.uri().path() != PATH {
            return Err((StatusCode::NOT_FOUND, "path", format!("there is only {PATH} here")));
        }
        if request.method() != Method::GET {
            return Err((StatusCode::METHOD_NOT_ALLOWED, "method", "only GET is answered".to_owned()));
        }
        Ok(())
    }
}

async fn credential(keeper: &Arc<Keeper>) -> Response<Full<Bytes>> {
    // In a task of its own: a client that gives up after two seconds finds the credential there at its next try.
    let asked = Arc::clone(keeper);
    let asked = tokio::spawn(async move { asked.credential().await }).await;
    let failed = || problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "grantctl could not make its answer");
    match asked {
        Ok(Ok(current)) => {
            match current.secret.aws().map_err(drop).and_then(|aws| aws.container_json().map_err(drop)) {
                Ok(mut body) => answer(StatusCode::OK, std::mem::take(&mut *body)),
                Err(_) => failed(),
            }
        }
        Ok(Err(Refusal { retryable, code, message, .. })) => {
            let status = if retryable { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::FORBIDDEN };
            problem(status, code, &message)
        }
        Err(_) => failed(),
    }
}

fn problem(status: StatusCode, code: &str, message: &str) -> Response<Full<Bytes>> {
    answer(status, json!({ "code": code, "message": message }).to_string().into_bytes())
}

fn answer(status: StatusCode, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, hyper::header::HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door() -> Door {
        Door { address: SocketAddr::from(([127, 0, 0, 1], 4711)), token: Zeroizing::new("t0ken".to_owned()) }
    }

    fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn only_the_whole_key_opens() {
        let (host, token) = (("host", "127.0.0.1:4711"), ("authorization", "t0ken"));
        let status = |request: &Request<()>, refused: Option<&str>| {
            door().opens(request, refused.map(str::to_owned)).map_err(|(status, ..)| status.as_u16())
        };
        let good = request("GET", "/credentials", &[host, token]);
        assert_eq!(status(&good, None), Ok(()));
        assert_eq!(status(&good, Some("user 7 is not the user of this front")), Err(403));
        for (expected, method, target, headers) in [
            (403, "GET", "/credentials", &[token][..]),
            (403, "GET", "/credentials", &[("host", "evil.example:4711"), token]),
            (403, "GET", "/credentials", &[("host", "127.0.0.1"), token]),
            (403, "GET", "/credentials", &[host, ("host", "evil.example"), token]),
            (403, "GET", "http://evil.example/credentials", &[host, token]),
            (401, "GET", "/credentials", &[host]),
            (401, "GET", "/credentials", &[host, ("authorization", "Bearer t0ken")]),
            (401, "GET", "/credentials", &[host, ("authorization", "t0kem")]),
            (401, "GET", "/credentials", &[host, ("authorization", "t0ken2")]),
            (401, "GET", "/credentials", &[host, token, ("authorization", "t0ken")]),
            (404, "GET", "/", &[host, token]),
            (405, "POST", "/credentials", &[host, token]),
        ] {
            assert_eq!(status(&request(method, target, headers), None), Err(expected), "{method} {target} {headers:?}");
        }
    }

    #[tokio::test]
    async fn the_token_is_256_bits_and_another_each_time() {
        let (one, two) = (Front::open().await.unwrap(), Front::open().await.unwrap());
        assert_eq!(one.token().len(), 64);
        assert_ne!(one.token(), two.token());
        assert!(one.uri().starts_with("http://127.0.0.1:") && one.uri().ends_with("/credentials"), "{}", one.uri());
    }
}
