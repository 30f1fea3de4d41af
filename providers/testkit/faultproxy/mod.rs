//! A reverse proxy between the code under test and its cloud. It delays, breaks and lies by rules that can change while
//! it runs, and records what passes. It forwards the `Host` header as it came, because AWS signatures cover it.

mod admin;
mod history;
mod record;
mod rule;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use grantd_provider_api::{Clock, SystemClock};
use http_body_util::{BodyExt, Full};
use hyper::header::{CONNECTION, EXPECT, HeaderMap, TRANSFER_ENCODING};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

pub use record::{Record, Session};
pub use rule::{Fault, InvalidRule, Rule, RuleId, RuleState};

use crate::query::{XML, error_body};
use crate::serve::{Call, Handler, Reply, Server};
use admin::Admin;
use history::{Answer, History};
use rule::Rules;

/// A running proxy. Dropping it closes its ports and connections.
#[derive(Debug)]
pub struct FaultProxy {
    proxy: Arc<Proxy>,
    server: Server,
    admin: Server,
}

impl FaultProxy {
    /// Starts between a free port of loopback and `upstream`.
    ///
    /// # Errors
    /// A port could not be opened.
    pub fn start(upstream: SocketAddr) -> io::Result<Self> {
        Self::start_on(upstream, (Ipv4Addr::LOCALHOST, 0).into(), (Ipv4Addr::LOCALHOST, 0).into())
    }

    /// Starts on the given addresses.
    ///
    /// # Errors
    /// A port could not be opened.
    pub fn start_on(upstream: SocketAddr, address: SocketAddr, admin: SocketAddr) -> io::Result<Self> {
        let proxy = Arc::new(Proxy::new(upstream));
        let server = Server::start("faultproxy", address, Arc::clone(&proxy))?;
        let admin = Server::start("faultproxy-admin", admin, Arc::new(Admin::new(Arc::clone(&proxy))))?;
        Ok(Self { proxy, server, admin })
    }

    /// Where clients of the cloud connect.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// Where programs that are not Rust see and set what this handle does; `admin.rs` has the paths.
    #[must_use]
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin.address())
    }

    /// Adds a rule behind those that are there.
    ///
    /// # Errors
    /// The rule makes no sense.
    pub fn add(&self, rule: Rule) -> Result<RuleId, InvalidRule> {
        self.proxy.rules().add(rule)
    }

    /// Removes one rule.
    pub fn remove(&self, id: RuleId) {
        self.proxy.rules().remove(id);
    }

    /// Removes all rules. What they have already delayed stays delayed.
    pub fn clear(&self) {
        self.proxy.rules().clear();
    }

    /// Makes the choices of `probability` repeatable from here on, and removes all rules.
    pub fn seed(&self, seed: u64) {
        *self.proxy.rules() = Rules::new(seed);
    }

    /// The rules and what they have done.
    #[must_use]
    pub fn rules(&self) -> Vec<RuleState> {
        self.proxy.rules().states()
    }

    /// How often a rule has fired; 0 if it was removed.
    #[must_use]
    pub fn fired(&self, id: RuleId) -> u32 {
        self.rules().iter().find(|state| state.id == id).map_or(0, |state| state.fired)
    }

    /// Every request so far, in order of arrival.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.proxy.journal().records.clone()
    }

    /// Every session that the cloud issued, whether or not the client heard of it.
    #[must_use]
    pub fn ledger(&self) -> Vec<Arc<Session>> {
        self.proxy.journal().ledger.clone()
    }
}

#[derive(Debug, Default)]
struct Journal {
    records: Vec<Record>,
    ledger: Vec<Arc<Session>>,
}

#[derive(Debug)]
struct Proxy {
    upstream: SocketAddr,
    clock: SystemClock,
    rules: Mutex<Rules>,
    journal: Mutex<Journal>,
    history: Mutex<History>,
    /// Held while a delayed write is forwarded: writes that become due together keep their order.
    effects: tokio::sync::Mutex<()>,
}

impl Handler for Proxy {
    async fn handle(self: Arc<Self>, call: Call) -> Reply {
        let action = record::action_of(&call);
        let fault = self.rules().pick(&action);
        let record = Record::of(&call, action, fault.clone(), self.clock.now());
        let seat = self.arrived(record.clone());
        let reply = self.apply(fault, call, &record, seat).await;
        if let Reply::Answer(response) = &reply {
            self.amend(seat, |record| record.status = Some(response.status().as_u16()));
        }
        reply
    }
}

impl Proxy {
    fn new(upstream: SocketAddr) -> Self {
        Self {
            upstream,
            clock: SystemClock::new(),
            rules: Mutex::new(Rules::new(1)),
            journal: Mutex::default(),
            history: Mutex::default(),
            effects: tokio::sync::Mutex::new(()),
        }
    }

    async fn apply(self: &Arc<Self>, fault: Option<Fault>, call: Call, record: &Record, seat: usize) -> Reply {
        match fault {
            None => self.forward(call, seat, Duration::ZERO).await,
            Some(Fault::DelayBefore { millis }) => self.forward(call, seat, Duration::from_millis(millis)).await,
            Some(Fault::DelayAfter { millis }) => {
                let reply = self.forward(call, seat, Duration::ZERO).await;
                tokio::time::sleep(Duration::from_millis(millis)).await;
                reply
            }
            Some(Fault::DropAfter) => {
                self.forward(call, seat, Duration::ZERO).await;
                Reply::Reset
            }
            Some(Fault::Reset) => Reply::Reset,
            Some(Fault::Stall) => std::future::pending().await,
            Some(Fault::Garbage) => Reply::of(StatusCode::OK, XML, &b"\xff\xfe<html>this is no answer"[..]),
            Some(Fault::Status { status, code }) => {
                let code = code.unwrap_or_else(|| Fault::usual_code(status).to_owned());
                let body = error_body(&record.action, status, &code, "refused by the fault proxy");
                Reply::of(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY), XML, body)
            }
            Some(Fault::DelayedEffect { millis }) => {
                let (status, body) = self.history().promise(record, self.clock.now());
                let proxy = Arc::clone(self);
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(millis)).await;
                    let _turn = proxy.effects.lock().await;
                    proxy.forward(call, seat, Duration::ZERO).await;
                });
                Reply::of(status, XML, body)
            }
            Some(Fault::StaleRead { millis }) => {
                let past = self.history().answer_from(record, Duration::from_millis(millis), self.clock.now());
                // Asked all the same: today's answer is the stale one of tomorrow.
                let fresh = self.forward(call, seat, Duration::ZERO).await;
                past.map_or(fresh, |(status, body)| Reply::of(status, XML, body))
            }
        }
    }

    /// Asks the cloud, `delay` from now, whether or not the client stays to hear the answer.
    async fn forward(self: &Arc<Self>, call: Call, seat: usize, delay: Duration) -> Reply {
        let proxy = Arc::clone(self);
        let asked = tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let (head, body) = proxy.ask(call).await?;
            proxy.answered(seat, &(head.status, body.clone()));
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Response::from_parts(head, Full::new(body)))
        });
        match asked.await.map_err(Into::into).and_then(|result| result) {
            Ok(response) => Reply::Answer(response),
            Err(error) => Reply::of(StatusCode::BAD_GATEWAY, "text/plain", format!("upstream: {error}")),
        }
    }

    async fn ask(
        &self,
        call: Call,
    ) -> Result<(hyper::http::response::Parts, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(self.upstream).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut head = call.head;
        strip_hop_by_hop(&mut head.headers);
        let mut request = Request::new(Full::new(call.body));
        *request.method_mut() = head.method;
        *request.uri_mut() = head.uri;
        *request.headers_mut() = head.headers;
        let (mut head, body) = sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        strip_hop_by_hop(&mut head.headers);
        Ok((head, body))
    }

    fn arrived(&self, record: Record) -> usize {
        let mut journal = self.journal();
        journal.records.push(record);
        journal.records.len() - 1
    }

    fn amend(&self, seat: usize, change: impl FnOnce(&mut Record)) {
        if let Some(record) = self.journal().records.get_mut(seat) {
            change(record);
        }
    }

    fn answered(&self, seat: usize, answer: &Answer) {
        let now = self.clock.now();
        let mut journal = self.journal();
        let Some(record) = journal.records.get_mut(seat) else { return };
        record.upstream_status = Some(answer.0.as_u16());
        self.history().note(record, answer, now);
        if answer.0.is_success() && record.action.starts_with("AssumeRole") {
            let session = Session::of(&record.parameters, &String::from_utf8_lossy(&answer.1), now);
            journal.ledger.extend(session);
        }
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes what is for one connection only (RFC 9110 §7.6.1); the bodies that this proxy forwards are whole.
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    for name in [CONNECTION, TRANSFER_ENCODING, EXPECT] {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests;
