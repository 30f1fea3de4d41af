use super::*;

const ACCOUNT: &str = r#"
[[account]]
name = "prod"
projects = ["acme-prod"]
number = "123456789012"
pool = "grantd"
provider = "grantd"
base = { type = "assertion", subject = "grantd" }
"#;

fn parse(text: &str) -> Result<Config, String> {
    toml::from_str(text).map_err(|error| error.to_string())
}

#[test]
fn an_account_has_its_names_and_usable_defaults() {
    let config = parse(ACCOUNT).unwrap();
    let account = &config.accounts["prod"];
    assert_eq!(
        account.assertion_audience(),
        "https://iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/grantd/providers/grantd"
    );
    let lease: LeaseId = "lease-aaaaaaaaaaaaaaaaaaaaaaaaaa".parse().unwrap();
    assert!(account.principal_of(lease).len() < 200);
    assert!(lease.to_string().len() <= SUBJECT_BYTES);
    assert_eq!((account.propagation.expected, account.propagation.worst), (secs(120), secs(420)));
    assert_eq!(account.service("sts.googleapis.com"), "https://sts.googleapis.com");
    assert_eq!(account.share_expiry, secs(1), "leases end to the second unless somebody wants them to share");
}

#[test]
fn what_could_become_access_by_a_slip_is_refused_with_what_to_write() {
    for (from, to, word) in [
        ("name = \"prod\"", "name = \"\"", "1 to 64"),
        ("[\"acme-prod\"]", "[]", "no projects"),
        ("[\"acme-prod\"]", "[\"Acme\"]", "project id"),
        ("\"123456789012\"", "\"acme-prod\"", "project number"),
        ("pool = \"grantd\"", "pool = \"gcp-x\"", "pool"),
        ("provider = \"grantd\"", "provider = \"a/b\"", "provider"),
        ("subject = \"grantd\"", "subject = \"\"", "base.subject"),
        ("subject = \"grantd\"", "subject = \"lease-aaaaaaaaaaaaaaaaaaaaaaaaaa\"", "could be a lease"),
        ("{ type = \"assertion\", subject = \"grantd\" }", "{ type = \"metadata\" }", "allow_metadata_reachable"),
        ("pool = \"grantd\"", "pool = \"grantd\"\nshare_expiry = \"5m\"", "share_expiry"),
        ("pool = \"grantd\"", "pool = \"grantd\"\nendpoint = \"http://example.com\"", "plain http"),
        ("pool = \"grantd\"", "pool = \"grantd\"\nkey = 1", "unknown field"),
        ("pool = \"grantd\"", "pool = \"grantd\"\nservice_account = [{ email = \"a@b.com\" }]", "gserviceaccount"),
    ] {
        let error = parse(&ACCOUNT.replacen(from, to, 1)).unwrap_err();
        assert!(error.contains(word), "{to}: {error}");
    }
    let twice = parse(&format!("{ACCOUNT}{}", ACCOUNT.replace("\"prod\"", "\"other\""))).unwrap_err();
    assert!(twice.contains("configured twice"), "{twice}");
}
