//! What a deny document denies, and which ended sessions it denies together. Pure: the moment of reading is a parameter.
//!
//! A session is denied by its suffix, or by its role's line: `DateLessThan aws:TokenIssueTime <until>` and
//! `StringLike aws:userid "<role id>:*"`. A line takes as much room as a dozen suffixes and stands for any number, but
//! it refuses whatever was issued on the role before its time. So a new one is drawn only over a role on which nothing
//! lived when the store was read, and only up to a moment that was over by then on any clock (promise P10).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use grantd_provider_api::{DenyEntry, DenyForm, ErrorKind, LeaseId, Origin, ProviderError};
use jiff::Timestamp;

/// So many sessions of one role are denied together, not fewer: a line must free more room than it takes, and be worth
/// the write.
pub(crate) const WORTH_A_LINE: usize = 16;

/// How far above the issue time of the youngest session a line is drawn. What STS says is in whole seconds; which way
/// it rounds is not documented.
const ABOVE: Duration = Duration::from_secs(2);

/// How long a line's time must be over, beyond what the clocks may disagree by.
const MARGIN: Duration = Duration::from_secs(2);

/// What a document denies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Denials {
    /// The sessions with these suffixes.
    pub suffixes: BTreeSet<String>,
    /// By role id: every session that was issued before this moment.
    pub lines: BTreeMap<String, Timestamp>,
}

/// What a list of entries asks of a document.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// What it is to deny.
    pub denials: Denials,
    /// The suffix of every entry, however it is denied.
    pub explained: BTreeSet<String>,
    /// The entries that a line denies from now on.
    pub collapsed: Vec<LeaseId>,
    /// When more will be old enough.
    pub collapse_at: Option<Timestamp>,
}

impl Denials {
    /// Whether the session of `entry` is denied for certain.
    pub fn refuse(&self, entry: &DenyEntry) -> Result<bool, ProviderError> {
        let covered = |origin: &Origin| self.lines.get(&origin.identity).is_some_and(|line| *line >= line_over(origin));
        Ok(self.suffixes.contains(&suffix(entry)?) || entry.origin.as_ref().is_some_and(covered))
    }

    /// Draws a line, or lifts the one there is; never lowers it.
    pub fn draw(&mut self, role: &str, until: Timestamp) {
        let line = self.lines.entry(role.to_owned()).or_insert(until);
        *line = until.max(*line);
    }
}

/// What `entries`, which the store said at `as_of` or later, ask of a document. Nothing is collapsed anew unless
/// `collapse`; clocks may disagree by `skew`.
///
/// # Errors
/// `Config` when an entry cannot be denied as it asks.
pub(crate) fn wanted(
    entries: &[DenyEntry],
    as_of: Timestamp,
    skew: Duration,
    collapse: bool,
) -> Result<Wanted, ProviderError> {
    let mut wanted = Wanted::default();
    let mut candidates: BTreeMap<&str, Vec<(Timestamp, &DenyEntry)>> = BTreeMap::new();
    for entry in entries {
        let suffix = suffix(entry)?;
        wanted.explained.insert(suffix.clone());
        let origin = entry.origin.as_ref().filter(|origin| is_role_id(&origin.identity));
        match (entry.form, origin) {
            (DenyForm::Collapsed, Some(origin)) => wanted.denials.draw(&origin.identity, line_over(origin)),
            (DenyForm::MayCollapse, Some(origin)) if collapse => {
                let slack = skew.saturating_add(MARGIN);
                let ready = line_over(origin).checked_add(slack).unwrap_or(Timestamp::MAX);
                candidates.entry(&origin.identity).or_default().push((ready, entry));
                wanted.denials.suffixes.insert(suffix);
            }
            // Of what is not known to have been issued on this role only its own name is certain.
            _ => {
                wanted.denials.suffixes.insert(suffix);
            }
        }
    }
    for (role, mut candidates) in candidates {
        candidates.sort_by_key(|(ready, entry)| (*ready, entry.lease));
        let ready = candidates.iter().filter(|(ready, _)| *ready <= as_of).count();
        let over = if ready < WORTH_A_LINE { 0 } else { ready };
        for (_, entry) in candidates.iter().take(over) {
            wanted.denials.suffixes.remove(&suffix(entry)?);
            wanted.denials.draw(role, entry.origin.as_ref().map_or(Timestamp::MIN, line_over));
            wanted.collapsed.push(entry.lease);
        }
        let next = candidates.get(over.saturating_add(WORTH_A_LINE).saturating_sub(1)).map(|(ready, _)| *ready);
        wanted.collapse_at = [wanted.collapse_at, next].into_iter().flatten().min();
    }
    Ok(wanted)
}

/// The time of the line that denies this session for certain.
fn line_over(origin: &Origin) -> Timestamp {
    let whole = Timestamp::from_second(origin.issued_at.as_second()).unwrap_or(origin.issued_at);
    whole.checked_add(ABOVE).unwrap_or(Timestamp::MAX)
}

/// The suffix of one entry.
///
/// # Errors
/// `Config` when the entry's session name does not end in its lease's suffix: denying it would miss the session.
pub(crate) fn suffix(entry: &DenyEntry) -> Result<String, ProviderError> {
    let suffix = entry.lease.suffix();
    let own = entry.session_name.strip_suffix(&suffix).is_some_and(|rest| rest.ends_with('-'));
    if own {
        return Ok(suffix);
    }
    let (lease, name) = (entry.lease, &entry.session_name);
    Err(ProviderError::new(ErrorKind::Config, format!("session name \"{name}\" does not belong to {lease}")))
}

/// The unique id of a role: `AROA` and capital letters and digits (IAM User Guide, "IAM identifiers"); AWS gives 21
/// characters and documents no number. One that is longer than a line has room for is not taken.
pub(crate) fn is_role_id(text: &str) -> bool {
    let rest = text.strip_prefix("AROA").unwrap_or_default();
    (12..=28).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

#[cfg(test)]
#[path = "denials_tests.rs"]
mod tests;
