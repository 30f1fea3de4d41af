//! A fake of what a daemon looks facts up in: Jira Cloud, ServiceNow, GitHub, PagerDuty, Opsgenie, and a server of
//! calendars, all on one port of loopback and in memory. Each answers in the shape that its vendor documents and refuses
//! what the vendor refuses: who does not prove who asks, and what is not there.

mod rota;
#[cfg(test)]
mod tests;
mod tickets;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue, LOCATION};

pub use tickets::DeskTicket;

use crate::query::parse_form;
use crate::serve::{Call, Handler, Reply, Server};
use crate::tls::TestAuthority;

/// What Jira and ServiceNow take as basic credentials: `grantd@example.com:desk-secret`.
pub const DESK_BASIC: &str = "Basic Z3JhbnRkQGV4YW1wbGUuY29tOmRlc2stc2VjcmV0";
/// What GitHub takes, and the server of calendars.
pub const DESK_BEARER: &str = "Bearer github_pat_11DESK";
/// What PagerDuty takes.
pub const DESK_PAGERDUTY: &str = "Token token=y_NbAkKc66ryYTWUXYEu";
/// What Opsgenie takes.
pub const DESK_OPSGENIE: &str = "GenieKey eb243592-faa2-4ba2-a551-1afdf565c889";

/// What becomes of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeskFault {
    /// There is none, and the connection stays open.
    Silent,
    /// A page to log in, as a proxy in front of it has.
    LoginPage,
    /// The same, said to be JSON.
    LoginPageAsJson,
    /// This status without a body.
    Status(u16),
    /// The right answer, with two megabytes of blanks after it.
    Huge,
    /// Status 302 to this address.
    Redirect(String),
    /// The connection is reset.
    Reset,
}

#[derive(Debug, Default)]
struct State {
    jira: BTreeMap<String, DeskTicket>,
    servicenow: BTreeMap<String, DeskTicket>,
    github: BTreeMap<String, DeskTicket>,
    /// By PagerDuty's schedule, the ids of its users.
    pagerduty: BTreeMap<String, Vec<String>>,
    /// By Opsgenie's schedule, the names of its users.
    opsgenie: BTreeMap<String, Vec<String>>,
    /// By a schedule of either.
    overrides: BTreeMap<String, Vec<rota::Override>>,
    calendars: BTreeMap<String, String>,
    faults: BTreeMap<String, DeskFault>,
    asked: Vec<String>,
}

#[derive(Debug)]
struct Desk {
    state: Mutex<State>,
    scheme: &'static str,
}

/// A running fake. Dropping it closes its port and every connection.
#[derive(Debug)]
pub struct FakeDesk {
    desk: Arc<Desk>,
    server: Server,
    authority: Option<TestAuthority>,
}

const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

impl FakeDesk {
    /// Starts on a free port of loopback.
    ///
    /// # Errors
    /// The port could not be opened.
    pub fn start() -> io::Result<Self> {
        let desk = Desk::empty("http");
        let server = Server::start("fakedesk", ANY_PORT, Arc::clone(&desk))?;
        Ok(Self { desk, server, authority: None })
    }

    /// The same with TLS, which some of the vendors' clients insist on.
    ///
    /// # Errors
    /// The port could not be opened.
    pub fn start_tls() -> io::Result<Self> {
        let (desk, authority) = (Desk::empty("https"), TestAuthority::new()?);
        let server = Server::start_tls("fakedesk", ANY_PORT, Arc::clone(&desk), authority.server_config()?)?;
        Ok(Self { desk, server, authority: Some(authority) })
    }

    /// The certificate of whoever its own is from, where it has one.
    #[must_use]
    pub fn authority_pem(&self) -> Option<&str> {
        self.authority.as_ref().map(TestAuthority::pem)
    }

    /// Where it is: every vendor's own paths begin here.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", self.desk.scheme, self.server.address())
    }

    /// Puts an issue into Jira, such as `OPS-17`.
    pub fn jira(&self, key: &str, ticket: DeskTicket) {
        self.state().jira.insert(key.to_ascii_uppercase(), ticket);
    }

    /// Puts a change request into ServiceNow, such as `CHG0030192`.
    pub fn servicenow(&self, number: &str, ticket: DeskTicket) {
        self.state().servicenow.insert(number.to_owned(), ticket);
    }

    /// Puts an issue into GitHub, such as `acme/ops#1347`.
    pub fn github(&self, issue: &str, ticket: DeskTicket) {
        self.state().github.insert(issue.to_owned(), ticket);
    }

    /// Who is on call in a schedule of PagerDuty, by their ids.
    pub fn pagerduty(&self, schedule: &str, users: &[&str]) {
        self.state().pagerduty.insert(schedule.to_owned(), users.iter().map(|&user| user.to_owned()).collect());
    }

    /// Who is on call in a schedule of Opsgenie, by their addresses.
    pub fn opsgenie(&self, schedule: &str, users: &[&str]) {
        self.state().opsgenie.insert(schedule.to_owned(), users.iter().map(|&user| user.to_owned()).collect());
    }

    /// Overrides of a schedule, in place of those that it had: who, and from and until how many seconds from now. While one
    /// is in force, whoever it names is on call in place of the rota's people.
    pub fn overrides(&self, schedule: &str, overrides: &[(&str, i64, i64)]) {
        let overrides =
            overrides.iter().map(|(user, begins, ends)| rota::Override::new(user, *begins, *ends)).collect();
        self.state().overrides.insert(schedule.to_owned(), overrides);
    }

    /// What is served at `/calendars/NAME.ics`.
    pub fn calendar(&self, name: &str, text: &str) {
        self.state().calendars.insert(name.to_owned(), text.to_owned());
    }

    /// Breaks every answer to a path that begins with `path`, from now on; mends it with nothing.
    pub fn breaks(&self, path: &str, fault: Option<DeskFault>) {
        let mut state = self.state();
        match fault {
            Some(fault) => state.faults.insert(path.to_owned(), fault),
            None => state.faults.remove(path),
        };
    }

    /// The paths with their queries that were asked, in their order.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.state().asked.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.desk.state()
    }
}

/// One question.
struct Question<'a> {
    call: &'a Call,
    scheme: &'static str,
    /// The path's segments, decoded.
    path: Vec<String>,
    query: BTreeMap<String, String>,
}

impl Question<'_> {
    fn header(&self, name: &str) -> &str {
        self.call.head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Where whoever asks has found it.
    fn base(&self) -> String {
        format!("{}://{}", self.scheme, self.header("host"))
    }

    fn proof(&self) -> &str {
        self.header("authorization")
    }

    fn member(&self, name: &str) -> &str {
        self.query.get(name).map(String::as_str).unwrap_or_default()
    }
}

impl Desk {
    fn empty(scheme: &'static str) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), scheme })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, call: &Call) -> Reply {
        let uri = &call.head.uri;
        // A segment is decoded by itself: what was encoded in it is no border of it.
        let decoded = |segment: &str| parse_form(segment.replace('+', "%2B").as_bytes()).into_keys().next();
        let path = uri.path().split('/').skip(1).map(|segment| decoded(segment).unwrap_or_default()).collect();
        let query = parse_form(uri.query().unwrap_or_default().as_bytes());
        let question = Question { call, scheme: self.scheme, path, query };
        let state = self.state();
        let path: Vec<&str> = question.path.iter().map(String::as_str).collect();
        match path.as_slice() {
            ["rest", "api", "3", "issue", key] => tickets::jira(&state.jira, &question, key),
            ["api", "now", "table", table] => tickets::servicenow(&state.servicenow, &question, table),
            ["repos", owner, name, "issues", number] => {
                tickets::github(&state.github, &question, &format!("{owner}/{name}#{number}"), number, false)
            }
            ["repos", owner, name, "issues", number, "events"] => {
                tickets::github(&state.github, &question, &format!("{owner}/{name}#{number}"), number, true)
            }
            ["oncalls"] => rota::pagerduty(&state.pagerduty, &state.overrides, &question),
            ["schedules", schedule, "overrides"] => {
                let overrides = state.overrides.get(*schedule).map(Vec::as_slice).unwrap_or_default();
                rota::pagerduty_overrides(state.pagerduty.contains_key(*schedule), overrides, &question)
            }
            ["v2", "schedules", schedule, what @ ("on-calls" | "overrides")] => {
                let overrides = state.overrides.get(*schedule).map(Vec::as_slice).unwrap_or_default();
                rota::opsgenie(&state.opsgenie, overrides, &question, schedule, what)
            }
            ["calendars", file] => {
                let text = file.strip_suffix(".ics").and_then(|name| state.calendars.get(name));
                match text {
                    _ if question.proof() != DESK_BEARER => Reply::of(StatusCode::UNAUTHORIZED, "text/plain", "who?"),
                    Some(text) => Reply::of(StatusCode::OK, "text/calendar; charset=utf-8", text.clone()),
                    None => Reply::of(StatusCode::NOT_FOUND, "text/plain", "no such calendar"),
                }
            }
            _ => Reply::of(StatusCode::NOT_FOUND, "text/html", "<html><body>Not found</body></html>"),
        }
    }
}

impl Handler for Desk {
    async fn handle(self: Arc<Self>, call: Call) -> Reply {
        let path = call.head.uri.path_and_query().map(|path| path.as_str().to_owned()).unwrap_or_default();
        let fault = {
            let mut state = self.state();
            state.asked.push(path.clone());
            state.faults.iter().find(|(broken, _)| path.starts_with(broken.as_str())).map(|(_, fault)| fault.clone())
        };
        const PAGE: &str = "<html><head><title>Log in</title></head><body>Please log in</body></html>";
        match fault {
            None => self.answer(&call),
            Some(DeskFault::Silent) => std::future::pending().await,
            Some(DeskFault::LoginPage) => Reply::of(StatusCode::OK, "text/html; charset=utf-8", PAGE),
            Some(DeskFault::LoginPageAsJson) => Reply::of(StatusCode::OK, "application/json", PAGE),
            Some(DeskFault::Status(status)) => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                Reply::of(status, "text/plain", "")
            }
            Some(DeskFault::Huge) => match self.answer(&call) {
                Reply::Answer(answer) => {
                    let (head, body) = answer.into_parts();
                    let body = http_body_util::BodyExt::collect(body).await;
                    let mut bytes = body.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
                    bytes.resize(bytes.len().saturating_add(2 * 1024 * 1024), b' ');
                    Reply::Answer(hyper::Response::from_parts(head, http_body_util::Full::new(bytes.into())))
                }
                Reply::Reset => Reply::Reset,
            },
            Some(DeskFault::Redirect(to)) => with_header(Reply::of(StatusCode::FOUND, "text/plain", ""), LOCATION, &to),
            Some(DeskFault::Reset) => Reply::Reset,
        }
    }
}

fn with_header(mut reply: Reply, name: HeaderName, value: &str) -> Reply {
    if let (Reply::Answer(answer), Ok(value)) = (&mut reply, HeaderValue::from_str(value)) {
        answer.headers_mut().insert(name, value);
    }
    reply
}

fn json(status: StatusCode, body: &serde_json::Value) -> Reply {
    Reply::of(status, "application/json;charset=UTF-8", body.to_string())
}
