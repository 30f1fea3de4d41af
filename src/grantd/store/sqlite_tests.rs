//! What only the SQLite store has to keep: groups, full disks, SIGKILL and tampering.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use async_trait::async_trait;
use grantd_model::{ChainHead, verify_chain};
use grantd_provider_api::RandomIds;
use jiff::Timestamp;
use rusqlite::Connection;
use tempfile::TempDir;

use super::contract::{Stage, at, audited, contract, draft, grant, insert_grant};
use super::*;

struct SqliteStage {
    directory: TempDir,
    store: Option<Arc<dyn Store>>,
}

async fn stage() -> SqliteStage {
    let directory = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(open(directory.path()).unwrap());
    SqliteStage { directory, store: Some(store) }
}

fn open(directory: &Path) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(directory, &RandomIds)
}

/// A connection beside the store's own, as an administrator or an attacker would open.
fn beside(directory: &Path) -> Connection {
    Connection::open(directory.join("grantd.db")).unwrap()
}

#[async_trait]
impl Stage for SqliteStage {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone().unwrap()
    }

    async fn restart(&mut self) {
        let store = self.store.take().unwrap();
        assert_eq!(Arc::strong_count(&store), 1, "somebody else still holds the store");
        drop(store);
        self.store = Some(Arc::new(open(self.directory.path()).unwrap()));
    }

    async fn claim_for_other(&self, name: &str, now: Timestamp, until: Timestamp) -> bool {
        // A file has one node; what another one would write is written by hand.
        let sql = sql::claim(name, &NodeId("other".to_owned()), now, until);
        sqlite_file::run(&beside(self.directory.path()), &sql).unwrap() == 1
    }
}

contract!(stage);

async fn whole_chain(store: &SqliteStore) -> u64 {
    let records = store.audit(0, 100_000).await.unwrap();
    assert_eq!(verify_chain(store.node(), ChainHead::EMPTY, &records), Ok(store.head().await.unwrap()));
    u64::try_from(records.len()).unwrap()
}

/// On the one thread of such a test: lets every task run until it waits for the writer.
async fn let_others_run() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn waiting_transactions_are_committed_as_a_group() {
    const COMMITTERS: u64 = 100;
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(open(directory.path()).unwrap());
    // While somebody else writes, the work piles up.
    let other = beside(directory.path());
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let commits: Vec<_> = (0..COMMITTERS)
        .map(|nth| {
            let store = Arc::clone(&store);
            tokio::spawn(
                async move { store.commit(audited("x", vec![Write::InsertGrant(grant(u128::from(nth)))])).await },
            )
        })
        .collect();
    // The writer holds one group in its hands, perhaps of one; everything else waits in its queue.
    let_others_run().await;
    other.execute_batch("COMMIT").unwrap();
    for commit in commits {
        commit.await.unwrap().unwrap();
    }
    let (groups, transactions) = store.commits();
    assert_eq!(transactions, COMMITTERS);
    assert!(groups <= 3, "{COMMITTERS} waiting transactions took {groups} commits");
    assert_eq!(whole_chain(&store).await, COMMITTERS);
}

#[tokio::test]
async fn p1_when_the_commit_fails_everybody_in_its_group_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(open(directory.path()).unwrap());
    // A deferred constraint holds until the commit, and fails it: for the store that is a commit that did not happen.
    beside(directory.path())
        .execute_batch(
            "CREATE TABLE never (id INTEGER PRIMARY KEY);
             CREATE TABLE fails (id INTEGER REFERENCES never (id) DEFERRABLE INITIALLY DEFERRED);
             CREATE TRIGGER fail AFTER INSERT ON grants WHEN NEW.resource = 'cursed'
             BEGIN INSERT INTO fails VALUES (1); END;",
        )
        .unwrap();
    insert_grant(&*store, &grant(1)).await;
    let head = store.head().await.unwrap();
    let mut cursed = grant(2);
    cursed.request.resource = "cursed".to_owned();
    let other = beside(directory.path());
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let writes = [Write::InsertGrant(grant(3)), Write::InsertGrant(cursed), Write::UpdateGrant(grant(4))];
    let commits = writes.map(|write| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.commit(audited("x", vec![write])).await })
    });
    let_others_run().await;
    other.execute_batch("COMMIT").unwrap();
    let mut failed = 0;
    for commit in commits {
        match commit.await.unwrap() {
            Ok(_) => {}
            Err(StoreError::Io(_) | StoreError::Poisoned(_)) => failed += 1,
            Err(error) => panic!("a refusal was told that rests on nothing: {error}"),
        }
    }
    assert!(failed >= 2, "two of them at least were committed together with what failed");
    assert!(store.poisoned().is_some());
    let error = store.commit(audited("later", Vec::new())).await.unwrap_err();
    assert!(matches!(&error, StoreError::Poisoned(why) if why.contains("FOREIGN KEY")), "{error}");
    assert!(matches!(store.claim("x", at(0), at(1)).await, Err(StoreError::Poisoned(_))));
    assert!(store.grant(grant(1).id).await.unwrap().is_some(), "reading goes on");
    assert_eq!(store.grant(grant(2).id).await.unwrap(), None);
    store.reopen().await.unwrap();
    assert_eq!(store.poisoned(), None);
    let committed = store.commit(audited("later", Vec::new())).await.unwrap();
    assert!(committed.head.seq > head.seq);
    whole_chain(&store).await;
}

/// A small file system of its own, unmounted when dropped.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn new() -> Self {
        let disk = Self(tempfile::tempdir().unwrap());
        mount(&["-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs"], disk.0.path());
        disk
    }

    /// Leaves no byte free.
    fn fill(&self) {
        let mut filler = File::options().create(true).append(true).open(self.0.path().join("filler")).unwrap();
        for size in [65_536, 4096, 512, 1] {
            while filler.write_all(&vec![0; size]).is_ok() {}
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

fn mount(arguments: &[&str], on: &Path) {
    let mounted = Command::new("mount").args(arguments).arg(on).output().unwrap();
    let said = String::from_utf8_lossy(&mounted.stderr);
    assert!(mounted.status.success(), "this test mounts a small tmpfs, and so has to run as root: {said}");
}

#[tokio::test]
async fn p13_a_full_disk_poisons_and_loses_nothing_acknowledged() {
    let disk = SmallDisk::new();
    let store = open(disk.0.path()).unwrap();
    let mut acknowledged = Vec::new();
    let first = loop {
        let nth = u128::try_from(acknowledged.len()).unwrap();
        match store.commit(audited("grant", vec![Write::InsertGrant(grant(nth))])).await {
            Ok(committed) => acknowledged.push((grant(nth), committed.head)),
            Err(error) => break error,
        }
    };
    assert!(acknowledged.len() > 3, "the disk was too small to begin with");
    assert!(matches!(&first, StoreError::Io(why) if why.contains("full")), "{first}");
    let later = store.commit(audited("later", Vec::new())).await.unwrap_err();
    assert!(matches!(&later, StoreError::Poisoned(why) if why.contains("full")), "{later}");
    assert_eq!(store.poisoned(), Some(first.to_string()));
    for (grant, _) in &acknowledged {
        assert_eq!(store.grant(grant.id).await.unwrap().as_ref(), Some(grant), "reading goes on");
    }

    disk.fill();
    store.reopen().await.unwrap_err();
    assert!(store.poisoned().is_some(), "a disk that stays full keeps the store poisoned");
    assert!(matches!(store.commit(audited("later", Vec::new())).await, Err(StoreError::Poisoned(_))));

    mount(&["-o", "remount,size=16m"], disk.0.path());
    store.reopen().await.unwrap();
    assert_eq!(store.poisoned(), None);
    let records = store.audit(0, 100_000).await.unwrap();
    for (grant, head) in &acknowledged {
        assert_eq!(store.grant(grant.id).await.unwrap().as_ref(), Some(grant));
        assert_eq!(records[usize::try_from(head.seq).unwrap() - 1].head(), *head);
    }
    insert_grant(&store, &grant(10_000)).await;
    whole_chain(&store).await;
    drop(store);
    whole_chain(&open(disk.0.path()).unwrap()).await;
}

#[tokio::test]
async fn p13_a_store_is_not_called_well_while_it_has_no_room() {
    let disk = SmallDisk::new();
    drop(open(disk.0.path()).unwrap());
    // Nothing waits in the write-ahead log, so that only the room is missing.
    let store = open(disk.0.path()).unwrap();
    disk.fill();
    let error = store.reopen().await.unwrap_err();
    assert!(matches!(&error, StoreError::Io(why) if why.contains("full")), "{error}");
    assert_eq!(store.poisoned(), Some(error.to_string()));
    std::fs::remove_file(disk.0.path().join("filler")).unwrap();
    store.reopen().await.unwrap();
    insert_grant(&store, &grant(1)).await;
}

/// Where the child of the test below works, in its environment.
const CHILD: &str = "GRANTD_TEST_COMMITS_IN";

/// The test starts itself as a child that commits without end and says on stderr what was acknowledged, and kills it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p13_what_was_acknowledged_survives_sigkill() {
    if let Some(directory) = std::env::var_os(CHILD) {
        commit_without_end(Path::new(&directory)).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut expected = std::collections::BTreeMap::new();
    for round in 1..=5_usize {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::sqlite_tests::p13_what_was_acknowledged_survives_sigkill", "--nocapture"])
            .env(CHILD, directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut acknowledged = 0;
        for line in BufReader::new(child.stderr.take().unwrap()).lines() {
            let line = line.unwrap();
            let Some((id, seq)) = line.strip_prefix("acknowledged ").and_then(|rest| rest.split_once(' ')) else {
                panic!("the child says: {line}");
            };
            expected.insert(seq.parse::<u64>().unwrap(), id.parse::<GrantId>().unwrap());
            acknowledged += 1;
            if acknowledged == 20 * round + round % 3 {
                // What it says after that is read too: it was acknowledged before the signal came.
                child.kill().unwrap();
            }
        }
        assert!(!child.wait().unwrap().success());
        let store = open(directory.path()).unwrap();
        let length = whole_chain(&store).await;
        assert!(length >= *expected.last_key_value().unwrap().0, "the chain is shorter than what was acknowledged");
        for (seq, id) in &expected {
            assert!(store.grant(*id).await.unwrap().is_some(), "{id} was acknowledged as record {seq} and is gone");
            assert_eq!(store.audit(seq - 1, 1).await.unwrap()[0].draft.grant, Some(*id));
        }
    }
    assert!(expected.len() > 100);
}

async fn commit_without_end(directory: &Path) {
    let store = open(directory).unwrap();
    let commit = async || {
        let mut new = grant(0);
        new.id = GrantId::new(grantd_provider_api::IdSource::fresh(&RandomIds));
        let audit = vec![grantd_model::AuditDraft { grant: Some(new.id), ..draft("grant") }];
        let writes = vec![Write::InsertGrant(new.clone())];
        let committed = store.commit(Transaction { guards: Vec::new(), writes, audit }).await.unwrap();
        // In one piece: the signal must not cut a line in two.
        let line = format!("acknowledged {} {}\n", new.id, committed.head.seq);
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    };
    let forever = async || {
        loop {
            commit().await;
        }
    };
    tokio::join!(forever(), forever(), forever(), forever(), forever(), forever(), forever(), forever());
}

/// Stores three grants, lets somebody tamper with the file, and gives what opening it says.
async fn opened_after(tampering: &str) -> StoreError {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    for nth in 1..=3 {
        insert_grant(&store, &grant(nth)).await;
    }
    drop(store);
    beside(directory.path()).execute_batch(tampering).unwrap();
    open(directory.path()).unwrap_err()
}

#[tokio::test]
async fn p13_a_tampered_chain_is_found_at_opening() {
    let changed = "UPDATE audit SET record = replace(record, '\"main\"', '\"mail\"') WHERE seq = 2";
    let tamperings = [
        (changed, "record 2 was changed"),
        ("DELETE FROM audit WHERE seq = 2", "record 3 follows record 1"),
        ("DELETE FROM audit WHERE seq = 3", "ends at record 2, but record 3 was the last"),
        ("DELETE FROM audit", "ends at record 0"),
        ("UPDATE chain SET seq = 2", "ends at record 3, but record 2 was the last"),
        ("UPDATE audit SET record = 'x' WHERE seq = 3", "cannot be read"),
    ];
    for (tampering, found) in tamperings {
        let error = opened_after(tampering).await;
        assert!(matches!(&error, StoreError::Damaged(why) if why.contains(found)), "{tampering}: {error}");
    }
}

#[tokio::test]
async fn p13_a_chain_tampered_with_while_running_is_found_at_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    for nth in 1..=3 {
        insert_grant(&store, &grant(nth)).await;
    }
    // Cut off neatly: the chain and its end agree with each other, but not with what was acknowledged.
    beside(directory.path())
        .execute_batch(
            "DELETE FROM audit WHERE seq = 3;
             UPDATE chain SET seq = 2, hash = (SELECT record ->> '$.hash' FROM audit WHERE seq = 2)",
        )
        .unwrap();
    let error = store.reopen().await.unwrap_err();
    assert!(matches!(&error, StoreError::Damaged(why) if why.contains("record 3 was acknowledged")), "{error}");
    assert!(store.poisoned().is_some(), "and nothing more is written");
    assert!(matches!(store.commit(audited("x", Vec::new())).await, Err(StoreError::Poisoned(_))));
}

#[tokio::test]
async fn p13_a_long_chain_is_verified_at_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    let audit = |count| Transaction { audit: vec![draft("x"); count], ..Transaction::default() };
    store.commit(audit(10_100)).await.unwrap();
    drop(store);
    beside(directory.path()).execute_batch("UPDATE audit SET record = 'x' WHERE seq <= 100").unwrap();
    drop(open(directory.path()).unwrap());
    beside(directory.path()).execute_batch("UPDATE audit SET record = 'x' WHERE seq = 101").unwrap();
    assert!(matches!(open(directory.path()), Err(StoreError::Damaged(_))));
}

#[tokio::test]
async fn p13_a_file_that_is_no_database_is_damaged_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()).unwrap());
    fs::write(directory.path().join("grantd.db"), vec![7; 8192]).unwrap();
    let error = open(directory.path()).unwrap_err();
    assert!(matches!(error, StoreError::Damaged(_)), "{error}");
    assert_eq!(fs::read(directory.path().join("grantd.db")).unwrap(), vec![7; 8192]);
}

#[tokio::test]
async fn a_missing_directory_is_named() {
    let error = open(Path::new("/nonexistent/grantd")).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/grantd"), "{error}");
}

#[tokio::test]
async fn p1_a_commit_is_made_even_if_nobody_waits_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    let other = beside(directory.path());
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut commit = Box::pin(store.commit(audited("x", vec![Write::InsertGrant(grant(1))])));
    assert!(futures_util::poll!(&mut commit).is_pending());
    drop(commit);
    other.execute_batch("COMMIT").unwrap();
    insert_grant(&store, &grant(2)).await;
    assert!(store.grant(grant(1).id).await.unwrap().is_some());
    assert_eq!(whole_chain(&store).await, 2);
}
