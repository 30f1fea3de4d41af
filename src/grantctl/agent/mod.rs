//! `agent`: a credential file that is current for as long as a grant lives, for a program that cannot be started under
//! `exec`.
//!
//! The leases are anchored in this process, taken and renewed by the same keeper as those of `exec`, and end with it
//! however it ends. What ought to be in the file is compared with what is, whenever something happened and when the
//! credential in it is over, so that no dead one lies around whatever the daemon does.

pub(crate) mod args;
mod contents;
mod directory;
mod file;
mod manager;
mod process;
mod reader;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use grantd_wire::GrantView;
use jiff::Timestamp;
use nix::sys::prctl;
use nix::unistd::{getegid, geteuid};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use self::args::Agent;
use self::contents::Form;
use self::file::{Access, KeptFile, PutError};
use self::reader::{Change, Reader};
use crate::Context;
use crate::client::Client;
use crate::clock;
use crate::exec::keeper::{Current, Keeper, News, Refusal, Renewal};
use crate::exec::notice::Notice;
use crate::exit::{Exit, Failure};
use crate::words::{AUTO, GrantChoice};

/// How long anything may be slept through a change of the clock.
const LOOK: Duration = Duration::from_secs(5);

/// Between two tries to write or to remove the file.
const AGAIN: Duration = Duration::from_secs(2);

/// Keeps a credential file.
pub(crate) async fn agent(context: &mut Context<'_>, wanted: Agent) -> Result<(), Failure> {
    let (grant, resource) = which(context, &wanted)?;
    let access = access(&wanted)?;
    // Neither a core dump nor another process of this user is to read what this one holds (PR_SET_DUMPABLE, prctl(2)).
    let _ = prctl::set_dumpable(false);
    let mut signals = Signals::new()?;
    let us = geteuid().as_raw();
    let file = KeptFile::open(&wanted.file, access, us, wanted.force).map_err(|why| Failure::new(Exit::Usage, why))?;
    let (say, mut news) = unbounded_channel();
    let client = context.client.clone();
    let started = tokio::select! {
        started = Keeper::start(client.clone(), (grant, resource), wanted.ttl, Renewal::Always, (clock::now, say.clone())) => started,
        // What is just being issued ends with this process.
        () = signals.stopped() => {
            file.leave();
            return Ok(());
        }
    };
    let keeper = match started {
        Ok((keeper, _)) => keeper,
        Err(failure) => {
            file.leave();
            return Err(failure);
        }
    };
    let (tell, changes) = unbounded_channel();
    let reader = Reader {
        signal: wanted.signal.zip(wanted.pid_file),
        run: wanted.run,
        run_timeout: wanted.run_timeout,
        file: file.path().to_owned(),
        uid: access.uid,
        us,
        grant: keeper.grant().to_owned(),
        now: clock::now,
        say,
    };
    let mut beside = JoinSet::new();
    let told = tokio::spawn(reader.attend(changes));
    beside.spawn(Arc::clone(&keeper).keep(Notice::new("; the file is removed")));

    let mut shelf = Shelf {
        file,
        form: Form { format: wanted.format, audience: wanted.audience },
        tell,
        shown: None,
        was_ready: false,
        trouble: None,
    };
    let ended = loop {
        let next = match shelf.follow(&keeper, context) {
            Ok(next) => next,
            Err(failure) => break Err(failure),
        };
        if shelf.shown.is_none()
            && let Some(refusal) = keeper.refusal().filter(|refusal| !refusal.retryable)
            && let Some(failure) = verdict(&client, keeper.grant(), refusal).await
        {
            break Err(failure);
        }
        tokio::select! {
            Some(fresh) = news.recv() => if let News::Note(text) = fresh { context.note(&text) },
            asked = signals.next() => match asked {
                Asked::Stop => break Ok(()),
                Asked::Reload => if let Err(failure) = shelf.reload(&keeper, context) { break Err(failure) },
            },
            () = tokio::time::sleep(next) => {}
        }
    };
    drop(beside);
    manager::stopping(ended.as_ref().err().and_then(Failure::line).unwrap_or("stopping"));
    let removed = shelf.end();
    // The reader lets go while the lease is given back: neither waits for the other.
    let _ = tokio::join!(told, keeper.end(false));
    while let Ok(last) = news.try_recv() {
        if let News::Note(text) = last {
            context.note(&text);
        }
    }
    match (ended, removed) {
        (Err(failure), Err(why)) => {
            context.note(&why);
            Err(failure)
        }
        (ended, Ok(())) => ended,
        (Ok(()), Err(why)) => Err(Failure::new(Exit::Unexpected, why)),
    }
}

/// The grant to rest on, and the resource to find it by.
fn which(context: &Context<'_>, wanted: &Agent) -> Result<(String, Option<String>), Failure> {
    let usage = |line| Err(Failure::new(Exit::Usage, line));
    if context.json {
        return usage("--json and agent contradict each other: nothing is printed");
    }
    match &wanted.grant {
        GrantChoice::Auto => Ok((AUTO.to_owned(), wanted.resource.clone())),
        GrantChoice::Named(_) if wanted.resource.is_some() => {
            usage("--resource chooses among grants: give it with auto only")
        }
        GrantChoice::Named(id) => Ok((id.clone(), None)),
    }
}

/// Whose the file is to be.
fn access(wanted: &Agent) -> Result<Access, Failure> {
    let group = wanted.owner.and_then(|owner| owner.gid);
    if wanted.mode & 0o040 != 0 && group.is_none() {
        let line = "--mode lets a group read the file: say which with --owner, as USER:GROUP or :GROUP";
        return Err(Failure::new(Exit::Usage, line));
    }
    Ok(Access {
        uid: wanted.owner.and_then(|owner| owner.uid).unwrap_or_else(|| geteuid().as_raw()),
        gid: group.unwrap_or_else(|| getegid().as_raw()),
        mode: wanted.mode,
    })
}

/// The file and what is in it.
struct Shelf {
    file: KeptFile,
    form: Form,
    tell: UnboundedSender<Change>,
    /// The lease in the file, and when that is over.
    shown: Option<(String, Timestamp)>,
    /// Whether the file was there once.
    was_ready: bool,
    /// What was said last of why it cannot be written or removed: the same is said once.
    trouble: Option<String>,
}

impl Shelf {
    /// Has the file hold what it ought to; gives how long that stays so by itself.
    fn follow(&mut self, keeper: &Keeper, context: &mut Context<'_>) -> Result<Duration, Failure> {
        let now = clock::now();
        let Some(current) = keeper.present() else {
            let Some((lease, _)) = &self.shown else { return Ok(LOOK) };
            manager::status(&format!("{lease} is over and there is no other credential: the file is removed"));
            return match self.file.remove() {
                Ok(()) => {
                    self.shown = None;
                    self.told(Change::Removed);
                    Ok(LOOK)
                }
                // What stands there is not ours to remove; the end says so.
                Err(why) if !self.file.stands() => Err(Failure::new(Exit::Unexpected, why)),
                Err(why) => {
                    self.note(context, why);
                    Ok(AGAIN)
                }
            };
        };
        let left = |until: Timestamp| Duration::try_from(until.duration_since(now)).unwrap_or_default().min(LOOK);
        if self.shown.as_ref().is_some_and(|(lease, _)| *lease == current.lease) && self.file.stands() {
            return Ok(left(current.until));
        }
        match self.file.put(&self.form.of(&current.secret, keeper.grant())?) {
            Ok(()) => {
                let change = if self.shown.is_some() { Change::Renewed } else { Change::Written };
                self.shown = Some((current.lease.clone(), current.until));
                self.trouble = None;
                self.told(change);
                let status = self.holds(&current);
                if self.was_ready {
                    manager::status(&status)
                } else {
                    manager::ready(&status)
                }
                self.was_ready = true;
                Ok(left(current.until))
            }
            Err(PutError::Foreign(why)) => Err(Failure::new(Exit::Unexpected, why)),
            Err(PutError::Failed(why)) if !self.was_ready => Err(Failure::new(Exit::Unexpected, why)),
            Err(PutError::Failed(why)) => {
                self.note(context, why);
                self.expire(now, context);
                Ok(AGAIN)
            }
        }
    }

    /// A new credential cannot be written: the one that is there goes when it is over all the same.
    fn expire(&mut self, now: Timestamp, context: &mut Context<'_>) {
        if self.shown.as_ref().is_some_and(|(_, until)| *until <= now) {
            match self.file.remove() {
                Ok(()) => {
                    self.shown = None;
                    self.told(Change::Removed);
                }
                Err(why) => self.note(context, why),
            }
        }
    }

    fn note(&mut self, context: &mut Context<'_>, why: String) {
        if self.trouble.as_ref() != Some(&why) {
            context.note(&why);
        }
        self.trouble = Some(why);
    }

    /// As asked by SIGHUP: the file is there, also if somebody removed it, and the reader is told again.
    fn reload(&mut self, keeper: &Keeper, context: &mut Context<'_>) -> Result<(), Failure> {
        manager::reloading();
        let stood = self.shown.is_some() && self.file.stands();
        self.follow(keeper, context)?;
        if stood && self.shown.is_some() {
            self.told(Change::Renewed);
        }
        manager::ready(&format!("keeping {}", self.file.path().display()));
        Ok(())
    }

    /// Removes the file for good.
    fn end(mut self) -> Result<(), String> {
        let was_there = self.shown.is_some();
        let removed = self.file.remove();
        if was_there {
            self.told(Change::Removed);
        }
        self.file.leave();
        removed
    }

    fn holds(&self, current: &Current) -> String {
        format!("{} holds {} until {}", shown(self.file.path()), current.lease, current.secret.expiration())
    }

    fn told(&self, change: Change) {
        // Who tells is there until this is gone.
        let _ = self.tell.send(change);
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Why there will be no other credential, if it is so: the grant itself knows best.
async fn verdict(client: &Client, grant: &str, refusal: Refusal) -> Option<Failure> {
    let found = client.get::<_, GrantView>(&format!("/v1/grants/{grant}"), &()).await;
    match found.map(|answer| answer.value) {
        Ok(view) if view.state == "active" && refusal.code == "over" => None,
        Ok(view) if matches!(view.state.as_str(), "active" | "scheduled") => {
            Some(Failure::new(refusal.exit, refusal.message))
        }
        Ok(view) => {
            let exit = if view.state == "revoked" { Exit::Revoked } else { Exit::State };
            let why = view.reason.as_deref().unwrap_or("its time is over");
            Some(Failure::new(exit, format!("{grant} is {}: {why} (next: grantctl request)", view.state)))
        }
        Err(_) => Some(Failure::new(refusal.exit, refusal.message)),
    }
}

/// What is asked of us.
enum Asked {
    /// To end.
    Stop,
    /// To look at the file again.
    Reload,
}

/// The signals that ask it.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::new(Exit::Unexpected, format!("cannot wait for signals: {error}")))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }

    /// Resolves when the end is asked for.
    async fn stopped(&mut self) {
        while !matches!(self.next().await, Asked::Stop) {}
    }
}
