//! What a live lease needs in memory: its credential, its deadline, and the locks that keep one task from being served
//! twice at once.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use grantd_model::{EndReason, GrantId, Lease, LeaseId, PolicyVersion};
use grantd_provider_api::Credential;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

/// A lease whose credential can be handed out again.
#[derive(Debug, Clone)]
pub struct LiveLease {
    /// The lease as it was when its issue was recorded.
    pub lease: Lease,
    /// The secret.
    pub credential: Arc<Credential>,
    /// The policy that issued it: after another one came into force it is not handed out again without a decision.
    pub policy: PolicyVersion,
    /// How often it was handed out.
    pub served: u64,
}

/// The right to vend for one anchor under one grant.
type Turn = Arc<tokio::sync::Mutex<()>>;

/// Everything that is only in memory.
#[derive(Debug, Default)]
pub struct Live {
    tables: Mutex<Tables>,
    turns: Mutex<HashMap<(GrantId, String), Turn>>,
}

#[derive(Debug, Default)]
struct Tables {
    leases: HashMap<LeaseId, LiveLease>,
    by_anchor: HashMap<(GrantId, String), LeaseId>,
    in_flight: HashSet<LeaseId>,
    ended_in_flight: HashSet<LeaseId>,
    per_account: HashMap<String, HashMap<u32, usize>>,
    deadlines: BTreeSet<(Timestamp, LeaseId)>,
    watches: HashMap<LeaseId, CancellationToken>,
    deferred: HashMap<LeaseId, (Lease, EndReason)>,
    holds: HashMap<LeaseId, (u64, CancellationToken)>,
}

impl Tables {
    fn drop_credential(&mut self, lease: LeaseId) {
        if self.in_flight.contains(&lease) {
            self.ended_in_flight.insert(lease);
        }
        if let Some((_, ended)) = self.holds.remove(&lease) {
            ended.cancel();
        }
        if let Some(live) = self.leases.remove(&lease) {
            let key = (live.lease.grant, live.lease.anchor.key(live.lease.uid));
            if self.by_anchor.get(&key) == Some(&lease) {
                self.by_anchor.remove(&key);
            }
        }
    }
}

/// A session in the making; until it is dropped its intent is nobody's orphan.
#[derive(Debug)]
pub struct InFlight<'a> {
    live: &'a Live,
    lease: LeaseId,
    account: String,
    uid: u32,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let mut tables = self.live.tables();
        tables.in_flight.remove(&self.lease);
        tables.ended_in_flight.remove(&self.lease);
        if let Some(users) = tables.per_account.get_mut(&self.account) {
            users.entry(self.uid).and_modify(|count| *count = count.saturating_sub(1));
            users.retain(|_, count| *count > 0);
        }
    }
}

impl Live {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock that lets only one vend for an anchor under a grant happen at a time, so that the second is served from
    /// the lease of the first.
    pub fn turn(&self, grant: GrantId, anchor_key: &str) -> Turn {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // Locks that nobody holds or waits for are let go.
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry((grant, anchor_key.to_owned())).or_default())
    }

    /// Marks `lease` as being made, unless `limit` sessions of the account are already, or half as many of this user.
    pub fn begin(&self, lease: LeaseId, account: &str, uid: u32, limit: usize) -> Option<InFlight<'_>> {
        let mut tables = self.tables();
        let users = tables.per_account.entry(account.to_owned()).or_default();
        let (all, mine): (usize, usize) = (users.values().sum(), users.get(&uid).copied().unwrap_or_default());
        if all >= limit || mine >= limit / 2 {
            return None;
        }
        users.insert(uid, mine.saturating_add(1));
        tables.in_flight.insert(lease);
        drop(tables);
        Some(InFlight { live: self, lease, account: account.to_owned(), uid })
    }

    /// Whether `lease` is being made by this process.
    pub fn is_in_flight(&self, lease: LeaseId) -> bool {
        self.tables().in_flight.contains(&lease)
    }

    /// How many credentials are kept, and how many sessions are being made.
    pub fn counts(&self) -> (u64, u64) {
        let tables = self.tables();
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        (count(tables.leases.len()), count(tables.in_flight.len()))
    }

    /// Takes a recorded lease up, unless it was ended while it was being made: then its credential must not be
    /// released, and this is `false`.
    pub fn insert(&self, live: LiveLease) -> bool {
        let mut tables = self.tables();
        if tables.ended_in_flight.contains(&live.lease.id) {
            return false;
        }
        let key = (live.lease.grant, live.lease.anchor.key(live.lease.uid));
        tables.by_anchor.insert(key, live.lease.id);
        tables.leases.insert(live.lease.id, live);
        true
    }

    /// The live lease of an anchor under a grant.
    pub fn find(&self, grant: GrantId, anchor_key: &str) -> Option<LiveLease> {
        let tables = self.tables();
        let id = tables.by_anchor.get(&(grant, anchor_key.to_owned()))?;
        tables.leases.get(id).cloned()
    }

    /// Counts one hand-over of a lease, if it is still live, and gives its credential.
    pub fn serve(&self, lease: LeaseId) -> Option<Arc<Credential>> {
        let mut tables = self.tables();
        let live = tables.leases.get_mut(&lease)?;
        live.served = live.served.saturating_add(1);
        Some(Arc::clone(&live.credential))
    }

    /// How often a lease was handed out by this run of the daemon; not known of one that an earlier run issued.
    pub fn served(&self, lease: LeaseId) -> Option<u64> {
        self.tables().leases.get(&lease).map(|live| live.served)
    }

    /// Marks every live lease as decided by `policy`.
    pub fn decided_again(&self, lease: LeaseId, policy: PolicyVersion) {
        if let Some(live) = self.tables().leases.get_mut(&lease) {
            live.policy = policy;
        }
    }

    /// Drops the credential and the watch of an ended lease. The secret is wiped when its last user lets go.
    pub fn forget(&self, lease: LeaseId) {
        let mut tables = self.tables();
        tables.drop_credential(lease);
        if let Some(watch) = tables.watches.remove(&lease) {
            watch.cancel();
        }
        tables.deferred.remove(&lease);
    }

    /// Remembers to look at `lease` again at `at`.
    pub fn set_deadline(&self, lease: LeaseId, at: Timestamp) {
        self.tables().deadlines.insert((at, lease));
    }

    /// The leases whose deadline is at or before `now`; they are not given again.
    pub fn due(&self, now: Timestamp) -> Vec<LeaseId> {
        let mut tables = self.tables();
        let mut due = Vec::new();
        while let Some(entry) = tables.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            tables.deadlines.remove(&entry);
            due.push(entry.1);
        }
        due
    }

    /// A token for the watch of a lease: cancelled when the lease is over, so that the watch does not outlive it.
    pub fn watch(&self, lease: LeaseId) -> CancellationToken {
        let watch = CancellationToken::new();
        if let Some(old) = self.tables().watches.insert(lease, watch.clone()) {
            old.cancel();
        }
        watch
    }

    /// Keeps the end of a lease that could not be written, so that the cloud refuses it all the same.
    pub fn defer(&self, lease: Lease, reason: EndReason) {
        let mut tables = self.tables();
        tables.drop_credential(lease.id);
        tables.deferred.entry(lease.id).or_insert((lease, reason));
    }

    /// Every end that could not be written yet.
    pub fn deferred(&self) -> Vec<(Lease, EndReason)> {
        self.tables().deferred.values().cloned().collect()
    }

    /// Notes that a connection holds `lease`, in place of any before it; gives the hold's number and a token that is
    /// cancelled when the lease ends.
    pub fn hold(&self, lease: LeaseId) -> (u64, CancellationToken) {
        let mut tables = self.tables();
        let number = tables.holds.get(&lease).map_or(0, |(number, _)| number.saturating_add(1));
        let ended = CancellationToken::new();
        if let Some((_, replaced)) = tables.holds.insert(lease, (number, ended.clone())) {
            replaced.cancel();
        }
        (number, ended)
    }

    /// Whether any connection holds `lease`.
    pub fn is_held(&self, lease: LeaseId) -> bool {
        self.tables().holds.contains_key(&lease)
    }

    /// Lets a hold go; says whether it was the latest one of a lease that has not ended.
    pub fn let_go(&self, lease: LeaseId, number: u64) -> bool {
        let mut tables = self.tables();
        let latest = tables.holds.get(&lease).is_some_and(|(latest, _)| *latest == number);
        if latest {
            tables.holds.remove(&lease);
        }
        latest
    }
}
