//! The store in one SQLite file: the default.
//!
//! One thread writes ([`Writer`]), a few connections read ([`Readers`]). What is answered with `Ok` is on the disk.

use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use grantd_model::{
    AcceptedSeal, AuditRecord, ChainHead, Delegation, Freeze, Grant, GrantId, Lease, LeaseId, NodeId, PolicyVersion,
    Propagation, RegisteredAnchor, Review, ReviewId,
};
use grantd_provider_api::{DenyScope, IdSource};
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::sql::{Sql, scope_word};
use super::sqlite_file::{self, StateFile};
use super::sqlite_readers::Readers;
use super::sqlite_writer::{Shared, Work, Writer};
use super::{
    Committed, GrantFilter, LeaseFilter, Repeated, ReviewFilter, Store, StoreError, Transaction, sql_read, sql_write,
};

/// How many transactions may wait; the next one waits for a place, which slows its caller down.
const QUEUE: usize = 1024;
/// What is said when the thread ended, which only a defect can do.
const WRITER_GONE: &str = "the writer's thread is gone: restart grantd";

/// The store in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    node: NodeId,
    shared: Arc<Shared>,
    readers: Readers,
    /// None only while it is dropped.
    queue: Option<mpsc::Sender<Work>>,
    writer: Option<JoinHandle<()>>,
}

impl SqliteStore {
    /// Opens the store in the state directory `directory`, which has to exist, and creates it if there is none yet.
    /// `ids` names the node then. Blocks until the end of the audit chain is verified.
    ///
    /// # Errors
    /// `Io` when the directory cannot be used, is used by another daemon, or can be written by others; `Damaged` when
    /// the audit chain does not hold.
    pub fn open(directory: &Path, ids: &dyn IdSource) -> Result<Self, StoreError> {
        let file = Arc::new(StateFile::take(directory)?);
        let mut connection = file.writer()?;
        let node = sqlite_file::prepare(&mut connection, ids)?;
        file.sync_directory()?;
        let head = sqlite_file::check_tail(&connection, &node)?;
        let shared = Arc::<Shared>::default();
        let (queue, work) = mpsc::channel(QUEUE);
        let writer = Writer {
            file: Arc::clone(&file),
            connection: Some(connection),
            node: node.clone(),
            head,
            shared: Arc::clone(&shared),
        };
        let writer = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(work))
            .map_err(|error| StoreError::Io(format!("the writer's thread cannot be started: {error}")))?;
        Ok(Self { node, shared, readers: Readers::new(file), queue: Some(queue), writer: Some(writer) })
    }

    /// How many commits reached the disk since the store was opened, and how many transactions and claims were in
    /// them: the second divided by the first says how well they are grouped.
    #[must_use]
    pub fn commits(&self) -> (u64, u64) {
        self.shared.counts()
    }

    /// How many transactions wait for the writer.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.max_capacity().saturating_sub(queue.capacity()))
    }

    /// Hands work to the writer and waits for its answer. Work that was handed over is done even if the caller stops
    /// waiting.
    async fn ask_writer<T>(
        &self,
        work: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Work,
    ) -> Result<T, StoreError> {
        let gone = || StoreError::Poisoned(WRITER_GONE.to_owned());
        let (answer, answered) = oneshot::channel();
        self.queue.as_ref().ok_or_else(gone)?.send(work(answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    async fn texts(&self, sql: Sql) -> Result<Vec<String>, StoreError> {
        self.readers.ask(move |connection| sqlite_file::texts(connection, &sql)).await
    }

    async fn number(&self, sql: Sql) -> Result<u64, StoreError> {
        let number = self.readers.ask(move |connection| sqlite_file::number(connection, &sql)).await?;
        Ok(u64::try_from(number).unwrap_or_default())
    }
}

impl Drop for SqliteStore {
    /// Waits until everything that was handed over is done.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the writer's thread of the store panicked");
        }
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn node(&self) -> &NodeId {
        &self.node
    }

    async fn commit(&self, transaction: Transaction) -> Result<Committed, StoreError> {
        self.ask_writer(|answer| Work::Commit { transaction, answer }).await
    }

    async fn answers(&self) -> bool {
        self.ask_writer(|answer| Work::Answer { answer }).await.is_ok()
    }

    fn poisoned(&self) -> Option<String> {
        let gone = self.writer.as_ref().is_none_or(JoinHandle::is_finished);
        self.shared.poison().or_else(|| gone.then(|| WRITER_GONE.to_owned()))
    }

    async fn reopen(&self) -> Result<(), StoreError> {
        let _nobody_reads = self.readers.close().await?;
        self.ask_writer(|answer| Work::Reopen { answer }).await
    }

    async fn claim(&self, name: &str, now: Timestamp, until: Timestamp) -> Result<bool, StoreError> {
        let name = name.to_owned();
        self.ask_writer(|answer| Work::Claim { name, now, until, answer }).await
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
        Ok(sql_read::one(self.texts(sql_read::head(&self.node)).await?)?.unwrap_or(ChainHead::EMPTY))
    }

    async fn seals(&self) -> Result<Vec<AcceptedSeal>, StoreError> {
        sql_read::all(self.texts(sql_read::seals()).await?)
    }

    async fn bundle(&self, version: PolicyVersion) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = sql_read::bundle(version);
        self.readers.ask(move |connection| sqlite_file::blob(connection, &sql)).await
    }
}
