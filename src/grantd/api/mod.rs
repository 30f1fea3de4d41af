//! The HTTP API on the socket: accept loop, limits, routes. The only server-side user of hyper and axum.

mod accept;
mod approvals;
mod body;
mod delegations;
mod doctor;
mod documents;
mod freezes;
mod issuers;
mod limits;
mod measure;
mod policy;
mod problem;
mod reviews;
mod routes;
mod views;

use std::sync::Arc;
use std::time::Duration;

use crate::broker::Broker;
use crate::doctor::Host;
use crate::metrics::Metrics;
use crate::notify::Outbox;
use crate::sys::peer::Peer;

pub use accept::serve;

/// What the API is given.
#[derive(Debug, Clone)]
pub struct Api {
    /// Does the work.
    pub broker: Broker,
    /// What protects the daemon's memory, in words, for `status`.
    pub hardening: Arc<Vec<String>>,
    /// What the doctor looks at on this host.
    pub host: Arc<Host>,
    /// What one caller may take.
    pub limits: Limits,
    /// Where it is counted.
    pub metrics: Metrics,
    /// Who is told what happens.
    pub outbox: Outbox,
}

/// A connection, as every request on it sees it.
#[derive(Debug, Clone)]
struct Connection {
    /// Who opened it.
    peer: Arc<Peer>,
    /// Its number, never used twice under one start of the daemon.
    number: u64,
}

/// What one caller may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections of everybody together.
    pub connections: usize,
    /// Connections of one user.
    pub connections_per_uid: usize,
    /// Requests of one user in a second.
    pub requests_per_second: u32,
    /// Requests of one user at once.
    pub burst: u32,
    /// Bytes of a request body.
    pub body_bytes: usize,
    /// How long a connection may take to send the head of a request, the first and each later one.
    pub header_timeout: Duration,
    /// How long a request may take from its head to its answer.
    pub request_timeout: Duration,
}
