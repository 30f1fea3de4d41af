//! What the events share: leases as they were issued, rules that are added, a client that reads a bucket.

use std::fs;

use grantd_testkit::{Finished, aws_environment};
use grantd_tests::{Setup, User, World};
use serde_json::{Value, json};

/// Reads `hello.txt` of the bucket that is named first.
pub const READ: &str = "import boto3, sys
from botocore.config import Config
s3 = boto3.client('s3', config=Config(s3={'addressing_style': 'path'}))
print(s3.get_object(Bucket=sys.argv[1], Key='hello.txt')['Body'].read().decode(), end='')
sys.exit(int(sys.argv[2]) if len(sys.argv) > 2 else 0)";

/// The python that has boto3.
pub fn python() -> String {
    aws_environment().unwrap().join("bin/python").display().to_string()
}

/// `grantctl exec OPTIONS -- COMMAND` as alice, to its end.
pub fn exec(world: &World, options: &[&str], command: &[&str]) -> Finished {
    let line: Vec<&str> = ["exec"].iter().chain(options).chain(&["--"]).chain(command).copied().collect();
    world.alice().cloud(&world.stack.url()).grantctl(&line)
}

/// The same with boto3 that reads a bucket.
pub fn exec_reads(world: &World, options: &[&str], bucket: &str) -> Finished {
    exec(world, options, &[&python(), "-W", "ignore", "-c", READ, bucket])
}

/// Checks that `exec` did not start its command, with this code and these words.
pub fn not_started(done: &Finished, code: i32, words: &[&str]) {
    assert_eq!(done.status.code(), Some(code), "{done}");
    let last = done.stderr.lines().last().unwrap_or_default();
    assert!(last.ends_with("the command was not started"), "{done}");
    for word in words {
        assert!(last.contains(word), "it does not say \"{word}\": {done}");
    }
    assert_eq!(done.stdout, "", "{done}");
}

/// The leases that were issued, oldest first.
pub fn leases(world: &World) -> Vec<String> {
    world.audited("lease.issued").iter().map(|record| record["lease"].as_str().unwrap().to_owned()).collect()
}

/// The lease that was issued last.
pub fn last_lease(world: &World) -> String {
    leases(world).pop().unwrap()
}

/// Waits until a lease is revoked; checks why, and that the cloud refuses its session.
pub fn is_over(world: &World, lease: &str, reason: &str) {
    world.wait_for_lease(lease, "revoked");
    assert_eq!(world.lease(lease)["reason"], reason, "{lease}");
    assert_eq!(world.allowed(&[world.session_of(lease)]), [false], "{lease}");
}

/// A grant as its user sees it.
pub fn seen(world: &World, grant: &str) -> Value {
    let answer = world.root().curl("GET", &format!("/v1/grants/{grant}"), None);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

/// How many tasks have used a grant.
pub fn uses(world: &World, grant: &str) -> Value {
    let view = seen(world, grant);
    if view["uses"].is_null() { json!(0) } else { view["uses"].clone() }
}

/// Writes a file of policies.
pub fn rule(world: &World, name: &str, text: &str) {
    world.scene.write(&format!("config/policy/policies/{name}.cedar"), text, User::Root, 0o644);
}

/// Adds a permit of issue on `alpha` with these annotations: the strictest of all that match applies.
pub fn narrowed(world: &World, annotations: &str) {
    let most = if annotations.contains("@max_ttl") { "" } else { "@max_ttl(\"1h\")\n" };
    let text = format!(
        "@id(\"narrowed\")\n{most}{annotations}\npermit (principal, action == Grantd::Action::\"issue\", resource)\n\
         when {{ resource == Grantd::Resource::\"alpha\" }};\n"
    );
    rule(world, "narrowed", &text);
}

/// A world in which `ledger` (tier high) belongs to olga and otto, and is the bucket `alpha`, in which there is something.
pub fn with_owners() -> World {
    let mut world = World::prepared(&Setup::default());
    catalog(&world, |text| {
        let text = text.replace(":::ledger\"", ":::other\"").replace(":::alpha\"", ":::ledger\"");
        text.replace(":::other\"", ":::alpha\"")
    });
    owners(&world, "\"olga\", \"otto\"");
    world.start();
    world
}

/// Changes the catalogue; gives what it was.
pub fn catalog(world: &World, change: impl Fn(&str) -> String) -> String {
    let path = world.policy().join("catalog.toml");
    let before = fs::read_to_string(&path).unwrap();
    let after = change(&before);
    assert_ne!(before, after);
    fs::write(&path, after).unwrap();
    before
}

/// Makes these people, as TOML writes them, the owners of `ledger`.
pub fn owners(world: &World, names: &str) {
    catalog(world, |text| {
        let (before, ledger) = text.split_once("name = \"ledger\"").unwrap();
        let (head, rest) = ledger.split_once("owners = [").unwrap();
        format!("{before}name = \"ledger\"{head}owners = [{names}]{}", rest.split_once(']').unwrap().1)
    });
}

/// Has alice ask for `ledger` on the command line; gives the id of what waits.
pub fn asked(world: &World, how_long: &str) -> String {
    let what = ["request", "--resource", "ledger", "--can", "object-storage:read"];
    let line: Vec<&str> = what.into_iter().chain(["--for", how_long, "--why", "the export"]).collect();
    let asked = world.alice().grantctl(&line);
    assert_eq!(asked.status.code(), Some(11), "{asked}");
    asked.stdout.lines().next().unwrap().to_owned()
}

/// Has `person` decide on what waits, having seen its digest.
pub fn approve(world: &World, person: User, grant: &str) -> Finished {
    let view = seen(world, grant);
    let waiting = view["extensions"].as_array().and_then(|all| all.iter().find(|one| one["state"] == "pending"));
    let digest = waiting.unwrap_or(&view)["digest"].as_str().unwrap();
    world.scene.caller(person).grantctl(&["approve", grant, "--digest", digest])
}

/// A grant on `ledger` that olga has approved.
pub fn approved(world: &World, how_long: &str) -> String {
    let grant = asked(world, how_long);
    let done = approve(world, User::Olga, &grant);
    assert!(done.success(), "{done}");
    assert_eq!(seen(world, &grant)["state"], "active");
    grant
}
