//! The stage itself: users are who they say, time limits hold, a missing or silent daemon is told.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may")]

use std::time::Duration;

use grantd_tests::{Daemon, Scene, User};

/// A stand-in for the daemon's binary.
fn with_binary(script: &str) -> Scene {
    let scene = Scene::bare();
    scene.write("bin/grantd", &format!("#!/bin/sh\n{script}\n"), User::Root, 0o755);
    scene
}

#[test]
fn users_are_who_they_say_with_their_groups_and_an_empty_environment() {
    let scene = Scene::bare();
    for user in [User::Alice, User::Bob, User::Daemon] {
        let finished =
            scene.caller(user).env("SEEN", "yes").run("sh", &["-c", "id -un; id -Gn; env | sort; echo >~/mine"]);
        assert!(finished.success(), "{finished}");
        let lines: Vec<&str> = finished.stdout.lines().collect();
        assert_eq!(lines[0], user.name());
        assert!(lines[1].split(' ').any(|group| group == "gt-clients"), "{finished}");
        let names: Vec<&str> = lines[2..].iter().filter_map(|line| line.split('=').next()).collect();
        assert_eq!(names, ["HOME", "LANG", "PATH", "PWD", "SEEN"], "{finished}");
    }
    let spied = scene.caller(User::Bob).run("cat", &[&format!("{}/mine", scene.home(User::Alice).display())]);
    assert!(!spied.success(), "bob reads alice's home");
}

#[test]
fn every_user_can_run_boto3_and_the_aws_cli() {
    let scene = Scene::bare();
    for user in [User::Alice, User::Bob] {
        let finished = scene.caller(user).python("import boto3, getpass; print(boto3.__version__)");
        assert_eq!(finished.stdout, "1.44.5\n", "{finished}");
    }
    let finished = scene.caller(User::Alice).aws(&["--version"]);
    assert!(finished.stdout.starts_with("aws-cli/1.46.3"), "{finished}");
}

#[test]
#[should_panic(expected = "was killed after")]
fn a_client_that_hangs_is_killed() {
    let scene = Scene::bare();
    let _ = scene.caller(User::Alice).limit(Duration::from_millis(200)).run("sleep", &["600"]);
}

#[test]
fn a_daemon_that_ends_at_once_is_told_with_its_output() {
    let scene = with_binary("echo 'config: line 3: no such key' >&2; exit 78");
    let mut daemon = Daemon::start(&scene, &scene.config().join("grantd.toml"));
    let error = daemon.ready_within(Duration::from_secs(5)).unwrap_err();
    assert!(error.contains("78") && error.contains("no such key"), "{error}");
}

#[test]
fn a_daemon_without_a_socket_is_never_ready_and_dies_by_sigkill() {
    let scene = with_binary("echo \"$@\"; exec sleep 600");
    let config = scene.config().join("grantd.toml");
    let mut daemon = Daemon::start(&scene, &config);
    let error = daemon.ready_within(Duration::from_millis(300)).unwrap_err();
    assert!(error.contains(&format!("--config {}", config.display())), "{error}");
    daemon.kill9();
}

#[test]
fn a_daemon_that_answers_is_ready_and_curl_reads_it() {
    let scene = with_binary(
        "exec /usr/bin/python3 -c '
import http.server, os, socketserver
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = \"HTTP/1.1\"
    def do_GET(self):
        body = b\"{\\\"uid\\\": %d}\" % os.getuid()
        self.send_response(200); self.send_header(\"Content-Length\", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
socketserver.UnixStreamServer(\"run/grantd.sock\", H).serve_forever()'",
    );
    let mut daemon = Daemon::start(&scene, &scene.config().join("grantd.toml"));
    daemon.wait_ready();
    // connect(2) needs write permission on the socket, and the stand-in made it with the usual umask.
    let answer = scene.caller(User::Root).curl("GET", "/v1/status", None);
    assert_eq!((answer.status, answer.body["uid"].as_u64()), (200, Some(u64::from(User::Daemon.uid()))));
    assert_eq!(daemon.stop().code(), None);
}
