//! What `grantctl agent` says to whom - the daemon, its reader, the service manager, people - kept as transcripts in
//! `testdata/`: from its start to each of its ends.
#![cfg(test)]

mod daemon;
mod stage;
#[allow(dead_code, reason = "of what is shared, the samples of grant and credentials are used here")]
#[path = "../../testserver.rs"]
mod testserver;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use grantd_wire::ProblemKind;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use daemon::Given;
use stage::Stage;
use testserver::{vended, vended_azure, vended_gcp};

macro_rules! said {
    ($name:literal) => {
        include_str!(concat!("../../testdata/agent_", $name, ".txt"))
    };
}

const LONG: Given = Given::Lease(900, aws);
/// Renewed after five seconds, over after six.
const SHORT: Given = Given::Lease(6, aws);
const FILE: [&str; 4] = ["--file", "DIR/run/credentials", "--run", "DIR/hook"];

fn without_notes(mut vended: Value) -> Value {
    vended["notes"] = json!([]);
    vended
}

fn aws() -> Value {
    without_notes(vended())
}

fn azure() -> Value {
    without_notes(vended_azure())
}

fn gcp() -> Value {
    without_notes(vended_gcp())
}

#[test]
fn it_starts_is_reloaded_and_ends_when_it_is_asked_to() {
    for (signal, expected) in [(Signal::SIGTERM, said!("end")), (Signal::SIGINT, said!("end"))] {
        // With something that the caller should know of the lease.
        let stage = Stage::new(&[Given::Lease(900, vended)]);
        let agent = stage.start(&FILE);
        agent.told(&["written"]);
        agent.signal(Signal::SIGHUP);
        agent.told(&["written", "renewed"]);
        agent.signal(signal);
        agent.ends(expected);
        assert!(!stage.path("run/credentials").exists());
    }
}

#[test]
fn a_short_lease_is_renewed_and_only_the_last_one_is_given_back() {
    let stage = Stage::new(&[SHORT, LONG]);
    let agent = stage.start(&["--grant", "grant-aaaa", "--ttl", "6s", FILE[0], FILE[1], FILE[2], FILE[3]]);
    agent.told(&["written", "renewed"]);
    stage.daemon().wait_over("lease-0001");
    agent.signal(Signal::SIGTERM);
    agent.ends(said!("renewed"));
}

#[test]
fn a_daemon_that_cannot_vend_is_told_once_and_asked_again() {
    let refused = Given::Refused(ProblemKind::Store, "the audit cannot be written: disk full");
    let stage = Stage::new(&[SHORT, refused.clone(), refused, LONG]);
    let agent = stage.start(&FILE);
    agent.told(&["written", "removed", "written"]);
    agent.signal(Signal::SIGTERM);
    agent.ends(said!("trouble"));
}

#[test]
fn a_lease_that_was_taken_away_is_told_with_its_reason_and_replaced() {
    let stage = Stage::new(&[LONG, LONG]);
    let agent = stage.start(&FILE);
    agent.told(&["written"]);
    stage.daemon().takes_away("lease-0001", "policy_changed", "rule low-issue is gone");
    agent.says("lease-0001 ended");
    agent.told(&["written", "removed", "written"]);
    agent.signal(Signal::SIGTERM);
    agent.ends(said!("taken_away"));
}

#[test]
fn each_end_of_a_grant_is_told_before_the_file_is_gone() {
    for (state, reason, expected) in
        [("revoked", "laptop lost", said!("revoked")), ("ended", "completed", said!("completed"))]
    {
        let stage = Stage::new(&[LONG]);
        let agent = stage.start(&FILE);
        agent.told(&["written"]);
        stage.daemon().grant_is(state, reason);
        agent.ends(expected);
        assert!(!stage.path("run/credentials").exists());
    }
}

#[test]
fn the_end_of_a_grants_time_is_told_before_it_comes() {
    let short = Given::Refused(
        ProblemKind::State,
        "grant-aaaa has less than 2 s left: request a new one with grantctl request",
    );
    let stage = Stage::new(&[Given::Lease(9, aws), short]);
    stage.daemon().grant_ends_in(9);
    stage.start(&FILE).ends(said!("time_up"));
}

#[test]
fn a_freeze_lets_the_last_credential_run_out() {
    let frozen = Given::Refused(ProblemKind::Frozen, "everything is frozen since 09:00: a token leaked");
    let stage = Stage::new(&[SHORT, frozen]);
    let agent = stage.start(&FILE);
    agent.told(&["written"]);
    agent.ends(said!("frozen"));
}

#[test]
fn a_reader_that_fails_is_told_of_and_nothing_ends_by_it() {
    let stage = Stage::new(&[LONG]);
    let agent = stage.start(&["--file", "DIR/run/credentials", "--run", "sh", "-c", "exit 7"]);
    agent.says("failed when it was told that the file was written");
    agent.signal(Signal::SIGTERM);
    agent.ends(said!("reader_fails"));
}

#[test]
fn what_no_daemon_gives_is_refused_with_the_daemons_words() {
    for (kind, detail, expected) in [
        (ProblemKind::Denied, "no policy permits this: tier high", said!("denied")),
        (ProblemKind::NotFound, "you have no active grant: grantctl request", said!("no_grant")),
        (ProblemKind::Limit, "2h asked, 15m allowed", said!("too_long")),
        (ProblemKind::Capacity, "no room: 380 of 380 places are taken", said!("no_room")),
        (ProblemKind::Cloud, "aws did not answer", said!("cloud")),
    ] {
        let stage = Stage::new(&[Given::Refused(kind, detail)]);
        stage.start(&FILE).ends(expected);
        assert!(fs::read_dir(stage.path("run")).unwrap().next().is_none(), "nothing is left");
    }
    Stage::new(&[]).start(&FILE).ends(said!("no_daemon"));
}

#[test]
fn a_form_that_the_cloud_does_not_have_is_refused_and_the_lease_is_given_back() {
    for (given, arguments, expected) in [
        (Given::Lease(900, gcp), &["--format", "aws"][..], said!("other_cloud")),
        (Given::Lease(900, azure), &["--format", "azure-token"], said!("which_audience")),
        (
            Given::Lease(900, azure),
            &["--format", "azure-token", "--audience", "https://graph.example"],
            said!("no_audience"),
        ),
    ] {
        let stage = Stage::new(&[given]);
        let arguments: Vec<&str> = ["--file", "DIR/run/token"].iter().chain(arguments).copied().collect();
        stage.start(&arguments).ends(expected);
    }
}

#[test]
fn a_place_that_is_not_safe_or_not_its_own_is_refused_before_anything_is_asked_for() {
    let stage = Stage::new(&[LONG]);
    fs::write(stage.path("run/credentials"), "somebody else's").unwrap();
    stage.start(&FILE).ends(said!("foreign_file"));
    assert_eq!(fs::read_to_string(stage.path("run/credentials")).unwrap(), "somebody else's");

    let stage = Stage::new(&[LONG]);
    fs::set_permissions(stage.path("run"), fs::Permissions::from_mode(0o777)).unwrap();
    stage.start(&FILE).ends(said!("open_directory"));

    let stage = Stage::new(&[LONG]);
    fs::remove_dir(stage.path("run")).unwrap();
    stage.start(&FILE).ends(said!("no_directory"));
}

#[test]
fn a_second_agent_for_the_same_file_is_refused() {
    let stage = Stage::new(&[LONG]);
    let first = stage.start(&FILE);
    first.told(&["written"]);
    let said = stage.path("first");
    fs::rename(stage.path("said"), &said).unwrap();
    stage.start(&FILE[..2]).ends(said!("second"));
    assert!(stage.path("run/credentials").exists(), "that of the first stays");
}

#[test]
fn what_contradicts_itself_is_refused() {
    for (arguments, expected) in [
        (&["--json"][..], said!("json")),
        (&["--mode", "0640"], said!("whose_group")),
        (&["--mode", "0644"], said!("for_everybody")),
        (&["--grant", "grant-aaaa", "--resource", "reports"], said!("resource")),
        (&["--signal", "HUP"], said!("no_pid_file")),
        (&["--owner", "no-such-user"], said!("no_user")),
    ] {
        let stage = Stage::new(&[LONG]);
        let arguments: Vec<&str> = FILE[..2].iter().chain(arguments).copied().collect();
        stage.start(&arguments).ends(expected);
    }
}
