//! What is measured of the sources of signals. They count themselves where they are asked; it is told here.

use std::sync::atomic::Ordering;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::families::Adder;
use crate::signal::Standing;

/// A source by its configured name, which says nothing of any request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Source {
    source: String,
    signal: &'static str,
}

/// All of it. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct SignalFamilies {
    told: Family<Source, Counter>,
    failed: Family<Source, Counter>,
    failing: Family<Source, Gauge>,
}

impl SignalFamilies {
    /// Each under its name and with its meaning.
    pub fn registered(add: &mut Adder<'_>) -> Self {
        let all = Self::default();
        add.one("signal_looks", "Answers of a source of signals that could be used", &all.told);
        add.one("signal_failures", "Looks at a source of signals that gave nothing usable", &all.failed);
        add.one("signal_source_failing", "1 while the last look at a source of signals failed", &all.failing);
        all
    }

    /// Sets everything as it stands.
    pub fn stand(&self, sources: &[Standing]) {
        for standing in sources {
            let source = Source { source: standing.name.clone(), signal: standing.signal.as_str() };
            self.told.get_or_create(&source).inner().store(standing.told, Ordering::Relaxed);
            self.failed.get_or_create(&source).inner().store(standing.failed, Ordering::Relaxed);
            self.failing.get_or_create(&source).set(standing.error.is_some().into());
        }
    }
}
