//! A fake of Microsoft Entra ID and Azure Resource Manager, with blobs and secrets to try sessions on, over HTTPS and in
//! memory. It refuses what the vendor refuses by its published contract, and serves the vendor's own clients unmodified.

mod arm;
mod cluster;
mod condition;
mod data;
mod entra;
mod pim;
mod roles;
mod sample;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use grantd_provider_api::{Clock, SystemClock};
use hyper::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

pub use roles::{FakeAssignment, FakeRoleDefinition};

use crate::query::parse_form;
use crate::serve::{Call, Handler, Reply, Server};
use crate::testissuer::TestIssuer;
use crate::tls::TestAuthority;

/// A federated credential of an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeFederation {
    /// Who signs.
    pub issuer: String,
    /// About whom.
    pub subject: String,
}

/// An application with its service principal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeApplication {
    /// The application's id.
    pub client_id: Uuid,
    /// The service principal's id.
    pub object_id: Uuid,
    /// Whose word it takes.
    pub federated: Vec<FakeFederation>,
}

/// What a fake holds when it starts.
#[derive(Debug, Clone)]
pub struct FakeAzureSettings {
    /// The directory.
    pub tenant: Uuid,
    /// Its subscriptions.
    pub subscriptions: Vec<Uuid>,
    /// Its applications.
    pub applications: Vec<FakeApplication>,
    /// The key set of each issuer.
    pub key_sets: BTreeMap<String, Value>,
    /// Role definitions besides the built-in ones.
    pub roles: Vec<FakeRoleDefinition>,
    /// What exists, by resource ID; what is above exists too.
    pub resources: Vec<String>,
    /// Blobs, by `account/container/name`.
    pub blobs: BTreeMap<String, String>,
    /// What is assigned from the beginning: scope, role, principal, condition.
    pub assignments: Vec<(String, Uuid, Uuid, Option<String>)>,
    /// How long a token lives, in seconds.
    pub token_lifetime: i64,
}

/// What becomes of a call in place of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FakeFault {
    /// This status, and nothing is done.
    Status(u16),
    /// Status 429, to be tried again after so many seconds.
    Throttle(u32),
    /// It is done, and the answer is lost: the connection is reset.
    LoseAnswer,
    /// It is not done, and the connection is reset.
    Reset,
    /// Status 200 with a body that is no JSON, and nothing is done.
    Garbage,
    /// No answer for so long, and it is done then.
    Delay(Duration),
}

/// A request as it came in: method, path, query and body.
#[derive(Debug, Clone, PartialEq)]
pub struct FakeRequest {
    /// The method.
    pub method: String,
    /// The path, decoded.
    pub path: String,
    /// The query's members.
    pub query: BTreeMap<String, String>,
    /// The body: JSON, a form as an object, or null.
    pub body: Value,
}

#[derive(Debug)]
struct State {
    roles: Vec<FakeRoleDefinition>,
    resources: Vec<String>,
    blobs: BTreeMap<String, String>,
    assignments: Vec<FakeAssignment>,
    faults: VecDeque<(String, String, FakeFault)>,
    /// What one call meets, whichever it is, and how many come before it.
    next_fault: Option<(usize, FakeFault)>,
    requests: Vec<FakeRequest>,
    effect_delay: f64,
    token_lifetime: i64,
    wrong_principal: Option<Uuid>,
    key_sets: BTreeMap<String, Value>,
    /// Where an issuer's documents are served, in place of a key set that is known.
    served: BTreeMap<String, PathBuf>,
    /// Schedule requests that were let through.
    schedules: Vec<pim::FakeRequest>,
    /// Whether the tenant has the licence for Privileged Identity Management.
    licensed: bool,
    /// The federated credentials of each application, by its id.
    federated: BTreeMap<Uuid, Vec<FakeFederation>>,
}

impl State {
    /// What an issuer publishes now: read anew each time, as its documents are.
    fn key_set(&self, issuer: &str) -> Option<Value> {
        let Some(directory) = self.served.get(issuer) else { return self.key_sets.get(issuer).cloned() };
        let text = std::fs::read(directory.join(".well-known/jwks.json")).ok()?;
        serde_json::from_slice(&text).ok()
    }

    fn standing(&self, scope: &str, name: &str) -> Option<&FakeAssignment> {
        let id = format!("{scope}/providers/Microsoft.Authorization/roleAssignments/{name}");
        self.assignments.iter().find(|one| one.id.eq_ignore_ascii_case(&id) && one.felt_until.is_none())
    }
}

#[derive(Debug)]
struct Fake {
    settings: FakeAzureSettings,
    clock: SystemClock,
    started: Timestamp,
    signer: TestIssuer,
    state: Mutex<State>,
    /// How far the clock of assignments is put forward, in seconds.
    forward: Mutex<f64>,
    url: OnceLock<String>,
}

/// A running fake. Dropping it closes its port.
#[derive(Debug)]
pub struct FakeAzure {
    fake: Arc<Fake>,
    server: Server,
    authority: TestAuthority,
}

impl FakeAzure {
    /// Starts on a free port of loopback.
    ///
    /// # Errors
    /// The port could not be opened.
    pub fn start(settings: FakeAzureSettings) -> io::Result<Self> {
        Self::start_on(settings, (Ipv4Addr::LOCALHOST, 0).into())
    }

    /// Starts on the given address.
    ///
    /// # Errors
    /// The port could not be opened.
    pub fn start_on(settings: FakeAzureSettings, address: SocketAddr) -> io::Result<Self> {
        let authority = TestAuthority::new()?;
        let clock = SystemClock::new();
        let mut roles = FakeRoleDefinition::built_in();
        roles.extend(settings.roles.iter().cloned());
        let standing = settings.assignments.iter().enumerate().map(|(index, (scope, role, principal, condition))| {
            let name = Uuid::from_u128(0xa55 + u128::try_from(index).unwrap_or_default());
            assignment(scope, *role, *principal, condition.clone(), name)
        });
        let state = State {
            roles,
            resources: settings.resources.clone(),
            blobs: settings.blobs.clone(),
            assignments: standing.collect(),
            faults: VecDeque::new(),
            next_fault: None,
            requests: Vec::new(),
            effect_delay: 0.0,
            token_lifetime: settings.token_lifetime,
            wrong_principal: None,
            key_sets: settings.key_sets.clone(),
            served: BTreeMap::new(),
            schedules: Vec::new(),
            licensed: true,
            federated: settings.applications.iter().map(|one| (one.client_id, one.federated.clone())).collect(),
        };
        let fake = Arc::new(Fake {
            settings,
            started: clock.now(),
            clock,
            signer: TestIssuer::new("https://sts.windows.net/"),
            state: Mutex::new(state),
            forward: Mutex::new(0.0),
            url: OnceLock::new(),
        });
        let server = Server::start_tls("fakeazure", address, Arc::clone(&fake), authority.server_config()?)?;
        let _ = fake.url.set(format!("https://{}", server.address()));
        Ok(Self { fake, server, authority })
    }

    /// Authority and Resource Manager both; blobs are at `/blob/{name}`, vaults at `/vault/{name}`,
    /// API servers at `/cluster/{name}`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.server.address())
    }

    /// The certificate authority to trust, in PEM.
    #[must_use]
    pub fn authority_pem(&self) -> &str {
        self.authority.pem()
    }

    /// What is assigned to a principal now.
    #[must_use]
    pub fn assignments_of(&self, principal: Uuid) -> Vec<FakeAssignment> {
        let state = self.fake.state();
        state.assignments.iter().filter(|one| one.principal == principal && one.felt_until.is_none()).cloned().collect()
    }

    /// Why each role assignment was asked for that stands because of a schedule request.
    #[must_use]
    pub fn justified(&self) -> Vec<String> {
        self.fake.state().justified()
    }

    /// Assigns a role by another hand.
    pub fn assign(&self, scope: &str, role: Uuid, principal: Uuid, description: Option<&str>) -> String {
        let mut state = self.fake.state();
        let name = Uuid::from_u128(0xf0e + u128::try_from(state.assignments.len()).unwrap_or_default());
        let mut made = assignment(scope, role, principal, None, name);
        made.description = description.map(str::to_owned);
        let id = made.id.clone();
        state.assignments.push(made);
        id
    }

    /// Assigns a role on a condition by another hand.
    ///
    /// # Errors
    /// The condition is not in the language, the role or the principal does not exist, or it is assigned already.
    pub fn assign_on(&self, scope: &str, role: Uuid, principal: Uuid, condition: Option<&str>) -> Result<(), String> {
        condition.map(condition::Condition::parse).transpose()?;
        let mut state = self.fake.state();
        if !state.roles.iter().any(|one| one.id == role) {
            return Err(format!("there is no role {role}"));
        }
        if !self.fake.settings.applications.iter().any(|one| one.object_id == principal) {
            return Err(format!("there is no principal {principal}"));
        }
        let twin = |one: &FakeAssignment| one.scope == scope && one.role == role && one.principal == principal;
        if state.assignments.iter().any(|one| one.felt_until.is_none() && twin(one)) {
            return Err(format!("{role} is assigned to {principal} on {scope} already"));
        }
        let name = Uuid::from_u128(0xf0e + u128::try_from(state.assignments.len()).unwrap_or_default());
        state.assignments.push(assignment(scope, role, principal, condition.map(str::to_owned), name));
        Ok(())
    }

    /// Takes every right of a principal away.
    pub fn strip(&self, principal: Uuid) {
        self.fake.state().assignments.retain(|one| one.principal != principal);
    }

    /// Defines a role of the tenant's own.
    ///
    /// # Errors
    /// It exists already, by its id or its name.
    pub fn define(&self, role: FakeRoleDefinition) -> Result<(), String> {
        let mut state = self.fake.state();
        if state.roles.iter().any(|one| one.id == role.id || one.name == role.name) {
            return Err(format!("role {} or {} is defined already", role.id, role.name));
        }
        state.roles.push(role);
        Ok(())
    }

    /// From now on, an application takes the word of these and of nobody else.
    ///
    /// # Errors
    /// There is no such application, or it would have more than 20 federated credentials.
    pub fn trust(&self, client_id: Uuid, federated: &[FakeFederation]) -> Result<(), String> {
        let mut state = self.fake.state();
        let known =
            state.federated.get_mut(&client_id).ok_or_else(|| format!("there is no application {client_id}"))?;
        if federated.len() > 20 {
            return Err("an application has at most 20 federated credentials".to_owned());
        }
        *known = federated.to_vec();
        Ok(())
    }

    /// Removes an assignment by another hand.
    pub fn unassign(&self, id: &str) {
        self.fake.state().assignments.retain(|one| one.id != id);
    }

    /// What the next call of `method` with `part` in its path meets; each of these once, in order.
    pub fn fault(&self, method: &str, part: &str, fault: FakeFault) {
        self.fake.state().faults.push_back((method.to_owned(), part.to_owned(), fault));
    }

    /// What one call meets, after `skip` others, whatever they are for.
    pub fn fault_after(&self, skip: usize, fault: FakeFault) {
        self.fake.state().next_fault = Some((skip, fault));
    }

    /// From now on, nothing goes wrong.
    pub fn calm(&self) {
        let mut state = self.fake.state();
        state.faults.clear();
        state.next_fault = None;
    }

    /// From now on, role assignments are felt so much later than they are made and removed.
    pub fn delay_effect(&self, by: Duration) {
        self.fake.state().effect_delay = by.as_secs_f64();
    }

    /// Puts the clock forward: what ends by itself ends.
    pub fn forward(&self, by: Duration) {
        *self.fake.forward.lock().unwrap_or_else(PoisonError::into_inner) += by.as_secs_f64();
    }

    /// From now on, the tenant has no licence for Privileged Identity Management.
    pub fn unlicense(&self) {
        self.fake.state().licensed = false;
    }

    /// From now on, tokens live so many seconds.
    pub fn set_token_lifetime(&self, seconds: i64) {
        self.fake.state().token_lifetime = seconds;
    }

    /// From now on, an issuer publishes this key set.
    pub fn publish(&self, issuer: &str, key_set: Value) {
        self.fake.state().key_sets.insert(issuer.to_owned(), key_set);
    }

    /// From now on, what an issuer publishes is looked up in this directory, as `grantctl issuer publish` writes it: Entra
    /// asks the issuer's URL, and here that leads nowhere.
    pub fn publish_from(&self, issuer: &str, directory: &Path) {
        self.fake.state().served.insert(issuer.to_owned(), directory.to_owned());
    }

    /// From now on, tokens are another principal's.
    pub fn mix_up_principals(&self, principal: Uuid) {
        self.fake.state().wrong_principal = Some(principal);
    }

    /// The requests so far whose path has `part` in it.
    #[must_use]
    pub fn requests(&self, part: &str) -> Vec<FakeRequest> {
        self.fake.state().requests.iter().filter(|one| one.path.contains(part)).cloned().collect()
    }
}

fn assignment(scope: &str, role: Uuid, principal: Uuid, condition: Option<String>, name: Uuid) -> FakeAssignment {
    FakeAssignment {
        id: format!("{scope}/providers/Microsoft.Authorization/roleAssignments/{name}"),
        scope: scope.to_owned(),
        role,
        principal,
        condition,
        description: None,
        felt_from: 0.0,
        felt_until: None,
        ends: f64::INFINITY,
    }
}

impl Handler for Fake {
    async fn handle(self: Arc<Self>, call: Call) -> Reply {
        let path = decoded(call.head.uri.path());
        let fault = self.note(&call, &path);
        match fault {
            None => self.route(&call, &path),
            Some(FakeFault::Status(status)) => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let body = json!({ "error": { "code": "InternalServerError", "message": "on purpose" } });
                Reply::of(status, "application/json", body.to_string())
            }
            Some(FakeFault::Throttle(seconds)) => {
                let body = json!({ "error": { "code": "TooManyRequests", "message": "on purpose" } });
                let mut reply = Reply::of(StatusCode::TOO_MANY_REQUESTS, "application/json", body.to_string());
                if let Reply::Answer(response) = &mut reply {
                    response.headers_mut().insert("retry-after", seconds.into());
                }
                reply
            }
            Some(FakeFault::LoseAnswer) => {
                let _ = self.route(&call, &path);
                Reply::Reset
            }
            Some(FakeFault::Reset) => Reply::Reset,
            Some(FakeFault::Garbage) => Reply::of(StatusCode::OK, "text/html", "<html>sign in</html>"),
            Some(FakeFault::Delay(time)) => {
                tokio::time::sleep(time).await;
                self.route(&call, &path)
            }
        }
    }
}

impl Fake {
    fn route(&self, call: &Call, path: &str) -> Reply {
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match parts.as_slice() {
            [tenant, "v2.0", ".well-known", "openid-configuration"] => self.openid_configuration(tenant),
            [tenant, "oauth2", "v2.0", "token"] if call.head.method == hyper::Method::POST => {
                self.token(tenant, &call.body)
            }
            ["blob", ..] => self.blob(call, path.trim_start_matches("/blob/")),
            ["vault", ..] => self.secret(call, path.trim_start_matches("/vault/")),
            ["cluster", name, below @ ..] => self.cluster(call, name, below),
            ["subscriptions", ..] => self.resource_manager(call, path),
            _ => Reply::of(StatusCode::NOT_FOUND, "text/plain", "there is nothing here"),
        }
    }

    /// Writes the request down, and tells which fault it meets.
    fn note(&self, call: &Call, path: &str) -> Option<FakeFault> {
        let request = FakeRequest {
            method: call.head.method.to_string(),
            path: path.to_owned(),
            query: self.query(call),
            body: serde_json::from_slice(&call.body).unwrap_or_else(|_| form(call)),
        };
        let mut state = self.state();
        let at =
            state.faults.iter().position(|(method, part, _)| *method == request.method && path.contains(part.as_str()));
        state.requests.push(request);
        match &mut state.next_fault {
            Some((0, _)) => return state.next_fault.take().map(|(_, fault)| fault),
            Some((skip, _)) => *skip -= 1,
            None => {}
        }
        at.and_then(|at| state.faults.remove(at)).map(|(_, _, fault)| fault)
    }

    fn query(&self, call: &Call) -> BTreeMap<String, String> {
        parse_form(call.head.uri.query().unwrap_or_default().as_bytes())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, delay) = (self.elapsed(), state.effect_delay);
        // What ended by itself is removed, and that is felt as late as any removal.
        for one in state.assignments.iter_mut().filter(|one| one.felt_until.is_none() && one.ends <= now) {
            one.felt_until = Some(one.ends + delay);
        }
        state
    }

    fn base_url(&self) -> String {
        self.url.get().cloned().unwrap_or_default()
    }

    fn now(&self) -> i64 {
        self.clock.now().as_second()
    }

    /// The moment that schedules are reckoned by.
    fn moment(&self) -> Timestamp {
        let since = jiff::SignedDuration::from_secs_f64(self.elapsed());
        self.started.checked_add(since).unwrap_or(self.started)
    }

    /// Seconds since the start.
    fn elapsed(&self) -> f64 {
        *self.forward.lock().unwrap_or_else(PoisonError::into_inner)
            + self.clock.now().duration_since(self.started).as_secs_f64()
    }

    fn token_lifetime(&self) -> i64 {
        self.state().token_lifetime
    }

    fn oid_of(&self, application: &FakeApplication) -> Uuid {
        self.state().wrong_principal.unwrap_or(application.object_id)
    }
}

fn form(call: &Call) -> Value {
    let content = call.head.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if content.starts_with("application/x-www-form-urlencoded") { json!(parse_form(&call.body)) } else { Value::Null }
}

fn decoded(path: &str) -> String {
    percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned()
}
