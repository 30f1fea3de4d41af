//! The checks of the host, one function each.

use std::fs;
use std::path::PathBuf;

use grantd_provider_api::{Finding, Standing};
use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};

use crate::sys::files::{self, Owners};
use crate::sys::harden::{Hardening, MemoryLock};
use crate::sys::process::{self, ProcessError};

const ABOUT: &str = "host";

/// File systems that are kept elsewhere: locks and fsync there mean what the server makes of them (statfs(2)).
const REMOTE: [(u64, &str); 8] = [
    (0x6969, "NFS"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x517b, "SMB"),
    (0x6573_5546, "FUSE"),
    (0x0102_1997, "9P"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
];

/// A file system that is gone with the power (statfs(2)).
const TMPFS: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// What there is to look at.
#[derive(Debug, Clone)]
pub struct Host {
    /// Where state and audit are kept.
    pub state_dir: PathBuf,
    /// Who may own what is trusted.
    pub owners: Owners,
    /// What the process obtained at its start.
    pub hardening: Hardening,
}

impl Host {
    /// Every check. May wait for a file system: not for an async thread.
    #[must_use]
    pub fn examine(&self) -> Vec<Finding> {
        let read = |path: &str| fs::read_to_string(path).ok();
        vec![
            kernel(read("/proc/sys/kernel/osrelease").as_deref()),
            id_maps(["/proc/self/uid_map", "/proc/self/gid_map"].map(read)),
            state_place(rustix::fs::statfs(&self.state_dir).map(|found| found.f_type).map_err(|e| e.to_string()), self),
            self.state_modes(),
            memory(&self.hardening.memory, read("/proc/swaps").as_deref()),
            core_dumps(dumpable_behavior().ok(), getrlimit(Resource::Core).maximum),
            others_visible(process::stat(1).map(drop)),
            Finding::not_checked(
                ABOUT,
                "host.metadata",
                "whether jobs reach instance metadata cannot be seen from the daemon: grantctl doctor looks as its own user",
            ),
        ]
    }

    fn state_modes(&self) -> Finding {
        const CHECK: &str = "host.state_modes";
        match files::private_dir(&self.state_dir, &self.owners) {
            Ok(_) => Finding::ok(ABOUT, CHECK, format!("nobody else can enter {}", self.state_dir.display())),
            // It names the command that mends it.
            Err(error) => {
                Finding::bad(ABOUT, CHECK, Standing::Problem, error.to_string(), "run the command that it names")
            }
        }
    }
}

/// A peer's pidfd comes with Linux 6.5 (unix(7), `SO_PEERPIDFD`).
fn kernel(release: Option<&str>) -> Finding {
    const CHECK: &str = "host.kernel";
    let Some(release) = release.map(str::trim) else {
        return Finding::not_checked(ABOUT, CHECK, "/proc does not tell the kernel's version");
    };
    let mut numbers = release.split(['.', '-', '+']).map_while(|part| part.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) >= (6, 5) => {
            Finding::ok(ABOUT, CHECK, format!("Linux {release} proves who is calling by a pidfd"))
        }
        (Some(_), Some(_)) => Finding::bad(
            ABOUT,
            CHECK,
            Standing::Problem,
            format!("Linux {release} cannot prove who is calling by a pidfd"),
            "run Linux 6.5 or later",
        ),
        _ => Finding::not_checked(ABOUT, CHECK, format!("the kernel's version {release:?} is not understood")),
    }
}

fn id_maps(maps: [Option<String>; 2]) -> Finding {
    const CHECK: &str = "host.id_maps";
    if maps.iter().any(Option::is_none) {
        return Finding::not_checked(ABOUT, CHECK, "/proc does not tell the id maps");
    }
    let identity = |map: &String| map.split_whitespace().eq(["0", "0", "4294967295"]);
    if maps.iter().flatten().all(identity) {
        return Finding::ok(ABOUT, CHECK, "user and group ids are the host's");
    }
    let fix = "run grantd outside user namespaces: no PrivateUsers=, no rootless container";
    Finding::bad(ABOUT, CHECK, Standing::Problem, "user or group ids are mapped: callers are not who they seem", fix)
}

fn state_place(kind: Result<impl TryInto<u64>, String>, host: &Host) -> Finding {
    const CHECK: &str = "host.state_place";
    let path = host.state_dir.display();
    let kind = match kind.map(TryInto::<u64>::try_into) {
        Ok(Ok(kind)) => kind & 0xffff_ffff,
        Ok(Err(_)) => return Finding::not_checked(ABOUT, CHECK, "the kind of its file system is not understood"),
        Err(error) => return Finding::not_checked(ABOUT, CHECK, format!("{path}: {error}")),
    };
    if let Some((_, name)) = REMOTE.iter().find(|(number, _)| *number == kind) {
        let found = format!("{path} is on {name}: what is written there may be lost, or locked by nobody");
        return Finding::bad(ABOUT, CHECK, Standing::Problem, found, "keep state_dir on a local disk");
    }
    if TMPFS.contains(&kind) {
        let found = format!("{path} is in memory: after a power loss nobody knows which sessions have to be revoked");
        return Finding::bad(ABOUT, CHECK, Standing::Problem, found, "keep state_dir on a local disk");
    }
    Finding::ok(ABOUT, CHECK, format!("{path} is on a local file system"))
}

fn memory(lock: &MemoryLock, swaps: Option<&str>) -> Finding {
    const CHECK: &str = "host.memory";
    let swap = swaps.map(|text| text.lines().skip(1).any(|line| !line.trim().is_empty()));
    match (lock, swap) {
        (MemoryLock::Locked, _) => Finding::ok(ABOUT, CHECK, "memory is locked: no secret reaches a swap"),
        (_, Some(false)) => Finding::ok(ABOUT, CHECK, "memory is not locked, and there is no swap that it could reach"),
        (why, Some(true)) => {
            let fix = "set LimitMEMLOCK=infinity in the unit, or switch swap off";
            Finding::bad(
                ABOUT,
                CHECK,
                Standing::Warning,
                format!("{why}; there is swap, and secrets may reach it"),
                fix,
            )
        }
        (why, None) => Finding::not_checked(ABOUT, CHECK, format!("{why}; /proc does not tell whether there is swap")),
    }
}

fn core_dumps(dumpable: Option<DumpableBehavior>, limit: Option<u64>) -> Finding {
    const CHECK: &str = "host.core_dumps";
    if dumpable == Some(DumpableBehavior::NotDumpable) && limit == Some(0) {
        return Finding::ok(ABOUT, CHECK, "the daemon cannot dump its memory, nor be traced by its own user");
    }
    let found = "the daemon's memory could be dumped";
    Finding::bad(ABOUT, CHECK, Standing::Problem, found, "start grantd as it was shipped: it forbids that by itself")
}

/// Whether the daemon sees processes of others: it cannot tell whose child a caller is otherwise.
fn others_visible(first: Result<(), ProcessError>) -> Finding {
    const CHECK: &str = "host.proc";
    match first {
        Ok(()) => Finding::ok(ABOUT, CHECK, "/proc shows the processes of others"),
        Err(ProcessError::Gone(_)) => Finding::bad(
            ABOUT,
            CHECK,
            Standing::Problem,
            "/proc hides the processes of others, so that no caller can be watched",
            "run grantd without ProtectProc= and PrivatePIDs=, and mount /proc without hidepid for it",
        ),
        Err(error) => Finding::not_checked(ABOUT, CHECK, error.to_string()),
    }
}

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;
