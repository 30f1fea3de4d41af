//! From ready to stopped: signals, reloads, and telling systemd.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::broker::Broker;
use crate::startup;
use crate::sys::files::Owners;
use crate::sys::notify::Notifier;

/// How long what is under way may take when the daemon stops.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The signals that tell the daemon something.
#[derive(Debug)]
pub struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Catches them from now on: before this, each of them ends the process.
    ///
    /// # Errors
    /// When the kernel does not let us.
    pub fn catch() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

/// Runs until a signal says to stop. SIGHUP reads the policy anew: a bad bundle changes nothing and is an alarm.
pub async fn until_told(
    signals: &mut Signals,
    broker: &Broker,
    policy_dir: &Path,
    owners: &Owners,
    notifier: &Notifier,
) {
    told(notifier.ready("serving"));
    tracing::info!(policy = %broker.bundle().version, node = %broker.node(), "serving");
    loop {
        tokio::select! {
            Some(()) = signals.hangup.recv() => {
                told(notifier.reloading());
                reload(broker, policy_dir, owners).await;
                told(notifier.ready("serving"));
            }
            Some(()) = signals.terminate.recv() => break,
            Some(()) = signals.interrupt.recv() => break,
        }
    }
    tracing::info!("stopping; no lease ends by that");
    told(notifier.stopping());
}

async fn reload(broker: &Broker, policy_dir: &Path, owners: &Owners) {
    let before = broker.bundle().version;
    let bundle = match startup::read_bundle(policy_dir, owners) {
        Ok(bundle) => bundle,
        Err(error) => {
            broker.raise_policy_alarm(&error).await;
            return;
        }
    };
    let after = bundle.version;
    match broker.reload(bundle).await {
        Ok(()) => tracing::info!(%before, %after, "the policy was read anew"),
        Err(error) => broker.raise_policy_alarm(&error.to_string()).await,
    }
}

/// How the process ends, with a word why where it is not as it should be.
pub fn exit(ended: Result<(), String>) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("grantd: {error}");
            ExitCode::FAILURE
        }
    }
}

fn told(result: std::io::Result<()>) {
    if let Err(error) = result {
        tracing::warn!(%error, "systemd could not be told");
    }
}
