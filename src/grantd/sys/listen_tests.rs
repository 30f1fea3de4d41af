//! Real sockets in real directories, and a second daemon at the door.

use std::fs::File;
use std::os::unix::net::UnixStream;

use super::*;
use crate::sys::testing::{as_user, require_root, until};

const CALLER: u32 = 61_600;
const GROUP: u32 = 61_601;

struct Place {
    _dir: tempfile::TempDir,
    settings: SocketSettings,
}

fn place(mode: u32) -> Place {
    require_root();
    let dir = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let settings = SocketSettings { path: dir.path().join("grantd.sock"), owner: None, group: Some(GROUP), mode };
    Place { _dir: dir, settings }
}

fn owners() -> Owners {
    Owners::root_and_self()
}

#[test]
fn the_socket_has_its_group_and_mode() {
    let Place { settings, _dir } = place(0o660);
    let settings = SocketSettings { owner: Some(61_602), ..settings };
    let _listener = bind(&settings, &owners()).unwrap();
    let meta = fs::symlink_metadata(&settings.path).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (61_602, GROUP, 0o660));
}

#[test]
fn nobody_can_connect_before_the_socket_has_its_mode() {
    let Place { settings, _dir } = place(0o666);
    // The first half of bind(), which stops short of giving anybody a right.
    let socket = bind_closed(&settings.path).unwrap();
    assert_eq!(fs::symlink_metadata(&settings.path).unwrap().mode() & 0o7777, 0, "the new name grants nothing");
    let refused = as_user(CALLER, || UnixStream::connect(&settings.path).unwrap_err());
    assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    let refused = UnixStream::connect(&settings.path).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused, "not even root, before listen(2)");
    open_to_callers(&settings, &socket).unwrap();
    as_user(CALLER, || UnixStream::connect(&settings.path).unwrap());
}

#[test]
fn the_mode_decides_who_connects() {
    let Place { settings, _dir } = place(0o660);
    let _listener = bind(&settings, &owners()).unwrap();
    let refused = as_user(CALLER, || UnixStream::connect(&settings.path).unwrap_err());
    assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    as_user(GROUP, || UnixStream::connect(&settings.path).unwrap());
}

#[test]
fn a_living_daemon_is_not_replaced_and_a_dead_one_is() {
    let Place { settings, _dir } = place(0o660);
    let first = bind(&settings, &owners()).unwrap();
    let refused = bind(&settings, &owners()).unwrap_err();
    assert!(matches!(refused, ListenError::InUse(ref path) if *path == settings.path), "{refused}");
    UnixStream::connect(&settings.path).expect("the first still serves");
    drop(first);
    // A process that another test starts may hold a copy of the descriptor until its exec.
    let mut second = None;
    until("a stale socket is replaced", || {
        second = bind(&settings, &owners()).ok();
        second.is_some()
    });
    UnixStream::connect(&settings.path).expect("the second serves");
}

#[test]
fn a_daemon_with_a_full_backlog_is_alive() {
    let Place { settings, _dir } = place(0o660);
    let socket = new_socket().unwrap();
    bind_socket(&socket, &SocketAddrUnix::new(settings.path.as_path()).unwrap()).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let _waiting = UnixStream::connect(&settings.path).unwrap();
    assert!(matches!(bind(&settings, &owners()), Err(ListenError::InUse(_))));
}

#[test]
fn a_socket_of_another_type_is_alive() {
    let Place { settings, _dir } = place(0o660);
    let _datagram = std::os::unix::net::UnixDatagram::bind(&settings.path).unwrap();
    assert!(matches!(bind(&settings, &owners()), Err(ListenError::InUse(_))));
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let Place { settings, _dir } = place(0o660);
    fs::write(&settings.path, "precious").unwrap();
    assert!(matches!(bind(&settings, &owners()), Err(ListenError::NotASocket(_))));
    assert_eq!(fs::read_to_string(&settings.path).unwrap(), "precious");
    fs::remove_file(&settings.path).unwrap();
    std::os::unix::fs::symlink("elsewhere", &settings.path).unwrap();
    assert!(matches!(bind(&settings, &owners()), Err(ListenError::NotASocket(_))));
}

#[test]
fn a_directory_that_others_can_write_to_is_refused() {
    let Place { settings, _dir } = place(0o660);
    for mode in [0o777, 0o1777, 0o775] {
        fs::set_permissions(_dir.path(), Permissions::from_mode(mode)).unwrap();
        assert!(matches!(bind(&settings, &owners()), Err(ListenError::Untrusted(_))), "{mode:o}");
    }
    assert!(!settings.path.exists());
}

#[test]
fn impossible_settings_are_refused() {
    let Place { settings, _dir } = place(0o660);
    for mode in [0o060, 0o460, 0o770, 0o4660, 0o1666] {
        let refused = bind(&SocketSettings { mode, ..settings.clone() }, &owners());
        assert!(matches!(refused, Err(ListenError::Mode(_))), "{mode:o}");
    }
    for path in ["relative.sock", "/", "/tmp/.."] {
        let refused = bind(&SocketSettings { path: path.into(), ..settings.clone() }, &owners());
        assert!(matches!(refused, Err(ListenError::Path(_))), "{path}");
    }
    let long = _dir.path().join("x".repeat(100));
    assert!(matches!(bind(&SocketSettings { path: long, ..settings }, &owners()), Err(ListenError::TooLong(_))));
}

#[test]
fn a_daemon_without_the_right_to_its_group_leaves_no_socket_behind() {
    let Place { settings, _dir } = place(0o660);
    lchown(_dir.path(), Some(CALLER), Some(CALLER)).unwrap();
    let refused = as_user(CALLER, || bind(&settings, &Owners::root_and_self()).unwrap_err());
    assert!(matches!(refused, ListenError::Bind { .. }), "{refused}");
    assert!(refused.to_string().contains("give to its owner and group"), "{refused}");
    assert!(!settings.path.exists());
}

#[test]
fn only_a_listening_stream_socket_with_a_path_is_adopted() {
    let Place { settings, _dir } = place(0o660);
    let given = bind(&settings, &owners()).unwrap();
    let adopted = adopt(OwnedFd::from(given)).unwrap();
    UnixStream::connect(&settings.path).unwrap();
    adopted.accept().unwrap();
    assert_eq!(adopted.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock, "non-blocking");

    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = std::os::unix::net::UnixDatagram::bind(_dir.path().join("d")).unwrap();
    let unbound = UnixStream::pair().unwrap().0;
    let name = format!("grantd-test-{}", std::process::id());
    let no_path = new_socket().unwrap();
    bind_socket(&no_path, &SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap()).unwrap();
    rustix::net::listen(&no_path, 1).unwrap();
    for (fd, reason) in [
        (OwnedFd::from(tcp), "no Unix socket"),
        (OwnedFd::from(udp), "no stream socket"),
        (OwnedFd::from(unbound), "does not listen"),
        (no_path, "has no path"),
        (OwnedFd::from(File::open("/dev/null").unwrap()), "no Unix socket"),
    ] {
        let refused = adopt(fd).unwrap_err().to_string();
        assert!(refused.contains(reason), "{refused}");
    }
}
