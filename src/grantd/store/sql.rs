//! The SQL that both databases understand, and the values that go into it.
//!
//! Parameters are written `$1`, `$2`, …; in every statement their first appearances are in that order, because SQLite
//! numbers them by appearance and PostgreSQL by name. Whatever comes from outside is a parameter, never text.

use bytes::BytesMut;
use grantd_model::{ChainHead, NodeId};
use grantd_provider_api::DenyScope;
use jiff::Timestamp;
use rusqlite::types::{ToSqlOutput, ValueRef};
use tokio_postgres::types::{IsNull, Type, to_sql_checked};

use super::StoreError;

/// A value of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
    Null,
}

/// A statement with its parameters.
#[derive(Debug, Clone)]
pub(super) struct Sql {
    pub(super) text: String,
    pub(super) values: Vec<Value>,
}

impl Sql {
    pub(super) fn new(text: &str, values: impl IntoIterator<Item = Value>) -> Self {
        Self { text: text.to_owned(), values: values.into_iter().collect() }
    }

    /// Adds `text`, in which `?` stands for `value`.
    pub(super) fn push(&mut self, text: &str, value: impl Into<Value>) {
        self.values.push(value.into());
        let parameter = format!("${}", self.values.len());
        self.text.push_str(&text.replace('?', &parameter));
    }

    /// Adds a condition that `column` is one of `words`; of none, it never is.
    pub(super) fn push_one_of(&mut self, column: &str, words: &[&str]) {
        if words.is_empty() {
            self.text.push_str(" AND FALSE");
            return;
        }
        self.text.push_str(&format!(" AND {column} IN ("));
        for (nth, word) in words.iter().enumerate() {
            self.push(if nth == 0 { "?" } else { ", ?" }, *word);
        }
        self.text.push(')');
    }

    /// Adds the limit, if there is one.
    pub(super) fn push_limit(&mut self, limit: Option<u32>) {
        if let Some(limit) = limit {
            self.push(" LIMIT ?", i64::from(limit));
        }
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        text.map_or(Self::Null, Self::Text)
    }
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Int(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
            Self::Null => ValueRef::Null,
        }))
    }
}

impl tokio_postgres::types::ToSql for Value {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Int(number) => number.to_sql_checked(ty, out),
            Self::Text(text) => text.to_sql_checked(ty, out),
            Self::Bytes(bytes) => bytes.to_sql_checked(ty, out),
            Self::Null => Ok(IsNull::Yes),
        }
    }

    fn accepts(_: &Type) -> bool {
        // Which types a value can become depends on the value: each arm above checks.
        true
    }

    to_sql_checked!();
}

/// The moment in milliseconds since 1970, rounded down: for what must not last longer than it should.
pub(super) fn floor_ms(at: Timestamp) -> i64 {
    at.as_nanosecond().div_euclid(1_000_000).try_into().unwrap_or(i64::MIN)
}

/// The moment in milliseconds since 1970, rounded up: for what must not be over earlier than it should.
pub(super) fn ceil_ms(at: Timestamp) -> i64 {
    let floor = floor_ms(at);
    if at.as_nanosecond().rem_euclid(1_000_000) == 0 { floor } else { floor.saturating_add(1) }
}

/// A version or a sequence number as the databases keep it.
pub(super) fn int(number: u64) -> Result<Value, StoreError> {
    i64::try_from(number).map(Value::Int).map_err(|_| StoreError::Io(format!("the number {number} is too large")))
}

/// A deny scope as one readable word. A slash inside the account's name is escaped: otherwise two scopes could share
/// one word, and with it their places.
pub(super) fn scope_word(scope: &DenyScope) -> String {
    format!("{}/{}/{}", scope.cloud, scope.account.replace('%', "%25").replace('/', "%2f"), scope.name)
}

/// Takes or renews a claim: one row is changed when it is ours now, none when another holder has it.
pub(super) fn claim(name: &str, holder: &NodeId, now: Timestamp, until: Timestamp) -> Sql {
    Sql::new(
        "INSERT INTO claims (name, holder, until_ms) VALUES ($1, $2, $3) \
         ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until_ms = excluded.until_ms \
         WHERE claims.holder = excluded.holder OR claims.until_ms <= $4",
        [name.into(), holder.0.as_str().into(), ceil_ms(until).into(), floor_ms(now).into()],
    )
}

/// Writes down where a node's chain ends.
pub(super) fn set_head(node: &NodeId, head: ChainHead) -> Result<Sql, StoreError> {
    Ok(Sql::new(
        "INSERT INTO chain (node, seq, hash) VALUES ($1, $2, $3) \
         ON CONFLICT (node) DO UPDATE SET seq = excluded.seq, hash = excluded.hash",
        [node.0.as_str().into(), int(head.seq)?, head.hash.to_string().into()],
    ))
}

#[cfg(test)]
mod tests {
    use grantd_provider_api::Cloud;

    use super::*;

    #[test]
    fn parameters_appear_in_their_order() {
        let mut sql = Sql::new("SELECT 1 WHERE TRUE", []);
        sql.push(" AND (a = ? OR b = ?)", "x");
        sql.push_one_of("c", &["y", "z"]);
        sql.push_one_of("d", &[]);
        sql.push_limit(Some(5));
        assert_eq!(sql.text, "SELECT 1 WHERE TRUE AND (a = $1 OR b = $1) AND c IN ($2, $3) AND FALSE LIMIT $4");
        assert_eq!(sql.values, ["x".into(), "y".into(), "z".into(), Value::Int(5)]);
    }

    #[test]
    fn p3_moments_between_two_milliseconds_are_rounded_to_the_safe_side() {
        let at = |nanos: i128| Timestamp::from_nanosecond(nanos).unwrap();
        assert_eq!((floor_ms(at(1_999_999)), ceil_ms(at(1_999_999))), (1, 2));
        assert_eq!((floor_ms(at(2_000_000)), ceil_ms(at(2_000_000))), (2, 2));
        assert_eq!((floor_ms(at(-1)), ceil_ms(at(-1))), (-1, 0));
    }

    #[test]
    fn two_scopes_never_share_a_word() {
        let word = |account: &str, name: &str| {
            scope_word(&DenyScope { cloud: Cloud::Aws, account: account.to_owned(), name: name.to_owned() })
        };
        assert_eq!(word("prod", "arn:x/y"), "aws/prod/arn:x/y");
        assert_ne!(word("a/b", "c"), word("a", "b/c"));
        assert_ne!(word("a%2fb", "c"), word("a/b", "c"));
    }
}
