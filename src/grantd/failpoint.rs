//! Named places at which a test can kill the daemon. Compiled to nothing without the feature `failpoints`.

/// Every name that [`hit`] is called with. A test drives the daemon into each of them; another test below keeps this
/// list equal to what the source says.
///
/// `request`, `approve`, `deny`, `cancel`, `extend`, `issue`, `renew`, `revoke`, `freeze`, `thaw`, `mass`, `drain`,
/// `reload` and `keys` are what callers and operators do; `expire`, `lapse`, `anchor`, `start` and `reconcile` are what the daemon
/// does by itself.
pub const ALL: &[&str] = &[
    "start.kept",
    "reconcile.started",
    "reconcile.orphan_ended",
    "reconcile.anchors",
    "reconcile.done",
    "request.decided",
    "request.refused",
    "request.written",
    "approve.decided",
    "approve.refused",
    "approve.written",
    "deny.decided",
    "deny.written",
    "cancel.written",
    "extend.decided",
    "extend.written",
    "lapse.due",
    "lapse.written",
    "escalate.due",
    "escalate.written",
    "delegate.decided",
    "delegate.written",
    "delegate.revoked",
    "issue.decided",
    "issue.intent_written",
    "issue.refused",
    "issue.in_doubt",
    "issue.session_made",
    "issue.unwanted",
    "issue.recorded",
    "issue.watched",
    "issue.undelivered",
    "issue.released",
    "renew.served",
    "renew.decided",
    "renew.intent_written",
    "renew.session_made",
    "renew.recorded",
    "renew.watched",
    "revoke.decided",
    "revoke.grant_written",
    "revoke.requested",
    "revoke.written",
    "revoke.denied",
    "revoke.accepted",
    "revoke.late",
    "revoke.collapsed",
    "revoke.confirmed",
    "expire.due",
    "expire.written",
    "anchor.written",
    "anchor.over",
    "freeze.written",
    "thaw.written",
    "mass.decided",
    "mass.grants_written",
    "mass.leases_written",
    "drain.begun",
    "reload.parsed",
    "reload.kept",
    "reload.swapped",
    "reload.decided",
    "reload.refused",
    "keys.recorded",
    "keys.staged",
    "keys.written",
];

/// Dies by SIGKILL here, if armed for `name`: by the variable `GRANTD_FAILPOINT`, or by the content of the file that
/// `GRANTD_FAILPOINT_FILE` names, which is read each time so that a running daemon can be armed. Either says `NAME`, or
/// `NAME:N` for the Nth time that this process comes by.
#[cfg(feature = "failpoints")]
pub fn hit(name: &'static str) {
    use std::sync::atomic::{AtomicU32, Ordering};

    static HITS: AtomicU32 = AtomicU32::new(0);
    let file = || std::fs::read_to_string(std::env::var_os("GRANTD_FAILPOINT_FILE")?).ok();
    let Some(armed) = std::env::var("GRANTD_FAILPOINT").ok().or_else(file) else { return };
    let armed = armed.trim();
    let (armed, nth) = armed.split_once(':').unwrap_or((armed, "1"));
    if armed == name && nth.parse().ok() == Some(HITS.fetch_add(1, Ordering::SeqCst).saturating_add(1)) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
        loop {
            std::thread::park();
        }
    }
}

/// Nothing.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub fn hit(_name: &'static str) {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::ALL;

    /// Every string inside a call of `hit` in `text`.
    fn names(text: &str) -> Vec<&str> {
        let calls = text.split("failpoint::hit(").skip(1).filter_map(|rest| rest.split(';').next());
        calls.flat_map(|call| call.split('"').skip(1).step_by(2)).collect()
    }

    fn source(directory: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                source(&path, found);
            } else if path.extension().is_some_and(|kind| kind == "rs") && !path.ends_with("failpoint.rs") {
                found.extend(names(&fs::read_to_string(&path).unwrap()).into_iter().map(str::to_owned));
            }
        }
    }

    #[test]
    fn the_list_names_every_fail_point_of_the_source_once_and_no_other() {
        let mut found = Vec::new();
        source(Path::new(env!("CARGO_MANIFEST_DIR")), &mut found);
        found.sort();
        let mut listed: Vec<String> = ALL.iter().map(|name| (*name).to_owned()).collect();
        listed.sort();
        assert_eq!(found, listed);
    }

    #[test]
    fn a_call_with_two_names_is_read_as_two() {
        let text = "failpoint::hit(step(&s, \"renew.a\", \"issue.a\")); other(\"no\"); crate::failpoint::hit(\"b\");";
        assert_eq!(names(text), ["renew.a", "issue.a", "b"]);
        assert_eq!(BTreeSet::from_iter(ALL).len(), ALL.len(), "a name stands twice");
    }
}
