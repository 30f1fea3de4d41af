//! Tests of the file: on a real file system, with what others may have done to it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

struct Stage {
    place: tempfile::TempDir,
    us: u32,
    access: Access,
}

impl Stage {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let found = fs::metadata(place.path()).unwrap();
        let access = Access { uid: found.uid(), gid: found.gid(), mode: 0o600 };
        Self { us: access.uid, place, access }
    }

    fn path(&self) -> PathBuf {
        self.place.path().join("credentials")
    }

    fn open(&self, force: bool) -> Result<KeptFile, String> {
        KeptFile::open(&self.path(), self.access, self.us, force)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.place.path()).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn a_file_is_replaced_in_one_step_and_nothing_is_left_of_it_at_the_end() {
    let stage = Stage::new();
    let mut kept = stage.open(false).unwrap();
    kept.put(b"one").unwrap();
    let first = File::open(stage.path()).unwrap();
    let before = first.metadata().unwrap();
    assert_eq!((before.uid(), before.gid(), before.mode() & 0o7777), (stage.us, stage.access.gid, 0o600));
    kept.put(b"second").unwrap();
    // Who has the old one open reads the old one to its end.
    assert_eq!(io::read_to_string(first).unwrap(), "one");
    assert_eq!(fs::read(stage.path()).unwrap(), b"second");
    assert_eq!(stage.names(), [".credentials.grantctl", "credentials"]);
    assert!(kept.stands());
    kept.remove().unwrap();
    assert!(!kept.stands());
    kept.leave();
    assert_eq!(stage.names(), [""; 0]);
}

#[test]
fn what_something_else_wrote_is_left_alone_unless_forced() {
    let stage = Stage::new();
    fs::write(stage.path(), "somebody's").unwrap();
    let said = stage.open(false).unwrap_err();
    assert!(said.contains("--force") && said.contains("not written by this agent"), "{said}");
    assert_eq!(fs::read(stage.path()).unwrap(), b"somebody's");
    let mut kept = stage.open(true).unwrap();
    kept.put(b"ours").unwrap();
    // Force is for what was there at first: what comes later is somebody's doing.
    fs::remove_file(stage.path()).unwrap();
    fs::write(stage.path(), "somebody's").unwrap();
    assert!(matches!(kept.put(b"again"), Err(PutError::Foreign(_))));
    assert!(kept.remove().is_err());
    assert_eq!(fs::read(stage.path()).unwrap(), b"somebody's");
    assert_eq!(stage.names(), [".credentials.grantctl", "credentials"]);
}

#[test]
fn a_file_that_somebody_removed_is_put_back() {
    let stage = Stage::new();
    let mut kept = stage.open(false).unwrap();
    kept.put(b"one").unwrap();
    fs::remove_file(stage.path()).unwrap();
    assert!(!kept.stands());
    kept.put(b"one").unwrap();
    assert!(kept.stands());
}

#[test]
fn what_a_killed_agent_left_is_removed_and_what_was_changed_since_is_not() {
    let stage = Stage::new();
    let leave_behind = || {
        let mut kept = stage.open(false).unwrap();
        kept.put(b"one").unwrap();
        kept.put(b"two").unwrap();
        fs::write(stage.place.path().join(".credentials.grantctl.new"), "half").unwrap();
    };
    leave_behind();
    let kept = stage.open(false).unwrap();
    assert_eq!(stage.names(), [".credentials.grantctl"]);
    kept.leave();
    leave_behind();
    fs::write(stage.path(), "something else").unwrap();
    assert!(stage.open(false).unwrap_err().contains("not written by this agent"));
    assert_eq!(fs::read(stage.path()).unwrap(), b"something else");
}

#[test]
fn a_crash_between_record_and_rename_leaves_nothing_that_is_not_known() {
    let stage = Stage::new();
    let mut kept = stage.open(false).unwrap();
    kept.put(b"one").unwrap();
    let old = kept.there().unwrap().unwrap();
    let fresh = beside(&kept.name, ".new");
    let new = kept.prepare(&fresh, b"two").unwrap();
    kept.record(Some(&old), &new).unwrap();
    drop(kept);
    let kept = stage.open(false).unwrap();
    assert_eq!(stage.names(), [".credentials.grantctl"]);
    kept.leave();
}

#[test]
fn links_are_neither_followed_nor_replaced_even_with_force() {
    let stage = Stage::new();
    let precious = stage.place.path().join("precious");
    fs::write(&precious, "precious").unwrap();
    symlink(&precious, stage.path()).unwrap();
    for force in [false, true] {
        assert!(stage.open(force).unwrap_err().contains("symbolic link"));
    }
    fs::remove_file(stage.path()).unwrap();
    let mut kept = stage.open(true).unwrap();
    symlink(&precious, stage.path()).unwrap();
    assert!(matches!(kept.put(b"ours"), Err(PutError::Foreign(_))));
    fs::remove_file(stage.path()).unwrap();
    kept.put(b"ours").unwrap();
    fs::remove_file(stage.path()).unwrap();
    symlink(&precious, stage.path()).unwrap();
    assert!(kept.remove().is_err());
    drop(kept);
    // A link in the place of what stands beside it.
    for name in [".credentials.grantctl", ".credentials.grantctl.new"] {
        let _ = fs::remove_file(stage.path());
        let _ = fs::remove_file(stage.place.path().join(".credentials.grantctl"));
        symlink(&precious, stage.place.path().join(name)).unwrap();
        if let Ok(mut kept) = stage.open(false) {
            kept.put(b"ours").unwrap();
            assert_eq!(fs::read(stage.path()).unwrap(), b"ours");
            kept.remove().unwrap();
        }
        let _ = fs::remove_file(stage.place.path().join(name));
    }
    assert_eq!(fs::read(&precious).unwrap(), b"precious");
}

#[test]
fn one_agent_at_a_time_keeps_a_file() {
    let stage = Stage::new();
    let first = stage.open(false).unwrap();
    assert!(stage.open(true).unwrap_err().contains("another agent keeps"));
    first.leave();
    assert!(stage.open(false).is_ok());
}

#[test]
fn a_lock_that_others_could_have_left_is_not_believed() {
    let stage = Stage::new();
    let lock = stage.place.path().join(".credentials.grantctl");
    fs::write(&lock, "").unwrap();
    fs::set_permissions(&lock, Permissions::from_mode(0o666)).unwrap();
    assert!(stage.open(false).unwrap_err().contains("remove it"));
    fs::set_permissions(&lock, Permissions::from_mode(0o600)).unwrap();
    fs::hard_link(&lock, stage.place.path().join("other")).unwrap();
    assert!(stage.open(false).unwrap_err().contains("remove it"));
}

#[test]
fn the_mode_is_what_was_asked_for_whatever_the_umask() {
    let stage = Stage { access: Access { mode: 0o440, ..Stage::new().access }, ..Stage::new() };
    let mut kept = stage.open(false).unwrap();
    for contents in [b"one", b"two"] {
        kept.put(contents).unwrap();
        assert_eq!(fs::metadata(stage.path()).unwrap().mode() & 0o7777, 0o440);
    }
}
