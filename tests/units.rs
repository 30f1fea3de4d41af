//! The units and the installation: systemd finds nothing to say about them, they leave in what peer identity needs, and
//! nothing that an administrator wrote is overwritten.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that breaks must say so"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use grantd_testkit::repository_root;
use tempfile::TempDir;

const UNITS: [&str; 3] = ["grantd.service", "grantd.socket", "grantd-drain.service"];

/// A scratch root with everything installed as a package has it, and systemd's own units.
struct Root(TempDir);

impl Root {
    fn new() -> Self {
        let root = Self(tempfile::tempdir().unwrap());
        let units = root.path("usr/lib/systemd/system");
        fs::create_dir_all(&units).unwrap();
        run(Command::new("cp").args(["-a", "/usr/lib/systemd/system/."]).arg(&units));
        for name in
            ["bin/true", "bin/kill", "usr/local/bin/nightly-report", "usr/local/bin/your-command", "usr/bin/systemctl"]
        {
            let path = root.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::copy("/bin/true", path).unwrap();
        }
        root.install("252", "/usr");
        root
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn install(&self, version: &str, prefix: &str) -> String {
        let built =
            std::env::var_os("GRANTD_BIN_DIR").map_or_else(|| repository_root().join("target/debug"), PathBuf::from);
        let mut command = Command::new(repository_root().join("systemd/install.sh"));
        command.arg(built).arg(self.0.path()).args([prefix, "/etc"]).env("SYSTEMD_VERSION", version);
        String::from_utf8(run(&mut command).stdout).unwrap()
    }

    /// What `systemd-analyze verify` says, on either output: nothing, if all is well. Its exit code tells little.
    fn verify(&self, units: &[&str]) -> String {
        let mut command = Command::new("systemd-analyze");
        command.arg("verify").arg(format!("--root={}", self.0.path().display())).args(units);
        let output = command.env("LC_ALL", "C").output().expect("systemd-analyze runs: run make setup");
        [output.stdout, output.stderr].concat().into_iter().map(char::from).collect()
    }

    /// The assignments of an installed unit, without comments.
    fn unit(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path("usr/lib/systemd/system").join(name)).unwrap();
        text.lines().filter(|line| !line.starts_with('#') && line.contains('=')).map(str::to_owned).collect()
    }
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// The version of systemd on this machine.
fn version() -> u32 {
    let output = run(Command::new("systemctl").arg("--version"));
    String::from_utf8(output.stdout).unwrap().split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn systemd_has_nothing_to_say_about_the_units() {
    let root = Root::new();
    assert_eq!(root.verify(&UNITS), "");
    // It would say something.
    let unit = root.path("usr/lib/systemd/system/grantd.service");
    let text = fs::read_to_string(&unit).unwrap();
    fs::write(&unit, format!("{text}\n[Service]\nNonsense=yes\n")).unwrap();
    assert!(root.verify(&UNITS).contains("Nonsense"));
}

#[test]
fn systemd_has_nothing_to_say_about_the_examples() {
    let root = Root::new();
    let (from, to) = (root.path("usr/share/doc/grantd/examples/systemd"), root.path("etc/systemd/system"));
    fs::create_dir_all(to.join("any.service.d")).unwrap();
    fs::create_dir_all(to.join("backup.service.d")).unwrap();
    // Every example: one that is added is looked over too.
    let mut units = vec!["any.service".to_owned(), "backup.service".to_owned()];
    for name in fs::read_dir(&from).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()) {
        if name != "README" && !name.ends_with(".d") {
            fs::copy(from.join(&name), to.join(&name)).unwrap();
            units.push(name);
        }
    }
    for name in ["any.service.d/grantd.conf", "backup.service.d/credentials.conf"] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
    for name in ["any.service", "backup.service"] {
        fs::write(to.join(name), "[Service]\nType=oneshot\nUser=root\nExecStart=/bin/true\n").unwrap();
    }
    assert!(units.len() >= 7, "{units:?}");
    assert_eq!(root.verify(&units.iter().map(String::as_str).collect::<Vec<_>>()), "");
}

#[test]
fn a_systemd_that_waits_for_reloads_is_told_to() {
    let root = Root::new();
    let drop_in = root.path("usr/lib/systemd/system/grantd.service.d/notify-reload.conf");
    assert!(!drop_in.exists(), "252 does not know the type, and would take the service for ready at once");
    root.install("253", "/usr");
    assert!(drop_in.exists());
    let said = root.verify(&UNITS);
    let unknown = |line: &str| line.contains("notify-reload.conf") && line.contains("Failed to parse service type");
    if version() >= 253 {
        assert_eq!(said, "");
    } else {
        assert!(!said.is_empty() && said.lines().all(unknown), "{said}");
    }
}

#[test]
fn the_units_are_as_closed_as_peer_identity_allows() {
    let root = Root::new();
    for (name, most) in [("grantd.service", "25"), ("grantd-drain.service", "15")] {
        let mut command = Command::new("systemd-analyze");
        command.args(["security", "--offline=true", "--no-pager"]).arg(format!("--threshold={most}"));
        command.arg(format!("--root={}", root.0.path().display())).arg(name);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{name} is more exposed than {most}/10:\n{said}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert!(said.contains("Overall exposure level"), "{said}");
    }
}

#[test]
fn p5_the_unit_sets_nothing_that_breaks_peer_identity_and_says_why() {
    let root = Root::new();
    let lines = root.unit("grantd.service");
    let text = fs::read_to_string(root.path("usr/lib/systemd/system/grantd.service")).unwrap();
    for key in ["PrivateUsers=", "PrivatePIDs=", "ProtectProc=", "ProcSubset=", "DynamicUser=", "RuntimeDirectory="] {
        assert!(!lines.iter().any(|line| line.starts_with(key)), "{key} is set");
        assert!(text.lines().any(|line| line.starts_with("#   ") && line.contains(key)), "{key} is not explained");
    }
    // Hardening that the daemon itself rests on.
    for line in ["LimitCORE=0", "LimitMEMLOCK=infinity", "StateDirectoryMode=0700", "CapabilityBoundingSet="] {
        assert!(lines.iter().any(|found| found == line), "{line} is missing");
    }
}

#[test]
fn p13_a_restart_does_not_drain() {
    let root = Root::new();
    let lines = root.unit("grantd-drain.service");
    for key in ["Requires=", "BindsTo=", "PartOf=", "Requisite=", "PropagatesStopTo="] {
        assert!(!lines.iter().any(|line| line.starts_with(key)), "{key} would drain at each restart of grantd");
    }
    let after = lines.iter().find_map(|line| line.strip_prefix("After=")).unwrap();
    for before in ["grantd.service", "grantd.socket", "network.target", "network-online.target"] {
        assert!(after.split(' ').any(|unit| unit == before), "it would not stop before {before}");
    }
    let waits = |key: &str| lines.iter().find_map(|line| line.strip_prefix(key)).unwrap().to_owned();
    assert_eq!(waits("ExecStop="), "/usr/bin/grantctl drain --timeout 60s");
    assert_eq!(waits("TimeoutStopSec="), "75s");
}

#[test]
fn users_and_directories_are_made_with_the_right_owners_and_modes() {
    let root = Root::new();
    let at = format!("--root={}", root.0.path().display());
    for (program, arguments) in
        [("systemd-sysusers", &["grantd.conf"][..]), ("systemd-tmpfiles", &["--create", "grantd.conf"])]
    {
        let output = run(Command::new(program).arg(&at).args(arguments));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let known = |line: &str| line.starts_with("Creating ") || line.is_empty();
        assert!(said.lines().all(known), "{program}: {said}");
    }
    let users = fs::read_to_string(root.path("etc/passwd")).unwrap();
    let entry = users.lines().find(|line| line.starts_with("grantd:")).unwrap().to_owned();
    let uid: u32 = entry.split(':').nth(2).unwrap().parse().unwrap();
    assert!(entry.ends_with("nologin"), "{entry}");
    assert!(fs::read_to_string(root.path("etc/group")).unwrap().contains("grantd-clients:"));
    for (name, owner, mode) in [("var/lib/grantd", uid, 0o700), ("run/grantd", 0, 0o755), ("etc/grantd", 0, 0o755)] {
        let path = root.path(name);
        assert_eq!((fs::metadata(&path).unwrap().uid(), mode_of(&path)), (owner, mode), "{name}");
    }
    // Nothing of the settings can be written by anybody but root.
    let found = run(Command::new("find").arg(root.path("etc/grantd")).args(["-perm", "/022"]));
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}

#[test]
fn what_an_administrator_changed_is_kept() {
    let root = Root::new();
    let people = root.path("etc/grantd/policy/people.toml");
    fs::write(&people, "# ours\n").unwrap();
    let said = root.install("252", "/usr");
    assert_eq!(fs::read_to_string(&people).unwrap(), "# ours\n");
    assert!(root.path("etc/grantd/policy/people.toml.new").exists());
    assert!(said.contains("people.toml was changed and is kept"), "{said}");
    assert!(!root.path("etc/grantd/grantd.toml.new").exists(), "what is the same is not doubled");
}

#[test]
fn a_permit_that_was_removed_is_not_put_back() {
    let root = Root::new();
    let permit = root.path("etc/grantd/policy/policies/low-tier.cedar");
    fs::remove_file(&permit).unwrap();
    let said = root.install("252", "/usr");
    assert!(!permit.exists(), "{said}");
    assert!(said.contains("low-tier.cedar is not there and is not put back"), "{said}");
    assert!(root.path("usr/share/grantd/settings/policy/policies/low-tier.cedar").exists());
}

#[test]
fn another_prefix_is_another_program_in_the_units() {
    let root = Root::new();
    root.install("252", "/opt/grantd");
    let unit = fs::read_to_string(root.path("opt/grantd/lib/systemd/system/grantd.service")).unwrap();
    assert!(unit.contains("ExecStart=/opt/grantd/bin/grantd\n") && !unit.contains("/usr/bin/grantd"), "{unit}");
    assert!(root.path("opt/grantd/bin/grantd").exists());
}
