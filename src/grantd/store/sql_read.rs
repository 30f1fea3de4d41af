//! Questions to the store as SQL, and the way back from a row to a thing.

use grantd_model::{GrantId, LeaseId, NodeId, PolicyVersion, ReviewId};
use grantd_provider_api::DenyScope;
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use super::sql::{Sql, Value, floor_ms, int, scope_word};
use super::{GrantFilter, LeaseFilter, Repeated, ReviewFilter, StoreError};

pub(super) fn grant(id: GrantId) -> Sql {
    Sql::new("SELECT body FROM grants WHERE id = $1", [id.to_string().into()])
}

pub(super) fn grants(filter: &GrantFilter) -> Sql {
    let mut sql = Sql::new("SELECT body FROM grants WHERE TRUE", []);
    if let Some(phases) = &filter.phases {
        sql.push_one_of("phase", &phases.iter().map(|phase| phase.as_str()).collect::<Vec<_>>());
    }
    if let Some(identity) = &filter.identity {
        sql.push(" AND (subject = ? OR requester = ?)", identity.as_str());
    }
    if let Some(resource) = &filter.resource {
        sql.push(" AND resource = ?", resource.as_str());
    }
    if let Some(at) = filter.due_at {
        let at = floor_ms(at);
        sql.push(" AND (turn_ms > 0 AND turn_ms <= ? OR extension_ms > 0 AND extension_ms <= ?)", at);
    }
    if let Some(since) = filter.since {
        sql.push(" AND created_ms > ?", floor_ms(since));
    }
    if let Some(topic) = &filter.topic {
        sql.push(" AND topic = ?", topic.as_str());
    }
    if filter.extending {
        sql.text.push_str(" AND extension_ms > 0");
    }
    sql.text.push_str(" ORDER BY created_ms DESC, id");
    sql.push_limit(filter.limit);
    sql
}

pub(super) fn lease(id: LeaseId) -> Sql {
    Sql::new("SELECT body FROM leases WHERE id = $1", [id.to_string().into()])
}

pub(super) fn leases(filter: &LeaseFilter) -> Sql {
    let mut sql = Sql::new("SELECT body FROM leases WHERE TRUE", []);
    if let Some(phases) = &filter.phases {
        sql.push_one_of("phase", &phases.iter().map(|phase| phase.as_str()).collect::<Vec<_>>());
    }
    if let Some(grant) = filter.grant {
        sql.push(" AND grant_id = ?", grant.to_string());
    }
    if let Some(uid) = filter.uid {
        sql.push(" AND uid = ?", i64::from(uid));
    }
    if let Some(node) = &filter.node {
        sql.push(" AND node = ?", node.0.as_str());
    }
    if let Some(since) = filter.since {
        sql.push(" AND created_ms > ?", floor_ms(since));
    }
    sql.text.push_str(" ORDER BY created_ms DESC, id");
    sql.push_limit(filter.limit);
    sql
}

pub(super) fn denied(scope: &DenyScope, now: Timestamp) -> Sql {
    Sql::new(
        "SELECT body FROM leases WHERE scope = $1 AND deny_until_ms > $2 ORDER BY created_ms, id",
        [scope_word(scope).into(), floor_ms(now).into()],
    )
}

pub(super) fn anchors(node: &NodeId) -> Sql {
    Sql::new("SELECT body FROM anchors WHERE node = $1 ORDER BY created_ms, id", [node.0.as_str().into()])
}

pub(super) fn freezes() -> Sql {
    Sql::new("SELECT body FROM freezes ORDER BY created_ms DESC, id", [])
}

pub(super) fn delegations() -> Sql {
    Sql::new("SELECT body FROM delegations ORDER BY created_ms DESC, id", [])
}

pub(super) fn review(id: ReviewId) -> Sql {
    Sql::new("SELECT body FROM reviews WHERE id = $1", [id.to_string().into()])
}

pub(super) fn reviews(filter: &ReviewFilter) -> Sql {
    let mut sql = Sql::new("SELECT body FROM reviews WHERE TRUE", []);
    if filter.open {
        sql.text.push_str(" AND due_ms > 0");
    }
    if let Some(at) = filter.overdue_at {
        sql.push(" AND due_ms > 0 AND due_ms <= ?", floor_ms(at));
    }
    if filter.not_noted {
        sql.text.push_str(" AND noted = 0");
    }
    if filter.break_glass {
        sql.text.push_str(" AND kind = 'break_glass'");
    }
    if let Some(person) = &filter.person {
        sql.push(" AND person = ?", person.as_str());
    }
    if let Some(grant) = filter.grant {
        sql.push(" AND grant_id = ?", grant.to_string());
    }
    sql.text.push_str(" ORDER BY opened_ms DESC, id");
    sql.push_limit(filter.limit);
    sql
}

/// What was granted more often than `above` since `since`, each as its number and its topic, a line between.
pub(super) fn repeated(since: Timestamp, above: u32) -> Sql {
    Sql::new(
        "SELECT CAST(COUNT(*) AS TEXT) || CAST($1 AS TEXT) || topic FROM grants WHERE topic <> '' AND created_ms > $2 \
         AND phase IN ('active', 'ended', 'revoked') GROUP BY topic HAVING COUNT(*) > $3 ORDER BY topic",
        ["\n".into(), floor_ms(since).into(), Value::Int(i64::from(above))],
    )
}

/// The same, read.
pub(super) fn repeats(texts: &[String]) -> Result<Vec<Repeated>, StoreError> {
    let read = |text: &String| {
        let (number, topic) = text.split_once('\n')?;
        Some(Repeated { grants: number.parse().ok()?, topic: topic.to_owned() })
    };
    let damaged = |text: &String| StoreError::Damaged(format!("{text:?} is no number of grants with their topic"));
    texts.iter().map(|text| read(text).ok_or_else(|| damaged(text))).collect()
}

pub(super) fn propagations() -> Sql {
    Sql::new("SELECT body FROM propagations ORDER BY cloud, account", [])
}

pub(super) fn counted(counter: &str) -> Sql {
    Sql::new("SELECT COUNT(*) FROM counters WHERE counter = $1", [counter.into()])
}

/// One more than where the cursor stands; 0 when there is none.
pub(super) fn cursor(cursor: &str) -> Sql {
    Sql::new("SELECT COALESCE(MAX(seq) + 1, 0) FROM cursors WHERE name = $1", [cursor.into()])
}

/// The latest first.
pub(super) fn seals() -> Sql {
    Sql::new("SELECT body FROM seals ORDER BY sequence DESC", [])
}

pub(super) fn bundle(version: PolicyVersion) -> Sql {
    Sql::new("SELECT bytes FROM bundles WHERE version = $1", [version.to_string().into()])
}

/// Audit records after `after`, oldest first.
pub(super) fn audit(node: &NodeId, after: u64, limit: u32) -> Result<Sql, StoreError> {
    Ok(Sql::new(
        "SELECT record FROM audit WHERE node = $1 AND seq > $2 ORDER BY seq LIMIT $3",
        [node.0.as_str().into(), int(after)?, Value::Int(i64::from(limit))],
    ))
}

/// Where the chain ends, as JSON text with `seq` and `hash`; nothing when it is empty.
pub(super) fn head(node: &NodeId) -> Sql {
    Sql::new(
        "SELECT '{\"seq\":' || seq || ',\"hash\":\"' || hash || '\"}' FROM chain WHERE node = $1",
        [node.0.as_str().into()],
    )
}

/// A row's text as the thing that it holds.
pub(super) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| {
        let start: String = text.chars().take(80).collect();
        StoreError::Damaged(format!("a row that starts with {start} cannot be read: {error}"))
    })
}

/// All rows.
pub(super) fn all<T: DeserializeOwned>(texts: Vec<String>) -> Result<Vec<T>, StoreError> {
    texts.iter().map(|text| parse(text)).collect()
}

/// The one row, if there is one.
pub(super) fn one<T: DeserializeOwned>(texts: Vec<String>) -> Result<Option<T>, StoreError> {
    texts.first().map(|text| parse(text)).transpose()
}
