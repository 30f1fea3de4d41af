//! How long a revocation takes to be felt, as it was measured.

use std::time::Duration;

use grantd_provider_api::Cloud;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::NodeId;

/// How many measurements are kept: what was slow once and no more is forgotten after as many.
const RECENT: usize = 10;

/// What was measured in one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Propagation {
    /// The cloud.
    pub cloud: Cloud,
    /// The configured account.
    pub account: String,
    /// How often it was measured.
    pub samples: u64,
    /// The latest measurements, oldest first.
    pub recent: Vec<PropagationSample>,
    /// Grows by one with each measurement.
    pub version: u64,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PropagationSample {
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub node: NodeId,
    /// From the decision to end a session until the cloud was seen to refuse it, in milliseconds.
    pub milliseconds: u64,
}

impl Propagation {
    /// After the first measurement in an account.
    #[must_use]
    pub fn first(cloud: Cloud, account: String, sample: PropagationSample) -> Self {
        Self { cloud, account, samples: 1, recent: vec![sample], version: 0 }
    }

    /// After another one.
    #[must_use]
    pub fn with(&self, sample: PropagationSample) -> Self {
        let mut next = self.clone();
        next.recent.push(sample);
        let old = next.recent.len().saturating_sub(RECENT);
        next.recent.drain(..old);
        next.samples = next.samples.saturating_add(1);
        next.version = next.version.saturating_add(1);
        next
    }

    /// The slowest of the measurements that are kept: what has to be reckoned with.
    #[must_use]
    pub fn slowest(&self) -> Duration {
        Duration::from_millis(self.recent.iter().map(|sample| sample.milliseconds).max().unwrap_or_default())
    }

    /// The latest measurement.
    #[must_use]
    pub fn latest(&self) -> Option<&PropagationSample> {
        self.recent.last()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(milliseconds: u64) -> PropagationSample {
        PropagationSample { at: Timestamp::UNIX_EPOCH, node: NodeId("n".to_owned()), milliseconds }
    }

    #[test]
    fn the_slowest_counts_until_ten_others_have_come() {
        let mut measured = Propagation::first(Cloud::Aws, "main".to_owned(), sample(9_000));
        for nth in 1..10 {
            measured = measured.with(sample(1_000 + nth));
            assert_eq!(measured.slowest(), Duration::from_secs(9), "after {nth}");
        }
        let measured = measured.with(sample(1_500));
        assert_eq!(measured.slowest(), Duration::from_millis(1_500));
        assert_eq!((measured.samples, measured.version, measured.recent.len()), (11, 10, 10));
    }
}
