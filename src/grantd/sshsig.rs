//! Who signed this text with an SSH key: `ssh-keygen -Y sign` (PROTOCOL.sshsig) judged against a list of signers that is
//! written as ssh-keygen(1), "ALLOWED SIGNERS", says. Pure: no I/O, no clock, no `ssh-keygen`.
//!
//! Stricter than `ssh-keygen -Y verify`, because signatures are counted here: one name on each line and no pattern, a key
//! stands once, a time says `Z`, no certificate authority, no RSA and no DSA, and a hardware key must have been touched.

use std::collections::BTreeSet;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use ssh_key::{Algorithm, EcdsaCurve, HashAlg, PublicKey, SshSig};

/// No signature of the kinds taken here comes near this many bytes of armour.
pub const MAX_ARMORED: usize = 8 * 1024;
/// PROTOCOL.u2f, "SSH U2F signatures": the flag of a signature for which the key was touched, and what stands behind it.
const USER_PRESENT: u8 = 0x01;
const COUNTER_LENGTH: usize = 4;
const KINDS: &str = "use ssh-ed25519, ecdsa-sha2-nistp256, ecdsa-sha2-nistp384, or their hardware forms (sk-)";

/// Why a list cannot be read, or why a signature counts for nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The list is wrong on this line, counted from 1.
    #[error("line {line}: {problem}")]
    Line {
        /// Which.
        line: usize,
        /// What is wrong, and what to write.
        problem: String,
    },
    /// Not a signature in SSH's armour.
    #[error("this is no SSH signature ({0}): make it with ssh-keygen -Y sign")]
    Malformed(String),
    /// Made to be read as something else.
    #[error("the signature is for namespace {found:?}: sign with ssh-keygen -Y sign -n {wanted}")]
    Namespace {
        /// The signature's own.
        found: String,
        /// What this place takes.
        wanted: String,
    },
    /// A key of a kind that does not count.
    #[error("the signature is by a {0} key, which does not count: {KINDS}")]
    Weak(String),
    /// A key that nobody on the list holds.
    #[error("the signature is by {0}, and no signer on the list has that key")]
    Unknown(String),
    /// A known key that may not sign this.
    #[error("the key of {principal} may not sign for namespace {namespace:?}")]
    NotFor {
        /// Whose.
        principal: String,
        /// For what.
        namespace: String,
    },
    /// A known key outside its time.
    #[error("the key of {principal} counts {bound} only")]
    Time {
        /// Whose.
        principal: String,
        /// `from T` or `until T`.
        bound: String,
    },
    /// A hardware key that signed without a touch.
    #[error("{0} signed with a hardware key that was not touched: sign again, and touch the key when it blinks")]
    Untouched(String),
    /// By that key, and not over this text.
    #[error("the signature of {0} is not over this text: it was changed, or something else was signed")]
    Forged(String),
}

/// Who may sign, with which keys, for what and when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedSigners {
    signers: Vec<Signer>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Signer {
    principal: String,
    key: PublicKey,
    namespaces: Option<Vec<String>>,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl AllowedSigners {
    /// Reads `NAME [namespaces="…",valid-after="…Z",valid-before="…Z"] TYPE KEY [COMMENT]`, one key a line. Empty lines and
    /// lines that begin with `#` say nothing.
    ///
    /// # Errors
    /// On the first line that is not exactly that, with what to write.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut signers: Vec<Signer> = Vec::new();
        for (index, written) in text.lines().enumerate() {
            let written = written.trim();
            if written.is_empty() || written.starts_with('#') {
                continue;
            }
            let wrong = |problem: String| Error::Line { line: index.saturating_add(1), problem };
            let signer = Signer::parse(written).map_err(wrong)?;
            if let Some(other) = signers.iter().find(|other| other.key.key_data() == signer.key.key_data()) {
                return Err(wrong(format!(
                    "the key stands twice, for {} above: a key is counted once",
                    other.principal
                )));
            }
            signers.push(signer);
        }
        Ok(Self { signers })
    }

    /// Everybody who is on the list, whatever their keys may sign.
    #[must_use]
    pub fn principals(&self) -> BTreeSet<&str> {
        self.signers.iter().map(|signer| signer.principal.as_str()).collect()
    }

    /// Every key that may sign for `namespace` at some time: whose it is, and its fingerprint as `ssh-keygen -l` shows it.
    pub fn keys_for(&self, namespace: &str) -> impl Iterator<Item = (&str, String)> {
        let may = move |signer: &&Signer| {
            signer.namespaces.as_ref().is_none_or(|names| names.iter().any(|name| name == namespace))
        };
        let key = |signer: &Signer| signer.key.fingerprint(HashAlg::Sha256).to_string();
        self.signers.iter().filter(may).map(move |signer| (signer.principal.as_str(), key(signer)))
    }

    /// Who signed `message` for `namespace`: a name of the list. `armored` is what `ssh-keygen -Y sign` wrote.
    ///
    /// The time is the caller's to choose, for SSH signatures have none of their own.
    ///
    /// # Errors
    /// When it is no signature, is for something else, is by nobody on the list, by a key that may not sign this or not
    /// now, by a hardware key that nobody touched, or does not hold over these bytes.
    pub fn verify(&self, namespace: &str, message: &[u8], armored: &str, now: Timestamp) -> Result<String, Error> {
        if armored.len() > MAX_ARMORED {
            return Err(Error::Malformed(format!("longer than {MAX_ARMORED} bytes")));
        }
        let signature = SshSig::from_pem(armored.trim()).map_err(|error| Error::Malformed(error.to_string()))?;
        if signature.namespace() != namespace {
            return Err(Error::Namespace { found: signature.namespace().to_owned(), wanted: namespace.to_owned() });
        }
        let made_with = signature.public_key();
        // The two are written apart in the signature. A list cannot hold a kind that does not count; a signature can.
        for kind in [made_with.algorithm(), signature.algorithm()] {
            if !is_strong(&kind) {
                return Err(Error::Weak(kind.as_str().to_owned()));
            }
        }
        let signer = self
            .signers
            .iter()
            .find(|signer| signer.key.key_data() == made_with)
            .ok_or_else(|| Error::Unknown(made_with.fingerprint(HashAlg::Sha256).to_string()))?;
        signer.may_sign(namespace, now)?;
        let principal = || signer.principal.clone();
        if signature.algorithm() != made_with.algorithm() || signer.key.verify(namespace, message, &signature).is_err()
        {
            return Err(Error::Forged(principal()));
        }
        if is_hardware(&made_with.algorithm()) && !was_touched(signature.signature_bytes()) {
            return Err(Error::Untouched(principal()));
        }
        Ok(principal())
    }
}

/// The fingerprint of the key that a signature names, as `ssh-keygen -l` shows it. That it is the signer's is for
/// [`AllowedSigners::verify`] to say.
#[must_use]
pub fn fingerprint(armored: &str) -> Option<String> {
    let signature = SshSig::from_pem(armored.trim()).ok()?;
    Some(signature.public_key().fingerprint(HashAlg::Sha256).to_string())
}

impl Signer {
    fn parse(written: &str) -> Result<Self, String> {
        let shape = || "write NAME [OPTIONS] TYPE KEY, as in ssh-keygen(1), ALLOWED SIGNERS".to_owned();
        let (principal, rest) = written.split_once([' ', '\t']).ok_or_else(shape)?;
        let plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'@' | b'+' | b'/' | b':');
        if principal.is_empty() || !principal.bytes().all(plain) {
            return Err(format!("{principal:?} is not one name: patterns, lists and quotes do not count here"));
        }
        let rest = rest.trim_start();
        let (options, key) =
            if rest.split([' ', '\t']).next().is_some_and(|word| word.parse().is_ok_and(|kind| names_a_key(&kind))) {
                ("", rest)
            } else {
                split_options(rest).ok_or_else(shape)?
            };
        let key = PublicKey::from_openssh(key).map_err(|error| format!("the key cannot be read ({error}): {KINDS}"))?;
        if !is_strong(&key.algorithm()) {
            return Err(format!("{} keys do not count: {KINDS}", key.algorithm().as_str()));
        }
        let mut signer = Self { principal: principal.to_owned(), key, namespaces: None, from: None, until: None };
        for option in options_of(options) {
            signer.take(option)?;
        }
        Ok(signer)
    }

    fn take(&mut self, option: &str) -> Result<(), String> {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        let twice = || format!("{name} stands twice: write it once");
        match name.to_ascii_lowercase().as_str() {
            "namespaces" if self.namespaces.is_some() => Err(twice()),
            "valid-after" if self.from.is_some() => Err(twice()),
            "valid-before" if self.until.is_some() => Err(twice()),
            "namespaces" => {
                let names: Vec<String> = value.split(',').map(|name| name.trim().to_owned()).collect();
                if names.iter().any(|name| name.is_empty() || name.contains(['*', '?', '!'])) {
                    return Err(format!("namespaces={value:?}: write whole names with commas, no patterns"));
                }
                self.namespaces = Some(names);
                Ok(())
            }
            "valid-after" => {
                self.from = Some(time(name, value)?);
                Ok(())
            }
            "valid-before" => {
                self.until = Some(time(name, value)?);
                Ok(())
            }
            _ => Err(format!("option {name:?} is not taken: namespaces, valid-after and valid-before are")),
        }
    }

    fn may_sign(&self, namespace: &str, now: Timestamp) -> Result<(), Error> {
        let principal = || self.principal.clone();
        if self.namespaces.as_ref().is_some_and(|names| !names.iter().any(|name| name == namespace)) {
            return Err(Error::NotFor { principal: principal(), namespace: namespace.to_owned() });
        }
        if let Some(from) = self.from.filter(|from| now < *from) {
            return Err(Error::Time { principal: principal(), bound: format!("from {from}") });
        }
        if let Some(until) = self.until.filter(|until| now >= *until) {
            return Err(Error::Time { principal: principal(), bound: format!("until {until}") });
        }
        Ok(())
    }
}

/// Whether a word is the name of a kind of key, and not an option's: every name parses as some algorithm.
fn names_a_key(kind: &Algorithm) -> bool {
    !matches!(kind, Algorithm::Other(_))
}

fn is_strong(kind: &Algorithm) -> bool {
    match kind {
        Algorithm::Ed25519 | Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256 => true,
        Algorithm::Ecdsa { curve } => matches!(curve, EcdsaCurve::NistP256 | EcdsaCurve::NistP384),
        _ => false,
    }
}

fn is_hardware(kind: &Algorithm) -> bool {
    matches!(kind, Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256)
}

fn was_touched(signature: &[u8]) -> bool {
    let flags = signature.len().checked_sub(COUNTER_LENGTH.saturating_add(1)).and_then(|at| signature.get(at));
    flags.is_some_and(|flags| flags & USER_PRESENT != 0)
}

/// `a="b c",d KEY` as (`a="b c",d`, `KEY`): the first blank outside quotes ends the options.
fn split_options(text: &str) -> Option<(&str, &str)> {
    let mut quoted = false;
    let end = text.find(|letter: char| {
        quoted ^= letter == '"';
        !quoted && (letter == ' ' || letter == '\t')
    })?;
    let (options, key) = text.split_at_checked(end)?;
    Some((options, key.trim_start()))
}

/// The options, split at the commas outside quotes.
fn options_of(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |letter: char| {
        quoted ^= letter == '"';
        !quoted && letter == ','
    })
    .filter(|option| !option.is_empty())
}

/// `YYYYMMDDZ` or `YYYYMMDDHHMM[SS]Z`. ssh-keygen reads a time without `Z` in the host's own zone, which differs by host.
fn time(name: &str, value: &str) -> Result<Timestamp, String> {
    let wrong = || format!("{name}={value:?} is not a time: write YYYYMMDDZ, YYYYMMDDHHMMZ or YYYYMMDDHHMMSSZ (UTC)");
    let digits =
        value.strip_suffix('Z').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit())).ok_or_else(wrong)?;
    let full = match digits.len() {
        8 => format!("{digits}000000"),
        12 => format!("{digits}00"),
        14 => digits.to_owned(),
        _ => return Err(wrong()),
    };
    let civil = DateTime::strptime("%Y%m%d%H%M%S", &full).map_err(|_| wrong())?;
    civil.to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp()).map_err(|_| wrong())
}

#[cfg(test)]
#[path = "sshsig_tests.rs"]
mod tests;
