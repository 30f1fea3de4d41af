//! Several accounts (P11): each has its own identity, region, endpoint and deadline, the resource says which one it is,
//! and a broken one is nobody else's trouble.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that breaks must say so"
)]

use std::fs;
use std::os::unix::fs::chown;
use std::thread;
use std::time::Duration;

use grantd_testkit::{Account, Fault, FaultProxy, MiniStack, Rule};
use grantd_tests::{Setup, User, World, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A second account, as far from the first as can be: another cloud at another address, with other keys.
struct Spare {
    stack: MiniStack,
    proxy: FaultProxy,
    _log: TempDir,
}

/// A world with a second account `spare`, in which `far` lives.
fn two_accounts() -> (World, Spare) {
    let mut world = World::prepared(&Setup::default());
    let log = tempfile::tempdir().unwrap();
    let stack = MiniStack::start_as("210987654321", log.path()).unwrap();
    let account = Account::prepare(&stack.url()).unwrap();
    let proxy = FaultProxy::start(stack.address()).unwrap();
    let profile = world.scene.config().join("spare-credentials");
    account.write_profile(&profile, "spare").unwrap();
    chown(&profile, Some(User::Daemon.uid()), Some(User::Daemon.gid())).unwrap();
    let mut text = fs::read_to_string(world.config()).unwrap();
    text += &format!(
        "\n[[aws.account]]\nname = \"spare\"\nid = \"{id}\"\nregion = \"us-east-1\"\nendpoint = \"{endpoint}\"\n\
         base = {{ type = \"profile\", files = [\"{profile}\"], profile = \"spare\" }}\n\
         [[aws.account.role]]\narn = \"{role}\"\nboundary = \"{boundary}\"\n",
        id = account.account_id,
        endpoint = proxy.url(),
        profile = profile.display(),
        role = account.role_arns[1],
        boundary = account.boundary_arns[1],
    );
    fs::write(world.config(), text).unwrap();
    let catalog = world.policy().join("catalog.toml");
    // One asset has one name, whatever the account.
    let text = fs::read_to_string(&catalog).unwrap().replace(":::beta\"", ":::beta-elsewhere\"")
        + "[[resource]]\nname = \"far\"\ncloud = \"aws\"\naccount = \"spare\"\ntype = \"object-storage\"\nnative = \
           \"arn:aws:s3:::beta\"\nenvironment = \"dev\"\ntier = \"low\"\nowners = [\"olga\"]\n";
    fs::write(catalog, text).unwrap();
    world.start();
    (world, Spare { stack, proxy, _log: log })
}

fn account<'a>(status: &'a Value, name: &str) -> &'a Value {
    let accounts = status["accounts"].as_array().unwrap();
    accounts.iter().find(|account| account["account"] == name).unwrap_or_else(|| panic!("no {name} in {status}"))
}

#[test]
fn p11_the_resource_says_which_account_it_is() {
    let (world, spare) = two_accounts();
    let (near, far) = (world.grant(&world.alice(), "alpha"), world.grant(&world.alice(), "far"));
    let here = world.vend(&world.alice(), &near, json!({}));
    let there = world.vend(&world.alice(), &far, json!({}));
    assert_eq!(
        (&here.body["credential"]["region"], &there.body["credential"]["region"]),
        (&json!("eu-west-1"), &json!("us-east-1"))
    );
    let ((_, here), (lease, there)) = (World::vended(&here), World::vended(&there));
    assert!(world.can_read(&here, "alpha") && !world.can_read(&here, "beta"));
    let read = |credentials| {
        let code = "import boto3\nfrom botocore.config import Config\n\
                    s3 = boto3.client('s3', config=Config(s3={'addressing_style': 'path'}))\n\
                    print(s3.get_object(Bucket='beta', Key='hello.txt')['Body'].read().decode(), end='')\n";
        world.alice().cloud(&spare.stack.url()).credentials(credentials).python(code)
    };
    assert_eq!(read(&there).stdout, "hello from beta\n");
    assert!(!read(&here).success(), "a session of one account works in the other");
    assert_eq!((world.proxy.ledger().len(), spare.proxy.ledger().len()), (1, 1));

    // It is revoked where it was issued.
    assert_eq!(world.alice().curl("POST", &format!("/v1/leases/{lease}/complete"), None).status, 200);
    world.wait_for_lease(&lease, "revoked");
    assert!(!read(&there).success() && world.can_read(&here, "alpha"));
    let wrote = |proxy: &FaultProxy| proxy.records().iter().any(|record| record.action == "CreatePolicyVersion");
    assert!(wrote(&spare.proxy) && !wrote(&world.proxy));
}

#[test]
fn p11_a_broken_account_is_nobody_elses_trouble() {
    let (world, spare) = two_accounts();
    let (near, far) = (world.grant(&world.alice(), "alpha"), world.grant(&world.bob(), "far"));
    let (lost, _) = World::vended(&world.vend(&world.bob(), &far, json!({})));
    let sessions = spare.proxy.ledger();
    spare.proxy.add(Rule::on_all(Fault::Stall)).unwrap();
    assert_eq!(world.bob().curl("POST", &format!("/v1/leases/{lost}/complete"), None).status, 200);
    thread::scope(|scope| {
        let stuck = scope.spawn(|| world.vend(&world.bob(), &far, json!({})).status);
        // Meanwhile everything is done in the other account, down to the confirmation.
        for _ in 0..3 {
            let (lease, held) = World::vended(&world.vend(&world.alice(), &near, json!({})));
            assert!(world.can_read(&held, "alpha"));
            assert_eq!(world.alice().curl("POST", &format!("/v1/leases/{lease}/complete"), None).status, 200);
            world.wait_for_lease(&lease, "revoked");
            assert!(!world.can_read(&held, "alpha"));
        }
        assert!(stuck.join().unwrap() >= 500, "the stalled account issued something");
    });
    eventually("the account is called broken", Duration::from_secs(30), || {
        account(&world.status(), "spare")["last_error"].is_string()
    });
    let status = world.status();
    assert!(account(&status, "main")["last_error"].is_null(), "{status}");
    assert!(status["alarms"].to_string().contains("spare") && status["state"] == "degraded", "{status}");
    let told = world.root().grantctl(&["status"]);
    assert!(told.stdout.contains("spare"), "{told}");

    // What had to be revoked there is, once it answers again.
    spare.proxy.clear();
    world.wait_for_lease(&lost, "revoked");
    let seen = grantd_testkit::probe(&spare.stack.url(), "beta", "hello.txt", &sessions).unwrap();
    assert!(seen.iter().all(grantd_testkit::Sight::is_refusal), "{seen:?}");
    eventually("the account is whole again", Duration::from_secs(60), || {
        world.vend(&world.bob(), &far, json!({})).status == 200
    });
}
