//! What the process does to itself before it reads a configuration or starts a thread: no core, no debugger, no swap
//! where the host allows it, no variable from the environment that could send it elsewhere.
//!
//! Root on the host can read any of it all the same; nothing here claims otherwise.

use std::env;
use std::fmt;
use std::fs;
use std::io;

use nix::sys::signal::{SigHandler, Signal, signal};
use rustix::fs::Mode;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask};
use rustix::thread::{CapabilitySet, capabilities, set_no_new_privs};

/// Variables that begin like this are removed: they choose a cloud identity, an endpoint or a log of secrets, and
/// grantd takes those from its configuration alone.
pub const REMOVED_PREFIXES: &[&str] =
    &["AWS_", "AZURE_", "ARM_", "MSI_", "IDENTITY_", "GOOGLE_", "GCE_", "GCLOUD_", "CLOUDSDK_", "GRPC_", "OTEL_"];

/// Variables removed by name: other trust anchors, TLS key logs, temporary directories of others' choosing.
pub const REMOVED_NAMES: &[&str] = &[
    "LOG_SENSITIVE_BODIES",
    "SMITHY_CLIENT_SDK_CUSTOM_PARTITION",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "SSLKEYLOGFILE",
    "NETRC",
    "HOSTALIASES",
    "LOCALDOMAIN",
    "RES_OPTIONS",
    "SQLITE_TMPDIR",
    "TMPDIR",
];

/// Variables that end like this, in either case, are removed: the proxies.
pub const REMOVED_SUFFIX: &str = "_PROXY";

/// Kept in spite of its prefix: the container agent's path is new with each start and known from here alone, and the
/// SDK asks a fixed link-local address with it.
pub const KEPT_NAMES: &[&str] = &["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"];

/// What was obtained. Say it in the log and in `status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hardening {
    /// Whether memory can reach the swap.
    pub memory: MemoryLock,
    /// Names of the variables that were removed; never their values.
    pub removed_variables: Vec<String>,
    /// How many descriptors the process may open (raised to the hard limit): two for each connection.
    pub open_files: u64,
}

impl fmt::Display for Hardening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not dumpable, no core, no new privileges; {}; {} descriptors", self.memory, self.open_files)
    }
}

/// Whether memory is locked, and why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemoryLock {
    /// Every page stays in RAM from its first use.
    Locked,
    /// `RLIMIT_MEMLOCK` is finite. Locking under it would make a later allocation fail, so nothing is locked.
    LimitTooLow {
        /// The limit in bytes.
        limit: u64,
    },
    /// mlockall(2) refused.
    Refused(String),
}

impl fmt::Display for MemoryLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked => f.write_str("memory locked"),
            Self::LimitTooLow { limit } => {
                write!(
                    f,
                    "memory not locked: RLIMIT_MEMLOCK is {limit} bytes, set LimitMEMLOCK=infinity or turn swap off"
                )
            }
            Self::Refused(why) => write!(f, "memory not locked: {why}; turn swap off"),
        }
    }
}

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum HardenError {
    /// The environment may only be changed while nobody else can read it.
    #[error(transparent)]
    Threads(#[from] io::Error),
    /// Uids here are not the host's.
    #[error(
        "{path} maps user or group ids ({found}): callers' identities would not be the host's; run grantd outside user namespaces (no PrivateUsers=, no rootless container)"
    )]
    MappedIds {
        /// Which map.
        path: &'static str,
        /// What it holds, in one line.
        found: String,
    },
    /// A step that must not fail did.
    #[error("cannot {step}: {source}")]
    Step {
        /// What was being done.
        step: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

/// Hardens this process. The first thing `main` does: before configuration, runtime and threads.
///
/// # Errors
/// [`HardenError`]: the daemon must not start. Memory that cannot be locked is no error, it is reported.
pub fn harden() -> Result<Hardening, HardenError> {
    only_thread()?;
    identity_map("/proc/self/uid_map")?;
    identity_map("/proc/self/gid_map")?;
    umask(Mode::RWXG | Mode::RWXO);
    let failed = |step: &'static str| move |errno: rustix::io::Errno| HardenError::Step { step, source: errno.into() };
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed("become undumpable"))?;
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).map_err(failed("forbid core dumps"))?;
    set_no_new_privs(true).map_err(failed("give up new privileges"))?;
    ignore_broken_pipes().map_err(|errno| HardenError::Step { step: "ignore SIGPIPE", source: errno.into() })?;
    let removed_variables = clear_environment()?;
    Ok(Hardening { memory: lock_memory(), removed_variables, open_files: raise_open_files() })
}

/// Succeeds while this process has one thread.
///
/// # Errors
/// When there are more, or `/proc` does not tell.
pub(super) fn only_thread() -> io::Result<()> {
    match fs::read_dir("/proc/self/task")?.count() {
        1 => Ok(()),
        more => Err(io::Error::other(format!("{more} threads run already: this must come first in main"))),
    }
}

/// The whole range mapped to itself, as outside any user namespace (user_namespaces(7)).
fn identity_map(path: &'static str) -> Result<(), HardenError> {
    let map = fs::read_to_string(path).map_err(|source| HardenError::Step { step: "read the id maps", source })?;
    if is_identity(&map) {
        Ok(())
    } else {
        let found = map.split_whitespace().collect::<Vec<_>>().join(" ");
        Err(HardenError::MappedIds { path, found })
    }
}

fn is_identity(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

fn ignore_broken_pipes() -> nix::Result<()> {
    #[expect(unsafe_code, reason = "changing a signal's disposition")]
    // SAFETY: SIG_IGN installs no handler, so that no code can run at a bad moment.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) }.map(drop)
}

/// Removes the variables that could lead the daemon astray. Returns their names.
fn clear_environment() -> io::Result<Vec<String>> {
    only_thread()?;
    let mut removed = Vec::new();
    for name in env::vars_os().map(|(name, _)| name).filter(|name| is_removed(&name.to_string_lossy())) {
        removed.push(name.to_string_lossy().into_owned());
        #[expect(unsafe_code, reason = "removing a variable")]
        // SAFETY: no other thread runs, so that nobody reads the environment meanwhile.
        unsafe {
            env::remove_var(&name);
        }
    }
    removed.sort();
    Ok(removed)
}

fn is_removed(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    let listed = REMOVED_PREFIXES.iter().any(|prefix| upper.starts_with(prefix))
        || REMOVED_NAMES.contains(&upper.as_str())
        || upper.ends_with(REMOVED_SUFFIX);
    listed && !KEPT_NAMES.contains(&name)
}

/// Locks what is mapped and what will be, each page when it is first used (`MCL_ONFAULT`). Only where no limit can
/// turn a later allocation into a failure: without limit, or with `CAP_IPC_LOCK` (mlock(2)).
fn lock_memory() -> MemoryLock {
    let privileged = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    if let (Some(limit), false) = (getrlimit(Resource::Memlock).current, privileged) {
        return MemoryLock::LimitTooLow { limit };
    }
    match mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT) {
        Ok(()) => MemoryLock::Locked,
        Err(errno) => MemoryLock::Refused(io::Error::from(errno).to_string()),
    }
}

/// Raises the soft limit on descriptors to the hard one; nothing here uses select(2). Returns what holds now.
fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let now = if raised.is_ok() { limit.maximum } else { limit.current };
    now.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_lead_astray_are_known() {
        for name in [
            "AWS_ENDPOINT_URL",
            "AWS_ENDPOINT_URL_STS",
            "AWS_PROFILE",
            "AWS_SECRET_ACCESS_KEY",
            "HTTPS_PROXY",
            "https_proxy",
            "ALL_PROXY",
            "no_proxy",
            "AZURE_CLIENT_SECRET",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "GOOGLE_CLOUD_RUST_LOGGING",
            "SSLKEYLOGFILE",
            "SSL_CERT_FILE",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "TMPDIR",
        ] {
            assert!(is_removed(name), "{name} would stay");
        }
        for name in [
            "PATH",
            "LISTEN_FDS",
            "NOTIFY_SOCKET",
            "CREDENTIALS_DIRECTORY",
            "RUST_LOG",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        ] {
            assert!(!is_removed(name), "{name} would go");
        }
    }

    #[test]
    fn p5_only_the_identity_map_is_accepted() {
        assert!(is_identity("         0          0 4294967295\n"));
        for map in ["", "0 1000 1\n", "0 0 4294967294", "0 0 1000\n1000 1000 4294966295\n", "0 0 4294967295\n0 0 1"] {
            assert!(!is_identity(map), "{map:?}");
        }
    }

    #[test]
    fn hardening_is_refused_once_threads_run() {
        let error = std::thread::scope(|scope| scope.spawn(harden).join().unwrap()).unwrap_err();
        assert!(matches!(error, HardenError::Threads(_)), "{error}");
    }
}
