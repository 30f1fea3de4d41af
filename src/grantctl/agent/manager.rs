//! What the service manager is told (sd_notify(3)). Without one nothing is said, and that it cannot be told is no failure.

use sd_notify::{NotifyState, notify};

use crate::print::clean;

/// The file is there.
pub(super) fn ready(status: &str) {
    let _ = notify(&[NotifyState::Ready, NotifyState::Status(&clean(status))]);
}

/// One line for `systemctl status`. Never a secret.
pub(super) fn status(status: &str) {
    let _ = notify(&[NotifyState::Status(&clean(status))]);
}

/// A reload begins; `Type=notify-reload` wants the monotonic time of it and then [`ready`].
pub(super) fn reloading() {
    if let Ok(when) = NotifyState::monotonic_usec_now() {
        let _ = notify(&[NotifyState::Reloading, when]);
    }
}

/// The end has begun.
pub(super) fn stopping(status: &str) {
    let _ = notify(&[NotifyState::Stopping, NotifyState::Status(&clean(status))]);
}
