//! The host: who is calling, where we listen, which files can be trusted, what systemd keeps for us, and how the
//! process protects its own memory. The only room with `unsafe` and the only one that knows Linux.
//!
//! Nothing here decides who may have what: it reports what the kernel proves, and every doubt is an error.
//! Two things the kernel cannot give us are deliberate absences: no identity rests on `/proc/PID/exe` (a daemon that
//! is not root cannot read another user's), and none on cgroup names (forgeable inside a delegated subtree).

pub mod fdstore;
pub mod files;
pub mod harden;
pub mod listen;
pub mod notify;
pub mod peer;
pub mod pidfd;
pub mod process;
pub mod users;
pub mod watch;

#[cfg(test)]
mod testing;
