//! The matrix of modes, owners and links that [`super`] judges, on real files.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::process::Command;

use super::*;
use crate::sys::testing::{as_user, require_root};

const STRANGER: u32 = 61_500;
const SERVICE: u32 = 61_501;

/// A directory under `/tmp` (sticky, writable by everyone) that only its owner may use.
struct House(tempfile::TempDir);

impl House {
    fn new() -> Self {
        require_root();
        Self(tempfile::tempdir_in("/tmp").unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, mode: u32, uid: u32) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, "content").unwrap();
        set(&path, mode, uid);
        path
    }

    fn dir(&self, name: &str, mode: u32, uid: u32) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).unwrap();
        set(&path, mode, uid);
        path
    }
}

fn set(path: &Path, mode: u32, uid: u32) {
    chown(path, Some(uid), Some(uid)).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn owners() -> Owners {
    Owners::root_and(SERVICE)
}

fn read(path: &Path) -> Result<String, TrustError> {
    read_trusted(path, &owners(), 100)
}

fn problem<T>(result: Result<T, TrustError>) -> Problem {
    result.err().expect("it should have been refused").problem
}

#[test]
fn a_file_is_trusted_by_owner_and_mode() {
    let house = House::new();
    for uid in [0, SERVICE] {
        for mode in [0o600, 0o640, 0o644, 0o400, 0o444, 0o755] {
            let path = house.file("f", mode, uid);
            assert_eq!(read(&path).unwrap(), "content", "mode {mode:o} uid {uid}");
        }
        for mode in [0o620, 0o602, 0o660, 0o666, 0o777, 0o646, 0o664] {
            let path = house.file("f", mode, uid);
            let refused = read(&path).unwrap_err();
            assert!(matches!(refused.problem, Problem::Writable(seen) if seen == mode), "mode {mode:o}: {refused}");
            assert!(refused.to_string().contains(&format!("chmod go-w '{}'", path.display())), "{refused}");
        }
    }
    let path = house.file("f", 0o600, STRANGER);
    let refused = read(&path).unwrap_err();
    assert!(matches!(refused.problem, Problem::Owner { uid: STRANGER, .. }), "{refused}");
    assert!(refused.to_string().contains("only uid 0 or uid 61501 may own it"), "{refused}");
}

#[test]
fn every_directory_on_the_way_is_judged() {
    let house = House::new();
    let outer = house.dir("outer", 0o755, 0);
    let inner = house.dir("outer/inner", 0o755, SERVICE);
    let path = house.file("outer/inner/f", 0o644, 0);
    assert_eq!(read(&path).unwrap(), "content");
    for (dir, mode, uid) in
        [(&outer, 0o775, 0), (&outer, 0o757, 0), (&inner, 0o777, SERVICE), (&inner, 0o755, STRANGER)]
    {
        set(dir, mode, uid);
        let refused = read(&path).unwrap_err();
        assert_eq!(&refused.at, dir);
        assert_eq!(refused.asked, path);
        assert!(matches!(refused.problem, Problem::Writable(_) | Problem::Owner { .. }), "{refused}");
        set(&outer, 0o755, 0);
        set(&inner, 0o755, SERVICE);
    }
    set(&outer, 0o1777, 0);
    assert_eq!(read(&path).unwrap(), "content", "sticky is accepted on the way");
    set(&outer, 0o1777, STRANGER);
    assert!(matches!(problem(read(&path)), Problem::Owner { .. }), "but not a stranger's");
}

#[test]
fn a_sticky_directory_is_no_trusted_directory_itself() {
    let house = House::new();
    let sticky = house.dir("sticky", 0o1777, 0);
    assert!(matches!(problem(trusted_dir(&sticky, &owners())), Problem::Writable(0o1777)));
    assert!(matches!(problem(trusted_dir(Path::new("/tmp"), &owners())), Problem::Writable(_)));
    assert!(trusted_dir(&house.dir("sticky/own", 0o755, 0), &owners()).is_ok());
    assert!(trusted_dir(Path::new("/"), &owners()).is_ok());
}

#[test]
fn a_private_directory_is_closed_to_others() {
    let house = House::new();
    for mode in [0o700, 0o500] {
        assert!(private_dir(&house.dir(&format!("d{mode}"), mode, SERVICE), &owners()).is_ok(), "{mode:o}");
    }
    for mode in [0o750, 0o705, 0o711] {
        let path = house.dir(&format!("d{mode}"), mode, SERVICE);
        assert!(matches!(problem(private_dir(&path, &owners())), Problem::Readable(seen) if seen == mode));
        assert!(trusted_dir(&path, &owners()).is_ok());
    }
}

#[test]
fn p9_a_secret_that_others_can_read_is_refused() {
    let house = House::new();
    for mode in [0o600, 0o400] {
        let path = house.file("s", mode, SERVICE);
        assert_eq!(read_secret_file(&path, &owners(), 100).unwrap().as_slice(), b"content");
    }
    for mode in [0o640, 0o604, 0o444, 0o601] {
        let path = house.file("s", mode, SERVICE);
        let refused = read_secret_file(&path, &owners(), 100).unwrap_err();
        assert!(matches!(refused.problem, Problem::Readable(seen) if seen == mode), "{refused}");
        assert!(refused.to_string().contains("chmod go=") && !refused.to_string().contains("content"));
    }
}

#[test]
fn links_are_followed_only_over_trusted_ground() {
    let house = House::new();
    let target = house.file("f", 0o644, 0);
    let writable = house.dir("writable", 0o777, 0);
    let behind = house.file("writable/f", 0o644, 0);
    house.dir("d", 0o755, 0);
    symlink(&target, house.path("absolute")).unwrap();
    symlink("../f", house.path("d/relative")).unwrap();
    symlink("absolute", house.path("chained")).unwrap();
    symlink(".", house.path("here")).unwrap();
    for name in ["absolute", "d/relative", "chained", "d/../f", "here/f", "here/here/d/../absolute"] {
        assert_eq!(read(&house.path(name)).unwrap(), "content", "{name}");
    }
    symlink(&behind, house.path("astray")).unwrap();
    let refused = read(&house.path("astray")).unwrap_err();
    assert_eq!(refused.at, writable);
    symlink("writable/../f", house.path("through")).unwrap();
    assert_eq!(read(&house.path("through")).unwrap_err().at, writable);
    symlink("loop", house.path("loop")).unwrap();
    assert!(matches!(problem(read(&house.path("loop"))), Problem::TooManyLinks));
    symlink("nowhere", house.path("dangling")).unwrap();
    assert!(matches!(problem(read(&house.path("dangling"))), Problem::Unopenable(_)));
}

#[test]
fn a_strangers_link_in_a_sticky_directory_is_not_followed() {
    let house = House::new();
    let target = house.file("f", 0o644, 0);
    let sticky = house.dir("sticky", 0o1777, 0);
    set(house.0.path(), 0o755, 0);
    let link = sticky.join("link");
    as_user(STRANGER, || symlink(&target, &link).unwrap());
    assert!(matches!(problem(read(&link)), Problem::Owner { uid: STRANGER, .. }));
    let other = sticky.join("other");
    symlink(&target, &other).unwrap();
    assert_eq!(read(&other).unwrap(), "content");
}

#[test]
fn a_second_name_in_a_sticky_directory_is_refused() {
    let house = House::new();
    let target = house.file("f", 0o644, 0);
    let sticky = house.dir("sticky", 0o1777, 0);
    fs::hard_link(&target, sticky.join("f")).unwrap();
    assert!(matches!(problem(read(&sticky.join("f"))), Problem::HardLinked));
    assert_eq!(read(&target).unwrap(), "content", "elsewhere only a trusted user can have made it");
}

#[test]
fn what_is_no_file_is_refused_without_waiting_for_it() {
    let house = House::new();
    let pipe = house.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let dir = house.dir("dir", 0o755, 0);
    let file = house.file("file", 0o644, 0);
    let socket = house.path("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for path in [&pipe, &dir, &socket, Path::new("/dev/null")] {
        assert!(matches!(problem(read(path)), Problem::Kind { wanted: "a regular file", .. }), "{}", path.display());
    }
    assert!(matches!(problem(trusted_dir(&file, &owners())), Problem::Kind { found: "a regular file", .. }));
    assert!(matches!(problem(read(&file.join("x"))), Problem::Kind { .. }));
    assert!(matches!(problem(read(&house.path("missing"))), Problem::Unopenable(_)));
    assert!(matches!(problem(read(Path::new(""))), Problem::Unopenable(_)));
}

#[test]
fn size_and_text_are_limited() {
    let house = House::new();
    let path = house.file("f", 0o644, 0);
    assert_eq!(read_trusted(&path, &owners(), 7).unwrap(), "content");
    assert!(matches!(problem(read_trusted(&path, &owners(), 6)), Problem::TooLarge(6)));
    fs::write(&path, b"\xff\xfe").unwrap();
    assert!(matches!(problem(read(&path)), Problem::NotText));
    assert_eq!(read_trusted(&house.file("g", 0o644, 0), &owners(), u64::MAX).unwrap(), "content");
}

#[test]
fn a_right_given_by_an_acl_is_seen() {
    let house = House::new();
    let path = house.file("f", 0o644, 0);
    // Version 2, then (tag, rights, id): owner rw, user 61500 rw, group r, mask rw, others r (acl(5), linux/posix_acl_xattr.h).
    let entries: [(u16, u16, u32); 5] =
        [(1, 6, u32::MAX), (2, 6, STRANGER), (4, 4, u32::MAX), (0x10, 6, u32::MAX), (0x20, 4, u32::MAX)];
    let mut acl = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        acl.extend_from_slice(&tag.to_le_bytes());
        acl.extend_from_slice(&rights.to_le_bytes());
        acl.extend_from_slice(&id.to_le_bytes());
    }
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&path, "system.posix_acl_access", &acl, flags).expect("/tmp must support POSIX ACLs");
    assert!(matches!(problem(read(&path)), Problem::Writable(_)));
}

#[test]
fn owners_are_root_and_ourselves() {
    assert_eq!(as_user(SERVICE, Owners::root_and_self), Owners::root_and(SERVICE));
    assert_eq!(Owners::root_and(0).to_string(), "uid 0");
}
