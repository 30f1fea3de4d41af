use super::*;
use std::os::unix::fs::PermissionsExt;

use crate::account::Account;
use crate::testing::{self, Reply, SECRET_KEY, Server, TestClock};

const NOW: &str = "2026-11-21T12:00:00Z";
const ANSWER: &str = r#"{"AccessKeyId":"ASIABASE","SecretAccessKey":"base-secret","Token":"base-token","Expiration":"2026-11-21T13:00:00Z"}"#;

fn account(base: &str, clock: &Arc<TestClock>, endpoint: &str) -> Account {
    let text = testing::toml_with(endpoint, base, "");
    testing::account(&testing::parse(&text).unwrap(), clock)
}

async fn keys(account: &Account) -> Result<Credentials, ProviderError> {
    account.base.refresh().await?;
    Ok(account.base.provide_credentials().await.unwrap())
}

#[tokio::test]
async fn a_profile_is_read_from_its_own_section_and_anew_each_time() {
    let file = testing::keys_file();
    let base = format!("type = \"profile\"\nfiles = [{:?}]\nprofile = \"grantd\"", file.path());
    let account = account(&base, &TestClock::at(NOW), "");
    assert_eq!(keys(&account).await.unwrap().secret_access_key(), SECRET_KEY);
    let text = "[other]\naws_access_key_id=X\naws_secret_access_key=Y\n\
                [profile grantd]\n# comment = x\naws_access_key_id = AKIANEW\naws_secret_access_key=new/+=\naws_session_token = t\n[z]\n";
    std::fs::write(file.path(), text).unwrap();
    let read = keys(&account).await.unwrap();
    assert_eq!(
        (read.access_key_id(), read.secret_access_key(), read.session_token()),
        ("AKIANEW", "new/+=", Some("t"))
    );
}

#[tokio::test]
async fn a_profile_that_leads_elsewhere_is_not_followed() {
    for line in [
        "credential_process = /bin/x",
        "role_arn = arn:aws:iam::1:role/x",
        "source_profile=y",
        "endpoint_url = http://evil",
    ] {
        let mut section = Section::default();
        let error = section.read(&format!("[grantd]\n{line}\n"), "grantd").unwrap_err();
        assert!(error.contains("is not followed"), "{error}");
    }
}

#[tokio::test]
async fn p9_keys_that_others_can_read_are_not_used() {
    let file = testing::keys_file();
    let base = format!("type = \"profile\"\nfiles = [{:?}]\nprofile = \"grantd\"", file.path());
    let account = account(&base, &TestClock::at(NOW), "");
    for (mode, ok) in [(0o600, true), (0o640, true), (0o644, false), (0o660, false), (0o604, false)] {
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        let outcome = keys(&account).await;
        assert_eq!(outcome.is_ok(), ok, "{mode:o}");
        if let Err(error) = outcome {
            assert_eq!(error.kind, ErrorKind::Config);
            assert!(error.message.contains("chmod 0600") && !error.message.contains(SECRET_KEY), "{error}");
        }
    }
}

#[tokio::test]
async fn a_container_gives_credentials_for_the_raw_token_and_they_are_kept_until_shortly_before_their_end() {
    let server = Server::start(|seen| {
        let head = seen.head.to_ascii_lowercase();
        let good = head.starts_with("get /creds ") && head.contains("authorization: raw-token\r\n");
        if good { Reply::Answer(200, ANSWER.to_owned()) } else { Reply::Answer(401, "no".to_owned()) }
    })
    .await;
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "raw-token\n").unwrap();
    let base =
        format!("type = \"container\"\nuri = \"http://{}/creds\"\ntoken_file = {:?}", server.address, token.path());
    let clock = TestClock::at(NOW);
    let account = account(&base, &clock, "");
    assert_eq!(keys(&account).await.unwrap().session_token(), Some("base-token"));
    keys(&account).await.unwrap();
    assert_eq!(server.requests().len(), 1);
    clock.advance(Duration::from_secs(3_600 - 300));
    keys(&account).await.unwrap();
    assert_eq!(server.requests().len(), 2);

    std::fs::write(token.path(), "wrong").unwrap();
    let error = keys(&account).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Config, "{error}");
}

#[tokio::test]
async fn instance_metadata_is_asked_in_version_two_only() {
    let server = Server::start(|seen| {
        let line = seen.head.lines().next().unwrap_or_default().to_owned();
        let authorised = seen.head.to_ascii_lowercase().contains("x-aws-ec2-metadata-token: v2-token");
        match line.as_str() {
            "PUT /latest/api/token HTTP/1.1" => Reply::Answer(200, "v2-token".to_owned()),
            _ if !authorised => Reply::Answer(401, String::new()),
            "GET /latest/meta-data/iam/security-credentials/ HTTP/1.1" => Reply::Answer(200, "base-role".to_owned()),
            "GET /latest/meta-data/iam/security-credentials/base-role HTTP/1.1" => {
                Reply::Answer(200, ANSWER.to_owned())
            }
            _ => Reply::Answer(404, String::new()),
        }
    })
    .await;
    let base = format!(
        "type = \"instance_metadata\"\nallow_instance_metadata_reachable = true\nendpoint = \"http://{}\"",
        server.address
    );
    let account = account(&base, &TestClock::at(NOW), "");
    assert_eq!(keys(&account).await.unwrap().access_key_id(), "ASIABASE");
}

#[tokio::test]
async fn a_web_identity_goes_out_unsigned_and_never_into_an_error() {
    let server = Server::start(|seen| {
        if seen.field("WebIdentityToken").as_deref() != Some("the-jwt") {
            let echo = format!("{} {}", seen.head, seen.body.replace('&', " "));
            return Reply::Answer(400, testing::error_xml("InvalidIdentityToken", &echo));
        }
        assert!(!seen.head.to_ascii_lowercase().contains("authorization:"), "{}", seen.head);
        Reply::Answer(
            200,
            "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
             <AccessKeyId>ASIAWEB</AccessKeyId><SecretAccessKey>base-secret</SecretAccessKey>\
             <SessionToken>t</SessionToken><Expiration>2026-11-21T13:00:00Z</Expiration></Credentials>\
             </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
                .to_owned(),
        )
    })
    .await;
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "the-jwt\n").unwrap();
    let base = format!(
        "type = \"web_identity\"\nrole_arn = \"arn:aws:iam::123456789012:role/base\"\nsession_name = \"grantd\"\ntoken_file = {:?}",
        token.path()
    );
    let endpoint = format!("endpoint = \"http://{}\"", server.address);
    let good = account(&base, &TestClock::at(NOW), &endpoint);
    assert_eq!(keys(&good).await.unwrap().access_key_id(), "ASIAWEB");

    std::fs::write(token.path(), "secret-but-wrong-jwt").unwrap();
    let bad = account(&base, &TestClock::at(NOW), &endpoint);
    let error = keys(&bad).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Config, "{error}");
    assert!(!format!("{error:?}").contains("secret-but-wrong-jwt"), "{error:?}");
}

#[tokio::test]
async fn p2_no_trouble_with_the_base_looks_like_a_session() {
    type Answer = fn(&testing::Seen) -> Reply;
    let answers: [Answer; 4] = [
        |_| Reply::Garbage,
        |_| Reply::Stall,
        |_| Reply::Answer(500, String::new()),
        |_| Reply::Answer(200, r#"{"SecretAccessKey":"base-secret""#.to_owned()),
    ];
    let mut servers = vec![Server::slamming().await];
    for answer in answers {
        servers.push(Server::start(answer).await);
    }
    for server in servers {
        let base = format!("type = \"container\"\nuri = \"http://{}/creds\"", server.address);
        let error = keys(&account(&base, &TestClock::at(NOW), "")).await.unwrap_err();
        assert!(!error.may_have_happened(), "{error}");
        assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
        assert!(!format!("{error:?}").contains("base-secret"), "{error:?}");
    }
}

#[tokio::test]
async fn boundaries_are_written_by_the_revoker_alone() {
    let server = Server::start(|seen| match seen.field("Action").as_deref() {
        Some("AssumeRole") => {
            assert_eq!(seen.field("RoleArn").as_deref(), Some("arn:aws:iam::123456789012:role/revoker"));
            assert!(seen.head.contains("Credential=AKIAEXAMPLE/"), "{}", seen.head);
            Reply::Answer(
                200,
                "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIAREVOKER</AccessKeyId>\
                 <SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
                 <Expiration>2026-11-21T13:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
                    .to_owned(),
            )
        }
        _ => Reply::Answer(403, testing::error_xml("AccessDenied", "no")),
    })
    .await;
    let file = testing::keys_file();
    let base = format!("type = \"profile\"\nfiles = [{:?}]\nprofile = \"grantd\"", file.path());
    let endpoint = format!(
        "endpoint = \"http://{}\"\nrevoker = {{ role_arn = \"arn:aws:iam::123456789012:role/revoker\" }}",
        server.address
    );
    let account = account(&base, &TestClock::at(NOW), &endpoint);
    let boundary = account.boundary(testing::BOUNDARY).unwrap();
    for _ in 0..2 {
        assert_eq!(boundary.deny(&[]).await.unwrap_err().kind, ErrorKind::Refused);
    }
    let seen = server.requests();
    let actions: Vec<_> = seen.iter().filter_map(|one| one.field("Action")).collect();
    assert_eq!(actions, ["AssumeRole", "ListPolicyVersions", "ListPolicyVersions"]);
    assert!(seen[1].head.contains("Credential=ASIAREVOKER/"), "{}", seen[1].head);
    assert!(seen[1].head.contains("/us-east-1/iam/"), "{}", seen[1].head);
}
