//! MiniStack, an AWS emulator that enforces signatures, trust policies, session policies, permissions boundaries and
//! expiry when `AUTH=true`. `tests/cloud_facts.rs` holds what it is relied on for; it does not hold AWS's limits on what
//! a caller may send: `FakeSts` does.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use crate::process::{guarded, kill_group, spawn_on_keeper};

/// The root of the checkout that this crate was built from.
#[must_use]
pub fn repository_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// Where `make setup` has put MiniStack's Python environment.
///
/// # Errors
/// It is not there.
pub fn ministack_environment() -> io::Result<PathBuf> {
    environment(".venv-ministack")
}

/// Where `make setup` has put the Python environment of boto3 and the AWS CLI.
///
/// # Errors
/// It is not there.
pub fn aws_environment() -> io::Result<PathBuf> {
    environment(".venv-aws")
}

/// Where `make setup` has put the Python environment of the tools that the capability maps are held to.
///
/// # Errors
/// It is not there.
pub fn catalog_environment() -> io::Result<PathBuf> {
    environment(".venv-catalog")
}

/// Where `make setup` has put the Python environment of the clients of ticket systems and rotas.
///
/// # Errors
/// It is not there.
pub fn desk_environment() -> io::Result<PathBuf> {
    environment(".venv-desk")
}

/// Where `make setup` has put the evaluator of AWS policies, with its `node_modules`.
///
/// # Errors
/// It is not there.
pub fn iam_packages() -> io::Result<PathBuf> {
    environment(".node-iam")
}

/// The virtual environment that `make setup` makes for azure-identity and azure-mgmt-authorization.
///
/// # Errors
/// It is not there.
pub fn azure_environment() -> io::Result<PathBuf> {
    environment(".venv-azure")
}

/// The environment of Google's, Microsoft's and Kubernetes' own clients.
///
/// # Errors
/// It is not there.
pub fn clouds_environment() -> io::Result<PathBuf> {
    environment(".venv-clouds")
}

/// An environment in the directory `GRANTD_TEST_VENVS`, by default the repository's root. Links are followed: the place
/// behind them is the one that other users can reach.
pub(crate) fn environment(name: &str) -> io::Result<PathBuf> {
    let place = std::env::var_os("GRANTD_TEST_VENVS").map_or_else(repository_root, PathBuf::from).join(name);
    place.canonicalize().map_err(|error| {
        let text = format!("{} is not there ({error}): run make setup", place.display());
        io::Error::new(io::ErrorKind::NotFound, text)
    })
}

/// A running MiniStack with an empty account. Dropping it kills it.
#[derive(Debug)]
pub struct MiniStack {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl MiniStack {
    /// The account it plays unless told otherwise.
    pub const ACCOUNT: &'static str = "123456789012";

    /// Starts it on a free port of loopback with its files, log included, below `directory`; returns when it is healthy.
    ///
    /// # Errors
    /// The environment is missing, the process ended, or it was not healthy within 30 s; the text has its log.
    pub fn start(directory: &Path) -> io::Result<Self> {
        Self::start_as(Self::ACCOUNT, directory)
    }

    /// The same, playing another account.
    ///
    /// # Errors
    /// As for `start`.
    pub fn start_as(account: &str, directory: &Path) -> io::Result<Self> {
        let environment = ministack_environment()?;
        // Somebody else may take the port before MiniStack binds it; then it ends, and the next port is tried.
        let mut last = None;
        for _ in 0..3 {
            match Self::start_once(account, &environment, directory) {
                Ok(stack) => return Ok(stack),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::Error::other("not tried")))
    }

    fn start_once(account: &str, environment: &Path, directory: &Path) -> io::Result<Self> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let log = directory.join(format!("ministack-{}.log", address.port()));
        let file = File::create(&log)?;
        let mut command = guarded(environment.join("bin/ministack"));
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", directory)
            .env("TMPDIR", directory)
            .env("STATE_DIR", directory.join("ministack-state"))
            .env("S3_DATA_DIR", directory.join("ministack-s3"))
            .env("AUTH", "true")
            .env("BIND_HOST", "127.0.0.1")
            .env("GATEWAY_PORT", address.port().to_string())
            .env("MINISTACK_ACCOUNT_ID", account)
            .env("LOG_LEVEL", "WARNING")
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let mut stack = Self { child: spawn_on_keeper(command)?, address, log };
        stack.wait_for_health()?;
        Ok(stack)
    }

    /// Its endpoint, for every service.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens: the upstream of a fault proxy.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn wait_for_health(&mut self) -> io::Result<()> {
        for _ in 0..600 {
            if let Some(status) = self.child.try_wait()? {
                return Err(self.failure(&format!("ended with {status}")));
            }
            if healthy(self.address).unwrap_or(false) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Err(self.failure("was not healthy within 30 s"))
    }

    fn failure(&self, what: &str) -> io::Error {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        io::Error::other(format!("MiniStack {what}; its log:\n{log}"))
    }
}

impl Drop for MiniStack {
    fn drop(&mut self) {
        kill_group(&mut self.child);
    }
}

fn healthy(address: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"GET /_ministack/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}
