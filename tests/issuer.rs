//! The daemon as an issuer of tokens: its keys, what it publishes, and sessions that are made with its tokens. MiniStack
//! enforces trust policies and revocations, and verifies no token; SeaweedFS verifies tokens against what is published.
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
use std::path::PathBuf;
use std::time::Duration;

use grantd_testkit::{FileServer, Finished, SeaweedFs, Trusted};
use grantd_tests::{Answer, Credentials, Setup, User, World, eventually};
use serde_json::{Value, json};

const URL: &str = "https://tokens.example.com";

fn setup(algorithm: &str) -> Setup {
    let lines = format!("url = \"{URL}\"\nalgorithm = \"{algorithm}\"\npublish_ahead = \"0s\"");
    Setup { issuer: Some(lines), by_token: true, ..Setup::default() }
}

/// The issuer as the administrator sees it.
fn issuer(world: &World) -> Value {
    let answer = world.root().curl("GET", "/v1/issuers", None);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["issuers"][0].clone()
}

/// The ids of the keys that are in `state`.
fn keys(world: &World, state: &str) -> Vec<String> {
    let issuer = issuer(world);
    let keys = issuer["keys"].as_array().unwrap().iter().filter(|key| key["state"] == state);
    keys.map(|key| key["id"].as_str().unwrap().to_owned()).collect()
}

fn published(world: &World) -> PathBuf {
    world.scene.path().join("published")
}

fn publish(world: &World, more: &[&str]) -> Finished {
    let directory = published(world).display().to_string();
    let finished = world.root().grantctl(&[&["issuer", "publish", &directory], more].concat());
    assert!(finished.success(), "{finished}");
    finished
}

/// The ids in the published key set.
fn published_keys(world: &World) -> Vec<String> {
    let text = fs::read_to_string(published(world).join(".well-known/jwks.json")).unwrap();
    let set: Value = serde_json::from_str(&text).unwrap();
    set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_session_by_token_needs_no_secret_on_the_host_and_is_revoked_like_any_other() {
    let mut world = World::prepared(&setup("ES256"));
    fs::remove_file(world.scene.config().join("aws-credentials")).unwrap();
    world.start();
    let grant = world.grant(&world.alice(), "alpha");
    let (lease, credentials) = World::vended(&world.vend(&world.alice(), &grant, json!({})));
    let neighbour = world.grant(&world.bob(), "alpha");
    let (_, other) = World::vended(&world.vend(&world.bob(), &neighbour, json!({})));
    assert!(world.can_read(&credentials, "alpha"));

    let records = world.proxy.records();
    let made: Vec<_> = records.iter().filter(|record| record.action.starts_with("AssumeRole")).collect();
    assert!(made.iter().all(|record| record.action == "AssumeRoleWithWebIdentity"), "{made:?}");
    assert!(made.iter().all(|record| record.access_key.is_none()), "a call with a token is signed by nobody");
    let session = made.iter().find(|record| record.parameters["RoleSessionName"] != "grantd-revoker").unwrap();
    assert_eq!(session.parameters["RoleArn"], world.account.role_arns[0]);
    assert_eq!(session.parameters["DurationSeconds"], "900");
    let policy: Value = serde_json::from_str(&session.parameters["Policy"]).unwrap();
    let statements = policy["Statement"].as_array().unwrap();
    for member in ["NotAction", "NotResource", "Condition"] {
        assert!(statements.iter().any(|one| one.get(member).is_some()), "{member}: {policy}");
    }

    let revoked = world.root().grantctl(&["revoke", &lease, "--reason", "the test has seen it"]);
    assert!(revoked.success(), "{revoked}");
    world.wait_for_lease(&lease, "revoked");
    eventually("the cloud refuses it", Duration::from_secs(15), || !world.can_read(&credentials, "alpha"));
    assert!(world.can_read(&other, "alpha"), "its neighbour goes on");
    world.audit_verifies();
}

#[test]
fn a_role_that_trusts_another_subject_of_the_issuer_gives_no_session() {
    let second = "arn:aws:iam::123456789012:role/grantd-target-2".to_owned();
    let mut world = World::prepared(&Setup { role: Some(second), ..setup("ES256") });
    world.start();
    let grant = world.grant(&world.alice(), "alpha");
    let refused = world.vend(&world.alice(), &grant, json!({}));
    refused.is_problem(502, "cloud", &["trust policy", "audience and subject"]);
    assert!(world.proxy.ledger().iter().all(|session| session.session_name == "grantd-revoker"));
}

#[test]
fn p9_keys_and_tokens_are_nowhere_but_where_they_belong() {
    let mut world = World::prepared(&setup("ES256"));
    let config = fs::read_to_string(world.config()).unwrap();
    fs::write(world.config(), format!("{config}\n[log]\nfilter = \"trace\"\n")).unwrap();
    world.start();
    let grant = world.grant(&world.alice(), "alpha");
    drop(World::vended(&world.vend(&world.alice(), &grant, json!({}))));
    publish(&world, &[]);
    let file = world.scene.state().join("federation-keys.json");
    let metadata = fs::metadata(&file).unwrap();
    assert_eq!((metadata.permissions().mode() & 0o7777, metadata.uid()), (0o600, User::Daemon.uid()));
    let kept = fs::read_to_string(&file).unwrap();
    let secret: String = kept.split("-----").nth(2).unwrap().replace("\\r", "").replace("\\n", "");
    let mut places = vec![("the log".to_owned(), world.daemon().output())];
    places.push(("the audit".to_owned(), json!(world.audit()).to_string()));
    places.push(("the list".to_owned(), issuer(&world).to_string()));
    for name in ["openid-configuration", "jwks.json"] {
        let path = published(&world).join(".well-known").join(name);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644, "{name}");
        places.push((name.to_owned(), fs::read_to_string(&path).unwrap()));
    }
    for entry in fs::read_dir(world.scene.state()).unwrap() {
        let path = entry.unwrap().path();
        if path != file && path.is_file() {
            places.push((path.display().to_string(), String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned()));
        }
    }
    let pieces: Vec<&str> = secret.as_bytes().chunks(24).map(|piece| std::str::from_utf8(piece).unwrap()).collect();
    // The tail holds the public part, too.
    let pieces = &pieces[..3];
    for (place, text) in &places {
        assert!(!pieces.iter().any(|piece| text.contains(piece)), "a key is in {place}");
        assert!(!text.contains("eyJ0eXAiOiJKV1Qi") && !text.contains("WebIdentityToken=ey"), "a token is in {place}");
    }
}

#[test]
fn keys_change_for_administrators_alone_and_each_change_is_on_record() {
    let mut world = World::prepared(&setup("ES256"));
    world.start();
    for (method, path) in [
        ("GET", "/v1/issuers"),
        ("GET", "/v1/issuers/federation/documents"),
        ("POST", "/v1/issuers/federation/rotate"),
        ("POST", "/v1/issuers/federation/published"),
    ] {
        let body = (method == "POST").then(|| if path.ends_with("rotate") { json!({}) } else { json!({ "keys": [] }) });
        let refused = world.bob().curl(method, path, body.as_ref());
        assert_eq!(refused.status, 403, "{path}: {refused:?}");
    }
    world.root().curl("GET", "/v1/issuers/other/documents", None).is_problem(404, "not-found", &["other"]);

    let doctor = |world: &World| {
        let told = world.root().grantctl(&["doctor", "--json", "--metadata", "127.0.0.1:9"]);
        let lines = told.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.map(|line| line.to_string()).find(|line| line.contains("issuer.published")).unwrap()
    };
    assert!(doctor(&world).contains("\"problem\""), "{}", doctor(&world));
    let status = world.root().grantctl(&["status"]);
    assert!(status.stdout.contains("is degraded") && status.stdout.contains("was never published"), "{status}");
    let first = keys(&world, "signing");
    assert_eq!(first.len(), 1);
    publish(&world, &["--draft"]);
    assert_eq!(published_keys(&world), first);
    assert_eq!(issuer(&world)["published"], false, "a draft is not taken for published");
    publish(&world, &[]);
    assert_eq!(issuer(&world)["published"], true);
    assert!(doctor(&world).contains("\"ok\""), "{}", doctor(&world));
    assert_eq!(world.status()["state"], "ready", "{}", world.status());

    let rotated = world.root().grantctl(&["issuer", "rotate"]);
    assert!(rotated.success() && rotated.stdout.contains("waits to be published"), "{rotated}");
    let next = keys(&world, "next");
    assert_eq!((keys(&world, "signing"), next.len()), (first.clone(), 1), "what nobody can know does not sign");
    let again = world.root().grantctl(&["issuer", "rotate"]);
    assert!(!again.success() && again.stderr.contains("waits to be published"), "{again}");
    assert!(doctor(&world).contains("\"warning\""), "{}", doctor(&world));
    let stale = json!({ "keys": first });
    let stale = world.root().curl("POST", "/v1/issuers/federation/published", Some(&stale));
    stale.is_problem(409, "state", &["publish again"]);

    // A crash in between changes nothing of it.
    world.crash_and_restart();
    assert_eq!((keys(&world, "signing"), keys(&world, "next")), (first.clone(), next.clone()));
    publish(&world, &[]);
    assert_eq!((keys(&world, "signing"), keys(&world, "retired")), (next.clone(), first.clone()));
    assert_eq!(published_keys(&world).len(), 2, "both are published while a token of either may live");

    let kinds = |kind: &str| -> Vec<Value> { world.audited(kind).iter().map(|r| r["detail"]["key"].clone()).collect() };
    assert_eq!(kinds("issuer.key_made"), [json!(first[0]), json!(next[0])]);
    assert_eq!(kinds("issuer.key_signs"), [json!(first[0]), json!(next[0])]);
    assert_eq!(world.audited("issuer.published").len(), 2);
    assert!(world.audited("issuer.refused").len() >= 3);
    world.audit_verifies();
}

/// SeaweedFS in the place of the cloud, with what is published served to it.
struct Verified {
    weed: SeaweedFs,
    _files: FileServer,
    world: World,
    config: String,
}

impl Verified {
    fn start(algorithm: &str, faketime: Option<&str>) -> Self {
        let world = World::prepared(&Setup { role: Some(SeaweedFs::ROLE.to_owned()), ..setup(algorithm) });
        fs::create_dir(published(&world)).unwrap();
        let files = FileServer::start(&published(&world)).unwrap();
        let trusted = Trusted {
            issuer: URL,
            keys: format!("{}/.well-known/jwks.json", files.url()),
            audience: "sts.amazonaws.com",
            subject: "grantd:main",
        };
        let weed = SeaweedFs::start(&world.scene.log(), &trusted).unwrap();
        let config = fs::read_to_string(world.config()).unwrap().replace(&world.proxy.url(), &weed.sts_url());
        fs::write(world.config(), &config).unwrap();
        if let Some(offset) = faketime {
            let places = fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
            let library = places.map(|place| place.join("faketime/libfaketime.so.1")).find(|library| library.exists());
            let library = library.expect("libfaketime is there: run make setup").display().to_string();
            let real = world.scene.path().join("bin/grantd-itself");
            fs::rename(world.scene.bin("grantd"), &real).unwrap();
            let script = format!(
                "#!/bin/sh\nexec env LD_PRELOAD={library} FAKETIME={offset} FAKETIME_DONT_FAKE_MONOTONIC=1 {} \"$@\"\n",
                real.display()
            );
            world.scene.write("bin/grantd", &script, User::Root, 0o755);
        }
        let mut this = Self { weed, _files: files, world, config };
        for bucket in ["alpha", "beta"] {
            let code = format!(
                "s3.create_bucket(Bucket='{bucket}')\ns3.put_object(Bucket='{bucket}', Key='hello.txt', Body=b'hi')"
            );
            let (id, secret) = SeaweedFs::KEYS;
            let admin =
                Credentials { access_key_id: id.to_owned(), secret_access_key: secret.to_owned(), session_token: None };
            let made = this.s3(&admin, &code);
            assert!(made.success(), "{made}");
        }
        this.world.start();
        this
    }

    fn s3(&self, credentials: &Credentials, code: &str) -> Finished {
        let code = format!(
            "import boto3\nfrom botocore.config import Config\n\
             s3 = boto3.client('s3', config=Config(s3={{'addressing_style': 'path'}}))\n{code}"
        );
        self.world.alice().cloud(&self.weed.url()).credentials(credentials).python(&code)
    }

    fn can_read(&self, credentials: &Credentials, bucket: &str) -> bool {
        let read = self.s3(credentials, &format!("s3.get_object(Bucket='{bucket}', Key='hello.txt')"));
        assert!(read.success() || read.stderr.contains("AccessDenied"), "{read}");
        read.success()
    }

    fn vend(&self) -> Answer {
        let grant = self.world.grant(&self.world.alice(), "alpha");
        self.world.vend(&self.world.alice(), &grant, json!({}))
    }

    /// The claims of the last token that was meant for a session.
    fn last(&self) -> (String, Value, Value) {
        let decoded = |part: &str| -> Value {
            let code = format!(
                "import base64\nprint(base64.urlsafe_b64decode('{part}' + '=' * (-len('{part}') % 4)).decode(), end='')"
            );
            serde_json::from_str(&self.world.alice().python(&code).stdout).unwrap()
        };
        let tokens = self.weed.tokens().into_iter().rev().map(|token| {
            let parts: Vec<String> = token.split('.').map(str::to_owned).collect();
            (token, decoded(&parts[0]), decoded(&parts[1]))
        });
        tokens.into_iter().find(|(_, _, claims)| claims["sub"] == "grantd:main").unwrap()
    }

    /// What STS says of a token that somebody holds.
    fn replay(&self, token: &str) -> Finished {
        let code = format!(
            "import boto3\nboto3.client('sts').assume_role_with_web_identity(RoleArn='{}', RoleSessionName='replayed', \
             WebIdentityToken='{token}')",
            SeaweedFs::ROLE
        );
        let nobody = Credentials { access_key_id: "x".into(), secret_access_key: "x".into(), session_token: None };
        self.world.alice().cloud(&self.weed.url()).credentials(&nobody).python(&code)
    }
}

#[test]
fn what_is_published_verifies_what_is_signed_before_and_after_a_rotation() {
    let stage = Verified::start("RS256", None);
    let world = &stage.world;
    // Nothing is published yet, so nobody believes a token.
    let refused = stage.vend();
    assert_ne!(refused.status, 200, "{refused:?}");
    publish(world, &[]);
    let (_, credentials) = World::vended(&stage.vend());
    assert!(stage.can_read(&credentials, "alpha"));
    assert!(!stage.can_read(&credentials, "beta"), "the session policy went with the token");
    let (_, header, claims) = stage.last();
    assert_eq!((&header["alg"], &header["kid"]), (&json!("RS256"), &json!(keys(world, "signing")[0])));
    assert_eq!((&claims["iss"], &claims["aud"]), (&json!(URL), &json!("sts.amazonaws.com")));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 60);

    // While both keys are published, a token by either is good: the storage fetches them when it meets the new one.
    drop(World::vended(&stage.vend()));
    let (early, ..) = stage.last();
    assert!(world.root().grantctl(&["issuer", "rotate"]).success());
    publish(world, &[]);
    let (_, again) = World::vended(&stage.vend());
    let replayed = stage.replay(&early);
    assert!(replayed.success(), "a token that lives on while its key is retired: {replayed}");
    assert!(stage.can_read(&again, "alpha"));
    assert_eq!(keys(world, "retired").len(), 1);
    let (late, header, _) = stage.last();
    assert_eq!(header["kid"], json!(keys(world, "signing")[0]));

    // A key that leaked is out as soon as somebody fetches what is published without it.
    assert!(world.root().grantctl(&["issuer", "rotate", "--leaked"]).success());
    publish(world, &[]);
    assert_eq!(published_keys(world), keys(world, "signing"));
    drop(World::vended(&stage.vend()));
    let replayed = stage.replay(&late);
    assert!(replayed.stderr.contains("not found in JWKS"), "{replayed}");
}

#[test]
fn a_token_of_another_audience_or_by_a_foreign_key_is_refused() {
    let mut stage = Verified::start("ES256", None);
    publish(&stage.world, &[]);
    drop(World::vended(&stage.vend()));
    let config = stage.config.clone();
    let elsewhere = config.replace(
        "issue = \"web_identity\"",
        "issue = \"web_identity\"\nweb_identity = { audience = \"somebody.else\" }",
    );
    assert_ne!(elsewhere, config);
    stage.world.take_daemon().kill9();
    fs::write(stage.world.config(), elsewhere).unwrap();
    stage.world.start();
    let refused = stage.vend();
    assert_ne!(refused.status, 200, "{refused:?}");
    let (token, _, claims) = stage.last();
    assert_eq!(claims["aud"], "somebody.else");
    let replayed = stage.replay(&token);
    assert!(replayed.stderr.contains("invalid token audience"), "{replayed}");

    // Keys that are lost come back as others, which nobody believes until they are published.
    stage.world.take_daemon().kill9();
    fs::write(stage.world.config(), config).unwrap();
    fs::remove_file(stage.world.scene.state().join("federation-keys.json")).unwrap();
    stage.world.start();
    let refused = stage.vend();
    assert_ne!(refused.status, 200, "{refused:?}");
    let replayed = stage.replay(&stage.last().0);
    assert!(replayed.stderr.contains("not found in JWKS"), "{replayed}");
    publish(&stage.world, &[]);
    drop(World::vended(&stage.vend()));
}

#[test]
fn a_token_whose_time_is_over_is_refused() {
    let stage = Verified::start("ES256", Some("-10m"));
    publish(&stage.world, &[]);
    let refused = stage.vend();
    assert_ne!(refused.status, 200, "{refused:?}");
    let replayed = stage.replay(&stage.last().0);
    assert!(replayed.stderr.contains("ExpiredToken"), "{replayed}");
}
