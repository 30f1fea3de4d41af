//! Approvals for people: what waits, who can give it, what was given, and what of that does not count any more.

use jiff::Timestamp;

use grantd_wire::{ApprovalView, EscalationView, ExtensionView, GrantView};

use super::grant;
use crate::print::{Facts, absolute, count, pretty};

/// The extension that waits, if one does.
fn waiting(grant: &GrantView) -> Option<&ExtensionView> {
    grant.extensions.last().filter(|extension| extension.state == "pending")
}

/// The digest of what waits for approval.
pub(super) fn digest(grant: &GrantView) -> Option<&str> {
    match (grant.state.as_str(), waiting(grant)) {
        ("pending", _) => Some(&grant.digest),
        (_, Some(extension)) => Some(&extension.digest),
        _ => None,
    }
}

/// What an approver has to see: who asked, for whom, what, why, for how long, and what it is in the cloud.
pub(super) fn to_approve(view: &GrantView, now: Timestamp, native: bool) -> String {
    let mut facts = Facts::titled(&view.id);
    facts.fact("requested by", format!("{}, {}", grant::subject(&view.requested_by), absolute(&view.created_at, now)));
    facts.fact("used by", grant::subject(&view.subject));
    facts.fact("resource", format!("{} (tier {})", view.resource, view.tier));
    facts.fact("can", &view.capability);
    facts.maybe("only", view.narrowing.as_ref().map(grant::narrowing));
    facts.fact("for", grant::length(view));
    facts.maybe(
        "break-glass",
        view.break_glass.as_ref().map(|glass| format!("profile {}, incident {}", glass.profile, glass.incident)),
    );
    facts.fact("why", &view.justification);
    facts.maybe("ticket", view.ticket.as_ref());
    facts.maybe("task claimed", view.task.as_ref().map(grant::task));
    facts.each("plan", &view.plan.words, "nothing");
    facts.fact("account", format!("{} {}", view.plan.cloud, view.plan.account));
    facts.each("carried by", &view.plan.targets, "nothing");
    facts.each("widens", &view.plan.widens, "nothing");
    facts.fact("expiry", grant::ending(&view.plan));
    facts.fact("taken back", format!("{}; leaves behind: {}", view.plan.revocation, view.plan.persistence));
    facts.fact("limits", grant::limits(view));
    facts.fact("digest", &view.digest);
    if native {
        facts.raw("  native\n");
        facts.raw(&pretty(&view.plan.native, "    "));
    }
    if let Some(extension) = waiting(view) {
        facts.fact("state", grant::state(view, now));
        facts.raw("to approve is more time\n");
        one_extension(&mut facts, extension, now);
    } else if let Some(approval) = &view.approval {
        standing(&mut facts, approval, now);
    }
    facts.text()
}

/// The way to the decision: of the grant, then of its extensions.
pub(super) fn way(facts: &mut Facts, grant: &GrantView, now: Timestamp) {
    if let Some(approval) = &grant.approval {
        standing(facts, approval, now);
    }
    for extension in &grant.extensions {
        facts.raw("extension\n");
        one_extension(facts, extension, now);
    }
    if waits_for(grant, now).is_some() {
        let waiting = waiting(grant).map(|extension| &extension.approval).or(grant.approval.as_ref());
        let key = if waiting.is_some_and(|approval| approval.signed) { " --key FILE" } else { "" };
        facts.fact("next", format!("grantctl approve {}{key}", grant.id));
    }
}

fn one_extension(facts: &mut Facts, extension: &ExtensionView, now: Timestamp) {
    let reason = extension.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    facts.fact("state", format!("{}{reason}", extension.state));
    facts.fact("until", absolute(&extension.until, now));
    let asked = absolute(&extension.asked_at, now);
    facts.fact("requested by", format!("{}, {asked}", grant::subject(&extension.asked_by)));
    facts.fact("why", &extension.justification);
    facts.fact("digest", &extension.digest);
    standing(facts, &extension.approval, now);
}

pub(super) fn standing(facts: &mut Facts, approval: &ApprovalView, now: Timestamp) {
    for quorum in &approval.quorum {
        let who = if quorum.can_approve.is_empty() || quorum.given >= quorum.needed {
            String::new()
        } else {
            format!("; can approve: {}", quorum.can_approve.join(", "))
        };
        facts.fact("needs", format!("{}, has {}{who}", people(quorum.needed, &quorum.capacity), quorum.given));
    }
    if approval.signed {
        facts.fact("signed", "policy asks for signed approvals: only those count");
    }
    for given in &approval.given {
        let said = given.comment.as_ref().map(|comment| format!(": {comment}")).unwrap_or_default();
        let void = given.void.as_ref().map(|why| format!(" - DOES NOT COUNT: {why}")).unwrap_or_default();
        let at = absolute(&given.at, now);
        let also: String = given.also.iter().map(|capacity| format!(" or {}", plain(capacity))).collect();
        let absent =
            given.on_behalf_of.as_ref().map(|absent| format!(" for {absent}, who is away,")).unwrap_or_default();
        let signed = given.signed.as_ref().map(|_| {
            let carrier =
                given.carried_by.as_ref().map(|carrier| format!(", handed in by {carrier}")).unwrap_or_default();
            format!(", signed with {}{carrier}", given.identity)
        });
        let signed = signed.unwrap_or_default();
        let who = format!("{}{absent} as {}{also}{signed}", given.person, plain(&given.capacity));
        facts.fact("approved by", format!("{who}, {at}{said}{void}"));
    }
    if let Some(escalation) = &approval.escalation {
        facts.maybe("escalation", escalated(escalation, approval.lapses_at.is_some(), now));
    }
    facts.maybe("blocked", approval.blocked.as_ref());
    facts.maybe("lapses", approval.lapses_at.as_ref().map(|at| absolute(at, now)));
}

/// What there is to say of asking the stewards.
fn escalated(escalation: &EscalationView, waits: bool, now: Timestamp) -> Option<String> {
    let at = absolute(&escalation.at, now);
    match escalation.state.as_str() {
        "asked" => {
            Some(format!("no owner answered: {} asked in the owner's place, {at}", escalation.stewards.join(", ")))
        }
        "due" if waits => Some(format!("stewards are asked in the owner's place if no owner approves, {at}")),
        "due" => None,
        _ => Some(format!(
            "stewards were not asked: {}, {at}",
            escalation.reason.as_deref().unwrap_or("nobody said why")
        )),
    }
}

fn plain(capacity: &str) -> String {
    capacity.replace('_', " ")
}

/// `1 owner`, `2 stewards`, `1 of security`.
pub(crate) fn people(number: u32, capacity: &str) -> String {
    match capacity {
        "owner" | "steward" | "delegated_admin" => count(number.into(), &plain(capacity)),
        "enrolled" => format!("{number} other of the profile's people"),
        other => format!("{number} of {}", plain(other)),
    }
}

/// What is still missing, from whom, and until when; nothing when nothing waits.
pub(super) fn waits_for(grant: &GrantView, now: Timestamp) -> Option<String> {
    digest(grant)?;
    let approval = waiting(grant).map(|extension| &extension.approval).or(grant.approval.as_ref());
    let Some(approval) = approval else { return Some("somebody's approval".to_owned()) };
    let missing = approval.quorum.iter().filter(|quorum| quorum.given < quorum.needed).map(|quorum| {
        let who = if quorum.can_approve.is_empty() { "nobody can".to_owned() } else { quorum.can_approve.join(" or ") };
        format!("{} ({who})", people(quorum.needed.saturating_sub(quorum.given), &quorum.capacity))
    });
    let missing = missing.collect::<Vec<_>>().join(" and ");
    let until = approval.lapses_at.as_ref().map(|at| format!(", until {}", absolute(at, now))).unwrap_or_default();
    let asked = approval.escalation.as_ref().filter(|escalation| escalation.state == "asked");
    let asked = asked.map(|_| "; no owner answered, so stewards may").unwrap_or_default();
    Some(format!("{missing}{asked}{until}"))
}
