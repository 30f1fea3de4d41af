//! The names and meanings of what is measured.

use std::sync::atomic::AtomicU64;

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::issuer::IssuerFamilies;
use super::seconds;
use super::signal::SignalFamilies;
use crate::broker::Gauges;

/// From a millisecond to half a minute.
const BUCKETS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

type FloatGauge = Gauge<f64, AtomicU64>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Route {
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Answered {
    route: String,
    status: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Kind {
    kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Decided {
    pub(super) action: String,
    pub(super) verdict: String,
    pub(super) rule: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Called {
    pub(super) cloud: String,
    pub(super) account: String,
    pub(super) call: String,
    pub(super) outcome: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Call {
    pub(super) cloud: String,
    pub(super) account: String,
    pub(super) call: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Scope {
    cloud: String,
    account: String,
    scope: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Account {
    cloud: String,
    account: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: String,
    policy: String,
    node: String,
}

/// All of it. Cheap to clone.
#[derive(Clone)]
pub(super) struct Families {
    requests: Family<Answered, Counter>,
    request_seconds: Family<Route, Histogram>,
    pub(super) connections: Gauge,
    pub(super) turned_away: Counter,
    pub(super) records: Family<Kind, Counter>,
    pub(super) decisions: Family<Decided, Counter>,
    pub(super) commit_seconds: Histogram,
    pub(super) commits_refused: Counter,
    pub(super) commits_failed: Counter,
    pub(super) calls: Family<Called, Counter>,
    pub(super) call_seconds: Family<Call, Histogram>,
    leases: Family<State, Gauge>,
    grants: Family<State, Gauge>,
    oldest_unconfirmed: FloatGauge,
    unconfirmed: Gauge,
    oldest_intent: FloatGauge,
    oldest_pending: FloatGauge,
    deferred: Gauge,
    served: Gauge,
    in_flight: Gauge,
    places: Family<Scope, Gauge>,
    places_limit: Family<Scope, Gauge>,
    account_failing: Family<Account, Gauge>,
    freezes: Gauge,
    reviews_open: Gauge,
    reviews_overdue: Gauge,
    audit_records: Gauge,
    store_poisoned: Gauge,
    policy_alarm: Gauge,
    started: FloatGauge,
    info: Family<Build, Gauge>,
    issuers: IssuerFamilies,
    signals: SignalFamilies,
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

impl Families {
    /// Each under its name and with its meaning.
    pub(super) fn registered(registry: &mut Registry) -> Self {
        let mut add = Adder(registry);
        let all = Self {
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(histogram),
            connections: Gauge::default(),
            turned_away: Counter::default(),
            records: Family::default(),
            decisions: Family::default(),
            commit_seconds: histogram(),
            commits_refused: Counter::default(),
            commits_failed: Counter::default(),
            calls: Family::default(),
            call_seconds: Family::new_with_constructor(histogram),
            leases: Family::default(),
            grants: Family::default(),
            oldest_unconfirmed: FloatGauge::default(),
            unconfirmed: Gauge::default(),
            oldest_intent: FloatGauge::default(),
            oldest_pending: FloatGauge::default(),
            deferred: Gauge::default(),
            served: Gauge::default(),
            in_flight: Gauge::default(),
            places: Family::default(),
            places_limit: Family::default(),
            account_failing: Family::default(),
            freezes: Gauge::default(),
            reviews_open: Gauge::default(),
            reviews_overdue: Gauge::default(),
            audit_records: Gauge::default(),
            store_poisoned: Gauge::default(),
            policy_alarm: Gauge::default(),
            started: FloatGauge::default(),
            info: Family::default(),
            issuers: IssuerFamilies::registered(&mut add),
            signals: SignalFamilies::registered(&mut add),
        };
        add.one("requests", "Requests answered on the socket, by route and HTTP status", &all.requests);
        add.time("request", "From the head of a request to its answer", &all.request_seconds);
        add.one("connections", "Open connections", &all.connections);
        add.one("connections_turned_away", "Connections refused before a byte was read", &all.turned_away);
        add.one(
            "audit_records_written",
            "Audit records written since the start, by kind: every decision and transition",
            &all.records,
        );
        add.one(
            "decisions",
            "Decisions of policy that are on record, by action, verdict and refusing rule",
            &all.decisions,
        );
        add.time("commit", "From handing a transaction to the store to its being on disk", &all.commit_seconds);
        add.one("commits_refused", "Transactions of which a guard did not hold", &all.commits_refused);
        add.one("commits_failed", "Transactions that the store failed", &all.commits_failed);
        add.one("cloud_calls", "Calls of an adapter, by outcome: ok, or the kind of error", &all.calls);
        add.time("cloud_call", "From a call of an adapter to its answer", &all.call_seconds);
        add.one("leases", "Leases that are not over, by state", &all.leases);
        add.one("grants", "Grants that are not over, by state", &all.grants);
        let oldest = "Age of the oldest end that the cloud has not confirmed; 0 without one";
        add.time("revocation_oldest_unconfirmed", oldest, &all.oldest_unconfirmed);
        add.one("revocations_unconfirmed", "Leases that have to end and are not refused for certain", &all.unconfirmed);
        add.time("intent_oldest_open", "Age of the oldest session in the making; 0 without one", &all.oldest_intent);
        add.time(
            "grant_oldest_pending",
            "Age of the oldest request that waits for approval; 0 without one",
            &all.oldest_pending,
        );
        add.one("ends_deferred", "Ends that could not be written yet; the cloud is told all the same", &all.deferred);
        add.one("credentials_in_memory", "Credentials that can be handed out again", &all.served);
        add.one("sessions_in_the_making", "Sessions that this process is making", &all.in_flight);
        add.one("deny_scope_places", "Places taken in a deny scope: live, or revoked and not yet dead", &all.places);
        add.one("deny_scope_places_limit", "Places that a deny scope has", &all.places_limit);
        add.one("account_failing", "1 while the last call to an account failed", &all.account_failing);
        add.one("freezes", "Freezes that stand", &all.freezes);
        add.one("reviews_open", "Reviews that nobody completed yet", &all.reviews_open);
        add.one("reviews_overdue", "Reviews whose deadline passed", &all.reviews_overdue);
        add.one("audit_chain_records", "Records in this node's audit chain", &all.audit_records);
        add.one("store_poisoned", "1 while nothing can be written", &all.store_poisoned);
        add.one("policy_alarm", "1 while the policy on disk is not fit to be put into force", &all.policy_alarm);
        add.time("start_time", "When the daemon started, in seconds since 1970", &all.started);
        add.one("build", "Always 1: the version of the daemon, the policy in force and the node", &all.info);
        all
    }

    pub(super) fn answered(&self, route: &str, status: u16, seconds: f64) {
        let route = route.to_owned();
        self.request_seconds.get_or_create(&Route { route: route.clone() }).observe(seconds);
        self.requests.get_or_create(&Answered { route, status: status.into() }).inc();
    }

    pub(super) fn recorded(&self, kind: &str) {
        self.records.get_or_create(&Kind { kind: kind.to_owned() }).inc();
    }

    /// Sets what is looked up rather than counted.
    pub(super) fn stand(&self, gauges: &Gauges, now: Timestamp) {
        let age = |since: Option<Timestamp>| since.map_or(0.0, |since| seconds(since, now));
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        for (states, family) in [(&gauges.leases, &self.leases), (&gauges.grants, &self.grants)] {
            for (state, count) in states {
                family.get_or_create(&State { state: (*state).to_owned() }).set(number(*count));
            }
        }
        self.oldest_unconfirmed.set(age(gauges.revocation.oldest_requested_at));
        self.unconfirmed.set(number(gauges.revocation.unconfirmed));
        self.oldest_intent.set(age(gauges.oldest_intent));
        self.oldest_pending.set(age(gauges.oldest_pending));
        self.deferred.set(number(gauges.revocation.deferred));
        self.served.set(number(gauges.in_memory));
        self.in_flight.set(number(gauges.in_flight));
        for (scope, taken, limit) in &gauges.places {
            let label =
                Scope { cloud: scope.cloud.to_string(), account: scope.account.clone(), scope: scope.name.clone() };
            self.places.get_or_create(&label).set(number(*taken));
            self.places_limit.get_or_create(&label).set(number(*limit));
        }
        for health in &gauges.accounts {
            let label = Account { cloud: health.cloud.to_string(), account: health.account.clone() };
            self.account_failing.get_or_create(&label).set(i64::from(health.last_error.is_some()));
        }
        self.issuers.stand(&gauges.issuers, now);
        self.signals.stand(&gauges.signals);
        self.freezes.set(number(gauges.freezes));
        self.reviews_open.set(number(gauges.reviews.0));
        self.reviews_overdue.set(number(gauges.reviews.1));
        self.audit_records.set(number(gauges.audit_seq));
        self.store_poisoned.set(i64::from(gauges.store_poisoned));
        self.policy_alarm.set(i64::from(gauges.policy_alarm));
        self.started.set(gauges.started_at.duration_since(Timestamp::UNIX_EPOCH).as_secs_f64());
        self.info.clear();
        let build = Build {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            policy: gauges.policy.clone(),
            node: gauges.node.clone(),
        };
        self.info.get_or_create(&build).set(1);
    }
}

/// Registers metrics of one registry.
pub(super) struct Adder<'a>(&'a mut Registry);

impl Adder<'_> {
    pub(super) fn one<M: prometheus_client::registry::Metric + Clone>(&mut self, name: &str, help: &str, metric: &M) {
        self.0.register(name, help, metric.clone());
    }

    pub(super) fn time<M: prometheus_client::registry::Metric + Clone>(&mut self, name: &str, help: &str, metric: &M) {
        self.0.register_with_unit(name, help, Unit::Seconds, metric.clone());
    }
}
