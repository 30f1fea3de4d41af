//! The stage of tokens: a daemon with an issuer of its own for them, beside the one that clouds trust, and PyJWT as whoever
//! verifies them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use grantd_testkit::{FileServer, azure_environment, repository_root};
use grantd_tests::{Answer, Caller, Daemon, Scene, User, eventually};
use serde_json::{Value, json};

/// The issuer of the tokens.
pub const ISSUER: &str = "https://tokens.example.com/jobs";

/// The issuer that clouds trust.
pub const FEDERATION: &str = "https://tokens.example.com/grantd";

/// The audiences of the resources `billing` and `reports`.
pub const BILLING: &str = "https://billing.example.com";
pub const REPORTS: &str = "https://reports.example.com";

/// What a verifier does that has the published documents and PyJWT: prints the claims, or the name of what is wrong.
const VERIFY: &str = "
import json, jwt, sys, urllib.request
base, issuer, audience, token = sys.argv[1:]
about = json.load(urllib.request.urlopen(base + '/.well-known/openid-configuration'))
assert about['issuer'] == issuer and about['jwks_uri'] == issuer + '/.well-known/jwks.json', about
keys = jwt.PyJWKClient(base + '/.well-known/jwks.json')
try:
    claims = jwt.decode(token, keys.get_signing_key_from_jwt(token), algorithms=about['id_token_signing_alg_values_supported'],
                        issuer=issuer, audience=audience, options={'require': ['exp', 'iat', 'nbf', 'iss', 'aud', 'sub', 'jti']})
    print(json.dumps({'claims': claims, 'header': jwt.get_unverified_header(token)}))
except jwt.PyJWTError as error:
    print(json.dumps({'refused': type(error).__name__}))
";

/// What is different in one test.
#[derive(Debug, Clone)]
pub struct Setup {
    /// How both issuers sign.
    pub algorithm: &'static str,
    /// Lines of the account.
    pub account: String,
    /// A further policy file.
    pub policy: Option<&'static str>,
    /// Without the file of the shipped policy that forbids what lasts.
    pub lasting: bool,
    /// Resources beside `billing` and `reports`: name and audience.
    pub resources: Vec<(&'static str, String)>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            algorithm: "ES256",
            account: format!("audiences = [\"{BILLING}\", \"{REPORTS}\"]"),
            policy: None,
            lasting: false,
            resources: Vec::new(),
        }
    }
}

/// A token as its holder has it.
#[derive(Debug)]
pub struct Token {
    pub lease: String,
    pub token: String,
    pub expiration: jiff::Timestamp,
}

/// A daemon that hands out tokens, its callers, and what it publishes.
#[derive(Debug)]
pub struct World {
    daemon: Option<Daemon>,
    pub scene: Scene,
    files: FileServer,
}

impl World {
    /// With a running daemon whose keys are published.
    pub fn new(setup: &Setup) -> Self {
        let mut world = Self::prepared(setup);
        world.start(&[]);
        world.publish();
        world
    }

    /// Without a daemon.
    pub fn prepared(setup: &Setup) -> Self {
        let scene = Scene::new();
        let published = scene.path().join("published");
        fs::create_dir(&published).unwrap();
        let world = Self { daemon: None, files: FileServer::start(&published).unwrap(), scene };
        world.write_policy(setup);
        world.write_config(setup);
        world
    }

    pub fn config(&self) -> PathBuf {
        self.scene.config().join("grantd.toml")
    }

    pub fn start(&mut self, environment: &[(&str, &str)]) {
        let mut daemon = Daemon::start_with(&self.scene, &self.config(), environment);
        daemon.wait_ready();
        self.daemon = Some(daemon);
    }

    pub fn take_daemon(&mut self) -> Daemon {
        self.daemon.take().expect("the daemon runs")
    }

    pub fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().expect("the daemon runs")
    }

    pub fn root(&self) -> Caller<'_> {
        self.scene.caller(User::Root)
    }

    pub fn alice(&self) -> Caller<'_> {
        self.scene.caller(User::Alice)
    }

    /// What the daemon says of its configuration.
    pub fn check(&self) -> grantd_testkit::Finished {
        let config = self.config().display().to_string();
        self.scene.caller(User::Daemon).run(self.scene.bin("grantd"), &["--check", "--config", &config])
    }

    /// Does what an administrator does: what is to be served is written where it is served.
    pub fn publish(&self) {
        let directory = self.scene.path().join("published").display().to_string();
        let done = self.root().grantctl(&["issuer", "publish", &directory, "--issuer", "oidc"]);
        assert!(done.success(), "{done}");
    }

    /// The key set of an issuer as it is to be published, which is said to be done.
    pub fn key_set(&self, issuer: &str) -> Value {
        let documents = self.root().curl("GET", &format!("/v1/issuers/{issuer}/documents"), None);
        assert_eq!(documents.status, 200, "{documents:?}");
        let keys = documents.body["documents"][0]["content"].clone();
        let ids: Vec<&Value> = keys["keys"].as_array().unwrap().iter().map(|key| &key["kid"]).collect();
        let told = self.root().curl("POST", &format!("/v1/issuers/{issuer}/published"), Some(&json!({ "keys": ids })));
        assert_eq!(told.status, 200, "{told:?}");
        keys
    }

    /// The ids of the issuer's keys in a state.
    pub fn keys(&self, state: &str) -> Vec<String> {
        let issuers = self.root().curl("GET", "/v1/issuers", None).body["issuers"].clone();
        let ours = issuers.as_array().unwrap().iter().find(|issuer| issuer["name"] == "oidc").unwrap();
        let keys = ours["keys"].as_array().unwrap().iter().filter(|key| key["state"] == state);
        keys.map(|key| key["id"].as_str().unwrap().to_owned()).collect()
    }

    pub fn request(&self, user: User, resource: &str, changes: Value) -> Answer {
        let mut body = json!({
            "resource": resource, "capability": "oidc-audience:token", "duration_seconds": 1800,
            "justification": "a test calls the service behind it",
        });
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        self.scene.caller(user).curl("POST", "/v1/grants", Some(&body))
    }

    pub fn grant(&self, user: User, resource: &str) -> String {
        let answer = self.request(user, resource, json!({}));
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body["id"].as_str().unwrap().to_owned()
    }

    pub fn vend(&self, user: User, grant: &str, changes: Value) -> Answer {
        let mut body = json!({ "grant": grant });
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        self.scene.caller(user).curl("POST", "/v1/leases", Some(&body))
    }

    pub fn vended(answer: &Answer) -> Token {
        assert_eq!(answer.status, 200, "{answer:?}");
        let credential = &answer.body["credential"];
        let text = |value: &Value| value.as_str().expect("it is whole").to_owned();
        assert_eq!((&credential["type"], &credential["issuer"]), (&json!("token"), &json!(ISSUER)));
        Token {
            lease: text(&answer.body["lease"]["id"]),
            token: text(&credential["token"]),
            expiration: text(&credential["expiration"]).parse().unwrap(),
        }
    }

    /// What PyJWT makes of a token: `claims` and `header`, or `refused`.
    pub fn verified(&self, token: &str, audience: &str) -> Value {
        self.verified_as(token, ISSUER, audience)
    }

    /// The same for who expects another issuer.
    pub fn verified_as(&self, token: &str, issuer: &str, audience: &str) -> Value {
        let python = azure_environment().unwrap().join("bin/python");
        // What is published says whose it is; a verifier of another issuer is told otherwise.
        let code = VERIFY.replace("issuer=issuer, audience", &format!("issuer='{issuer}', audience"));
        let done = self.alice().run(python, &["-W", "ignore", "-c", &code, &self.files.url(), ISSUER, audience, token]);
        assert!(done.success(), "{done}");
        serde_json::from_str(&done.stdout).unwrap()
    }

    pub fn lease(&self, id: &str) -> Value {
        let answer = self.root().curl("GET", &format!("/v1/leases/{id}"), None);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    pub fn wait_for_lease(&self, id: &str, state: &str) {
        eventually(&format!("{id} is {state}"), Duration::from_secs(60), || self.lease(id)["state"] == state);
    }

    pub fn audit(&self) -> Vec<Value> {
        let answer = self.root().curl("GET", "/v1/audit?after=0&limit=5000", None);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["records"].as_array().unwrap().clone()
    }

    pub fn audited(&self, kind: &str) -> Vec<Value> {
        self.audit().into_iter().filter(|record| record["kind"] == kind).collect()
    }

    fn write_policy(&self, setup: &Setup) {
        let (from, to) = (repository_root().join("config"), self.scene.config().join("policy"));
        fs::create_dir_all(&to).unwrap();
        for what in ["policy/schema.cedarschema", "policy/policies", "entitlements"] {
            assert!(Command::new("cp").arg("-r").arg(from.join(what)).arg(&to).status().unwrap().success(), "{what}");
        }
        if setup.lasting {
            fs::remove_file(to.join("policies/lasting.cedar")).unwrap();
        }
        if let Some(policy) = setup.policy {
            self.scene.write("config/policy/policies/test.cedar", policy, User::Root, 0o644);
        }
        let usual = [("billing", BILLING.to_owned()), ("reports", REPORTS.to_owned())];
        let catalog: String = usual
            .iter()
            .chain(&setup.resources)
            .map(|(name, audience)| {
                format!(
                    "[[resource]]\nname = \"{name}\"\ncloud = \"oidc\"\naccount = \"services\"\ntype = \"oidc-audience\"\n\
                     native = \"{audience}\"\nenvironment = \"dev\"\ntier = \"low\"\nowners = [\"olga\"]\n\n"
                )
            })
            .collect();
        let people = "[[person]]\nname = \"olga\"\nunix = [\"gt-olga\"]\n\n\
                      [[workload]]\nname = \"deploy\"\nkind = \"pipeline\"\nunix = \"gt-alice\"\n\n\
                      [[workload]]\nname = \"indexer\"\nkind = \"service\"\nunix = \"gt-bob\"\n";
        self.scene.write("config/policy/catalog.toml", &catalog, User::Root, 0o644);
        self.scene.write("config/policy/people.toml", people, User::Root, 0o644);
    }

    fn write_config(&self, setup: &Setup) {
        let issuer =
            |url: &str| format!("url = \"{url}\"\nalgorithm = \"{}\"\npublish_ahead = \"0s\"\n", setup.algorithm);
        let text = format!(
            "state_dir = \"{state}\"\npolicy_dir = \"{config}/policy\"\ndefault_ttl = \"5m\"\n\
             [socket]\npath = \"{socket}\"\nmode = \"0660\"\ngroup = \"gt-clients\"\n\
             [limits]\nrequests_per_second = 5000\nburst = 5000\n[log]\nfilter = \"info,grantd=debug\"\n\
             [issuer]\n{federation}[oidc.issuer]\n{own}[[oidc.account]]\nname = \"services\"\n{account}\n",
            state = self.scene.state().display(),
            config = self.scene.config().display(),
            socket = self.scene.socket().display(),
            federation = issuer(FEDERATION),
            own = issuer(ISSUER),
            account = setup.account,
        );
        self.scene.write("config/grantd.toml", &text, User::Root, 0o644);
    }
}
