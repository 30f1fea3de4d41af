//! What many tests check in the same words: a clear error, a daemon that still serves, what the cloud says of a session.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use grantd_testkit::{Session, Sight, probe};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{Answer, World, eventually};

/// What time it is, to compare with what the daemon says.
#[must_use]
pub fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "a test looks at the real clock, as the daemon does")]
    Timestamp::now()
}

/// Waits until every session that exists was issued longer ago than a clock skew of two seconds lets it be collapsed.
///
/// # Panics
/// Time stands still.
pub fn grow_old() {
    let until = now() + Duration::from_secs(7);
    eventually("the youngest session is old", Duration::from_secs(60), || now() > until);
}

impl Answer {
    /// Checks that this is a problem (RFC 9457) of this kind whose words have each of `words`, and no credential.
    ///
    /// # Panics
    /// It is not.
    pub fn is_problem(&self, status: u16, kind: &str, words: &[&str]) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.body["type"], format!("urn:grantd:problem:{kind}"), "{self:?}");
        assert_eq!(self.body["status"], status, "{self:?}");
        assert!(self.body["title"].as_str().is_some_and(|title| !title.is_empty()), "{self:?}");
        let detail = self.body["detail"].as_str().unwrap_or_default();
        for word in words {
            assert!(detail.contains(word), "the detail does not say \"{word}\": {self:?}");
        }
        assert!(self.body.get("credential").is_none(), "a credential is in a problem");
    }
}

impl World {
    /// Checks that bob is served: a grant, and a credential with its record.
    ///
    /// # Panics
    /// He is not.
    pub fn serves_bob(&self) {
        let grant = self.grant(&self.bob(), "alpha");
        let (lease, _) = Self::vended(&self.vend(&self.bob(), &grant, json!({})));
        assert_eq!(self.records_of(&lease, "lease.issued").len(), 1);
    }

    /// The records of a kind about a lease.
    #[must_use]
    pub fn records_of(&self, lease: &str, kind: &str) -> Vec<Value> {
        self.audited(kind).into_iter().filter(|record| record["lease"] == lease).collect()
    }

    /// Whether the cloud lets each of these sessions read `hello.txt` of alpha. A refusal must be one for want of rights.
    ///
    /// # Panics
    /// An answer is neither.
    #[must_use]
    pub fn allowed(&self, sessions: &[Arc<Session>]) -> Vec<bool> {
        let sights = probe(&self.stack.url(), "alpha", "hello.txt", sessions).expect("the probe runs");
        sights
            .into_iter()
            .map(|sight| match sight {
                Sight::Allowed => true,
                refused if refused.is_refusal() => false,
                other => panic!("neither allowed nor refused: {other:?}"),
            })
            .collect()
    }

    /// The session of a lease, as the cloud issued it.
    ///
    /// # Panics
    /// There is none, or more than one.
    #[must_use]
    pub fn session_of(&self, lease: &str) -> Arc<Session> {
        let name = self.lease(lease)["session_name"].clone();
        let mut sessions = self.proxy.ledger();
        sessions.retain(|session| name == session.session_name.as_str());
        assert_eq!(sessions.len(), 1, "sessions of {lease}");
        sessions.remove(0)
    }

    /// Waits until the cloud refuses all of these sessions.
    ///
    /// # Panics
    /// It does not, looked at 40 times in at least 10 s.
    pub fn wait_refused(&self, sessions: &[Arc<Session>]) {
        assert!(!sessions.is_empty(), "there is no session to refuse");
        for _ in 0..40 {
            if !self.allowed(sessions).contains(&true) {
                return;
            }
            thread::sleep(Duration::from_millis(250));
        }
        panic!("the cloud goes on serving a session that it should refuse");
    }

    /// Checks the audit chain with `grantctl audit verify`.
    ///
    /// # Panics
    /// It does not hold.
    pub fn audit_verifies(&self) {
        let finished = self.root().grantctl(&["audit", "verify"]);
        assert!(finished.success(), "{finished}");
    }

    /// Waits until no intent is open.
    ///
    /// # Panics
    /// One stays open for 20 s.
    pub fn wait_no_intent(&self) {
        eventually("no intent is open", Duration::from_secs(20), || self.status()["revocation"]["open_intents"] == 0);
    }
}
