//! Many ended sessions of one role are denied as one (P4), and nobody else is disturbed by it (P10).
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that breaks must say so"
)]

use std::fs;
use std::time::Duration;

use grantd_tests::{Setup, World, eventually, grow_old};
use serde_json::{Value, json};

/// So many sessions of one role that they are worth a line.
const MANY: usize = 20;

/// A world in which no session of more than 20 minutes is on the first role, and lines are drawn soon.
fn world() -> World {
    let (clock_skew, first_role) = ("2s".to_owned(), "max_session = \"20m\"".to_owned());
    let mut world = World::prepared(&Setup { clock_skew, first_role, ..Setup::default() });
    // A session that nobody watches, as curl's, may last longer than the first role carries.
    let file = world.policy().join("policies/low-tier.cedar");
    let policy = fs::read_to_string(&file).unwrap();
    assert!(policy.contains("@max_ttl(\"15m\")"));
    fs::write(&file, policy.replace("@max_ttl(\"15m\")", "@max_ttl(\"1h\")")).unwrap();
    world.start();
    world
}

fn lease(world: &World, grant: &str) -> String {
    World::vended(&world.vend(&world.alice(), grant, json!({}))).0
}

fn end_grant(world: &World, grant: &str) {
    let answer = world.alice().curl("POST", &format!("/v1/grants/{grant}/complete"), None);
    assert_eq!(answer.status, 200, "{answer:?}");
}

fn leases_on_record(record: &Value) -> usize {
    let by_role = record["detail"]["leases"].as_object().unwrap();
    by_role.values().map(|leases| leases.as_array().unwrap().len()).sum()
}

#[test]
fn p10_many_ended_sessions_of_a_role_collapse_to_one_line_that_touches_nobody_else() {
    let world = world();
    let boundary = &world.account.boundary_arns[0];
    let grant = world.grant(&world.alice(), "alpha");
    let ended: Vec<String> = (0..MANY).map(|_| lease(&world, &grant)).collect();
    let sessions: Vec<_> = ended.iter().map(|id| world.session_of(id)).collect();
    assert!(sessions.iter().all(|session| session.role_arn == world.account.role_arns[0]), "not on the first role");
    // The neighbour role: it asks for longer than the first one carries.
    let longer = world.grant(&world.alice(), "alpha");
    let (neighbour, _) = World::vended(&world.vend(&world.alice(), &longer, json!({ "ttl_seconds": 1500 })));
    let neighbour = [world.session_of(&neighbour)];
    assert_eq!(neighbour[0].role_arn, world.account.role_arns[1]);
    assert_eq!(world.allowed(&sessions), [true; MANY]);

    grow_old();
    end_grant(&world, &grant);
    eventually("they are collapsed", Duration::from_secs(30), || !world.audited("deny.collapsed").is_empty());
    assert_eq!(world.denials(boundary), (0, 1), "{:?}", world.deny_document(boundary));
    for id in &ended {
        world.wait_for_lease(id, "revoked");
    }
    assert_eq!(world.allowed(&sessions), [false; MANY]);
    assert_eq!(world.allowed(&neighbour), [true]);
    let record = &world.audited("deny.collapsed")[0];
    assert_eq!((leases_on_record(record), &record["detail"]["scope"]["name"]), (MANY, &json!(boundary)), "{record}");

    // The same role goes on: what is issued from now on works, and is ended alone.
    let grant = world.grant(&world.alice(), "alpha");
    let (new, other) = (lease(&world, &grant), lease(&world, &grant));
    let fresh = [world.session_of(&new), world.session_of(&other)];
    assert!(fresh.iter().all(|session| session.role_arn == world.account.role_arns[0]));
    assert_eq!(world.allowed(&fresh), [true, true]);
    let answer = world.alice().curl("POST", &format!("/v1/leases/{new}/complete"), None);
    assert_eq!(answer.status, 200, "{answer:?}");
    world.wait_for_lease(&new, "revoked");
    assert_eq!(world.denials(boundary), (1, 1), "{:?}", world.deny_document(boundary));
    assert_eq!((world.allowed(&fresh), world.allowed(&neighbour)), (vec![false, true], vec![true]));
    assert_eq!(world.allowed(&sessions), [false; MANY]);
}

#[test]
fn p10_while_anything_lives_on_the_role_every_session_is_denied_by_its_own_name() {
    let world = world();
    let boundary = &world.account.boundary_arns[0];
    let grant = world.grant(&world.alice(), "alpha");
    let bobs = world.grant(&world.bob(), "alpha");
    let (living, _) = World::vended(&world.vend(&world.bob(), &bobs, json!({})));
    let ended: Vec<String> = (0..MANY).map(|_| lease(&world, &grant)).collect();
    let sessions: Vec<_> = ended.iter().chain([&living]).map(|id| world.session_of(id)).collect();
    assert!(sessions.iter().all(|session| session.role_arn == sessions[0].role_arn), "not on one role");
    end_grant(&world, &grant);
    for id in &ended {
        world.wait_for_lease(id, "revoked");
    }
    let mut expected = vec![false; MANY];
    expected.push(true);
    assert_eq!((world.denials(boundary), world.allowed(&sessions)), ((MANY, 0), expected));
    // When it ends too, all of them are collapsed.
    grow_old();
    let answer = world.bob().curl("POST", &format!("/v1/leases/{living}/complete"), None);
    assert_eq!(answer.status, 200, "{answer:?}");
    eventually("they are collapsed", Duration::from_secs(30), || world.denials(boundary) == (0, 1));
    assert_eq!(world.allowed(&sessions), [false; MANY + 1]);
    world.wait_for_lease(&living, "revoked");
}

#[test]
fn p13_a_line_outlives_a_restart() {
    let mut world = world();
    let grant = world.grant(&world.alice(), "alpha");
    let ended: Vec<String> = (0..MANY).map(|_| lease(&world, &grant)).collect();
    let sessions: Vec<_> = ended.iter().map(|id| world.session_of(id)).collect();
    grow_old();
    end_grant(&world, &grant);
    eventually("they are collapsed", Duration::from_secs(30), || !world.audited("deny.collapsed").is_empty());
    world.crash_and_restart();
    let grant = world.grant(&world.alice(), "alpha");
    let live = lease(&world, &grant);
    for id in &ended {
        world.wait_for_lease(id, "revoked");
    }
    assert_eq!(world.denials(&world.account.boundary_arns[0]), (0, 1));
    assert_eq!((world.allowed(&sessions), world.allowed(&[world.session_of(&live)])), (vec![false; MANY], vec![true]));
    assert_eq!(world.audited("deny.collapsed").len(), 1);
}
