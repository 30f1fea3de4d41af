//! What the daemon counts and measures, for Prometheus. No label holds a name of a person, a workload or a resource, or
//! anything else from a request: whoever may read the metrics learns how the daemon is, not what it does for whom.

mod families;
mod issuer;
mod listen;
mod provider;
mod signal;
mod store;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use grantd_provider_api::{Clock, Cloud, Provider};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::broker::{Broker, BrokerError};
use crate::store::Store;

use families::Families;
pub use listen::serve;

/// The media type of the text (OpenMetrics 1.0, "Content Type").
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that is counted. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    families: Families,
    clock: Arc<dyn Clock>,
}

impl Metrics {
    /// With everything at nothing.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let mut registry = Registry::with_prefix("grantd");
        let families = Families::registered(&mut registry);
        Self { registry: Arc::new(registry), families, clock }
    }

    /// The same store, with every commit counted and measured.
    #[must_use]
    pub fn over_store(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(store::Measured::new(store, self.families.clone(), Arc::clone(&self.clock)))
    }

    /// The same adapters, with every call to a cloud counted and measured.
    #[must_use]
    pub fn over_providers(&self, providers: BTreeMap<Cloud, Arc<dyn Provider>>) -> BTreeMap<Cloud, Arc<dyn Provider>> {
        let over = |provider| -> Arc<dyn Provider> {
            Arc::new(provider::Measured::new(provider, self.families.clone(), Arc::clone(&self.clock)))
        };
        providers.into_iter().map(|(cloud, provider)| (cloud, over(provider))).collect()
    }

    /// Counts an answered request by the route that it took, and how long it took from its head to its answer.
    pub fn answered(&self, route: &str, status: u16, since: jiff::Timestamp) {
        self.families.answered(route, status, seconds(since, self.clock.now()));
    }

    /// The present moment, to hand to [`Metrics::answered`].
    #[must_use]
    pub fn now(&self) -> jiff::Timestamp {
        self.clock.now()
    }

    /// A connection was opened; it is counted as open until what this returns is dropped.
    #[must_use]
    pub fn opened(&self) -> Open {
        self.families.connections.inc();
        Open(self.families.clone())
    }

    /// A connection was turned away.
    pub fn turned_away(&self) {
        self.families.turned_away.inc();
    }

    /// Looks how things stand and gives everything as text.
    ///
    /// # Errors
    /// When the store cannot be read: then nothing is told, rather than old figures.
    pub async fn text(&self, broker: &Broker) -> Result<String, BrokerError> {
        let gauges = broker.gauges().await?;
        self.families.stand(&gauges, self.clock.now());
        let mut text = String::new();
        encode(&mut text, &self.registry).map_err(|error| BrokerError::Internal(error.to_string()))?;
        Ok(text)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// An open connection.
pub struct Open(Families);

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open").finish_non_exhaustive()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.dec();
    }
}

/// From `since` to `until`, in seconds.
fn seconds(since: jiff::Timestamp, until: jiff::Timestamp) -> f64 {
    until.duration_since(since).as_secs_f64().max(0.0)
}
