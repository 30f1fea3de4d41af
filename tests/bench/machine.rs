//! What was measured, and on what: every table says it.

use std::fs;
use std::path::Path;
use std::process::Command;

use grantd_testkit::repository_root;
use grantd_tests::Scene;

/// The environment variable in which `make bench` says that it is the one who runs this.
pub const COMMAND: &str = "GRANTD_BENCH_COMMAND";

/// Lines for the table's head: what, and how it is here.
pub fn facts(scene: &Scene) -> Vec<(&'static str, String)> {
    let root = repository_root();
    let changed =
        !said("git", &["status", "--porcelain", "--untracked-files=no", "--", ".", ":!tests/bench/results"], &root)
            .is_empty();
    let commit = said("git", &["rev-parse", "HEAD"], &root) + if changed { ", with changes" } else { "" };
    let grantctl = scene.bin("grantctl").display().to_string();
    vec![
        ("machine", format!("{}; {}", processors(), memory())),
        ("kernel", read("/proc/sys/kernel/osrelease")),
        (
            "disk",
            said("findmnt", &["--noheadings", "--output", "SOURCE,FSTYPE,OPTIONS", "--target", "."], scene.path()),
        ),
        ("versions", format!("{}, {}", said(&grantctl, &["--version"], &root), said("rustc", &["--version"], &root))),
        ("profile", profile()),
        ("commit", commit),
        ("command", std::env::var(COMMAND).expect("make bench says so")),
    ]
}

/// How many wanted the processors on average: of the last minute, five minutes, fifteen.
pub fn load() -> String {
    read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// The cargo profile of the measured binaries, after which cargo names their directory.
fn profile() -> String {
    let directory = std::env::var("GRANTD_BIN_DIR").expect("make bench says so");
    let name = Path::new(&directory).file_name().expect("cargo's directory has a name").to_string_lossy();
    format!("{name} (see the workspace's Cargo.toml)")
}

fn processors() -> String {
    let text = read("/proc/cpuinfo");
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
    let cores = std::thread::available_parallelism().expect("the kernel tells");
    format!("{cores} cores, {}", model.unwrap_or(std::env::consts::ARCH))
}

fn memory() -> String {
    let text = read("/proc/meminfo");
    text.lines().next().expect("the total comes first").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn read(path: &str) -> String {
    fs::read_to_string(path).expect("the kernel tells").trim().to_owned()
}

fn said(program: &str, arguments: &[&str], directory: &Path) -> String {
    let output = Command::new(program).args(arguments).current_dir(directory).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ")
}
