//! The client: routes and types over the daemon's Unix socket. One connection for each call; no state, no retry.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Method, Request, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use grantd_wire::{HoldEvent, LeaseView, NDJSON, Problem, ProblemKind, Vend, Vended};

use crate::transport::{connect, exchange};

/// Where the daemon's socket is, if nobody says.
pub const USUAL_SOCKET: &str = "/run/grantd/grantd.sock";

/// The largest answer that is read, in bytes.
pub const MAX_BODY: usize = 16 * 1024 * 1024;

/// The characters of a query that stay as they are (RFC 3986, unreserved).
const UNRESERVED: &[u8] = b"-._~";

/// Speaks to one daemon.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    timeout: Duration,
    owner: Option<u32>,
}

/// What the daemon answered, as a value and as it came. The bytes may hold a credential: `Debug` does not show them.
pub struct Answer<T> {
    /// The value.
    pub value: T,
    /// The bytes, wiped when dropped.
    pub raw: Zeroizing<Vec<u8>>,
}

impl<T> fmt::Debug for Answer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("bytes", &self.raw.len()).finish_non_exhaustive()
    }
}

/// Why there is no answer. Never repeats what the daemon sent, other than the text of a problem: it may be a secret.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each says what it is")]
pub enum ClientError {
    #[error(
        "there is no socket at {path}: is grantd running? (systemctl status grantd.socket; --socket or GRANTD_SOCKET \
         name another path)",
        path = path.display()
    )]
    NoSocket { path: PathBuf },
    #[error(
        "not allowed to open {path}: is your user in the socket's group? (compare ls -l {path} with id)",
        path = path.display()
    )]
    NotAllowed { path: PathBuf },
    #[error("nobody listens at {path}: grantd is not running (systemctl status grantd)", path = path.display())]
    NobodyListens { path: PathBuf },
    #[error("cannot connect to {path}: {source}", path = path.display())]
    Connect { path: PathBuf, source: io::Error },
    #[error(
        "{path} was opened by user {found}, not by user {expected}: nothing was sent (--expect-owner, GRANTD_OWNER)",
        path = path.display()
    )]
    WrongOwner { path: PathBuf, expected: u32, found: u32 },
    #[error(
        "grantd did not answer at {path} within {}s: what was asked may still happen (--timeout waits longer)",
        limit.as_secs_f64(),
        path = path.display()
    )]
    TimedOut { path: PathBuf, limit: Duration },
    #[error(
        "grantd closed the connection at {path} before it had answered: what was asked may have happened (systemctl \
         status grantd)",
        path = path.display()
    )]
    Closed { path: PathBuf },
    #[error(
        "what answers at {path} is not understood ({what}): is it grantd, and no older or newer than grantctl {}?",
        env!("CARGO_PKG_VERSION"),
        path = path.display()
    )]
    NotUnderstood { path: PathBuf, what: String },
    #[error("the answer is larger than {MAX_BODY} bytes: ask for less (--limit)")]
    TooLarge,
    #[error("grantd answered with HTTP status {status} and did not say why")]
    Unexplained { status: u16 },
    #[error("{}", .0.detail)]
    Problem(Box<Problem>),
}

impl ClientError {
    /// Whether the daemon was not there or went away, as at a restart.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::NoSocket { .. } | Self::NobodyListens { .. } | Self::Closed { .. })
    }

    /// Whether the daemon is about to go away.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        matches!(self, Self::Problem(problem) if problem.kind() == Some(ProblemKind::Stopping))
    }
}

impl Client {
    /// A client of the daemon at `socket` that waits for at most `timeout` for each answer.
    #[must_use]
    pub fn new(socket: PathBuf, timeout: Duration) -> Self {
        Self { socket, timeout, owner: None }
    }

    /// How long each answer is waited for.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The global options that lead to the same daemon, where they are not the usual ones.
    #[must_use]
    pub fn chosen(&self) -> Vec<std::ffi::OsString> {
        let mut words = Vec::new();
        if self.socket != Path::new(USUAL_SOCKET) {
            words.extend(["--socket".into(), self.socket.clone().into_os_string()]);
        }
        if let Some(owner) = self.owner {
            words.extend(["--expect-owner".into(), owner.to_string().into()]);
        }
        words
    }

    /// Speaks only through a socket on which `owner` began to listen (`SO_PEERCRED`, unix(7)).
    #[must_use]
    pub fn expect_owner(self, owner: Option<u32>) -> Self {
        Self { owner, ..self }
    }

    /// `GET path?query`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get<Q: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        query: &Q,
    ) -> Result<Answer<T>, ClientError> {
        let target = with_query(path, query).map_err(|error| self.not_understood(&error))?;
        self.in_time(async { self.parsed(self.body(self.send(Method::GET, &target, None).await?).await?) }).await
    }

    /// `POST path` with `body`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<Answer<T>, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.not_understood(&error))?;
        self.in_time(async { self.parsed(self.body(self.send(Method::POST, path, Some(body)).await?).await?) }).await
    }

    /// `GET path?query`, for an answer that is text.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn text<Q: Serialize>(&self, path: &str, query: &Q) -> Result<Zeroizing<Vec<u8>>, ClientError> {
        let target = with_query(path, query).map_err(|error| self.not_understood(&error))?;
        self.in_time(async { self.body(self.send(Method::GET, &target, None).await?).await }).await
    }

    /// `GET path?query`, for an answer that comes line by line. Only its beginning has a time limit.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get_lines<Q: Serialize>(&self, path: &str, query: &Q) -> Result<Lines, ClientError> {
        let target = with_query(path, query).map_err(|error| self.not_understood(&error))?;
        self.lines(Method::GET, &target, None).await
    }

    /// `POST path` with `body`, for an answer that comes line by line.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn post_lines<B: Serialize>(&self, path: &str, body: &B) -> Result<Lines, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.not_understood(&error))?;
        self.lines(Method::POST, path, Some(body)).await
    }

    async fn lines(&self, method: Method, target: &str, body: Option<Vec<u8>>) -> Result<Lines, ClientError> {
        self.in_time(async {
            let response = self.accepted(self.send(method, target, body).await?).await?;
            let unread = Zeroizing::new(Vec::new());
            Ok(Lines(Held { body: response.into_body(), unread, client: self.clone() }))
        })
        .await
    }

    /// `DELETE path`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn delete(&self, path: &str) -> Result<(), ClientError> {
        self.in_time(async { self.body(self.send(Method::DELETE, path, None).await?).await.map(drop) }).await
    }

    /// `POST /v1/leases` for a lease that lives as long as the connection that comes back.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn hold(&self, vend: &Vend) -> Result<(Answer<Vended>, Held), ClientError> {
        let body = serde_json::to_vec(vend).map_err(|error| self.not_understood(&error))?;
        self.held("/v1/leases", Some(body)).await
    }

    /// `POST /v1/leases/{id}/hold`: takes a lease up again whose connection was lost with the daemon.
    ///
    /// # Errors
    /// See [`ClientError`]; a problem when the lease has ended meanwhile.
    pub async fn hold_again(&self, lease: &str) -> Result<Held, ClientError> {
        let (_, held) = self.held::<LeaseView>(&format!("/v1/leases/{lease}/hold"), None).await?;
        Ok(held)
    }

    async fn held<T: DeserializeOwned>(
        &self,
        target: &str,
        body: Option<Vec<u8>>,
    ) -> Result<(Answer<T>, Held), ClientError> {
        self.in_time(async {
            let response = self.accepted(self.send(Method::POST, target, body).await?).await?;
            let held = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            if !held.is_some_and(|value| value.starts_with(NDJSON)) {
                return Err(self.garbage("it does not hold the lease"));
            }
            let mut held =
                Held { body: response.into_body(), unread: Zeroizing::new(Vec::new()), client: self.clone() };
            let first = held.line().await?.ok_or_else(|| ClientError::Closed { path: self.socket.clone() })?;
            Ok((self.parsed(first)?, held))
        })
        .await
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
        tokio::time::timeout(self.timeout, work)
            .await
            .unwrap_or_else(|_| Err(ClientError::TimedOut { path: self.socket.clone(), limit: self.timeout }))
    }

    async fn send(
        &self,
        method: Method,
        target: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream = connect(&self.socket).await.map_err(|error| refused(&self.socket, error))?;
        if let Some(expected) = self.owner {
            let found = stream.peer_cred().map_err(|error| refused(&self.socket, error))?.uid();
            if found != expected {
                return Err(ClientError::WrongOwner { path: self.socket.clone(), expected, found });
            }
        }
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, "grantd")
            .header(USER_AGENT, concat!("grantctl/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, "application/json, application/problem+json, application/x-ndjson");
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = Full::new(Bytes::from(body.unwrap_or_default()));
        let request = request.body(body).map_err(|error| self.garbage(&error.to_string()))?;
        exchange(stream, request).await.map_err(|error| self.broken(&error))
    }

    /// The response if it is a success, else the problem that it tells of.
    async fn accepted(&self, response: Response<Incoming>) -> Result<Response<Incoming>, ClientError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = self.read(response.into_body()).await?;
        Err(match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => ClientError::Problem(Box::new(problem)),
            Err(_) => ClientError::Unexplained { status: status.as_u16() },
        })
    }

    async fn body(&self, response: Response<Incoming>) -> Result<Zeroizing<Vec<u8>>, ClientError> {
        self.read(self.accepted(response).await?.into_body()).await
    }

    async fn read(&self, mut body: Incoming) -> Result<Zeroizing<Vec<u8>>, ClientError> {
        let mut all = Zeroizing::new(Vec::new());
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|error| self.broken(&error))?.into_data() else { continue };
            if all.len().saturating_add(data.len()) > MAX_BODY {
                return Err(ClientError::TooLarge);
            }
            all.extend_from_slice(&data);
        }
        Ok(all)
    }

    fn parsed<T: DeserializeOwned>(&self, raw: Zeroizing<Vec<u8>>) -> Result<Answer<T>, ClientError> {
        let value = serde_json::from_slice(&raw).map_err(|error| self.not_understood(&error))?;
        Ok(Answer { value, raw })
    }

    /// Says where the JSON is wrong, not what stands there: serde's own message quotes it, and it may be a secret.
    fn not_understood(&self, error: &serde_json::Error) -> ClientError {
        let kind = match error.classify() {
            serde_json::error::Category::Io | serde_json::error::Category::Syntax => "not JSON",
            serde_json::error::Category::Data => "not the JSON that was expected",
            serde_json::error::Category::Eof => "cut off",
        };
        self.garbage(&format!("{kind} at line {}, column {}", error.line(), error.column()))
    }

    pub(crate) fn garbage(&self, what: &str) -> ClientError {
        ClientError::NotUnderstood { path: self.socket.clone(), what: what.to_owned() }
    }

    fn broken(&self, error: &hyper::Error) -> ClientError {
        if error.is_parse() || error.is_parse_status() || error.is_parse_too_large() {
            self.garbage("not HTTP")
        } else {
            ClientError::Closed { path: self.socket.clone() }
        }
    }
}

/// An answer that comes line by line, each a JSON document.
#[derive(Debug)]
pub struct Lines(Held);

impl Lines {
    /// The next document as a value and as it came; nothing when there are no more.
    ///
    /// # Errors
    /// When the connection breaks, or a line is not understood.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<Answer<T>>, ClientError> {
        match self.0.line().await? {
            Some(line) => self.0.client.parsed(line).map(Some),
            None => Ok(None),
        }
    }

    /// The error for an answer that ends before it is over.
    #[must_use]
    pub fn cut_off(&self) -> ClientError {
        ClientError::Closed { path: self.0.client.socket.clone() }
    }
}

/// A connection that keeps a lease alive: dropping it ends the lease.
pub struct Held {
    body: Incoming,
    unread: Zeroizing<Vec<u8>>,
    client: Client,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("client", &self.client).finish_non_exhaustive()
    }
}

impl Held {
    /// Waits, without a time limit, until the daemon says that the lease ended, and gives the reason.
    ///
    /// # Errors
    /// When the connection breaks before that. What the lease is then, the daemon decides.
    pub async fn ended(&mut self) -> Result<String, ClientError> {
        while let Some(line) = self.line().await? {
            // Events of a later daemon, and empty lines that keep the connection alive, are passed over.
            if let Ok(HoldEvent::Ended { reason }) = serde_json::from_slice(&line) {
                return Ok(reason);
            }
        }
        Err(ClientError::Closed { path: self.client.socket.clone() })
    }

    async fn line(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, ClientError> {
        loop {
            if let Some(end) = self.unread.iter().position(|&byte| byte == b'\n') {
                let rest = self.unread.split_off(end.saturating_add(1));
                let mut line = std::mem::replace(&mut self.unread, Zeroizing::new(rest));
                line.truncate(end);
                return Ok(Some(line));
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let Ok(data) = frame.map_err(|error| self.client.broken(&error))?.into_data() else { continue };
            if self.unread.len().saturating_add(data.len()) > MAX_BODY {
                return Err(ClientError::TooLarge);
            }
            self.unread.extend_from_slice(&data);
        }
    }
}

fn refused(path: &Path, source: io::Error) -> ClientError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ClientError::NoSocket { path },
        io::ErrorKind::PermissionDenied => ClientError::NotAllowed { path },
        io::ErrorKind::ConnectionRefused => ClientError::NobodyListens { path },
        _ => ClientError::Connect { path, source },
    }
}

/// `path` with the members of `query` that are set: those that are `null` or `false` are left out.
fn with_query<Q: Serialize>(path: &str, query: &Q) -> Result<String, serde_json::Error> {
    let mut target = path.to_owned();
    let members = match serde_json::to_value(query)? {
        // In the order of their names, whatever order JSON objects keep in this build.
        serde_json::Value::Object(members) => members.into_iter().collect::<BTreeMap<_, _>>(),
        _ => return Ok(target),
    };
    for (name, value) in members {
        let text = match value {
            serde_json::Value::Null | serde_json::Value::Bool(false) => continue,
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        target.push(if target.contains('?') { '&' } else { '?' });
        target.push_str(&name);
        target.push('=');
        for byte in text.bytes() {
            if byte.is_ascii_alphanumeric() || UNRESERVED.contains(&byte) {
                target.push(char::from(byte));
            } else {
                target.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    Ok(target)
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
