//! `policy …`. What evaluates policy is handed to grantd itself, so that it is evaluated in one place and by one version.

use std::fs;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

use grantd_wire::{AuditPage, AuditQuery, BundleView, ExplainView};
use jiff::Timestamp;
use serde_json::Value;

use super::audit::{PAGE, json_line, seq};
use super::{Context, approvals, choose};
use crate::bundle::{Offline, Policy, Replay};
use crate::exit::{Exit, Failure};
use crate::print::{Facts, clean, count};
use crate::words::Thing;

/// Does what follows `grantctl policy`.
pub(super) async fn policy(context: &mut Context<'_>, asked: Policy) -> Result<(), Failure> {
    match asked {
        Policy::Check(offline) => hand_over(context, "check", &offline, &[]),
        Policy::Test { offline, untried } => {
            hand_over(context, "test", &offline, if untried { &["--untried"] } else { &[] })
        }
        Policy::Statement(offline) => hand_over(context, "statement", &offline, &[]),
        Policy::Replay(asked) => replay(context, &asked).await,
        Policy::Explain { grant: Thing::Grant(id) } => explain(context, &choose::grant(context, id).await?).await,
        Policy::Explain { grant: Thing::Lease(_) } => {
            Err(Failure::new(Exit::Usage, "policy decides about grants: name the lease's grant"))
        }
        Policy::Show { digest, into } => show(context, &digest, into.as_deref()).await,
    }
}

/// Runs `grantd policy` on a bundle; what it prints and how it ends is what we print and how we end.
fn hand_over(context: &Context<'_>, what: &str, asked: &Offline, more: &[&str]) -> Result<(), Failure> {
    let (path, mut command) = grantd(asked.grantd.as_deref(), what)?;
    command.arg(&asked.dir).args(more);
    if let Some(maps) = &asked.entitlements {
        command.arg("--entitlements").arg(maps);
    }
    if context.json && what != "statement" {
        command.arg("--json");
    }
    ended(command.status().map_err(|error| not_run(&path, &error))?)
}

/// Replays the records of a file, or those of the daemon, page by page.
async fn replay(context: &mut Context<'_>, asked: &Replay) -> Result<(), Failure> {
    let (path, mut command) = grantd(asked.grantd.as_deref(), "replay")?;
    command.arg("--bundle").arg(&asked.bundle);
    for (name, value) in
        [("--entitlements", asked.entitlements.as_deref()), ("--since", asked.since.as_deref().map(Path::new))]
    {
        if let Some(value) = value {
            command.arg(name).arg(value);
        }
    }
    if context.json {
        command.arg("--json");
    }
    if let Some(records) = &asked.records {
        command.arg("--records").arg(records);
        return ended(command.status().map_err(|error| not_run(&path, &error))?);
    }
    // Whether we may read them at all is known before anything is begun.
    let mut page = records(context, 0).await?;
    command.args(["--records", "-"]).stdin(Stdio::piped());
    let mut child = command.spawn().map_err(|error| not_run(&path, &error))?;
    let fed = match child.stdin.take() {
        None => Ok(()),
        Some(mut input) => loop {
            if let Err(error) = feed(&mut input, &page) {
                // It ended early, and says why itself.
                break if error.kind() == io::ErrorKind::BrokenPipe {
                    Ok(())
                } else {
                    Err(Failure::new(Exit::Unexpected, error.to_string()))
                };
            }
            let Some(last) = page.records.last().and_then(seq).filter(|last| *last < page.head_seq) else {
                break Ok(());
            };
            page = match records(context, last).await {
                Ok(page) => page,
                Err(failure) => break Err(failure),
            };
        },
    };
    finish(child, fed)
}

/// What was fed to it is all there is, or it is not to say anything of a part.
fn finish(mut child: Child, fed: Result<(), Failure>) -> Result<(), Failure> {
    if fed.is_err() {
        // It may have ended already.
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| Failure::new(Exit::Unexpected, format!("grantd was lost: {error}")))?;
    fed.and_then(|()| ended(status))
}

async fn records(context: &Context<'_>, after: u64) -> Result<AuditPage, Failure> {
    let query = AuditQuery { after, limit: Some(PAGE) };
    Ok(context.client.get::<_, AuditPage>("/v1/audit", &query).await?.value)
}

fn feed(input: &mut ChildStdin, page: &AuditPage) -> io::Result<()> {
    page.records.iter().try_for_each(|record| input.write_all(json_line(record).as_bytes()))
}

async fn explain(context: &mut Context<'_>, grant: &str) -> Result<(), Failure> {
    let answer = context.client.get::<_, ExplainView>(&format!("/v1/grants/{grant}/explain"), &()).await?;
    context.answer(&answer, explained)
}

fn explained(view: &ExplainView, now: Timestamp) -> String {
    let mut facts = Facts::titled(&view.grant);
    facts.fact("state", &view.state);
    let commit = view.commit.as_ref().map(|commit| format!(", git commit {commit}")).unwrap_or_default();
    facts.fact("policy", format!("{}{commit}", view.policy));
    if view.asked_under != view.policy {
        facts.fact("asked under", &view.asked_under);
    }
    for answer in &view.answers {
        facts.raw(&format!("{} today\n", answer.action));
        facts.fact("verdict", &answer.verdict);
        facts.each("rules", &answer.rules, "none applies");
        if let Some(obligations) = &answer.obligations {
            facts.fact("obliges to", pairs(obligations));
        }
        if let Some(refusal) = &answer.refusal {
            facts.fact("by", &refusal.rule);
            facts.fact("why not", &refusal.reason);
            facts.fact("who can fix", &refusal.who_can_fix);
            facts.fact("next", &refusal.next);
        }
        let signals: Vec<String> = answer.signals.as_object().into_iter().flatten().map(signal).collect();
        facts.each("signals", &signals, "none is read");
        facts.fact("facts", pairs(&answer.facts));
    }
    if let Some(approval) = &view.approval {
        facts.raw("approvals\n");
        approvals::standing(&mut facts, approval, now);
    }
    facts.text()
}

/// `change_window: in_change_window=true, 12 s old, by releases`, or why it could not be had.
fn signal((name, looked): (&String, &Value)) -> String {
    let text = |member: &str| looked.get(member).and_then(Value::as_str).unwrap_or_default();
    match looked.get("facts") {
        None => format!("{name}: not had: {} (next: {})", text("why"), text("next")),
        Some(facts) => {
            let age = looked.get("age_seconds").and_then(Value::as_u64).unwrap_or_default();
            let sources = looked.get("sources").and_then(Value::as_array).into_iter().flatten();
            let sources: Vec<&str> = sources.filter_map(Value::as_str).collect();
            let by = if sources.is_empty() { String::new() } else { format!(", by {}", sources.join(", ")) };
            format!("{name}: {}, {age} s old{by}", pairs(facts))
        }
    }
}

/// `name=value, other=value`; entities by their id.
fn pairs(value: &Value) -> String {
    let one = |(name, value): (&String, &Value)| {
        let shown = match (value.get("id").or_else(|| value.get("name")).and_then(Value::as_str), value) {
            (Some(id), _) => id.to_owned(),
            (None, Value::String(text)) => text.clone(),
            (None, other) => other.to_string(),
        };
        format!("{name}={shown}")
    };
    let all: Vec<String> = value.as_object().into_iter().flatten().map(one).collect();
    if all.is_empty() { "nothing".to_owned() } else { all.join(", ") }
}

/// Prints a bundle that was in force, or lays its files into a new directory.
async fn show(context: &mut Context<'_>, digest: &str, into: Option<&Path>) -> Result<(), Failure> {
    let answer = context.client.get::<_, BundleView>(&format!("/v1/policy/{digest}"), &()).await?;
    let Some(directory) = into else { return context.answer(&answer, |view, _| listed(view)) };
    let view = &answer.value;
    let signatures = view.seal.iter().flat_map(|seal| &seal.signatures);
    let files: Vec<(&String, &String)> = view.files.iter().chain(signatures).collect();
    // What a daemon names is laid below the directory, or nothing is.
    if let Some((name, _)) = files.iter().find(|(name, _)| !is_below(name)) {
        return Err(Failure::new(Exit::Unexpected, format!("the bundle has a file that cannot be laid down: {name}")));
    }
    let wrong =
        |path: &Path, error: &io::Error| Failure::new(Exit::Usage, format!("cannot write {}: {error}", path.display()));
    fs::create_dir(directory).map_err(|error| wrong(directory, &error))?;
    for (name, text) in &files {
        let path = directory.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|error| wrong(parent, &error))?;
        }
        fs::write(&path, text).map_err(|error| wrong(&path, &error))?;
    }
    let line = format!(
        "policy {}: {} in {}\n",
        clean(&view.policy),
        count(u64::try_from(files.len()).unwrap_or_default(), "file"),
        directory.display()
    );
    context.say(&line)
}

/// A bundle's files, each under its name.
fn listed(view: &BundleView) -> String {
    let mut text = format!("policy {}\n", view.policy);
    if let Some(seal) = &view.seal {
        let (signers, at) = (seal.signers.join(", "), &seal.accepted_at);
        text.push_str(&format!("sequence {}, signed by {signers}, accepted {at}\n", seal.sequence));
    }
    for (name, file) in &view.files {
        text.push_str(&format!("\n==> {name}\n{file}"));
    }
    text
}

/// Whether a name leads to a place below a directory, and to no other.
fn is_below(name: &str) -> bool {
    let mut parts = Path::new(name).components().peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// `grantd policy WHAT`, by the path that is named or the one beside us, with nothing of our environment.
fn grantd(named: Option<&Path>, what: &str) -> Result<(PathBuf, Command), Failure> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => {
            let own = std::env::current_exe();
            let own =
                own.map_err(|error| Failure::new(Exit::Unexpected, format!("cannot find grantctl itself: {error}")))?;
            own.with_file_name("grantd")
        }
    };
    if !path.is_file() {
        let line = format!("there is no {}: install grantd, or name it with --grantd PATH", path.display());
        return Err(Failure::new(Exit::Usage, line));
    }
    // A name without a slash would be looked for in PATH.
    let path = std::path::absolute(&path).unwrap_or(path);
    let mut command = Command::new(&path);
    command.env_clear().args(["policy", what]);
    Ok((path, command))
}

fn not_run(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Unexpected, format!("cannot run {}: {error}", path.display()))
}

fn ended(status: ExitStatus) -> Result<(), Failure> {
    match status.code().map(u8::try_from) {
        Some(Ok(0)) => Ok(()),
        Some(Ok(code)) => Err(Failure::of_command(code)),
        _ => Err(Failure::new(Exit::Unexpected, format!("grantd ended unexpectedly: {status}"))),
    }
}
