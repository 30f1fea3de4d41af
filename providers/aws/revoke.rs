//! Writing and reading a deny document.
//!
//! IAM has no optimistic lock. The store is the truth and one elected writer renders the document from it; this room
//! notices when somebody else wrote all the same. Denials that it finds and cannot explain are kept for as long as any
//! session can live, and loudly logged: dropping one that another writer needs would bring an ended session back to
//! life, keeping one too many costs a few characters. Where the document is kept is for the two backends.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use grantd_provider_api::{Clock, Confirmation, DenyEntry, ErrorKind, ProviderError, RevokeReceipt};
use jiff::Timestamp;

use crate::arn::Arn;
use crate::base::Base;
use crate::denials::{Denials, Wanted, wanted};
use crate::document::Document;
use crate::error::Call;
use crate::limits::{ENTRY_GRACE, MAX_SESSION};

/// For how long after a stranger's denials were seen nothing is collapsed anew: a second daemon with a store of its own
/// has sessions on the same roles that nobody here knows of, and a line would end them.
const STRANGER: Duration = Duration::from_secs(3_600);

/// Where a deny document is kept.
#[async_trait]
pub(crate) trait Backend: fmt::Debug + Send + Sync {
    /// Characters that it can have.
    fn limit(&self) -> usize;

    /// How many suffixes are certain to fit beside the lines of every role, of which `lines` are drawn.
    fn capacity(&self, lines: usize) -> u32;

    /// The document in force.
    ///
    /// # Errors
    /// `NotFound` when it is gone.
    async fn read(&self) -> Result<Found, ProviderError>;

    /// The last step before writing over `over`.
    ///
    /// # Errors
    /// `Conflict` when that is not in force any more.
    async fn make_ready(&self, over: &Found) -> Result<Ready, ProviderError>;

    /// Puts `text` into force. When this fails it may have been done all the same.
    ///
    /// # Errors
    /// Any.
    async fn write(&self, ready: Ready, text: &str) -> Result<Written, ProviderError>;
}

/// The document in force.
#[derive(Debug)]
pub(crate) struct Found {
    pub version: String,
    pub document: Document,
}

/// What a backend has to know of the moment before it writes.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    /// The number of the newest version, where there are any.
    pub newest: u64,
}

/// What was put into force.
#[derive(Debug)]
pub(crate) struct Written {
    pub version: String,
    /// When somebody else wrote meanwhile: what they wrote, which is overwritten now.
    pub between: Option<Vec<Document>>,
}

/// The way to an account's IAM, as both backends have it.
#[derive(Debug, Clone)]
pub(crate) struct Iam {
    pub account: String,
    pub client: aws_sdk_iam::Client,
    pub credentials: Base,
    pub clock: Arc<dyn Clock>,
}

impl Iam {
    /// A call, for its errors.
    pub fn call<'a>(&'a self, action: &'static str, on: &'a Arn) -> Call<'a> {
        Call { account: &self.account, action, on: on.as_str(), caller: self.credentials.words() }
    }

    /// The error for an answer that makes no sense.
    pub fn senseless(&self, action: &'static str, on: &Arn, why: &str) -> ProviderError {
        self.call(action, on).error(ErrorKind::Unknown, format!("the answer makes no sense: {why}"))
    }
}

/// One document and its writer.
#[derive(Debug)]
pub(crate) struct Revoker {
    iam: Iam,
    name: Arn,
    backend: Box<dyn Backend>,
    write_interval: Duration,
    clock_skew: Duration,
    /// How many lines were seen in the document last.
    lines: AtomicUsize,
    memory: tokio::sync::Mutex<Memory>,
}

/// What the writer remembers. Nothing that matters: after a restart everything found is unexplained once.
#[derive(Debug, Default)]
struct Memory {
    /// The version that this writer wrote or accepted last.
    known: Option<String>,
    /// When it last wrote.
    wrote_at: Option<Timestamp>,
    /// When somebody else's denials were last found in a version that this writer did not write.
    stranger: Option<Timestamp>,
    /// Suffixes found in a version of somebody else, and when.
    foreign: BTreeMap<String, Timestamp>,
    /// Lines found in a version of somebody else, by role, and when.
    foreign_lines: BTreeMap<String, (Timestamp, Timestamp)>,
}

/// A denial that somebody else left.
#[derive(Debug, Clone)]
enum Foreign {
    Suffix(String),
    Line(String, Timestamp),
}

impl Revoker {
    /// The writer of the document `name`, with nothing remembered.
    pub fn new(iam: Iam, name: Arn, backend: Box<dyn Backend>, write_interval: Duration, clock_skew: Duration) -> Self {
        let (lines, memory) = (AtomicUsize::new(0), tokio::sync::Mutex::new(Memory::default()));
        Self { iam, name, backend, write_interval, clock_skew, lines, memory }
    }

    /// How many leases the document has room for.
    pub fn capacity(&self) -> u32 {
        self.backend.capacity(self.lines.load(Ordering::Relaxed))
    }

    /// Makes the document refuse `entries`, which the store said at `as_of` or later, and what others left in it.
    pub async fn deny(&self, entries: &[DenyEntry], as_of: Timestamp) -> Result<RevokeReceipt, ProviderError> {
        let single = wanted(entries, as_of, self.clock_skew, false)?;
        let mut memory = self.memory.lock().await;
        self.iam.credentials.refresh().await?;
        let found = self.backend.read().await?;
        let now = self.iam.clock.now();
        if memory.known.as_ref() != Some(&found.version) {
            self.note_foreign(&mut memory, &found, &single, now);
        }
        let alone = memory.stranger.is_none_or(|at| at.checked_add(STRANGER).is_ok_and(|until| until <= now));
        let wanted = wanted(entries, as_of, self.clock_skew, alone)?;
        memory.forget(now, &wanted);
        let document = self.merge(&memory, &found.document, &wanted.denials)?;
        self.lines.store(document.denied.lines.len(), Ordering::Relaxed);
        let receipt = |version: String, unchanged: bool| RevokeReceipt {
            version,
            unchanged,
            collapsed: wanted.collapsed.clone(),
            collapse_at: wanted.collapse_at,
        };
        if document == found.document {
            memory.known = Some(found.version.clone());
            return Ok(receipt(found.version, true));
        }
        let text = document.render(self.backend.limit())?;
        self.pace(&memory).await;
        let ready = self.backend.make_ready(&found).await?;
        // From here on the call may have been done although it fails: only a fresh look tells.
        memory.known = None;
        memory.wrote_at = Some(self.iam.clock.now());
        let written = self.backend.write(ready, &text).await?;
        memory.known = Some(written.version.clone());
        let Some(between) = written.between else { return Ok(receipt(written.version, false)) };
        Err(self.note_race(&mut memory, &between, &written.version))
    }

    /// Looks for `entries` in the document in force.
    pub async fn confirm(&self, entries: &[DenyEntry]) -> Result<Vec<Confirmation>, ProviderError> {
        self.iam.credentials.refresh().await?;
        let denied = match self.backend.read().await {
            Ok(found) => found.document.denied,
            Err(error) if error.kind == ErrorKind::NotFound => {
                tracing::error!(
                    account = self.iam.account, document = %self.name,
                    "the boundary policy is gone, so nothing is revoked: create it again and attach it to its roles"
                );
                Denials::default()
            }
            Err(error) => return Err(error),
        };
        let state = |refused: bool| if refused { Confirmation::InForce } else { Confirmation::Absent };
        entries.iter().map(|entry| denied.refuse(entry).map(state)).collect()
    }

    /// Remembers the denials of a version that this writer did not write.
    fn note_foreign(&self, memory: &mut Memory, found: &Found, wanted: &Wanted, now: Timestamp) {
        let (account, document, version) = (&self.iam.account, &self.name, &found.version);
        let restarted = memory.known.is_none();
        if !restarted {
            tracing::error!(
                account, %document, version, known = memory.known,
                "somebody else wrote the deny document: look in CloudTrail who called CreatePolicyVersion or \
                 PutRolePolicy"
            );
        }
        if !found.document.is_ours() {
            tracing::error!(
                account, %document, version,
                "the deny document has statements that grantd did not write: what they deny is kept, and in a boundary \
                 what they allow; what they grant in an inline policy is taken out"
            );
        }
        let extra = memory.gather(&found.document.denied, wanted, now);
        if extra > 0 {
            tracing::warn!(
                account, %document, version, entries = extra,
                "the deny document denies sessions that the store does not: kept until no session can be that old"
            );
            memory.stranger = if restarted { memory.stranger } else { Some(now) };
        }
    }

    /// Keeps the denials of every version between the one that was read and ours: ours has overwritten them.
    fn note_race(&self, memory: &mut Memory, between: &[Document], version: &str) -> ProviderError {
        tracing::error!(
            account = self.iam.account, document = %self.name, version,
            "two writers write the same deny document: each account has one elected writer, look for a second grantd"
        );
        let now = self.iam.clock.now();
        memory.stranger = Some(now);
        for document in between {
            memory.gather(&document.denied, &Wanted::default(), now);
        }
        let why = format!(
            "another writer wrote between what we read and our {version}: its denials are kept, ask again with a fresh \
             list"
        );
        ProviderError::new(ErrorKind::Conflict, format!("account \"{}\": {}: {why}", self.iam.account, self.name))
    }

    /// Our entries, then as many foreign ones as fit: lines first, as one stands for many, and the youngest first.
    fn merge(&self, memory: &Memory, current: &Document, wanted: &Denials) -> Result<Document, ProviderError> {
        let mut kept = memory.kept();
        loop {
            let mut denied = wanted.clone();
            for foreign in &kept {
                match foreign {
                    Foreign::Suffix(suffix) => drop(denied.suffixes.insert(suffix.clone())),
                    Foreign::Line(role, until) => denied.draw(role, *until),
                }
            }
            let document = current.denying(denied);
            match document.render(self.backend.limit()) {
                Ok(_) => return Ok(document),
                Err(error) => {
                    let Some(dropped) = kept.pop() else { return Err(error) };
                    tracing::error!(
                        account = self.iam.account, document = %self.name, ?dropped,
                        "no room to keep a denial that another writer left: it is dropped for one of ours"
                    );
                }
            }
        }
    }

    /// Waits until the last write is long enough ago.
    async fn pace(&self, memory: &Memory) {
        let Some(wrote_at) = memory.wrote_at else { return };
        let since = Duration::try_from(self.iam.clock.now().duration_since(wrote_at)).unwrap_or_default();
        tokio::time::sleep(self.write_interval.saturating_sub(since)).await;
    }
}

impl Memory {
    /// Remembers what `denied` denies and `wanted` does not explain; says how much that is.
    fn gather(&mut self, denied: &Denials, wanted: &Wanted, now: Timestamp) -> usize {
        let unexplained =
            |(role, until): &(&String, &Timestamp)| wanted.denials.lines.get(*role).is_none_or(|ours| ours < *until);
        let suffixes: BTreeSet<&String> = denied.suffixes.difference(&wanted.explained).collect();
        let lines: Vec<(&String, &Timestamp)> = denied.lines.iter().filter(unexplained).collect();
        let extra = suffixes.len().saturating_add(lines.len());
        for suffix in suffixes {
            self.foreign.entry(suffix.clone()).or_insert(now);
        }
        for (role, until) in lines {
            // A later line of the same role stands for the earlier one too.
            let known = self.foreign_lines.entry(role.clone()).or_insert((*until, now));
            if *until > known.0 {
                *known = (*until, now);
            }
        }
        extra
    }

    /// Forgets foreign denials that are ours now, and those that can refuse no session any more.
    fn forget(&mut self, now: Timestamp, wanted: &Wanted) {
        let horizon = now.checked_sub(MAX_SESSION.saturating_add(ENTRY_GRACE)).unwrap_or(now);
        self.foreign.retain(|suffix, at| *at > horizon && !wanted.explained.contains(suffix));
        self.foreign_lines.retain(|role, (until, at)| {
            let ours = wanted.denials.lines.get(role).is_some_and(|line| line >= until);
            // A line refuses what was issued before its time, so it can be needed as long as the last of that.
            (*until).max(*at) > horizon && !ours
        });
    }

    /// What is kept of others, the most needed first.
    fn kept(&self) -> Vec<Foreign> {
        let mut lines: Vec<_> = self.foreign_lines.iter().collect();
        lines.sort_by_key(|(role, (_, at))| (std::cmp::Reverse(*at), role.as_str()));
        let mut suffixes: Vec<_> = self.foreign.iter().collect();
        suffixes.sort_by_key(|(suffix, at)| (std::cmp::Reverse(**at), suffix.as_str()));
        let lines = lines.into_iter().map(|(role, (until, _))| Foreign::Line(role.clone(), *until));
        lines.chain(suffixes.into_iter().map(|(suffix, _)| Foreign::Suffix(suffix.clone()))).collect()
    }
}

#[cfg(test)]
#[path = "revoke_tests.rs"]
mod tests;
