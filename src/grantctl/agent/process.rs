//! The process that reads the file, by the pid that it wrote down: sent a signal only if it is what it is taken for.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Longer than any pid with its line break.
const LONGEST: u64 = 32;

/// How far the clocks of files and of processes may be apart.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(2);

/// Sends `signal` to the process whose pid stands in `pid_file`: one of user `uid`, which ran when that was written. That
/// is checked through a handle that stays with the process (pidfd_open(2)), so that a pid used again is nobody's.
/// `us` is who asks. Nothing is there to be told where the file is not, or its process is gone: then it gives `false`.
///
/// # Errors
/// Why the process is not told.
pub(super) fn tell(pid_file: &Path, uid: u32, us: u32, signal: Signal, now: Timestamp) -> Result<bool, String> {
    let shown = pid_file.display();
    let Some((pid, written)) = read(pid_file, uid, us)? else { return Ok(false) };
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(Errno::SRCH) => return Ok(false),
        Err(errno) => return Err(format!("process {pid} of {shown} cannot be told: {errno}", pid = pid.as_raw_pid())),
    };
    let number = pid.as_raw_pid();
    let Some((owner, began)) = facts(number, now) else { return Ok(false) };
    if owner != uid {
        return Err(format!("process {number} of {shown} is not told: it belongs to user {owner}, not to user {uid}"));
    }
    if began > written.saturating_add(TOLERANCE).unwrap_or(Timestamp::MAX) {
        return Err(format!(
            "process {number} of {shown} is not told: it began after that was written, so it is another"
        ));
    }
    // What was read of the number was of this process if it still lives: numbers are not used again before that.
    match pidfd_send_signal(&process, signal) {
        Ok(()) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        Err(Errno::PERM) => {
            Err(format!("process {number} of {shown} cannot be told: user {us} may not send it signals"))
        }
        Err(errno) => Err(format!("process {number} of {shown} cannot be told: {errno}")),
    }
}

/// The pid in the file, and when it was written.
fn read(path: &Path, uid: u32, us: u32) -> Result<Option<(Pid, Timestamp)>, String> {
    let shown = path.display();
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP) => return Err(format!("{shown} is a symbolic link, and links are not followed")),
        Err(errno) => return Err(format!("cannot read {shown}: {errno}")),
    };
    let found = fstat(&file).map_err(|errno| format!("cannot look at {shown}: {errno}"))?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err(format!("{shown} is not a file"));
    }
    if ![0, uid, us].contains(&found.st_uid) || found.st_mode & 0o022 != 0 {
        return Err(format!("{shown} can be written by others, so that nobody is told by it"));
    }
    let mut text = String::new();
    let read = file.take(LONGEST).read_to_string(&mut text);
    let pid = read.ok().and_then(|_| text.trim().parse().ok()).filter(|pid| *pid > 1).and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| format!("there is no process id in {shown}"))?;
    let written = i32::try_from(found.st_mtime_nsec).ok().and_then(|nanos| Timestamp::new(found.st_mtime, nanos).ok());
    Ok(Some((pid, written.ok_or_else(|| format!("{shown} has no time"))?)))
}

/// The real user of a process and when it began (proc_pid_status(5), proc_pid_stat(5), proc_uptime(5)).
fn facts(pid: i32, now: Timestamp) -> Option<(u32, Timestamp)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let owner = status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?.parse().ok()?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything, also brackets. Times are in hundredths of a second since boot (USER_HZ).
    let began: i64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let (seconds, hundredths) = uptime.split_whitespace().next()?.split_once('.')?;
    let uptime = seconds.parse::<i64>().ok()?.checked_mul(100)?.checked_add(hundredths.parse().ok()?)?;
    let ago = SignedDuration::from_millis(uptime.checked_sub(began)?.checked_mul(10)?);
    Some((owner, now.checked_sub(ago).ok()?))
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
