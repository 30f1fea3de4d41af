//! `status`.

use jiff::Timestamp;

use grantd_wire::{AccountStatus, Status};

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
    let accounts: Vec<String> = status.accounts.iter().map(account).collect();
    facts.each("accounts", &accounts, "none shown");
    facts.each("hardening", &status.hardening, "none reported");
    facts.text()
}

fn account(account: &AccountStatus) -> String {
    let said = account.last_error.as_ref().map_or_else(|| "no error".to_owned(), |error| format!("failing: {error}"));
    format!("{} {}: {said}", account.cloud, account.account)
}
