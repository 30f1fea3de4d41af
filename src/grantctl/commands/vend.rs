//! `vend`, `credential-process`: the only commands that touch a credential. It is written to standard output once,
//! from a buffer that is wiped, and goes nowhere else (promise P9).

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use grantd_wire::{AnchorChoice, EndRequest, LeaseView, Vended};

use super::Context;
use crate::cli::{self, Format};
use crate::client::{Answer, Client, ClientError, Held};
use crate::exit::{Exit, Failure};
use crate::fetch::CredentialProcess;
use crate::secret::Secret;
use crate::words::GrantChoice;

/// How long a daemon that went away may take to come back: it keeps the lease for 30 s from its start.
const RECONNECT: Duration = Duration::from_secs(30);

/// How long to wait between two tries.
const RECONNECT_STEP: Duration = Duration::from_millis(250);

/// Takes a credential and prints it.
pub(super) async fn vend(context: &mut Context<'_>, wanted: cli::Vend) -> Result<(), Failure> {
    let format = format(context, wanted.format)?;
    let request = request(wanted.what, if wanted.hold { AnchorChoice::Connection } else { wanted.anchor.into() })?;
    if wanted.hold {
        // From here on a signal ends the wait in good order, also while the daemon is still at it.
        let mut stop = Stop::new()?;
        let (answer, held) = tokio::select! {
            answer = context.client.hold(&request) => answer?,
            () = stop.signalled() => {
                return Err(Failure::new(Exit::Unexpected, "stopped before grantd had answered"));
            }
        };
        let lease = deliver(context, answer, format)?;
        wait(&context.client, held, stop, &lease).await
    } else {
        let answer = context.client.post("/v1/leases", &request).await?;
        deliver(context, answer, format).map(drop)
    }
}

/// Takes a credential and prints it as AWS clients want it from `credential_process` (AWS SDKs and Tools Reference
/// Guide, "Process credential provider"). They start it anew for each use, so the anchor is their own process.
pub(super) async fn credential_process(context: &mut Context<'_>, wanted: CredentialProcess) -> Result<(), Failure> {
    let request = request(wanted.what, AnchorChoice::Parent)?;
    let answer = context.client.post::<_, Vended>("/v1/leases", &request).await?;
    let Vended { lease, reused, notes, credential } = answer.value;
    let secret = Secret::from(credential);
    let document = match secret.aws() {
        Ok(aws) => aws.process_json()?,
        Err(other) => {
            give_back(context, &lease, reused).await;
            return Err(other.failure(&lease.grant, "credential-process"));
        }
    };
    print(context, &document, &lease)?;
    // Some clients pass standard error on to the person; once for each lease is enough.
    if !reused {
        notes.iter().for_each(|note| context.note(note));
    }
    Ok(())
}

/// Ends a lease that nobody has use for. One that was handed out before is somebody's.
pub(super) async fn give_back(context: &Context<'_>, lease: &LeaseView, reused: bool) {
    if !reused {
        let target = format!("/v1/leases/{}/complete", lease.id);
        // If it cannot be told so, its TTL ends it.
        let _ = context.client.post::<_, LeaseView>(&target, &EndRequest::default()).await;
    }
}

/// How to print. A credential does not land in a terminal's history because somebody tried a command.
fn format(context: &Context<'_>, wanted: Option<Format>) -> Result<Format, Failure> {
    let usage = |line| Err(Failure::new(Exit::Usage, line));
    match wanted {
        Some(Format::Env) if context.json => usage("--json and --format env contradict each other: give one"),
        Some(format) => Ok(format),
        None if context.out_is_terminal && !context.json => usage(
            "standard output is a terminal, and a credential would stay in its history: redirect it, or say --format \
             json or --format env",
        ),
        None => Ok(Format::Json),
    }
}

/// What to ask of the daemon.
pub(super) fn request(wanted: cli::Wanted, anchor: AnchorChoice) -> Result<grantd_wire::Vend, Failure> {
    let grant = match wanted.named.unwrap_or(wanted.grant) {
        GrantChoice::Auto => "auto".to_owned(),
        GrantChoice::Named(_) if wanted.resource.is_some() => {
            return Err(Failure::new(Exit::Usage, "--resource chooses among grants: give it with auto only"));
        }
        GrantChoice::Named(id) => id,
    };
    Ok(grantd_wire::Vend { grant, ttl_seconds: wanted.ttl, anchor, resource: wanted.resource })
}

fn deliver(context: &mut Context<'_>, answer: Answer<Vended>, format: Format) -> Result<LeaseView, Failure> {
    let Answer { value: Vended { lease, notes, credential, .. }, raw } = answer;
    match format {
        Format::Json => {
            let mut line = Zeroizing::new(Vec::with_capacity(raw.len().saturating_add(1)));
            line.extend_from_slice(raw.trim_ascii_end());
            line.push(b'\n');
            print(context, &line, &lease)?;
        }
        Format::Env => print(context, Secret::from(credential).env(&lease.id).as_bytes(), &lease)?,
    }
    notes.iter().for_each(|note| context.note(note));
    Ok(lease)
}

/// Writes a credential. That nobody took it is a failure here, not a reader that went away: the lease lives.
pub(super) fn print(context: &mut Context<'_>, secret: &[u8], lease: &LeaseView) -> Result<(), Failure> {
    context.out.write_all(secret).and_then(|()| context.out.flush()).map_err(|error| {
        let id = &lease.id;
        Failure::new(
            Exit::Unexpected,
            format!("cannot write the credential of {id} to standard output: {error} (next: grantctl complete {id})"),
        )
    })
}

/// Keeps the lease until standard input closes, a signal comes, or the daemon says that it is over. A daemon that goes
/// away and comes back finds us again.
async fn wait(client: &Client, held: Held, mut stop: Stop, lease: &LeaseView) -> Result<(), Failure> {
    tokio::select! {
        () = stop.asked() => Ok(()),
        failure = hold_on(client, held, lease) => Err(failure),
    }
}

/// Ends when the lease does, or when the daemon stays away.
async fn hold_on(client: &Client, mut held: Held, lease: &LeaseView) -> Failure {
    loop {
        let lost = match held.ended().await {
            Ok(reason) => return Failure::new(Exit::State, format!("{} ended: {reason}", lease.id)),
            Err(lost) => lost,
        };
        held = match tokio::time::timeout(RECONNECT, come_back(client, lease)).await {
            Ok(Ok(again)) => again,
            Ok(Err(refused)) => {
                return Failure::new(Exit::State, format!("{} is no longer held: {refused}", lease.id));
            }
            Err(_) => {
                let until = &lease.access_until;
                let line = format!("{} is no longer held and ends by {until} at the latest: {lost}", lease.id);
                return Failure::new(Exit::Unreachable, line);
            }
        };
    }
}

/// Tries until the daemon takes the hold up again, or says that there is nothing to take up.
async fn come_back(client: &Client, lease: &LeaseView) -> Result<Held, ClientError> {
    loop {
        match client.hold_again(&lease.id).await {
            Ok(held) => return Ok(held),
            Err(error) if error.is_absence() || error.is_stopping() => tokio::time::sleep(RECONNECT_STEP).await,
            Err(error) => return Err(error),
        }
    }
}

/// What ends a hold from this side.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::new(Exit::Unexpected, format!("cannot wait for signals: {error}")))
        };
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn signalled(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// A signal, or the end of standard input. A thread of its own reads: a terminal cannot be read without blocking.
    async fn asked(&mut self) {
        let (closed, end) = oneshot::channel();
        std::thread::spawn(move || {
            // An input that cannot be read is as good as closed.
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            // That nobody waits any more means that a signal was faster.
            let _ = closed.send(());
        });
        tokio::select! {
            () = self.signalled() => {}
            _ = end => {}
        }
    }
}
