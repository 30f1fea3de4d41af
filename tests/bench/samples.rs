//! Samples, what is said of them, and the only clock of the benchmarks.

use std::time::Instant;

use serde::{Deserialize, Serialize};

/// Measurements in microseconds, in the order in which they were taken.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Samples(pub Vec<f64>);

impl Samples {
    /// The value below which `share` (0 to 1) of the samples lie, by the nearest rank.
    pub fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (1..=sorted.len()).find(|rank| of(*rank) >= share * of(sorted.len())).unwrap_or(sorted.len());
        sorted[rank - 1]
    }

    /// The middle one; of an even number, the mean of the two in the middle.
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        if sorted.len().is_multiple_of(2) { f64::midpoint(sorted[middle - 1], sorted[middle]) } else { sorted[middle] }
    }

    /// The smallest.
    pub fn least(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The largest.
    pub fn most(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// Of several, all.
    pub fn together<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        Self(all.into_iter().flat_map(|samples| samples.0.iter().copied()).collect())
    }
}

/// A count as a number to calculate with.
pub fn of(count: usize) -> f64 {
    u32::try_from(count).expect("no measurement has so many").into()
}

/// A running stopwatch.
#[derive(Debug, Clone, Copy)]
pub struct Watch(Instant);

impl Watch {
    /// Starts now.
    #[expect(clippy::disallowed_methods, reason = "a benchmark is about the time that passes")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Microseconds since the start.
    pub fn micros(self) -> f64 {
        self.0.elapsed().as_secs_f64() * 1e6
    }
}
