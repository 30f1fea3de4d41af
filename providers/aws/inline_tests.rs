use super::*;

use std::collections::BTreeMap;
use std::sync::Arc;

use grantd_provider_api::{Confirmation, DenyEntry, DenyForm, IdSource, LeaseId, RandomIds};

use crate::account::Account;
use crate::revoke::Revoker;
use crate::testing::{self, BOUNDARY, ROLE, Reply, Seen, Server, TestClock, error_xml};

/// A role's inline policies with their documented behaviour: the last write wins, and together they have 10,240
/// characters.
#[derive(Debug, Default)]
struct Role {
    policies: BTreeMap<String, String>,
    writes: u32,
    may_list: bool,
    gone: bool,
    /// Written by somebody else just after the next time that ours is read.
    interloper: Option<String>,
}

impl Role {
    fn answer(&mut self, seen: &Seen) -> Reply {
        let action = seen.field("Action").unwrap();
        if self.gone {
            return Reply::Answer(404, error_xml("NoSuchEntity", "no role"));
        }
        assert_eq!(seen.field("RoleName").as_deref(), Some("reader"), "the name without its path");
        let name = seen.field("PolicyName").unwrap_or_default();
        let body = match action.as_str() {
            "ListRolePolicies" if !self.may_list => return Reply::Answer(403, error_xml("AccessDenied", "no")),
            "ListRolePolicies" => {
                let names: String = self.policies.keys().map(|name| format!("<member>{name}</member>")).collect();
                format!("<PolicyNames>{names}</PolicyNames><IsTruncated>false</IsTruncated>")
            }
            "GetRolePolicy" => {
                let Some(text) = self.policies.get(&name).cloned() else {
                    return Reply::Answer(404, error_xml("NoSuchEntity", "no such policy"));
                };
                if name == POLICY_NAME
                    && let Some(theirs) = self.interloper.take()
                {
                    self.policies.insert(name.clone(), theirs);
                }
                let text = percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC);
                format!(
                    "<RoleName>reader</RoleName><PolicyName>{name}</PolicyName><PolicyDocument>{text}</PolicyDocument>"
                )
            }
            "PutRolePolicy" => {
                self.writes += 1;
                let text = seen.field("PolicyDocument").unwrap();
                let others: usize =
                    self.policies.iter().filter(|(other, _)| **other != name).map(|(_, text)| characters(text)).sum();
                if others + characters(&text) > 10_240 {
                    return Reply::Answer(
                        409,
                        error_xml("LimitExceeded", "Maximum policy size of 10240 bytes exceeded"),
                    );
                }
                self.policies.insert(name, text);
                String::new()
            }
            other => panic!("{other}"),
        };
        Reply::Answer(200, format!("<{action}Response><{action}Result>{body}</{action}Result></{action}Response>"))
    }
}

struct Bench {
    role: Arc<Mutex<Role>>,
    clock: Arc<TestClock>,
    account: Account,
    _server: Server,
    _keys: tempfile::NamedTempFile,
}

/// The usual configuration, with an inline policy in place of the boundary.
fn config(server: &Server) -> (crate::config::Config, tempfile::NamedTempFile) {
    let keys = testing::keys_file();
    let base = format!("type = \"profile\"\nfiles = [{:?}]\nprofile = \"grantd\"", keys.path());
    let text = testing::toml_with(&format!("endpoint = \"http://{}\"", server.address), &base, "");
    let boundary = format!("boundary = \"{BOUNDARY}\"");
    (testing::parse(&text.replace(&boundary, "revocation = \"inline\"")).unwrap(), keys)
}

impl Bench {
    /// A role with other inline policies of these sizes.
    async fn new(others: &[(&str, usize)]) -> Self {
        let policies = others.iter().map(|(name, size)| ((*name).to_owned(), format!("{{{}}}", "x".repeat(size - 2))));
        let role = Role { policies: policies.collect(), may_list: true, ..Role::default() };
        let role = Arc::new(Mutex::new(role));
        let shared = Arc::clone(&role);
        let server = Server::start(move |seen| shared.lock().unwrap().answer(seen)).await;
        let (config, keys) = config(&server);
        let clock = TestClock::at("2026-11-21T12:00:00Z");
        let account = testing::account(&config, &clock);
        Self { role, clock, account, _server: server, _keys: keys }
    }

    fn revoker(&self) -> Arc<Revoker> {
        self.account.revoker(ROLE).unwrap()
    }

    fn document(&self) -> Document {
        Document::parse(Kind::Inline, &self.role.lock().unwrap().policies[POLICY_NAME]).unwrap()
    }

    fn denied(&self) -> Vec<String> {
        self.document().denied.suffixes.into_iter().collect()
    }
}

fn entry() -> DenyEntry {
    let lease = LeaseId::new(RandomIds.fresh());
    let session_name = format!("web-{}", lease.suffix());
    DenyEntry { lease, session_name, target: ROLE.to_owned(), origin: None, form: DenyForm::Single }
}

fn as_of() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

fn set(entries: &[&DenyEntry]) -> Vec<String> {
    let mut suffixes: Vec<String> = entries.iter().map(|entry| entry.lease.suffix()).collect();
    suffixes.sort();
    suffixes
}

fn written(entries: &[&DenyEntry]) -> String {
    let denied = crate::denials::Denials { suffixes: set(entries).into_iter().collect(), ..Default::default() };
    Document::empty(Kind::Inline).denying(denied).render(10_240).unwrap()
}

#[tokio::test]
async fn p10_exactly_the_given_sessions_are_denied_and_nothing_is_granted() {
    let bench = Bench::new(&[]).await;
    let revoker = bench.revoker();
    assert!(revoker.deny(&[], as_of()).await.unwrap().unchanged, "what denies nothing need not be there");
    assert!(bench.role.lock().unwrap().policies.is_empty());
    let (a, b) = (entry(), entry());
    assert_eq!(revoker.confirm(std::slice::from_ref(&a)).await.unwrap(), [Confirmation::Absent]);
    let first = revoker.deny(&[a.clone(), b.clone()], as_of()).await.unwrap();
    assert!(!first.unchanged && first.version.starts_with("sha256:"), "{first:?}");
    assert_eq!(bench.denied(), set(&[&a, &b]));
    assert!(!bench.role.lock().unwrap().policies[POLICY_NAME].contains("Allow"));
    let again = revoker.deny(&[b.clone(), a.clone()], as_of()).await.unwrap();
    assert_eq!((again.version, again.unchanged), (first.version, true));
    revoker.deny(std::slice::from_ref(&b), as_of()).await.unwrap();
    assert_eq!(revoker.confirm(&[a, b]).await.unwrap(), [Confirmation::Absent, Confirmation::InForce]);
    // When nothing is denied any more it stays, and refuses nobody.
    revoker.deny(&[], as_of()).await.unwrap();
    assert_eq!((bench.denied().len(), bench.role.lock().unwrap().writes), (0, 3));
    assert!(bench.document().is_ours());
}

#[tokio::test]
async fn p10_what_a_stranger_denies_is_kept_and_what_it_grants_is_not() {
    let bench = Bench::new(&[]).await;
    let revoker = bench.revoker();
    let (ours, theirs) = (entry(), entry());
    revoker.deny(std::slice::from_ref(&ours), as_of()).await.unwrap();
    let mut text: Value = serde_json::from_str(&written(&[&theirs])).unwrap();
    let allow = serde_json::json!({ "Effect": "Allow", "Action": "*", "Resource": "*" });
    text["Statement"].as_array_mut().unwrap().push(allow);
    bench.role.lock().unwrap().policies.insert(POLICY_NAME.to_owned(), text.to_string());
    assert!(!bench.document().is_ours());
    revoker.deny(std::slice::from_ref(&ours), as_of()).await.unwrap();
    assert_eq!(bench.denied(), set(&[&ours, &theirs]));
    assert!(bench.document().is_ours(), "the allow is gone");
    bench.clock.advance(crate::limits::MAX_SESSION + crate::limits::ENTRY_GRACE);
    revoker.deny(std::slice::from_ref(&ours), as_of()).await.unwrap();
    assert_eq!(bench.denied(), set(&[&ours]));
}

#[tokio::test]
async fn p10_a_write_between_our_reading_and_writing_is_noticed() {
    let bench = Bench::new(&[]).await;
    let revoker = bench.revoker();
    let (ours, more, theirs) = (entry(), entry(), entry());
    revoker.deny(std::slice::from_ref(&ours), as_of()).await.unwrap();
    bench.role.lock().unwrap().interloper = Some(written(&[&theirs]));
    let error = revoker.deny(&[ours.clone(), more.clone()], as_of()).await.unwrap_err();
    assert_eq!((error.kind, bench.denied()), (ErrorKind::Conflict, set(&[&theirs])), "{error}");
    revoker.deny(&[ours.clone(), more.clone()], as_of()).await.unwrap();
    assert_eq!(bench.denied(), set(&[&ours, &more, &theirs]));
}

#[tokio::test]
async fn other_inline_policies_lower_the_capacity() {
    let places = |characters: usize| u32::try_from((characters - 175 - LINE_CHARACTERS) / 15).unwrap();
    for (others, expected) in [
        (vec![], places(8_192)),
        (vec![("s3", 1_000), ("logs", 1_048)], places(8_192)),
        (vec![("s3", 6_000)], places(4_240)),
        (vec![("s3", 10_000)], 0),
    ] {
        let bench = Bench::new(&others).await;
        let revoker = bench.revoker();
        assert_eq!(revoker.capacity(), places(8_192), "what the configuration sets aside, until it was measured");
        revoker.deny(&[], as_of()).await.unwrap();
        assert_eq!(revoker.capacity(), expected, "{others:?}");
        // So many are certain to be taken.
        let full: Vec<_> = (0..expected).map(|_| entry()).collect();
        revoker.deny(&full, as_of()).await.unwrap();
    }
}

#[tokio::test]
async fn where_other_policies_may_not_be_measured_revoking_goes_on_and_aws_has_the_last_word() {
    let bench = Bench::new(&[("s3", 10_000)]).await;
    bench.role.lock().unwrap().may_list = false;
    let revoker = bench.revoker();
    revoker.deny(&[entry()], as_of()).await.unwrap();
    let many: Vec<_> = (0..20).map(|_| entry()).collect();
    let error = revoker.deny(&many, as_of()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Capacity);
    assert!(error.message.contains("10240 characters") && error.message.contains("managed policies"), "{error}");
}

#[tokio::test]
async fn p4_a_role_that_is_gone_or_closed_confirms_nothing() {
    let bench = Bench::new(&[]).await;
    let revoker = bench.revoker();
    let one = [entry()];
    revoker.deny(&one, as_of()).await.unwrap();
    bench.role.lock().unwrap().gone = true;
    assert_eq!(revoker.confirm(&one).await.unwrap(), [Confirmation::Absent]);
    assert_eq!(revoker.deny(&one, as_of()).await.unwrap_err().kind, ErrorKind::NotFound);
    let forbidden = Server::start(|_| Reply::Answer(403, error_xml("AccessDenied", "no"))).await;
    let (config, _keys) = config(&forbidden);
    let revoker = testing::account(&config, &bench.clock).revoker(ROLE).unwrap();
    let error = revoker.confirm(&one).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused);
    assert!(error.message.contains("allow iam:GetRolePolicy"), "{error}");
}
