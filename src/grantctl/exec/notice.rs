//! What to say of a grant as its end comes near. Pure.

use grantd_wire::GrantView;
use jiff::{SignedDuration, Timestamp};

use crate::print::{absolute, relative};

/// Never told later than this before the end, and never earlier than that.
const LATEST: SignedDuration = SignedDuration::from_mins(2);
const EARLIEST: SignedDuration = SignedDuration::from_mins(10);

/// What is said of a use of break-glass when it begins: what it is, that it is told, and who looks at it afterwards.
/// Nothing of any other grant.
pub(super) fn broken(grant: &GrantView, now: Timestamp) -> Vec<String> {
    let Some(glass) = &grant.break_glass else { return Vec::new() };
    let until = grant.active_until.as_deref().map(|at| format!(" until {}", absolute(at, now))).unwrap_or_default();
    let what = format!("{} on {} (tier {})", grant.capability, grant.resource, grant.tier);
    let mut lines = vec![
        format!("BREAK-GLASS: {what} by profile {} for {}{until}", glass.profile, glass.incident),
        "everybody whom grantd tells is told now, and every step of it is on record as break-glass".to_owned(),
    ];
    lines.extend(glass.review.as_ref().map(|review| {
        let who = if review.reviewers.is_empty() { "security".to_owned() } else { review.reviewers.join(" or ") };
        let due = absolute(&review.due_at, now);
        format!("{who} reviews it by {due} ({}): overdue, it keeps you from break-glass", review.id)
    }));
    lines
}

/// What was said so far.
#[derive(Debug)]
pub(crate) struct Notice {
    without: &'static str,
    grant: String,
    until: Option<Timestamp>,
    warn_at: Option<Timestamp>,
    warned: bool,
    over: Option<String>,
}

impl Default for Notice {
    /// Of what the command of `exec` rests on.
    fn default() -> Self {
        Self::new("; the command keeps running without it")
    }
}

impl Notice {
    /// One that says of the end what comes of it: `without` follows the news.
    pub(crate) fn new(without: &'static str) -> Self {
        Self { without, grant: String::new(), until: None, warn_at: None, warned: false, over: None }
    }

    /// Takes a look at the grant in, or that it could not be had, and says what is new.
    pub(super) fn of_grant(&mut self, grant: Option<&GrantView>, now: Timestamp) -> Option<String> {
        if self.over.is_some() {
            return grant.and_then(|grant| self.goes_on(grant, now));
        }
        if let Some(grant) = grant {
            let end = grant.active_until.as_deref().and_then(|at| at.parse().ok());
            if end != self.until {
                // It is seen for the first time, or was extended.
                let since = grant.active_since.as_deref().and_then(|at| at.parse().ok()).unwrap_or(now);
                self.warn_at = end.map(|end| warn_at(since, end));
                (self.grant, self.until, self.warned) = (grant.id.clone(), end, false);
            }
            if !matches!(grant.state.as_str(), "active" | "scheduled") {
                let why = grant.reason.as_deref().unwrap_or("its time is over");
                return self.end(&format!("{} is {}: {why}", grant.id, grant.state));
            }
        }
        let until = self.until?;
        if now >= until {
            return self.end(&format!("{} is over: its time has passed", self.grant));
        }
        if !self.warned && self.warn_at.is_some_and(|at| now >= at) {
            self.warned = true;
            let until = until.to_string();
            let (grant, when, at) = (&self.grant, relative(&until, now), absolute(&until, now));
            return Some(format!("access ends {when}, with {grant} at {at}{}", self.without));
        }
        None
    }

    /// While the daemon was away the end that was known passed; it may have been moved before.
    fn goes_on(&mut self, grant: &GrantView, now: Timestamp) -> Option<String> {
        let end = grant.active_until.as_deref()?.parse::<Timestamp>().ok()?;
        if grant.state != "active" || end <= now || self.until == Some(end) {
            return None;
        }
        *self = Self::new(self.without);
        let told = self.of_grant(Some(grant), now).map(|told| format!("; {told}")).unwrap_or_default();
        Some(format!("access goes on: {} was extended until {}{told}", grant.id, absolute(&end.to_string(), now)))
    }

    /// Why access is over, once it is.
    pub(super) fn over(&self) -> Option<&str> {
        self.over.as_deref()
    }

    fn end(&mut self, why: &str) -> Option<String> {
        self.over = Some(format!("{why}; request a new one with grantctl request"));
        Some(format!("access is over: {why}{}", self.without))
    }
}

/// A tenth of the grant's time before its end, within limits, and not before the middle of a short one.
fn warn_at(since: Timestamp, end: Timestamp) -> Timestamp {
    let whole = end.duration_since(since);
    let before = (whole / 10).clamp(LATEST, EARLIEST).min(whole / 2);
    end.saturating_sub(before).unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testserver::grant;

    fn at(time: &str) -> Timestamp {
        format!("2026-11-22T{time}Z").parse().unwrap()
    }

    fn view(until: &str, state: &str) -> GrantView {
        let mut grant = grant();
        grant["active_until"] = format!("2026-11-22T{until}Z").into();
        grant["state"] = state.into();
        serde_json::from_value(grant).unwrap()
    }

    #[test]
    fn the_end_is_told_once_in_time_and_again_when_it_moved() {
        let mut notice = Notice::default();
        let grant = view("09:25:00", "active");
        assert_eq!(notice.of_grant(Some(&grant), at("09:00:00")), None);
        let said = notice.of_grant(Some(&grant), at("09:22:00")).unwrap();
        assert!(said.contains("in 3m") && said.contains("grant-aaaa"), "{said}");
        assert_eq!(notice.of_grant(Some(&grant), at("09:23:00")), None);
        // A daemon that is away does not keep the clock from running.
        let longer = view("09:55:00", "active");
        assert_eq!(notice.of_grant(Some(&longer), at("09:24:00")), None);
        assert!(notice.of_grant(None, at("09:50:00")).is_some());
        assert_eq!(notice.over(), None);
        assert!(notice.of_grant(None, at("09:55:00")).unwrap().contains("over"));
        assert!(notice.over().is_some());
        assert_eq!(notice.of_grant(None, at("09:56:00")), None);
        assert_eq!(notice.of_grant(Some(&longer), at("09:56:00")), None);
        // It had been extended before the daemon went away.
        let said = notice.of_grant(Some(&view("10:25:00", "active")), at("09:57:00")).unwrap();
        assert!(said.contains("access goes on") && said.contains("was extended"), "{said}");
        assert_eq!(notice.over(), None);
        assert!(notice.of_grant(None, at("10:25:00")).unwrap().contains("over"));
    }

    #[test]
    fn a_grant_that_is_taken_away_is_told_with_its_reason() {
        let mut notice = Notice::default();
        let mut grant = view("09:25:00", "revoked");
        grant.reason = Some("laptop lost".to_owned());
        let said = notice.of_grant(Some(&grant), at("09:00:00")).unwrap();
        assert!(said.contains("revoked: laptop lost") && said.contains("keeps running"), "{said}");
    }

    #[test]
    fn short_grants_are_warned_of_in_their_middle_and_long_ones_ten_minutes_before() {
        assert_eq!(warn_at(at("09:00:00"), at("09:01:00")), at("09:00:30"));
        assert_eq!(warn_at(at("09:00:00"), at("09:10:00")), at("09:08:00"));
        assert_eq!(warn_at(at("09:00:00"), at("17:00:00")), at("16:50:00"));
    }
}
