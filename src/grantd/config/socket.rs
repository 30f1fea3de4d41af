//! `[socket]` of `grantd.toml`: where clients connect, and who may.

use std::path::PathBuf;

use serde::Deserialize;

use super::raw::ConfigError;
use super::settings::{FILE, absolute};

/// Where clients connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketSettings {
    /// The socket's path, when systemd does not pass the socket.
    pub path: PathBuf,
    /// Its permission bits.
    pub mode: u32,
    /// Its group; the daemon's own when `None`.
    pub group: Option<SocketGroup>,
}

/// A Unix group, to be found by whoever makes the socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketGroup {
    /// By name.
    Name(String),
    /// By gid.
    Gid(u32),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawSocket {
    path: PathBuf,
    mode: String,
    group: Option<RawGroup>,
}

impl Default for RawSocket {
    fn default() -> Self {
        Self { path: "/run/grantd/grantd.sock".into(), mode: "0660".to_owned(), group: None }
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum RawGroup {
    Gid(u32),
    Name(String),
}

impl RawSocket {
    pub fn parse(self) -> Result<SocketSettings, ConfigError> {
        let path = absolute("socket.path", &self.path)?;
        // sun_path has 108 bytes, the last one zero (unix(7)).
        if path.as_os_str().len() > 107 {
            return Err(ConfigError::new(
                FILE,
                "socket.path",
                "a Unix socket's path has at most 107 bytes: write a shorter one",
            ));
        }
        let mode = match u32::from_str_radix(&self.mode, 8) {
            Ok(mode) if mode & !0o666 == 0 && mode & 0o600 == 0o600 => mode,
            _ => {
                let problem = format!(
                    "{:?} is not a socket's mode: write \"0600\", \"0660\" (the group may connect) or \"0666\" (everyone may)",
                    self.mode
                );
                return Err(ConfigError::new(FILE, "socket.mode", problem));
            }
        };
        let group = match self.group {
            Some(RawGroup::Name(name)) if name.is_empty() => {
                return Err(ConfigError::new(
                    FILE,
                    "socket.group",
                    "the name is empty: write a group of this host, or a gid",
                ));
            }
            Some(RawGroup::Name(name)) => Some(SocketGroup::Name(name)),
            Some(RawGroup::Gid(gid)) => Some(SocketGroup::Gid(gid)),
            None => None,
        };
        Ok(SocketSettings { path, mode, group })
    }
}
