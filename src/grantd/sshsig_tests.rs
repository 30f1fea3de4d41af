//! Signatures that `ssh-keygen` makes here and now count for whom they are by, and for nothing else.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::*;

const NAMESPACE: &str = "grantd-policy";
const TEXT: &[u8] = b"grantd-policy-v1\nsequence 7\n";

/// A key pair in a directory of its own.
struct Key {
    directory: TempDir,
    public: String,
}

impl Key {
    fn new(kind: &[&str]) -> Self {
        let directory = TempDir::new().unwrap();
        let key = Self { public: String::new(), directory };
        run(Command::new("ssh-keygen").args(["-q", "-N", "", "-C", "a comment", "-f"]).arg(key.path()).args(kind));
        let public = fs::read_to_string(key.path().with_extension("pub")).unwrap().trim().to_owned();
        Self { public, ..key }
    }

    fn ed25519() -> Self {
        Self::new(&["-t", "ed25519"])
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("id")
    }

    fn sign(&self, namespace: &str, text: &[u8], options: &[&str]) -> String {
        let file = self.directory.path().join("text");
        fs::write(&file, text).unwrap();
        fs::remove_file(file.with_extension("sig")).ok();
        run(Command::new("ssh-keygen")
            .args(["-q", "-Y", "sign", "-n", namespace, "-f"])
            .arg(self.path())
            .args(options)
            .arg(&file));
        fs::read_to_string(self.directory.path().join("text.sig")).unwrap()
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn now() -> Timestamp {
    "2026-06-15T12:00:00Z".parse().unwrap()
}

fn list(text: &str) -> AllowedSigners {
    AllowedSigners::parse(text).unwrap()
}

#[test]
fn a_signature_counts_for_the_holder_of_its_key() {
    for kind in [&["-t", "ed25519"][..], &["-t", "ecdsa", "-b", "256"], &["-t", "ecdsa", "-b", "384"]] {
        let (anna, bob) = (Key::new(kind), Key::ed25519());
        let signers = list(&format!("# who may\n\nbob {}\nanna@example.org {}\n", bob.public, anna.public));
        for options in [&[][..], &["-O", "hashalg=sha256"]] {
            let signed = anna.sign(NAMESPACE, TEXT, options);
            assert_eq!(signers.verify(NAMESPACE, TEXT, &signed, now()), Ok("anna@example.org".to_owned()), "{kind:?}");
        }
    }
}

#[test]
fn a_signature_over_another_text_or_for_another_use_counts_for_nobody() {
    let key = Key::ed25519();
    let signers = list(&format!("anna {}", key.public));
    let signed = key.sign(NAMESPACE, TEXT, &[]);
    assert_eq!(signers.verify(NAMESPACE, b"sequence 8\n", &signed, now()), Err(Error::Forged("anna".to_owned())));
    let elsewhere = key.sign("file", TEXT, &[]);
    let error = signers.verify(NAMESPACE, TEXT, &elsewhere, now()).unwrap_err();
    assert_eq!(error, Error::Namespace { found: "file".to_owned(), wanted: NAMESPACE.to_owned() });
}

#[test]
fn a_key_that_is_not_on_the_list_counts_for_nobody() {
    let (anna, mallory) = (Key::ed25519(), Key::ed25519());
    let signed = mallory.sign(NAMESPACE, TEXT, &[]);
    let error = list(&format!("anna {}", anna.public)).verify(NAMESPACE, TEXT, &signed, now()).unwrap_err();
    assert!(matches!(&error, Error::Unknown(key) if key.starts_with("SHA256:")), "{error}");
    assert!(list("").verify(NAMESPACE, TEXT, &signed, now()).is_err());
}

#[test]
fn weak_kinds_are_neither_listed_nor_counted() {
    for kind in [&["-t", "rsa", "-b", "2048"][..], &["-t", "ecdsa", "-b", "521"]] {
        let weak = Key::new(kind);
        let error = AllowedSigners::parse(&format!("anna {}", weak.public)).unwrap_err();
        assert!(error.to_string().contains("do not count"), "{error}");
        let signed = weak.sign(NAMESPACE, TEXT, &[]);
        let error =
            list(&format!("anna {}", Key::ed25519().public)).verify(NAMESPACE, TEXT, &signed, now()).unwrap_err();
        assert!(matches!(error, Error::Weak(_)), "{error}");
    }
}

#[test]
fn a_key_signs_only_what_and_when_its_line_says() {
    let key = Key::ed25519();
    let signed = key.sign(NAMESPACE, TEXT, &[]);
    let with = |options: &str| list(&format!("anna {options} {}", key.public)).verify(NAMESPACE, TEXT, &signed, now());
    assert_eq!(with(r#"namespaces="file,grantd-policy""#), Ok("anna".to_owned()));
    assert_eq!(with(r#"valid-after="20260615Z",valid-before="20260616Z""#), Ok("anna".to_owned()));
    assert_eq!(with(r#"valid-after="202606151200Z""#), Ok("anna".to_owned()));
    assert!(matches!(with(r#"namespaces="file""#), Err(Error::NotFor { .. })));
    assert!(matches!(with(r#"valid-after="20260615120001Z""#), Err(Error::Time { .. })));
    assert!(matches!(with(r#"valid-before="202606151200Z""#), Err(Error::Time { .. })));
}

#[test]
fn a_list_is_read_exactly_or_not_at_all() {
    let key = Key::ed25519().public;
    let bad = [
        (format!("an*a {key}"), "one name"),
        (format!("anna,bob {key}"), "one name"),
        (format!("\"anna\" {key}"), "one name"),
        (format!("anna cert-authority {key}"), "cert-authority"),
        (format!("anna valid-after=\"20260101\" {key}"), "UTC"),
        (format!("anna valid-after=\"20261301Z\" {key}"), "UTC"),
        (format!("anna namespaces=\"grantd-*\" {key}"), "no patterns"),
        (format!("anna valid-after=\"20260101Z\",valid-after=\"20250101Z\" {key}"), "twice"),
        (format!("anna {key}\nbob {key}"), "line 2"),
        ("anna".to_owned(), "NAME"),
        ("anna ssh-ed25519 AAAA".to_owned(), "cannot be read"),
    ];
    for (text, said) in bad {
        let error = AllowedSigners::parse(&text).unwrap_err().to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
}

#[test]
fn nothing_but_a_signature_is_taken_for_one() {
    let key = Key::ed25519();
    let signers = list(&format!("anna {}", key.public));
    let signed = key.sign(NAMESPACE, TEXT, &[]);
    let middle = signed.len() / 2;
    let cut = format!("{}{}", &signed[..middle], &signed[middle + 4..]);
    let long = "A".repeat(MAX_ARMORED + 1);
    for text in ["", "hello", "-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n", &cut, &long] {
        let error = signers.verify(NAMESPACE, TEXT, text, now()).unwrap_err();
        assert!(matches!(error, Error::Malformed(_)), "{text:?}: {error}");
    }
}

/// A hardware key's signature made by hand (PROTOCOL.u2f), for no such key is plugged in here.
mod hardware {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use data_encoding::BASE64;
    use sha2::{Digest, Sha256, Sha512};

    use super::*;

    fn string(bytes: &[u8]) -> Vec<u8> {
        let mut out = u32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
        out.extend_from_slice(bytes);
        out
    }

    fn signed(flags: u8) -> (String, String) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let kind = string(b"sk-ssh-ed25519@openssh.com");
        let public = [kind.clone(), string(pair.public_key().as_ref()), string(b"ssh:")].concat();
        let digest = string(&Sha512::digest(TEXT));
        let blob = [b"SSHSIG".to_vec(), string(NAMESPACE.as_bytes()), string(b""), string(b"sha512"), digest].concat();
        let trailer = [vec![flags], 9_u32.to_be_bytes().to_vec()].concat();
        let over = [Sha256::digest(b"ssh:").to_vec(), trailer.clone(), Sha256::digest(&blob).to_vec()].concat();
        let raw = [kind, string(pair.sign(&over).as_ref()), trailer].concat();
        let whole = [
            b"SSHSIG".to_vec(),
            1_u32.to_be_bytes().to_vec(),
            string(&public),
            string(NAMESPACE.as_bytes()),
            string(b""),
            string(b"sha512"),
            string(&raw),
        ]
        .concat();
        let text = BASE64.encode(&whole);
        let lines: Vec<&str> = text.as_bytes().chunks(70).map(|line| std::str::from_utf8(line).unwrap()).collect();
        let armored = format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines.join("\n"));
        (format!("anna sk-ssh-ed25519@openssh.com {}", BASE64.encode(&public)), armored)
    }

    #[test]
    fn a_hardware_key_counts_when_it_was_touched() {
        let (line, armored) = signed(0x01);
        assert_eq!(list(&line).verify(NAMESPACE, TEXT, &armored, now()), Ok("anna".to_owned()));
        let (line, armored) = signed(0x00);
        assert_eq!(list(&line).verify(NAMESPACE, TEXT, &armored, now()), Err(Error::Untouched("anna".to_owned())));
    }
}
