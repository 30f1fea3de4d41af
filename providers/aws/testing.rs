//! What the tests share: a clock that is set by hand, a configuration, and a server that behaves as badly as told.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use grantd_provider_api::{
    Assertion, Assertions, CapabilityMap, Clock, Cloud, Entitlement, Narrowing, ProviderError, ResourceRef, Secret,
};
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::account::Account;
use crate::config::Config;
use crate::http::Http;

pub(crate) const ROLE: &str = "arn:aws:iam::123456789012:role/grantd/reader";
pub(crate) const BOUNDARY: &str = "arn:aws:iam::123456789012:policy/grantd-boundary";
/// What container and instance endpoints answer.
pub(crate) const BASE_ANSWER: &str = r#"{"AccessKeyId":"ASIABASE","SecretAccessKey":"base-secret","Token":"base-token","Expiration":"2026-11-21T13:00:00Z"}"#;
pub(crate) const SECRET_KEY: &str = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY";

/// A clock that moves only when told.
#[derive(Debug)]
pub(crate) struct TestClock(Mutex<Timestamp>);

impl TestClock {
    pub fn at(text: &str) -> Arc<Self> {
        Arc::new(Self(Mutex::new(text.parse().unwrap())))
    }

    pub fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap();
        *now = now.checked_add(by).unwrap();
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// A configuration with one account, a profile base, and `role` lines added to its one role.
pub(crate) fn config(role: &str) -> Config {
    parse(&toml_with("", "type = \"profile\"\nfiles = [\"/nonexistent\"]\nprofile = \"grantd\"", role)).unwrap()
}

pub(crate) fn parse(text: &str) -> Result<Config, toml::de::Error> {
    #[derive(serde::Deserialize)]
    struct File {
        aws: Config,
    }
    toml::from_str::<File>(text).map(|file| file.aws)
}

pub(crate) fn toml_with(account: &str, base: &str, role: &str) -> String {
    format!(
        "[aws]\ntimeouts = {{ connect = \"300ms\", read = \"400ms\", attempt = \"500ms\", operation = \"500ms\" }}\n\
         write_interval = \"0s\"\n\
         [[aws.account]]\nname = \"prod\"\nid = \"123456789012\"\nregion = \"eu-west-1\"\n{account}\n\
         [aws.account.base]\n{base}\n\
         [[aws.account.role]]\narn = \"{ROLE}\"\nboundary = \"{BOUNDARY}\"\n{role}\n"
    )
}

/// A configuration whose account talks to `server`, with keys in a real file that lives as long as the answer's
/// second part.
pub(crate) fn config_for(server: SocketAddr, role: &str) -> (Config, tempfile::NamedTempFile) {
    let keys = keys_file();
    let base = format!("type = \"profile\"\nfiles = [{:?}]\nprofile = \"grantd\"", keys.path());
    let text = toml_with(&format!("endpoint = \"http://{server}\""), &base, role);
    (parse(&text).unwrap(), keys)
}

pub(crate) fn keys_file() -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let text = format!("[grantd]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = {SECRET_KEY}\n");
    file.write_all(text.as_bytes()).unwrap();
    file
}

pub(crate) fn account(config: &Config, clock: &Arc<TestClock>) -> Account {
    let clock: Arc<dyn Clock> = Arc::<TestClock>::clone(clock);
    let one = config.accounts.values().next().unwrap().clone();
    Account::new(one, config, &Http::new(config).unwrap(), &clock, &minter())
}

/// Mints tokens that say in the open what they were to say.
#[derive(Debug)]
struct Minter;

impl Assertions for Minter {
    fn issuer(&self) -> &str {
        "https://tokens.example.com/grantd"
    }

    fn mint(&self, asked: &Assertion<'_>) -> Result<Secret, ProviderError> {
        let claims: BTreeMap<_, _> = asked.claims.iter().cloned().collect();
        let (audience, subject, seconds) = (asked.audience, asked.subject, asked.lifetime.as_secs());
        let said = serde_json::json!({ "aud": audience, "sub": subject, "seconds": seconds, "claims": claims });
        Ok(Secret::new(said.to_string()))
    }
}

pub(crate) fn minter() -> Arc<dyn Assertions> {
    Arc::new(Minter)
}

/// The shipped entitlement map.
pub(crate) fn shipped_map() -> CapabilityMap {
    toml::from_str(include_str!("../../config/entitlements/aws.toml")).unwrap()
}

pub(crate) fn entitlement(capability: &str, native: &str, prefix: Option<&str>) -> Entitlement {
    Entitlement {
        capability: capability.parse().unwrap(),
        resource: ResourceRef {
            cloud: Cloud::Aws,
            account: "prod".to_owned(),
            kind: capability.split(':').next().unwrap().to_owned(),
            native: native.to_owned(),
        },
        narrowing: Narrowing { prefix: prefix.map(str::to_owned), source_networks: Vec::new() },
    }
}

/// One request as the server saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub head: String,
    pub body: String,
}

impl Seen {
    /// A form field, decoded.
    pub fn field(&self, name: &str) -> Option<String> {
        let fields: BTreeMap<_, _> = self.body.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let value = fields.get(name)?.replace('+', " ");
        Some(percent_encoding::percent_decode_str(&value).decode_utf8().unwrap().into_owned())
    }
}

/// What the server does with a request.
pub(crate) enum Reply {
    Answer(u16, String),
    /// A session token of instance metadata, with its header.
    Token(&'static str),
    /// Reads the request, then resets.
    ResetAfter,
    /// Bytes that are no HTTP.
    Garbage,
    /// Half an answer, then the end.
    Half,
    /// Reads, and never answers.
    Stall,
}

/// A server on loopback that answers each request with what `answer` says.
pub(crate) struct Server {
    pub address: SocketAddr,
    pub seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    pub async fn start(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (answer, log) = (Arc::new(answer), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&answer), Arc::clone(&log)));
            }
        });
        Self { address, seen }
    }

    /// A server that resets every connection before it has read anything.
    pub async fn slamming() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_zero_linger().unwrap();
            }
        });
        Self { address, seen: Arc::default() }
    }

    pub fn requests(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, answer: Arc<impl Fn(&Seen) -> Reply>, log: Arc<Mutex<Vec<Seen>>>) {
    while let Some(seen) = request(&mut stream).await {
        log.lock().unwrap().push(seen.clone());
        let (status, body, header) = match answer(&seen) {
            Reply::Answer(status, body) => (status, body, ""),
            Reply::Token(token) => (200, token.to_owned(), "x-aws-ec2-metadata-token-ttl-seconds: 300\r\n"),
            Reply::ResetAfter => {
                stream.set_zero_linger().unwrap();
                return;
            }
            Reply::Garbage => {
                let _ = stream.write_all(b"\x16\x03garbage\r\n\r\n").await;
                return;
            }
            Reply::Half => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n<AssumeRole").await;
                return;
            }
            Reply::Stall => {
                tokio::time::sleep(Duration::from_secs(60)).await;
                continue;
            }
        };
        let length = body.len();
        let text =
            format!("HTTP/1.1 {status} X\r\ncontent-type: text/xml\r\n{header}content-length: {length}\r\n\r\n{body}");
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn request(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_ascii_lowercase().lines().find_map(|line| {
                line.strip_prefix("content-length:").and_then(|value| value.trim().parse::<usize>().ok())
            });
            if body.len() >= length.unwrap_or(0) {
                return Some(Seen { head: head.to_owned(), body: body.to_owned() });
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// What an instance whose role gives `credentials` answers, in version 2 only.
pub(crate) fn metadata(seen: &Seen, role: &str, credentials: &str) -> Reply {
    let head = seen.head.to_ascii_lowercase();
    match head.lines().next().unwrap_or_default() {
        "put /latest/api/token http/1.1" if head.contains("x-aws-ec2-metadata-token-ttl-seconds: 300") => {
            Reply::Token("v2-token")
        }
        _ if !head.contains("x-aws-ec2-metadata-token: v2-token") => Reply::Answer(401, String::new()),
        "get /latest/meta-data/iam/security-credentials/ http/1.1" => Reply::Answer(200, role.to_owned()),
        line if line == format!("get /latest/meta-data/iam/security-credentials/{role} http/1.1") => {
            Reply::Answer(200, credentials.to_owned())
        }
        _ => Reply::Answer(404, String::new()),
    }
}

/// A base that asks `server` for the instance's credentials.
pub(crate) fn metadata_base(server: SocketAddr) -> String {
    format!("type = \"instance_metadata\"\nallow_instance_metadata_reachable = true\nendpoint = \"http://{server}\"")
}

/// An error answer in the shape of the Query protocol.
pub(crate) fn error_xml(code: &str, message: &str) -> String {
    format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
    )
}
