use super::*;
use std::sync::Mutex;

use grantd_provider_api::{IdSource, LeaseId, RandomIds};

use crate::account::Account;
use crate::testing::{self, BOUNDARY, ROLE, Reply, Seen, Server, TestClock, error_xml};

const EMPTY: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;

/// What IAM keeps of one managed policy, with its documented behaviour: numbers only grow, five versions at most,
/// the last write wins.
#[derive(Debug)]
struct Iam {
    versions: Vec<(u64, String)>,
    default: u64,
    next: u64,
    writes: u32,
    /// Written by somebody else just before the next `CreatePolicyVersion`.
    interloper: Option<String>,
    gone: bool,
}

impl Iam {
    fn new(document: &str) -> Arc<Mutex<Self>> {
        let versions = vec![(1, document.to_owned())];
        Arc::new(Mutex::new(Self { versions, default: 1, next: 2, writes: 0, interloper: None, gone: false }))
    }

    fn create(&mut self, document: &str) -> Option<u64> {
        if self.versions.len() >= 5 {
            return None;
        }
        let version = self.next;
        self.next += 1;
        self.default = version;
        self.versions.push((version, document.to_owned()));
        Some(version)
    }

    fn in_force(&self) -> &str {
        &self.versions.iter().find(|(version, _)| *version == self.default).unwrap().1
    }

    fn answer(&mut self, seen: &Seen) -> Reply {
        if self.gone {
            return Reply::Answer(404, error_xml("NoSuchEntity", "Policy does not exist"));
        }
        let action = seen.field("Action").unwrap();
        let wanted = seen.field("VersionId").and_then(|v| v.trim_start_matches('v').parse::<u64>().ok());
        let encode =
            |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
        let body = match action.as_str() {
            "GetPolicyVersion" => {
                let Some((version, text)) = self.versions.iter().find(|(version, _)| Some(*version) == wanted) else {
                    return Reply::Answer(404, error_xml("NoSuchEntity", "no such version"));
                };
                format!(
                    "<PolicyVersion><VersionId>v{version}</VersionId><Document>{}</Document></PolicyVersion>",
                    encode(text)
                )
            }
            "ListPolicyVersions" => {
                let member = |(version, _): &(u64, String)| {
                    let default = *version == self.default;
                    format!(
                        "<member><VersionId>v{version}</VersionId><IsDefaultVersion>{default}</IsDefaultVersion></member>"
                    )
                };
                format!("<Versions>{}</Versions>", self.versions.iter().map(member).collect::<String>())
            }
            "DeletePolicyVersion" => {
                assert_ne!(wanted, Some(self.default), "the version in force cannot be deleted");
                self.versions.retain(|(version, _)| Some(*version) != wanted);
                String::new()
            }
            "CreatePolicyVersion" => {
                assert_eq!(seen.field("SetAsDefault").as_deref(), Some("true"));
                if let Some(other) = self.interloper.take() {
                    self.create(&other).unwrap();
                }
                self.writes += 1;
                match self.create(&seen.field("PolicyDocument").unwrap()) {
                    Some(version) => format!("<PolicyVersion><VersionId>v{version}</VersionId></PolicyVersion>"),
                    None => return Reply::Answer(409, error_xml("LimitExceeded", "5 versions")),
                }
            }
            other => panic!("{other}"),
        };
        Reply::Answer(200, format!("<{action}Response><{action}Result>{body}</{action}Result></{action}Response>"))
    }
}

struct Bench {
    iam: Arc<Mutex<Iam>>,
    clock: Arc<TestClock>,
    account: Account,
    server: Server,
    _keys: tempfile::NamedTempFile,
}

impl Bench {
    async fn new(document: &str) -> Self {
        let iam = Iam::new(document);
        let shared = Arc::clone(&iam);
        let server = Server::start(move |seen| shared.lock().unwrap().answer(seen)).await;
        let (config, keys) = testing::config_for(server.address, "");
        let clock = TestClock::at("2026-11-21T12:00:00Z");
        let account = testing::account(&config, &clock);
        Self { iam, clock, account, server, _keys: keys }
    }

    /// A second daemon, or this one after a restart: it remembers nothing.
    fn another(&self) -> Arc<Boundary> {
        let (config, keys) = testing::config_for(self.server.address, "");
        // The file has to outlive the boundary, which is as long as the test.
        std::mem::forget(keys);
        testing::account(&config, &self.clock).boundary(BOUNDARY).unwrap()
    }

    fn boundary(&self) -> Arc<Boundary> {
        self.account.boundary(BOUNDARY).unwrap()
    }

    fn denied(&self) -> BTreeSet<String> {
        Document::parse(self.iam.lock().unwrap().in_force()).unwrap().denied
    }
}

fn entry() -> DenyEntry {
    let lease = LeaseId::new(RandomIds.fresh());
    DenyEntry { lease, session_name: format!("web-{}", lease.suffix()), target: ROLE.to_owned() }
}

fn set(entries: &[&DenyEntry]) -> BTreeSet<String> {
    entries.iter().map(|entry| entry.lease.suffix()).collect()
}

#[tokio::test]
async fn p10_exactly_the_given_sessions_are_denied() {
    let bench = Bench::new(EMPTY).await;
    let boundary = bench.boundary();
    let (a, b) = (entry(), entry());
    let first = boundary.deny(&[a.clone(), b.clone()]).await.unwrap();
    assert_eq!((first.version.as_str(), first.unchanged), ("v2", false));
    assert_eq!(bench.denied(), set(&[&a, &b]));
    let again = boundary.deny(&[b.clone(), a.clone()]).await.unwrap();
    assert_eq!((again.version.as_str(), again.unchanged), ("v2", true));
    let pruned = boundary.deny(std::slice::from_ref(&b)).await.unwrap();
    assert_eq!((pruned.version.as_str(), bench.denied()), ("v3", set(&[&b])));
    boundary.deny(&[]).await.unwrap();
    assert_eq!(bench.denied(), set(&[]));
    assert!(!bench.iam.lock().unwrap().in_force().contains("Deny"));
    assert_eq!(bench.iam.lock().unwrap().writes, 3);
}

#[tokio::test]
async fn five_versions_are_never_too_many() {
    let bench = Bench::new(EMPTY).await;
    let boundary = bench.boundary();
    for _ in 0..12 {
        boundary.deny(&[entry()]).await.unwrap();
    }
    let iam = bench.iam.lock().unwrap();
    assert_eq!((iam.versions.len(), iam.default), (5, 13));
}

#[tokio::test]
async fn p4_only_the_document_in_force_confirms() {
    let bench = Bench::new(EMPTY).await;
    let boundary = bench.boundary();
    let (a, b) = (entry(), entry());
    boundary.deny(std::slice::from_ref(&a)).await.unwrap();
    let seen = boundary.confirm(&[b.clone(), a.clone()]).await.unwrap();
    assert_eq!(seen, [Confirmation::Absent, Confirmation::InForce]);

    // Somebody sets the old version in force again.
    bench.iam.lock().unwrap().default = 1;
    assert_eq!(boundary.confirm(std::slice::from_ref(&a)).await.unwrap(), [Confirmation::Absent]);
    bench.iam.lock().unwrap().gone = true;
    assert_eq!(boundary.confirm(std::slice::from_ref(&a)).await.unwrap(), [Confirmation::Absent]);
    assert_eq!(boundary.deny(std::slice::from_ref(&a)).await.unwrap_err().kind, ErrorKind::NotFound);
}

#[tokio::test]
async fn p4_forbidden_proves_nothing() {
    let server = Server::start(|_| Reply::Answer(403, error_xml("AccessDenied", "no"))).await;
    let (config, _keys) = testing::config_for(server.address, "");
    let account = testing::account(&config, &TestClock::at("2026-11-21T12:00:00Z"));
    let error = account.boundary(BOUNDARY).unwrap().confirm(&[entry()]).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused);
    assert!(error.message.contains("allow iam:ListPolicyVersions"), "{error}");
}

#[tokio::test]
async fn p10_two_racing_writers_lose_no_denial() {
    let bench = Bench::new(EMPTY).await;
    let boundary = bench.boundary();
    let (ours, theirs) = (entry(), entry());
    let their_document = Document::parse(EMPTY).unwrap().denying(set(&[&theirs])).render().unwrap();
    bench.iam.lock().unwrap().interloper = Some(their_document);

    let error = boundary.deny(std::slice::from_ref(&ours)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    assert!(error.retryable());
    assert_eq!(bench.denied(), set(&[&ours]), "the last writer won, for now");
    boundary.deny(std::slice::from_ref(&ours)).await.unwrap();
    assert_eq!(bench.denied(), set(&[&ours, &theirs]));
}

#[tokio::test]
async fn p10_two_daemons_that_both_write_end_up_with_both_lists() {
    for round in 0..8 {
        let bench = Bench::new(EMPTY).await;
        let (one, two) = (bench.boundary(), bench.another());
        let (a, b) = (entry(), entry());
        let until_confirmed = async |boundary: Arc<Boundary>, entry: DenyEntry| {
            for _ in 0..20 {
                let entries = std::slice::from_ref(&entry);
                match boundary.deny(entries).await {
                    Ok(_) => {
                        tokio::time::sleep(Duration::from_millis(round * 3)).await;
                        if boundary.confirm(entries).await.unwrap() == [Confirmation::InForce] {
                            return;
                        }
                    }
                    Err(error) => assert!(error.retryable(), "{error}"),
                }
            }
            panic!("never confirmed");
        };
        tokio::join!(until_confirmed(one.clone(), a.clone()), until_confirmed(two.clone(), b.clone()));
        one.deny(std::slice::from_ref(&a)).await.unwrap();
        two.deny(std::slice::from_ref(&b)).await.unwrap();
        assert_eq!(bench.denied(), set(&[&a, &b]), "round {round}");
    }
}

#[tokio::test]
async fn unexplained_denials_outlive_a_restart_but_not_the_longest_session() {
    let bench = Bench::new(EMPTY).await;
    let (old, new) = (entry(), entry());
    bench.boundary().deny(std::slice::from_ref(&old)).await.unwrap();
    let restarted = bench.another();
    restarted.deny(std::slice::from_ref(&new)).await.unwrap();
    assert_eq!(bench.denied(), set(&[&old, &new]));
    bench.clock.advance(MAX_SESSION + ENTRY_GRACE);
    restarted.deny(std::slice::from_ref(&new)).await.unwrap();
    assert_eq!(bench.denied(), set(&[&new]));
}

#[tokio::test]
async fn our_own_list_fits_even_when_foreign_denials_fill_the_document() {
    let foreign: Vec<_> = (0..390).map(|_| entry()).collect();
    let refs: Vec<_> = foreign.iter().collect();
    let full = Document::parse(EMPTY).unwrap().denying(set(&refs)).render().unwrap();
    let bench = Bench::new(&full).await;
    let ours: Vec<_> = (0..380).map(|_| entry()).collect();
    bench.boundary().deny(&ours).await.unwrap();
    let denied = bench.denied();
    assert!(set(&ours.iter().collect::<Vec<_>>()).is_subset(&denied));
    assert_eq!(denied.len(), 397);

    let too_many: Vec<_> = (0..398).map(|_| entry()).collect();
    assert_eq!(bench.boundary().deny(&too_many).await.unwrap_err().kind, ErrorKind::Capacity);
}

#[tokio::test]
async fn a_lost_answer_to_a_write_is_looked_up_not_repeated() {
    let iam = Iam::new(EMPTY);
    let shared = Arc::clone(&iam);
    let server = Server::start(move |seen| {
        let reply = shared.lock().unwrap().answer(seen);
        let write = seen.field("Action").as_deref() == Some("CreatePolicyVersion");
        if write { Reply::ResetAfter } else { reply }
    })
    .await;
    let (config, _keys) = testing::config_for(server.address, "");
    let account = testing::account(&config, &TestClock::at("2026-11-21T12:00:00Z"));
    let boundary = account.boundary(BOUNDARY).unwrap();
    let entries = [entry()];
    assert_eq!(boundary.deny(&entries).await.unwrap_err().kind, ErrorKind::Unknown);
    let receipt = boundary.deny(&entries).await.unwrap();
    assert_eq!((receipt.version.as_str(), receipt.unchanged, iam.lock().unwrap().writes), ("v2", true, 1));
}

#[tokio::test]
async fn writes_are_paced() {
    let bench = Bench::new(EMPTY).await;
    let (config, _keys) = testing::config_for(bench.server.address, "");
    let config = crate::config::Config { write_interval: Duration::from_millis(300), ..config };
    let account = testing::account(&config, &bench.clock);
    let boundary = account.boundary(BOUNDARY).unwrap();
    boundary.deny(&[entry()]).await.unwrap();
    // The test's clock stands still, so the whole interval is left.
    let second = tokio::time::timeout(Duration::from_millis(200), boundary.deny(&[entry()])).await;
    assert!(second.is_err(), "the second write did not wait");
    assert_eq!(bench.iam.lock().unwrap().writes, 1);
    bench.clock.advance(Duration::from_millis(300));
    tokio::time::timeout(Duration::from_millis(200), boundary.deny(&[entry()])).await.unwrap().unwrap();
}
