//! Who is on call, as PagerDuty (REST API v2, "List all of the on-calls", "List overrides") and Opsgenie ("Get on calls",
//! "List schedule overrides") tell it. Neither tells who made an override.

use std::collections::BTreeMap;

use grantd_provider_api::{Clock, SystemClock};
use hyper::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{DESK_OPSGENIE, DESK_PAGERDUTY, Question, json as answer};
use crate::serve::Reply;

/// How many entries a page of PagerDuty has when nobody says, and at most.
const PAGE: (usize, usize) = (25, 100);

fn now() -> Timestamp {
    SystemClock::new().now()
}

/// An exception from a rota.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Override {
    user: String,
    begins: Timestamp,
    ends: Timestamp,
}

impl Override {
    /// From and until so many seconds from now.
    pub fn new(user: &str, begins: i64, ends: i64) -> Self {
        let at = |seconds| now().saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
        Self { user: user.to_owned(), begins: at(begins), ends: at(ends) }
    }

    fn overlaps(&self, since: Timestamp, until: Timestamp) -> bool {
        self.begins < until && self.ends > since
    }
}

/// Who is on call now: whoever an override names, and the rota's people when there is none.
fn on_call<'a>(rota: &'a [String], overrides: &'a [Override]) -> Vec<&'a String> {
    let now = now();
    let instead: Vec<&String> =
        overrides.iter().filter(|one| one.begins <= now && one.ends > now).map(|one| &one.user).collect();
    if instead.is_empty() { rota.iter().collect() } else { instead }
}

fn pagerduty_stranger(question: &Question<'_>) -> Option<Reply> {
    let body = json!({ "error": { "message": "Unauthorized: the token is not valid", "code": 2006 } });
    (question.proof() != DESK_PAGERDUTY).then(|| answer(StatusCode::UNAUTHORIZED, &body))
}

/// `GET /schedules/{id}/overrides?since=…&until=…`: those that touch that time, cut to it.
pub(super) fn pagerduty_overrides(there: bool, overrides: &[Override], question: &Question<'_>) -> Reply {
    if let Some(refusal) = pagerduty_stranger(question) {
        return refusal;
    }
    if !there {
        return answer(StatusCode::NOT_FOUND, &json!({ "error": { "message": "Not Found", "code": 2100 } }));
    }
    let time = |name: &str| question.member(name).parse::<Timestamp>().ok();
    let (Some(since), Some(until)) = (time("since"), time("until")) else {
        let errors = json!(["Since cannot be empty.", "Until cannot be empty."]);
        let body = json!({ "error": { "message": "Invalid Input Provided", "code": 2001, "errors": errors } });
        return answer(StatusCode::BAD_REQUEST, &body);
    };
    let entry = |one: &Override| {
        let cut = question.member("overflow") != "true";
        let (begins, ends) = if cut { (one.begins.max(since), one.ends.min(until)) } else { (one.begins, one.ends) };
        json!({
            "id": "PQ47DCP", "start": begins.to_string(), "end": ends.to_string(),
            "user": { "id": one.user, "type": "user_reference", "summary": one.user },
        })
    };
    let all: Vec<Value> = overrides.iter().filter(|one| one.overlaps(since, until)).map(entry).collect();
    answer(StatusCode::OK, &json!({ "overrides": all }))
}

/// `GET /oncalls?schedule_ids[]=…`. Page by page.
pub(super) fn pagerduty(
    schedules: &BTreeMap<String, Vec<String>>,
    overrides: &BTreeMap<String, Vec<Override>>,
    question: &Question<'_>,
) -> Reply {
    if let Some(refusal) = pagerduty_stranger(question) {
        return refusal;
    }
    let number = |name: &str| question.member(name).parse::<usize>().ok();
    let (limit, offset) = (number("limit").unwrap_or(PAGE.0).min(PAGE.1), number("offset").unwrap_or(0));
    let wanted = question.member("schedule_ids[]");
    let users = question.member("include[]") == "users";
    let of_schedule = |schedule: &String, id: &String| {
        let user = if users {
            json!({ "id": id, "type": "user", "summary": id, "name": id, "email": format!("{}@example.com", id.to_lowercase()) })
        } else {
            json!({
                "id": id, "type": "user_reference", "summary": id,
                "self": format!("https://api.pagerduty.com/users/{id}"), "html_url": format!("https://acme.pagerduty.com/users/{id}"),
            })
        };
        json!({
            "user": user, "escalation_level": 1, "start": "2026-01-01T00:00:00Z", "end": "2036-01-01T00:00:00Z",
            "schedule": { "id": schedule, "type": "schedule_reference", "summary": schedule },
            "escalation_policy": { "id": "PT20YPA", "type": "escalation_policy_reference", "summary": "operations" },
        })
    };
    let all: Vec<Value> = schedules
        .iter()
        .filter(|(schedule, _)| wanted.is_empty() || *schedule == wanted)
        .flat_map(|(schedule, users)| {
            let overrides = overrides.get(schedule).map(Vec::as_slice).unwrap_or_default();
            on_call(users, overrides).into_iter().map(move |id| of_schedule(schedule, id))
        })
        .collect();
    let more = all.len() > offset.saturating_add(limit);
    let page: Vec<Value> = all.into_iter().skip(offset).take(limit).collect();
    answer(StatusCode::OK, &json!({ "oncalls": page, "limit": limit, "offset": offset, "more": more, "total": null }))
}

/// `GET /v2/schedules/{schedule}/on-calls?scheduleIdentifierType=name&flat=true`, and `…/overrides`: all that have not ended.
pub(super) fn opsgenie(
    schedules: &BTreeMap<String, Vec<String>>,
    overrides: &[Override],
    question: &Question<'_>,
    schedule: &str,
    what: &str,
) -> Reply {
    let said = |status, message: &str| {
        answer(
            status,
            &json!({ "message": message, "took": 0.001, "requestId": "43a29c5c-3dbf-4fa4-9c26-f4f71023e120" }),
        )
    };
    let is_key = |key: &str| key.len() == 36 && key.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    match question.proof().strip_prefix("GenieKey ") {
        Some(key) if !is_key(key) => return said(StatusCode::UNPROCESSABLE_ENTITY, "Key format is not valid!"),
        Some(_) if question.proof() == DESK_OPSGENIE => {}
        _ => return said(StatusCode::UNAUTHORIZED, "Could not authenticate"),
    }
    // Without that word it looks for an id, and its schedules have none here.
    let by_name = question.member("scheduleIdentifierType") == "name";
    let Some(users) = schedules.get(schedule).filter(|_| by_name) else {
        return said(StatusCode::NOT_FOUND, &format!("No schedule exists with id [{schedule}]"));
    };
    let parent = json!({ "id": "d8750000-9b4e-4219-a000-0c26936d18de", "name": schedule, "enabled": true });
    let users = on_call(users, overrides);
    let data = if what == "overrides" {
        let entry = |one: &Override| {
            json!({
                "_parent": parent, "alias": "d1a3b4d8-6d54-4b3c-8d4e-7b0a4e2f9c11", "rotations": [],
                "user": { "type": "user", "id": "c569c016-0000-4e20-8a28-bd5dc33b798e", "username": one.user },
                "startDate": one.begins.to_string(), "endDate": one.ends.to_string(),
            })
        };
        let now = now();
        Value::from(overrides.iter().filter(|one| one.ends > now).map(entry).collect::<Vec<_>>())
    } else if question.member("flat") == "true" {
        json!({ "_parent": parent, "onCallRecipients": users })
    } else {
        let participant =
            |name: &&String| json!({ "id": "c569c016-0000-4e20-8a28-bd5dc33b798e", "name": name, "type": "user" });
        json!({ "_parent": parent, "onCallParticipants": users.iter().map(participant).collect::<Vec<_>>() })
    };
    answer(StatusCode::OK, &json!({ "data": data, "took": 0.046, "requestId": "fcb95b4b-f4f4-4c0f-8f8c-8c3ed3e7d5e5" }))
}
