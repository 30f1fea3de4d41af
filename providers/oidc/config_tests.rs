use super::*;

fn parsed(text: &str) -> Result<Config, String> {
    toml::from_str(text).map_err(|error| error.to_string())
}

fn with(lines: &str) -> Result<Config, String> {
    parsed(&format!("[[account]]\nname = \"services\"\n{lines}"))
}

#[test]
fn an_account_is_its_audiences_and_the_rest_has_defaults() {
    let config =
        with("audiences = [\"https://billing.example.com\", \"urn:x\"]\nexchange_audiences = [\"sts.amazonaws.com\"]")
            .unwrap();
    let account = &config.accounts["services"];
    assert_eq!((account.prefix.as_str(), account.max_lifetime.as_secs()), ("grantd", 300));
    assert_eq!(account.audiences["urn:x"], Taker::Service);
    assert_eq!(account.audiences["sts.amazonaws.com"], Taker::TokenService);
    assert_eq!((config.accounts().collect::<Vec<_>>(), config.longest().as_secs()), (vec!["services"], 300));
    let config = with("audiences = [\"a\"]\nsubject = \"acme/host-1\"\nmax_lifetime = \"1h\"").unwrap();
    assert_eq!((config.accounts["services"].prefix.as_str(), config.longest().as_secs()), ("acme/host-1", 3_600));
}

#[test]
fn p3_no_token_can_be_configured_to_live_longer_than_an_hour() {
    for bad in ["\"3601s\"", "\"24h\"", "\"4s\"", "\"0s\"", "\"-5m\"", "\"10.5s\""] {
        let error = with(&format!("audiences = [\"a\"]\nmax_lifetime = {bad}")).unwrap_err();
        assert!(error.contains("services") && error.contains("3600 s"), "{bad}: {error}");
    }
}

#[test]
fn a_token_service_is_named_as_one() {
    for audience in [
        "sts.amazonaws.com",
        "sts.amazonaws.com.cn",
        "https://sts.amazonaws.com",
        "api://AzureADTokenExchange",
        "api://azureadtokenexchangeusgov",
        "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
        "https://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
    ] {
        let error = with(&format!("audiences = [\"{audience}\"]")).unwrap_err();
        assert!(error.contains("exchange_audiences"), "{audience}: {error}");
        with(&format!("exchange_audiences = [\"{audience}\"]")).unwrap();
    }
    with("audiences = [\"https://sts.example.com\"]").unwrap();
}

#[test]
fn what_could_mean_two_things_is_refused() {
    for (lines, word) in [
        ("", "no audiences"),
        ("audiences = [\"a\", \"a\"]", "twice"),
        ("audiences = [\"a\"]\nexchange_audiences = [\"a\"]", "twice"),
        ("audiences = [\"a b\"]", "white space"),
        ("audiences = [\"https://*.example.com\"]", "letter by letter"),
        ("audiences = [\"\"]", "1 to 255"),
        ("audiences = [\"a\"]\nsubject = \"\"", "subject"),
        ("audiences = [\"a\"]\nsubject = \"a:b\"", "subject"),
        ("audiences = [\"a\"]\nlifetime = \"5m\"", "lifetime"),
    ] {
        let error = with(lines).unwrap_err();
        assert!(error.contains(word), "{lines}: {error}");
    }
    assert!(parsed("").unwrap_err().contains("[[oidc.account]]"));
    let twice = "[[account]]\nname = \"a\"\naudiences = [\"x\"]\n".repeat(2);
    assert!(parsed(&twice).unwrap_err().contains("twice"));
    assert!(parsed("[[account]]\nname = \"a b\"\naudiences = [\"x\"]").unwrap_err().contains("a b"));
}
