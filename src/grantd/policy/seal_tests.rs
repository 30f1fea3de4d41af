//! A bundle's seal holds when enough different people signed exactly its files, for exactly this use.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use super::super::bundle_tests::{bundle, shipped};
use super::*;

/// A signer's key in a directory of its own.
struct Key(TempDir);

impl Key {
    fn new() -> Self {
        let key = Self(TempDir::new().unwrap());
        run(Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
            .arg(key.0.path().join("id")));
        key
    }

    fn public(&self) -> String {
        fs::read_to_string(self.0.path().join("id.pub")).unwrap().trim().to_owned()
    }

    fn sign(&self, text: &str, namespace: &str) -> String {
        let file = self.0.path().join("text");
        fs::write(&file, text).unwrap();
        fs::remove_file(self.0.path().join("text.sig")).ok();
        let key = self.0.path().join("id");
        run(Command::new("ssh-keygen").args(["-q", "-Y", "sign", "-n", namespace, "-f"]).arg(key).arg(&file));
        fs::read_to_string(self.0.path().join("text.sig")).unwrap()
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn now() -> Timestamp {
    "2026-06-15T12:00:00Z".parse().unwrap()
}

fn sealed(sequence: u64) -> Seal {
    let mut files = shipped();
    files.insert(MANIFEST.to_owned(), format!("sequence = {sequence}\n"));
    Seal::of(&mut files).unwrap()
}

fn signers(keys: &[(&str, &Key)], threshold: usize) -> Signers {
    let lines: Vec<String> = keys.iter().map(|(name, key)| format!("{name} {}\n", key.public())).collect();
    Signers { allowed: AllowedSigners::parse(&lines.concat()).unwrap(), threshold }
}

#[test]
fn p12_a_seal_holds_by_enough_people_and_each_counts_once() {
    let (ana, spare, bob, eve) = (Key::new(), Key::new(), Key::new(), Key::new());
    let signers = signers(&[("ana", &ana), ("ana", &spare), ("bob", &bob)], 2);
    let seal = sealed(7);
    let statement = seal.statement().unwrap();
    assert_eq!(statement, format!("grantd-policy-v1\nfiles sha256:{}\nsequence 7\n", seal.files));
    let by = |keys: &[&Key]| {
        let sign = |(at, key): (usize, &&Key)| (format!("signatures/{at}.sig"), key.sign(&statement, NAMESPACE));
        Seal { signatures: keys.iter().enumerate().map(sign).collect(), ..seal.clone() }.hold(&signers, now())
    };
    let both = by(&[&ana, &bob]).unwrap();
    assert_eq!((both.sequence, both.files), (7, seal.files));
    assert_eq!(both.signers, ["ana", "bob"].map(str::to_owned).into());
    assert!(by(&[&eve, &ana, &bob]).is_ok());
    for (few, says) in [
        (&[][..], "signed by 0"),
        (&[&ana][..], "signed by 1"),
        (&[&ana, &spare][..], "signed by 1"),
        (&[&ana, &eve][..], "no signer"),
    ] {
        let error = by(few).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn p12_a_signature_over_other_files_another_place_or_for_another_use_does_not_count() {
    let ana = Key::new();
    let signers = signers(&[("ana", &ana)], 1);
    let seal = sealed(7);
    let with = |statement: &str, namespace: &str| {
        let signature = ana.sign(statement, namespace);
        Seal { signatures: [("signatures/a.sig".to_owned(), signature)].into(), ..seal.clone() }.hold(&signers, now())
    };
    assert!(with(&seal.statement().unwrap(), NAMESPACE).is_ok());
    assert!(with(&sealed(8).statement().unwrap(), NAMESPACE).unwrap_err().contains("not over this text"));
    assert!(with(&seal.statement().unwrap(), "grantd-approval").unwrap_err().contains("grantd-approval"));
    let unplaced = Seal { sequence: None, ..seal.clone() };
    assert!(unplaced.hold(&signers, now()).unwrap_err().contains("sequence = N"));
}

#[test]
fn p12_the_sequence_never_goes_back_and_no_place_is_taken_twice() {
    let of = |sequence: u64, files: &[u8]| Sealed { sequence, files: Digest::of("t", files), signers: BTreeSet::new() };
    let last = Some((7, Digest::of("t", b"a")));
    assert_eq!(of(1, b"x").follows(None), Ok(()));
    assert_eq!(of(7, b"a").follows(last), Ok(()));
    assert_eq!(of(8, b"b").follows(last), Ok(()));
    assert!(of(6, b"b").follows(last).unwrap_err().contains("does not come back"));
    assert!(of(7, b"b").follows(last).unwrap_err().contains("higher one"));
}

#[test]
fn the_seal_covers_every_file_and_nothing_of_the_host() {
    let original = sealed(7).files;
    for name in shipped().into_keys() {
        let mut files = shipped();
        files.insert(MANIFEST.to_owned(), "sequence = 7\n".to_owned());
        files.get_mut(&name).unwrap().push('\n');
        assert_ne!(Seal::of(&mut files).unwrap().files, original, "{name}");
    }
    let mut files = shipped();
    files.insert(MANIFEST.to_owned(), "sequence = 7\n".to_owned());
    files.insert("signatures/a.sig".to_owned(), "x".to_owned());
    files.insert(UNIX_GROUPS.to_owned(), "{}".to_owned());
    let seal = Seal::of(&mut files).unwrap();
    assert_eq!((seal.files, seal.signatures.len()), (original, 1));
    // Signing a bundle does not change which bundle it is.
    let signed = |files: &mut BTreeMap<String, String>| files.insert("signatures/a.sig".to_owned(), "x".to_owned());
    let (mut plain, version) = (shipped(), bundle(shipped()).unwrap().version);
    signed(&mut plain);
    assert_eq!(bundle(plain).unwrap().version, version);
}

#[test]
fn a_manifest_says_what_it_can_and_nothing_else() {
    let of = |text: &str| Seal::of(&mut [(MANIFEST.to_owned(), text.to_owned())].into());
    let commit = "0123456789abcdef0123456789abcdef01234567";
    assert_eq!(of(&format!("commit = \"{commit}\"\n")).unwrap().commit.as_deref(), Some(commit));
    for bad in ["sequence = -1", "sequence = \"7\"", "commit = \"main\"", "threshold = 1"] {
        assert_eq!(of(bad).unwrap_err().0, MANIFEST, "{bad}");
    }
}
