//! What the tests of this room share: real users, real processes, and waiting without guessing.

use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use rustix::process::{Gid, Uid};

/// A process that is killed and reaped when the test is over, however it ends.
pub struct Running(pub Child);

impl Running {
    /// `sleep` for long, as this user.
    pub fn as_user(uid: u32) -> Self {
        use std::os::unix::process::CommandExt;
        require_root();
        Self(Command::new("sleep").arg("600").uid(uid).gid(uid).spawn().unwrap())
    }

    /// `sleep` for long, as ourselves.
    pub fn sleeping() -> Self {
        Self(Command::new("sleep").arg("600").spawn().unwrap())
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Fails, and says why, where a test cannot mean anything without root.
pub fn require_root() {
    assert!(rustix::process::geteuid().is_root(), "this test becomes other users: run it as root");
}

/// Runs `work` in a thread of its own that has another user's identity. The raw system calls change one thread only.
pub fn as_user<T: Send>(uid: u32, work: impl FnOnce() -> T + Send) -> T {
    require_root();
    thread::scope(|scope| {
        scope
            .spawn(|| {
                let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
                rustix::thread::set_thread_groups(&[]).unwrap();
                rustix::thread::set_thread_res_gid(group, group, group).unwrap();
                rustix::thread::set_thread_res_uid(user, user, user).unwrap();
                work()
            })
            .join()
            .unwrap()
    })
}

/// Waits until `condition` holds, for ten seconds at most.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("waited ten seconds and it did not come true: {what}");
}
