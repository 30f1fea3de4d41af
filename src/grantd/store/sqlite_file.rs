//! The SQLite file: who may have it, how it is opened, and what has to hold before it is used.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use grantd_model::{AuditRecord, ChainHead, NodeId};
use grantd_provider_api::IdSource;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::sql::Sql;
use super::{StoreError, sql_read, tail};

/// The name of the database in the state directory; SQLite keeps `-wal` and `-shm` files beside it.
const FILE: &str = "grantd.db";
/// The name of the file whose lock says that a daemon has the state open.
const LOCK: &str = "grantd.lock";
/// How long a writer waits for somebody else's lock on the database, e.g. an administrator's shell.
const BUSY: Duration = Duration::from_secs(5);
/// The first SQLite in which the database can no longer be corrupted when two connections write or checkpoint at once
/// (SQLite's page "Write-Ahead Logging", the WAL-reset bug, fixed in 3.51.3).
const LEAST_SQLITE: (i32, &str) = (3_051_003, "3.51.3");

mod migrations {
    refinery::embed_migrations!("store/migrations/sqlite");
}

/// The database of one state directory, ours alone for as long as this lives.
#[derive(Debug)]
pub(super) struct StateFile {
    directory: PathBuf,
    path: PathBuf,
    _lock: File,
}

impl StateFile {
    /// Takes the state directory for this process, and creates an empty database readable by nobody else if there is
    /// none.
    pub(super) fn take(directory: &Path) -> Result<Self, StoreError> {
        check_version(rusqlite::version_number(), rusqlite::version())?;
        // SQLite is told to follow no symbolic link, so the ones on the way to the directory are followed here.
        let directory = directory.canonicalize().map_err(|error| at(directory, &error))?;
        let lock = directory.join(LOCK);
        let held = open_private(&lock)?;
        held.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => StoreError::Io(format!(
                "{} is in use: another grantd runs on this state directory, stop it first",
                directory.display()
            )),
            TryLockError::Error(error) => at(&lock, &error),
        })?;
        let path = directory.join(FILE);
        // Closed again before SQLite opens it: closing any descriptor of it later would drop SQLite's own locks.
        drop(open_private(&path)?);
        let file = Self { directory, path, _lock: held };
        file.sync_directory()?;
        Ok(file)
    }

    /// Opens for writing, with the settings that durability rests on.
    pub(super) fn writer(&self) -> Result<Connection, StoreError> {
        let connection = self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let wal = || -> rusqlite::Result<String> {
            connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
        };
        let mode = wal().map_err(broken)?;
        if mode != "wal" {
            return Err(StoreError::Io(format!("{} does not support WAL: it is in mode {mode}", self.path.display())));
        }
        // FULL: every commit waits for the WAL to reach the disk, not just for the next checkpoint.
        connection.pragma_update(None, "synchronous", "FULL").map_err(broken)?;
        connection.pragma_update(None, "foreign_keys", true).map_err(broken)?;
        Ok(connection)
    }

    /// Opens for reading only.
    pub(super) fn reader(&self) -> Result<Connection, StoreError> {
        self.connect(OpenFlags::SQLITE_OPEN_READ_ONLY)
    }

    fn connect(&self, mode: OpenFlags) -> Result<Connection, StoreError> {
        let flags = mode | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let connection = Connection::open_with_flags(&self.path, flags).map_err(broken)?;
        connection.busy_timeout(BUSY).map_err(broken)?;
        connection.pragma_update(None, "trusted_schema", false).map_err(broken)?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(connection)
    }

    /// Makes the names of the database and its WAL as durable as what is in them.
    pub(super) fn sync_directory(&self) -> Result<(), StoreError> {
        File::open(&self.directory).and_then(|directory| directory.sync_all()).map_err(|e| at(&self.directory, &e))
    }
}

/// Brings the tables up to date, and gives the node its name if it has none.
pub(super) fn prepare(connection: &mut Connection, ids: &dyn IdSource) -> Result<NodeId, StoreError> {
    migrations::migrations::runner()
        .run(connection)
        .map_err(|error| StoreError::Io(format!("the tables cannot be brought up to date: {error}")))?;
    connection
        .execute(
            "INSERT INTO meta (name, value) VALUES ('node', ?1) ON CONFLICT DO NOTHING",
            [format!("node-{}", ids.fresh().simple())],
        )
        .map_err(broken)?;
    node(connection)
}

/// The name of the node whose state this is.
pub(super) fn node(connection: &Connection) -> Result<NodeId, StoreError> {
    connection.query_row("SELECT value FROM meta WHERE name = 'node'", [], |row| row.get(0)).map(NodeId).map_err(broken)
}

/// Checks the end of the audit chain, and says where it ends.
pub(super) fn check_tail(connection: &Connection, node: &NodeId) -> Result<ChainHead, StoreError> {
    let head = head(connection, node)?;
    let first = head.seq.saturating_sub(tail::LENGTH);
    // One more than there should be: a record after the head is as wrong as one missing.
    let limit = u32::try_from(tail::LENGTH).unwrap_or(u32::MAX).saturating_add(1);
    tail::check(node, head, &records(connection, node, first, limit)?)?;
    Ok(head)
}

/// Checks a database that failed before: its pages, its chain, that nothing acknowledged is gone, and that there is
/// room to go on.
pub(super) fn check_again(
    connection: &Connection,
    node: &NodeId,
    acknowledged: ChainHead,
) -> Result<ChainHead, StoreError> {
    let verdict: String = connection.pragma_query_value(None, "quick_check", |row| row.get(0)).map_err(broken)?;
    if verdict != "ok" {
        return Err(StoreError::Damaged(verdict));
    }
    if self::node(connection)? != *node {
        return Err(StoreError::Damaged(format!("the state directory is not that of {node} any more")));
    }
    let head = check_tail(connection, node)?;
    let last = records(connection, node, acknowledged.seq.saturating_sub(1), 1)?;
    tail::check_kept(acknowledged, head, last.first())?;
    // After a failed fsync the kernel may forget pages that were never written, although they still read well.
    // Copying the WAL into the database writes them once more, and is only done when that has reached the disk.
    let blocked: bool =
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).map_err(broken)?;
    if blocked {
        return Err(StoreError::Io("the write-ahead log could not be copied: somebody holds the database".to_owned()));
    }
    // A commit that needs about as much room as a group of them will.
    connection
        .execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('room', hex(zeroblob(65536)))", [])
        .and_then(|_| connection.execute("DELETE FROM meta WHERE name = 'room'", []))
        .map_err(broken)?;
    Ok(head)
}

/// Runs a question whose rows are one text each.
pub(super) fn texts(connection: &Connection, sql: &Sql) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare_cached(&sql.text)?;
    let rows = statement.query_map(rusqlite::params_from_iter(&sql.values), |row| row.get(0))?;
    rows.collect()
}

/// Runs a question whose answer is one number.
pub(super) fn number(connection: &Connection, sql: &Sql) -> rusqlite::Result<i64> {
    let mut statement = connection.prepare_cached(&sql.text)?;
    statement.query_row(rusqlite::params_from_iter(&sql.values), |row| row.get(0))
}

/// Runs a question whose answer is some bytes, or nothing.
pub(super) fn blob(connection: &Connection, sql: &Sql) -> rusqlite::Result<Option<Vec<u8>>> {
    let mut statement = connection.prepare_cached(&sql.text)?;
    statement.query_row(rusqlite::params_from_iter(&sql.values), |row| row.get(0)).optional()
}

/// Runs a change, and says how many rows it changed.
pub(super) fn run(connection: &Connection, sql: &Sql) -> rusqlite::Result<usize> {
    connection.prepare_cached(&sql.text)?.execute(rusqlite::params_from_iter(&sql.values))
}

fn head(connection: &Connection, node: &NodeId) -> Result<ChainHead, StoreError> {
    let text = texts(connection, &sql_read::head(node)).map_err(broken)?;
    Ok(sql_read::one(text)?.unwrap_or(ChainHead::EMPTY))
}

fn records(connection: &Connection, node: &NodeId, after: u64, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
    sql_read::all(texts(connection, &sql_read::audit(node, after, limit)?).map_err(broken)?)
}

/// An error of SQLite as one of the store.
pub(super) fn broken(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
            StoreError::Damaged(error.to_string())
        }
        _ => StoreError::Io(error.to_string()),
    }
}

fn at(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Io(format!("{}: {error}", path.display()))
}

/// Opens or creates a file that nobody but us can read or write; one that others can is refused.
fn open_private(path: &Path) -> Result<File, StoreError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(path)
        .map_err(|error| at(path, &error))?;
    let metadata = file.metadata().map_err(|error| at(path, &error))?;
    let (mode, owner, us) = (metadata.mode() & 0o777, metadata.uid(), rustix::process::geteuid().as_raw());
    if mode & 0o077 != 0 || owner != us {
        return Err(StoreError::Io(format!(
            "{} belongs to uid {owner} with mode {mode:o}: whoever else can write it can forge grants, so give it to \
             uid {us} with mode 600 once you know that nobody did",
            path.display()
        )));
    }
    Ok(file)
}

fn check_version(number: i32, name: &str) -> Result<(), StoreError> {
    let (least, least_name) = LEAST_SQLITE;
    if number >= least {
        return Ok(());
    }
    Err(StoreError::Io(format!(
        "SQLite {name} can lose or corrupt committed work: build grantd with {least_name} or later"
    )))
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, metadata, set_permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use grantd_provider_api::RandomIds;

    use super::*;

    #[test]
    fn p13_an_sqlite_that_can_lose_commits_is_refused() {
        let error = check_version(3_051_002, "3.51.2").unwrap_err().to_string();
        assert!(error.contains("3.51.2") && error.contains("3.51.3 or later"), "{error}");
        assert!(check_version(3_051_003, "3.51.3").is_ok());
        assert!(check_version(rusqlite::version_number(), rusqlite::version()).is_ok());
    }

    #[test]
    fn p13_the_writer_waits_for_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let file = StateFile::take(dir.path()).unwrap();
        let writer = file.writer().unwrap();
        let setting = |name| writer.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!((setting("synchronous"), setting("foreign_keys"), setting("busy_timeout")), (2, 1, 5000));
        let mode: String = writer.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        assert_eq!(mode, "wal");
    }

    #[test]
    fn p9_nobody_else_can_read_the_state() {
        let dir = tempfile::tempdir().unwrap();
        set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let file = StateFile::take(dir.path()).unwrap();
        let mut writer = file.writer().unwrap();
        prepare(&mut writer, &RandomIds).unwrap();
        for name in ["grantd.db", "grantd.db-wal", "grantd.db-shm", "grantd.lock"] {
            assert_eq!(metadata(dir.path().join(name)).unwrap().mode() & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn a_state_that_others_could_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        drop(StateFile::take(dir.path()).unwrap());
        set_permissions(dir.path().join(FILE), Permissions::from_mode(0o620)).unwrap();
        let error = StateFile::take(dir.path()).unwrap_err().to_string();
        assert!(error.contains("mode 620") && error.contains("forge grants"), "{error}");
    }

    #[test]
    fn a_symbolic_link_is_not_taken_for_the_state() {
        let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        symlink(elsewhere.path().join("theirs.db"), dir.path().join(FILE)).unwrap();
        assert!(StateFile::take(dir.path()).is_err());
        assert!(!elsewhere.path().join("theirs.db").exists());
    }

    #[test]
    fn p13_one_state_has_one_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let held = StateFile::take(dir.path()).unwrap();
        let error = StateFile::take(dir.path()).unwrap_err().to_string();
        assert!(error.contains("another grantd"), "{error}");
        drop(held);
        assert!(StateFile::take(dir.path()).is_ok());
    }
}
