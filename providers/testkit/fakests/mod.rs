//! A fake STS and IAM, in memory and without delay, that refuses what AWS refuses by its documented limits. It is for
//! limits that MiniStack does not hold (session names, durations, tag counts, document sizes) and for benchmarks.
//!
//! It checks that a request is signed for the right service by a key that it knows, not the signature itself, and
//! evaluates no policies: MiniStack does both.

mod assume;
mod inline;
mod limits;
mod policies;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use grantd_provider_api::{Clock, SystemClock};
use hyper::StatusCode;
use hyper::header::AUTHORIZATION;

use crate::query::{IAM_NAMESPACE, XML, error_body, namespace_of, parse_form, result_body};
use crate::serve::{Call, Handler, Reply, Server};
use inline::InlinePolicies;
use policies::Policies;

/// A role of the fake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeRole {
    /// Its name, without path.
    pub name: String,
    /// Its `MaxSessionDuration` in seconds.
    pub max_session_seconds: u32,
    /// Whether its trust policy names the caller.
    pub trusts: bool,
    /// Whether its trust policy allows `sts:TagSession` and `sts:SetSourceIdentity`.
    pub allows_tags: bool,
}

/// What a fake holds when it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeStsSettings {
    /// The account, twelve digits.
    pub account: String,
    /// The access keys that may sign.
    pub access_keys: Vec<String>,
    /// Its roles.
    pub roles: Vec<FakeRole>,
    /// Its customer-managed policies, by name; each begins as `Allow *`.
    pub policies: Vec<String>,
}

impl Default for FakeStsSettings {
    /// The account that `tests/setup/aws_setup.py` makes on MiniStack, with the key `AKIAGRANTDBASE000000`.
    fn default() -> Self {
        let role = |name: &str, trusts| FakeRole {
            name: name.to_owned(),
            max_session_seconds: 3600,
            trusts,
            allows_tags: false,
        };
        Self {
            account: "123456789012".to_owned(),
            access_keys: vec!["AKIAGRANTDBASE000000".to_owned()],
            roles: vec![role("grantd-target-1", true), role("grantd-target-2", true), role("untrusting", false)],
            policies: vec!["grantd-boundary-1".to_owned(), "grantd-boundary-2".to_owned()],
        }
    }
}

/// A running fake. Dropping it closes its port.
#[derive(Debug)]
pub struct FakeSts {
    fake: Arc<Fake>,
    server: Server,
}

impl FakeSts {
    /// Starts on a free port of loopback.
    ///
    /// # Errors
    /// The port could not be opened.
    pub fn start(settings: FakeStsSettings) -> io::Result<Self> {
        Self::start_on(settings, (Ipv4Addr::LOCALHOST, 0).into())
    }

    /// Starts on the given address.
    ///
    /// # Errors
    /// The port could not be opened.
    pub fn start_on(settings: FakeStsSettings, address: SocketAddr) -> io::Result<Self> {
        let fake = Arc::new(Fake::new(settings));
        let server = Server::start("fakests", address, Arc::clone(&fake))?;
        Ok(Self { fake, server })
    }

    /// The endpoint of both services.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// Where it listens: the upstream of a fault proxy.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// How many sessions it has issued.
    #[must_use]
    pub fn issued(&self) -> u64 {
        self.fake.issued.load(Ordering::Relaxed)
    }

    /// The document of the default version of a policy, by ARN.
    #[must_use]
    pub fn document(&self, arn: &str) -> Option<String> {
        self.fake.policies().document(arn)
    }

    /// The document of a role's inline policy, by both names.
    #[must_use]
    pub fn inline_document(&self, role: &str, policy: &str) -> Option<String> {
        self.fake.inline().document(role, policy)
    }
}

/// An error answer: status, AWS error code, message.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    status: u16,
    code: &'static str,
    message: String,
}

impl Refusal {
    fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// 400 `ValidationError`, in AWS's words.
    fn invalid(parameter: &str, constraint: impl AsRef<str>) -> Self {
        let constraint = constraint.as_ref();
        let message =
            format!("1 validation error detected: Value at '{parameter}' failed to satisfy constraint: {constraint}");
        Self::new(400, "ValidationError", message)
    }
}

type Form = BTreeMap<String, String>;

#[derive(Debug)]
struct Fake {
    settings: FakeStsSettings,
    clock: SystemClock,
    issued: AtomicU64,
    policies: Mutex<Policies>,
    inline: Mutex<InlinePolicies>,
}

impl Handler for Fake {
    async fn handle(self: Arc<Self>, call: Call) -> Reply {
        let form = parse_form(&call.body);
        let action = form.get("Action").map_or("", String::as_str);
        match self.answer(&call, action, &form) {
            Ok(result) => Reply::of(StatusCode::OK, XML, result_body(action, &result)),
            Err(Refusal { status, code, message }) => {
                let known = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                Reply::of(known, XML, error_body(action, status, code, &message))
            }
        }
    }
}

impl Fake {
    fn new(settings: FakeStsSettings) -> Self {
        let clock = SystemClock::new();
        let policies = Policies::new(&settings, clock.now());
        let inline = Mutex::new(InlinePolicies::new(&settings));
        Self { settings, clock, issued: AtomicU64::new(0), policies: Mutex::new(policies), inline }
    }

    /// The inside of `<ActionResult>`.
    fn answer(&self, call: &Call, action: &str, form: &Form) -> Result<String, Refusal> {
        let caller = self.caller(call, action)?;
        match action {
            "AssumeRole" => self.assume_role(&caller, form),
            "GetCallerIdentity" => {
                let account = &self.settings.account;
                Ok(format!(
                    "<Arn>arn:aws:iam::{account}:user/grantd-base</Arn><UserId>AIDAGRANTDBASE</UserId>\
                     <Account>{account}</Account>"
                ))
            }
            "CreatePolicyVersion" => self.policies().create_version(form, self.clock.now()),
            "DeletePolicyVersion" => self.policies().delete_version(form),
            "ListPolicyVersions" => self.policies().list_versions(form),
            "GetPolicyVersion" => self.policies().version(form),
            "GetPolicy" => self.policies().policy(form),
            "PutRolePolicy" => self.inline().put(form),
            "GetRolePolicy" => self.inline().get(form),
            "ListRolePolicies" => self.inline().list(form),
            _ => Err(Refusal::new(400, "InvalidAction", format!("Could not find operation {action}"))),
        }
    }

    /// The access key that signed, if the signature has the right shape and service (AWS Signature Version 4).
    fn caller(&self, call: &Call, action: &str) -> Result<String, Refusal> {
        let missing = || Refusal::new(403, "MissingAuthenticationToken", "Missing Authentication Token");
        let header = call.head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).ok_or_else(missing)?;
        let incomplete = |what: &str| Refusal::new(400, "IncompleteSignature", format!("Authorization header: {what}"));
        let fields = header.strip_prefix("AWS4-HMAC-SHA256 ").ok_or_else(|| incomplete("not AWS4-HMAC-SHA256"))?;
        let field = |name: &str| {
            let found = fields.split(',').find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='));
            found.ok_or_else(|| incomplete(&format!("requires '{name}'")))
        };
        let signature = field("Signature")?;
        if signature.len() != 64 || !signature.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(incomplete("Signature is no SHA-256"));
        }
        if !field("SignedHeaders")?.split(';').any(|name| name == "host") {
            return Err(incomplete("'host' must be signed"));
        }
        let scope: Vec<&str> = field("Credential")?.split('/').collect();
        let &[key, _date, _region, service, "aws4_request"] = scope.as_slice() else {
            return Err(incomplete("Credential is not KEY/DATE/REGION/SERVICE/aws4_request"));
        };
        let wanted = if namespace_of(action) == IAM_NAMESPACE { "iam" } else { "sts" };
        if service != wanted {
            let message = format!("Credential should be scoped to correct service: '{wanted}'.");
            return Err(Refusal::new(403, "SignatureDoesNotMatch", message));
        }
        if !self.settings.access_keys.iter().any(|known| known == key) {
            let message = "The security token included in the request is invalid.";
            return Err(Refusal::new(403, "InvalidClientTokenId", message));
        }
        Ok(key.to_owned())
    }

    fn inline(&self) -> MutexGuard<'_, InlinePolicies> {
        self.inline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn policies(&self) -> MutexGuard<'_, Policies> {
        self.policies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
