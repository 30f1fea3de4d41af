//! Tickets as Jira Cloud (REST API v3, "Get issue"), ServiceNow (Table API) and GitHub (REST API, "Get an issue") have them.

use std::collections::BTreeMap;

use hyper::StatusCode;
use hyper::header::LOCATION;
use serde_json::{Map, Value, json};

use super::{DESK_BASIC, DESK_BEARER, Question, json as answer, with_header};
use crate::serve::Reply;

/// A ticket, in whichever system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeskTicket {
    /// In the words of its system: `In Progress`, `-1`, `open`.
    pub state: String,
    /// Who works on it: an address; in GitHub a login.
    pub assignee: Option<String>,
    /// Who opened it.
    pub opened_by: String,
    /// What it names: Jira's labels and components, ServiceNow's configuration item, GitHub's labels.
    pub names: Vec<String>,
    /// Who moved it to another state, the last at the end. A person of Jira without an @ keeps their address to themselves.
    pub moves: Vec<String>,
    /// Under which id it is found now: Jira answers with it in place of the one that was asked for, GitHub redirects.
    pub moved_to: Option<String>,
}

/// `GET /rest/api/3/issue/{key}?fields=…`. Keys are found in any case, and under those that the issue had before.
pub(super) fn jira(issues: &BTreeMap<String, DeskTicket>, question: &Question<'_>, key: &str) -> Reply {
    if question.proof() != DESK_BASIC {
        return Reply::of(
            StatusCode::UNAUTHORIZED,
            "text/plain;charset=UTF-8",
            "Client must be authenticated to access this resource.",
        );
    }
    let key = key.to_ascii_uppercase();
    let Some(issue) = issues.get(&key) else {
        let said = "Issue does not exist or you do not have permission to see it.";
        return answer(StatusCode::NOT_FOUND, &json!({ "errorMessages": [said], "errors": {} }));
    };
    let user = |address: &str| {
        json!({
            "self": "https://acme.atlassian.net/rest/api/3/user?accountId=5b10a2844c20165700ede21g",
            "accountId": "5b10a2844c20165700ede21g", "emailAddress": address, "displayName": address,
            "active": true, "timeZone": "Europe/Berlin", "accountType": "atlassian",
        })
    };
    let all = json!({
        "status": {
            "self": "https://acme.atlassian.net/rest/api/3/status/3", "id": "3", "name": issue.state,
            "description": "", "iconUrl": "https://acme.atlassian.net/images/icons/statuses/inprogress.png",
            "statusCategory": { "id": 4, "key": "indeterminate", "colorName": "yellow", "name": "In Progress" },
        },
        "assignee": issue.assignee.as_deref().map(user),
        "reporter": user(&issue.opened_by),
        "labels": issue.names,
        "components": issue.names.iter().map(|name| json!({ "id": "10000", "name": name })).collect::<Vec<_>>(),
        "summary": "change the orders",
    });
    let wanted = question.member("fields");
    let is_wanted = |name: &str| wanted.is_empty() || wanted.split(',').any(|one| one == name || one == "*all");
    let fields: Map<String, Value> =
        all.as_object().cloned().unwrap_or_default().into_iter().filter(|(name, _)| is_wanted(name)).collect();
    let key = issue.moved_to.as_ref().unwrap_or(&key);
    let mut body = json!({
        "expand": "renderedFields,names,schema,operations,editmeta,changelog,versionedRepresentations",
        "id": "10002", "self": "https://acme.atlassian.net/rest/api/3/issue/10002", "key": key, "fields": fields,
    });
    if question.member("expand").split(',').any(|one| one == "changelog") {
        let author = |address: &str| {
            let mut author = user(address);
            if !address.contains('@')
                && let Some(author) = author.as_object_mut()
            {
                author.remove("emailAddress");
            }
            author
        };
        let history = |(day, who): (usize, &String), field: &str| {
            json!({
                "id": day.to_string(), "author": author(who), "created": format!("2026-01-{:02}T03:04:05.678+0000", day.saturating_add(1)),
                "items": [{ "field": field, "fieldtype": "jira", "fieldId": field, "fromString": "", "toString": "" }],
            })
        };
        // The newest first, and what is no move is among them.
        let robot = "robot@example.com".to_owned();
        let label = history((issue.moves.len(), &robot), "labels");
        let moves = issue.moves.iter().enumerate().rev().map(|one| history(one, "status"));
        let histories: Vec<Value> = std::iter::once(label).chain(moves).take(100).collect();
        let page =
            json!({ "startAt": 0, "maxResults": histories.len(), "total": histories.len(), "histories": histories });
        if let Some(body) = body.as_object_mut() {
            body.insert("changelog".to_owned(), page);
        }
    }
    answer(StatusCode::OK, &body)
}

/// `GET /api/now/table/change_request?sysparm_query=…&sysparm_fields=…&sysparm_limit=…`. A part of a query that it does not
/// understand is passed over, as `glide.invalid_query.returns_no_rows` has it when it is not set.
pub(super) fn servicenow(changes: &BTreeMap<String, DeskTicket>, question: &Question<'_>, table: &str) -> Reply {
    let failed = |status, message: String, detail: Value| {
        answer(status, &json!({ "error": { "message": message, "detail": detail }, "status": "failure" }))
    };
    if question.proof() != DESK_BASIC {
        let detail = json!("Required to provide Auth information");
        return failed(StatusCode::UNAUTHORIZED, "User Not Authenticated".to_owned(), detail);
    }
    if table != "change_request" {
        return failed(StatusCode::BAD_REQUEST, format!("Invalid table {table}"), Value::Null);
    }
    let terms: Vec<(&str, &str)> =
        question.member("sysparm_query").split('^').filter_map(|term| term.split_once('=')).collect();
    let fits = |number: &str, change: &DeskTicket| {
        terms.iter().all(|(field, value)| match *field {
            "number" => *value == number,
            "state" => *value == change.state,
            _ => true,
        })
    };
    let wanted = question.member("sysparm_fields");
    let limit = question.member("sysparm_limit").parse().unwrap_or(10_000);
    let reference = |value: &str| json!({ "link": format!("https://acme.service-now.com/api/now/table/sys_user/{value}"), "value": value });
    let found: Vec<Value> = changes
        .iter()
        .filter(|(number, change)| fits(number, change))
        .take(limit)
        .map(|(number, change)| {
            let assignee = change.assignee.as_deref();
            let item = change.names.first();
            let mut all = json!({
                "number": number, "state": change.state, "sys_id": "c286d61347c12200e0ef563dbb9a71df",
                // What is not set is an empty text.
                "assigned_to": assignee.map_or(json!(""), reference),
                "opened_by": reference(&change.opened_by),
                // Of every change, not of the state alone.
                "sys_updated_by": change.moves.last().unwrap_or(&change.opened_by),
                "cmdb_ci": item.map_or(json!(""), |name| reference(name)),
            });
            if !wanted.is_empty() {
                let walked = [
                    ("assigned_to.email", assignee.unwrap_or_default()),
                    ("opened_by.email", change.opened_by.as_str()),
                    ("cmdb_ci.name", item.map(String::as_str).unwrap_or_default()),
                ];
                let all_of = all.as_object().cloned().unwrap_or_default().into_iter();
                let walked = walked.into_iter().map(|(name, value)| (name.to_owned(), json!(value)));
                let is_wanted = |name: &str| wanted.split(',').any(|one| one == name);
                let kept: Map<String, Value> = all_of.chain(walked).filter(|(name, _)| is_wanted(name)).collect();
                all = Value::Object(kept);
            }
            all
        })
        .collect();
    answer(StatusCode::OK, &json!({ "result": found }))
}

/// `GET /repos/{owner}/{repo}/issues/{number}`, and its `/events`, of a private repository.
pub(super) fn github(
    issues: &BTreeMap<String, DeskTicket>,
    question: &Question<'_>,
    name: &str,
    number: &str,
    events: bool,
) -> Reply {
    let said = |status: StatusCode, message: &str| {
        let documentation = "https://docs.github.com/rest/issues/issues#get-an-issue";
        let body = json!({ "message": message, "documentation_url": documentation, "status": status.as_str() });
        Reply::of(status, "application/json; charset=utf-8", body.to_string())
    };
    if question.header("user-agent").is_empty() {
        let why = "Request forbidden by administrative rules. Please make sure your request has a User-Agent header";
        return Reply::of(StatusCode::FORBIDDEN, "text/plain", why);
    }
    let proof = question.proof();
    // Both schemes are good ("Authenticating to the REST API").
    let token = |proof: &str| {
        proof
            .split_once(' ')
            .filter(|(scheme, _)| ["Bearer", "token"].contains(scheme))
            .map(|(_, token)| token.to_owned())
    };
    if !proof.is_empty() && token(proof) != token(DESK_BEARER) {
        return said(StatusCode::UNAUTHORIZED, "Bad credentials");
    }
    // What is private is not there for who does not say who asks.
    let Some(issue) = issues.get(name).filter(|_| !proof.is_empty()) else {
        return said(StatusCode::NOT_FOUND, "Not Found");
    };
    match issue.moved_to.as_deref() {
        Some("deleted") => return said(StatusCode::GONE, "This issue was deleted"),
        Some(place) => {
            return with_header(said(StatusCode::MOVED_PERMANENTLY, "Moved Permanently"), LOCATION, place);
        }
        None => {}
    }
    let user = |login: &str| json!({ "login": login, "id": 1, "node_id": "MDQ6VXNlcjE=", "type": "User", "site_admin": false });
    if events {
        let limit = question.member("per_page").parse().unwrap_or(30).min(100);
        let event = |(day, who): (usize, &String)| {
            let what = if day % 2 == 0 { "closed" } else { "reopened" };
            json!({ "id": day, "event": what, "actor": user(who), "created_at": format!("2026-01-{:02}T03:04:05Z", day.saturating_add(1)) })
        };
        // The oldest first.
        let events: Vec<Value> = issue.moves.iter().enumerate().map(event).take(limit).collect();
        return Reply::of(StatusCode::OK, "application/json; charset=utf-8", Value::from(events).to_string());
    }
    let labels =
        issue.names.iter().map(|name| json!({ "id": 208_045_946, "name": name, "color": "f29513", "default": false }));
    let body = json!({
        "id": 1, "node_id": "MDU6SXNzdWUx", "number": number.parse::<u64>().unwrap_or_default(),
        "url": format!("{}/repos/{}", question.base(), name.replace('#', "/issues/")),
        "title": "change the orders", "user": user(&issue.opened_by), "labels": labels.collect::<Vec<_>>(),
        "state": issue.state, "state_reason": null, "locked": false, "milestone": null, "comments": 0,
        "assignee": issue.assignee.as_deref().map(user),
        "assignees": issue.assignee.iter().map(|login| user(login)).collect::<Vec<_>>(),
        "created_at": "2026-01-02T03:04:05Z", "updated_at": "2026-01-02T03:04:05Z", "closed_at": null,
    });
    Reply::of(StatusCode::OK, "application/json; charset=utf-8", body.to_string())
}
