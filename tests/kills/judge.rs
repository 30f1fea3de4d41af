//! The five invariants, judged on evidence alone. Pure: no I/O, no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use grantd_model::{AuditRecord, ChainHead, NodeId, verify_chain};
use grantd_testkit::Sight;

/// How many tasks may ever use a grant on the resource `alpha`, as the test's policy says.
pub const MAX_USES: usize = 3;

/// How many tasks may hold a lease under a grant on the resource `beta` at once.
pub const MAX_CONCURRENT: usize = 2;

/// What a daemon that has recovered is judged by.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// Whose chain.
    pub node: NodeId,
    /// Where the chain was found to end before; what is on record up to there must never change.
    pub mark: ChainHead,
    /// Where the daemon said that it ends just before it died.
    pub acknowledged: ChainHead,
    /// Where the daemon says that it ends.
    pub head: ChainHead,
    /// Every audit record, those up to the mark as they were read then.
    pub records: Vec<AuditRecord>,
    /// Every lease, by session name.
    pub leases: BTreeMap<String, Lease>,
    /// Sessions that the cloud issued, by name, and what the cloud let each do just now.
    pub sessions: Vec<(String, Sight)>,
    /// The leases whose credential somebody received.
    pub received: BTreeSet<String>,
    /// Leases whose task never ended and whose time is not up.
    pub survivors: BTreeSet<String>,
    /// Open intents, and leases that have to end and are not refused for certain.
    pub open: (u64, u64),
}

/// A lease as the daemon shows it, before and after the sessions were tried.
#[derive(Debug, Clone)]
pub struct Lease {
    /// Its id.
    pub id: String,
    /// Its grant's id.
    pub grant: String,
    /// Its state before.
    pub before: String,
    /// Its state after.
    pub after: String,
}

/// What is to hold after every kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// The audit chain verifies and continues what was read before.
    Chain,
    /// Every session of the cloud has its intent, and its issue on record or its end; so has every credential received.
    Recorded,
    /// What has ended, or was never issued, is denied by the cloud.
    Ended,
    /// What has not ended lives on, in the cloud too.
    Alive,
    /// No grant is used by more tasks than it allows.
    Use,
    /// Nothing is left open.
    Open,
}

/// What does not hold.
#[derive(Debug, Clone)]
pub struct Broken {
    /// Which invariant.
    pub invariant: Invariant,
    /// In words.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.invariant, self.what)
    }
}

/// Everything that does not hold.
pub fn judge(evidence: &Evidence) -> Vec<Broken> {
    let mut broken = Vec::new();
    let mut say = |invariant: Invariant, what: String| broken.push(Broken { invariant, what });
    chain(evidence, &mut |what| say(Invariant::Chain, what));
    recorded(evidence, &mut |what| say(Invariant::Recorded, what));
    in_the_cloud(evidence, &mut say);
    uses(evidence, &mut |what| say(Invariant::Use, what));
    if evidence.open != (0, 0) {
        let (intents, unconfirmed) = evidence.open;
        say(Invariant::Open, format!("{intents} intents are open and {unconfirmed} ends are not confirmed"));
    }
    broken
}

fn chain(evidence: &Evidence, say: &mut dyn FnMut(String)) {
    let fresh = evidence.records.iter().filter(|record| record.seq > evidence.mark.seq);
    match verify_chain(&evidence.node, evidence.mark, fresh) {
        Ok(head) if head == evidence.head => {}
        Ok(head) => say(format!("the records lead to {head:?}, the daemon says {:?}", evidence.head)),
        Err(error) => say(error.to_string()),
    }
    let acknowledged = evidence.acknowledged;
    let kept = evidence.records.iter().any(|record| record.head() == acknowledged);
    if acknowledged != ChainHead::EMPTY && !kept {
        say(format!("audit record {} was acknowledged before the kill and is gone or another one", acknowledged.seq));
    }
}

/// The leases about which there is a record of this kind.
fn with_record<'a>(evidence: &'a Evidence, kind: &'a str) -> BTreeSet<String> {
    let records = evidence.records.iter().filter(|record| record.draft.kind == kind);
    records.filter_map(|record| record.draft.lease.map(|id| id.to_string())).collect()
}

fn recorded(evidence: &Evidence, say: &mut dyn FnMut(String)) {
    let (intents, issues) = (with_record(evidence, "lease.intent"), with_record(evidence, "lease.issued"));
    for (name, sight) in &evidence.sessions {
        match evidence.leases.get(name) {
            None => say(format!("the cloud issued {name}, and no lease knows of it")),
            Some(lease) if !intents.contains(&lease.id) => say(format!("{} has no intent on record", lease.id)),
            Some(lease) if !issues.contains(&lease.id) && !sight.is_refusal() => {
                say(format!("the issue of {} is not on record, and the cloud says {sight:?} to {name}", lease.id));
            }
            Some(_) => {}
        }
    }
    for lease in evidence.received.difference(&issues) {
        say(format!("somebody received the credential of {lease}, and its issue is not on record"));
    }
}

fn in_the_cloud(evidence: &Evidence, say: &mut dyn FnMut(Invariant, String)) {
    for (name, sight) in &evidence.sessions {
        let lease = evidence.leases.get(name);
        // A lease that ended while the sessions were tried may be seen either way.
        let was = lease.map_or("unknown", |lease| lease.before.as_str());
        let is = lease.map_or("unknown", |lease| lease.after.as_str());
        if was == "active" && is == "active" && *sight != Sight::Allowed {
            say(Invariant::Alive, format!("{name} is active, and the cloud says {sight:?}"));
        }
        if was != "active" && !sight.is_refusal() {
            say(Invariant::Ended, format!("{name} is {was}, and the cloud says {sight:?}"));
        }
    }
    for id in &evidence.survivors {
        let lease = evidence.leases.values().find(|lease| lease.id == *id);
        let is = lease.map_or("unknown", |lease| lease.after.as_str());
        if is != "active" {
            say(Invariant::Alive, format!("{id}, whose task goes on, is {is}"));
        }
    }
}

fn uses(evidence: &Evidence, say: &mut dyn FnMut(String)) {
    let mut resources: BTreeMap<String, &str> = BTreeMap::new();
    let mut anchors: BTreeMap<String, String> = BTreeMap::new();
    // By grant: the anchors that ever used it; and by lease, those that hold one now.
    let mut used: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    let mut live: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut worst: BTreeMap<String, usize> = BTreeMap::new();
    for record in &evidence.records {
        let draft = &record.draft;
        let Some(grant) = draft.grant.map(|id| id.to_string()) else { continue };
        if draft.kind == "grant.request" {
            resources.insert(grant, draft.detail["request"]["resource"].as_str().unwrap_or_default());
            continue;
        }
        let Some(lease) = draft.lease.map(|id| id.to_string()) else { continue };
        match draft.kind.as_str() {
            "lease.intent" => {
                anchors.insert(lease.clone(), draft.detail["anchor"].to_string());
                let leases = live.entry(grant.clone()).or_default();
                leases.insert(lease);
                let now = leases.iter().filter_map(|lease| anchors.get(lease)).collect::<BTreeSet<_>>().len();
                let most = worst.entry(grant).or_default();
                *most = now.max(*most);
            }
            "lease.end" | "lease.refused" | "lease.expired" => {
                live.entry(grant).or_default().remove(&lease);
            }
            _ => {}
        }
    }
    for record in evidence.records.iter().filter(|record| record.draft.kind == "lease.issued") {
        let lease = record.draft.lease.map(|id| id.to_string()).unwrap_or_default();
        if let (Some(grant), Some(anchor)) = (record.draft.grant, anchors.get(&lease)) {
            used.entry(grant.to_string()).or_default().insert(anchor);
        }
    }
    let on = |grant: &str| resources.get(grant).copied().unwrap_or("no resource");
    for (grant, tasks) in used.iter().filter(|(grant, tasks)| on(grant) == "alpha" && tasks.len() > MAX_USES) {
        say(format!("{} tasks used {grant}, which allows {MAX_USES}", tasks.len()));
    }
    for (grant, most) in worst.iter().filter(|(grant, most)| on(grant) == "beta" && **most > MAX_CONCURRENT) {
        say(format!("{most} tasks held {grant} at once, which allows {MAX_CONCURRENT}"));
    }
    // Not what the daemon says of itself, but what the cloud lets happen.
    let mut working: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, _) in evidence.sessions.iter().filter(|(_, sight)| *sight == Sight::Allowed) {
        if let Some(lease) = evidence.leases.get(name)
            && let Some(anchor) = anchors.get(&lease.id)
        {
            working.entry(&lease.grant).or_default().insert(anchor);
        }
    }
    for (grant, tasks) in working.iter().filter(|(grant, tasks)| on(grant) == "beta" && tasks.len() > MAX_CONCURRENT) {
        say(format!("the sessions of {} tasks work under {grant}, which allows {MAX_CONCURRENT}", tasks.len()));
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
