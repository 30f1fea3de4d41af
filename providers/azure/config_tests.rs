use super::*;
use crate::testing::{SLOTS, config, config_text};

fn parse(text: &str) -> Result<Config, String> {
    toml::from_str(text).map_err(|error: toml::de::Error| error.to_string())
}

fn text() -> String {
    config_text("https://127.0.0.1:1", "/etc/ca.pem", "", "")
}

#[test]
fn what_is_not_said_has_a_careful_default() {
    let config = config("", "").unwrap();
    assert_eq!(config.cool_down, secs(300));
    let account = &config.accounts["main"];
    assert_eq!((account.propagation.expected, account.propagation.worst), (secs(120), secs(1_800)));
    assert_eq!((account.max_session, account.token_lifetime), (secs(3_300), secs(5_400)));
    assert_eq!(config.files().collect::<Vec<_>>(), [Path::new("/nonexistent")]);
}

#[test]
fn p5_a_slot_is_one_principal_and_no_other() {
    let (client, object) = SLOTS[0];
    let (other_client, other_object) = SLOTS[1];
    for (from, to) in [
        (other_client.to_string(), client.to_string()),
        (other_object.to_string(), object.to_string()),
        (object.to_string(), client.to_string()),
        (crate::testing::BASE.to_string(), client.to_string()),
    ] {
        assert!(parse(&text().replace(&from, &to)).is_err(), "{from} as {to} was taken");
    }
}

#[test]
fn a_managed_identity_that_any_job_can_reach_is_refused() {
    let base = |line: &str| {
        let own = format!(
            "base = {{ type = \"federation\", client_id = \"{}\", subject = \"grantd\" }}",
            crate::testing::BASE
        );
        parse(&text().replace(&own, line))
    };
    let error = base("base = { type = \"managed_identity\" }").unwrap_err();
    assert!(error.contains("allow_instance_metadata_reachable"), "{error}");
    base("base = { type = \"managed_identity\", allow_instance_metadata_reachable = true }").unwrap();
    for endpoint in ["https://169.254.169.254", "http://metadata.example.com"] {
        let line = format!(
            "base = {{ type = \"managed_identity\", allow_instance_metadata_reachable = true, endpoint = \"{endpoint}\" }}"
        );
        assert!(base(&line).is_err(), "{endpoint} was taken");
    }
}

#[test]
fn an_error_names_the_account_and_what_to_write() {
    for (more, account, says) in [
        ("", "max_session = \"2h\"", "no lease outlives its token"),
        ("", "max_session = \"30h\"", "is not between"),
        ("", "token_lifetime = \"1s\"", "is not between"),
        ("propagation = { expected = \"2m\", worst = \"1m\" }", "", "propagation.worst"),
        ("timeouts2 = 1", "", "unknown field"),
        ("cool_down = \"-1s\"", "", "cool_down"),
    ] {
        let error = config(more, account).unwrap_err().to_string();
        assert!(error.contains(says), "{says}: {error}");
    }
    assert!(parse(&text().replace("slot-1", "slot 1")).is_err());
    assert!(parse(&text().replace("/etc/ca.pem", "ca.pem")).is_err());
    let none = text().split("[[account.slot]]").next().unwrap().to_owned();
    assert!(parse(&none).unwrap_err().contains("no [[azure.account.slot]]"));
}
