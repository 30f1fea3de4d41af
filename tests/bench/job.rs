//! Work that is done as the caller's user, in a process of its own: the daemon tells callers apart by what the kernel
//! says of them. The job comes by standard input, what was measured goes to standard output.

use std::io::{Read, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{credential_process, load};

/// The argument that makes this program do a job.
pub const ARGUMENT: &str = "--job";

/// What to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Job {
    /// Time processes of `grantctl credential-process` and of an empty program, in turn.
    Processes(credential_process::Processes),
    /// Ask for sessions from many clients at once.
    Load(load::Load),
}

/// What a daemon is for a job.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Server {
    /// Its socket.
    pub socket: PathBuf,
    /// Its process.
    pub pid: u32,
}

/// Does the job on standard input.
pub fn work() {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).expect("a job is given");
    let done = match serde_json::from_str(&text).expect("a job is JSON") {
        Job::Processes(job) => serde_json::to_string(&job.work()),
        Job::Load(job) => serde_json::to_string(&job.work()),
    };
    let done = done.expect("samples are JSON");
    std::io::stdout().write_all(done.as_bytes()).expect("somebody listens");
}
