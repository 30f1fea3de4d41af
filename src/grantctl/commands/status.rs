//! `status`.

use jiff::Timestamp;

use grantd_wire::{AccountStatus, PropagationView, Status};

use super::Context;
use crate::exit::Failure;
use crate::print::{Facts, absolute, count};

/// Says how the daemon is.
pub(super) async fn status(context: &mut Context<'_>) -> Result<(), Failure> {
    let answer = context.client.get("/v1/status", &()).await?;
    context.answer(&answer, shown)
}

fn shown(status: &Status, now: Timestamp) -> String {
    let mut facts = Facts::titled(&format!("grantd {} is {}", status.version, status.state));
    facts.each("alarms", &status.alarms, "none");
    facts.maybe("you", status.you.as_ref());
    facts.fact("node", &status.node);
    facts.fact("policy", &status.policy_version);
    facts.fact("started", absolute(&status.started_at, now));
    facts.fact("audit", count(status.audit_seq, "record"));
    facts.fact("leases", format!("{} live", status.live_leases));
    let mut revocation = format!("{} unconfirmed", status.revocation.unconfirmed);
    if let Some(oldest) = &status.revocation.oldest_requested_at {
        revocation.push_str(&format!(", the oldest since {}", absolute(oldest, now)));
    }
    facts.fact("revocations", revocation);
    facts.fact("intents", format!("{} open", status.revocation.open_intents));
    let accounts: Vec<String> = status.accounts.iter().map(|one| account(one, now)).collect();
    facts.each("accounts", &accounts, "none shown");
    facts.each("hardening", &status.hardening, "none reported");
    facts.text()
}

fn account(account: &AccountStatus, now: Timestamp) -> String {
    let said = account.last_error.as_ref().map_or_else(|| "no error".to_owned(), |error| format!("failing: {error}"));
    let felt = account.propagation.as_ref().map(|felt| propagation(felt, now)).unwrap_or_default();
    format!("{} {}: {said}{felt}", account.cloud, account.account)
}

/// With what the daemon reckons, and whether anybody ever looked.
fn propagation(felt: &PropagationView, now: Timestamp) -> String {
    let measured = match (felt.measured_milliseconds, &felt.measured_at) {
        (Some(most), Some(at)) => {
            format!("measured {}, {} at most, last {}", times(felt.samples), seconds(most), absolute(at, now))
        }
        _ => "never measured: grantctl doctor --prove".to_owned(),
    };
    let (expected, worst) = (seconds(felt.expected_milliseconds), seconds(felt.worst_milliseconds));
    format!("; a revocation is felt in {expected}, at worst in {worst} ({measured})")
}

fn times(number: u64) -> String {
    if number == 1 { "once".to_owned() } else { format!("{number} times") }
}

/// Milliseconds as seconds with one decimal, rounded up: never less than it is.
pub(super) fn seconds(milliseconds: u64) -> String {
    let tenths = milliseconds.div_ceil(100);
    format!("{}.{}s", tenths / 10, tenths % 10)
}
