use super::*;
use crate::config::{Catalog, Host};

const PEOPLE: &str = "[[person]]\nname = \"ana\"\nunix = [1001]\n[[person]]\nname = \"bruno\"\nunix = [1002]\n\
                      [[person]]\nname = \"dora\"\nunix = [1004]\n[[workload]]\nname = \"bot\"\nkind = \"agent\"\nunix = 1009";

const CATALOG: &str = r#"
    [[resource]]
    name = "ledger"
    cloud = "aws"
    account = "main"
    type = "object-storage"
    native = "arn:aws:s3:::ledger"
    environment = "production"
    tier = "high"
    owners = ["bruno"]
    [[resource]]
    name = "vault"
    cloud = "aws"
    account = "main"
    type = "object-storage"
    native = "arn:aws:s3:::vault"
    environment = "production"
    tier = "critical"
    owners = ["bruno"]
    [[break_glass]]
    name = "ledger-repair"
    people = ["ana", "bruno"]
    reviewers = ["dora"]
    access = [{ resource = "ledger", capability = "object-storage:write" }]
    incident = "INC-{digits}"
    max_ttl = "30m"
    review_within = "24h"
    limits = { per_person = 2, per_resource = 3, in_total = 5, window = "24h" }
"#;

fn parse(text: &str) -> Result<Catalog, ConfigError> {
    Catalog::parse(text, &People::parse(PEOPLE, Host::users(&|_| None)).unwrap())
}

#[test]
fn a_profile_gives_exactly_what_it_names() {
    let catalog = parse(CATALOG).unwrap();
    let profile = catalog.profile("ledger-repair").unwrap();
    let write: Capability = "object-storage:write".parse().unwrap();
    let read: Capability = "object-storage:read".parse().unwrap();
    assert!(profile.gives("ledger", &write, &Narrowing::default()));
    assert!(
        !profile.gives("ledger", &read, &Narrowing::default())
            && !profile.gives("vault", &write, &Narrowing::default())
    );
    assert!(profile.enrols("ana") && !profile.enrols("dora"));
    assert_eq!((profile.max_ttl.as_secs(), profile.limits.in_total), (1800, 5));
    assert!(catalog.profile("ledger").is_none() && catalog.get("ledger-repair").is_none());
    // The resource as break-glass sees it; as everybody else does, nobody is enrolled there.
    let seen = catalog.in_profile("ledger-repair", "ledger").unwrap();
    assert_eq!(seen.glass.as_ref().unwrap().name, "ledger-repair");
    assert!(catalog.get("ledger").unwrap().glass.is_none() && catalog.in_profile("ledger-repair", "vault").is_none());
}

#[test]
fn what_is_wide_lasting_unlimited_or_reviewed_by_nobody_else_is_refused() {
    let refused = |from: &str, to: &str, words: &[&str]| {
        assert!(CATALOG.contains(from), "{from}");
        let error = parse(&CATALOG.replace(from, to)).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{to}: {error}");
    };
    refused("\"object-storage:write\"", "\"object-storage:*\"", &["capability"]);
    refused("\"object-storage:write\"", "\"object-storage:native\"", &["could be anything"]);
    refused("\"object-storage:write\"", "\"secret:read\"", &["is of type object-storage"]);
    refused("resource = \"ledger\",", "resource = \"*\",", &["pattern"]);
    refused("resource = \"ledger\",", "resource = \"vault\", prefix = \"a/\", size = 1,", &["size"]);
    refused("max_ttl = \"30m\"", "max_ttl = \"61m\"", &["max_ttl", "3600s"]);
    refused("people = [\"ana\", \"bruno\"]", "people = []", &["nobody is enrolled"]);
    refused("people = [\"ana\", \"bruno\"]", "people = [\"bot\"]", &["bot", "person"]);
    refused("reviewers = [\"dora\"]", "reviewers = [\"bruno\"]", &["not enrolled"]);
    refused("reviewers = [\"dora\"]", "reviewers = []", &["not enrolled"]);
    refused("incident = \"INC-{digits}\"", "incident = \"*\"", &["incident", "pattern"]);
    refused("per_person = 2,", "per_person = 0,", &["limits.per_person", "1 to 100"]);
    refused("in_total = 5,", "", &["in_total"]);
    refused("review_within = \"24h\"\n", "", &["review_within"]);
    let alone = CATALOG.replace("resource = \"ledger\",", "resource = \"vault\",");
    assert!(parse(&alone).is_ok());
    let error = parse(&alone.replace("people = [\"ana\", \"bruno\"]", "people = [\"ana\"]")).unwrap_err().to_string();
    assert!(error.contains("second enrolled person"), "{error}");
    let (resources, profile) = CATALOG.split_once("[[break_glass]]").unwrap();
    let twice = format!("{resources}[[break_glass]]{profile}[[break_glass]]{profile}");
    assert!(parse(&twice).unwrap_err().to_string().contains("twice"));
}
