//! `policy …`. What evaluates policy is handed to grantd itself, so that it is evaluated in one place and by one version.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

use grantd_wire::{AuditPage, AuditQuery};

use super::Context;
use super::audit::{PAGE, json_line, seq};
use crate::bundle::{Offline, Policy, Replay};
use crate::exit::{Exit, Failure};

/// Does what follows `grantctl policy`.
pub(super) async fn policy(context: &mut Context<'_>, asked: Policy) -> Result<(), Failure> {
    match asked {
        Policy::Check(offline) => hand_over(context, "check", &offline, &[]),
        Policy::Test { offline, untried } => {
            hand_over(context, "test", &offline, if untried { &["--untried"] } else { &[] })
        }
        Policy::Statement(offline) => hand_over(context, "statement", &offline, &[]),
        Policy::Replay(asked) => replay(context, &asked).await,
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
