//! The admin port: what the Rust handle can do, for programs in other languages. Loopback, no authentication, tests only.
//!
//! `GET /rules`, `POST /rules` (a rule as JSON; answers its id), `DELETE /rules`, `DELETE /rules/ID`, `GET /records`,
//! `GET /ledger` (with secrets).

use std::sync::Arc;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::Proxy;
use super::rule::{Rule, RuleId};
use crate::serve::{Call, Handler, Reply};

#[derive(Debug)]
pub(super) struct Admin {
    proxy: Arc<Proxy>,
}

impl Admin {
    pub(super) fn new(proxy: Arc<Proxy>) -> Self {
        Self { proxy }
    }

    fn answer(&self, call: &Call) -> (StatusCode, Value) {
        let path = call.head.uri.path();
        match (&call.head.method, path) {
            (&Method::GET, "/rules") => (StatusCode::OK, json!(self.proxy.rules().states())),
            (&Method::POST, "/rules") => self.add(&call.body),
            (&Method::DELETE, "/rules") => {
                self.proxy.rules().clear();
                (StatusCode::OK, json!({}))
            }
            (&Method::DELETE, _) => match path.strip_prefix("/rules/").and_then(|id| serde_json::from_str(id).ok()) {
                Some(id) => {
                    self.proxy.rules().remove(id);
                    (StatusCode::OK, json!({}))
                }
                None => not_found(path),
            },
            (&Method::GET, "/records") => (StatusCode::OK, json!(self.proxy.journal().records)),
            (&Method::GET, "/ledger") => {
                let ledger = self.proxy.journal().ledger.clone();
                (StatusCode::OK, ledger.iter().map(|session| session.exposed()).collect())
            }
            _ => not_found(path),
        }
    }

    fn add(&self, body: &[u8]) -> (StatusCode, Value) {
        let rule = serde_json::from_slice::<Rule>(body).map_err(|error| error.to_string());
        let added: Result<RuleId, String> =
            rule.and_then(|rule| self.proxy.rules().add(rule).map_err(|error| error.to_string()));
        match added {
            Ok(id) => (StatusCode::OK, json!({ "id": id })),
            Err(error) => (StatusCode::BAD_REQUEST, json!({ "error": error })),
        }
    }
}

fn not_found(path: &str) -> (StatusCode, Value) {
    (StatusCode::NOT_FOUND, json!({ "error": format!("no {path} here: /rules, /records or /ledger") }))
}

impl Handler for Admin {
    async fn handle(self: Arc<Self>, call: Call) -> Reply {
        let (status, value) = self.answer(&call);
        Reply::of(status, "application/json", value.to_string())
    }
}
