//! The one thread that writes to SQLite: it takes whatever transactions wait, applies each inside a savepoint, and makes
//! them durable with one commit.
//!
//! Nobody is answered before that commit has reached the disk. A transaction whose guard does not hold is taken back by
//! itself and the others go on; any other failure fails all of them and poisons the store.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use grantd_model::{AuditRecord, ChainHead, NodeId};
use jiff::Timestamp;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::sqlite_file::{self, StateFile};
use super::{Committed, Guard, StoreError, Transaction, Write, sql, sql_write};

/// How much work is committed at once at most: it bounds how long the first one waits for the last.
const GROUP: usize = 128;

/// Something for the writer to do, and where to answer.
#[derive(Debug)]
pub(super) enum Work {
    Commit { transaction: Transaction, answer: oneshot::Sender<Result<Committed, StoreError>> },
    Claim { name: String, now: Timestamp, until: Timestamp, answer: oneshot::Sender<Result<bool, StoreError>> },
    Reopen { answer: oneshot::Sender<Result<(), StoreError>> },
    Answer { answer: oneshot::Sender<Result<(), StoreError>> },
}

/// What the writer shows to the rest of the store.
#[derive(Debug, Default)]
pub(super) struct Shared {
    poison: Mutex<Option<String>>,
    groups: AtomicU64,
    transactions: AtomicU64,
}

impl Shared {
    /// Why nothing can be written, if so.
    pub(super) fn poison(&self) -> Option<String> {
        self.poison.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_poison(&self, why: Option<String>) {
        *self.poison.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// How many commits reached the disk, and how many transactions and claims were in them.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.groups.load(Ordering::Relaxed), self.transactions.load(Ordering::Relaxed))
    }
}

/// The writer's own things.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) file: Arc<StateFile>,
    /// None only when the file could not be opened again.
    pub(super) connection: Option<Connection>,
    pub(super) node: NodeId,
    /// Where the chain ends, as far as it was acknowledged.
    pub(super) head: ChainHead,
    pub(super) shared: Arc<Shared>,
}

/// Work that was applied and waits for the commit that makes it true.
enum Applied {
    Commit(oneshot::Sender<Result<Committed, StoreError>>, Result<Committed, StoreError>),
    Claim(oneshot::Sender<Result<bool, StoreError>>, bool),
}

/// Why a transaction was not applied.
enum Failure {
    /// It alone is refused, and nothing of it was written.
    Refused(StoreError),
    /// The store is broken.
    Broken(StoreError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Broken(sqlite_file::broken(error))
    }
}

impl Writer {
    /// Works until nobody can send any more.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Work>) {
        while let Some(first) = queue.blocking_recv() {
            let mut group = vec![first];
            while group.len() < GROUP
                && let Ok(next) = queue.try_recv()
            {
                group.push(next);
            }
            self.serve(group);
        }
    }

    /// Serves a group in order; opening anew splits it, and so does whether all is well.
    fn serve(&mut self, group: Vec<Work>) {
        let mut together = Vec::with_capacity(group.len());
        for work in group {
            match work {
                Work::Reopen { answer } => {
                    self.commit(std::mem::take(&mut together));
                    // Whoever asked may have gone: then nobody needs the answer.
                    let _ = answer.send(self.reopen());
                }
                Work::Answer { answer } => {
                    self.commit(std::mem::take(&mut together));
                    let _ = answer.send(Ok(()));
                }
                work => together.push(work),
            }
        }
        self.commit(together);
    }

    /// Applies and commits `group`, and answers everybody in it.
    fn commit(&mut self, group: Vec<Work>) {
        if group.is_empty() {
            return;
        }
        if let Some(why) = self.shared.poison() {
            group.into_iter().for_each(|work| refuse(work, &StoreError::Poisoned(why.clone())));
            return;
        }
        let mut waiting = group.into_iter();
        let mut applied = Vec::with_capacity(waiting.len());
        match self.apply_all(&mut waiting, &mut applied) {
            Ok(head) => {
                self.head = head;
                self.shared.groups.fetch_add(1, Ordering::Relaxed);
                self.shared.transactions.fetch_add(u64::try_from(applied.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
                applied.into_iter().for_each(Applied::answer);
            }
            Err(error) => {
                self.shared.set_poison(Some(error.to_string()));
                tracing::error!(%error, "the store is poisoned: nothing is issued until it was opened anew");
                if let Some(connection) = &self.connection
                    && !connection.is_autocommit()
                    && let Err(error) = connection.execute_batch("ROLLBACK")
                {
                    tracing::error!(%error, "what was not committed could not be rolled back either");
                }
                applied.into_iter().for_each(|applied| applied.fail(&error));
                waiting.for_each(|work| refuse(work, &error));
            }
        }
    }

    /// Applies everything that waits and commits it. On an error nothing was committed as far as is known: after a
    /// failed fsync nobody can say, and opening anew shows it.
    fn apply_all(
        &self,
        waiting: &mut std::vec::IntoIter<Work>,
        applied: &mut Vec<Applied>,
    ) -> Result<ChainHead, StoreError> {
        let connection = self.connection.as_ref().ok_or_else(|| StoreError::Io("it is not open".to_owned()))?;
        let run = |text: &str| connection.prepare_cached(text)?.execute([]).map(drop);
        run("BEGIN IMMEDIATE").map_err(sqlite_file::broken)?;
        let mut head = self.head;
        for work in waiting.by_ref() {
            match work {
                Work::Commit { transaction, answer } => {
                    match in_savepoint(connection, || apply(connection, &self.node, head, transaction)) {
                        Ok(after) => {
                            head = after;
                            applied.push(Applied::Commit(answer, Ok(Committed { head })));
                        }
                        Err(Failure::Refused(error)) => applied.push(Applied::Commit(answer, Err(error))),
                        Err(Failure::Broken(error)) => {
                            applied.push(Applied::Commit(answer, Err(error.clone())));
                            return Err(error);
                        }
                    }
                }
                Work::Claim { name, now, until, answer } => {
                    let outcome = sqlite_file::run(connection, &sql::claim(&name, &self.node, now, until));
                    applied.push(Applied::Claim(answer, matches!(outcome, Ok(1))));
                    outcome.map_err(sqlite_file::broken)?;
                }
                alone @ (Work::Reopen { .. } | Work::Answer { .. }) => {
                    refuse(alone, &StoreError::Io("it was asked in between".to_owned()));
                }
            }
        }
        if head != self.head {
            sqlite_file::run(connection, &sql::set_head(&self.node, head)?).map_err(sqlite_file::broken)?;
        }
        run("COMMIT").map_err(sqlite_file::broken)?;
        Ok(head)
    }

    /// Closes the database, opens it anew and checks it. The poison is lifted only when everything holds.
    fn reopen(&mut self) -> Result<(), StoreError> {
        // Only when nobody has it open does SQLite read the write-ahead log from the disk again.
        self.connection = None;
        let reopened = self.file.writer().and_then(|connection| {
            // Kept even if the checks fail, so that reading goes on.
            let connection = self.connection.insert(connection);
            sqlite_file::check_again(connection, &self.node, self.head)
        });
        match reopened {
            Ok(head) => {
                self.head = head;
                self.shared.set_poison(None);
                Ok(())
            }
            Err(error) => {
                if self.shared.poison().is_none() {
                    self.shared.set_poison(Some(error.to_string()));
                }
                Err(error)
            }
        }
    }
}

impl Applied {
    /// Tells the outcome, now that it is true. Whoever asked may have gone.
    fn answer(self) {
        match self {
            Self::Commit(answer, outcome) => drop(answer.send(outcome)),
            Self::Claim(answer, outcome) => drop(answer.send(Ok(outcome))),
        }
    }

    /// Tells that the store failed: even a refusal may rest on something that was never committed.
    fn fail(self, error: &StoreError) {
        match self {
            Self::Commit(answer, _) => drop(answer.send(Err(error.clone()))),
            Self::Claim(answer, _) => drop(answer.send(Err(error.clone()))),
        }
    }
}

fn refuse(work: Work, error: &StoreError) {
    match work {
        Work::Commit { answer, .. } => drop(answer.send(Err(error.clone()))),
        Work::Claim { answer, .. } => drop(answer.send(Err(error.clone()))),
        Work::Reopen { answer } | Work::Answer { answer } => drop(answer.send(Err(error.clone()))),
    }
}

/// Runs `work`, and takes back what it wrote if it is refused.
fn in_savepoint<T>(connection: &Connection, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let run = |text: &str| connection.prepare_cached(text)?.execute([]).map(drop);
    run("SAVEPOINT one")?;
    let outcome = work();
    if let Err(Failure::Refused(_)) = &outcome {
        run("ROLLBACK TO one")?;
    }
    if !matches!(outcome, Err(Failure::Broken(_))) {
        run("RELEASE one")?;
    }
    outcome
}

/// Checks the guards, writes the state and then its records; gives the chain's head after them.
fn apply(
    connection: &Connection,
    node: &NodeId,
    mut head: ChainHead,
    transaction: Transaction,
) -> Result<ChainHead, Failure> {
    for guard in &transaction.guards {
        check(connection, guard)?;
    }
    for write in &transaction.writes {
        change(connection, write, node)?;
    }
    for draft in transaction.audit {
        let kind = draft.kind.clone();
        let record =
            AuditRecord::chain(node, head, draft).map_err(|_| Failure::Refused(sql_write::unwritable(&kind)))?;
        sqlite_file::run(connection, &sql_write::insert_record(&record).map_err(Failure::Refused)?)?;
        head = record.head();
    }
    Ok(head)
}

fn check(connection: &Connection, guard: &Guard) -> Result<(), Failure> {
    let answer = sqlite_file::number(connection, &sql_write::question(guard))?;
    sql_write::judge(guard, answer).map_err(|failure| Failure::Refused(failure.into()))
}

fn change(connection: &Connection, write: &Write, node: &NodeId) -> Result<(), Failure> {
    let (sql, expected) = sql_write::change(write, node).map_err(Failure::Refused)?;
    match (sqlite_file::run(connection, &sql), expected) {
        (Ok(0), Some(what)) => Err(Failure::Refused(StoreError::Stale { what })),
        (Ok(_), _) => Ok(()),
        // A lease under a grant that is not there: the fault of the transaction, not of the store.
        (Err(error), _) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => {
            Err(Failure::Refused(StoreError::Stale { what: "that the grant of a lease exists".to_owned() }))
        }
        (Err(error), _) => Err(error.into()),
    }
}
