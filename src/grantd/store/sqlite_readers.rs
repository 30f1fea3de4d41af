//! A few connections that only read, used off the async threads.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::StoreError;
use super::sqlite_file::{self, StateFile};

/// How many questions are answered at once.
const READERS: u32 = 4;

/// The connections.
#[derive(Debug, Clone)]
pub(super) struct Readers {
    file: Arc<StateFile>,
    permits: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    /// No connection is opened before it is needed.
    pub(super) fn new(file: Arc<StateFile>) -> Self {
        let permits = usize::try_from(READERS).unwrap_or(1);
        Self { file, permits: Arc::new(Semaphore::new(permits)), idle: Arc::default() }
    }

    /// Asks `question` on one of them. It sees everything that was committed before.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(gone)?;
        let readers = self.clone();
        let ask = move || {
            // Held here and not by the caller, who may stop waiting while the question is still asked.
            let _permit = permit;
            let connection = match readers.lock().pop() {
                Some(connection) => connection,
                None => readers.file.reader()?,
            };
            let answer = question(&connection).map_err(sqlite_file::broken)?;
            readers.lock().push(connection);
            Ok(answer)
        };
        tokio::task::spawn_blocking(ask).await.map_err(gone)?
    }

    /// Waits until nobody reads, and closes all connections; nobody reads until what this returns is dropped.
    pub(super) async fn close(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        let all = Arc::clone(&self.permits).acquire_many_owned(READERS).await.map_err(gone)?;
        self.lock().clear();
        Ok(all)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn gone(error: impl std::fmt::Display) -> StoreError {
    StoreError::Io(format!("the store cannot be read: {error}"))
}
