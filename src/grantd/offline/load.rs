//! A bundle out of a directory that anybody may have written, on a host that need not have its users.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::{FOUND, Failure, Source};
use crate::config::Host;
use crate::policy::Bundle;
use crate::sys::users;

/// The largest file of a bundle, in bytes: as for the daemon.
const LARGEST: u64 = 4 * 1024 * 1024;
/// Where the uids begin that stand for users who are not on this host: far above those that hosts give.
const STAND_IN: u32 = 3_000_000_000;
const ENTITLEMENTS: &str = "entitlements";

/// A bundle, and how far it is what a daemon would read.
pub(super) struct Loaded {
    /// The bundle.
    pub(super) bundle: Bundle,
    /// Whether this host has every user that it names.
    pub(super) users_hold: bool,
    /// What to know of it.
    pub(super) notes: Vec<String>,
}

/// Reads it whole.
pub(super) fn bundle(source: &Source) -> Result<Loaded, Failure> {
    let own = source.dir.join(ENTITLEMENTS);
    let place = |path: &Path| -> PathBuf {
        match (&source.entitlements, path.strip_prefix(&own)) {
            (Some(other), Ok(rest)) if rest.as_os_str().is_empty() => other.clone(),
            (Some(other), Ok(rest)) => other.join(rest),
            _ => path.to_owned(),
        }
    };
    let read = |path: &Path| text(&place(path));
    let list = |path: &Path| names(&place(path));
    let (absent, next) = (RefCell::new(BTreeMap::new()), Cell::new(STAND_IN));
    let user = |name: &str| {
        users::uid(name).ok().or_else(|| {
            let stand_in = *absent
                .borrow_mut()
                .entry(name.to_owned())
                .or_insert_with(|| next.replace(next.get().saturating_add(1)));
            Some(stand_in)
        })
    };
    let host = Host { user: &user, group: &|name, uid| users::is_member(name, uid).ok() };
    let bundle = Bundle::load(&source.dir, &read, &list, host).map_err(|error| (FOUND, error.to_string()))?;
    let absent: Vec<String> = absent.into_inner().into_keys().collect();
    let mut notes = Vec::new();
    if !absent.is_empty() {
        notes.push(format!("not on this host, and taken to be on the daemon's: the users {}", absent.join(", ")));
    }
    Ok(Loaded { bundle, users_hold: absent.is_empty(), notes })
}

fn text(path: &Path) -> Result<String, String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut text = String::new();
    File::open(path).map_err(wrong)?.take(LARGEST).read_to_string(&mut text).map_err(wrong)?;
    match u64::try_from(text.len()) {
        Ok(length) if length < LARGEST => Ok(text),
        _ => Err(format!("{}: it is larger than {LARGEST} bytes", path.display())),
    }
}

fn names(path: &Path) -> Result<Vec<String>, String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", path.display());
    let entries = fs::read_dir(path).map_err(wrong)?;
    entries.map(|entry| Ok(entry.map_err(wrong)?.file_name().to_string_lossy().into_owned())).collect()
}
