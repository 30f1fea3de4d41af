//! `audit verify`, `audit tail`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use grantd_model::{Actor, AuditRecord, ChainHead, NodeId, verify_chain};
use grantd_wire::{AuditPage, AuditQuery};

use super::Context;
use crate::client::{ClientError, MAX_BODY};
use crate::exit::{Exit, Failure};
use crate::print::{clean, count, shortened, to_second};

/// Records asked for at once: some thousand bytes each, so far below the largest answer that is read.
pub(super) const PAGE: u32 = 1000;

/// How long `tail -f` waits before it looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How many characters of one detail `tail` shows; `--json` shows all.
const ENOUGH: usize = 80;

/// Follows the daemon's chain from its first record to its head.
pub(super) async fn verify(context: &mut Context<'_>) -> Result<(), Failure> {
    let mut chain = Chain::default();
    loop {
        let query = AuditQuery { after: chain.head.seq, limit: Some(PAGE) };
        let page = context.client.get::<_, AuditPage>("/v1/audit", &query).await?.value;
        chain.begin(&page.node)?;
        for record in &page.records {
            chain.follow(record)?;
        }
        if chain.head.seq < page.head_seq && !page.records.is_empty() {
            continue;
        }
        if chain.head.seq != page.head_seq || chain.head.hash.to_string() != page.head_hash {
            let ChainHead { seq, hash } = chain.head;
            let AuditPage { head_seq, head_hash, .. } = page;
            return Err(Failure::new(
                Exit::Chain,
                format!(
                    "the chain ends at record {seq}, hash {hash}, but its head is said to be record {head_seq}, hash \
                     {head_hash}: records are missing or were replaced"
                ),
            ));
        }
        return chain.report(context, "");
    }
}

/// Follows the chain in a file of JSON lines, which has to begin with record 1.
pub(super) fn verify_file(context: &mut Context<'_>, path: &Path) -> Result<(), Failure> {
    let unreadable = |error: io::Error| Failure::new(Exit::Usage, format!("cannot read {}: {error}", path.display()));
    let input: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path).map_err(unreadable)?)
    };
    let mut input = BufReader::new(input);
    let longest = u64::try_from(MAX_BODY).unwrap_or(u64::MAX);
    let mut chain = Chain::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = input.by_ref().take(longest).read_until(b'\n', &mut line).map_err(unreadable)?;
        if read == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let record: Value = serde_json::from_slice(&line).map_err(|_| chain.unreadable())?;
        chain.begin(record.get("node").and_then(Value::as_str).unwrap_or_default())?;
        chain.follow(&record)?;
    }
    chain.report(
        context,
        "records cut off at the end of a file leave no trace in it: compare the head with one kept elsewhere\n",
    )
}

/// Prints the last `lines` records, and goes on with new ones if wanted.
pub(super) async fn tail(context: &mut Context<'_>, lines: u64, follow: bool) -> Result<(), Failure> {
    let ends = AuditQuery { after: 0, limit: Some(1) };
    let page = context.client.get::<_, AuditPage>("/v1/audit", &ends).await?.value;
    let mut end = page.head_seq;
    let mut after = end.saturating_sub(lines);
    let mut absent = false;
    loop {
        while after < end {
            let query = AuditQuery { after, limit: Some(PAGE) };
            let page = match context.client.get::<_, AuditPage>("/v1/audit", &query).await {
                Ok(page) => page.value,
                Err(error) if follow && error.is_absence() => break,
                Err(error) => return Err(error.into()),
            };
            let Some(last) = page.records.last().and_then(seq) else { break };
            let text: String =
                page.records.iter().map(|record| if context.json { json_line(record) } else { line(record) }).collect();
            context.say(&text)?;
            after = last.max(after.saturating_add(1));
            end = page.head_seq;
        }
        if !follow {
            return Ok(());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        let query = AuditQuery { after, limit: Some(1) };
        match context.client.get::<_, AuditPage>("/v1/audit", &query).await {
            Ok(page) => {
                end = page.value.head_seq;
                absent = false;
            }
            Err(error) if error.is_absence() => {
                if !absent {
                    context.note(&waiting(&error));
                }
                absent = true;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// A chain as far as it was followed.
struct Chain {
    node: Option<NodeId>,
    head: ChainHead,
}

impl Default for Chain {
    fn default() -> Self {
        Self { node: None, head: ChainHead::EMPTY }
    }
}

impl Chain {
    /// Fixes whose chain it is; later pages and records have to agree.
    fn begin(&mut self, node: &str) -> Result<(), Failure> {
        let known = self.node.get_or_insert_with(|| NodeId(node.to_owned()));
        if known.0 == node {
            return Ok(());
        }
        Err(Failure::new(
            Exit::Chain,
            format!("after record {} of {known} the chain goes on as that of {node}", self.head.seq),
        ))
    }

    /// Follows one record. What is in it beside what its hash covers is as wrong as a changed hash.
    fn follow(&mut self, value: &Value) -> Result<(), Failure> {
        let record: AuditRecord = serde_json::from_value(value.clone()).map_err(|_| self.unreadable())?;
        if serde_json::to_value(&record).ok().as_ref() != Some(value) {
            return Err(Failure::new(
                Exit::Chain,
                format!("audit record {} holds something that its hash does not cover", record.seq),
            ));
        }
        let node = self.node.get_or_insert_with(|| record.node.clone());
        self.head =
            verify_chain(node, self.head, [&record]).map_err(|error| Failure::new(Exit::Chain, error.to_string()))?;
        Ok(())
    }

    fn unreadable(&self) -> Failure {
        Failure::new(Exit::Chain, format!("what follows audit record {} is no audit record", self.head.seq))
    }

    fn report(&self, context: &mut Context<'_>, caveat: &str) -> Result<(), Failure> {
        let node = self.node.as_ref().map_or("", |node| node.0.as_str());
        let hash = self.head.hash.to_string();
        if context.json {
            let found = Verified { head_hash: &hash, holds: true, node, records: self.head.seq };
            let line =
                serde_json::to_string(&found).map_err(|error| Failure::new(Exit::Unexpected, error.to_string()))?;
            return context.say(&format!("{line}\n"));
        }
        let records = count(self.head.seq, "record");
        context.say(&format!("the audit chain of node {} holds: {records}, head {hash}\n{caveat}", clean(node)))
    }
}

/// What `audit verify --json` says of a chain that holds.
#[derive(serde::Serialize)]
struct Verified<'a> {
    head_hash: &'a str,
    holds: bool,
    node: &'a str,
    records: u64,
}

pub(super) fn seq(record: &Value) -> Option<u64> {
    record.get("seq").and_then(Value::as_u64)
}

fn waiting(error: &ClientError) -> String {
    format!("{error}; waiting for it to come back")
}

pub(super) fn json_line(record: &Value) -> String {
    format!("{record}\n")
}

/// `SEQ  TIME  KIND  who  grant  lease  detail`. A record that this version cannot read is shown as it is.
fn line(value: &Value) -> String {
    let Ok(record) = serde_json::from_value::<AuditRecord>(value.clone()) else {
        return format!("{}\n", clean(&value.to_string()));
    };
    let draft = &record.draft;
    let mut line = format!("{:>6}  {}  {:<20}  {}", record.seq, to_second(draft.at), draft.kind, actor(&draft.actor));
    for id in [draft.grant.map(|id| id.to_string()), draft.lease.map(|id| id.to_string())].into_iter().flatten() {
        line.push_str("  ");
        line.push_str(&id);
    }
    if let Value::Object(members) = &draft.detail {
        for (name, value) in members {
            line.push_str(&format!("  {name}={}", shortened(&value.to_string(), ENOUGH)));
        }
    } else if !draft.detail.is_null() {
        line.push_str(&format!("  {}", draft.detail));
    }
    format!("{}\n", clean(&line))
}

fn actor(actor: &Actor) -> String {
    match actor {
        Actor::Peer { uid, process, subject: Some(subject), .. } => {
            format!("{} (uid {uid}, pid {})", subject.name, process.pid)
        }
        Actor::Peer { uid, process, subject: None, .. } => format!("uid {uid} (pid {})", process.pid),
        Actor::Daemon { part } => format!("grantd {part}"),
    }
}
