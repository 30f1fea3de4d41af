//! The store in PostgreSQL, for hosts that share grants. Each host is a node with its own audit chain.
//!
//! Every transaction is serializable: guards hold over all nodes. One that lost against another node's is tried again.

use std::fmt;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use grantd_model::{
    AcceptedSeal, AuditRecord, ChainHead, Delegation, Freeze, Grant, GrantId, Lease, LeaseId, NodeId, PolicyVersion,
    Propagation, RegisteredAnchor, Review, ReviewId,
};
use grantd_provider_api::DenyScope;
use jiff::Timestamp;
use tokio::sync::Mutex;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, GenericClient, IsolationLevel, NoTls};

use super::sql::{self, Sql, scope_word};
use super::{
    Committed, GrantFilter, LeaseFilter, Repeated, ReviewFilter, Store, StoreError, Transaction, sql_read, sql_write,
    tail,
};

/// How often a transaction that lost against another node's is tried again.
const ATTEMPTS: u32 = 20;
/// How long after the first loss; it grows with each.
const PAUSE: Duration = Duration::from_millis(2);
/// Names the lock under which one node at a time brings the tables up to date.
const MIGRATION_LOCK: i64 = 0x0067_7261_6e74_6400;

mod migrations {
    refinery::embed_migrations!("store/migrations/postgres");
}

/// The store in PostgreSQL.
pub struct PostgresStore {
    config: Config,
    node: NodeId,
    connections: Mutex<Connections>,
    reader: StdMutex<Arc<Client>>,
    poison: StdMutex<Option<String>>,
}

/// What the one that commits needs.
struct Connections {
    writer: Client,
    /// Where the chain ends, as far as it was acknowledged.
    head: ChainHead,
}

/// Why a transaction was not committed.
enum Failure {
    /// It alone is refused, and nothing of it was written.
    Refused(StoreError),
    /// It lost against another node's: nothing was written, and it may be tried again.
    Lost,
    /// The store is broken.
    Broken(StoreError),
}

/// How often something was lost already.
#[derive(Default)]
struct Patience(u32);

impl Patience {
    /// Waits a while, a little longer each time; false when it was enough.
    async fn lasts(&mut self) -> bool {
        self.0 = self.0.saturating_add(1);
        tokio::time::sleep(PAUSE.saturating_mul(self.0)).await;
        self.0 < ATTEMPTS
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.code() {
            Some(&(SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED)) => Self::Lost,
            _ => Self::Broken(broken(error)),
        }
    }
}

impl PostgresStore {
    /// Connects as `node`, whose name the caller keeps, and brings the tables up to date.
    ///
    /// # Errors
    /// `Io` when the database cannot be used; `Damaged` when the node's audit chain does not hold.
    pub async fn connect(config: Config, node: NodeId) -> Result<Self, StoreError> {
        let mut writer = open(&config).await?;
        let lock = [sql::Value::Int(MIGRATION_LOCK)];
        run(&writer, &Sql::new("SELECT pg_advisory_lock($1)", lock.clone())).await.map_err(broken)?;
        migrations::migrations::runner()
            .run_async(&mut writer)
            .await
            .map_err(|error| StoreError::Io(format!("the tables cannot be brought up to date: {error}")))?;
        run(&writer, &Sql::new("SELECT pg_advisory_unlock($1)", lock)).await.map_err(broken)?;
        let head = check_tail(&writer, &node).await?;
        let reader = StdMutex::new(open(&config).await?.into());
        let connections = Mutex::new(Connections { writer, head });
        Ok(Self { config, node, connections, reader, poison: StdMutex::new(None) })
    }

    fn healthy(&self) -> Result<(), StoreError> {
        self.poisoned().map_or(Ok(()), |why| Err(StoreError::Poisoned(why)))
    }

    /// Fresh connections, and a chain that still holds what was acknowledged.
    async fn connect_again(&self, acknowledged: ChainHead) -> Result<(Connections, Arc<Client>), StoreError> {
        let writer = open(&self.config).await?;
        let head = check_tail(&writer, &self.node).await?;
        let last = records(&writer, &self.node, acknowledged.seq.saturating_sub(1), 1).await?;
        tail::check_kept(acknowledged, head, last.first())?;
        Ok((Connections { writer, head }, open(&self.config).await?.into()))
    }

    fn set_poison(&self, why: Option<String>) {
        *self.poison.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Poisons the store if it is broken.
    fn judge(&self, failure: Failure) -> StoreError {
        match failure {
            Failure::Refused(error) => error,
            Failure::Lost => StoreError::Stale { what: format!("what other nodes work on, {ATTEMPTS} times over,") },
            Failure::Broken(error) => {
                self.set_poison(Some(error.to_string()));
                error
            }
        }
    }

    async fn texts(&self, sql: Sql) -> Result<Vec<String>, StoreError> {
        texts(&*self.reader(), &sql).await.map_err(broken)
    }

    async fn number(&self, sql: Sql) -> Result<u64, StoreError> {
        let number = number(&*self.reader(), &sql).await.map_err(broken)?;
        Ok(u64::try_from(number).unwrap_or_default())
    }

    fn reader(&self) -> Arc<Client> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("node", &self.node).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for PostgresStore {
    fn node(&self) -> &NodeId {
        &self.node
    }

    /// The server writes. To start this daemon anew would help a server that hangs in nothing.
    async fn answers(&self) -> bool {
        true
    }

    async fn commit(&self, transaction: Transaction) -> Result<Committed, StoreError> {
        let mut connections = self.connections.lock().await;
        self.healthy()?;
        let mut patience = Patience::default();
        let outcome = loop {
            match commit_once(&mut connections.writer, &self.node, &transaction).await {
                Err(Failure::Lost) if patience.lasts().await => {}
                outcome => break outcome,
            }
        };
        connections.head = outcome.map_err(|failure| self.judge(failure))?;
        Ok(Committed { head: connections.head })
    }

    fn poisoned(&self) -> Option<String> {
        self.poison.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn reopen(&self) -> Result<(), StoreError> {
        let mut connections = self.connections.lock().await;
        match self.connect_again(connections.head).await {
            Ok((fresh, reader)) => {
                *connections = fresh;
                *self.reader.lock().unwrap_or_else(PoisonError::into_inner) = reader;
                self.set_poison(None);
                Ok(())
            }
            Err(error) => {
                if self.poisoned().is_none() {
                    self.set_poison(Some(error.to_string()));
                }
                Err(error)
            }
        }
    }

    async fn claim(&self, name: &str, now: Timestamp, until: Timestamp) -> Result<bool, StoreError> {
        let connections = self.connections.lock().await;
        self.healthy()?;
        let sql = sql::claim(name, &self.node, now, until);
        let mut patience = Patience::default();
        let outcome = loop {
            match run(&connections.writer, &sql).await.map_err(Failure::from) {
                Err(Failure::Lost) if patience.lasts().await => {}
                outcome => break outcome,
            }
        };
        Ok(outcome.map_err(|failure| self.judge(failure))? == 1)
    }

    async fn grant(&self, id: GrantId) -> Result<Option<Grant>, StoreError> {
        sql_read::one(self.texts(sql_read::grant(id)).await?)
    }

    async fn grants(&self, filter: GrantFilter) -> Result<Vec<Grant>, StoreError> {
        sql_read::all(self.texts(sql_read::grants(&filter)).await?)
    }

    async fn lease(&self, id: LeaseId) -> Result<Option<Lease>, StoreError> {
        sql_read::one(self.texts(sql_read::lease(id)).await?)
    }

    async fn leases(&self, filter: LeaseFilter) -> Result<Vec<Lease>, StoreError> {
        sql_read::all(self.texts(sql_read::leases(&filter)).await?)
    }

    async fn denied(&self, scope: &DenyScope, now: Timestamp) -> Result<Vec<Lease>, StoreError> {
        sql_read::all(self.texts(sql_read::denied(scope, now)).await?)
    }

    async fn places(&self, scope: &DenyScope, now: Timestamp) -> Result<u64, StoreError> {
        self.number(sql_write::places(&scope_word(scope), now)).await
    }

    async fn anchors(&self) -> Result<Vec<RegisteredAnchor>, StoreError> {
        sql_read::all(self.texts(sql_read::anchors(&self.node)).await?)
    }

    async fn freezes(&self) -> Result<Vec<Freeze>, StoreError> {
        sql_read::all(self.texts(sql_read::freezes()).await?)
    }

    async fn delegations(&self) -> Result<Vec<Delegation>, StoreError> {
        sql_read::all(self.texts(sql_read::delegations()).await?)
    }

    async fn review(&self, id: ReviewId) -> Result<Option<Review>, StoreError> {
        sql_read::one(self.texts(sql_read::review(id)).await?)
    }

    async fn reviews(&self, filter: ReviewFilter) -> Result<Vec<Review>, StoreError> {
        sql_read::all(self.texts(sql_read::reviews(&filter)).await?)
    }

    async fn repeated(&self, since: Timestamp, above: u32) -> Result<Vec<Repeated>, StoreError> {
        sql_read::repeats(&self.texts(sql_read::repeated(since, above)).await?)
    }

    async fn propagations(&self) -> Result<Vec<Propagation>, StoreError> {
        sql_read::all(self.texts(sql_read::propagations()).await?)
    }

    async fn counted(&self, counter: &str) -> Result<u64, StoreError> {
        self.number(sql_read::counted(counter)).await
    }

    async fn cursor(&self, cursor: &str) -> Result<Option<u64>, StoreError> {
        Ok(self.number(sql_read::cursor(cursor)).await?.checked_sub(1))
    }

    async fn audit(&self, after: u64, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        sql_read::all(self.texts(sql_read::audit(&self.node, after, limit)?).await?)
    }

    async fn head(&self) -> Result<ChainHead, StoreError> {
        head(&self.reader(), &self.node).await
    }

    async fn seals(&self) -> Result<Vec<AcceptedSeal>, StoreError> {
        sql_read::all(self.texts(sql_read::seals()).await?)
    }

    async fn bundle(&self, version: PolicyVersion) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = sql_read::bundle(version);
        let row = self.reader().query_opt(&sql.text, &parameters(&sql)).await.map_err(broken)?;
        row.map(|row| row.try_get(0)).transpose().map_err(broken)
    }
}

/// One attempt at a transaction; gives the chain's head after it.
async fn commit_once(writer: &mut Client, node: &NodeId, transaction: &Transaction) -> Result<ChainHead, Failure> {
    let open = writer.build_transaction().isolation_level(IsolationLevel::Serializable).start().await?;
    for guard in &transaction.guards {
        let answer = number(&open, &sql_write::question(guard)).await?;
        sql_write::judge(guard, answer).map_err(|failure| Failure::Refused(failure.into()))?;
    }
    for write in &transaction.writes {
        let (sql, expected) = sql_write::change(write, node).map_err(Failure::Refused)?;
        match (run(&open, &sql).await, expected) {
            (Ok(0), Some(what)) => return Err(Failure::Refused(StoreError::Stale { what })),
            (Ok(_), _) => {}
            (Err(error), _) if error.code() == Some(&SqlState::FOREIGN_KEY_VIOLATION) => {
                let what = "that the grant of a lease exists".to_owned();
                return Err(Failure::Refused(StoreError::Stale { what }));
            }
            (Err(error), _) => return Err(error.into()),
        }
    }
    let end = texts(&open, &sql_read::head(node)).await?;
    let mut end = sql_read::one(end).map_err(Failure::Broken)?.unwrap_or(ChainHead::EMPTY);
    for draft in &transaction.audit {
        let record = AuditRecord::chain(node, end, draft.clone())
            .map_err(|_| Failure::Refused(sql_write::unwritable(&draft.kind)))?;
        run(&open, &sql_write::insert_record(&record).map_err(Failure::Refused)?).await?;
        end = record.head();
    }
    if !transaction.audit.is_empty() {
        run(&open, &sql::set_head(node, end).map_err(Failure::Refused)?).await?;
    }
    open.commit().await?;
    Ok(end)
}

/// A connection on which a commit waits for the disk. It ends with its client.
async fn open(config: &Config) -> Result<Client, StoreError> {
    let (client, connection) = config.connect(NoTls).await.map_err(broken)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::error!(%error, "the connection to PostgreSQL ended");
        }
    });
    client.batch_execute("SET synchronous_commit = on").await.map_err(broken)?;
    Ok(client)
}

/// Checks the end of the audit chain, and says where it ends.
async fn check_tail(client: &Client, node: &NodeId) -> Result<ChainHead, StoreError> {
    let head = head(client, node).await?;
    let limit = u32::try_from(tail::LENGTH).unwrap_or(u32::MAX).saturating_add(1);
    let records = records(client, node, head.seq.saturating_sub(tail::LENGTH), limit).await?;
    tail::check(node, head, &records)?;
    Ok(head)
}

async fn head(client: &Client, node: &NodeId) -> Result<ChainHead, StoreError> {
    let text = texts(client, &sql_read::head(node)).await.map_err(broken)?;
    Ok(sql_read::one(text)?.unwrap_or(ChainHead::EMPTY))
}

async fn records(client: &Client, node: &NodeId, after: u64, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
    sql_read::all(texts(client, &sql_read::audit(node, after, limit)?).await.map_err(broken)?)
}

async fn texts(client: &impl GenericClient, sql: &Sql) -> Result<Vec<String>, tokio_postgres::Error> {
    client.query(&sql.text, &parameters(sql)).await?.iter().map(|row| row.try_get(0)).collect()
}

async fn number(client: &impl GenericClient, sql: &Sql) -> Result<i64, tokio_postgres::Error> {
    client.query_one(&sql.text, &parameters(sql)).await?.try_get(0)
}

async fn run(client: &impl GenericClient, sql: &Sql) -> Result<u64, tokio_postgres::Error> {
    client.execute(&sql.text, &parameters(sql)).await
}

fn parameters(sql: &Sql) -> Vec<&(dyn ToSql + Sync)> {
    sql.values.iter().map(|value| -> &(dyn ToSql + Sync) { value }).collect()
}

/// An error of PostgreSQL as one of the store, with what the server said.
fn broken(error: tokio_postgres::Error) -> StoreError {
    let said = error.as_db_error().map(|error| format!(": {}", error.message())).unwrap_or_default();
    StoreError::Io(format!("{error}{said}"))
}
