use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use super::*;
use crate::sys::pidfd;
use crate::sys::process::stat;
use crate::sys::testing::Running;

/// A manager that keeps what it hears.
struct Manager {
    socket: UnixDatagram,
    path: std::path::PathBuf,
    _directory: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self { socket, path, _directory: directory }
    }

    fn store(&self, most: usize, returned: Vec<NamedFd>) -> FdStore {
        FdStore::new(Notifier::to(&self.path), most, returned).unwrap()
    }

    /// The next message: its first word and the name in it.
    fn hears(&self) -> (String, String) {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).unwrap();
        let text = String::from_utf8(bytes[..length].to_vec()).unwrap();
        let word = text.lines().next().unwrap().to_owned();
        let name = text.lines().find_map(|line| line.strip_prefix("FDNAME=")).unwrap().to_owned();
        (word, name)
    }

    /// Whether it has heard everything: a message of our own comes next.
    fn hears_no_more(&self, store: &FdStore) {
        store.inner.as_ref().unwrap().order(Order::GiveUp("the-end".to_owned()));
        assert_eq!(self.hears(), ("FDSTOREREMOVE=1".to_owned(), "the-end".to_owned()));
    }
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn named(child: &Running) -> ProcessRef {
    stat(child.pid()).unwrap().reference().unwrap()
}

fn returned(process: &ProcessRef, pid: i32) -> NamedFd {
    NamedFd { name: name_of(process), fd: pidfd::open(pid).unwrap() }
}

fn stored(process: &ProcessRef) -> (String, String) {
    ("FDSTORE=1".to_owned(), name_of(process))
}

fn given_up(process: &ProcessRef) -> (String, String) {
    ("FDSTOREREMOVE=1".to_owned(), name_of(process))
}

#[tokio::test]
async fn p13_a_process_is_kept_once_and_until_its_last_watch_is_over() {
    let manager = Manager::new();
    let store = manager.store(8, Vec::new());
    let process = named(&Running::sleeping());
    assert!(store.watch(&process, own_uid()).is_err(), "it has ended");
    let child = Running::sleeping();
    let process = named(&child);
    let (_first, kept) = store.watch(&process, own_uid()).unwrap();
    let (_second, kept_too) = store.watch(&process, own_uid()).unwrap();
    assert_eq!(manager.hears(), stored(&process));
    kept.over();
    manager.hears_no_more(&store);
    kept_too.over();
    assert_eq!(manager.hears(), given_up(&process));
}

#[tokio::test]
async fn p13_a_watch_that_is_merely_dropped_stays_kept() {
    let manager = Manager::new();
    let store = manager.store(8, Vec::new());
    let child = Running::sleeping();
    let process = named(&child);
    drop(store.watch(&process, own_uid()).unwrap());
    assert_eq!(manager.hears(), stored(&process));
    manager.hears_no_more(&store);
}

#[tokio::test]
async fn p13_what_came_back_is_used_and_neither_stored_again_nor_given_up() {
    let manager = Manager::new();
    let child = Running::sleeping();
    let process = named(&child);
    let store = manager.store(8, vec![returned(&process, child.pid())]);
    let (watch, kept) = store.watch(&process, own_uid()).unwrap();
    let (_other, kept_too) = store.watch(&process, own_uid()).unwrap();
    assert_eq!(store.settle(), TakenUp { kept: 2, unfit: 0 });
    manager.hears_no_more(&store);
    drop(child);
    assert!(watch.has_ended());
    kept.over();
    kept_too.over();
    assert_eq!(manager.hears(), given_up(&process));
}

#[tokio::test]
async fn p13_the_end_of_a_process_is_seen_through_what_came_back() {
    let manager = Manager::new();
    let child = Running::sleeping();
    let process = named(&child);
    let store = manager.store(8, vec![returned(&process, child.pid())]);
    drop(child);
    assert!(matches!(store.watch(&process, own_uid()), Err(WatchError::Ended(_))));
    assert_eq!(store.settle(), TakenUp { kept: 1, unfit: 0 });
    assert_eq!(manager.hears(), given_up(&process));
}

#[tokio::test]
async fn p5_a_descriptor_of_another_process_is_not_believed() {
    let manager = Manager::new();
    let (child, other) = (Running::sleeping(), Running::sleeping());
    let process = named(&child);
    let store = manager.store(8, vec![returned(&process, other.pid())]);
    let (watch, _kept) = store.watch(&process, own_uid()).unwrap();
    assert_eq!(pidfd::pid_of(&watch).unwrap(), Some(child.pid()));
    assert_eq!((manager.hears(), manager.hears()), (given_up(&process), stored(&process)));
    assert_eq!(store.settle(), TakenUp { kept: 0, unfit: 1 });
    manager.hears_no_more(&store);
}

#[tokio::test]
async fn p13_a_handle_on_some_dead_process_does_not_end_a_living_one() {
    let manager = Manager::new();
    let (child, other) = (Running::sleeping(), Running::sleeping());
    let process = named(&child);
    let store = manager.store(8, vec![returned(&process, other.pid())]);
    drop(other);
    let (watch, _kept) = store.watch(&process, own_uid()).unwrap();
    assert!(!watch.has_ended());
    assert_eq!(store.settle(), TakenUp { kept: 0, unfit: 1 });
}

#[tokio::test]
async fn what_came_back_for_nobody_is_given_up() {
    let manager = Manager::new();
    let child = Running::sleeping();
    let process = named(&child);
    let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let foreign = NamedFd { name: "not-ours".to_owned(), fd: null() };
    let store = manager.store(8, vec![returned(&process, child.pid()), foreign]);
    assert_eq!(store.settle(), TakenUp { kept: 0, unfit: 1 });
    assert_eq!(manager.hears(), given_up(&process));
    manager.hears_no_more(&store);
}

#[tokio::test]
async fn p11_a_full_store_watches_all_the_same_and_takes_more_when_there_is_room() {
    let manager = Manager::new();
    let store = manager.store(1, Vec::new());
    let children = [Running::sleeping(), Running::sleeping(), Running::sleeping()];
    let [first, second, third] = children.each_ref().map(named);
    let (_watch, kept) = store.watch(&first, own_uid()).unwrap();
    let (watch, not_kept) = store.watch(&second, own_uid()).unwrap();
    assert!(!watch.has_ended());
    assert_eq!(manager.hears(), stored(&first));
    not_kept.over();
    kept.over();
    assert_eq!(manager.hears(), given_up(&first));
    let _third = store.watch(&third, own_uid()).unwrap();
    assert_eq!(manager.hears(), stored(&third));
    manager.hears_no_more(&store);
}

#[tokio::test]
async fn without_a_manager_nothing_is_kept_and_everything_is_watched() {
    let child = Running::sleeping();
    for store in [FdStore::default(), FdStore::new(Notifier::default(), 8, Vec::new()).unwrap()] {
        let (watch, kept) = store.watch(&named(&child), own_uid()).unwrap();
        assert!(!watch.has_ended());
        kept.over();
        assert_eq!(store.settle(), TakenUp::default());
    }
}

#[tokio::test]
async fn p11_a_deaf_manager_is_no_reason_not_to_watch() {
    let child = Running::sleeping();
    let store = FdStore::new(Notifier::to("/nonexistent/notify"), 8, Vec::new()).unwrap();
    let (watch, kept) = store.watch(&named(&child), own_uid()).unwrap();
    assert!(!watch.has_ended());
    kept.over();
}

#[test]
fn the_unit_keeps_as_many_as_are_counted_on() {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/../../systemd/grantd.service");
    let unit = std::fs::read_to_string(unit).unwrap();
    let most = unit.lines().find_map(|line| line.strip_prefix("FileDescriptorStoreMax=")).unwrap();
    assert_eq!(most.parse(), Ok(MOST));
}
