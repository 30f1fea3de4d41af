//! Where the keys of an issuer are kept: one file of the state directory that nobody else can read, replaced as a whole.
//!
//! Each change of the keys is one rename: after a crash at any moment the file is the one before or the one after.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use grantd_model::KeyRing;
use grantd_provider_api::Secret;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::key::PrivateKey;
use crate::failpoint;
use crate::sys::files::{self, Owners};

/// The form of the file that this version reads and writes.
const FORMAT: u32 = 1;

/// The largest file that is read, in bytes: many times what it ever is.
const LARGEST: u64 = 1024 * 1024;

/// The keys of an issuer with their secret parts, by id. Those of retired keys are gone.
pub(super) type PrivateKeys = BTreeMap<String, PrivateKey>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    format: u32,
    ring: KeyRing,
    private: BTreeMap<String, Pem>,
}

#[derive(Serialize)]
struct Written<'a> {
    format: u32,
    ring: &'a KeyRing,
    private: BTreeMap<&'a str, PemOf<'a>>,
}

/// The secret part of a key, in the one place where it is read and written.
struct Pem(Secret);

struct PemOf<'a>(&'a Secret);

impl<'de> Deserialize<'de> for Pem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Secret::new(text)))
    }
}

impl Serialize for PemOf<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

/// What is kept at `path`; nothing where there is no file yet.
pub(super) fn read(path: &Path, owners: &Owners) -> Result<(KeyRing, PrivateKeys), String> {
    if matches!(fs::symlink_metadata(path), Err(error) if error.kind() == io::ErrorKind::NotFound) {
        return Ok(Default::default());
    }
    let bytes = files::read_secret_file(path, owners, LARGEST).map_err(|error| error.to_string())?;
    // The parser's own error could quote a key.
    let wrong = |what: &str| {
        format!("{}: {what}: put a backup in its place, or move it away to begin with a new key", path.display())
    };
    let read: Read = serde_json::from_slice(&bytes).map_err(|_| wrong("it is not a file of keys that grantd wrote"))?;
    if read.format != FORMAT {
        return Err(wrong("another version of grantd wrote it"));
    }
    let mut private = PrivateKeys::new();
    for (id, pem) in read.private {
        let key = PrivateKey::parse(pem.0).map_err(|why| wrong(&format!("key {id}: {why}")))?;
        if key.id != id || read.ring.key(&id).is_none() {
            return Err(wrong(&format!("key {id} is not the one that it is called")));
        }
        private.insert(id, key);
    }
    Ok((read.ring, private))
}

/// Puts `ring` in the place of what was kept, with the secret parts of `private`.
pub(super) fn write<'a>(
    path: &Path,
    ring: &KeyRing,
    private: impl Iterator<Item = &'a PrivateKey>,
) -> Result<(), String> {
    let private = private.map(|key| (key.id.as_str(), PemOf(key.pem()))).collect();
    let written = Written { format: FORMAT, ring, private };
    let text = serde_json::to_vec(&written).map(Zeroizing::new).map_err(|error| error.to_string())?;
    replace(path, &text).map_err(|error| format!("{} cannot be written: {error}", path.display()))
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut staged = path.as_os_str().to_owned();
    staged.push(".new");
    // What a crash left there is no one's.
    match fs::remove_file(&staged) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&staged)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    failpoint::hit("keys.staged");
    fs::rename(&staged, path)?;
    // The name itself is on disk with its directory.
    let directory = path.parent().ok_or_else(|| io::Error::other("it is in no directory"))?;
    File::open(directory)?.sync_all()
}
