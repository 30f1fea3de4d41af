//! How everything stands, in numbers: for the metrics.

use std::collections::BTreeMap;

use grantd_model::{GrantPhase, LeasePhase, LeaseState};
use grantd_provider_api::{AccountHealth, DenyScope};
use jiff::Timestamp;

use super::{Broker, BrokerError, RevocationState};
use crate::issuer::IssuerFigures;
use crate::signal::Standing;
use crate::store::{GrantFilter, LeaseFilter};

/// The phases of a grant that is not over.
const OPEN_GRANTS: [GrantPhase; 3] = [GrantPhase::Pending, GrantPhase::Scheduled, GrantPhase::Active];

/// How everything stands at one moment.
#[derive(Debug, Clone, Default)]
pub struct Gauges {
    /// Leases that are not over, by state; each state is there, if only with 0.
    pub leases: BTreeMap<&'static str, u64>,
    /// The same of grants.
    pub grants: BTreeMap<&'static str, u64>,
    /// How revocation stands.
    pub revocation: RevocationState,
    /// Since when the oldest intent is open.
    pub oldest_intent: Option<Timestamp>,
    /// Since when the oldest request waits for approval.
    pub oldest_pending: Option<Timestamp>,
    /// How many credentials are in memory.
    pub in_memory: u64,
    /// How many sessions are being made by this process.
    pub in_flight: u64,
    /// Of each deny scope, how many places are taken and how many there are.
    pub places: Vec<(DenyScope, u64, u64)>,
    /// How each account is doing.
    pub accounts: Vec<AccountHealth>,
    /// How each issuer of tokens is doing.
    pub issuers: Vec<IssuerFigures>,
    /// How each source of signals stands.
    pub signals: Vec<Standing>,
    /// How many reviews are open, and how many of them overdue.
    pub reviews: (u64, u64),
    /// How many freezes stand.
    pub freezes: u64,
    /// How many records this node's chain has.
    pub audit_seq: u64,
    /// Whether nothing can be written.
    pub store_poisoned: bool,
    /// Whether the policy on disk is not fit to be put into force.
    pub policy_alarm: bool,
    /// Since when the broker runs.
    pub started_at: Timestamp,
    /// The policy in force.
    pub policy: String,
    /// This node's name.
    pub node: String,
}

impl Broker {
    /// Looks how everything stands.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn gauges(&self) -> Result<Gauges, BrokerError> {
        let mut gauges = Gauges {
            revocation: self.revocation_state().await?,
            leases: LeasePhase::OPEN.iter().map(|phase| (phase.as_str(), 0)).collect(),
            grants: OPEN_GRANTS.iter().map(|phase| (phase.as_str(), 0)).collect(),
            accounts: self.accounts(),
            issuers: self.inner.issuers.iter().map(|issuer| issuer.figures()).collect(),
            signals: self.inner.lookout.standings(),
            freezes: count(self.standing_freezes().len()),
            audit_seq: self.head().await?.seq,
            store_poisoned: self.store_alarm().is_some(),
            policy_alarm: self.policy_alarm().is_some(),
            started_at: self.started_at(),
            policy: self.bundle().version.to_string(),
            node: self.node().to_string(),
            ..Gauges::default()
        };
        let open = LeaseFilter { phases: Some(LeasePhase::OPEN.to_vec()), ..LeaseFilter::default() };
        for lease in self.store().leases(open).await? {
            add(&mut gauges.leases, lease.state.phase().as_str());
            if lease.state == LeaseState::Issuing {
                gauges.oldest_intent = earliest(gauges.oldest_intent, lease.created_at);
            }
        }
        let (open, overdue) = self.open_reviews().await?;
        gauges.reviews = (count(open), count(overdue.len()));
        let open = GrantFilter { phases: Some(OPEN_GRANTS.to_vec()), ..GrantFilter::default() };
        for grant in self.store().grants(open).await? {
            add(&mut gauges.grants, grant.state.phase().as_str());
            if grant.state.phase() == GrantPhase::Pending {
                gauges.oldest_pending = earliest(gauges.oldest_pending, grant.created_at);
            }
        }
        (gauges.in_memory, gauges.in_flight) = self.inner.live.counts();
        let now = self.now();
        for provider in self.inner.providers.values() {
            for scope in provider.scopes() {
                let limit = provider.capacity(&scope)?;
                let taken = self.store().places(&scope, now).await?;
                gauges.places.push((scope, taken, u64::from(limit)));
            }
        }
        Ok(gauges)
    }
}

fn add(counts: &mut BTreeMap<&'static str, u64>, state: &'static str) {
    let known = counts.entry(state).or_default();
    *known = known.saturating_add(1);
}

fn earliest(known: Option<Timestamp>, at: Timestamp) -> Option<Timestamp> {
    Some(known.map_or(at, |known| known.min(at)))
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
