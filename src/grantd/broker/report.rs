//! The report of what is granted again and again: for auditors, administrators, and those who answer for the data. It
//! proposes; it changes nothing.

use std::time::Duration;

use grantd_model::{Repetition, repetitions};
use jiff::{SignedDuration, Timestamp};

use super::quorum::person;
use super::{Broker, BrokerError};
use crate::attest::Caller;
use crate::store::{GrantFilter, LeaseFilter};

/// How far back it can look.
const FURTHEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// How many grants, and how many leases, it looks at: the newest.
const MOST: u32 = 20_000;

/// What was granted again and again.
#[derive(Debug, Clone)]
pub struct Report {
    /// From when.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Whether everything was looked at.
    pub complete: bool,
    /// What was granted most often first.
    pub repetitions: Vec<Repetition>,
}

impl Broker {
    /// What was granted within `window`, grouped, with what was used of it. Administrators and auditors see all of it;
    /// stewards and owners what is on their resources.
    ///
    /// # Errors
    /// When the window is too long, the caller is none of these, or the store cannot be read.
    pub async fn report(&self, caller: &Caller, window: Duration) -> Result<Report, BrokerError> {
        if window > FURTHEST || window.is_zero() {
            return Err(BrokerError::BadRequest("a report looks back a second or more, 366 days at most".to_owned()));
        }
        let bundle = self.bundle();
        let whose = if self.is_auditor(caller) { None } else { person(&bundle.people, caller).ok() };
        let answers = |name: &str, resource: &str| {
            let resource = bundle.catalog.get(resource);
            resource.is_some_and(|it| it.stewards.iter().chain(&it.owners).any(|person| person == name))
        };
        let steward = whose.as_ref().filter(|me| bundle.catalog.iter().any(|it| answers(&me.name, &it.name)));
        if steward.is_none() {
            self.must_be_auditor(
                caller,
                "the report of what is granted again and again, which stewards and owners see of theirs,",
            )?;
        }
        let until = self.now();
        let since = until.checked_sub(SignedDuration::try_from(window).unwrap_or(SignedDuration::MAX));
        let since = since.unwrap_or(Timestamp::MIN);
        let filter = GrantFilter { since: Some(since), limit: Some(MOST), ..GrantFilter::default() };
        let grants = self.store().grants(filter).await?;
        let filter = LeaseFilter { since: Some(since), limit: Some(MOST), ..LeaseFilter::default() };
        let leases = self.store().leases(filter).await?;
        let most = usize::try_from(MOST).unwrap_or(usize::MAX);
        let mut repetitions = repetitions(&grants, &leases, until);
        if let Some(me) = steward {
            repetitions.retain(|one| answers(&me.name, &one.resource));
        }
        Ok(Report { since, until, complete: grants.len() < most && leases.len() < most, repetitions })
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
