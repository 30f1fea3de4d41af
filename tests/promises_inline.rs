//! Revocation in an inline policy of the role, where the configuration says so, keeps the same promises.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that breaks must say so"
)]

use std::time::Duration;

use grantd_testkit::{Fault, Rule};
use grantd_tests::{Credentials, Setup, World, eventually, grow_old};
use serde_json::{Value, json};

fn world() -> World {
    world_with("")
}

/// The same with more lines for the first role.
fn world_with(first_role: &str) -> World {
    let (clock_skew, first_role) = ("2s".to_owned(), first_role.to_owned());
    let mut world = World::prepared(&Setup { clock_skew, first_role, inline: true, ..Setup::default() });
    world.start();
    world
}

fn lease(world: &World, grant: &str) -> String {
    World::vended(&world.vend(&world.alice(), grant, json!({}))).0
}

fn complete(world: &World, lease: &str) -> Value {
    let answer = world.alice().curl("POST", &format!("/v1/leases/{lease}/complete"), None);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

/// Nothing but denies: an allow there would grant.
fn only_denies(world: &World, role: &str) {
    let statements = world.deny_document(role);
    assert!(statements.iter().all(|statement| statement["Effect"] == "Deny"), "{statements:?}");
}

#[test]
fn p10_an_inline_policy_ends_one_session_and_collapses_many() {
    let world = world();
    let role = &world.account.role_arns[0];
    let grant = world.grant(&world.alice(), "alpha");
    let leases: Vec<String> = (0..18).map(|_| lease(&world, &grant)).collect();
    let sessions: Vec<_> = leases.iter().map(|id| world.session_of(id)).collect();
    assert!(sessions.iter().all(|session| session.role_arn == *role), "not on the first role");
    complete(&world, &leases[0]);
    world.wait_for_lease(&leases[0], "revoked");
    let mut expected = vec![true; 18];
    expected[0] = false;
    assert_eq!((world.denials(role), world.allowed(&sessions)), ((1, 0), expected));
    only_denies(&world, role);

    grow_old();
    let answer = world.alice().curl("POST", &format!("/v1/grants/{grant}/complete"), None);
    assert_eq!(answer.status, 200, "{answer:?}");
    eventually("they are collapsed", Duration::from_secs(30), || world.denials(role) == (0, 1));
    only_denies(&world, role);
    assert_eq!(world.allowed(&sessions), [false; 18]);
    for id in &leases {
        world.wait_for_lease(id, "revoked");
    }
    // What the role may do is what it could do before.
    let grant = world.grant(&world.alice(), "alpha");
    let fresh = lease(&world, &grant);
    assert_eq!(world.allowed(&[world.session_of(&fresh)]), [true]);
    let wrote: Vec<String> = world.proxy.records().into_iter().map(|record| record.action).collect();
    assert!(wrote.iter().any(|action| action == "PutRolePolicy"));
    assert!(!wrote.iter().any(|action| action == "CreatePolicyVersion" || action == "DeleteRolePolicy"), "{wrote:?}");
}

#[test]
fn what_is_collapsed_frees_its_places() {
    // Room for 44 sessions, of which one user may have 33.
    let world = world_with("inline_characters = 1024");
    let roles = &world.account.role_arns;
    let grant = world.grant(&world.alice(), "alpha");
    let leases: Vec<String> = (0..34).map(|_| lease(&world, &grant)).collect();
    let carriers: Vec<String> = leases.iter().map(|id| world.session_of(id).role_arn.clone()).collect();
    assert!(carriers[..33].iter().all(|role| *role == roles[0]), "{carriers:?}");
    assert_eq!(carriers[33], roles[1], "the first role is full");
    let answer = world.alice().curl("POST", &format!("/v1/grants/{grant}/complete"), None);
    assert_eq!(answer.status, 200, "{answer:?}");
    let next = |world: &World| {
        let grant = world.grant(&world.alice(), "alpha");
        world.session_of(&lease(world, &grant)).role_arn.clone()
    };
    eventually("they are collapsed", Duration::from_secs(30), || !world.audited("deny.collapsed").is_empty());
    assert_eq!(next(&world), roles[0], "and their places are free");
}

#[test]
fn p4_a_deny_that_a_stranger_takes_away_or_adds_to_is_put_right() {
    let world = world();
    let role = &world.account.role_arns[0];
    let grant = world.grant(&world.alice(), "alpha");
    let (first, second) = (lease(&world, &grant), lease(&world, &grant));
    let sessions = [world.session_of(&first), world.session_of(&second)];
    complete(&world, &first);
    world.wait_for_lease(&first, "revoked");
    assert_eq!(world.allowed(&sessions), [false, true]);
    // The stranger undoes it, denies a session of its own, and grants something.
    let other = json!({ "StringLike": { "aws:userid": ["*-aaaaaaaaaa"] } });
    let theirs = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": "sqs:*", "Resource": "*" },
        { "Effect": "Deny", "Action": "*", "Resource": "*", "Condition": other },
        { "Effect": "Deny", "Action": "sns:*", "Resource": "*" },
    ] });
    let put = format!(
        "import boto3\nboto3.client('iam').put_role_policy(RoleName='grantd-target-1', PolicyName='grantd-revocations', \
         PolicyDocument=r'{theirs}')"
    );
    let base = Credentials::from(&world.account.base);
    let done = world.root().cloud(&world.stack.url()).credentials(&base).python(&put);
    assert!(done.success(), "{done}");
    assert_eq!(world.allowed(&sessions), [true, true]);
    complete(&world, &second);
    world.wait_for_lease(&second, "revoked");
    assert_eq!(world.allowed(&sessions), [false, false]);
    only_denies(&world, role);
    assert_eq!(world.denials(role), (3, 0), "theirs is kept beside both of ours");
    assert!(world.deny_document(role).iter().any(|statement| statement["Action"] == "sns:*"));
}

#[test]
fn p4_an_inline_deny_that_the_cloud_does_not_take_is_told_and_tried_until_it_does() {
    let world = world();
    let grant = world.grant(&world.alice(), "alpha");
    let id = lease(&world, &grant);
    let session = [world.session_of(&id)];
    let rule = world.proxy.add(Rule::on("PutRolePolicy", Fault::Status { status: 403, code: None })).unwrap();
    complete(&world, &id);
    world.wait_for_lease(&id, "revoke_failed");
    let told = world.lease(&id);
    assert!(told["error"].as_str().unwrap().contains("grantd-target-1"), "{told}");
    assert_eq!(world.allowed(&session), [true]);
    world.proxy.remove(rule);
    world.wait_for_lease(&id, "revoked");
    assert_eq!(world.allowed(&session), [false]);
}
