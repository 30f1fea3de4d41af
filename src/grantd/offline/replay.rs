//! Recorded decisions under another bundle: what would change, counted and shown.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use grantd_provider_api::{Clock, SystemClock};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};

use super::load::{self, Loaded};
use super::{CHANGES, FOUND, Failure, Source, USAGE, report};
use crate::config::seconds;
use crate::policy::{Again, Bundle};

/// The longest record that is read, in bytes.
const LONGEST: u64 = 16 * 1024 * 1024;
/// How many changes are shown one by one to people; `--json` shows all.
const ENOUGH: usize = 100;

/// What came of it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Replayed {
    /// Decisions that were decided again.
    pub(super) decided: u64,
    /// Those that come out the same.
    pub(super) same: u64,
    /// Those that do not.
    pub(super) changes: Vec<Change>,
    /// Records that cannot be decided again, by why.
    pub(super) unread: BTreeMap<String, u64>,
}

/// A decision that comes out otherwise.
#[derive(Debug, Serialize)]
pub(super) struct Change {
    /// The record's place in its chain.
    pub(super) seq: Option<u64>,
    /// When it was.
    pub(super) at: Option<String>,
    /// What kind of record.
    pub(super) kind: Option<String>,
    /// The grant that it is about.
    pub(super) grant: Option<String>,
    /// What was decided on: action, principal, resource.
    pub(super) about: String,
    /// Under which policy.
    pub(super) policy: Option<String>,
    /// What would change.
    pub(super) change: Again,
}

/// Decides every record of `records` since then again.
pub(super) fn replay(source: &Source, records: &Path, since: Option<&str>) -> Result<u8, Failure> {
    let since = since.map(|text| moment(text, SystemClock::new().now())).transpose().map_err(|line| (USAGE, line))?;
    let Loaded { bundle, notes, .. } = load::bundle(source)?;
    let unreadable = |error: io::Error| (USAGE, format!("cannot read {}: {error}", records.display()));
    let input: Box<dyn Read> = if records == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(records).map_err(unreadable)?)
    };
    let replayed = decide(&bundle, BufReader::new(input), since).map_err(unreadable)?;
    print(&bundle, &replayed, &notes, source.json)?;
    Ok(match (replayed.changes.is_empty(), replayed.decided, replayed.unread.is_empty()) {
        (false, _, _) => CHANGES,
        // Nothing could be said of any of it: that is not "nothing changes".
        (true, 0, false) => FOUND,
        _ => 0,
    })
}

/// A moment, or a length of time before `now`.
fn moment(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(moment) = text.parse() {
        return Ok(moment);
    }
    let wrong = || format!("--since {text}: write a moment such as 2026-11-22T09:00:00Z, or a time such as 720h");
    let ago = seconds(text).ok().and_then(|seconds| i64::try_from(seconds).ok()).ok_or_else(wrong)?;
    now.checked_sub(SignedDuration::from_secs(ago)).map_err(|_| wrong())
}

/// Goes through JSON lines. A line that is none of ours is counted, however strange it is.
fn decide(bundle: &Bundle, mut input: impl BufRead, since: Option<Timestamp>) -> io::Result<Replayed> {
    let mut replayed = Replayed::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.by_ref().take(LONGEST).read_until(b'\n', &mut line)? == 0 {
            return Ok(replayed);
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let mut unread = |why: String| {
            let count = replayed.unread.entry(why).or_default();
            *count = count.saturating_add(1);
        };
        let Ok(record) = serde_json::from_slice::<Value>(&line) else {
            unread("a line that is no JSON".to_owned());
            continue;
        };
        let Some(decision) =
            record.get("detail").and_then(|detail| detail.get("decision")).filter(|one| !one.is_null())
        else {
            continue;
        };
        let text = |name: &str| record.get(name).and_then(Value::as_str).map(str::to_owned);
        if let Some(since) = since {
            match text("at").and_then(|at| at.parse::<Timestamp>().ok()) {
                Some(at) if at < since => continue,
                Some(_) => {}
                None => {
                    unread("a record without its time".to_owned());
                    continue;
                }
            }
        }
        match bundle.again(decision) {
            Err(why) => unread(why),
            Ok(again) => {
                replayed.decided = replayed.decided.saturating_add(1);
                if again == Again::Same {
                    replayed.same = replayed.same.saturating_add(1);
                    continue;
                }
                replayed.changes.push(Change {
                    seq: record.get("seq").and_then(Value::as_u64),
                    at: text("at"),
                    kind: text("kind"),
                    grant: text("grant"),
                    about: about(decision),
                    policy: decision.get("policy").and_then(Value::as_str).map(str::to_owned),
                    change: again,
                });
            }
        }
    }
}

/// `request by deploy on reports`.
fn about(decision: &Value) -> String {
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or("?").to_owned();
    let inputs = decision.get("inputs").cloned().unwrap_or_default();
    let id = |name: &str| inputs.get(name).map_or_else(|| "?".to_owned(), |entity| text(entity, "id"));
    let principal = id("principal");
    let entities = inputs.get("entities").and_then(Value::as_array).into_iter().flatten();
    let named = entities.into_iter().find(|entity| entity.get("uid") == inputs.get("principal"));
    let name = named.and_then(|entity| entity.get("attrs")).map(|attributes| text(attributes, "name"));
    let principal = name.filter(|name| !name.is_empty() && name != "?").unwrap_or(principal);
    format!("{} by {principal} on {}", text(decision, "action"), id("resource"))
}

fn print(bundle: &Bundle, replayed: &Replayed, notes: &[String], as_json: bool) -> Result<(), Failure> {
    if as_json {
        let whole = json!({ "policy": bundle.version, "replayed": replayed, "notes": notes });
        return report::print(&format!("{whole}\n")).map(drop);
    }
    let mut text = String::new();
    for one in replayed.changes.iter().take(ENOUGH) {
        let at = one.at.as_deref().unwrap_or("?");
        let seq = one.seq.map_or_else(|| "?".to_owned(), |seq| seq.to_string());
        text.push_str(&format!("{seq:>6}  {at}  {}: {}\n", one.about, in_words(&one.change)));
    }
    if let Some(more) = replayed.changes.len().checked_sub(ENOUGH).filter(|more| *more > 0) {
        text.push_str(&format!("        and {more} more: see --json\n"));
    }
    for (why, count) in &replayed.unread {
        text.push_str(&format!("note     {count} not decided again: {why}\n"));
    }
    text.extend(notes.iter().map(|note| format!("note     {note}\n")));
    let changed = replayed.changes.len();
    text.push_str(&format!(
        "policy {}: {} decisions decided again, {} the same, {changed} would change\n",
        bundle.version, replayed.decided, replayed.same
    ));
    report::print(&text).map(drop)
}

fn in_words(change: &Again) -> String {
    let list = |rules: &[String]| if rules.is_empty() { "no rule".to_owned() } else { rules.join(", ") };
    match change {
        Again::Same => "the same".to_owned(),
        Again::NowDenied { rule, reason } => format!("allowed -> denied by {rule}: {reason}"),
        Again::NowAllowed { was, rules } => format!("denied by {was} -> allowed by {}", list(rules)),
        Again::Rules { was, rules } => format!("the same, by {} instead of {}", list(rules), list(was)),
        Again::Undecided { needs } => format!("it would rest on {needs}, which was not looked up then"),
        Again::Obligations { stricter, looser, other } => {
            let parts = [("stricter", stricter), ("looser", looser), ("other", other)];
            let parts: Vec<String> = parts
                .into_iter()
                .filter(|(_, lines)| !lines.is_empty())
                .map(|(word, lines)| format!("{word} ({})", lines.join("; ")))
                .collect();
            parts.join(", ")
        }
    }
}
