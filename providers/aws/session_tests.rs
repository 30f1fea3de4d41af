use super::*;
use grantd_provider_api::{LeaseId, Plan};
use proptest::prelude::*;

use crate::account::Account;
use crate::testing::{self, ROLE, Reply, SECRET_KEY, Server, TestClock, error_xml};

const NOW: &str = "2026-11-21T12:00:00Z";

fn plan() -> Plan {
    let account = testing::config("").accounts.remove("prod").unwrap();
    let entitlement = testing::entitlement("object-storage:read", "arn:aws:s3:::alpha", None);
    crate::plan::plan(&account, &entitlement, &testing::shipped_map()).unwrap()
}

fn request<'a>(plan: &'a Plan, slug: &'a str, until: &str, tags: &'a [(String, String)]) -> IssueRequest<'a> {
    IssueRequest {
        lease: "lease-aguhjfj3y5z7x4q5wmqyhz4fme".parse::<LeaseId>().unwrap(),
        slug,
        plan,
        target: ROLE,
        now: NOW.parse().unwrap(),
        access_until: until.parse().unwrap(),
        tags,
        source_identity: "deploy-bot",
        bearer: grantd_provider_api::Bearer::default(),
    }
}

fn prepared<'a>(config: &'a Config, request: &IssueRequest<'_>) -> Result<Prepared<'a>, ProviderError> {
    prepare(config, &config.accounts["prod"], request)
}

#[test]
fn the_shortest_session_that_covers_the_access_is_asked_for() {
    let (config, plan) = (testing::config("max_session = \"2h\""), plan());
    for (until, seconds) in [
        ("2026-11-21T12:00:01Z", 900),
        ("2026-11-21T12:15:00Z", 900),
        ("2026-11-21T12:15:01Z", 901),
        ("2026-11-21T14:00:00.9Z", 7_200),
    ] {
        let made = prepared(&config, &request(&plan, "web", until, &[])).unwrap();
        assert_eq!(made.seconds, seconds, "{until}");
    }
}

#[test]
fn p3_a_longer_time_than_the_role_allows_is_refused_with_the_number() {
    let plan = plan();
    let error = prepared(&testing::config(""), &request(&plan, "web", "2026-11-21T13:00:01Z", &[])).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    assert!(error.message.contains("3601 s") && error.message.contains("ask for 3600 s or less"), "{error}");

    let mut chained = testing::config("max_session = \"1h\"");
    chained.accounts.get_mut("prod").unwrap().chained = true;
    let error = prepared(&chained, &request(&plan, "web", "2026-11-21T14:00:00Z", &[])).unwrap_err();
    assert!(error.message.contains("its base is an assumed role"), "{error}");

    let error = prepared(&testing::config(""), &request(&plan, "web", "2026-11-21T12:00:00.9Z", &[])).unwrap_err();
    assert!(error.message.contains("at least one whole second"), "{error}");
}

#[test]
fn p3_access_ends_with_the_second_before_and_never_after() {
    let (config, plan) = (testing::config(""), plan());
    let made = prepared(&config, &request(&plan, "web", "2026-11-21T12:05:30.999Z", &[])).unwrap();
    let policy: Value = serde_json::from_str(&made.policy).unwrap();
    let last = policy["Statement"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        last,
        json!({ "Effect": "Deny", "Action": "*", "Resource": "*",
            "Condition": { "DateGreaterThanEquals": { "aws:CurrentTime": "2026-11-21T12:05:30Z" } } })
    );
    // 900 s of token, half a second of waiting, a minute of doubt about clocks.
    assert_eq!(made.token_until, "2026-11-21T12:16:00.5Z".parse::<Timestamp>().unwrap());
}

#[test]
fn a_policy_that_is_too_long_says_by_how_much() {
    let mut plan = plan();
    let padding = "x".repeat(2_048);
    plan.native["Statement"][0]["Resource"] = json!(padding);
    let config = testing::config("");
    let error = prepared(&config, &request(&plan, "web", "2026-11-21T12:05:00Z", &[])).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    assert!(error.message.contains("more than the 2048"), "{error}");

    // To the character: the number that is computed is the length that is sent.
    let room = |extra: usize| {
        let mut plan = plan.clone();
        plan.native["Statement"][0]["Resource"] = json!("x".repeat(extra));
        prepared(&config, &request(&plan, "web", "2026-11-21T12:05:00Z", &[])).map(|made| made.policy.chars().count())
    };
    let fixed = room(1).unwrap() - 1;
    assert_eq!(room(2_048 - fixed).unwrap(), 2_048);
    assert!(room(2_049 - fixed).unwrap_err().message.contains(", 1 more than"));
}

#[test]
fn a_plan_that_is_not_ours_is_not_used() {
    let config = testing::config("");
    let good = plan();
    for native in
        [json!({}), json!(null), json!({ "Statement": [{ "Effect": "Allow", "Action": "*", "Resource": "*" }] })]
    {
        let bad = Plan { native, ..good.clone() };
        let error = prepared(&config, &request(&bad, "web", "2026-11-21T12:05:00Z", &[])).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Config, "{error}");
    }
    let elsewhere = Plan { targets: vec!["arn:aws:iam::123456789012:role/gone".to_owned()], ..good };
    let error = prepared(&config, &request(&elsewhere, "web", "2026-11-21T12:05:00Z", &[])).unwrap_err();
    assert!(error.message.contains("not both in the plan and configured"), "{error}");
}

#[test]
fn tags_and_source_identity_go_out_only_where_configured_and_within_the_limits() {
    let plan = plan();
    let (plain, full) = (testing::config(""), testing::config("tags = true\nsource_identity = true"));
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let tags = [pair("grant", "grant-1"), pair("resource", "alpha")];
    let asked = request(&plan, "web", "2026-11-21T12:05:00Z", &tags);
    let without = prepared(&plain, &asked).unwrap();
    assert!(without.tags.is_empty() && without.source_identity.is_none());
    let with = prepared(&full, &asked).unwrap();
    assert_eq!((with.tags.len(), with.source_identity.as_deref()), (2, Some("deploy-bot")));

    let bad = IssueRequest { source_identity: "deploy bot", ..asked.clone() };
    assert!(prepared(&full, &bad).unwrap_err().message.contains("cannot be a source identity"));
    for tags in [
        vec![pair("Grant", "1"), pair("grant", "2")],
        vec![pair("aws:x", "1")],
        vec![pair("", "1")],
        vec![pair("k", "a\nb")],
        vec![pair(&"k".repeat(129), "1")],
        vec![pair("k", &"v".repeat(257))],
        (0..51).map(|n| pair(&format!("k{n}"), "v")).collect(),
    ] {
        let asked = request(&plan, "web", "2026-11-21T12:05:00Z", &tags);
        assert_eq!(prepared(&full, &asked).unwrap_err().kind, ErrorKind::Unsupported);
        assert!(prepared(&plain, &asked).is_ok(), "not sent, so not judged");
    }
}

proptest! {
    /// Whatever a subject is called, its session name is one that AWS takes and that its deny matches.
    #[test]
    fn a_session_name_is_readable_valid_and_ends_in_its_suffix(slug in any::<String>()) {
        let name = session_name(&slug, "abcdefghij");
        prop_assert!(valid_session_name(&name), "{}", name);
        prop_assert!(name.ends_with("-abcdefghij") && !name.starts_with('-'));
    }
}

#[test]
fn session_names_read_like_their_subjects() {
    assert_eq!(session_name("Deploy Bot (prod)", "abcdefghij"), "deploy-bot-prod-abcdefghij");
    assert_eq!(session_name("\u{fc}\u{fc}", "abcdefghij"), "grantd-abcdefghij");
}

// ------------------------------------------------------------------------------------------- against a server

fn assumed(seen: &testing::Seen, expiration: &str) -> String {
    let name = seen.field("RoleSessionName").unwrap();
    format!(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>\
         <AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/reader/{name}</Arn>\
         <AssumedRoleId>AROAEXAMPLEROLEID0001:{name}</AssumedRoleId></AssumedRoleUser>\
         <Credentials><AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>issued-secret</SecretAccessKey>\
         <SessionToken>issued-token</SessionToken><Expiration>{expiration}</Expiration></Credentials>\
         <PackedPolicySize>12</PackedPolicySize></AssumeRoleResult></AssumeRoleResponse>"
    )
}

struct Bench {
    config: Config,
    account: Account,
    server: Server,
    _keys: tempfile::NamedTempFile,
}

impl Bench {
    async fn new(role: &str, answer: impl Fn(&testing::Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::on(Server::start(answer).await, role)
    }

    fn on(server: Server, role: &str) -> Self {
        let (config, keys) = testing::config_for(server.address, role);
        let account = testing::account(&config, &TestClock::at(NOW));
        Self { config, account, server, _keys: keys }
    }

    async fn issue(&self) -> Result<Issued, ProviderError> {
        let plan = plan();
        let tags = [("grant".to_owned(), "grant-1".to_owned())];
        issue(&self.config, &self.account, &request(&plan, "web", "2026-11-21T12:05:00Z", &tags)).await
    }
}

#[tokio::test]
async fn a_session_is_asked_for_exactly_as_planned() {
    let bench = Bench::new("tags = true\nsource_identity = true\nexternal_id = \"ext-1\"", |seen| {
        Reply::Answer(200, assumed(seen, "2026-11-21T12:15:00Z"))
    })
    .await;
    let issued = bench.issue().await.unwrap();
    let seen = bench.server.requests();
    assert_eq!(seen.len(), 1);
    let field = |name: &str| seen[0].field(name);
    assert_eq!(field("Action").as_deref(), Some("AssumeRole"));
    assert_eq!(field("RoleArn").as_deref(), Some(ROLE));
    assert_eq!(field("DurationSeconds").as_deref(), Some("900"));
    assert_eq!(field("Tags.member.1.Key").as_deref(), Some("grant"));
    assert_eq!(field("SourceIdentity").as_deref(), Some("deploy-bot"));
    assert_eq!(field("ExternalId").as_deref(), Some("ext-1"));
    let policy: Value = serde_json::from_str(&field("Policy").unwrap()).unwrap();
    assert!(policy["Statement"].as_array().unwrap().iter().any(|one| one.get("NotResource").is_some()));

    assert_eq!(issued.token_until, "2026-11-21T12:15:00Z".parse::<Timestamp>().unwrap());
    assert!(issued.native_id.starts_with("arn:aws:sts::123456789012:assumed-role/reader/web-"));
    let issued_at = "2026-11-21T12:00:00Z".parse().unwrap();
    assert_eq!(issued.origin, Some(Origin { identity: "AROAEXAMPLEROLEID0001".to_owned(), issued_at }));
    assert!(issued.facts.contains(&("packed_policy_size_percent".to_owned(), "12".to_owned())));
    assert!(!format!("{issued:?}").contains("issued-"), "{issued:?}");
    let Credential::Aws { access_key_id, secret_access_key, session_token, .. } = issued.credential else {
        panic!("a session of AWS")
    };
    assert_eq!(
        (access_key_id.as_str(), secret_access_key.expose(), session_token.expose()),
        ("ASIAEXAMPLE", "issued-secret", "issued-token")
    );
}

#[tokio::test]
async fn p2_each_way_to_fail_says_whether_a_session_may_exist() {
    use ErrorKind as K;
    type Answer = fn(&testing::Seen) -> Reply;
    let cases: [(&str, Answer, ErrorKind); 12] = [
        ("reset after", |_| Reply::ResetAfter, K::Unknown),
        ("garbage", |_| Reply::Garbage, K::Unknown),
        ("half an answer", |_| Reply::Half, K::Unknown),
        ("no answer", |_| Reply::Stall, K::Unknown),
        ("empty 200", |_| Reply::Answer(200, String::new()), K::Unknown),
        ("html 200", |_| Reply::Answer(200, "<html>hi</html>".to_owned()), K::Unknown),
        ("500", |_| Reply::Answer(500, error_xml("InternalFailure", "oops")), K::Unknown),
        ("503 html", |_| Reply::Answer(503, "<html>busy</html>".to_owned()), K::Unknown),
        ("403 html", |_| Reply::Answer(403, "<html>no</html>".to_owned()), K::Unknown),
        ("403", |_| Reply::Answer(403, error_xml("AccessDenied", "no")), K::Refused),
        ("429", |_| Reply::Answer(429, "slow down".to_owned()), K::Throttled),
        ("throttled", |_| Reply::Answer(400, error_xml("Throttling", "Rate exceeded")), K::Throttled),
    ];
    let slammed = Bench::on(Server::slamming().await, "").issue().await.unwrap_err();
    assert_eq!(slammed.kind, K::Unknown, "{slammed}");
    for (name, answer, kind) in cases {
        let bench = Bench::new("", answer).await;
        let error = bench.issue().await.unwrap_err();
        assert_eq!(error.kind, kind, "{name}: {error}");
        assert_eq!(error.may_have_happened(), kind == K::Unknown, "{name}");
        assert!(bench.server.requests().len() <= 1, "{name}: the call was repeated");
    }
}

#[tokio::test]
async fn p2_a_connection_never_made_proves_that_nothing_exists() {
    let refused = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let (config, _keys) = testing::config_for(refused, "");
    let account = testing::account(&config, &TestClock::at(NOW));
    let plan = plan();
    let asked = request(&plan, "web", "2026-11-21T12:05:00Z", &[]);
    let error = issue(&config, &account, &asked).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
    assert!(!error.may_have_happened());

    // A TLS handshake that fails has sent no request either.
    let server = Server::start(|_| Reply::Garbage).await;
    let keys = testing::keys_file();
    let base = format!("type = \"profile\"\nfiles = [{:?}]\nprofile = \"grantd\"", keys.path());
    let text = testing::toml_with(&format!("endpoint = \"https://{}\"", server.address), &base, "");
    let config = testing::parse(&text).unwrap();
    let account = testing::account(&config, &TestClock::at(NOW));
    let error = issue(&config, &account, &asked).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
}

#[tokio::test]
async fn a_base_that_cannot_be_had_sends_nothing() {
    let bench = Bench::new("", |seen| Reply::Answer(200, assumed(seen, "2026-11-21T12:15:00Z"))).await;
    bench._keys.as_file().set_len(0).unwrap();
    let error = bench.issue().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Config, "{error}");
    assert!(bench.server.requests().is_empty());
}

#[tokio::test]
async fn p3_a_cloud_clock_that_is_off_is_noticed() {
    for (expiration, ok) in [
        ("2026-11-21T12:15:59Z", true),
        ("2026-11-21T12:14:01Z", true),
        ("2026-11-21T12:16:01Z", false),
        ("2026-11-21T12:13:59Z", false),
        ("2026-11-21T13:15:00Z", false),
    ] {
        let bench = Bench::new("", move |seen| Reply::Answer(200, assumed(seen, expiration))).await;
        let outcome = bench.issue().await;
        assert_eq!(outcome.is_ok(), ok, "{expiration}");
        if let Err(error) = outcome {
            assert_eq!(error.kind, ErrorKind::ClockSkew);
            assert!(error.may_have_happened() && !error.to_string().contains("issued-"), "{error}");
        }
    }
}

#[tokio::test]
async fn an_answer_for_something_else_is_not_handed_out() {
    for (from, to) in [
        ("assumed-role/reader/", "assumed-role/admin/"),
        ("assumed-role/reader/web-", "assumed-role/reader/other-"),
        ("issued-secret", ""),
        ("<SessionToken>issued-token</SessionToken>", "<SessionToken></SessionToken>"),
        ("ASIAEXAMPLE", "not a key"),
    ] {
        let bench =
            Bench::new("", move |seen| Reply::Answer(200, assumed(seen, "2026-11-21T12:15:00Z").replacen(from, to, 1)))
                .await;
        let error = bench.issue().await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unknown, "{from} -> {to}: {error}");
        assert!(!format!("{error:?}").contains("issued-"), "{error:?}");
    }
}

#[tokio::test]
async fn p9_no_error_holds_what_was_sent_or_answered() {
    // A hostile endpoint that gives back everything it gets, in every way it can.
    for status in [200, 400, 403, 429, 500] {
        let bench = Bench::new("", move |seen| {
            let echo = format!("{} {} issued-secret", seen.head.replace(['<', '&'], ""), seen.body.replace('&', " "));
            Reply::Answer(status, error_xml("AccessDenied", &echo))
        })
        .await;
        let text = format!("{:?}", bench.issue().await.unwrap_err());
        for secret in [SECRET_KEY, "Signature", "AKIAEXAMPLE", "issued-secret"] {
            assert!(!text.contains(secret), "{status}: {text}");
        }
    }
    let bench = Bench::new("", |_| Reply::Stall).await;
    assert!(!format!("{:?} {:?}", bench.account, bench.account.base).contains(SECRET_KEY));
}

/// What the account says when it is used by tokens.
fn by_token(server: std::net::SocketAddr, role: &str) -> Config {
    let text = testing::toml_with(&format!("endpoint = \"http://{server}\""), "", role).replace(
        "[aws.account.base]",
        "issue = \"web_identity\"\nrevoker = { role_arn = \"arn:aws:iam::123456789012:role/grantd-revoker\" }",
    );
    testing::parse(&text).unwrap()
}

#[tokio::test]
async fn a_session_by_token_is_the_same_session_and_its_token_says_who_it_is() {
    let server = Server::start(|seen| {
        Reply::Answer(
            200,
            assumed(seen, "2026-11-21T12:15:00Z").replace("AssumeRoleRes", "AssumeRoleWithWebIdentityRes"),
        )
    })
    .await;
    let config = by_token(server.address, "tags = true\nsource_identity = true\nmax_session = \"12h\"");
    let account = testing::account(&config, &TestClock::at(NOW));
    let plan = plan();
    let tags = [("grant".to_owned(), "grant-1".to_owned())];
    let asked = request(&plan, "web", "2026-11-21T12:05:00Z", &tags);
    let issued = issue(&config, &account, &asked).await.unwrap();
    let seen = server.requests();
    assert_eq!(seen.len(), 1, "the base is asked for nothing");
    assert!(!seen[0].head.to_ascii_lowercase().contains("authorization:"), "{}", seen[0].head);
    let field = |name: &str| seen[0].field(name);
    assert_eq!(field("Action").as_deref(), Some("AssumeRoleWithWebIdentity"));
    assert_eq!(field("RoleArn").as_deref(), Some(ROLE));
    assert_eq!(field("DurationSeconds").as_deref(), Some("900"));
    let expected = prepared(&config, &asked).unwrap();
    assert_eq!(field("Policy").as_deref(), Some(expected.policy.as_str()));
    assert_eq!(field("RoleSessionName").as_deref(), Some(expected.name.as_str()));
    for absent in ["Tags.member.1.Key", "SourceIdentity", "ExternalId"] {
        assert_eq!(field(absent), None, "{absent} travels in the token");
    }
    let token: Value = serde_json::from_str(&field("WebIdentityToken").unwrap()).unwrap();
    assert_eq!(
        token,
        json!({ "aud": "sts.amazonaws.com", "sub": "grantd:prod", "seconds": 60, "claims": {
            "https://aws.amazon.com/tags": {
                "principal_tags": { "grant": ["grant-1"] }, "transitive_tag_keys": ["grant"] },
            "https://aws.amazon.com/source_identity": "deploy-bot",
        } })
    );
    assert_eq!(issued.origin.unwrap().identity, "AROAEXAMPLEROLEID0001");
    // No chain: as long as the role allows.
    prepared(&config, &request(&plan, "web", "2026-11-22T00:00:00Z", &[])).unwrap();
}

#[tokio::test]
async fn p2_a_token_that_is_refused_made_no_session_and_is_never_repeated() {
    use ErrorKind as K;
    for (status, code, kind) in [
        (400, "InvalidIdentityToken", K::Config),
        (403, "IDPRejectedClaim", K::Config),
        (400, "ExpiredTokenException", K::Config),
        (400, "IDPCommunicationError", K::Unreachable),
        (403, "AccessDenied", K::Refused),
        (500, "InternalFailure", K::Unknown),
    ] {
        let server = Server::start(move |seen| {
            let token = seen.field("WebIdentityToken").unwrap();
            Reply::Answer(status, error_xml(code, &token))
        })
        .await;
        let config = by_token(server.address, "");
        let account = testing::account(&config, &TestClock::at(NOW));
        let plan = plan();
        let error = issue(&config, &account, &request(&plan, "web", "2026-11-21T12:05:00Z", &[])).await.unwrap_err();
        assert_eq!((error.kind, error.may_have_happened()), (kind, kind == K::Unknown), "{code}: {error}");
        assert!(!error.message.contains("seconds") && error.message.contains(ROLE), "{error}");
        assert_eq!(server.requests().len(), 1, "{code}");
    }
}
