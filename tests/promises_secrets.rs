//! Secrets (P9): none in a log, the store, an answer that is no credential, the environment or the arguments; and the
//! daemon's memory is nobody else's.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that breaks must say so"
)]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use grantd_testkit::{Fault, Rule};
use grantd_tests::{Job, Setup, User, World, eventually};
use serde_json::{Value, json};

/// Every file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

fn holds(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}

#[test]
fn p9_no_secret_is_in_log_store_audit_problem_environment_or_arguments() {
    let timeouts = r#"connect = "1s", read = "1s", attempt = "1s", operation = "2s""#.to_owned();
    let mut world = World::prepared(&Setup { timeouts, ..Setup::default() });
    // Everything that the daemon can be made to log, its libraries included.
    let config = fs::read_to_string(world.config()).unwrap();
    world.scene.write("config/grantd.toml", &format!("{config}\n[log]\nfilter = \"trace\"\n"), User::Root, 0o644);
    // Whoever starts the daemon may have secrets of his own about him; it takes none of them.
    world.start_with(&[("AWS_SECRET_ACCESS_KEY", "from-the-environment"), ("AWS_SESSION_TOKEN", "from-there-too")]);
    let grant = world.grant(&world.alice(), "alpha");
    let mut said: Vec<Value> = Vec::new();
    let mut job = Job::start(&world.scene, User::Alice);
    let (lease, vended) = World::vended(&job.vend(&grant));
    let _ = World::vended(&job.vend(&grant));
    for fault in [
        Fault::DropAfter,
        Fault::DelayAfter { millis: 1500 },
        Fault::Garbage,
        Fault::Status { status: 500, code: None },
    ] {
        let rule = world.proxy.add(Rule::on("AssumeRole", fault)).unwrap();
        said.push(world.vend(&world.alice(), &grant, json!({})).body);
        world.proxy.remove(rule);
    }
    said.push(world.vend(&world.bob(), &grant, json!({})).body);
    said.push(world.vend(&world.alice(), &grant, json!({ "ttl_seconds": 99_999 })).body);
    assert!(said.iter().all(|body| body["type"].is_string()), "{said:?}");
    assert_eq!(job.ask("POST", &format!("/v1/leases/{lease}/complete"), Value::Null).status, 200);
    world.wait_for_lease(&lease, "revoked");
    world.wait_no_intent();
    // Held by a lease that lives on, so that the daemon has a secret in its memory while it is looked at.
    let (living, _) = World::vended(&world.vend(&world.alice(), &grant, json!({})));
    said.extend([world.lease(&living), world.status(), json!(world.audit())]);
    for path in ["/v1/leases?all=true&ended=true", "/v1/grants?all=true", "/v1/nothing/here"] {
        said.push(world.root().curl("GET", path, None).body);
    }

    let mut secrets = vec![
        world.account.base.secret_access_key.expose().to_owned(),
        "from-the-environment".to_owned(),
        "from-there-too".to_owned(),
        vended.secret_access_key.clone(),
    ];
    let ledger = world.proxy.ledger();
    assert!(ledger.len() >= 4, "{} sessions", ledger.len());
    for session in &ledger {
        secrets.push(session.secret_access_key.expose().to_owned());
        secrets.push(session.session_token.expose().to_owned());
    }
    let pid = world.daemon().pid();
    let mut places: Vec<(String, Vec<u8>)> = vec![
        ("an answer".to_owned(), json!(said).to_string().into_bytes()),
        ("the log".to_owned(), world.daemon().output().into_bytes()),
        ("the arguments".to_owned(), fs::read(format!("/proc/{pid}/cmdline")).unwrap()),
    ];
    for path in files(&world.scene.state()) {
        places.push((path.display().to_string(), fs::read(&path).unwrap()));
    }
    // The kernel shows the environment with which it was started, which is the starter's doing: nothing is added to it.
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
    places.push(("the environment".to_owned(), environment));
    let at_start = ["from-the-environment", "from-there-too"];
    for (place, bytes) in &places {
        for secret in &secrets {
            if place == "the environment" && at_start.contains(&secret.as_str()) {
                continue;
            }
            assert!(!holds(bytes, secret), "{place} holds a secret that begins with {}", &secret[..4]);
        }
    }
    // The search can find: the public half of the credential is where it belongs.
    let public = |place: &str| {
        let found = places.iter().any(|(name, bytes)| name.contains(place) && holds(bytes, &ledger[0].session_name));
        assert!(found, "{place} was not searched");
    };
    public("an answer");
    public("state/");
    assert!(places.iter().any(|(name, bytes)| name == "the log" && bytes.len() > 1000));
}

#[test]
fn p9_the_memory_of_the_daemon_is_nobody_elses() {
    let mut world = World::new();
    let pid = world.daemon().pid();
    // Not dumpable: its files in /proc belong to root, though the process is gt-daemon's (proc(5)).
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains(&format!("Uid:\t{}", User::Daemon.uid())), "{status}");
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    for file in ["mem", "environ", "maps"] {
        assert_eq!(fs::metadata(format!("/proc/{pid}/{file}")).unwrap().uid(), 0, "{file}");
    }
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core: Vec<&str> =
        limits.lines().find(|line| line.starts_with("Max core file size")).unwrap().split_whitespace().collect();
    assert_eq!(core[4..6], ["0", "0"], "{core:?}");

    // Another process of the same user can look into a process of its own, and not into the daemon.
    let look = |pid: u32| {
        let code = format!(
            "import os, signal\nfor name in ['environ', 'mem', 'maps']:\n    open('/proc/{pid}/' + name, 'rb').read(0)\nos.listdir('/proc/{pid}/fd')\nprint('seen')"
        );
        world.scene.caller(User::Daemon).run("/usr/bin/python3", &["-c", &code])
    };
    let own = Job::start(&world.scene, User::Daemon);
    eventually("a process of one's own can be looked into", std::time::Duration::from_secs(5), || {
        look(own.pid()).stdout == "seen\n"
    });
    let daemon = look(pid);
    assert!(daemon.stderr.contains("PermissionError"), "{daemon}");
    // Nor trace it, though it can trace a child of its own.
    let trace = format!(
        "import ctypes, errno, os, time\nlibc = ctypes.CDLL(None, use_errno=True)\nchild = os.fork()\n\
         if child == 0:\n    time.sleep(60)\n\
         print(libc.ptrace(16, child, 0, 0), libc.ptrace(16, {pid}, 0, 0), errno.errorcode[ctypes.get_errno()])\n\
         os.kill(child, 9)"
    );
    let traced = world.scene.caller(User::Daemon).run("/usr/bin/python3", &["-c", &trace]);
    assert_eq!(traced.stdout, "0 -1 EPERM\n", "{traced}");
    // Its files are its own as well.
    for path in files(&world.scene.state()) {
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.uid(), found.mode() & 0o077), (User::Daemon.uid(), 0), "{}", path.display());
    }
    for user in [User::Alice, User::Bob] {
        let listed = world.scene.caller(user).run("ls", &[&world.scene.state().display().to_string()]);
        assert!(!listed.success(), "{listed}");
    }
    world.serves_bob();
}
