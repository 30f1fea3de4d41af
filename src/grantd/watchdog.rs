//! Telling systemd that all is well, and only while it is: the accept loop and what writes the store have to answer first.
//! A daemon in which one of them hangs looks alive and does nothing; systemd starts it anew.

use std::time::Duration;

use crate::broker::Broker;
use crate::pulse::Pulse;
use crate::sys::notify::{self, Notifier};

/// Begins to tell systemd, if it wants to hear of it.
pub fn start(notifier: &Notifier, broker: &Broker, pulse: Pulse) {
    if let Some(every) = notify::watchdog_interval() {
        tokio::spawn(pet(notifier.clone(), every, broker.clone(), pulse));
    }
}

/// Tells systemd three times in `every` that the daemon is well, for ever, as long as it is.
async fn pet(notifier: Notifier, every: Duration, broker: Broker, pulse: Pulse) {
    let well = || async {
        // The accept loop ends before the rest when the daemon stops.
        let accepts = broker.stopping().is_cancelled() || pulse.beat().await;
        accepts && broker.store_answers().await
    };
    pet_while(&notifier, every, well).await;
}

async fn pet_while<F: Future<Output = bool>>(notifier: &Notifier, every: Duration, well: impl Fn() -> F) {
    let step = every / 3;
    let mut ticks = tokio::time::interval(step);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if !tokio::time::timeout(step, well()).await.unwrap_or(false) {
            tracing::error!(
                "the accept loop or the store's writer does not answer: systemd is not told that all is well"
            );
        } else if let Err(error) = notifier.watchdog() {
            tracing::warn!(%error, "systemd could not be told that all is well");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Well, then hanging, then answering that it is not, then well again: as often as is said here.
    const WELL: usize = 2;
    const HANGS: usize = 3;
    const ILL: usize = 3;

    #[tokio::test]
    async fn p11_systemd_hears_nothing_while_a_part_hangs_and_again_when_it_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        socket.set_nonblocking(true).unwrap();
        let notifier = Notifier::to(directory.path().join("notify"));
        let asked = Arc::new(AtomicUsize::new(0));
        let (counted, heard) = (Arc::clone(&asked), Arc::new(std::sync::Mutex::new(Vec::new())));
        let all = Arc::clone(&heard);
        let well = move || {
            let round = counted.fetch_add(1, Ordering::SeqCst);
            // What was said up to here, and in which round.
            let mut bytes = [0; 64];
            while let Ok(length) = socket.recv(&mut bytes) {
                assert_eq!(&bytes[..length], b"WATCHDOG=1\n");
                all.lock().unwrap().push(round);
            }
            async move {
                if (WELL..WELL + HANGS).contains(&round) {
                    std::future::pending::<()>().await;
                }
                !(WELL + HANGS..WELL + HANGS + ILL).contains(&round)
            }
        };
        let petting = tokio::spawn(async move { pet_while(&notifier, Duration::from_millis(30), well).await });
        let enough = async {
            while asked.load(Ordering::SeqCst) < WELL + HANGS + ILL + 3 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), enough).await.unwrap();
        petting.abort();
        let heard = heard.lock().unwrap();
        // What was said in a round is heard in the next one.
        assert_eq!(heard[..4], [1, 2, WELL + HANGS + ILL + 1, WELL + HANGS + ILL + 2], "{heard:?}");
    }
}
