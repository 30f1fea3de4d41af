use super::*;
use std::os::unix::fs::PermissionsExt;

use crate::account::Account;
use crate::testing::{self, BASE_ANSWER, Reply, SECRET_KEY, Server, TestClock};

const NOW: &str = "2026-11-21T12:00:00Z";

fn account(base: &str, clock: &Arc<TestClock>, endpoint: &str) -> Account {
    let text = testing::toml_with(endpoint, base, "");
    testing::account(&testing::parse(&text).unwrap(), clock)
}

async fn keys(account: &Account) -> Result<Credentials, ProviderError> {
    account.base.refresh().await?;
    Ok(account.base.provide_credentials().await.unwrap())
}

fn profile_base(files: &[&Path]) -> String {
    format!("type = \"profile\"\nfiles = {files:?}\nprofile = \"grantd\"")
}

#[tokio::test]
async fn a_profile_is_read_from_its_own_section_and_anew_each_time() {
    let file = testing::keys_file();
    let account = account(&profile_base(&[file.path()]), &TestClock::at(NOW), "");
    assert_eq!(keys(&account).await.unwrap().secret_access_key(), SECRET_KEY);
    let text = "[other]\naws_access_key_id=X\naws_secret_access_key=Y\n\
                [grantd]\n# comment = x\naws_access_key_id = AKIANEW\naws_secret_access_key=new/+=\naws_session_token = t\n[z]\n";
    std::fs::write(file.path(), text).unwrap();
    let read = keys(&account).await.unwrap();
    assert_eq!(
        (read.access_key_id(), read.secret_access_key(), read.session_token()),
        ("AKIANEW", "new/+=", Some("t"))
    );
}

#[tokio::test]
async fn a_file_named_config_has_its_own_kind_of_section() {
    let (directory, keys_file) = (tempfile::tempdir().unwrap(), testing::keys_file());
    let config = directory.path().join("config");
    std::fs::write(&config, "[grantd]\naws_access_key_id = X\n[profile grantd]\naws_access_key_id = AKIALATER\n")
        .unwrap();
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o600)).unwrap();
    let both = account(&profile_base(&[keys_file.path(), &config]), &TestClock::at(NOW), "");
    let read = keys(&both).await.unwrap();
    assert_eq!((read.access_key_id(), read.secret_access_key()), ("AKIALATER", SECRET_KEY));
    let half = account(&profile_base(&[&config]), &TestClock::at(NOW), "");
    let error = keys(&half).await.unwrap_err();
    assert!(error.kind == ErrorKind::Config && error.message.contains("[profile grantd]"), "{error}");
}

#[tokio::test]
async fn a_profile_that_leads_elsewhere_is_not_followed() {
    let file = testing::keys_file();
    let account = account(&profile_base(&[file.path()]), &TestClock::at(NOW), "");
    for key in NOT_FOLLOWED.iter().copied().chain(["Credential_Process"]) {
        let text = format!("[grantd]\n{key} = /bin/x\naws_access_key_id = a\naws_secret_access_key = {SECRET_KEY}\n");
        std::fs::write(file.path(), text).unwrap();
        let error = keys(&account).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Config);
        assert!(error.message.contains(&format!("{} is not followed", key.to_lowercase())), "{error}");
    }
}

#[tokio::test]
async fn p9_a_file_that_cannot_be_parsed_is_not_quoted() {
    let file = testing::keys_file();
    let account = account(&profile_base(&[file.path()]), &TestClock::at(NOW), "");
    for line in [SECRET_KEY.to_owned(), format!("[{SECRET_KEY}"), format!("= {SECRET_KEY}")] {
        std::fs::write(file.path(), format!("[grantd]\n{line}\n")).unwrap();
        let error = keys(&account).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Config);
        assert!(error.message.contains("on line 2") && error.message.contains("account \"prod\""), "{error}");
        assert!(!format!("{error:?}").contains(SECRET_KEY), "{error:?}");
    }
}

#[tokio::test]
async fn p9_keys_that_others_can_read_are_not_used() {
    let file = testing::keys_file();
    let account = account(&profile_base(&[file.path()]), &TestClock::at(NOW), "");
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
        let good = head.starts_with("get /creds ")
            && head.contains("authorization: raw-token")
            && head.contains("host: 127.0.0.1:");
        if good { Reply::Answer(200, BASE_ANSWER.to_owned()) } else { Reply::Answer(401, "no".to_owned()) }
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
    let server = Server::start(|seen| testing::metadata(seen, "base-role", BASE_ANSWER)).await;
    let account = account(&testing::metadata_base(server.address), &TestClock::at(NOW), "");
    let read = keys(&account).await.unwrap();
    assert_eq!((read.access_key_id(), read.session_token()), ("ASIABASE", Some("base-token")));
    keys(&account).await.unwrap();
    assert_eq!(server.requests().len(), 3, "token, role and credentials, once");
}

#[tokio::test]
async fn instance_metadata_without_a_usable_role_says_so() {
    for role in ["", "a role\u{7f}", "../x"] {
        let server = Server::start(move |seen| testing::metadata(seen, role, BASE_ANSWER)).await;
        let error = keys(&account(&testing::metadata_base(server.address), &TestClock::at(NOW), "")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Config, "{error}");
        assert!(error.message.contains("attach an instance profile") && error.message.contains("\"prod\""), "{error}");
        assert_eq!(server.requests().len(), 2);
    }
}

#[tokio::test]
async fn p9_instance_metadata_is_not_quoted() {
    let broken = r#"{"SecretAccessKey":"base-secret""#;
    for answer in [broken.to_owned(), r#"{"Code":"Failed","Message":"base-secret"}"#.to_owned()] {
        let server = Server::start(move |seen| testing::metadata(seen, "base-role", &answer)).await;
        let error = keys(&account(&testing::metadata_base(server.address), &TestClock::at(NOW), "")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
        assert!(!format!("{error:?}").contains("base-secret"), "{error:?}");
    }
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
        let container = format!("type = \"container\"\nuri = \"http://{}/creds\"", server.address);
        for base in [container, testing::metadata_base(server.address)] {
            let error = keys(&account(&base, &TestClock::at(NOW), "")).await.unwrap_err();
            assert!(!error.may_have_happened(), "{error}");
            assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
            assert!(error.message.contains("account \"prod\""), "{error}");
            assert!(!format!("{error:?}").contains("base-secret"), "{error:?}");
        }
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
    let endpoint = format!(
        "endpoint = \"http://{}\"\nrevoker = {{ role_arn = \"arn:aws:iam::123456789012:role/revoker\" }}",
        server.address
    );
    let account = account(&profile_base(&[file.path()]), &TestClock::at(NOW), &endpoint);
    let revoker = account.revoker(testing::BOUNDARY).unwrap();
    for _ in 0..2 {
        assert_eq!(
            revoker.deny(&[], "2026-11-21T12:00:00Z".parse().unwrap()).await.unwrap_err().kind,
            ErrorKind::Refused
        );
    }
    let seen = server.requests();
    let actions: Vec<_> = seen.iter().filter_map(|one| one.field("Action")).collect();
    assert_eq!(actions, ["AssumeRole", "ListPolicyVersions", "ListPolicyVersions"]);
    assert!(seen[1].head.contains("Credential=ASIAREVOKER/"), "{}", seen[1].head);
    assert!(seen[1].head.contains("/us-east-1/iam/"), "{}", seen[1].head);
}
