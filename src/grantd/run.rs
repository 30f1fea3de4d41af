//! From ready to stopped: signals, reloads, and telling systemd.

use std::path::Path;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::broker::Broker;
use crate::startup;
use crate::sys::files::Owners;
use crate::sys::notify::{self, Notifier};

/// How long what is under way may take when the daemon stops.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How often the watchdog is looked at when systemd does not ask for one.
const NO_WATCHDOG: Duration = Duration::from_secs(3600);

/// Runs until a signal says to stop. SIGHUP reads the policy anew: a bad bundle changes nothing and is an alarm.
pub async fn until_told(broker: &Broker, policy_dir: &Path, owners: &Owners, notifier: &Notifier) {
    let (Ok(mut hangup), Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::hangup()), signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be caught: stopping");
        return;
    };
    told(notifier.ready("serving"));
    tracing::info!(policy = %broker.bundle().version, node = %broker.node(), "serving");
    let mut watchdog = tokio::time::interval(notify::watchdog_interval().unwrap_or(NO_WATCHDOG));
    loop {
        tokio::select! {
            Some(()) = hangup.recv() => {
                told(notifier.reloading());
                reload(broker, policy_dir, owners).await;
                told(notifier.ready("serving"));
            }
            _ = watchdog.tick() => told(notifier.watchdog()),
            () = either(&mut terminate, &mut interrupt) => break,
        }
    }
    tracing::info!("stopping; no lease ends by that");
    told(notifier.stopping());
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
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

fn told(result: std::io::Result<()>) {
    if let Err(error) = result {
        tracing::warn!(%error, "systemd could not be told");
    }
}
