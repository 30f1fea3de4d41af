//! What sources told, and when: used again while it is young enough for who asks. Pure: no clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

/// How much is kept of one source.
const MOST: usize = 1024;

/// Of one source: by what was asked, what it told.
#[derive(Debug)]
pub(super) struct Memory<T> {
    told: BTreeMap<String, (Timestamp, Arc<T>)>,
}

impl<T> Default for Memory<T> {
    fn default() -> Self {
        Self { told: BTreeMap::new() }
    }
}

impl<T> Memory<T> {
    /// What was told about `key`, and how long before `now`, unless that is longer than `max_age`, or in the future:
    /// then a clock jumped, and its age is not known.
    pub fn young(&self, key: &str, now: Timestamp, max_age: Duration) -> Option<(Arc<T>, Duration)> {
        let (at, told) = self.told.get(key)?;
        let age = Duration::try_from(now.duration_since(*at)).ok()?;
        (age <= max_age).then(|| (Arc::clone(told), age))
    }

    /// Keeps it, as of `at`: the moment at which it was asked, not that of the answer.
    pub fn keep(&mut self, key: String, at: Timestamp, told: Arc<T>) {
        if self.told.len() >= MOST
            && !self.told.contains_key(&key)
            && let Some(oldest) = self.told.iter().min_by_key(|(_, (at, _))| *at).map(|(key, _)| key.clone())
        {
            self.told.remove(&oldest);
        }
        self.told.insert(key, (at, told));
    }

    /// What was asked about last, and when.
    pub fn newest(&self) -> Option<(&str, Timestamp)> {
        self.told.iter().map(|(key, (at, _))| (key.as_str(), *at)).max_by_key(|(_, at)| *at)
    }

    /// Forgets it: the source does not have it any more.
    pub fn forget(&mut self, key: &str) {
        self.told.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    #[test]
    fn p6_what_is_too_old_or_from_the_future_is_not_used() {
        let mut memory = Memory::default();
        memory.keep("a".to_owned(), at(0), Arc::new(1));
        let young = |now, max| memory.young("a", at(now), Duration::from_secs(max)).map(|(_, age)| age.as_secs());
        assert_eq!(young(0, 0), Some(0));
        assert_eq!(young(60, 60), Some(60));
        assert_eq!(young(61, 60), None);
        assert_eq!(young(-1, 60), None, "a clock that jumped back");
        assert!(memory.young("b", at(0), Duration::MAX).is_none());
    }

    #[test]
    fn p11_what_is_kept_is_bounded_and_the_oldest_goes_first() {
        let mut memory = Memory::default();
        for n in 0..=MOST {
            memory.keep(format!("{n}"), at(i64::try_from(n).unwrap()), Arc::new(n));
        }
        assert_eq!(memory.told.len(), MOST);
        assert!(memory.young("0", at(5000), Duration::MAX).is_none());
        memory.forget("1");
        assert!(memory.young("1", at(5000), Duration::MAX).is_none());
    }
}
