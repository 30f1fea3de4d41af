//! Who is at the other end of a loopback connection, by what the kernel says: only processes that the command started, of
//! the same user, are served. What cannot be found out is refused.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::thread;
use std::time::Duration;

/// Why a peer is not served. It is told to the peer and to the person who runs the command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stranger {
    /// Another user.
    #[error("user {0} is not the user of this front")]
    User(u32),
    /// The same user, but nothing that the command started.
    #[error("only the command that grantctl exec started, and what it starts, may use this front")]
    Outside,
    /// Not to be found in the kernel's tables.
    #[error("who is calling cannot be found out")]
    Unknown,
}

/// The processes that may be served: those below `root`, this process, other than what was below it before the command
/// was started. It has to be a subreaper, so that nothing the command starts gets out from below it.
#[derive(Debug)]
pub(super) struct Family {
    root: i32,
    uid: u32,
    before: Vec<i32>,
}

impl Family {
    /// The family of the command that is about to be started.
    pub(super) fn new(root: i32, uid: u32) -> io::Result<Self> {
        let before = children_of(&parents(Path::new("/proc"))?, root);
        Ok(Self { root, uid, before })
    }

    /// Whether the peer at `from` of the connection to `to` is one of them.
    pub(super) fn admit(&self, from: SocketAddr, to: SocketAddr) -> Result<(), Stranger> {
        let socket = looked_up(from, to).ok_or(Stranger::Unknown)?;
        if socket.uid != self.uid {
            return Err(Stranger::User(socket.uid));
        }
        let parents = parents(Path::new("/proc")).map_err(|_| Stranger::Unknown)?;
        let link = format!("socket:[{}]", socket.inode);
        let mut open: Vec<i32> =
            children_of(&parents, self.root).into_iter().filter(|pid| !self.before.contains(pid)).collect();
        while let Some(pid) = open.pop() {
            if holds(pid, &link) {
                return Ok(());
            }
            open.extend(children_of(&parents, pid));
        }
        Err(Stranger::Outside)
    }
}

/// One end of a connection in the kernel's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Socket {
    uid: u32,
    inode: u64,
}

/// How often the tables are read before a connection is said not to be in them, and how much longer is waited each time. The
/// kernel gives a table out in pieces: where other connections come and go meanwhile, a line can be missing or stand twice.
const READINGS: u32 = 5;
const LONGER: Duration = Duration::from_millis(5);

fn looked_up(from: SocketAddr, to: SocketAddr) -> Option<Socket> {
    (0..READINGS).find_map(|reading| {
        thread::sleep(LONGER.saturating_mul(reading));
        let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
        let tables: Vec<String> = tables.iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
        end(&tables, from, to)
    })
}

/// The socket at `from` of the connection to `to` (proc(5), /proc/net/tcp). A program may have opened it as IPv6, with the
/// address mapped: then it is in the other table. More than one is none, the same one twice is one.
fn end(tables: &[String], from: SocketAddr, to: SocketAddr) -> Option<Socket> {
    let ends = [(address(from, false)?, address(to, false)?), (address(from, true)?, address(to, true)?)];
    let mut found = None;
    for line in tables.iter().flat_map(|table| table.lines().skip(1)) {
        let mut fields = line.split_ascii_whitespace();
        let (local, remote) = (fields.nth(1)?, fields.next()?);
        if !ends.iter().any(|(ours, theirs)| local == ours && remote == theirs) {
            continue;
        }
        let uid = fields.nth(4)?.parse().ok()?;
        let inode = fields.nth(1)?.parse().ok()?;
        // One that nobody has open any more has no inode, and may stand there beside the next of that name.
        if inode == 0 {
            continue;
        }
        let socket = Socket { uid, inode };
        if found.replace(socket).is_some_and(|before| before != socket) {
            return None;
        }
    }
    found
}

/// An IPv4 address as the tables write it: each 32 bits as a number of this machine, then the port.
fn address(address: SocketAddr, mapped: bool) -> Option<String> {
    let IpAddr::V4(ip) = address.ip() else { return None };
    let word = |ip: Ipv4Addr| format!("{:08X}", u32::from_ne_bytes(ip.octets()));
    let prefix = if mapped { format!("{:016X}{}", 0, word(Ipv4Addr::new(0, 0, 255, 255))) } else { String::new() };
    Some(format!("{prefix}{}:{:04X}", word(ip), address.port()))
}

/// The parent of each process that can be seen.
fn parents(proc: &Path) -> io::Result<HashMap<i32, i32>> {
    let mut parents = HashMap::new();
    for entry in fs::read_dir(proc)? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that ended meanwhile is nobody's parent and no peer.
        let Ok(stat) = fs::read(proc.join(format!("{pid}/stat"))) else { continue };
        if let Some(ppid) = parent_in(&stat) {
            parents.insert(pid, ppid);
        }
    }
    Ok(parents)
}

/// The fourth field of `/proc/PID/stat`. The second, the name, may hold anything, so fields count from its last bracket.
fn parent_in(stat: &[u8]) -> Option<i32> {
    let name_end = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(stat.get(name_end.saturating_add(1)..)?).ok()?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn children_of(parents: &HashMap<i32, i32>, pid: i32) -> Vec<i32> {
    parents.iter().filter(|(_, parent)| **parent == pid).map(|(child, _)| *child).collect()
}

fn holds(pid: i32, link: &str) -> bool {
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    open.flatten().any(|entry| fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == link))
}

#[cfg(test)]
#[path = "peer_tests.rs"]
mod tests;
