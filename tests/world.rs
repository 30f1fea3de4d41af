//! The whole stage: MiniStack behind a fault proxy, a configured daemon, and two callers with their grants.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use grantd_testkit::{Account, FaultProxy, Finished, MiniStack, repository_root};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{Answer, Caller, Credentials, Daemon, Manager, Scene, User, eventually};

/// What may differ from test to test. Durations as the configuration writes them.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The lines of `[limits]`.
    pub limits: String,
    /// How long a revocation is said to take to be felt.
    pub propagation: String,
    /// The TTL when none is asked.
    pub default_ttl: String,
    /// The lines of `timeouts = { … }` of the AWS adapter.
    pub timeouts: String,
    /// The lines of `[roles]`.
    pub roles: String,
    /// The lines of `[metrics]`.
    pub metrics: String,
    /// The role that carries sessions, if not both of the account's; for roles that refuse.
    pub role: Option<String>,
    /// How far the cloud's clock and the daemon's may disagree.
    pub clock_skew: String,
    /// More lines for the first role.
    pub first_role: String,
    /// The lines of `[issuer]`, if there is one.
    pub issuer: Option<String>,
    /// Whether sessions are made with tokens of the daemon's own, without a base identity.
    pub by_token: bool,
    /// Whether sessions are revoked in an inline policy of their role, not in its boundary.
    pub inline: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            limits: "requests_per_second = 5000\nburst = 5000\n".to_owned(),
            propagation: "0s".to_owned(),
            default_ttl: "5m".to_owned(),
            timeouts: r#"connect = "1s", read = "4s", attempt = "5s", operation = "8s""#.to_owned(),
            roles: String::new(),
            metrics: String::new(),
            role: None,
            clock_skew: "60s".to_owned(),
            first_role: String::new(),
            issuer: None,
            by_token: false,
            inline: false,
        }
    }
}

/// A cloud, a daemon and its callers. `alice` is the pipeline `deploy`, `bob` the service `indexer`; the bucket `alpha`
/// is the resource `alpha` of tier low, `beta` is `beta` of tier low; `ledger` is of tier high and `vault` of tier
/// critical. The person `olga` owns all of them; `otto` is a person who owns nothing.
#[derive(Debug)]
pub struct World {
    // First, so that it goes first and its output is still there to be shown.
    daemon: Option<Daemon>,
    /// Users, directories, binaries.
    pub scene: Scene,
    /// The cloud.
    pub stack: MiniStack,
    /// The daemon's way to the cloud. Clients of the sessions go past it.
    pub proxy: FaultProxy,
    /// What is in the cloud.
    pub account: Account,
    config: PathBuf,
}

impl World {
    /// The whole stage with a running daemon.
    ///
    /// # Panics
    /// Something of it does not start.
    #[must_use]
    pub fn new() -> Self {
        let mut world = Self::prepared(&Setup::default());
        world.start();
        world
    }

    /// The stage without the daemon.
    ///
    /// # Panics
    /// Something of it does not start.
    #[must_use]
    pub fn prepared(setup: &Setup) -> Self {
        let scene = Scene::new();
        let stack = MiniStack::start(&scene.log()).expect("MiniStack starts");
        let mut words: Vec<&str> = if setup.inline { vec!["inline"] } else { Vec::new() };
        words.extend(setup.by_token.then_some("by-token"));
        let account = Account::prepare_with(&stack.url(), &words).expect("the account is made");
        let proxy = FaultProxy::start(stack.address()).expect("the proxy starts");
        let world = Self { config: scene.config().join("grantd.toml"), scene, stack, proxy, account, daemon: None };
        world.write_policy();
        world.write_config(setup);
        world
    }

    /// Starts the daemon and waits until it is ready.
    ///
    /// # Panics
    /// It does not start.
    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// The same with environment variables, such as a fail point.
    ///
    /// # Panics
    /// It does not start.
    pub fn start_with(&mut self, environment: &[(&str, &str)]) {
        let mut daemon = Daemon::start_with(&self.scene, &self.config, environment);
        daemon.wait_ready();
        self.daemon = Some(daemon);
    }

    /// Starts it as the service of a manager, and waits until it is ready.
    ///
    /// # Panics
    /// It does not start.
    pub fn start_under(&mut self, manager: &Manager, environment: &[(&str, &str)]) {
        let mut daemon = Daemon::start_under(manager, &self.scene, &self.config, environment);
        daemon.wait_ready();
        self.daemon = Some(daemon);
    }

    /// Takes a daemon in that was started elsewhere.
    pub fn adopt(&mut self, daemon: Daemon) {
        self.daemon = Some(daemon);
    }

    /// Starts the daemon without waiting, for one that is to die on the way.
    pub fn launch_with(&mut self, environment: &[(&str, &str)]) {
        self.daemon = Some(Daemon::start_with(&self.scene, &self.config, environment));
    }

    /// The running daemon.
    ///
    /// # Panics
    /// There is none.
    pub fn daemon(&mut self) -> &mut Daemon {
        self.daemon.as_mut().expect("the daemon runs")
    }

    /// Takes the daemon out of the world, to be killed or stopped.
    ///
    /// # Panics
    /// There is none.
    pub fn take_daemon(&mut self) -> Daemon {
        self.daemon.take().expect("the daemon runs")
    }

    /// Kills it with SIGKILL and starts it again.
    ///
    /// # Panics
    /// It does not start again.
    pub fn crash_and_restart(&mut self) {
        self.take_daemon().kill9();
        self.start();
    }

    /// Has the daemon read its policy anew, and waits until its audit says that it did or would not.
    ///
    /// # Panics
    /// It does neither in ten seconds.
    pub fn reload(&mut self) {
        let count = |world: &Self| {
            let records = world.audit();
            records.iter().filter(|r| r["kind"].as_str().is_some_and(|kind| kind.starts_with("policy."))).count()
        };
        let before = count(self);
        self.daemon().signal(Signal::SIGHUP);
        eventually("the policy is read anew", Duration::from_secs(10), || count(self) > before);
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The policy directory.
    #[must_use]
    pub fn policy(&self) -> PathBuf {
        self.scene.config().join("policy")
    }

    /// The subject `deploy`.
    pub fn alice(&self) -> Caller<'_> {
        self.scene.caller(User::Alice)
    }

    /// The subject `indexer`.
    pub fn bob(&self) -> Caller<'_> {
        self.scene.caller(User::Bob)
    }

    /// The person `olga`.
    pub fn olga(&self) -> Caller<'_> {
        self.scene.caller(User::Olga)
    }

    /// The person `otto`.
    pub fn otto(&self) -> Caller<'_> {
        self.scene.caller(User::Otto)
    }

    /// The administrator.
    pub fn root(&self) -> Caller<'_> {
        self.scene.caller(User::Root)
    }

    /// Has `caller` request to read `resource` for 30 minutes; gives the grant's id.
    ///
    /// # Panics
    /// The request is refused.
    #[must_use]
    pub fn grant(&self, caller: &Caller<'_>, resource: &str) -> String {
        let answer = self.request(caller, resource, json!({}));
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body["id"].as_str().expect("a grant has an id").to_owned()
    }

    /// Has `caller` request to read `resource`, with `changes` to the usual request.
    #[must_use]
    pub fn request(&self, caller: &Caller<'_>, resource: &str, changes: Value) -> Answer {
        let mut body = json!({
            "resource": resource,
            "capability": "object-storage:read",
            "justification": "a test reads what it wrote",
            "duration_seconds": 1800,
        });
        merge(&mut body, changes);
        caller.curl("POST", "/v1/grants", Some(&body))
    }

    /// Has `caller` take a credential, with `changes` to the usual body. Each call is a new session: curl is anchored
    /// in nothing and nobody's child twice.
    #[must_use]
    pub fn vend(&self, caller: &Caller<'_>, grant: &str, changes: Value) -> Answer {
        let mut body = json!({ "grant": grant });
        merge(&mut body, changes);
        caller.curl("POST", "/v1/leases", Some(&body))
    }

    /// The lease's id and the credential of a vend that succeeded.
    ///
    /// # Panics
    /// It did not.
    #[must_use]
    pub fn vended(answer: &Answer) -> (String, Credentials) {
        assert_eq!(answer.status, 200, "{answer:?}");
        let credential = &answer.body["credential"];
        let text = |name: &str| credential[name].as_str().expect("a credential is whole").to_owned();
        let credentials = Credentials {
            access_key_id: text("access_key_id"),
            secret_access_key: text("secret_access_key"),
            session_token: Some(text("session_token")),
        };
        (answer.body["lease"]["id"].as_str().expect("a lease has an id").to_owned(), credentials)
    }

    /// Reads `hello.txt` of a bucket with real boto3, straight from the cloud.
    #[must_use]
    pub fn read(&self, credentials: &Credentials, bucket: &str) -> Finished {
        let code = format!(
            "import boto3\nfrom botocore.config import Config\n\
             s3 = boto3.client('s3', config=Config(s3={{'addressing_style': 'path'}}))\n\
             print(s3.get_object(Bucket='{bucket}', Key='hello.txt')['Body'].read().decode(), end='')"
        );
        self.alice().cloud(&self.stack.url()).credentials(credentials).python(&code)
    }

    /// Whether the cloud lets these credentials read the bucket. A refusal must be one for want of rights.
    ///
    /// # Panics
    /// The answer is neither.
    #[must_use]
    pub fn can_read(&self, credentials: &Credentials, bucket: &str) -> bool {
        let finished = self.read(credentials, bucket);
        if finished.success() {
            assert_eq!(finished.stdout, format!("hello from {bucket}\n"));
            return true;
        }
        let refused = ["AccessDenied", "ExpiredToken"].iter().any(|code| finished.stderr.contains(code));
        assert!(refused, "neither read nor refused: {finished}");
        false
    }

    /// The lease as the administrator sees it.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn lease(&self, id: &str) -> Value {
        let answer = self.root().curl("GET", &format!("/v1/leases/{id}"), None);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// Waits until a lease is in `state`.
    ///
    /// # Panics
    /// It is not in 15 s.
    pub fn wait_for_lease(&self, id: &str, state: &str) {
        eventually(&format!("{id} is {state}"), Duration::from_secs(15), || self.lease(id)["state"] == state);
    }

    /// The statements of a deny document as the cloud has it: a boundary's by its ARN, a role's inline policy by the
    /// role's.
    ///
    /// # Panics
    /// It cannot be read.
    #[must_use]
    pub fn deny_document(&self, name: &str) -> Vec<Value> {
        let code = format!(
            "import boto3, json\niam = boto3.client('iam')\nname = '{name}'\n\
             if ':role/' in name:\n    \
             found = iam.get_role_policy(RoleName=name.rsplit('/', 1)[1], PolicyName='grantd-revocations')\n    \
             print(json.dumps(found['PolicyDocument']['Statement']))\nelse:\n    \
             versions = iam.list_policy_versions(PolicyArn=name)['Versions']\n    \
             version = next(v['VersionId'] for v in versions if v['IsDefaultVersion'])\n    \
             found = iam.get_policy_version(PolicyArn=name, VersionId=version)\n    \
             print(json.dumps(found['PolicyVersion']['Document']['Statement']))"
        );
        let base = Credentials::from(&self.account.base);
        let finished = self.root().cloud(&self.stack.url()).credentials(&base).python(&code);
        assert!(finished.success(), "{finished}");
        serde_json::from_str(&finished.stdout).expect("a document has statements")
    }

    /// How many sessions a deny document denies by their own names, and how many roles by a line.
    ///
    /// # Panics
    /// It cannot be read.
    #[must_use]
    pub fn denials(&self, name: &str) -> (usize, usize) {
        let statements = self.deny_document(name);
        let by_name = statements.iter().filter_map(|one| one["Condition"]["StringLike"]["aws:userid"].as_array());
        let lines = statements.iter().filter(|one| one["Condition"]["DateLessThan"]["aws:TokenIssueTime"].is_string());
        (by_name.map(Vec::len).sum(), lines.count())
    }

    /// The daemon's status as the administrator sees it.
    ///
    /// # Panics
    /// It is not told.
    #[must_use]
    pub fn status(&self) -> Value {
        let answer = self.root().curl("GET", "/v1/status", None);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// Every audit record.
    ///
    /// # Panics
    /// They cannot be read.
    #[must_use]
    pub fn audit(&self) -> Vec<Value> {
        let (mut records, mut after) = (Vec::new(), 0);
        loop {
            let answer = self.root().curl("GET", &format!("/v1/audit?after={after}&limit=5000"), None);
            assert_eq!(answer.status, 200, "{answer:?}");
            let page = answer.body["records"].as_array().expect("a page has records").clone();
            match page.last() {
                Some(last) => after = last["seq"].as_u64().expect("a record has a place"),
                None => return records,
            }
            records.extend(page);
        }
    }

    /// The records of a kind.
    #[must_use]
    pub fn audited(&self, kind: &str) -> Vec<Value> {
        self.audit().into_iter().filter(|record| record["kind"] == kind).collect()
    }

    fn write_policy(&self) {
        let (from, to) = (repository_root().join("config"), self.policy());
        fs::create_dir_all(&to).expect("a directory can be made");
        for (what, place) in [("policy/schema.cedarschema", "."), ("policy/policies", "."), ("entitlements", ".")] {
            let status = Command::new("cp").arg("-r").arg(from.join(what)).arg(to.join(place)).status();
            assert!(status.expect("cp runs").success(), "{what} cannot be copied");
        }
        let resource = |name: &str, bucket: &str, tier: &str| {
            format!(
                "[[resource]]\nname = \"{name}\"\ncloud = \"aws\"\naccount = \"main\"\ntype = \"object-storage\"\n\
                 native = \"arn:aws:s3:::{bucket}\"\nenvironment = \"dev\"\ntier = \"{tier}\"\nowners = [\"olga\"]\n\n"
            )
        };
        let catalog = resource("alpha", "alpha", "low")
            + &resource("beta", "beta", "low")
            + &resource("ledger", "ledger", "high")
            + &resource("vault", "vault", "critical");
        let people = "[[person]]\nname = \"olga\"\nunix = [\"gt-olga\", \"gt-olga-adm\"]\n\n\
                      [[person]]\nname = \"otto\"\nunix = [\"gt-otto\"]\n\n\
                      [[workload]]\nname = \"deploy\"\nkind = \"pipeline\"\nunix = \"gt-alice\"\n\n\
                      [[workload]]\nname = \"indexer\"\nkind = \"service\"\nunix = \"gt-bob\"\n";
        self.scene.write("config/policy/catalog.toml", &catalog, User::Root, 0o644);
        self.scene.write("config/policy/people.toml", people, User::Root, 0o644);
    }

    /// Writes `grantd.toml` and the base identity's profile.
    fn write_config(&self, setup: &Setup) {
        let profile = self.scene.config().join("aws-credentials");
        if !profile.exists() {
            self.account.write_profile(&profile, "grantd").expect("the profile can be written");
            std::os::unix::fs::chown(&profile, Some(User::Daemon.uid()), Some(User::Daemon.gid())).expect("root gives");
        }
        let mut roles = String::new();
        for (arn, boundary) in self.account.role_arns.iter().zip(&self.account.boundary_arns) {
            let arn = setup.role.as_ref().unwrap_or(arn);
            let revoked =
                if setup.inline { "revocation = \"inline\"".to_owned() } else { format!("boundary = \"{boundary}\"") };
            let more = if roles.is_empty() { setup.first_role.as_str() } else { "" };
            roles += &format!("[[aws.account.role]]\narn = \"{arn}\"\n{revoked}\n{more}\n");
            if setup.role.is_some() {
                break;
            }
        }
        let issuer = setup.issuer.as_ref().map(|lines| format!("[issuer]\n{lines}\n")).unwrap_or_default();
        let base = if setup.by_token {
            let id = &self.account.account_id;
            format!("issue = \"web_identity\"\nrevoker = {{ role_arn = \"arn:aws:iam::{id}:role/grantd-revoker\" }}")
        } else {
            let profile = profile.display();
            format!("base = {{ type = \"profile\", files = [\"{profile}\"], profile = \"grantd\" }}")
        };
        let Setup { limits, propagation, default_ttl, timeouts, clock_skew, roles: may, metrics, .. } = setup;
        let text = format!(
            "state_dir = \"{state}\"\npolicy_dir = \"{policy}\"\ndefault_ttl = \"{default_ttl}\"\n\
             [socket]\npath = \"{socket}\"\nmode = \"0660\"\ngroup = \"gt-clients\"\n\
             [limits]\n{limits}\n[roles]\n{may}\n[metrics]\n{metrics}\n{issuer}\
             [aws]\nbatch_window = \"20ms\"\nwrite_interval = \"20ms\"\nclock_skew = \"{clock_skew}\"\n\
             propagation = {{ expected = \"{propagation}\", worst = \"{propagation}\" }}\ntimeouts = {{ {timeouts} }}\n\
             [[aws.account]]\nname = \"main\"\nid = \"{id}\"\nregion = \"eu-west-1\"\nendpoint = \"{endpoint}\"\n\
             {base}\n{roles}",
            state = self.scene.state().display(),
            policy = self.policy().display(),
            socket = self.scene.socket().display(),
            id = self.account.account_id,
            endpoint = self.proxy.url(),
        );
        self.scene.write("config/grantd.toml", &text, User::Root, 0o644);
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

fn merge(body: &mut Value, changes: Value) {
    if let (Value::Object(body), Value::Object(changes)) = (body, changes) {
        body.extend(changes);
    }
}
