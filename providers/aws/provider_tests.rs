use super::*;
use std::io::Write;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::testing::{self, BOUNDARY, ROLE, Reply, Server, TestClock};

const NOW: &str = "2026-11-21T12:00:00Z";

fn provider(config: Config) -> AwsProvider {
    AwsProvider::new(config, TestClock::at(NOW), crate::testing::minter()).unwrap()
}

fn planned(provider: &AwsProvider) -> Plan {
    let asked = testing::entitlement("object-storage:read", "arn:aws:s3:::alpha", None);
    provider.plan(&asked, &testing::shipped_map()).unwrap()
}

fn request<'a>(plan: &'a Plan) -> IssueRequest<'a> {
    IssueRequest {
        lease: "lease-aguhjfj3y5z7x4q5wmqyhz4fme".parse().unwrap(),
        slug: "web",
        plan,
        target: ROLE,
        now: NOW.parse().unwrap(),
        access_until: "2026-11-21T12:05:00Z".parse().unwrap(),
        tags: &[],
        source_identity: "web",
        bearer: grantd_provider_api::Bearer::default(),
    }
}

#[test]
fn what_an_account_can_do_is_data() {
    let provider = provider(testing::config("max_session = \"2h\""));
    let able = provider.capabilities("prod").unwrap();
    assert_eq!((able.min_ttl.as_secs(), able.max_ttl.as_secs()), (1, 7_200));
    assert_eq!(able.entry_grace.as_secs(), 900);
    assert_eq!(provider.capabilities("gone").unwrap_err().kind, ErrorKind::Config);
    assert_eq!(provider.health().len(), 1);
}

#[test]
fn a_target_names_the_scope_in_which_it_is_revoked() {
    let provider = provider(testing::config(""));
    let mut plan = planned(&provider);
    let scope = DenyScope { cloud: Cloud::Aws, account: "prod".to_owned(), name: BOUNDARY.to_owned() };
    assert_eq!(provider.scopes(), std::slice::from_ref(&scope));
    assert_eq!(provider.targets(&plan).unwrap(), [Target { name: ROLE.to_owned(), scope, capacity: 380 }]);
    plan.targets.insert(0, "arn:aws:iam::123456789012:role/removed".to_owned());
    assert_eq!(provider.targets(&plan).unwrap().len(), 1);
    let placed = provider.place(&request(&plan)).unwrap();
    assert!(placed.session_name.starts_with("web-"));
}

#[tokio::test]
async fn p11_a_dead_account_does_not_touch_another() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let server = Server::start(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Reply::Stall
    })
    .await;
    let (config, keys) = testing::config_for(server.address, "");
    let provider = provider(config);
    let plan = planned(&provider);
    for _ in 0..5 {
        assert_eq!(provider.issue(&request(&plan)).await.unwrap_err().kind, ErrorKind::Unknown);
    }
    let error = provider.issue(&request(&plan)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
    assert_eq!(calls.load(Ordering::SeqCst), 5, "the sixth call was sent");
    assert!(provider.health()[0].last_error.as_ref().unwrap().contains("no answer in time"));
    // Revoking is tried all the same.
    let scope = DenyScope { cloud: Cloud::Aws, account: "prod".to_owned(), name: BOUNDARY.to_owned() };
    assert_eq!(provider.deny(&scope, &[], NOW.parse().unwrap()).await.unwrap_err().kind, ErrorKind::Unknown);
    assert_eq!(calls.load(Ordering::SeqCst), 6);
    drop(keys);
}

/// Runs itself a second time with every environment variable set that the AWS SDKs are known to follow, each
/// leading to a trap. The first run looks whether anybody fell into it.
#[tokio::test]
async fn p9_a_hostile_environment_leads_nowhere() {
    const REAL: &str = "GRANTD_TEST_REAL_ENDPOINT";
    if let Ok(real) = std::env::var(REAL) {
        let (config, _keys) = testing::config_for(real.parse().unwrap(), "");
        let endpoint = format!("endpoint = \"http://{real}\"");
        let metadata = testing::metadata_base(real.parse().unwrap());
        for config in [config, testing::parse(&testing::toml_with(&endpoint, &metadata, "")).unwrap()] {
            let provider = provider(config);
            let plan = planned(&provider);
            let error = provider.issue(&request(&plan)).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Refused, "{error}");
            let scope = DenyScope { cloud: Cloud::Aws, account: "prod".to_owned(), name: BOUNDARY.to_owned() };
            assert_eq!(provider.deny(&scope, &[], NOW.parse().unwrap()).await.unwrap_err().kind, ErrorKind::Refused);
        }
        return;
    }
    let answer = |seen: &testing::Seen| match seen.field("Action") {
        Some(_) => Reply::Answer(403, testing::error_xml("AccessDenied", "no")),
        None => testing::metadata(seen, "base-role", testing::BASE_ANSWER),
    };
    let (real, trap) = (Server::start(answer).await, Server::start(answer).await);
    let url = format!("http://{}", trap.address);
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "tests::p9_a_hostile_environment_leads_nowhere", "--nocapture"]);
    for name in [
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_STS",
        "AWS_ENDPOINT_URL_IAM",
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
        "AWS_ENDPOINT_URL_EC2_METADATA",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    ] {
        child.env(name, &url);
    }
    child.env("NO_PROXY", "").env("AWS_ACCESS_KEY_ID", "AKIATRAP").env("AWS_SECRET_ACCESS_KEY", "trap");
    child.env("AWS_EC2_METADATA_DISABLED", "true").env("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv6");
    let mut files = tempfile::NamedTempFile::new().unwrap();
    for section in ["grantd", "profile grantd", "trap", "profile trap"] {
        let keys = "aws_access_key_id = AKIATRAP\naws_secret_access_key = trap";
        writeln!(files, "[{section}]\n{keys}\nendpoint_url = {url}\nec2_metadata_service_endpoint = {url}").unwrap();
    }
    child.env("AWS_CONFIG_FILE", files.path()).env("AWS_SHARED_CREDENTIALS_FILE", files.path());
    child.env("AWS_PROFILE", "trap").env("AWS_REGION", "us-gov-west-1").env("SSL_CERT_FILE", "/dev/null");
    child.env(REAL, real.address.to_string());
    let outcome = tokio::task::spawn_blocking(move || child.output().unwrap()).await.unwrap();
    let text = String::from_utf8_lossy(&outcome.stdout).into_owned();
    assert!(
        outcome.status.success() && text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&outcome.stderr)
    );
    assert!(trap.requests().is_empty(), "{:?}", trap.requests());
    let seen = real.requests();
    let signed: Vec<_> = seen.iter().filter(|request| request.field("Action").is_some()).collect();
    assert_eq!((seen.len(), signed.len()), (7, 4), "{seen:?}");
    for (request, key) in signed.into_iter().zip(["AKIAEXAMPLE", "AKIAEXAMPLE", "ASIABASE", "ASIABASE"]) {
        let key = format!("Credential={key}/");
        assert!(request.head.contains(&key) && !request.head.contains("us-gov"), "{}", request.head);
    }
}
