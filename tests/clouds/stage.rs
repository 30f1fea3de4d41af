//! The stage of all clouds at once: one daemon with its own issuer, MiniStack, a fake Azure and a fake Google Cloud that
//! look up what the issuer publishes, one catalogue, one policy and the entitlement maps that are shipped.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use grantd_testkit::{
    Account, FakeAzure, FakeAzureSettings, FakeGoogle, MiniStack, TestIssuer, aws_environment, azure_environment,
    gcp_environment, repository_root,
};
use grantd_tests::{AZURE_SLOTS, Answer, Caller, Daemon, Scene, User, eventually};
use serde_json::{Value, json};

const ISSUER: &str = "https://issuer.test";
const TENANT: &str = "00000000-0000-4000-8000-000000007e4a";
const SUBSCRIPTION: &str = "00000000-0000-4000-8000-0000000050b5";
const BASE: &str = "00000000-0000-4000-8000-0000000ba5e1";
/// The other slots of the fake's tenant: of four places one user may have three.
const FURTHER: [(&str, &str); 2] = [
    ("00000000-0000-4000-8000-00000005107c", "00000000-0000-4000-8000-0000000000bc"),
    ("00000000-0000-4000-8000-00000005107d", "00000000-0000-4000-8000-0000000000bd"),
];

/// A cloud, and what its own clients are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cloud {
    Aws,
    Azure,
    Gcp,
}

impl Cloud {
    pub const ALL: [Self; 3] = [Self::Aws, Self::Azure, Self::Gcp];

    /// As catalogue and audit have it, and as the end of the names of its resources.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Azure => "azure",
            Self::Gcp => "gcp",
        }
    }

    /// What stands in the catalogue of it as `what`: the reports and the invoices are there, the ledger and the vault are
    /// only asked for.
    fn native(self, what: &str) -> String {
        let (reports, invoices) = self.places();
        let name = match what {
            "reports" => reports,
            "invoices" => invoices,
            other => other,
        };
        match self {
            Self::Aws => format!("arn:aws:s3:::{name}"),
            Self::Azure => container(name),
            Self::Gcp => format!("//storage.googleapis.com/projects/_/buckets/{name}"),
        }
    }

    /// The bucket or container of the reports, and the other one.
    pub fn places(self) -> (&'static str, &'static str) {
        match self {
            Self::Aws | Self::Gcp => ("alpha", "beta"),
            Self::Azure => ("logs", "other"),
        }
    }

    /// The python that has its vendor's clients.
    pub fn python(self) -> PathBuf {
        let environment = match self {
            Self::Aws => aws_environment(),
            Self::Azure => azure_environment(),
            Self::Gcp => gcp_environment(),
        };
        environment.expect("the vendor's clients are installed").join("bin/python")
    }
}

fn container(name: &str) -> String {
    format!(
        "/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/store/blobServices/\
         default/containers/{name}"
    )
}

fn cluster() -> String {
    format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.ContainerService/managedClusters/prod")
}

/// Every cloud, a daemon and its callers.
pub struct Clouds {
    daemon: Option<Daemon>,
    pub scene: Scene,
    pub aws: MiniStack,
    pub azure: FakeAzure,
    pub google: FakeGoogle,
}

impl Clouds {
    /// With a running daemon. A change of rights is felt in Azure and Google Cloud after `felt` at worst.
    pub fn new(felt: &str) -> Self {
        let scene = Scene::new();
        let published = scene.path().join("published");
        fs::create_dir(&published).unwrap();
        let map = fs::read_to_string(repository_root().join("config/entitlements/azure.toml")).unwrap();
        let settings = FakeAzureSettings::sample(&TestIssuer::new(ISSUER)).granting(&toml::from_str(&map).unwrap());
        let azure = FakeAzure::start(settings.with_resource(cluster())).unwrap();
        azure.publish_from(ISSUER, &published);
        let google = FakeGoogle::with_account_of(ISSUER, &published).unwrap();
        let aws = MiniStack::start(&scene.log()).unwrap();
        let account = Account::prepare(&aws.url()).unwrap();
        let mut clouds = Self { daemon: None, scene, aws, azure, google };
        clouds.write_policy();
        clouds.write_config(&account, felt);
        clouds.start();
        let done = clouds.root().grantctl(&["issuer", "publish", &published.display().to_string()]);
        assert!(done.success(), "{done}");
        clouds
    }

    fn start(&mut self) {
        let mut daemon = Daemon::start(&self.scene, &self.scene.config().join("grantd.toml"));
        daemon.wait_ready();
        self.daemon = Some(daemon);
    }

    pub fn root(&self) -> Caller<'_> {
        self.scene.caller(User::Root)
    }

    /// The pipeline `deploy`, with where the clouds are and nothing of a credential: the endpoint of AWS, and whom to trust
    /// for Azure's.
    pub fn alice(&self) -> Caller<'_> {
        let authority = self.scene.config().join("azure-ca.pem").display().to_string();
        let caller = self.scene.caller(User::Alice).cloud(&self.aws.url()).env("REQUESTS_CA_BUNDLE", authority);
        caller.env("GRANTD_SOCKET", self.scene.socket().display().to_string())
    }

    /// Where a cloud's clients find it: its storage, as they take it.
    pub fn storage(&self, cloud: Cloud) -> String {
        match cloud {
            Cloud::Aws => self.aws.url(),
            Cloud::Azure => format!("{}/blob/store", self.azure.url()),
            Cloud::Gcp => format!("{}/storage.googleapis.com", self.google.url()),
        }
    }

    /// Has alice ask to read `what` of a cloud for half an hour, in the same words whichever it is.
    pub fn request(&self, cloud: Cloud, what: &str) -> Answer {
        self.ask_for(cloud, what, "object-storage:read")
    }

    /// The same of another capability.
    pub fn ask_for(&self, cloud: Cloud, what: &str, capability: &str) -> Answer {
        let body = json!({
            "resource": format!("{what}-{}", cloud.name()), "capability": capability, "duration_seconds": 1800,
            "justification": "the nightly export",
        });
        self.scene.caller(User::Alice).curl("POST", "/v1/grants", Some(&body))
    }

    /// The id of a grant that was given.
    pub fn grant(&self, cloud: Cloud, what: &str) -> String {
        id_of(&self.request(cloud, what))
    }

    pub fn lease(&self, id: &str) -> Value {
        self.root().curl("GET", &format!("/v1/leases/{id}"), None).body
    }

    /// The leases that were issued under a grant, oldest first.
    pub fn leases_of(&self, grant: &str) -> Vec<String> {
        let issued = self.audit().into_iter().filter(|one| one["kind"] == "lease.issued" && one["grant"] == grant);
        issued.map(|one| one["lease"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until a lease is refused by its cloud for certain.
    pub fn wait_confirmed(&self, lease: &str) -> Value {
        eventually(&format!("{lease} is confirmed"), Duration::from_secs(30), || {
            let lease = self.lease(lease);
            lease["state"] == "revoked" && lease["revocation"] == "confirmed"
        });
        self.lease(lease)
    }

    /// Has root take a grant away.
    pub fn revoke(&self, grant: &str, reason: &str) {
        let body = json!({ "reason": reason });
        let answer = self.root().curl("POST", &format!("/v1/grants/{grant}/revoke"), Some(&body));
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    pub fn audit(&self) -> Vec<Value> {
        let answer = self.root().curl("GET", "/v1/audit?after=0&limit=5000", None);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["records"].as_array().unwrap().clone()
    }

    fn write_policy(&self) {
        let (from, to) = (repository_root().join("config"), self.scene.config().join("policy"));
        fs::create_dir_all(&to).unwrap();
        for what in ["policy/schema.cedarschema", "policy/policies", "entitlements"] {
            let done = Command::new("cp").arg("-r").arg(from.join(what)).arg(&to).status().unwrap();
            assert!(done.success(), "{what}");
        }
        let mut catalog = String::new();
        let mut resource = |name: String, cloud: Cloud, kind: &str, native: String, tier: &str| {
            let cloud = cloud.name();
            catalog += &format!(
                "[[resource]]\nname = \"{name}\"\ncloud = \"{cloud}\"\naccount = \"{cloud}-main\"\ntype = \"{kind}\"\n\
                 native = \"{native}\"\nenvironment = \"dev\"\ntier = \"{tier}\"\nowners = [\"olga\"]\n\n"
            );
        };
        for cloud in Cloud::ALL {
            for (what, tier) in [("reports", "low"), ("invoices", "low"), ("ledger", "high"), ("vault", "critical")] {
                resource(format!("{what}-{}", cloud.name()), cloud, "object-storage", cloud.native(what), tier);
            }
        }
        resource("cluster-azure".to_owned(), Cloud::Azure, "kubernetes-cluster", cluster(), "low");
        let people = "[[person]]\nname = \"olga\"\nunix = [\"gt-olga\"]\n\n\
                      [[workload]]\nname = \"deploy\"\nkind = \"pipeline\"\nunix = \"gt-alice\"\n\n\
                      [[workload]]\nname = \"indexer\"\nkind = \"service\"\nunix = \"gt-bob\"\n";
        self.scene.write("config/policy/catalog.toml", &catalog, User::Root, 0o644);
        self.scene.write("config/policy/people.toml", people, User::Root, 0o644);
    }

    fn write_config(&self, account: &Account, felt: &str) {
        let config = self.scene.config();
        self.scene.write("config/azure-ca.pem", self.azure.authority_pem(), User::Root, 0o644);
        let profile = config.join("aws-credentials");
        account.write_profile(&profile, "grantd").unwrap();
        std::os::unix::fs::chown(&profile, Some(User::Daemon.uid()), Some(User::Daemon.gid())).unwrap();
        let slots = AZURE_SLOTS.into_iter().chain(FURTHER).enumerate().map(|(at, (client, object))| {
            format!(
                "[[azure.account.slot]]\nclient_id = \"{client}\"\nobject_id = \"{object}\"\nsubject = \"slot-{at}\"\n"
            )
        });
        let text = format!(
            "state_dir = \"{state}\"\npolicy_dir = \"{config}/policy\"\n\
             [socket]\npath = \"{socket}\"\nmode = \"0660\"\ngroup = \"gt-clients\"\n\
             [limits]\nrequests_per_second = 5000\nburst = 5000\n\
             [issuer]\nurl = \"{ISSUER}\"\npublish_ahead = \"0s\"\n\
             [aws]\nbatch_window = \"20ms\"\nwrite_interval = \"20ms\"\n\
             propagation = {{ expected = \"0s\", worst = \"0s\" }}\n\
             [[aws.account]]\nname = \"aws-main\"\nid = \"{id}\"\nregion = \"eu-west-1\"\nendpoint = \"{aws}\"\n\
             base = {{ type = \"profile\", files = [\"{profile}\"], profile = \"grantd\" }}\n\
             [[aws.account.role]]\narn = \"{role}\"\nboundary = \"{boundary}\"\n\
             [gcp]\nbatch_window = \"20ms\"\nwrite_interval = \"1010ms\"\n\
             propagation = {{ expected = \"0s\", worst = \"{felt}\" }}\n\
             [[gcp.account]]\nname = \"gcp-main\"\nprojects = [\"{project}\"]\nnumber = \"{number}\"\npool = \"grantd\"\n\
             provider = \"grantd\"\nendpoint = \"{google}\"\nbase = {{ type = \"assertion\", subject = \"{subject}\" }}\n\
             [azure]\nca_bundle = \"{config}/azure-ca.pem\"\ncool_down = \"0s\"\n\
             propagation = {{ expected = \"0s\", worst = \"{felt}\" }}\n\
             [[azure.account]]\nname = \"azure-main\"\ntenant = \"{TENANT}\"\nsubscriptions = [\"{SUBSCRIPTION}\"]\n\
             endpoints = {{ authority = \"{azure}\", resource_manager = \"{azure}\", blob = \"{azure}/blob/{{name}}\" }}\n\
             base = {{ type = \"federation\", client_id = \"{BASE}\", subject = \"grantd\" }}\n{slots}",
            state = self.scene.state().display(),
            config = config.display(),
            socket = self.scene.socket().display(),
            id = account.account_id,
            aws = self.aws.url(),
            profile = profile.display(),
            role = account.role_arns[0],
            boundary = account.boundary_arns[0],
            project = FakeGoogle::PROJECT,
            number = FakeGoogle::NUMBER,
            subject = FakeGoogle::SUBJECT,
            google = self.google.url(),
            azure = self.azure.url(),
            slots = slots.collect::<String>(),
        );
        self.scene.write("config/grantd.toml", &text, User::Root, 0o644);
    }
}

/// The id of what was made.
pub fn id_of(answer: &Answer) -> String {
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.body["id"].as_str().unwrap().to_owned()
}
