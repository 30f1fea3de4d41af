//! Counting what each user takes: connections and requests.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::Limits;

/// How many connections there are, by user.
#[derive(Debug, Default)]
struct Counts {
    total: usize,
    by_uid: HashMap<u32, usize>,
}

/// Counts connections and paces requests.
#[derive(Debug)]
pub struct Gate {
    limits: Limits,
    counts: Arc<Mutex<Counts>>,
    pace: DefaultKeyedRateLimiter<u32>,
}

/// A connection that is counted until this is dropped.
#[derive(Debug)]
pub struct Place {
    counts: Arc<Mutex<Counts>>,
    uid: u32,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.total = counts.total.saturating_sub(1);
        if let Some(count) = counts.by_uid.get_mut(&self.uid) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.by_uid.remove(&self.uid);
            }
        }
    }
}

impl Gate {
    /// A gate with nobody inside.
    pub fn new(limits: Limits) -> Self {
        let quota = Quota::per_second(NonZeroU32::new(limits.requests_per_second).unwrap_or(NonZeroU32::MIN))
            .allow_burst(NonZeroU32::new(limits.burst).unwrap_or(NonZeroU32::MIN));
        Self { limits, counts: Arc::default(), pace: RateLimiter::keyed(quota) }
    }

    /// Lets a connection of `uid` in, or says which limit is reached.
    ///
    /// # Errors
    /// The words for the caller.
    pub fn enter(&self, uid: u32) -> Result<Place, String> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let (most, each) = (self.limits.connections, self.limits.connections_per_uid);
        if counts.total >= most {
            return Err(format!("{most} connections are open, which is all there may be: ask again in a moment"));
        }
        let mine = counts.by_uid.entry(uid).or_default();
        if *mine >= each {
            return Err(format!("uid {uid} has {each} connections open, which is all it may: close some"));
        }
        *mine = mine.saturating_add(1);
        counts.total = counts.total.saturating_add(1);
        drop(counts);
        Ok(Place { counts: Arc::clone(&self.counts), uid })
    }

    /// Whether `uid` may ask for something now.
    ///
    /// # Errors
    /// The words for the caller.
    pub fn pace(&self, uid: u32) -> Result<(), String> {
        let each = self.limits.requests_per_second;
        self.pace.check_key(&uid).map_err(|_| format!("uid {uid} asks more than {each} times a second: slow down"))
    }

    /// Forgets users that have been quiet.
    pub fn tidy(&self) {
        self.pace.retain_recent();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn gate(connections: usize, each: usize) -> Gate {
        Gate::new(Limits {
            connections,
            connections_per_uid: each,
            requests_per_second: 1,
            burst: 2,
            body_bytes: 1,
            header_timeout: Duration::ZERO,
            request_timeout: Duration::ZERO,
        })
    }

    #[test]
    fn p11_one_user_cannot_take_every_connection() {
        let gate = gate(3, 2);
        let (a, _b) = (gate.enter(1).unwrap(), gate.enter(1).unwrap());
        assert!(gate.enter(1).unwrap_err().contains("uid 1 has 2"));
        let _c = gate.enter(2).unwrap();
        assert!(gate.enter(3).unwrap_err().contains("3 connections"));
        drop(a);
        assert!(gate.enter(3).is_ok());
    }

    #[test]
    fn p11_the_pace_of_one_user_is_not_that_of_another() {
        let gate = gate(1, 1);
        assert!(gate.pace(1).is_ok() && gate.pace(1).is_ok());
        assert!(gate.pace(1).unwrap_err().contains("slow down"));
        assert!(gate.pace(2).is_ok());
    }
}
