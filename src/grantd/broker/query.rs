//! Looking: grants, leases, audit and how things stand, for those who may.

use grantd_model::{
    AuditRecord, ChainHead, Grant, GrantId, GrantPhase, Lease, LeaseId, LeasePhase, LeaseState, NodeId, Occurrence,
};
use grantd_provider_api::AccountHealth;
use jiff::Timestamp;

use super::issue::uses_of_grant;
use super::{Broker, BrokerError};
use crate::attest::Caller;
use crate::store::{GrantFilter, LeaseFilter};

/// Which grants.
#[derive(Debug, Clone, Default)]
pub struct GrantsAsk {
    /// In one of these phases.
    pub phases: Option<Vec<GrantPhase>>,
    /// On this resource.
    pub resource: Option<String>,
    /// Those of everybody.
    pub all: bool,
    /// Those of others that the caller can approve.
    pub approvable: bool,
    /// At most this many.
    pub limit: u32,
}

/// Which leases.
#[derive(Debug, Clone, Default)]
pub struct LeasesAsk {
    /// Under this grant.
    pub grant: Option<GrantId>,
    /// Ended ones too.
    pub ended: bool,
    /// Those of everybody.
    pub all: bool,
    /// At most this many.
    pub limit: u32,
}

/// How revocation stands.
#[derive(Debug, Clone, Default)]
pub struct RevocationState {
    /// How many leases have to end and are not refused for certain.
    pub unconfirmed: u64,
    /// Since when the oldest of them has to end.
    pub oldest_requested_at: Option<Timestamp>,
    /// How many intents are open.
    pub open_intents: u64,
    /// How many ends wait for the store.
    pub deferred: u64,
    /// How many leases are live.
    pub live: u64,
}

impl Broker {
    /// One grant, for its subject, its requester, who answers for what it is on where somebody approves, administrators
    /// and auditors.
    ///
    /// # Errors
    /// When there is none, it is somebody else's, or the store cannot be read.
    pub async fn see_grant(&self, caller: &Caller, id: GrantId) -> Result<Grant, BrokerError> {
        let grant = self.grant_or_missing(id).await?;
        if !self.is_auditor(caller) && !self.answers_for(caller, &grant) {
            self.must_be_party(caller, &grant)?;
        }
        Ok(grant)
    }

    /// How many tasks used a grant.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn uses(&self, id: GrantId) -> Result<u64, BrokerError> {
        Ok(self.store().counted(&uses_of_grant(id)).await?)
    }

    /// Some grants.
    ///
    /// # Errors
    /// When the caller asks for everybody's and may not, or the store cannot be read.
    pub async fn see_grants(&self, caller: &Caller, ask: GrantsAsk) -> Result<Vec<Grant>, BrokerError> {
        if ask.approvable {
            let mut grants = self.approvable(caller, ask.resource.as_deref()).await?;
            grants.retain(|grant| ask.phases.as_ref().is_none_or(|phases| phases.contains(&grant.state.phase())));
            grants.truncate(usize::try_from(ask.limit).unwrap_or(usize::MAX));
            return Ok(grants);
        }
        let identity = if ask.all {
            self.must_be_auditor(caller, "reading the grants of others")?;
            None
        } else {
            let subject = Self::known_subject(caller)?;
            Some(format!("{}:{}", subject.issuer, subject.id))
        };
        let filter = GrantFilter {
            phases: ask.phases,
            identity,
            resource: ask.resource,
            limit: Some(ask.limit),
            ..GrantFilter::default()
        };
        Ok(self.store().grants(filter).await?)
    }

    /// One lease, for its subject, administrators and auditors.
    ///
    /// # Errors
    /// When there is none, it is somebody else's, or the store cannot be read.
    pub async fn see_lease(&self, caller: &Caller, id: LeaseId) -> Result<Lease, BrokerError> {
        let lease = self.lease_or_missing(id).await?;
        if !self.is_auditor(caller) {
            let subject = Self::known_subject(caller)?;
            if !subject.same_identity(&lease.subject) {
                return Err(BrokerError::NotYours {
                    what: id.to_string(),
                    owner: lease.subject.to_string(),
                    you: subject.to_string(),
                });
            }
        }
        Ok(lease)
    }

    /// Some leases.
    ///
    /// # Errors
    /// When the caller asks for everybody's and may not, or the store cannot be read.
    pub async fn see_leases(&self, caller: &Caller, ask: LeasesAsk) -> Result<Vec<Lease>, BrokerError> {
        let uid = if ask.all {
            self.must_be_auditor(caller, "reading the leases of others")?;
            None
        } else {
            // Who may see a grant may see what is done under it.
            let of_grant = match ask.grant {
                Some(grant) => self.see_grant(caller, grant).await.is_ok(),
                None => false,
            };
            (!of_grant).then(|| caller.uid())
        };
        let phases = (!ask.ended).then(|| LeasePhase::OPEN.to_vec());
        let filter = LeaseFilter { phases, grant: ask.grant, uid, limit: Some(ask.limit), ..LeaseFilter::default() };
        Ok(self.store().leases(filter).await?)
    }

    /// A stretch of the audit with the chain's head.
    ///
    /// # Errors
    /// When the caller is no auditor, or the store cannot be read.
    pub async fn see_audit(
        &self,
        caller: &Caller,
        after: u64,
        limit: u32,
    ) -> Result<(ChainHead, Vec<AuditRecord>), BrokerError> {
        self.must_be_auditor(caller, "the audit")?;
        let records = self.store().audit(after, limit).await?;
        Ok((self.store().head().await?, records))
    }

    /// The end of the audit chain.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn head(&self) -> Result<ChainHead, BrokerError> {
        Ok(self.store().head().await?)
    }

    /// This node's name.
    #[must_use]
    pub fn node(&self) -> &NodeId {
        self.store().node()
    }

    /// Since when the broker runs.
    #[must_use]
    pub fn started_at(&self) -> Timestamp {
        self.inner.started_at
    }

    /// Why nothing can be written, if so.
    #[must_use]
    pub fn store_alarm(&self) -> Option<String> {
        self.store().poisoned()
    }

    /// Where a grant that recurs stands now.
    #[must_use]
    pub fn occurrence(&self, grant: &Grant) -> Option<Occurrence> {
        grant.occurrence(self.now())
    }

    /// Returns when whatever writes the store has come round to it; `false` when nothing does any more.
    pub async fn store_answers(&self) -> bool {
        self.store().answers().await
    }

    /// How the accounts are doing.
    #[must_use]
    pub fn accounts(&self) -> Vec<AccountHealth> {
        self.inner.providers.values().flat_map(|provider| provider.health()).collect()
    }

    /// How revocation stands.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn revocation_state(&self) -> Result<RevocationState, BrokerError> {
        let filter = LeaseFilter { phases: Some(LeasePhase::OPEN.to_vec()), ..LeaseFilter::default() };
        let mut state = RevocationState::default();
        for lease in self.store().leases(filter).await? {
            match lease.state {
                LeaseState::Issuing => state.open_intents = state.open_intents.saturating_add(1),
                LeaseState::Active => state.live = state.live.saturating_add(1),
                // Nobody is late with it: it is over when its time is.
                LeaseState::Expiring { .. } if !lease.ending.is_deniable() => {
                    state.unconfirmed = state.unconfirmed.saturating_add(1);
                }
                LeaseState::Revoking { requested_at, .. }
                | LeaseState::RevokeFailed { requested_at, .. }
                | LeaseState::Expiring { requested_at, .. } => {
                    state.unconfirmed = state.unconfirmed.saturating_add(1);
                    let oldest = state.oldest_requested_at.map_or(requested_at, |oldest| oldest.min(requested_at));
                    state.oldest_requested_at = Some(oldest);
                }
                LeaseState::Revoked { .. } | LeaseState::Expired { .. } | LeaseState::Failed { .. } => {}
            }
        }
        state.deferred = u64::try_from(self.inner.live.deferred().len()).unwrap_or(u64::MAX);
        Ok(state)
    }

    /// Lets administrators and auditors through.
    ///
    /// # Errors
    /// When the caller is neither; `what` is named.
    pub fn must_be_auditor(&self, caller: &Caller, what: &str) -> Result<(), BrokerError> {
        if self.is_auditor(caller) { Ok(()) } else { Err(only_for("administrators and auditors", caller, what)) }
    }

    pub(super) fn must_be_administrator(&self, caller: &Caller, what: &str) -> Result<(), BrokerError> {
        if self.is_administrator(caller) { Ok(()) } else { Err(only_for("administrators", caller, what)) }
    }
}

fn only_for(owner: &str, caller: &Caller, what: &str) -> BrokerError {
    BrokerError::NotYours {
        what: what.to_owned(),
        owner: owner.to_owned(),
        you: caller.subject.as_ref().map_or_else(|| format!("uid {}", caller.uid()), ToString::to_string),
    }
}
