use super::*;
use crate::testing::{BOUNDARY, ROLE, parse, toml_with};

const PROFILE: &str = "type = \"profile\"\nfiles = [\"/etc/grantd/aws\"]\nprofile = \"grantd\"";

fn error(account: &str, base: &str, role: &str) -> String {
    parse(&toml_with(account, base, role)).unwrap_err().to_string()
}

#[test]
fn defaults_are_the_documented_ones() {
    let text = format!(
        "[[aws.account]]\nname = \"prod\"\nid = \"123456789012\"\nregion = \"eu-west-1\"\n[aws.account.base]\n{PROFILE}\n\
         [[aws.account.role]]\narn = \"{ROLE}\"\nboundary = \"{BOUNDARY}\"\n"
    );
    let config = parse(&text).unwrap();
    let account = &config.accounts["prod"];
    assert_eq!((config.batch_window, config.write_interval), (Duration::from_millis(200), secs(1)));
    assert_eq!((config.clock_skew, config.timeouts.operation), (secs(60), secs(12)));
    assert_eq!((account.partition.as_str(), account.chained), ("aws", false));
    assert_eq!((account.propagation.expected, account.propagation.worst), (secs(10), secs(120)));
    assert_eq!((account.roles[0].max_session, account.roles[0].tags), (secs(3_600), false));
    assert_eq!(config.files().collect::<Vec<_>>(), [Path::new("/etc/grantd/aws")]);
    assert_eq!(config.accounts().collect::<Vec<_>>(), ["prod"]);
}

#[test]
fn everything_can_be_said() {
    let text = toml_with(
        "partition = \"aws\"\nendpoint = \"http://127.0.0.1:4566\"\nchained = true\n\
         propagation = { expected = \"3s\", worst = \"40s\" }\n\
         revoker = { role_arn = \"arn:aws:iam::123456789012:role/grantd-revoker\" }",
        PROFILE,
        "max_session = \"12h\"\ntags = true\nsource_identity = true\nexternal_id = \"abc/1\"",
    );
    let config = parse(&text).unwrap();
    let account = &config.accounts["prod"];
    assert_eq!(account.roles[0].max_session, secs(3_600), "a chained base allows an hour");
    assert_eq!(account.revoker.as_ref().unwrap().name(), "grantd-revoker");
    assert_eq!(account.propagation.worst, secs(40));
}

#[test]
fn a_base_that_is_a_role_is_chained() {
    for (base, chained) in [
        (PROFILE, false),
        ("type = \"container\"\nuri = \"http://169.254.170.2/x\"", true),
        (
            "type = \"web_identity\"\nrole_arn = \"arn:aws:iam::210987654321:role/base\"\ntoken_file = \"/run/t\"\nsession_name = \"grantd\"",
            true,
        ),
    ] {
        let config = parse(&toml_with("", base, "max_session = \"2h\"")).unwrap();
        let account = &config.accounts["prod"];
        assert_eq!(account.chained, chained, "{base}");
        assert_eq!(account.roles[0].max_session, if chained { secs(3_600) } else { secs(7_200) });
    }
    let web = "type = \"web_identity\"\nrole_arn = \"arn:aws:iam::210987654321:role/base\"\ntoken_file = \"/run/t\"\nsession_name = \"grantd\"";
    assert!(error("chained = false", web, "").contains("chained = false is not true"));
}

#[test]
fn instance_metadata_needs_its_danger_acknowledged() {
    let text = error("", "type = \"instance_metadata\"", "");
    assert!(text.contains("any process that can reach 169.254.169.254"), "{text}");
    assert!(text.contains("allow_instance_metadata_reachable = true"), "{text}");
    let allowed = "type = \"instance_metadata\"\nallow_instance_metadata_reachable = true";
    assert!(parse(&toml_with("", allowed, "")).is_ok());
}

#[test]
fn each_mistake_is_named() {
    for (account, base, role, needle) in [
        ("surprise = 1", PROFILE, "", "surprise"),
        ("", "type = \"environment\"", "", "environment"),
        ("", "type = \"profile\"\nfiles = []\nprofile = \"x\"", "", "the environment is never asked"),
        ("", "type = \"profile\"\nfiles = [\"aws\"]\nprofile = \"x\"", "", "not an absolute path"),
        ("", "type = \"container\"\nuri = \"http://example.com/\"", "", "plain http"),
        ("", "type = \"container\"\nuri = \"http://169.254.169.254/\"", "", "plain http"),
        ("endpoint = \"http://sts.example.com\"", PROFILE, "", "plain http"),
        ("partition = \"aws-moon\"", PROFILE, "", "aws-moon"),
        ("", PROFILE, "max_session = \"5m\"", "role.max_session"),
        ("", PROFILE, "max_session = \"13h\"", "role.max_session"),
        ("", PROFILE, "max_session = \"-1h\"", "role.max_session"),
        ("", PROFILE, "external_id = \"x\"", "external_id"),
        ("propagation = { expected = \"50s\", worst = \"40s\" }", PROFILE, "", "propagation.worst"),
        ("revoker = { role_arn = \"arn:aws:iam::210987654321:role/r\" }", PROFILE, "", "not in account 123456789012"),
    ] {
        let text = error(account, base, role);
        assert!(text.contains(needle), "{needle}: {text}");
    }
    let swapped = toml_with("", PROFILE, "");
    for (from, to, needle) in [
        (ROLE, "arn:aws:iam::123456789012:role/aws-reserved/sso.amazonaws.com/x", "belongs to AWS"),
        (ROLE, "arn:aws:iam::210987654321:role/x", "not in account"),
        (ROLE, "arn:aws:iam::123456789012:user/x", "role/"),
        (BOUNDARY, "arn:aws:iam::aws:policy/PowerUserAccess", "twelve digits"),
        ("eu-west-1", "eu", "region"),
        ("123456789012\"\nregion", "1234\"\nregion", "twelve digits"),
        ("name = \"prod\"", "name = \"a b\"", "account name"),
    ] {
        let text = parse(&swapped.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(text.contains(needle), "{needle}: {text}");
    }
}

#[test]
fn a_role_is_revoked_in_exactly_one_place() {
    let with = |lines: &str| parse(&toml_with("", PROFILE, "").replace(&format!("boundary = \"{BOUNDARY}\""), lines));
    let account = |lines: &str| with(lines).unwrap().accounts.remove("prod").unwrap();
    let boundary = account(&format!("boundary = \"{BOUNDARY}\""));
    assert_eq!(boundary.roles[0].scope_name(), BOUNDARY, "by default never in an inline policy");
    for (lines, expected) in
        [("", 8_192), ("\ninline_characters = 1024", 1_024), ("\ninline_characters = 10240", 10_240)]
    {
        let inline = account(&format!("revocation = \"inline\"{lines}"));
        assert_eq!(inline.roles[0].scope_name(), ROLE);
        let set_aside = &inline.roles[0].revocation;
        assert!(
            matches!(set_aside, RevocationConfig::Inline { characters } if *characters == expected),
            "{set_aside:?}"
        );
    }
    let both = format!("boundary = \"{BOUNDARY}\"\nrevocation = \"inline\"");
    let useless = format!("boundary = \"{BOUNDARY}\"\ninline_characters = 2000");
    for (lines, needle) in [
        ("", "exactly one of boundary"),
        (both.as_str(), "exactly one of boundary"),
        ("inline_characters = 2000", "exactly one of boundary"),
        (useless.as_str(), "inline_characters is for"),
        ("revocation = \"boundary\"", "unknown variant"),
        ("revocation = \"inline\"\ninline_characters = 1023", "not between 1024"),
        ("revocation = \"inline\"\ninline_characters = 10241", "the 10240"),
    ] {
        let text = with(lines).unwrap_err().to_string();
        assert!(text.contains(needle), "{needle}: {text}");
    }
}

#[test]
fn two_accounts_never_share_a_writer() {
    let one = toml_with("", PROFILE, "");
    let second = one.split_once("[[aws.account]]").unwrap().1;
    let twice = format!("{one}[[aws.account]]{}", second.replace("\"prod\"", "\"again\""));
    assert!(parse(&twice).unwrap_err().to_string().contains("configured twice"));
    let same_name = format!("{one}[[aws.account]]{}", second.replace("123456789012", "210987654321"));
    assert!(parse(&same_name).unwrap_err().to_string().contains("used twice"));
    let role_twice = format!("{one}[[aws.account.role]]\narn = \"{ROLE}\"\nboundary = \"{BOUNDARY}\"\n");
    assert!(parse(&role_twice).unwrap_err().to_string().contains("configured twice"));
    let none = one.split_once("[[aws.account.role]]").unwrap().0;
    assert!(parse(none).unwrap_err().to_string().contains("nothing could ever be issued"));
}

#[test]
fn tokens_of_the_daemons_own_take_the_place_of_a_base() {
    let revoker = "revoker = { role_arn = \"arn:aws:iam::123456789012:role/grantd-revoker\" }";
    let parsed = |account: &str, role: &str| {
        let text = crate::testing::toml_with(account, "", role).replace("[aws.account.base]", "");
        crate::testing::parse(&text).map_err(|error| error.to_string())
    };
    let config = parsed(&format!("issue = \"web_identity\"\n{revoker}"), "max_session = \"12h\"").unwrap();
    let account = &config.accounts["prod"];
    let web = account.web_identity.as_ref().unwrap();
    assert_eq!((web.audience.as_str(), web.subject.as_str()), ("sts.amazonaws.com", "grantd:prod"));
    assert!(matches!(account.base, BaseConfig::Issuer) && !account.chained);
    assert_eq!(account.roles[0].max_session, MAX_SESSION);
    assert_eq!(config.files().count(), 0, "nothing of AWS is read");

    for (account, role, words) in [
        (String::new(), "", "it has no base"),
        ("issue = \"web_identity\"".to_owned(), "", "revoker"),
        (format!("issue = \"web_identity\"\n{revoker}"), "external_id = \"ab\"", "external_id"),
        (format!("issue = \"web_identity\"\nchained = true\n{revoker}"), "", "chained"),
        (format!("issue = \"web_identity\"\nweb_identity = {{ subject = \"a*\" }}\n{revoker}"), "", "subject"),
        (format!("issue = \"web_identity\"\nweb_identity = {{ audience = \"${{x}}\" }}\n{revoker}"), "", "audience"),
        (format!("web_identity = {{ }}\n{revoker}"), "", "of no use"),
    ] {
        let error = parsed(&account, role).unwrap_err();
        assert!(error.contains(words), "{account}: {error}");
    }
}
