//! The command of a `grantctl exec`: a process that reads with a cloud's own clients, unmodified, when the test says so.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use grantd_testkit::spawn_on_keeper;
use grantd_tests::eventually;
use serde_json::{Value, json};

use crate::stage::{Cloud, Clouds};

/// Reads commands as JSON lines, answers with JSON lines. One client for all of them: it refreshes by itself. What it reads
/// is `{"text"}`; where the cloud refuses, `{"refused", "code"}`; where there is no credential, `{"error"}`.
const PROGRAM: &str = r#"
import json, os, sys

cloud, storage = sys.argv[1:3]

def azure(kind="DefaultAzureCredential"):
    import azure.identity
    from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
    from azure.storage.blob import BlobClient
    credential = getattr(azure.identity, kind)()
    def token():
        return credential.get_token("https://storage.azure.com/.default").token
    def read(place):
        blob = BlobClient(storage, place, "hello.txt", credential=credential, retry_total=0)
        try:
            return {"text": blob.download_blob().readall().decode()}
        except ClientAuthenticationError as error:
            return {"error": str(error)}
        except HttpResponseError as error:
            return {"refused": error.status_code, "code": error.error_code}
    return token, read

def gcp():
    import google.auth, google.auth.exceptions, google.auth.transport.requests
    from google.api_core.exceptions import GoogleAPICallError
    from google.cloud import storage as gcs
    credentials, project = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    client = gcs.Client(project=project, credentials=credentials, client_options={"api_endpoint": storage})
    def token():
        credentials.refresh(google.auth.transport.requests.Request())
        return credentials.token
    def read(place):
        try:
            return {"text": client.bucket(place).blob("in/hello.txt").download_as_bytes(retry=None).decode()}
        except google.auth.exceptions.GoogleAuthError as error:
            return {"error": str(error)}
        except GoogleAPICallError as error:
            return {"refused": error.code, "code": type(error).__name__}
    return token, read

def gcp_metadata():
    # As on a virtual machine, where there is no credential file.
    del os.environ["GOOGLE_APPLICATION_CREDENTIALS"]
    return gcp()

def azure_machine():
    # As on a virtual machine, which has no App Service.
    del os.environ["IDENTITY_ENDPOINT"], os.environ["IDENTITY_HEADER"]
    return azure("ManagedIdentityCredential")

def azure_site():
    return azure("ManagedIdentityCredential")

def aws():
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError
    session = boto3.Session()
    s3 = session.client("s3", endpoint_url=storage, config=Config(s3={"addressing_style": "path"}))
    def token():
        return session.get_credentials().get_frozen_credentials().token
    def read(place):
        try:
            return {"text": s3.get_object(Bucket=place, Key="hello.txt")["Body"].read().decode()}
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            return {"refused": status, "code": error.response["Error"]["Code"]}
        except BotoCoreError as error:
            return {"error": str(error)}
    return token, read

def said(work):
    try:
        return work()
    except Exception as error:
        return {"error": type(error).__name__ + ": " + str(error)}

def whose(token):
    # As gcloud does, by what stands in the credential file, to have a name for the account.
    import urllib.parse, urllib.request
    asked = json.load(open(os.environ["GOOGLE_APPLICATION_CREDENTIALS"]))["token_info_url"]
    form = urllib.parse.urlencode({"token": token, "token_type_hint": "urn:ietf:params:oauth:token-type:access_token"})
    with urllib.request.urlopen(asked, form.encode(), timeout=10) as answer:
        return json.loads(answer.read())

token, read = globals()[cloud]()
known = {
    "token": lambda: said(lambda: {"token": token()}),
    "read": lambda place: said(lambda: read(place)),
    "whose": lambda: said(lambda: whose(token())),
    "environment": lambda: dict(os.environ),
    "file": lambda path: open(path).read(),
    "leave": lambda: os._exit(0),
}
print(json.dumps(os.getpid()), flush=True)
for line in sys.stdin:
    name, *arguments = json.loads(line)
    print(json.dumps(known[name](*arguments)), flush=True)
"#;

/// A `grantctl exec` of alice's with its command. Dropping it kills both.
pub struct Command {
    exec: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    said: std::path::PathBuf,
}

impl Command {
    /// `grantctl exec ARGUMENTS -- python …` with the clients `kind`, a function of the program.
    pub fn start(clouds: &Clouds, cloud: Cloud, kind: &str, arguments: &[&str]) -> Self {
        let scene = &clouds.scene;
        let program = scene.write("home/reader.py", PROGRAM, grantd_tests::User::Alice, 0o644);
        let said = scene.log().join(format!("exec-{kind}.log"));
        let mut command = clouds.alice().command(scene.bin("grantctl"));
        command.arg("exec").args(arguments).arg("--").arg(cloud.python()).args(["-W", "ignore"]).arg(program);
        command.args([kind, &clouds.storage(cloud)]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(fs::File::create(&said).unwrap());
        let mut exec = spawn_on_keeper(command).unwrap();
        let (input, output) = (exec.stdin.take().unwrap(), BufReader::new(exec.stdout.take().unwrap()));
        let mut started = Self { exec, input, output, said };
        started.line();
        started
    }

    /// Has the command do something and gives its answer.
    pub fn asks(&mut self, command: &Value) -> Value {
        writeln!(self.input, "{command}").unwrap();
        self.line()
    }

    /// Has it read the object of a bucket or container.
    pub fn reads(&mut self, place: &str) -> Value {
        self.asks(&json!(["read", place]))
    }

    /// The token that its client has now.
    pub fn token(&mut self) -> String {
        let answer = self.asks(&json!(["token"]));
        answer["token"].as_str().unwrap_or_else(|| panic!("no token: {answer}; {}", self.said())).to_owned()
    }

    /// What `grantctl` has said on standard error.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap()
    }

    /// Has the command end, and waits until `grantctl exec` has.
    pub fn leave(mut self) {
        writeln!(self.input, "{}", json!(["leave"])).unwrap();
        let mut status = None;
        eventually("grantctl exec ends", Duration::from_secs(20), || {
            status = self.exec.try_wait().unwrap();
            status.is_some()
        });
        assert_eq!(status.and_then(|status| status.code()), Some(0), "{}", self.said());
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("no answer: {error}: {line:?}; {}", self.said()))
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        let _ = self.exec.kill();
        let _ = self.exec.wait();
    }
}
