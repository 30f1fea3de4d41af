//! Tests of who is told: real processes, and what a pid file may hold.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};

use nix::unistd::geteuid;

use super::*;
use crate::clock;

struct Stage {
    place: tempfile::TempDir,
    child: Child,
    us: u32,
}

impl Stage {
    fn new() -> Self {
        let child = Command::new("sleep").arg("600").spawn().unwrap();
        let stage = Self { place: tempfile::tempdir().unwrap(), child, us: geteuid().as_raw() };
        stage.write(&format!("{}\n", stage.child.id()));
        stage
    }

    fn path(&self) -> std::path::PathBuf {
        self.place.path().join("pid")
    }

    fn write(&self, text: &str) {
        fs::write(self.path(), text).unwrap();
        fs::set_permissions(self.path(), Permissions::from_mode(0o644)).unwrap();
    }

    fn tell(&self) -> Result<bool, String> {
        tell(&self.path(), self.us, self.us, Signal::USR1, clock::now())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_reader_gets_its_signal_and_one_that_is_gone_is_no_failure() {
    let mut stage = Stage::new();
    assert_eq!(stage.tell(), Ok(true));
    assert_eq!(stage.child.wait().unwrap().signal(), Some(10));
    assert_eq!(stage.tell(), Ok(false));
    fs::remove_file(stage.path()).unwrap();
    assert_eq!(stage.tell(), Ok(false));
}

#[test]
fn p5_a_process_that_took_the_number_over_is_not_told() {
    let mut stage = Stage::new();
    // As if it had been written an hour ago, when the number was another process's.
    let an_hour_ago = std::time::SystemTime::from(clock::now().saturating_sub(SignedDuration::from_hours(1)).unwrap());
    File::options().write(true).open(stage.path()).unwrap().set_modified(an_hour_ago).unwrap();
    let said = stage.tell().unwrap_err();
    assert!(said.contains("began after"), "{said}");
    assert!(stage.child.try_wait().unwrap().is_none());
}

#[test]
fn p5_a_process_of_somebody_else_is_not_told() {
    let mut stage = Stage::new();
    let said = tell(&stage.path(), stage.us + 1, stage.us, Signal::USR1, clock::now()).unwrap_err();
    assert!(said.contains("belongs to user"), "{said}");
    assert!(stage.child.try_wait().unwrap().is_none());
}

#[test]
fn a_pid_file_that_others_could_write_tells_nobody() {
    let mut stage = Stage::new();
    fs::set_permissions(stage.path(), Permissions::from_mode(0o666)).unwrap();
    assert!(stage.tell().unwrap_err().contains("written by others"));
    for text in ["", "0", "1", "-1", "no number", "99999999999999999999999999999999999999"] {
        stage.write(text);
        assert!(stage.tell().unwrap_err().contains("no process id"), "{text}");
    }
    fs::rename(stage.path(), stage.place.path().join("real")).unwrap();
    symlink(stage.place.path().join("real"), stage.path()).unwrap();
    assert!(stage.tell().unwrap_err().contains("symbolic link"));
    assert!(stage.child.try_wait().unwrap().is_none());
}
