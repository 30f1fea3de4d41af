//! `show LEASE`, `leases`.

use jiff::Timestamp;

use grantd_wire::{LeaseList, LeaseQuery, LeaseView};

use super::{Context, choose};
use crate::cli::Leases;
use crate::exit::Failure;
use crate::print::{Facts, Table, absolute, relative};
use crate::words::{AUTO, GrantChoice};

/// Shows a lease.
pub(super) async fn show(context: &mut Context<'_>, id: &str) -> Result<(), Failure> {
    let answer = context.client.get(&format!("/v1/leases/{id}"), &()).await?;
    context.answer(&answer, shown)
}

/// Lists leases.
pub(super) async fn list(context: &mut Context<'_>, wanted: Leases) -> Result<(), Failure> {
    let which = if wanted.ended { "leases" } else { "live leases" };
    let hint = if wanted.all { "" } else { " of yours (--all lists everybody's, for administrators and auditors)" };
    let grant = match wanted.grant {
        Some(GrantChoice::Auto) => Some(choose::grant(context, AUTO.to_owned()).await?),
        Some(GrantChoice::Named(id)) => Some(id),
        None => None,
    };
    let query = LeaseQuery { grant, ended: wanted.ended, all: wanted.all, limit: wanted.limit };
    let answer = context.client.get("/v1/leases", &query).await?;
    context.answer(&answer, |list, now| table(list, now, "").unwrap_or_else(|| format!("no {which}{hint}\n")))
}

/// The leases as a table, if there are any.
pub(super) fn table(list: &LeaseList, now: Timestamp, indent: &str) -> Option<String> {
    if list.leases.is_empty() {
        return None;
    }
    let mut table = Table::new(["LEASE", "STATE", "GRANT", "SUBJECT", "ANCHOR", "UNTIL"]);
    for lease in &list.leases {
        table.row([
            lease.id.clone(),
            progress(lease),
            lease.grant.clone(),
            lease.subject.clone(),
            format!("{} {}", lease.anchor, lease.anchor_pid),
            lease.worst_case_until.as_deref().map_or("-".to_owned(), |at| relative(at, now)),
        ]);
    }
    Some(table.text(indent))
}

/// The state, how far a revocation got, why, and until when the session may still do something: what is not confirmed
/// is not claimed (promise P4).
pub(super) fn state(lease: &LeaseView, now: Timestamp) -> String {
    let mut words = progress(lease);
    if let Some(reason) = &lease.reason {
        words.push_str(&format!(" because {reason}"));
        if let Some(because) = &lease.because {
            words.push_str(&format!(": {because}"));
        }
    }
    match &lease.worst_case_until {
        Some(until) if lease.reason.is_some() || lease.revocation.is_some() => {
            words.push_str(&format!("; it may still be usable until {}", absolute(until, now)));
        }
        Some(_) => {}
        None => words.push_str("; it is not usable any more"),
    }
    words
}

fn shown(lease: &LeaseView, now: Timestamp) -> String {
    let mut facts = Facts::titled(&lease.id);
    facts.fact("state", state(lease, now));
    facts.fact("grant", &lease.grant);
    facts.fact("created", absolute(&lease.created_at, now));
    facts.fact("access until", absolute(&lease.access_until, now));
    facts.fact(
        "ended by",
        match lease.anchor.as_str() {
            "unwatched" => "nothing but its time: no process is watched".to_owned(),
            "connection" => format!("the connection of process {}", lease.anchor_pid),
            "process" => format!("the exit of process {}", lease.anchor_pid),
            other => format!("{other} {}", lease.anchor_pid),
        },
    );
    facts.fact("subject", &lease.subject);
    facts.fact("carried by", &lease.target);
    facts.fact("session", &lease.session_name);
    facts.maybe("cloud said", lease.error.as_ref());
    facts.text()
}

fn progress(lease: &LeaseView) -> String {
    match &lease.revocation {
        Some(revocation) => format!("{} ({revocation})", lease.state),
        None => lease.state.clone(),
    }
}
