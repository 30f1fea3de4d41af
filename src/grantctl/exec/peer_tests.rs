//! Tests of who is served, with this process's own sockets and children, and with tables as the kernel writes them.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use super::*;

const HEAD: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn row(local: &str, remote: &str, uid: u32, inode: u64) -> String {
    format!(
        "   0: {local} {remote} 01 00000000:00000000 00:00000000 00000000  {uid}        0 {inode} 1 0 20 4 30 10 -1\n"
    )
}

#[test]
fn the_end_of_a_connection_is_found_in_either_table_and_only_once() {
    let (v4, v6) = (address(at(0x1234), false).unwrap(), address(at(0x1234), true).unwrap());
    let (to, to6) = (address(at(80), false).unwrap(), address(at(80), true).unwrap());
    if cfg!(target_endian = "little") {
        assert_eq!((v4.as_str(), v6.as_str()), ("0100007F:1234", "0000000000000000FFFF00000100007F:1234"));
    }
    let other = row(&to, &v4, 0, 7);
    let found = |rows: &str| end(&[format!("{HEAD}{other}{rows}")], at(0x1234), at(80));
    assert_eq!(found(&row(&v4, &to, 1001, 42)), Some(Socket { uid: 1001, inode: 42 }));
    assert_eq!(found(&row(&v6, &to6, 1001, 42)), Some(Socket { uid: 1001, inode: 42 }));
    assert_eq!(found(""), None);
    assert_eq!(found(&row(&v4, &to, 1001, 0)), None, "a socket that nobody holds");
    let after = format!("{}{}", row(&v4, &to, 0, 0), row(&v4, &to, 1001, 42));
    assert_eq!(found(&after), Some(Socket { uid: 1001, inode: 42 }), "the next of that name");
    assert_eq!(found(&format!("{}{}", row(&v4, &to, 1, 2), row(&v6, &to6, 3, 4))), None, "two that answer to the name");
    assert_eq!(
        found(&row(&v4, &to, 1, 2).repeat(2)),
        Some(Socket { uid: 1, inode: 2 }),
        "one in two pieces of a table"
    );
}

#[test]
fn a_name_with_brackets_does_not_move_the_parent() {
    assert_eq!(parent_in(b"42 (a) 1 (b)) S 7 42 42 0"), Some(7));
    assert_eq!(parent_in(b"42"), None);
}

#[test]
fn a_child_is_served_and_this_process_and_what_was_there_before_are_not() {
    const CONNECT: &str = "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); \
                           print('in', flush=True); sys.stdin.read()";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let connect = || {
        let mut child = Command::new("python3")
            .args(["-c", CONNECT, &to.port().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        (child, listener.accept().unwrap().1)
    };
    let me = i32::try_from(std::process::id()).unwrap();
    let uid = nix::unistd::Uid::effective().as_raw();

    let (mut before, from_before) = connect();
    let family = Family::new(me, uid).unwrap();
    let (mut child, from_child) = connect();
    assert_eq!(family.admit(from_child, to), Ok(()));
    assert_eq!(family.admit(from_before, to), Err(Stranger::Outside));

    let _own = TcpStream::connect(to).unwrap();
    let from_me = listener.accept().unwrap().1;
    assert_eq!(family.admit(from_me, to), Err(Stranger::Outside));

    let somebody = Family { uid: uid.wrapping_add(1), ..Family::new(me, uid).unwrap() };
    assert_eq!(somebody.admit(from_child, to), Err(Stranger::User(uid)));
    drop((before.stdin.take(), child.stdin.take()));
    before.wait().unwrap();
    child.wait().unwrap();
    assert_eq!(family.admit(from_child, to), Err(Stranger::Unknown));
}
