//! `review`: what has to be looked at, what was done there, and saying what was found.

use grantd_wire::{LeaseList, LeaseQuery, ReviewComplete, ReviewList, ReviewQuery, ReviewView};
use jiff::Timestamp;

use super::{Context, report};
use crate::exit::Failure;
use crate::glass::Review;
use crate::print::{Facts, Table, absolute, count, relative};

/// Does what is asked of reviews.
pub(super) async fn review(context: &mut Context<'_>, asked: Review) -> Result<(), Failure> {
    match asked {
        Review::Report { since, format } => report::report(context, since, format).await,
        Review::List { completed, limit } => list(context, completed, limit).await,
        Review::Show { id } => show(context, &id.to_string()).await,
        Review::Complete { id, outcome, findings } => {
            let body = ReviewComplete { outcome: outcome.as_str().to_owned(), findings };
            let path = format!("/v1/reviews/{id}/complete");
            let answer = context.client.post::<_, ReviewView>(&path, &body).await?;
            context.answer(&answer, |one, now| shown(one, now, None))
        }
    }
}

async fn list(context: &mut Context<'_>, completed: bool, limit: Option<u32>) -> Result<(), Failure> {
    let query = ReviewQuery { completed, limit };
    let answer = context.client.get::<_, ReviewList>("/v1/reviews", &query).await?;
    context.answer(&answer, |list, now| {
        if list.reviews.is_empty() {
            return "no review that you could see\n".to_owned();
        }
        let mut table = Table::new(["REVIEW", "STATE", "OF", "WHO", "ON", "DUE"]);
        for one in &list.reviews {
            let due = if one.state == "completed" { "-".to_owned() } else { relative(&one.due_at, now) };
            table.row([one.id.clone(), one.state.clone(), of(one), one.person.clone(), one.resource.clone(), due]);
        }
        table.text("")
    })
}

async fn show(context: &mut Context<'_>, id: &str) -> Result<(), Failure> {
    let answer = context.client.get::<_, ReviewView>(&format!("/v1/reviews/{id}"), &()).await?;
    // What was done is for those who may see the grant; who may not sees the review.
    let query = LeaseQuery { grant: Some(answer.value.grant.clone()), ended: true, all: false, limit: None };
    let leases = context.client.get::<_, LeaseList>("/v1/leases", &query).await.ok().map(|leases| leases.value);
    context.answer(&answer, |one, now| shown(one, now, leases.as_ref()))
}

fn of(one: &ReviewView) -> String {
    match (&one.profile, &one.incident, one.grants) {
        (Some(profile), Some(incident), _) => format!("break-glass {profile}, {incident}"),
        (_, _, Some(grants)) => count(grants, "grant"),
        _ => one.kind.clone(),
    }
}

fn shown(one: &ReviewView, now: Timestamp, leases: Option<&LeaseList>) -> String {
    let mut facts = Facts::titled(&one.id);
    facts.fact("state", &one.state);
    facts.fact("of", of(one));
    facts.maybe("since", one.since.as_ref().map(|at| absolute(at, now)));
    facts.fact("who", &one.person);
    facts.fact("had", format!("{} on {}", one.capability, one.resource));
    facts.fact("grant", format!("{} (grantctl show {})", one.grant, one.grant));
    if let Some(leases) = leases {
        facts.fact("leases taken", leases.leases.len().to_string());
        for lease in &leases.leases {
            facts.raw(&format!("    {}, {}: {}\n", lease.id, absolute(&lease.created_at, now), lease.state));
        }
    }
    facts.fact("opened", absolute(&one.opened_at, now));
    facts.fact("due", absolute(&one.due_at, now));
    facts.each("reviewers", &one.reviewers, "nobody was asked by name: security");
    match (&one.completed_by, &one.completed_at, &one.outcome) {
        (Some(by), Some(at), Some(outcome)) => {
            facts.fact("completed", format!("by {by}, {}", absolute(at, now)));
            facts.fact("outcome", outcome.replace('_', " "));
            facts.maybe("findings", one.findings.as_ref());
        }
        _ => facts.fact("next", format!("grantctl review complete {} --outcome ok --findings TEXT", one.id)),
    }
    facts.text()
}
