//! Handles on watched processes that systemd keeps for us over a restart, so that none of them can end unseen while
//! nobody watches (promise P13). One for each process, however many leases rest on it.
//!
//! Only a help: whatever is not kept - no systemd, a full store, a message that was lost - is looked up again by boot
//! id, pid and start time. What comes back is believed only after it was checked to be the process that is meant.

use std::collections::HashMap;
use std::env;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use grantd_model::ProcessRef;

use super::notify::{NamedFd, Notifier};
use super::watch::{Watch, WatchError};

/// How many descriptors systemd keeps when it does not say: `FileDescriptorStoreMax=` of the unit that comes with grantd.
const MOST: usize = 1024;

/// What the name of a kept descriptor begins with.
const PREFIX: &str = "process-";

/// What systemd keeps, as far as we know. Cheap to clone. The default keeps nothing.
#[derive(Clone, Debug, Default)]
pub struct FdStore {
    inner: Option<Arc<Inner>>,
}

#[derive(Debug)]
struct Inner {
    orders: Sender<Order>,
    most: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// Came back from an earlier run, and systemd still keeps it.
    returned: HashMap<String, Returned>,
    /// Kept, by name, with the number of watches that rest on it.
    kept: HashMap<String, usize>,
    /// Whether it was said that no more can be kept.
    full: bool,
    counts: TakenUp,
}

/// A descriptor that came back.
#[derive(Debug)]
struct Returned {
    fd: OwnedFd,
    /// Whether anything was to be watched through it.
    asked: bool,
}

/// How watches of an earlier run were taken up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TakenUp {
    /// Through a descriptor that systemd had kept, whether its process lived or had ended.
    pub kept: usize,
    /// Kept, but not for the process that was meant, or for nobody any more.
    pub unfit: usize,
}

/// Something to tell systemd. Told by a thread of its own, in order: a manager that is slow delays nobody.
#[derive(Debug)]
enum Order {
    Keep(String, OwnedFd),
    GiveUp(String),
}

/// A watch rests on a kept descriptor. Dropping this keeps the descriptor, for the next run of the daemon.
#[derive(Debug)]
#[must_use]
pub struct Kept {
    store: FdStore,
    name: Option<String>,
}

impl Kept {
    /// The watch is over for good: systemd gives the descriptor up when no other watch rests on it.
    pub fn over(self) {
        let (Some(inner), Some(name)) = (&self.store.inner, &self.name) else { return };
        let mut table = inner.table();
        let Some(count) = table.kept.get_mut(name) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            table.kept.remove(name);
            table.full = false;
            inner.order(Order::GiveUp(name.clone()));
        }
    }
}

/// How many descriptors systemd keeps for this unit: `$FDSTORE` (systemd 254 and later), else what our unit says.
#[must_use]
pub fn capacity() -> usize {
    env::var("FDSTORE").ok().and_then(|most| most.parse().ok()).unwrap_or(MOST)
}

impl FdStore {
    /// A store at the manager that `notifier` speaks to, which keeps `most` descriptors and gave these back. Descriptors
    /// of other names are closed. Without a manager nothing is kept.
    ///
    /// # Errors
    /// When the thread that speaks to the manager cannot be started.
    pub fn new(notifier: Notifier, most: usize, returned: Vec<NamedFd>) -> io::Result<Self> {
        if !notifier.is_connected() {
            return Ok(Self::default());
        }
        let (orders, waiting) = channel();
        let speak = move || {
            for order in waiting {
                let told = match &order {
                    Order::Keep(name, fd) => notifier.store_fd(name, fd),
                    Order::GiveUp(name) => notifier.remove_fd(name),
                };
                if let Err(error) = told {
                    tracing::warn!(%error, "systemd could not be told which processes are watched; after a restart they are looked up anew");
                }
            }
        };
        thread::Builder::new().name("fd-store".to_owned()).spawn(speak)?;
        let returned = returned.into_iter().filter(|fd| fd.name.starts_with(PREFIX));
        let returned = returned.map(|named| (named.name, Returned { fd: named.fd, asked: false })).collect();
        let table = Mutex::new(Table { returned, ..Table::default() });
        Ok(Self { inner: Some(Arc::new(Inner { orders, most, table })) })
    }

    /// Watches a process, through the descriptor that came back if there is a fitting one, and has systemd keep it.
    ///
    /// # Errors
    /// As [`Watch::open`]: the process is over, is another one, or cannot be watched.
    ///
    /// # Panics
    /// As [`Watch::open`].
    pub fn watch(&self, process: &ProcessRef, uid: u32) -> Result<(Watch, Kept), WatchError> {
        let watch = match self.returned(process, uid)? {
            Some(watch) => watch,
            None => Watch::open(process, uid)?,
        };
        let kept = self.keep(&watch);
        Ok((watch, kept))
    }

    /// Everything of an earlier run was taken up: what came back for nobody is given up. Says how it went.
    pub fn settle(&self) -> TakenUp {
        let Some(inner) = &self.inner else { return TakenUp::default() };
        let mut table = inner.table();
        for (name, returned) in std::mem::take(&mut table.returned) {
            if !returned.asked {
                table.counts.unfit = table.counts.unfit.saturating_add(1);
            }
            if !table.kept.contains_key(&name) {
                inner.order(Order::GiveUp(name));
            }
        }
        table.counts
    }

    /// The watch through the descriptor that came back. When that stands for another process or is no handle at all, it
    /// is nothing. A handle on a process that was reaped does not say which one it was: the kernel is asked by pid, too.
    fn returned(&self, process: &ProcessRef, uid: u32) -> Result<Option<Watch>, WatchError> {
        let Some(inner) = &self.inner else { return Ok(None) };
        let name = name_of(process);
        let mut table = inner.table();
        let Some(returned) = table.returned.get_mut(&name) else { return Ok(None) };
        returned.asked = true;
        let Ok(fd) = returned.fd.try_clone() else { return Ok(None) };
        let error = match Watch::adopt(fd, process, uid) {
            Ok(watch) => {
                table.counts.kept = table.counts.kept.saturating_add(1);
                return Ok(Some(watch));
            }
            Err(ended @ WatchError::Ended(_)) => match Watch::open(process, uid) {
                Err(error) if error.means_ended() => {
                    table.counts.kept = table.counts.kept.saturating_add(1);
                    return Err(error);
                }
                _ => ended,
            },
            Err(error) => error,
        };
        tracing::warn!(%error, "a descriptor that systemd kept does not fit; the process is looked up anew");
        table.returned.remove(&name);
        table.counts.unfit = table.counts.unfit.saturating_add(1);
        inner.order(Order::GiveUp(name));
        Ok(None)
    }

    fn keep(&self, watch: &Watch) -> Kept {
        let name = self.inner.as_ref().and_then(|inner| inner.keep(watch));
        Kept { store: self.clone(), name }
    }
}

impl Inner {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread ends with the process only; should it be gone, nothing is kept any more.
    fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }

    fn keep(&self, watch: &Watch) -> Option<String> {
        let name = name_of(watch.process());
        let mut table = self.table();
        if let Some(count) = table.kept.get_mut(&name) {
            *count = count.saturating_add(1);
            return Some(name);
        }
        if !table.returned.contains_key(&name) {
            let unclaimed = table.returned.keys().filter(|name| !table.kept.contains_key(*name)).count();
            if table.kept.len().saturating_add(unclaimed) >= self.most {
                if !table.full {
                    tracing::warn!(
                        most = self.most,
                        "systemd keeps no more descriptors; further processes are looked up anew after a restart"
                    );
                }
                table.full = true;
                return None;
            }
            let fd = watch.as_fd().try_clone_to_owned().ok()?;
            self.order(Order::Keep(name.clone(), fd));
        }
        table.kept.insert(name.clone(), 1);
        Some(name)
    }
}

/// The store does not outlive the boot, so that pid and start time name a process in it.
fn name_of(process: &ProcessRef) -> String {
    format!("{PREFIX}{}-{}", process.pid, process.start_time)
}

#[cfg(test)]
#[path = "fdstore_tests.rs"]
mod tests;
