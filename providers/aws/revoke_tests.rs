use super::*;
use std::sync::Mutex;

use grantd_provider_api::{DenyForm, IdSource, LeaseId, Origin, RandomIds};

use crate::account::Account;
use crate::document::Kind;
use crate::limits::MANAGED_POLICY_CHARACTERS;
use crate::testing::{self, BOUNDARY, ROLE, Reply, Seen, Server, TestClock, error_xml};

const ROLE_ID: &str = "AROAEXAMPLEROLEID0001";
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
    fn another(&self) -> Arc<Revoker> {
        let (config, keys) = testing::config_for(self.server.address, "");
        // The file has to outlive the boundary, which is as long as the test.
        std::mem::forget(keys);
        testing::account(&config, &self.clock).revoker(BOUNDARY).unwrap()
    }

    fn boundary(&self) -> Arc<Revoker> {
        self.account.revoker(BOUNDARY).unwrap()
    }

    fn denied(&self) -> BTreeSet<String> {
        self.document().denied.suffixes
    }

    fn lines(&self) -> BTreeMap<String, Timestamp> {
        self.document().denied.lines
    }

    fn document(&self) -> Document {
        Document::parse(Kind::Boundary, self.iam.lock().unwrap().in_force()).unwrap()
    }
}

fn as_of() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

/// A document that denies exactly these.
fn written(denied: Denials) -> String {
    Document::empty(Kind::Boundary).denying(denied).render(MANAGED_POLICY_CHARACTERS).unwrap()
}

/// Ended sessions of one role, issued so many minutes ago, on which nothing lives.
fn idle(count: usize, minutes: u64) -> Vec<DenyEntry> {
    let issued_at = as_of() - Duration::from_secs(minutes * 60);
    let origin = Some(Origin { identity: ROLE_ID.to_owned(), issued_at });
    (0..count).map(|_| DenyEntry { origin: origin.clone(), form: DenyForm::MayCollapse, ..entry() }).collect()
}

fn in_form(entries: &[DenyEntry], form: DenyForm) -> Vec<DenyEntry> {
    entries.iter().map(|entry| DenyEntry { form, ..entry.clone() }).collect()
}

fn line(minutes: u64) -> BTreeMap<String, Timestamp> {
    [(ROLE_ID.to_owned(), as_of() - Duration::from_secs(minutes * 60 - 2))].into()
}

fn entry() -> DenyEntry {
    let lease = LeaseId::new(RandomIds.fresh());
    let session_name = format!("web-{}", lease.suffix());
    DenyEntry { lease, session_name, target: ROLE.to_owned(), origin: None, form: DenyForm::Single }
}

fn set(entries: &[&DenyEntry]) -> BTreeSet<String> {
    entries.iter().map(|entry| entry.lease.suffix()).collect()
}

#[tokio::test]
async fn p10_exactly_the_given_sessions_are_denied() {
    let bench = Bench::new(EMPTY).await;
    let boundary = bench.boundary();
    let (a, b) = (entry(), entry());
    let first = boundary.deny(&[a.clone(), b.clone()], as_of()).await.unwrap();
    assert_eq!((first.version.as_str(), first.unchanged), ("v2", false));
    assert_eq!(bench.denied(), set(&[&a, &b]));
    let again = boundary.deny(&[b.clone(), a.clone()], as_of()).await.unwrap();
    assert_eq!((again.version.as_str(), again.unchanged), ("v2", true));
    let pruned = boundary.deny(std::slice::from_ref(&b), as_of()).await.unwrap();
    assert_eq!((pruned.version.as_str(), bench.denied()), ("v3", set(&[&b])));
    boundary.deny(&[], as_of()).await.unwrap();
    assert_eq!(bench.denied(), set(&[]));
    assert!(!bench.iam.lock().unwrap().in_force().contains("Deny"));
    assert_eq!(bench.iam.lock().unwrap().writes, 3);
}

#[tokio::test]
async fn five_versions_are_never_too_many() {
    let bench = Bench::new(EMPTY).await;
    let boundary = bench.boundary();
    for _ in 0..12 {
        boundary.deny(&[entry()], as_of()).await.unwrap();
    }
    let iam = bench.iam.lock().unwrap();
    assert_eq!((iam.versions.len(), iam.default), (5, 13));
}

#[tokio::test]
async fn p4_only_the_document_in_force_confirms() {
    let bench = Bench::new(EMPTY).await;
    let boundary = bench.boundary();
    let (a, b) = (entry(), entry());
    boundary.deny(std::slice::from_ref(&a), as_of()).await.unwrap();
    let seen = boundary.confirm(&[b.clone(), a.clone()]).await.unwrap();
    assert_eq!(seen, [Confirmation::Absent, Confirmation::InForce]);

    // Somebody sets the old version in force again.
    bench.iam.lock().unwrap().default = 1;
    assert_eq!(boundary.confirm(std::slice::from_ref(&a)).await.unwrap(), [Confirmation::Absent]);
    bench.iam.lock().unwrap().gone = true;
    assert_eq!(boundary.confirm(std::slice::from_ref(&a)).await.unwrap(), [Confirmation::Absent]);
    assert_eq!(boundary.deny(std::slice::from_ref(&a), as_of()).await.unwrap_err().kind, ErrorKind::NotFound);
}

#[tokio::test]
async fn p4_forbidden_proves_nothing() {
    let server = Server::start(|_| Reply::Answer(403, error_xml("AccessDenied", "no"))).await;
    let (config, _keys) = testing::config_for(server.address, "");
    let account = testing::account(&config, &TestClock::at("2026-11-21T12:00:00Z"));
    let error = account.revoker(BOUNDARY).unwrap().confirm(&[entry()]).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused);
    assert!(error.message.contains("allow iam:ListPolicyVersions"), "{error}");
}

#[tokio::test]
async fn p10_two_racing_writers_lose_no_denial() {
    let bench = Bench::new(EMPTY).await;
    let boundary = bench.boundary();
    let (ours, theirs) = (entry(), entry());
    let their_document = written(Denials { suffixes: set(&[&theirs]), ..Denials::default() });
    bench.iam.lock().unwrap().interloper = Some(their_document);

    let error = boundary.deny(std::slice::from_ref(&ours), as_of()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    assert!(error.retryable());
    assert_eq!(bench.denied(), set(&[&ours]), "the last writer won, for now");
    boundary.deny(std::slice::from_ref(&ours), as_of()).await.unwrap();
    assert_eq!(bench.denied(), set(&[&ours, &theirs]));
}

#[tokio::test]
async fn p10_two_daemons_that_both_write_end_up_with_both_lists() {
    for round in 0..8 {
        let bench = Bench::new(EMPTY).await;
        let (one, two) = (bench.boundary(), bench.another());
        let (a, b) = (entry(), entry());
        let until_confirmed = async |boundary: Arc<Revoker>, entry: DenyEntry| {
            for _ in 0..20 {
                let entries = std::slice::from_ref(&entry);
                match boundary.deny(entries, as_of()).await {
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
        one.deny(std::slice::from_ref(&a), as_of()).await.unwrap();
        two.deny(std::slice::from_ref(&b), as_of()).await.unwrap();
        assert_eq!(bench.denied(), set(&[&a, &b]), "round {round}");
    }
}

#[tokio::test]
async fn unexplained_denials_outlive_a_restart_but_not_the_longest_session() {
    let bench = Bench::new(EMPTY).await;
    let (old, new) = (entry(), entry());
    bench.boundary().deny(std::slice::from_ref(&old), as_of()).await.unwrap();
    let restarted = bench.another();
    restarted.deny(std::slice::from_ref(&new), as_of()).await.unwrap();
    assert_eq!(bench.denied(), set(&[&old, &new]));
    bench.clock.advance(MAX_SESSION + ENTRY_GRACE);
    restarted.deny(std::slice::from_ref(&new), as_of()).await.unwrap();
    assert_eq!(bench.denied(), set(&[&new]));
}

#[tokio::test]
async fn our_own_list_fits_even_when_foreign_denials_fill_the_document() {
    let foreign: Vec<_> = (0..390).map(|_| entry()).collect();
    let refs: Vec<_> = foreign.iter().collect();
    let full = written(Denials { suffixes: set(&refs), ..Denials::default() });
    let bench = Bench::new(&full).await;
    let ours: Vec<_> = (0..380).map(|_| entry()).collect();
    bench.boundary().deny(&ours, as_of()).await.unwrap();
    let denied = bench.denied();
    assert!(set(&ours.iter().collect::<Vec<_>>()).is_subset(&denied));
    assert_eq!(denied.len(), 397);

    let too_many: Vec<_> = (0..398).map(|_| entry()).collect();
    assert_eq!(bench.boundary().deny(&too_many, as_of()).await.unwrap_err().kind, ErrorKind::Capacity);
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
    let boundary = account.revoker(BOUNDARY).unwrap();
    let entries = [entry()];
    assert_eq!(boundary.deny(&entries, as_of()).await.unwrap_err().kind, ErrorKind::Unknown);
    let receipt = boundary.deny(&entries, as_of()).await.unwrap();
    assert_eq!((receipt.version.as_str(), receipt.unchanged, iam.lock().unwrap().writes), ("v2", true, 1));
}

#[tokio::test]
async fn writes_are_paced() {
    let bench = Bench::new(EMPTY).await;
    let (config, _keys) = testing::config_for(bench.server.address, "");
    let config = crate::config::Config { write_interval: Duration::from_millis(300), ..config };
    let account = testing::account(&config, &bench.clock);
    let boundary = account.revoker(BOUNDARY).unwrap();
    boundary.deny(&[entry()], as_of()).await.unwrap();
    // The test's clock stands still, so the whole interval is left.
    let second = tokio::time::timeout(Duration::from_millis(200), boundary.deny(&[entry()], as_of())).await;
    assert!(second.is_err(), "the second write did not wait");
    assert_eq!(bench.iam.lock().unwrap().writes, 1);
    bench.clock.advance(Duration::from_millis(300));
    tokio::time::timeout(Duration::from_millis(200), boundary.deny(&[entry()], as_of())).await.unwrap().unwrap();
}

#[tokio::test]
async fn many_ended_sessions_of_an_idle_role_become_one_line() {
    let bench = Bench::new(EMPTY).await;
    let revoker = bench.boundary();
    let (ended, neighbour) = (idle(40, 10), entry());
    let mut all = in_form(&ended, DenyForm::Single);
    all.push(neighbour.clone());
    revoker.deny(&all, as_of()).await.unwrap();
    assert_eq!((bench.denied().len(), bench.lines().len()), (41, 0));

    // Now nothing lives on the role any more.
    let mut all = ended.clone();
    all.push(neighbour.clone());
    let receipt = revoker.deny(&all, as_of()).await.unwrap();
    assert_eq!((receipt.version.as_str(), receipt.unchanged, receipt.collapsed.len()), ("v3", false, 40));
    assert_eq!((bench.denied(), bench.lines()), (set(&[&neighbour]), line(10)));
    assert_eq!(revoker.confirm(&all).await.unwrap(), vec![Confirmation::InForce; 41]);

    // A crash before that was written down: the same list, by a writer that remembers nothing.
    let again = bench.another().deny(&all, as_of()).await.unwrap();
    assert_eq!((again.version.as_str(), again.unchanged, again.collapsed.len()), ("v3", true, 40));

    // Written down; and the role is busy again, or not: the line stays, and nothing is told twice.
    let mut all = in_form(&ended, DenyForm::Collapsed);
    all.push(neighbour.clone());
    let marked = revoker.deny(&all, as_of()).await.unwrap();
    assert_eq!((marked.unchanged, marked.collapsed.len()), (true, 0));
    // Their time is up.
    revoker.deny(std::slice::from_ref(&neighbour), as_of()).await.unwrap();
    assert_eq!((bench.denied(), bench.lines().len()), (set(&[&neighbour]), 0));
}

#[tokio::test]
async fn p4_after_a_crash_before_the_mark_a_busy_role_has_both_its_line_and_its_names() {
    let bench = Bench::new(EMPTY).await;
    let ended = idle(20, 10);
    bench.boundary().deny(&ended, as_of()).await.unwrap();
    assert_eq!((bench.denied().len(), bench.lines()), (0, line(10)));
    let restarted = bench.another();
    let receipt = restarted.deny(&in_form(&ended, DenyForm::Single), as_of()).await.unwrap();
    assert_eq!((receipt.unchanged, receipt.collapsed.len()), (false, 0));
    assert_eq!((bench.denied().len(), bench.lines()), (20, line(10)), "nothing is freed too early");
}

#[tokio::test]
async fn p4_a_foreign_line_is_kept_and_the_later_one_wins() {
    let ended = idle(20, 10);
    for (found, kept) in [(line(5), line(5)), (line(30), line(10))] {
        let bench = Bench::new(&written(Denials { lines: found, ..Denials::default() })).await;
        let revoker = bench.boundary();
        revoker.deny(&in_form(&ended, DenyForm::Collapsed), as_of()).await.unwrap();
        assert_eq!(bench.lines(), kept);
        // Also when another writer puts it there later.
        let theirs = written(Denials { lines: line(3), ..Denials::default() });
        bench.iam.lock().unwrap().create(&theirs).unwrap();
        revoker.deny(&in_form(&ended, DenyForm::Collapsed), as_of()).await.unwrap();
        assert_eq!(bench.lines(), line(3));
        // Until nothing can be left that it refuses.
        bench.clock.advance(MAX_SESSION + ENTRY_GRACE);
        revoker.deny(&in_form(&ended, DenyForm::Collapsed), as_of()).await.unwrap();
        assert_eq!(bench.lines(), line(10));
    }
}

#[tokio::test]
async fn p10_where_a_stranger_writes_nothing_is_collapsed_anew() {
    let bench = Bench::new(EMPTY).await;
    let revoker = bench.boundary();
    revoker.deny(&[], as_of()).await.unwrap();
    let theirs = written(Denials { suffixes: set(&[&entry()]), ..Denials::default() });
    bench.iam.lock().unwrap().create(&theirs).unwrap();
    let ended = idle(20, 10);
    let receipt = revoker.deny(&ended, as_of()).await.unwrap();
    assert_eq!((receipt.collapsed.len(), bench.denied().len()), (0, 21), "its sessions on the role are not known here");
    bench.clock.advance(STRANGER);
    assert_eq!(revoker.deny(&ended, as_of()).await.unwrap().collapsed.len(), 20);
    assert_eq!((bench.denied().len(), bench.lines()), (1, line(10)));
}

#[tokio::test]
async fn p4_a_collapsed_session_is_in_force_only_under_its_line_or_its_name() {
    let bench = Bench::new(EMPTY).await;
    let revoker = bench.boundary();
    let collapsed = in_form(&idle(1, 10), DenyForm::Collapsed);
    let confirmed = async || revoker.confirm(&collapsed).await.unwrap();
    assert_eq!(confirmed().await, [Confirmation::Absent]);
    for (denied, expected) in [
        (Denials { lines: line(10), ..Denials::default() }, Confirmation::InForce),
        (Denials { lines: line(11), ..Denials::default() }, Confirmation::Absent),
        (Denials { suffixes: set(&[&collapsed[0]]), ..Denials::default() }, Confirmation::InForce),
        (Denials { suffixes: set(&[&entry()]), ..Denials::default() }, Confirmation::Absent),
    ] {
        bench.iam.lock().unwrap().versions.clear();
        bench.iam.lock().unwrap().create(&written(denied)).unwrap();
        assert_eq!(confirmed().await, [expected]);
    }
}

#[tokio::test]
async fn room_for_lines_is_set_aside_and_those_in_use_count() {
    let bench = Bench::new(EMPTY).await;
    let revoker = bench.boundary();
    assert_eq!(revoker.capacity(), 380);
    let lines = (0..3).map(|n| (format!("AROAEXAMPLEROLEID000{n}"), as_of())).collect();
    bench.iam.lock().unwrap().create(&written(Denials { lines, ..Denials::default() })).unwrap();
    revoker.deny(&[], as_of()).await.unwrap();
    assert_eq!(revoker.capacity(), (6_144 - 175 - 3 * 186) / 15, "roles that are configured no longer");
    // That many, and the lines, are certain to fit.
    let full: Vec<_> = (0..revoker.capacity()).map(|_| entry()).collect();
    revoker.deny(&full, as_of()).await.unwrap();
    assert_eq!((bench.denied().len(), bench.lines().len()), (full.len(), 3));
}
