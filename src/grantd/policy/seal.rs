//! What a bundle says of itself and who signed it: its place in the sequence of bundles, and signatures over exactly its
//! files. Who may sign, and how many have to, is the daemon's own configuration and no part of the bundle, so that whoever
//! edits policy cannot thereby approve it (promise P12). Pure.

use std::collections::{BTreeMap, BTreeSet};

use grantd_model::{Digest, canonical_json};
use jiff::Timestamp;
use serde::Deserialize;

use super::bundle::UNIX_GROUPS;
use crate::config::from_toml;
use crate::sshsig::AllowedSigners;

/// The file in which a bundle says its sequence.
pub(super) const MANIFEST: &str = "manifest.toml";
/// Where its signatures lie, one a file.
pub(super) const SIGNATURES: &str = "signatures";
/// What is signed is signed for this alone (`ssh-keygen -Y sign -n grantd-policy`).
pub const NAMESPACE: &str = "grantd-policy";
/// The domain of the digest that is signed. Unlike the version's it covers nothing of the host, so that one signature
/// holds on every host.
const FILES: &str = "grantd-policy-files-v1";

/// What a bundle says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// Its place in the sequence, if it has one: no bundle with a lower one comes after it.
    pub sequence: Option<u64>,
    /// The git commit it is of, if that is known: by its own word, or the checkout that it lies in.
    pub commit: Option<String>,
    /// The digest of its files: policies, schema, catalogue, people, maps, cases and manifest.
    pub files: Digest,
    /// Signatures in SSH's armour, by file name.
    pub signatures: BTreeMap<String, String>,
}

/// Who may sign bundles, and how many of them have to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signers {
    /// Who, with which keys.
    pub allowed: AllowedSigners,
    /// How many different people, at least 1.
    pub threshold: usize,
}

/// A seal that holds.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Sealed {
    /// The bundle's place in the sequence.
    pub sequence: u64,
    /// The digest that was signed.
    pub files: Digest,
    /// Who signed it.
    pub signers: BTreeSet<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    sequence: Option<u64>,
    commit: Option<String>,
}

impl Seal {
    /// Takes the signatures out of `files`, which they are over, and reads the manifest. The error names the file.
    pub(super) fn of(files: &mut BTreeMap<String, String>) -> Result<Self, (String, String)> {
        let is_signature = |name: &str| name.strip_prefix(SIGNATURES).is_some_and(|rest| rest.starts_with('/'));
        let signatures: BTreeMap<String, String> = files.extract_if(.., |name, _| is_signature(name)).collect();
        let manifest = match files.get(MANIFEST) {
            None => Manifest::default(),
            Some(text) => from_toml::<Manifest>(MANIFEST, text)
                .map_err(|error| (MANIFEST.to_owned(), format!("{}: {}", error.key, error.problem)))?,
        };
        if let Some(commit) = &manifest.commit
            && !is_commit(commit)
        {
            let problem = format!("commit: {commit:?} is no git commit: write its 40 or 64 hexadecimal digits");
            return Err((MANIFEST.to_owned(), problem));
        }
        let written: BTreeMap<&String, &String> = files.iter().filter(|(name, _)| *name != UNIX_GROUPS).collect();
        let bytes = canonical_json(&written).map_err(|error| (".".to_owned(), error.to_string()))?;
        let files = Digest::of(FILES, &bytes);
        Ok(Self { sequence: manifest.sequence, commit: manifest.commit, files, signatures })
    }

    /// What signers sign: a few lines that say which bundle, and which place it takes.
    ///
    /// # Errors
    /// In words: the bundle has no place in the sequence.
    pub fn statement(&self) -> Result<String, String> {
        let sequence = self.sequence()?;
        Ok(format!("grantd-policy-v1\nfiles sha256:{}\nsequence {sequence}\n", self.files))
    }

    fn sequence(&self) -> Result<u64, String> {
        self.sequence.ok_or_else(|| {
            format!("{MANIFEST}: a bundle that is signed needs its place: write sequence = N, higher than the last")
        })
    }

    /// Who signed it, if enough did. `now` is when it is, or was, put into force: a key counts in its time.
    ///
    /// # Errors
    /// In words, with each signature that does not count and why.
    pub fn hold(&self, signers: &Signers, now: Timestamp) -> Result<Sealed, String> {
        let statement = self.statement()?;
        let (mut found, mut problems) = (BTreeSet::new(), Vec::new());
        for (name, armored) in &self.signatures {
            match signers.allowed.verify(NAMESPACE, statement.as_bytes(), armored, now) {
                Ok(principal) => drop(found.insert(principal)),
                Err(error) => problems.push(format!("{name}: {error}")),
            }
        }
        if found.len() >= signers.threshold.max(1) {
            return Ok(Sealed { sequence: self.sequence()?, files: self.files, signers: found });
        }
        let who: Vec<&str> = found.iter().map(String::as_str).collect();
        let who = if who.is_empty() { String::new() } else { format!(" ({})", who.join(", ")) };
        let problems = if problems.is_empty() { String::new() } else { format!(": {}", problems.join("; ")) };
        Err(format!(
            "signed by {} of the {} that policy.threshold asks for{who}{problems}; have signers sign what grantd policy \
             statement prints, with ssh-keygen -Y sign -n {NAMESPACE}, and lay each signature into {SIGNATURES}/",
            found.len(),
            signers.threshold.max(1)
        ))
    }
}

impl Sealed {
    /// Whether this may follow what was accepted last: its sequence and its digest.
    ///
    /// # Errors
    /// In words: it would go back, or take a place that is taken.
    pub fn follows(&self, last: Option<(u64, Digest)>) -> Result<(), String> {
        match last {
            Some((sequence, _)) if self.sequence < sequence => Err(format!(
                "{MANIFEST}: sequence {} was signed before sequence {sequence}, which was accepted here: a bundle that was \
                 replaced does not come back; sign what is wanted again under a higher sequence",
                self.sequence
            )),
            Some((sequence, files)) if self.sequence == sequence && self.files != files => Err(format!(
                "{MANIFEST}: sequence {sequence} was accepted here with other files: give this bundle a higher one and have it \
                 signed again"
            )),
            _ => Ok(()),
        }
    }
}

/// The digits of a git commit, of SHA-1 or SHA-256.
pub(super) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
#[path = "seal_tests.rs"]
mod tests;
