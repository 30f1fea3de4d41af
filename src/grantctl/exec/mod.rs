//! `exec`: a command with a credential that lives as long as the command.
//!
//! The way: a grant (requested, found or named) that is active, the first credential, the front or the files, the
//! command; then signals, renewals and news until it ends; then everything that was taken is given back. The leases are
//! anchored in this process, so that they end with it however it ends.

pub(crate) mod args;
mod child;
mod environment;
mod front;
pub(crate) mod keeper;
pub(crate) mod notice;
mod offer;
mod peer;
mod place;
mod shapes;
mod wait;

use std::env;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use grantd_wire::GrantView;
use nix::sys::prctl;
use nix::unistd::{Uid, getpid};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use self::args::{Exec, ExecFormat};
use self::child::{Child, Signals, code_of};
use self::environment::{Environment, Instead};
use self::keeper::{Current, Keeper, News, Renewal};
use self::notice::Notice;
use self::offer::{offer, write_down};
use self::peer::Family;
use self::place::Place;
use self::wait::Wait;
use crate::Context;
use crate::clock;
use crate::exit::{Exit, Failure};
use crate::words::GrantChoice;

pub(crate) use self::child::become_command;

/// Between two looks at a grant that is waited for.
const LOOK: Duration = Duration::from_secs(2);

/// Runs a command with a credential.
pub(crate) async fn exec(context: &mut Context<'_>, wanted: Exec) -> Result<(), Failure> {
    if context.json {
        let line = "--json and exec contradict each other: standard output is the command's";
        return Err(Failure::new(Exit::Usage, line).not_started());
    }
    if wanted.resource.is_some() && wanted.capability.is_none() && matches!(wanted.grant, Some(GrantChoice::Named(_))) {
        let line = "--resource chooses among grants: give it with auto, or with --can to request one";
        return Err(Failure::new(Exit::Usage, line).not_started());
    }
    // Neither a core dump nor another process of this user is to read what this one holds (PR_SET_DUMPABLE, prctl(2)).
    let _ = prctl::set_dumpable(false);
    let mut signals = Signals::new().map_err(Failure::not_started)?;
    let (say, mut news) = unbounded_channel();
    let prepared = tokio::select! {
        prepared = prepare(context, &wanted, say.clone()) => prepared.map_err(Failure::not_started)?,
        signal = signals.interrupted() => {
            // What was requested stays; what is just being issued ends with this process.
            let line = format!("stopped by {signal} before the command was started");
            return Err(Failure::new(Exit::Command(code_of(signal)), line));
        }
    };
    let (keeper, first) = prepared;
    let done = attended(context, &wanted, (&keeper, &first), &mut signals, (&say, &mut news)).await;
    drop(first);
    // What was obtained in an emergency is given back whatever became of the command.
    keeper.end(wanted.glass.is_some() || done.is_ok() && wanted.requests()).await;
    while let Ok(last) = news.try_recv() {
        if let News::Note(text) = last {
            context.note(&text);
        }
    }
    match done {
        Ok(0) => Ok(()),
        Ok(code) => Err(Failure::of_command(code)),
        Err(failure) => Err(failure.not_started()),
    }
}

/// A grant that is active, and the first credential under it.
async fn prepare(
    context: &mut Context<'_>,
    wanted: &Exec,
    say: UnboundedSender<News>,
) -> Result<(Arc<Keeper>, Arc<Current>), Failure> {
    let client = context.client.clone();
    let named = match (wanted.request(), &wanted.grant) {
        _ if wanted.glass.is_some() => Some(client.post::<_, GrantView>("/v1/break-glass", &wanted.glass).await?.value),
        (Some(request), _) => Some(client.post::<_, GrantView>("/v1/grants", &request).await?.value),
        (None, Some(GrantChoice::Named(id))) => Some(client.get(&format!("/v1/grants/{id}"), &()).await?.value),
        (None, _) => None,
    };
    let requested = wanted.requests();
    let which = match named {
        Some(grant) => {
            if requested {
                context.note(&format!("requested {}", grant.id));
            }
            let terminal = context.err_is_terminal;
            let wait = Wait { client: &client, now: clock::now, pause: LOOK, limit: wanted.wait, terminal };
            let grant = wait.until_active(grant, context.err).await?;
            for line in notice::broken(&grant, clock::now()) {
                context.note(&line);
            }
            (grant.id, None)
        }
        None => ("auto".to_owned(), wanted.resource.clone()),
    };
    let renewal = match wanted.format {
        ExecFormat::Env => Renewal::Never,
        ExecFormat::Front => Renewal::WhenAsked,
        ExecFormat::File | ExecFormat::Json => Renewal::Always,
    };
    let started = Keeper::start(client, which.clone(), wanted.ttl, renewal, (clock::now, say)).await;
    if started.is_err() && requested {
        context.note(&format!("{} stays active (next: grantctl exec --grant {} -- COMMAND)", which.0, which.0));
    }
    started
}

/// Starts the command and attends to it until it ends; gives its exit code.
async fn attended(
    context: &mut Context<'_>,
    wanted: &Exec,
    (keeper, first): (&Arc<Keeper>, &Arc<Current>),
    signals: &mut Signals,
    (say, news): (&UnboundedSender<News>, &mut UnboundedReceiver<News>),
) -> Result<u8, Failure> {
    let failed = |what: &str, error: io::Error| Failure::new(Exit::Unexpected, format!("{what}: {error}"));
    let uid = Uid::effective().as_raw();
    let place = Place::new(uid)?;
    let empty = match wanted.keep_aws_config {
        true => None,
        false => Some(place.write("empty", b"").map_err(|error| failed("cannot write a file", error))?),
    };
    let home = |keep: bool, name: &str| match keep {
        true => Ok(None),
        false => place.directory(name).map(Some).map_err(|error| failed("cannot make a directory", error)),
    };
    let (gcloud, azure) = (home(wanted.keep_gcloud_config, "gcloud")?, home(wanted.keep_azure_config, "azure")?);
    let instead = Instead { aws: empty.as_deref(), gcloud: gcloud.as_deref(), azure: azure.as_deref() };
    let names = env::vars_os().map(|(name, _)| name);
    let mut environment = Environment::cleaned(names, instead, first.secret.region(), keeper.grant());
    let mut beside = JoinSet::new();
    // The command's children stay below this process even when their parents end, so that the front knows them.
    prctl::set_child_subreaper(true).map_err(|errno| failed("cannot gather the command's processes", errno.into()))?;
    let front = offer(&mut environment, &place, wanted.format, (keeper.grant(), first)).await?;
    if let Some(told) = environment.told() {
        context.note(&told);
    }
    if let Some((front, shape)) = front {
        let family = Family::new(getpid().as_raw(), uid).map_err(|error| failed("cannot read /proc", error))?;
        beside.spawn(front.serve(shape, Arc::clone(keeper), Arc::new(family), say.clone()));
    }
    if wanted.format == ExecFormat::Env {
        context.note(&format!("the credential holds until {} and is not renewed", first.secret.expiration()));
    }
    let child = Child::start(&wanted.command, &environment, signals);
    let child = child.map_err(|error| failed("cannot start a process", error))?;
    drop(environment);
    beside.spawn(Arc::clone(keeper).keep(Notice::default()));
    loop {
        tokio::select! {
            incoming = signals.next() => {
                if let Some(code) = child.on(incoming) {
                    return Ok(code);
                }
            }
            Some(fresh) = news.recv() => match fresh {
                News::Note(text) => context.note(&text),
                News::Renewed(current) => {
                    if let Err(failure) = write_down(&place, wanted.format, (keeper.grant(), &current)) {
                        context.note(failure.line().unwrap_or_default());
                    }
                }
            },
        }
    }
}
