//! What is told of a record of the audit: a CloudEvent (CloudEvents 1.0.2, JSON event format), and a line for people.
//! Pure.

use grantd_model::{Actor, AuditRecord, Grant, GrantState};
use jiff::SignedDuration;
use serde_json::{Value, json};

/// What stands before the kind of a record in the type of an event.
const TYPE: &str = "dev.grantd.";

/// Kinds that are told to everybody, and never given up.
const LOUD: [&str; 1] = ["break_glass."];

/// Kinds that somebody has to know of; a target that names no events is told these.
const TOLD: [&str; 16] = [
    "grant.request",
    "grant.approve",
    "grant.deny",
    "grant.cancel",
    "grant.lapse",
    "grant.revoke",
    "grant.escalate",
    "grant.extension_request",
    "grant.extend",
    "grant.extension_deny",
    "grant.extension_lapse",
    "freeze.*",
    "delegation.*",
    "policy.change",
    "review.*",
    "break_glass.*",
];

/// Something that is told.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    /// The same whenever it is told: `<node>/<number in the chain>`.
    pub id: String,
    /// Its place in the chain.
    pub seq: u64,
    /// The record's kind.
    pub kind: String,
    /// Whether it is told until it was taken, whatever the target says.
    pub loud: bool,
    /// A line for people.
    pub text: String,
    /// The whole as JSON.
    pub cloud_event: Value,
}

/// What a target wants to be told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// The target's name.
    pub name: &'a str,
    /// Kinds and patterns.
    pub events: &'a [String],
    /// Whether only what its policy names it for.
    pub named_only: bool,
}

/// The event of `record`, if `wanted` wants it. `grant` is the one that the record is about.
pub(super) fn of(record: &AuditRecord, grant: Option<&Grant>, wanted: Wanted<'_>) -> Option<Event> {
    let kind = record.draft.kind.as_str();
    // What became of a telling is not told: that would never end.
    if kind.starts_with("notify.") {
        return None;
    }
    let loud = LOUD.iter().any(|start| kind.starts_with(start));
    if !loud && !wants(record, grant, wanted) {
        return None;
    }
    let id = format!("{}/{}", record.node, record.seq);
    let text = text(record, grant);
    let cloud_event = json!({
        "specversion": "1.0",
        "id": id,
        "source": format!("urn:grantd:{}", record.node),
        "type": format!("{TYPE}{kind}"),
        "time": record.draft.at.to_string(),
        "subject": subject(record),
        "datacontenttype": "application/json",
        "data": data(record, grant, &text),
    });
    Some(Event { id, seq: record.seq, kind: kind.to_owned(), loud, text, cloud_event })
}

fn wants(record: &AuditRecord, grant: Option<&Grant>, wanted: Wanted<'_>) -> bool {
    let kind = record.draft.kind.as_str();
    let fits = |pattern: &str| match pattern.strip_suffix('*') {
        Some(start) => kind.starts_with(start),
        None => kind == pattern,
    };
    let chosen = if wanted.events.is_empty() {
        TOLD.iter().any(|pattern| fits(pattern))
    } else {
        wanted.events.iter().any(|pattern| fits(pattern))
    };
    let named = grant.is_some_and(|grant| grant.obligations.notify.contains(wanted.name));
    if wanted.named_only {
        return chosen && named;
    }
    // What policy gives by itself concerns nobody else, unless policy or the target says so.
    let by_itself = grant.is_some_and(|grant| grant.obligations.approvals.is_empty());
    let of_course = matches!(kind, "grant.request" | "grant.approve" | "grant.extension_request" | "grant.extend");
    chosen && (named || !wanted.events.is_empty() || !(by_itself && of_course))
}

fn subject(record: &AuditRecord) -> Value {
    let grant = record.draft.grant.map(|id| id.to_string());
    let lease = record.draft.lease.map(|id| id.to_string());
    lease.or(grant).map_or(Value::Null, Value::String)
}

fn data(record: &AuditRecord, grant: Option<&Grant>, text: &str) -> Value {
    let draft = &record.draft;
    let mut data = json!({
        "text": text,
        "kind": draft.kind,
        "actor": draft.actor,
        "audit": { "node": record.node, "seq": record.seq, "hash": record.hash },
        "can_approve": draft.detail.get("can_approve").cloned().unwrap_or_else(|| json!([])),
    });
    if let Some(members) = data.as_object_mut() {
        for key in ["break_glass", "review"] {
            members.extend(draft.detail.get(key).map(|value| (key.to_owned(), value.clone())));
        }
    }
    if let (Some(grant), Some(members)) = (grant, data.as_object_mut()) {
        let request = &grant.request;
        members.insert(
            "grant".to_owned(),
            json!({
                "id": grant.id,
                "resource": request.resource,
                "tier": grant.tier,
                "capability": request.entitlement.capability,
                "subject": request.subject,
                "requested_by": request.requested_by,
                "justification": request.justification,
                "ticket": request.ticket,
                "duration_seconds": request.duration_seconds,
                "recurrence": request.recurrence,
                "digest": grant.digest,
                "policy": grant.policy,
            }),
        );
    }
    data
}

/// A line that somebody can act on at three in the morning.
fn text(record: &AuditRecord, grant: Option<&Grant>) -> String {
    let draft = &record.draft;
    let who = actor(&draft.actor);
    let reason = reason(&draft.detail).map(|reason| format!(": {reason}")).unwrap_or_default();
    let word = |key: &str| draft.detail.get(key).and_then(Value::as_str).unwrap_or("somebody");
    let Some(grant) = grant else {
        let what = match draft.kind.as_str() {
            "policy.change" => "the policy changed".to_owned(),
            "delegation.create" => format!("{} lends a voice to {}", word("from"), word("to")),
            "delegation.revoke" => format!("{} no longer speaks for {}", word("to"), word("from")),
            "freeze.set" => format!("{} is frozen", target(&draft.detail)),
            "freeze.thaw" => format!("{who} wants {} thawed", target(&draft.detail)),
            "freeze.lift" => format!("{} is not frozen any more", target(&draft.detail)),
            kind => kind.to_owned(),
        };
        return format!("{what} (by {who}){reason}");
    };
    let request = &grant.request;
    let what =
        format!("{} on {} ({}) for {}", request.entitlement.capability, request.resource, grant.tier, request.subject);
    let id = grant.id;
    match draft.kind.as_str() {
        "grant.request" | "grant.extension_request" => {
            let names = names(draft.detail.get("can_approve"));
            let more = if draft.kind == "grant.request" { "" } else { "more time with " };
            let often = request
                .recurrence
                .map(|recurs| format!(" every {}, {} times", span(recurs.every_seconds), recurs.times));
            let time = span(request.duration_seconds) + &often.unwrap_or_default();
            let next = match (&grant.state, names.is_empty()) {
                (_, false) => format!("; {} can approve: grantctl approve {id}", names.join(", ")),
                (GrantState::Pending { .. }, true) => format!("; see grantctl show {id}"),
                _ => String::new(),
            };
            format!("{} asks for {more}{what}, {time}: {}{next}", request.requested_by, request.justification.as_str())
        }
        "break_glass.use" | "break_glass.request" => broken(record, grant, &what),
        "review.open" | "review.overdue" => {
            let names = names(draft.detail.get("can_review").or_else(|| draft.detail.pointer("/review/reviewers")));
            let review = draft.detail.pointer("/review/id").and_then(Value::as_str).unwrap_or("a review");
            let state = if draft.kind == "review.overdue" { "is overdue" } else { "is to be made" };
            let due = draft.detail.pointer("/review/due_at").and_then(Value::as_str).unwrap_or("its deadline");
            let who = if names.is_empty() { "security".to_owned() } else { names.join(", ") };
            format!("{review} {state}, due {due}: {what}; {who} can: grantctl review complete {review}")
        }
        "review.complete" => {
            let review = draft.detail.pointer("/review/id").and_then(Value::as_str).unwrap_or("a review");
            format!("{review} was completed by {who}, {}{reason}: {what} ({id})", word("outcome").replace('_', " "))
        }
        "grant.approve" | "grant.extend" => format!("approved: {what}; {} can use it: {id}", request.subject),
        kind => {
            let did = kind.rsplit_once('.').map_or(kind, |(_, did)| did).replace('_', " ");
            format!("{did}: {what}, by {who}{reason} ({id})")
        }
    }
}

/// What is told of a use of break-glass: who, what, why, until when, and who looks at it afterwards.
fn broken(record: &AuditRecord, grant: &Grant, what: &str) -> String {
    let (detail, request, id) = (&record.draft.detail, &grant.request, grant.id);
    let word = |path: &str| detail.pointer(path).and_then(Value::as_str).unwrap_or("nobody knows");
    let (profile, incident) = (word("/break_glass/profile"), word("/break_glass/incident"));
    let why = request.justification.as_str();
    if record.draft.kind == "break_glass.request" {
        let names = names(detail.get("can_approve"));
        let names = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
        let needs = word("/needs");
        return format!(
            "BREAK-GLASS WAITS: {what} by profile {profile} for {incident}: {why}; it needs {needs}, {names} can approve: \
             grantctl approve {id}"
        );
    }
    let reviewers = self::names(detail.pointer("/review/reviewers")).join(", ");
    let (until, due) = (word("/until"), word("/review/due_at"));
    format!(
        "BREAK-GLASS: {what} by profile {profile} for {incident}: {why}; until {until} ({id}, grantctl revoke {id} ends it); \
         {reviewers} to review it by {due}"
    )
}

fn actor(actor: &Actor) -> String {
    match actor {
        Actor::Daemon { part } => format!("grantd ({part})"),
        other => serde_json::to_value(other)
            .ok()
            .and_then(|value| {
                let subject = value.get("subject").unwrap_or(&value);
                Some(subject.get("name")?.as_str()?.to_owned())
            })
            .unwrap_or_else(|| "somebody".to_owned()),
    }
}

fn names(value: Option<&Value>) -> Vec<String> {
    let all = value.and_then(Value::as_array).into_iter().flatten();
    all.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn reason(detail: &Value) -> Option<&str> {
    ["/reason", "/why/reason", "/state/reason", "/refusal/reason"]
        .iter()
        .find_map(|path| detail.pointer(path).and_then(Value::as_str))
}

fn target(detail: &Value) -> String {
    let target = detail.get("target");
    let word = |key: &str| target.and_then(|target| target.get(key)).and_then(Value::as_str);
    match (word("kind"), word("name").or_else(|| word("node"))) {
        (Some(kind), Some(name)) => format!("{kind} {name}"),
        (Some("all"), None) => "everything".to_owned(),
        _ => "something".to_owned(),
    }
}

fn span(seconds: u64) -> String {
    i64::try_from(seconds).map_or_else(|_| format!("{seconds}s"), |s| format!("{:#}", SignedDuration::from_secs(s)))
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;
