//! Tests that need a process of their own: hardening, descriptors from systemd, the wiping allocator.
//!
//! Each scenario runs in a fresh copy of this program, single-threaded, as `main` of the daemon does it. The program
//! takes the arguments of a usual test binary: names to select by, `--exact`, `--list`.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test: it is to fail loudly")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::env;
use std::fs;
use std::hint::black_box;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio, exit};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use grantd::sys::files::Owners;
use grantd::sys::harden::{HardenError, MemoryLock, harden};
use grantd::sys::listen::adopt;
use grantd::sys::notify::take_fds;
use grantd::sys::peer::{Peer, PeerError};
use grantd::sys::process::{ancestors, stat};
use grantd::sys::watch::Watch;
use grantd::sys::{pidfd, users};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use rustix::io::FdFlags;
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use zeroizing_alloc::ZeroAlloc;

/// Names the scenario that a copy of this program is to run.
const SCENARIO: &str = "GRANTD_TEST_SCENARIO";

/// Tells a helper scenario which process it should find behind a pidfd.
const EXPECTED_PID: &str = "GRANTD_TEST_PID";

/// The user that the unprivileged scenarios become, and another one.
const SERVICE: u32 = 61_700;
const CALLER: u32 = 61_701;

type Scenario = (&'static str, fn());

const SCENARIOS: &[Scenario] = &[
    ("p9_a_hardened_process_can_not_be_looked_into", p9_a_hardened_process_can_not_be_looked_into),
    ("p9_the_environment_leads_nowhere", p9_the_environment_leads_nowhere),
    ("p9_memory_is_locked_and_still_grows", p9_memory_is_locked_and_still_grows),
    ("p9_a_low_memory_limit_is_reported_and_harmless", p9_a_low_memory_limit_is_reported_and_harmless),
    ("p9_freed_memory_is_wiped", p9_freed_memory_is_wiped),
    ("p5_a_hardened_service_user_still_knows_its_callers", p5_a_hardened_service_user_still_knows_its_callers),
    ("p5_a_user_namespace_is_refused", p5_a_user_namespace_is_refused),
    ("p5_a_caller_from_outside_our_pid_namespace_is_refused", p5_a_caller_from_outside_our_pid_namespace_is_refused),
    ("p5_a_caller_that_proc_hides_is_refused", p5_a_caller_that_proc_hides_is_refused),
    ("p13_descriptors_come_back_from_systemd_once", p13_descriptors_come_back_from_systemd_once),
    ("descriptors_meant_for_another_process_are_left_alone", descriptors_meant_for_another_process_are_left_alone),
];

/// Scenarios that only another scenario starts.
const HELPERS: &[Scenario] = &[
    ("takes_descriptors", takes_descriptors),
    ("is_refused_for_its_ids", is_refused_for_its_ids),
    ("refuses_a_caller_without_pid", refuses_a_caller_without_pid),
    ("refuses_a_hidden_caller", refuses_a_hidden_caller),
];

fn main() -> ExitCode {
    if let Ok(name) = env::var(SCENARIO) {
        let (_, scenario) =
            SCENARIOS.iter().chain(HELPERS).find(|(known, _)| *known == name).expect("a known scenario");
        scenario();
        return ExitCode::SUCCESS;
    }
    let arguments: Vec<String> = env::args().skip(1).collect();
    let exact = arguments.iter().any(|argument| argument == "--exact");
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let selected = SCENARIOS.iter().map(|(name, _)| *name).filter(|name| {
        let matches = |word: &&String| if exact { word.as_str() == *name } else { name.contains(word.as_str()) };
        wanted.is_empty() || wanted.iter().any(matches)
    });
    if arguments.iter().any(|argument| argument == "--list") {
        selected.for_each(|name| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("these tests become other users: run them as root");
        return ExitCode::FAILURE;
    }
    let failed = selected.filter(|name| !passes(name)).count();
    println!("\ntest result: {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn passes(name: &str) -> bool {
    let output = Command::new(env::current_exe().unwrap()).env(SCENARIO, name).output().unwrap();
    if output.status.success() {
        println!("test {name} ... ok");
    } else {
        println!("test {name} ... FAILED\n{}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    output.status.success()
}

/// Runs `work` in a forked copy of this single-threaded process. Whether it came to its end without a panic.
fn in_child(work: impl FnOnce()) -> bool {
    #[expect(unsafe_code, reason = "a child that shares this program's state")]
    // SAFETY: this process has one thread, so that no other one can hold a lock in the copy.
    let forked = unsafe { fork() }.unwrap();
    match forked {
        ForkResult::Child => {
            work();
            exit(0);
        }
        ForkResult::Parent { child } => waitpid(child, None).unwrap() == WaitStatus::Exited(child, 0),
    }
}

fn own_status(field: &str) -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let value = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    value.trim_start_matches(':').trim().to_owned()
}

fn p9_a_hardened_process_can_not_be_looked_into() {
    let target = i32::try_from(std::process::id()).unwrap();
    // Two processes of one unprivileged user. Becoming another user makes undumpable by itself, so undo that.
    become_service();
    set_dumpable_behavior(DumpableBehavior::Dumpable).unwrap();
    let looks_into = |file: &str| in_child(|| drop(fs::read(format!("/proc/{target}/{file}")).unwrap()));
    let takes_descriptors = || {
        in_child(|| {
            let handle = pidfd::open(target).unwrap();
            rustix::process::pidfd_getfd(&handle, 0, rustix::process::PidfdGetfdFlags::empty()).unwrap();
        })
    };
    assert!(looks_into("environ") && looks_into("maps"), "before, it could be done");
    let hardening = harden().unwrap();
    assert!(!looks_into("environ") && !looks_into("maps") && !takes_descriptors(), "after, it cannot");

    assert_eq!(own_status("NoNewPrivs"), "1");
    assert_eq!(own_status("Umask"), "0077");
    let ignored = u64::from_str_radix(&own_status("SigIgn"), 16).unwrap();
    assert_ne!(ignored & (1 << 12), 0, "SIGPIPE is signal 13");
    let core = getrlimit(Resource::Core);
    assert_eq!((core.current, core.maximum), (Some(0), Some(0)));
    let files = getrlimit(Resource::Nofile);
    assert_eq!(files.current, files.maximum);
    assert_eq!(hardening.open_files, files.current.unwrap_or(u64::MAX));
}

fn p9_the_environment_leads_nowhere() {
    const HOSTILE: &[&str] = &["AWS_ENDPOINT_URL_STS", "https_proxy", "AWS_SECRET_ACCESS_KEY", "SSLKEYLOGFILE"];
    for name in HOSTILE {
        #[expect(unsafe_code, reason = "preparing a hostile environment")]
        // SAFETY: this process has one thread.
        unsafe {
            env::set_var(name, "value-that-must-not-show");
        }
    }
    let hardening = harden().unwrap();
    for name in HOSTILE {
        assert!(hardening.removed_variables.iter().any(|removed| removed == name), "{name} is not reported");
        assert!(env::var_os(name).is_none(), "{name} is still there");
    }
    assert!(!format!("{hardening:?} {hardening}").contains("must-not-show"));
    assert!(env::var_os("PATH").is_some());
}

fn p9_memory_is_locked_and_still_grows() {
    assert_eq!(locked_kib(), 0);
    let hardening = harden().unwrap();
    assert_eq!(hardening.memory, MemoryLock::Locked, "{hardening}");
    let before = locked_kib();
    assert!(before > 0);
    let grown = black_box(vec![1_u8; 32 << 20]);
    assert!(locked_kib() >= before + (30 << 10), "new memory is not locked");
    drop(grown);
    std::thread::spawn(|| black_box(vec![1_u8; 1 << 20]).len()).join().unwrap();
}

/// What is resident and locked now; `VmLck` would count whole mappings.
fn locked_kib() -> u64 {
    let maps = fs::read_to_string("/proc/self/smaps").unwrap();
    let sizes = maps.lines().filter_map(|line| line.strip_prefix("Locked:"));
    sizes.map(|size| size.trim().trim_end_matches(" kB").parse::<u64>().unwrap()).sum()
}

fn p9_a_low_memory_limit_is_reported_and_harmless() {
    let limit = 8 << 20;
    setrlimit(Resource::Memlock, Rlimit { current: Some(limit), maximum: Some(limit) }).unwrap();
    become_service();
    let hardening = harden().unwrap();
    assert_eq!(hardening.memory, MemoryLock::LimitTooLow { limit });
    assert!(hardening.to_string().contains("LimitMEMLOCK=infinity"), "{hardening}");
    assert_eq!(own_status("VmLck"), "0 kB");
    assert_eq!(black_box(vec![1_u8; 64 << 20]).len(), 64 << 20);
}

fn become_service() {
    nix::unistd::setgroups(&[]).unwrap();
    nix::unistd::setresgid(SERVICE.into(), SERVICE.into(), SERVICE.into()).unwrap();
    nix::unistd::setresuid(SERVICE.into(), SERVICE.into(), SERVICE.into()).unwrap();
}

/// The daemon as it really runs, neither root nor dumpable: its view of /proc must not have gone dark.
fn p5_a_hardened_service_user_still_knows_its_callers() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let connected = i32::try_from(std::process::id()).unwrap();
    let mut other = Command::new("sleep").arg("600").uid(CALLER).gid(CALLER).spawn().unwrap();
    let pid = i32::try_from(other.id()).unwrap();
    while stat(pid).unwrap().uid != CALLER {
        std::thread::yield_now();
    }
    let knows = in_child(|| {
        become_service();
        harden().unwrap();
        assert_eq!(Owners::root_and_self(), Owners::root_and(SERVICE));
        assert_eq!(users::uid("root").unwrap(), 0);
        let peer = Peer::of(&ours).unwrap();
        assert_eq!((peer.uid, peer.pid), (0, connected));
        assert!(!ancestors(&peer).unwrap().is_empty());
        let process = stat(pid).unwrap().reference().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            assert!(!Watch::open(&process, CALLER).unwrap().has_ended());
            Watch::adopt(pidfd::open(pid).unwrap(), &process, CALLER).expect("fdinfo can be read");
        });
    });
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(knows);
}

fn p5_a_user_namespace_is_refused() {
    for options in [&["--user"][..], &["--user", "--map-root-user"]] {
        let mut unshare = Command::new("unshare");
        unshare.args(options).arg(env::current_exe().unwrap()).env(SCENARIO, "is_refused_for_its_ids");
        assert!(unshare.status().unwrap().success(), "{options:?}");
    }
}

fn is_refused_for_its_ids() {
    let error = harden().unwrap_err();
    assert!(matches!(error, HardenError::MappedIds { path: "/proc/self/uid_map", .. }), "{error}");
}

fn p5_a_caller_from_outside_our_pid_namespace_is_refused() {
    let (theirs, _ours) = UnixStream::pair().unwrap();
    let mut unshare = Command::new("unshare");
    unshare.args(["--pid", "--fork"]).arg(env::current_exe().unwrap()).env(SCENARIO, "refuses_a_caller_without_pid");
    assert!(unshare.stdin(Stdio::from(OwnedFd::from(theirs))).status().unwrap().success());
}

fn refuses_a_caller_without_pid() {
    let error = Peer::of(&std::io::stdin()).unwrap_err();
    assert!(matches!(error, PeerError::NoPid { pid: 0 }), "{error}");
}

fn p5_a_caller_that_proc_hides_is_refused() {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "sh", "-ec", "mount -t proc -o hidepid=2 proc /proc; exec \"$0\""]);
    unshare.arg(env::current_exe().unwrap()).env(SCENARIO, "refuses_a_hidden_caller");
    assert!(unshare.status().unwrap().success());
}

fn refuses_a_hidden_caller() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let connected = i32::try_from(std::process::id()).unwrap();
    let refused = in_child(|| {
        become_service();
        let error = Peer::of(&ours).unwrap_err();
        assert!(matches!(error, PeerError::Hidden { pid } if pid == connected), "{error}");
        assert!(!error.is_callers_fault() && error.to_string().contains("ProtectProc="));
    });
    assert!(refused);
}

/// Starts a copy of this program as systemd starts a service: descriptors from 3 on, announced to its own pid.
fn started_by_systemd(listener: OwnedFd, kept: OwnedFd, announced_pid: &str, expected: &str) -> bool {
    let script = format!(
        "exec 3<&0 4<&1 0</dev/null 1>/dev/null; export LISTEN_PID={announced_pid} LISTEN_FDS=2 \
         LISTEN_FDNAMES=grantd.socket:lease-1; exec \"$0\""
    );
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(script).arg(env::current_exe().unwrap());
    shell.stdin(Stdio::from(listener)).stdout(Stdio::from(kept));
    shell.env(SCENARIO, "takes_descriptors").env(EXPECTED_PID, expected);
    shell.status().unwrap().success()
}

fn p13_descriptors_come_back_from_systemd_once() {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("s")).unwrap();
    let own_pid = std::process::id();
    let kept = pidfd::open(i32::try_from(own_pid).unwrap()).unwrap();
    assert!(started_by_systemd(listener.into(), kept, "$$", &own_pid.to_string()));
}

fn descriptors_meant_for_another_process_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("s")).unwrap();
    let kept = pidfd::open(i32::try_from(std::process::id()).unwrap()).unwrap();
    assert!(started_by_systemd(listener.into(), kept, "1", ""));
}

/// Expects a listening socket and a pidfd, or nothing at all if no pid is expected.
fn takes_descriptors() {
    harden().unwrap();
    let mut taken = take_fds().unwrap();
    assert!(env::vars_os().all(|(name, _)| !name.to_string_lossy().starts_with("LISTEN_")));
    let expected = env::var(EXPECTED_PID).unwrap();
    if expected.is_empty() {
        assert!(taken.is_empty());
        return;
    }
    assert_eq!(taken.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["grantd.socket", "lease-1"]);
    assert!(taken.iter().all(|one| rustix::io::fcntl_getfd(&one.fd).unwrap().contains(FdFlags::CLOEXEC)));
    let pidfd = taken.pop().unwrap().fd;
    assert_eq!(pidfd::pid_of(&pidfd).unwrap(), Some(expected.parse().unwrap()));
    let listener = adopt(taken.pop().unwrap().fd).unwrap();
    let path = listener.local_addr().unwrap().as_pathname().unwrap().to_owned();
    let _caller = UnixStream::connect(path).unwrap();
    listener.accept().unwrap();
    assert!(take_fds().unwrap().is_empty(), "a second owner of the same descriptors");
}

/// The daemon's allocator, over one that looks at memory just before the system gets it back.
#[global_allocator]
static WIPING: ZeroAlloc<Inspector> = ZeroAlloc(Inspector);

struct Inspector;

static INSPECTING: AtomicBool = AtomicBool::new(false);
static FREED: AtomicUsize = AtomicUsize::new(0);
static DIRTY: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "an allocator")]
// SAFETY: hands every request to the system's allocator unchanged.
unsafe impl GlobalAlloc for Inspector {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as our caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if INSPECTING.load(Ordering::Relaxed) {
            // SAFETY: the block is ours until the next line, and the allocator above has written all of it.
            let block = unsafe { std::slice::from_raw_parts(pointer, layout.size()) };
            FREED.fetch_add(1, Ordering::Relaxed);
            DIRTY.fetch_add(usize::from(block.iter().any(|byte| *byte != 0)), Ordering::Relaxed);
        }
        // SAFETY: as our caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn p9_freed_memory_is_wiped() {
    INSPECTING.store(true, Ordering::Relaxed);
    let mut secret = Vec::new();
    for _ in 0..100_000 {
        secret.push(black_box(0xA5_u8));
    }
    let copies: Vec<String> = (1..200).map(|length| "s".repeat(length)).collect();
    drop(black_box((secret, copies, Box::new([0x5A_u8; 4096]))));
    let (freed, dirty) = (FREED.load(Ordering::Relaxed), DIRTY.load(Ordering::Relaxed));
    assert!(freed > 210, "growing and dropping frees blocks: {freed}");
    assert_eq!(dirty, 0, "blocks that went back to the system as they were");

    // The inspector does see what is not wiped.
    let layout = Layout::new::<[u8; 64]>();
    #[expect(unsafe_code, reason = "a block that bypasses the wiping allocator")]
    // SAFETY: allocated, written whole and freed with one layout.
    unsafe {
        let block = Inspector.alloc(layout);
        assert!(!block.is_null());
        block.write_bytes(0xA5, layout.size());
        Inspector.dealloc(black_box(block), layout);
    }
    INSPECTING.store(false, Ordering::Relaxed);
    assert_eq!(DIRTY.load(Ordering::Relaxed), 1);
}
