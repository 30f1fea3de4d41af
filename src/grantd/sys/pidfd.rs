//! A pidfd: a handle on one process that stays with that process even when its pid is used again.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// Opens a pidfd for whatever process has this pid now. Verify afterwards that it is the one that was meant.
///
/// # Errors
/// `ESRCH` if there is no such process, `EINVAL` if the number is no process (a thread, zero, negative), `EMFILE` when
/// the daemon is out of descriptors.
pub fn open(pid: i32) -> io::Result<OwnedFd> {
    let pid = if pid > 0 { Pid::from_raw(pid) } else { None }.ok_or(rustix::io::Errno::INVAL)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// Whether the process has ended. Never blocks. A zombie, which nobody has reaped yet, has ended (pidfd_open(2):
/// readable when the process terminates).
///
/// # Errors
/// When poll(2) fails; take that as ended.
pub fn has_ended(pidfd: impl AsFd) -> io::Result<bool> {
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(rustix::io::retry_on_intr(|| poll(&mut fds, Some(&now)))? > 0)
}

/// The pid that a descriptor stands for; `None` if the process is already reaped.
///
/// # Errors
/// `InvalidInput` if the descriptor is no pidfd at all: only a pidfd has a `Pid:` line in its fdinfo (proc(5)).
pub fn pid_of(pidfd: impl AsFd) -> io::Result<Option<i32>> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_fd().as_raw_fd()))?;
    let pid = info
        .lines()
        .find_map(|line| line.strip_prefix("Pid:"))
        .and_then(|value| value.trim().parse::<i32>().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the descriptor is not a pidfd"))?;
    Ok((pid > 0).then_some(pid))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_zombie_has_ended_and_a_living_process_has_not() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let pidfd = open(pid).unwrap();
        assert!(!has_ended(&pidfd).unwrap());
        assert_eq!(pid_of(&pidfd).unwrap(), Some(pid));
        child.kill().unwrap();
        crate::sys::testing::until("the child is a zombie", || has_ended(&pidfd).unwrap());
        assert_eq!(pid_of(&pidfd).unwrap(), Some(pid), "not reaped yet, so the pid is still its own");
        child.wait().unwrap();
        assert!(has_ended(&pidfd).unwrap());
        assert_eq!(pid_of(&pidfd).unwrap(), None);
    }

    #[test]
    fn what_is_no_process_is_refused() {
        for pid in [0, -1, i32::MIN, i32::MAX] {
            assert!(open(pid).is_err(), "pid {pid} was opened");
        }
        let file = File::open("/dev/null").unwrap();
        assert_eq!(pid_of(&file).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
