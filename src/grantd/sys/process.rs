//! Naming a process so that the name stays true: boot, pid and start time together, and never a pid alone.
//!
//! Everything is read through one open `/proc/PID` directory, so that two files cannot describe two processes. What
//! is read is only evidence while the process lives: callers hold a pidfd and look at it afterwards.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;

use grantd_model::ProcessRef;
use rustix::fs::{Mode, OFlags, open, openat};
use rustix::io::Errno;

use super::peer::Peer;
use super::pidfd;

/// How far up [`ancestors`] looks. Deeper chains are cut: an ancestor beyond it is not recognised.
pub const MAX_ANCESTORS: usize = 64;

/// How often a walk that met a dying process starts again before it gives up.
const WALK_ATTEMPTS: usize = 4;

/// `/proc/PID/stat` and `/proc/PID/status` are well under a page; more than this is nothing we should parse.
const PROC_FILE_LIMIT: u64 = 64 * 1024;

/// What the kernel says of a process at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The process.
    pub pid: i32,
    /// Its parent; 0 when the parent is the kernel or lives outside our pid namespace.
    pub ppid: i32,
    /// Clock ticks since boot.
    pub start_time: u64,
    /// Effective uid, the one `SO_PEERCRED` reports too. Read from `status` and not from the owner of a file there,
    /// which turns to root for a process that is not dumpable.
    pub uid: u32,
    /// The state letter, proc_pid_stat(5).
    pub state: char,
}

impl Stat {
    /// A zombie has ended; it only waits to be reaped.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }

    /// The lasting name of this process.
    ///
    /// # Errors
    /// When the boot id cannot be read.
    pub fn reference(&self) -> Result<ProcessRef, ProcessError> {
        Ok(ProcessRef { boot_id: boot_id()?, pid: self.pid, start_time: self.start_time })
    }
}

/// Why a process could not be described.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It is not there: ended, or hidden by the way `/proc` is mounted.
    #[error("process {0} has ended, or /proc hides it from this daemon (hidepid, ProtectProc=invisible)")]
    Gone(i32),
    /// It, or an ancestor, ended or changed its parent while we looked.
    #[error("process {0} or one of its ancestors changed while it was looked at: try again")]
    Changed(i32),
    /// `/proc` said something that proc_pid_stat(5) does not describe.
    #[error("cannot understand /proc/{pid}/{file}: is /proc the kernel's own?")]
    Unreadable {
        /// The process.
        pid: i32,
        /// The file in its directory.
        file: &'static str,
    },
    /// Any other failure to read `/proc`.
    #[error("cannot read {path}: {source}")]
    Io {
        /// What was read.
        path: String,
        /// The system's answer.
        source: io::Error,
    },
}

/// The id of this boot of the kernel.
///
/// # Errors
/// When `/proc` is not mounted or holds something else.
pub fn boot_id() -> Result<String, ProcessError> {
    const PATH: &str = "/proc/sys/kernel/random/boot_id";
    let failed = |source| ProcessError::Io { path: PATH.to_owned(), source };
    let id = fs::read_to_string(PATH).map_err(failed)?.trim_end().to_owned();
    if id.len() == 36 && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') {
        Ok(id)
    } else {
        Err(failed(io::Error::new(io::ErrorKind::InvalidData, "not a boot id")))
    }
}

/// What the kernel says of whatever process has this pid now.
///
/// # Errors
/// [`ProcessError::Gone`] when there is none.
pub fn stat(pid: i32) -> Result<Stat, ProcessError> {
    let path = format!("/proc/{pid}");
    let failed = |errno: Errno| match errno {
        Errno::NOENT | Errno::SRCH => ProcessError::Gone(pid),
        other => ProcessError::Io { path: path.clone(), source: other.into() },
    };
    if pid <= 0 {
        return Err(ProcessError::Gone(pid));
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = open(path.as_str(), flags, Mode::empty()).map_err(failed)?;
    let read = |name: &'static str| -> Result<Vec<u8>, ProcessError> {
        let file = openat(&dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
        let mut bytes = Vec::new();
        match File::from(file).take(PROC_FILE_LIMIT).read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(source) if source.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => Err(ProcessError::Gone(pid)),
            Err(source) => Err(ProcessError::Io { path: format!("{path}/{name}"), source }),
        }
    };
    let (state, ppid, start_time) = parse_stat(&read("stat")?).ok_or(ProcessError::Unreadable { pid, file: "stat" })?;
    let uid = parse_effective_uid(&read("status")?).ok_or(ProcessError::Unreadable { pid, file: "status" })?;
    Ok(Stat { pid, ppid, start_time, uid, state })
}

/// Describes the process behind a pidfd: what `/proc` says counts only if the pidfd is alive *afterwards*, for then
/// the pid cannot have been used again in between.
///
/// # Errors
/// [`ProcessError::Changed`] when the process ended meanwhile.
pub fn stat_through(pidfd: impl AsFd, pid: i32) -> Result<Stat, ProcessError> {
    let stat = stat(pid);
    if pidfd::has_ended(pidfd).unwrap_or(true) {
        return Err(ProcessError::Changed(pid));
    }
    stat
}

/// The parent of a caller; `None` when the caller has none that we can see.
///
/// # Errors
/// As [`ancestors`].
pub fn parent_of(peer: &Peer) -> Result<Option<ProcessRef>, ProcessError> {
    Ok(ancestors_up_to(peer, 1)?.into_iter().next())
}

/// The ancestors of a caller, parent first, at most [`MAX_ANCESTORS`].
///
/// Each step is sure: a child that names the same parent before and after the parent was read had that parent all
/// the while, since a child of a dead process is given a new parent before the dead one's pid can be used again.
///
/// # Errors
/// [`ProcessError::Changed`] when processes on the way kept ending or the caller itself did.
pub fn ancestors(peer: &Peer) -> Result<Vec<ProcessRef>, ProcessError> {
    ancestors_up_to(peer, MAX_ANCESTORS)
}

fn ancestors_up_to(peer: &Peer, limit: usize) -> Result<Vec<ProcessRef>, ProcessError> {
    let mut attempt = 1;
    loop {
        let walked = walk(&peer.process, limit);
        if pidfd::has_ended(&peer.pidfd).unwrap_or(true) {
            return Err(ProcessError::Changed(peer.pid));
        }
        match walked {
            Err(ProcessError::Changed(_) | ProcessError::Gone(_)) if attempt < WALK_ATTEMPTS => attempt += 1,
            other => return other,
        }
    }
}

fn walk(process: &ProcessRef, limit: usize) -> Result<Vec<ProcessRef>, ProcessError> {
    let mut child = stat(process.pid)?;
    if child.start_time != process.start_time {
        return Err(ProcessError::Changed(process.pid));
    }
    let mut found = Vec::new();
    while found.len() < limit && child.ppid > 0 {
        let parent = stat(child.ppid)?;
        let again = stat(child.pid)?;
        let same_child = again.start_time == child.start_time && again.ppid == child.ppid;
        if !same_child || parent.start_time > child.start_time {
            return Err(ProcessError::Changed(child.pid));
        }
        found.push(ProcessRef { boot_id: process.boot_id.clone(), pid: parent.pid, start_time: parent.start_time });
        child = parent;
    }
    Ok(found)
}

/// State, parent and start time. The command name stands in parentheses and may itself hold spaces, parentheses and
/// line breaks: only what follows the last `)` is trusted.
fn parse_stat(bytes: &[u8]) -> Option<(char, i32, u64)> {
    let end_of_name = bytes.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(bytes.get(end_of_name + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let mut state = fields.next()?.chars();
    let letter = state.next().filter(|_| state.next().is_none())?;
    let ppid = fields.next()?.parse().ok()?;
    // The state is field 3 and the parent field 4; 17 fields lie between the parent and field 22.
    let start_time = fields.nth(17)?.parse().ok()?;
    Some((letter, ppid, start_time))
}

/// The second number of the `Uid:` line (real, effective, saved, file system). A name cannot forge the line: the
/// kernel escapes line breaks in `Name:`.
fn parse_effective_uid(bytes: &[u8]) -> Option<u32> {
    let line = bytes.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Uid:"))?;
    std::str::from_utf8(line).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;
    use crate::sys::testing::{Running, require_root, until};

    fn own_peer() -> (Peer, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Peer::of(&ours).unwrap(), theirs)
    }

    #[test]
    fn a_name_with_parentheses_spaces_and_line_breaks_is_no_trap() {
        let tail = "S 7 1 1 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 4242 99 100";
        for name in ["sleep", "a b", "a) R 1 (b", ")", "((", "a)\nUid:\t0\t0 (", ""] {
            let line = format!("12 ({name}) {tail}");
            assert_eq!(parse_stat(line.as_bytes()), Some(('S', 7, 4242)), "{name:?}");
        }
        let mut not_utf8 = b"12 (\xff\xfe) ".to_vec();
        not_utf8.extend_from_slice(tail.as_bytes());
        assert_eq!(parse_stat(&not_utf8), Some(('S', 7, 4242)));
        for broken in ["", "12 (a", "12 (a)", "12 (a) S", "12 (a) S 7 1 1", "12 (a) SS 7 1 1"] {
            assert_eq!(parse_stat(broken.as_bytes()), None, "{broken:?}");
        }
    }

    #[test]
    fn a_real_process_with_a_hostile_name_is_read_rightly() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("a) R 1 (");
        std::os::unix::fs::symlink("/bin/sleep", &program).unwrap();
        let child = Running(Command::new(&program).arg("600").spawn().unwrap());
        let named = || fs::read_to_string(format!("/proc/{}/comm", child.pid())).unwrap() == "a) R 1 (\n";
        until("the kernel has given the new program its name", named);
        let seen = stat(child.pid()).unwrap();
        assert_eq!(seen.ppid, i32::try_from(std::process::id()).unwrap());
        assert_eq!(seen.uid, rustix::process::geteuid().as_raw());
        assert!(!seen.has_ended());
    }

    #[test]
    fn a_process_of_another_user_is_read_with_its_uid() {
        let child = Running::as_user(61_234);
        until("sleep has been started", || stat(child.pid()).is_ok_and(|seen| seen.uid == 61_234));
    }

    #[test]
    fn a_zombie_has_ended_and_a_reaped_process_is_gone() {
        let mut child = Running::sleeping();
        let pid = child.pid();
        child.0.kill().unwrap();
        until("the child is a zombie", || stat(pid).unwrap().has_ended());
        child.0.wait().unwrap();
        assert!(matches!(stat(pid), Err(ProcessError::Gone(gone)) if gone == pid));
        assert!(matches!(stat(0), Err(ProcessError::Gone(0))));
        assert!(matches!(stat(-1), Err(ProcessError::Gone(-1))));
    }

    #[test]
    fn p5_what_proc_says_of_an_ended_process_is_not_evidence() {
        let mut child = Running::sleeping();
        let pidfd = pidfd::open(child.pid()).unwrap();
        assert_eq!(stat_through(&pidfd, child.pid()).unwrap().pid, child.pid());
        child.0.kill().unwrap();
        until("the child is a zombie", || stat(child.pid()).unwrap().has_ended());
        assert!(matches!(stat_through(&pidfd, child.pid()), Err(ProcessError::Changed(_))));
    }

    #[test]
    fn the_ancestors_of_a_caller_lead_to_the_first_process() {
        let (peer, _held) = own_peer();
        let found = ancestors(&peer).unwrap();
        assert!(!found.is_empty() && found.len() <= MAX_ANCESTORS);
        let parent = i32::try_from(std::os::unix::process::parent_id()).unwrap();
        assert_eq!(found[0].pid, parent);
        assert_eq!(parent_of(&peer).unwrap().as_ref(), found.first());
        assert!(found.windows(2).all(|pair| pair[0].start_time >= pair[1].start_time));
        assert!(found.iter().all(|one| one.boot_id == peer.process.boot_id));
        assert_eq!(stat(found[found.len() - 1].pid).unwrap().ppid, 0);
    }

    #[test]
    fn p5_ancestors_of_a_process_that_only_shares_the_pid_are_refused() {
        let (mut peer, _held) = own_peer();
        peer.process.start_time += 1;
        assert!(matches!(ancestors(&peer), Err(ProcessError::Changed(_))));
    }

    #[test]
    fn a_process_that_is_not_dumpable_keeps_its_uid() {
        require_root();
        // A set-uid program is not dumpable: root then owns its files in /proc, whoever runs it.
        let dir = tempfile::tempdir_in("/tmp").unwrap();
        let program = dir.path().join("sleep");
        // Copied by another process: a descriptor of ours could still be open for writing in a test's fork (ETXTBSY).
        assert!(Command::new("cp").arg("/bin/sleep").arg(&program).status().unwrap().success());
        std::os::unix::fs::chown(&program, Some(61_236), Some(61_236)).unwrap();
        set_mode(&program, 0o4755);
        set_mode(dir.path(), 0o755);
        let child = Running(Command::new(&program).arg("600").uid(61_235).gid(61_235).spawn().unwrap());
        until("the set-uid program runs", || stat(child.pid()).is_ok_and(|seen| seen.uid == 61_236));
        use std::os::unix::fs::MetadataExt;
        assert_eq!(fs::metadata(format!("/proc/{}/stat", child.pid())).unwrap().uid(), 0);
    }

    fn set_mode(path: &std::path::Path, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_reference_survives_being_stored() {
        let (peer, _held) = own_peer();
        let text = serde_json::to_string(&peer.process).unwrap();
        assert_eq!(serde_json::from_str::<ProcessRef>(&text).unwrap(), peer.process);
    }
}
