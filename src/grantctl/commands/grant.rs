//! `request`, `show GRANT`, `list`.

use jiff::Timestamp;

use grantd_wire::{
    GrantCreate, GrantList, GrantQuery, GrantView, LeaseList, LeaseQuery, NarrowingBody, PlanView, RecurrenceBody,
    SubjectView, TaskBody,
};

use super::{Context, approvals, lease};
use crate::asking::{List, Request};
use crate::exit::{Exit, Failure};
use crate::print::{Facts, Table, absolute, count, pretty, relative, shortened, span};

/// Asks for a grant.
pub(super) async fn request(context: &mut Context<'_>, asked: Request) -> Result<(), Failure> {
    let answer = context.client.post("/v1/grants", &create(asked)).await?;
    context.answer(&answer, requested)?;
    let grant: &GrantView = &answer.value;
    if grant.state == "denied" {
        let reason = grant.reason.as_deref().unwrap_or("no reason was given");
        return Err(Failure::new(Exit::Denied, format!("{} was denied: {reason}", grant.id)));
    }
    if let Some(waits) = approvals::waits_for(grant, context.now) {
        let id = &grant.id;
        return Err(Failure::new(
            Exit::Pending,
            format!("{id} waits for approval: {waits} (next: grantctl show {id})"),
        ));
    }
    Ok(())
}

/// Shows a grant with its plan and its leases.
pub(super) async fn show(context: &mut Context<'_>, id: &str) -> Result<(), Failure> {
    let answer = context.client.get(&format!("/v1/grants/{id}"), &()).await?;
    context.answer(&answer, shown)?;
    if context.json {
        return Ok(());
    }
    let query = LeaseQuery { grant: Some(id.to_owned()), ended: true, ..LeaseQuery::default() };
    let leases = context.client.get::<_, LeaseList>("/v1/leases", &query).await?;
    let table = lease::table(&leases.value, context.now, "  ").unwrap_or_else(|| "  none yet\n".to_owned());
    context.say(&format!("leases\n{table}"))
}

/// Lists grants.
pub(super) async fn list(context: &mut Context<'_>, wanted: List) -> Result<(), Failure> {
    let hint = if wanted.approvable {
        " of others that you can approve"
    } else if wanted.all {
        ""
    } else {
        " of yours (--all lists everybody's, for administrators and auditors)"
    };
    let query = GrantQuery {
        state: wanted.state,
        resource: wanted.resource,
        all: wanted.all,
        approvable: wanted.approvable,
        limit: wanted.limit,
    };
    let answer = context.client.get("/v1/grants", &query).await?;
    context.answer(&answer, |list, now| table(list, now).unwrap_or_else(|| format!("no grants{hint}\n")))
}

fn create(asked: Request) -> GrantCreate {
    GrantCreate {
        resource: asked.resource,
        capability: asked.capability,
        narrowing: asked.detail.narrowing(),
        justification: asked.why,
        task: asked.detail.task(),
        ticket: asked.detail.ticket,
        duration_seconds: asked.duration_seconds,
        recurrence: asked.every.zip(asked.times).map(|(every_seconds, times)| RecurrenceBody { every_seconds, times }),
        not_before: asked.not_before.map(|at| at.to_string()),
        subject: asked.subject,
    }
}

fn requested(grant: &GrantView, now: Timestamp) -> String {
    let mut facts = Facts::titled(&grant.id);
    facts.fact("state", state(grant, now));
    facts.each("plan", &grant.plan.words, "nothing");
    approvals::way(&mut facts, grant, now);
    let next = match grant.state.as_str() {
        "active" => Some(format!("grantctl vend {} or grantctl credential-process {}", grant.id, grant.id)),
        "scheduled" => Some(format!("grantctl show {}", grant.id)),
        _ => None,
    };
    facts.maybe("next", next);
    facts.text()
}

fn shown(grant: &GrantView, now: Timestamp) -> String {
    let mut facts = Facts::titled(&grant.id);
    facts.fact("state", state(grant, now));
    facts.fact("resource", format!("{} (tier {})", grant.resource, grant.tier));
    facts.fact("can", &grant.capability);
    facts.maybe("only", grant.narrowing.as_ref().map(narrowing));
    facts.fact("for", length(grant));
    facts.fact("why", &grant.justification);
    facts.maybe("ticket", grant.ticket.as_ref());
    facts.fact("subject", subject(&grant.subject));
    facts.fact("requested by", format!("{}, {}", subject(&grant.requested_by), absolute(&grant.created_at, now)));
    facts.maybe("task claimed", grant.task.as_ref().map(task));
    if let Some(glass) = &grant.break_glass {
        facts.fact("break-glass", format!("profile {}, incident {}", glass.profile, glass.incident));
        let review = glass.review.as_ref().map(|review| {
            let who = if review.reviewers.is_empty() { "security".to_owned() } else { review.reviewers.join(" or ") };
            format!("{} ({}), by {who}, due {}", review.id, review.state, absolute(&review.due_at, now))
        });
        facts.maybe("review", review);
    }
    facts.fact("limits", limits(grant));
    facts.fact("used by", count(grant.uses, "task"));
    facts.fact("policy", &grant.policy_version);
    facts.fact("digest", &grant.digest);
    facts.maybe(
        "came from",
        grant
            .imported
            .as_ref()
            .map(|from| format!("{}, until {} at the latest", from.issuer, absolute(&from.until, now))),
    );
    if grant.approval.is_some() || !grant.extensions.is_empty() {
        facts.raw("approval\n");
        approvals::way(&mut facts, grant, now);
    }
    facts.raw("plan\n");
    facts.each("words", &grant.plan.words, "nothing");
    facts.fact("account", format!("{} {}", grant.plan.cloud, grant.plan.account));
    facts.each("carried by", &grant.plan.targets, "nothing");
    facts.fact("revocation", &grant.plan.revocation);
    facts.fact("persistence", &grant.plan.persistence);
    facts.each("widens", &grant.plan.widens, "nothing");
    facts.fact("expiry", ending(&grant.plan));
    facts.raw("  native\n");
    facts.raw(&pretty(&grant.plan.native, "    "));
    facts.text()
}

/// How long it lasts, and how often.
pub(super) fn length(grant: &GrantView) -> String {
    let each = span(grant.duration_seconds);
    match &grant.recurrence {
        None => each,
        Some(recurs) => format!("{each} every {}, {} times in all", span(recurs.every_seconds), recurs.times),
    }
}

/// What ends access when its time is up, in words.
pub(super) fn ending(plan: &PlanView) -> String {
    match plan.outlives_seconds {
        None if plan.cloud == "oidc" => {
            "whoever verifies the token ends it, by the end that is written in it".to_owned()
        }
        None => "the cloud ends it, to the second".to_owned(),
        Some(late) => {
            format!("grantd takes it away, which may be felt up to {late} s late, and later while grantd is down")
        }
    }
}

fn table(list: &GrantList, now: Timestamp) -> Option<String> {
    if list.grants.is_empty() {
        return None;
    }
    let mut table = Table::new(["GRANT", "STATE", "RESOURCE", "CAN", "SUBJECT", "UNTIL", "WHY"]);
    for grant in &list.grants {
        let usable = matches!(grant.state.as_str(), "active" | "scheduled");
        let until = grant.active_until.as_deref().filter(|_| usable).map_or("-".to_owned(), |at| relative(at, now));
        table.row([
            grant.id.clone(),
            grant.state.clone(),
            grant.resource.clone(),
            grant.capability.clone(),
            grant.subject.name.clone(),
            until,
            shortened(&grant.justification, 40),
        ]);
    }
    Some(table.text(""))
}

/// The state with the times that still mean something, or why it is over.
pub(super) fn state(grant: &GrantView, now: Timestamp) -> String {
    let mut words = grant.state.clone();
    if let Some(reason) = &grant.reason {
        words.push_str(&format!(": {reason}"));
    }
    let since = grant.active_since.as_ref().map(|at| format!("since {}", absolute(at, now)));
    let until = grant.active_until.as_ref().map(|at| format!("until {}", absolute(at, now)));
    match grant.state.as_str() {
        "active" | "scheduled" => {
            let times: Vec<String> = since.into_iter().chain(until).collect();
            let opens = grant.occurrence.as_ref().map(|occurrence| {
                let at = absolute(&occurrence.at, now);
                if occurrence.open { format!("; open until {at}") } else { format!("; opens again at {at}") }
            });
            format!("{words} {}{}", times.join(", "), opens.unwrap_or_default()).trim_end().to_owned()
        }
        _ => since.map(|since| format!("{words}; it was active {since}")).unwrap_or(words),
    }
}

pub(super) fn narrowing(narrowing: &NarrowingBody) -> String {
    let prefix = narrowing.prefix.as_ref().map(|prefix| format!("keys that start with {prefix}"));
    let networks =
        (!narrowing.source_networks.is_empty()).then(|| format!("from {}", narrowing.source_networks.join(", ")));
    prefix.into_iter().chain(networks).collect::<Vec<_>>().join("; ")
}

pub(super) fn subject(subject: &SubjectView) -> String {
    format!("{} {} ({}:{})", subject.kind, subject.name, subject.issuer, subject.id)
}

pub(super) fn task(task: &TaskBody) -> String {
    let mut words = format!("{} run {}", task.system, task.run);
    if let Some(attempt) = &task.attempt {
        words.push_str(&format!(", attempt {attempt}"));
    }
    if let Some(job) = &task.job {
        words.push_str(&format!(", job {job}"));
    }
    words
}

pub(super) fn limits(grant: &GrantView) -> String {
    let ttl = grant.max_ttl_seconds.map(|seconds| format!("a lease for {} at most", span(seconds)));
    let uses = grant.max_uses.map(|uses| format!("{} in all", count(uses.into(), "task")));
    let concurrent = grant.max_concurrent.map(|tasks| format!("{} at once", count(tasks.into(), "task")));
    let limits: Vec<String> = [ttl, uses, concurrent].into_iter().flatten().collect();
    if limits.is_empty() { "none by policy".to_owned() } else { limits.join("; ") }
}
