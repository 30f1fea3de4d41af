//! A cloud in memory, with its adapter: slots to which access is assigned, as on Azure, and nothing that ends by itself. It
//! goes wrong when told, and can be made to break what an adapter promises, so that the suite itself is tested.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use grantd_provider_api::{
    AccountHealth, AccountNeeds, AzureToken, Capabilities, CapabilityMap, Clock, Cloud, Confirmation, Credential,
    DenyEntry, DenyScope, Ending, Entitlement, ErrorKind, Finding, IssueRequest, Issued, LeaseId, Mark, Persistence,
    Placement, Plan, Provider, ProviderError, ResourceRef, Revocation, RevokeReceipt, Secret, Target, Trial,
};
use jiff::{SignedDuration, Timestamp};

use crate::faultproxy::Fault;

/// The account that it serves.
pub const ACCOUNT: &str = "main";

/// How long a token lives, whatever access it gives.
const TOKEN_LIFE: SignedDuration = SignedDuration::from_mins(60);

/// A way in which the adapter breaks what the broker relies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// It takes whatever is no answer for a confirmation.
    TrustsTrouble,
    /// It confirms what it asked for, not what it saw.
    ConfirmsUnseen,
    /// It ends everything that is on the same resource.
    EndsNeighbours,
    /// It says that nothing was made when it does not know.
    DeniesDoubt,
    /// It gives access to more than was asked.
    GivesMore,
    /// It finds nothing by its mark.
    LosesMarks,
    /// It removes what bears no mark of its own.
    RemovesForeign,
}

/// An adapter and the cloud behind it.
#[derive(Debug)]
pub struct FakeCloud {
    clock: Arc<dyn Clock>,
    slots: Vec<String>,
    flaw: Option<Flaw>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Who has access to what since or until when: by the assignment's name.
    assigned: BTreeMap<String, Assignment>,
    /// Whose token it is.
    tokens: BTreeMap<String, String>,
    requests: usize,
    trouble: Option<(usize, Fault)>,
    late: Option<Duration>,
}

#[derive(Debug, Clone)]
struct Assignment {
    lease: Option<LeaseId>,
    slot: String,
    resource: String,
    gone_at: Option<Timestamp>,
}

impl FakeCloud {
    /// With so many slots, and something that is not grantd's on the first.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, slots: usize) -> Self {
        let slots: Vec<String> = (1..=slots).map(|nth| format!("slot-{nth}")).collect();
        let foreign =
            Assignment { lease: None, slot: "somebody".to_owned(), resource: "alpha".to_owned(), gone_at: None };
        let state = State { assigned: BTreeMap::from([("foreign".to_owned(), foreign)]), ..State::default() };
        Self { clock, slots, flaw: None, state: Mutex::new(state) }
    }

    /// The same, broken.
    #[must_use]
    pub fn with(self, flaw: Flaw) -> Self {
        Self { flaw: Some(flaw), ..self }
    }

    /// Whether the holder of the credential reaches `resource` now.
    #[must_use]
    pub fn allows(&self, credential: &Credential, resource: &str) -> bool {
        let Credential::Azure { tokens, .. } = credential else { return false };
        let now = self.clock.now();
        let state = self.state();
        let slot = tokens.first().and_then(|token| state.tokens.get(token.token.expose()));
        state.assigned.values().any(|it| Some(&it.slot) == slot && it.resource == resource && it.stands(now))
    }

    /// Whether something that was made for the lease gives access.
    #[must_use]
    pub fn stands(&self, lease: LeaseId) -> bool {
        let now = self.clock.now();
        self.state().assigned.values().any(|it| it.lease == Some(lease) && it.stands(now))
    }

    /// What is not grantd's.
    #[must_use]
    pub fn foreign(&self) -> String {
        let state = self.state();
        let foreign = state.assigned.iter().filter(|(_, it)| it.lease.is_none() && it.gone_at.is_none());
        format!("{:?}", foreign.collect::<Vec<_>>())
    }

    /// How many requests were sent.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.state().requests
    }

    /// Makes one request go wrong, after `skip` others.
    pub fn trouble(&self, fault: Fault, skip: usize) {
        self.state().trouble = Some((skip, fault));
    }

    /// Makes every removal take effect late.
    pub fn late(&self, by: Duration) {
        self.state().late = Some(by);
    }

    /// From here on nothing goes wrong.
    pub fn calm(&self) {
        let mut state = self.state();
        (state.trouble, state.late) = (None, None);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One request: it has its effect, or goes wrong as told.
    fn request<T>(&self, effect: impl FnOnce(&mut State) -> T) -> Result<T, ProviderError> {
        let mut state = self.state();
        state.requests += 1;
        let due = match &mut state.trouble {
            Some((0, _)) => state.trouble.take().map(|(_, fault)| fault),
            Some((skip, _)) => {
                *skip -= 1;
                None
            }
            None => None,
        };
        let error = |kind| Err(ProviderError::new(kind, "the fake cloud went wrong as it was told"));
        match due {
            None => Ok(effect(&mut state)),
            Some(Fault::DropAfter) => {
                effect(&mut state);
                error(ErrorKind::Unknown)
            }
            Some(Fault::Status { status: 403, .. }) => error(ErrorKind::Refused),
            Some(Fault::Status { status: 409, .. }) => error(ErrorKind::Conflict),
            Some(Fault::Status { status: 429, .. }) => error(ErrorKind::Throttled),
            Some(_) => error(ErrorKind::Unknown),
        }
    }

    fn is_flawed(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn known(&self, scope: &DenyScope) -> Result<(), ProviderError> {
        if self.slots.contains(&scope.name) && scope.account == ACCOUNT {
            return Ok(());
        }
        Err(ProviderError::new(ErrorKind::Config, format!("{scope} is not configured")))
    }

    fn scope(&self, slot: &str) -> DenyScope {
        DenyScope { cloud: Cloud::Azure, account: ACCOUNT.to_owned(), name: slot.to_owned() }
    }

    fn take_away(&self, state: &mut State, is: impl Fn(&String, &Assignment) -> bool) {
        let late = state.late.unwrap_or_default();
        let at = self.clock.now().checked_add(late).unwrap_or(Timestamp::MAX);
        for (_, it) in state.assigned.iter_mut().filter(|(name, it)| it.gone_at.is_none() && is(name, it)) {
            it.gone_at = Some(at);
        }
    }
}

impl Assignment {
    fn stands(&self, now: Timestamp) -> bool {
        self.gone_at.is_none_or(|at| now < at)
    }
}

fn name_of(lease: LeaseId) -> String {
    format!("grantd-{}", lease.suffix())
}

#[async_trait]
impl Provider for FakeCloud {
    fn cloud(&self) -> Cloud {
        Cloud::Azure
    }

    fn capabilities(&self, account: &str) -> Result<Capabilities, ProviderError> {
        if account != ACCOUNT {
            return Err(ProviderError::new(ErrorKind::Config, format!("account \"{account}\" is not configured")));
        }
        Ok(Capabilities {
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_secs(3600),
            expected_propagation: Duration::from_secs(1),
            worst_propagation: Duration::from_secs(1),
            entry_grace: Duration::from_secs(1),
            batch_window: Duration::from_millis(1),
        })
    }

    fn check_map(&self, _map: &CapabilityMap) -> Result<(), ProviderError> {
        Ok(())
    }

    fn plan(&self, entitlement: &Entitlement, map: &CapabilityMap) -> Result<Plan, ProviderError> {
        let Entitlement { capability, resource, narrowing } = entitlement;
        let permission = map.capability.get(capability).ok_or_else(|| {
            ProviderError::new(ErrorKind::Unsupported, format!("{capability} is not in the entitlement map"))
        })?;
        self.capabilities(&resource.account)?;
        let odd = |text: &str| text.is_empty() || text.contains(['*', '?', '$', '/', '\n', ':']);
        if narrowing.prefix.as_deref().is_some_and(odd) || odd(&resource.native) {
            return Err(ProviderError::new(ErrorKind::Invalid, "names and prefixes are plain words here"));
        }
        if resource.native == "everything" {
            return Err(ProviderError::new(ErrorKind::Invalid, "name one resource"));
        }
        Ok(Plan {
            cloud: Cloud::Azure,
            account: resource.account.clone(),
            targets: self.slots.clone(),
            native: serde_json::json!({ "assign": resource.native }),
            words: vec![permission.summary.clone()],
            revocation: Revocation::Eventual,
            persistence: Persistence::None,
            widens: Vec::new(),
            ending: Ending::Daemon { outlives: 1 },
        })
    }

    fn targets(&self, plan: &Plan) -> Result<Vec<Target>, ProviderError> {
        self.capabilities(&plan.account)?;
        let target = |slot: &String| Target { name: slot.clone(), scope: self.scope(slot), capacity: 1 };
        Ok(plan.targets.iter().filter(|slot| self.slots.contains(slot)).map(target).collect())
    }

    fn scopes(&self) -> Vec<DenyScope> {
        self.slots.iter().map(|slot| self.scope(slot)).collect()
    }

    fn capacity(&self, scope: &DenyScope) -> Result<u32, ProviderError> {
        self.known(scope).map(|()| 1)
    }

    fn place(&self, request: &IssueRequest<'_>) -> Result<Placement, ProviderError> {
        let token_until = request.now.checked_add(TOKEN_LIFE).unwrap_or(Timestamp::MAX);
        Ok(Placement { session_name: name_of(request.lease), token_until })
    }

    async fn issue(&self, request: &IssueRequest<'_>) -> Result<Issued, ProviderError> {
        let (lease, slot) = (request.lease, request.target.to_owned());
        let resource = request.plan.native.get("assign").and_then(|it| it.as_str()).unwrap_or_default().to_owned();
        let both = self.is_flawed(Flaw::GivesMore);
        let assigned = self.request(|state| {
            let mut assign = |name: String, resource: &str| {
                let resource = resource.to_owned();
                let it = Assignment { lease: Some(lease), slot: slot.clone(), resource, gone_at: None };
                state.assigned.insert(name, it);
            };
            assign(name_of(lease), &resource);
            if both {
                assign(format!("{}-more", name_of(lease)), "beta");
            }
        });
        match assigned {
            Err(error) if self.is_flawed(Flaw::DeniesDoubt) => {
                return Err(ProviderError::new(ErrorKind::Refused, error.message));
            }
            outcome => outcome?,
        }
        let token = format!("token-of-{}", lease.suffix());
        let minted = self.request(|state| state.tokens.insert(token.clone(), slot));
        // Something was made by now.
        minted.map_err(|error| ProviderError::new(ErrorKind::Unknown, error.message))?;
        let audience = "https://fake".to_owned();
        Ok(Issued {
            credential: Credential::Azure {
                tenant: "fake".to_owned(),
                client_id: request.target.to_owned(),
                subscription: "fake".to_owned(),
                tokens: vec![AzureToken { audience, token: Secret::new(token) }],
            },
            token_until: request.now.checked_add(TOKEN_LIFE).unwrap_or(Timestamp::MAX),
            native_id: name_of(lease),
            origin: None,
            facts: Vec::new(),
            notes: Vec::new(),
        })
    }

    async fn deny(
        &self,
        scope: &DenyScope,
        entries: &[DenyEntry],
        _as_of: Timestamp,
    ) -> Result<RevokeReceipt, ProviderError> {
        self.known(scope)?;
        let neighbours = self.is_flawed(Flaw::EndsNeighbours);
        for entry in entries {
            self.request(|state| {
                let resource = state.assigned.get(&entry.session_name).map(|it| it.resource.clone());
                self.take_away(state, |_, it| {
                    let beside = neighbours && it.lease.is_some() && Some(&it.resource) == resource.as_ref();
                    it.lease == Some(entry.lease) || beside
                });
            })?;
        }
        let version = format!("{} taken away", entries.len());
        Ok(RevokeReceipt { version, unchanged: false, collapsed: Vec::new(), collapse_at: None })
    }

    async fn confirm(&self, scope: &DenyScope, entries: &[DenyEntry]) -> Result<Vec<Confirmation>, ProviderError> {
        self.known(scope)?;
        let now = self.clock.now();
        let mut told = Vec::new();
        for entry in entries {
            let unseen = self.is_flawed(Flaw::ConfirmsUnseen);
            let stands = self.request(|state| {
                let it = |it: &&Assignment| it.lease == Some(entry.lease);
                state.assigned.values().filter(it).any(|it| if unseen { it.gone_at.is_none() } else { it.stands(now) })
            });
            told.push(match stands {
                Err(_) if self.is_flawed(Flaw::TrustsTrouble) => Confirmation::InForce,
                Ok(false) => Confirmation::InForce,
                Ok(true) => Confirmation::Absent,
                Err(error) => return Err(error),
            });
        }
        Ok(told)
    }

    async fn marked(&self, scope: &DenyScope) -> Result<Vec<Mark>, ProviderError> {
        self.known(scope)?;
        let now = self.clock.now();
        let found = self.request(|state| -> Vec<Mark> {
            let ours = state.assigned.iter().filter(|(_, it)| it.slot == scope.name && it.stands(now));
            ours.filter_map(|(name, it)| Some(Mark { lease: it.lease?, name: name.clone() })).collect()
        })?;
        Ok(if self.is_flawed(Flaw::LosesMarks) { Vec::new() } else { found })
    }

    async fn remove(&self, scope: &DenyScope, marks: &[Mark]) -> Result<(), ProviderError> {
        self.known(scope)?;
        let foreign = self.is_flawed(Flaw::RemovesForeign);
        self.request(|state| {
            self.take_away(state, |name, _| marks.iter().any(|mark| mark.name == *name) || foreign);
        })
    }

    fn health(&self) -> Vec<AccountHealth> {
        vec![AccountHealth { cloud: Cloud::Azure, account: ACCOUNT.to_owned(), last_error: None }]
    }

    fn bootstrap(&self, _accounts: &[AccountNeeds]) -> Result<String, ProviderError> {
        Ok("# there is nothing to set up\n".to_owned())
    }

    async fn examine(&self, account: &str, _resources: &[ResourceRef]) -> Result<Vec<Finding>, ProviderError> {
        self.capabilities(account).map(|_| Vec::new())
    }

    fn harmless(&self, _plan: &Plan) -> Option<String> {
        None
    }

    async fn try_session(&self, _plan: &Plan, _credential: &Credential) -> Result<Trial, ProviderError> {
        Err(ProviderError::new(ErrorKind::Unsupported, "no harmless call is known"))
    }
}
