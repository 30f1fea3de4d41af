//! Where keys come from: made here, or read from files that somebody else keeps, such as systemd credentials.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use grantd_model::{KeyPhase, KeyRing, RingEvent};
use grantd_provider_api::Secret;
use zeroize::Zeroizing;

use super::key::PrivateKey;
use crate::sys::files::{self, Owners};

/// The largest file that is read, in bytes.
const LARGEST: u64 = 64 * 1024;

/// Where keys come from.
#[derive(Debug)]
pub(super) enum Source {
    /// They are made here and kept in the state directory.
    Made,
    /// From files: the first signs, the others are published with it.
    Files(Vec<PrivateKey>),
}

impl Source {
    /// Reads the files; keys are made here when there are none.
    pub fn read(files: &[PathBuf], owners: &Owners) -> Result<Self, String> {
        if files.is_empty() {
            return Ok(Self::Made);
        }
        let mut keys: Vec<PrivateKey> = Vec::new();
        for path in files {
            let key = PrivateKey::parse(secret(path, owners)?).map_err(|why| format!("{}: {why}", path.display()))?;
            if keys.iter().any(|other| other.id == key.id) {
                return Err(format!("{}: the same key is in another file, too", path.display()));
            }
            keys.push(key);
        }
        Ok(Self::Files(keys))
    }

    /// A key that came from a file.
    pub fn key(&self, id: &str) -> Option<&PrivateKey> {
        match self {
            Self::Made => None,
            Self::Files(keys) => keys.iter().find(|key| key.id == id),
        }
    }

    /// The ids of those that came from files.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        let keys = match self {
            Self::Made => [].as_slice(),
            Self::Files(keys) => keys,
        };
        keys.iter().map(|key| key.id.as_str())
    }

    /// Where they come from, in words.
    pub fn words(&self) -> String {
        match self {
            Self::Made => "made here".to_owned(),
            Self::Files(_) => "from files".to_owned(),
        }
    }
}

/// What makes the ring as the files say; none when it is.
pub(super) fn event(ring: &KeyRing, keys: &[PrivateKey], longest: Duration) -> Option<RingEvent> {
    let unknown = keys.iter().find(|key| ring.key(&key.id).is_none());
    if let Some(PrivateKey { id, algorithm, public, .. }) = unknown {
        return Some(RingEvent::Made { id: id.clone(), algorithm: *algorithm, public: public.clone() });
    }
    let first = keys.first()?;
    match ring.key(&first.id)?.phase {
        KeyPhase::Next => return Some(RingEvent::TakesOver { id: first.id.clone(), longest, drop_old: false }),
        // It signed before and was put in its place again: as a key that nobody knows yet.
        KeyPhase::Retired { .. } => return Some(RingEvent::Forgotten { id: first.id.clone() }),
        KeyPhase::Signing { .. } => {}
    }
    let gone = ring.next().find(|key| keys.iter().all(|kept| kept.id != key.id));
    gone.map(|key| RingEvent::Forgotten { id: key.id.clone() })
}

/// A file that nobody but root, the daemon and its group may read, and nobody but the first two write. A credential of
/// systemd shows its reader, whom an access control list names, as its group.
fn secret(path: &Path, owners: &Owners) -> Result<Secret, String> {
    let wrong = |what: String| format!("{}: {what}", path.display());
    let file = files::trusted_file(path, owners).map_err(|error| error.to_string())?;
    let mode = file.metadata().map_err(|error| wrong(error.to_string()))?.permissions().mode();
    if mode & 0o027 != 0 {
        return Err(wrong("it may be read by others: chmod 0600 it, and make a new key if others had it".to_owned()));
    }
    let mut text = Zeroizing::new(String::new());
    let read = file.take(LARGEST).read_to_string(&mut text);
    read.map_err(|_| wrong("it is no text, or cannot be read".to_owned()))?;
    Ok(Secret::new(std::mem::take(&mut *text)))
}
