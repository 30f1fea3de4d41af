use std::collections::BTreeSet;

use grantd_provider_api::{Capability, Need};
use serde_json::Value;

use super::revoking::VERSION_ACTIONS;
use super::*;
use crate::plan::plan;
use crate::testing::{BOUNDARY, ROLE, entitlement, parse, shipped_map, toml_with};

const PROFILE: &str = "type = \"profile\"\nfiles = [\"/nonexistent\"]\nprofile = \"grantd\"";

fn printed(
    account: &str,
    base: &str,
    role: &str,
    wanted: &[(&str, &str)],
    given: Option<&str>,
) -> Result<String, String> {
    let config = parse(&toml_with(account, base, role)).unwrap();
    let account = config.accounts.values().next().unwrap();
    let needs = wanted.iter().map(|(capability, native)| Need {
        resource: native.rsplit(':').next().unwrap().to_owned(),
        capability: capability.parse::<Capability>().unwrap(),
        plan: plan(account, &entitlement(capability, native, None), &shipped_map()).unwrap(),
    });
    let needs = AccountNeeds { account: "prod".to_owned(), base: given.map(str::to_owned), needs: needs.collect() };
    terraform(&[(account, &needs)], "https://tokens.example.com/grantd").map_err(|error| error.to_string())
}

const BUCKETS: [(&str, &str); 3] = [
    ("object-storage:read", "arn:aws:s3:::reports"),
    ("object-storage:list", "arn:aws:s3:::reports"),
    ("object-storage:read", "arn:aws:s3:::invoices"),
];

/// Every policy that stands in the text.
fn documents(text: &str) -> Vec<Value> {
    let after = text.split("<<-JSON\n").skip(1);
    after.map(|rest| serde_json::from_str(rest.split("\n  JSON\n").next().unwrap()).unwrap()).collect()
}

fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(strings).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn the_text_is_the_same_each_time_and_names_what_is_configured() {
    let text = printed("", PROFILE, "", &BUCKETS, None).unwrap();
    let mut turned = BUCKETS;
    turned.reverse();
    let lines = |text: &str| text.lines().filter(|line| !line.starts_with("# can be")).collect::<Vec<_>>().join("\n");
    assert_eq!(lines(&text), lines(&printed("", PROFILE, "", &turned, None).unwrap()));
    for line in [
        "  name = \"reader\"\n  path = \"/grantd/\"\n",
        "  permissions_boundary = aws_iam_policy.grantd_prod_boundary_grantd_boundary.arn\n",
        "  name = \"grantd-boundary\"\n",
        "    ignore_changes  = [policy]\n",
        "  allowed_account_ids = [\"123456789012\"]\n",
        "  region              = \"us-east-1\"\n",
        "#   revoker = { role_arn = \"arn:aws:iam::123456789012:role/grantd-revoker\" }\n",
        "  max_session_duration = 3600\n",
        "  name   = \"grantd-prod-sessions-1\"\n",
        "  name          = \"grantd-prod-versions\"\n",
    ] {
        assert!(text.contains(line), "{line:?} is not in:\n{text}");
    }
}

#[test]
fn a_role_may_do_what_can_be_asked_for_and_nothing_else() {
    let text = printed("", PROFILE, "", &BUCKETS, None).unwrap();
    let mut found = BTreeSet::new();
    for document in documents(&text) {
        for statement in document["Statement"].as_array().into_iter().flatten() {
            for (action, on) in strings(&statement["Action"])
                .into_iter()
                .flat_map(|action| strings(&statement["Resource"]).into_iter().map(move |on| (action.clone(), on)))
            {
                found.insert((action, on));
            }
        }
    }
    let mut wanted = BTreeSet::from([("*".to_owned(), "*".to_owned())]);
    for bucket in ["reports", "invoices"] {
        wanted.insert(("s3:ListBucket".to_owned(), format!("arn:aws:s3:::{bucket}")));
        for action in ["GetObject", "GetObjectAttributes", "GetObjectTagging", "GetObjectVersion"] {
            wanted.insert((format!("s3:{action}"), format!("arn:aws:s3:::{bucket}/*")));
        }
    }
    wanted.insert(("s3:ListBucketVersions".to_owned(), "arn:aws:s3:::reports".to_owned()));
    for action in VERSION_ACTIONS.into_iter().chain(["iam:ListEntitiesForPolicy"]) {
        wanted.insert((action.to_owned(), BOUNDARY.to_owned()));
    }
    wanted.insert(("iam:GetRole".to_owned(), ROLE.to_owned()));
    wanted.insert(("s3:GetBucketPolicy".to_owned(), "*".to_owned()));
    for role in [ROLE, "arn:aws:iam::123456789012:role/grantd-revoker"] {
        wanted.insert(("sts:AssumeRole".to_owned(), role.to_owned()));
    }
    assert_eq!(found, wanted);
}

#[test]
fn what_lasts_or_reaches_further_is_off_until_it_is_switched_on() {
    let wanted = [("object-storage:read", "arn:aws:s3:::reports"), ("object-storage:admin", "arn:aws:s3:::reports")];
    let text = printed("", PROFILE, "", &wanted, None).unwrap();
    let (before, wide) = text.split_once("resource \"aws_iam_policy\" \"grantd_prod_wide_1\"").unwrap();
    assert!(!before.contains("s3:PutBucketPolicy"), "{before}");
    assert!(wide.contains("count  = var.grantd_prod_lasting_or_wide ? 1 : 0") && wide.contains("s3:PutBucketPolicy"));
    assert!(before.contains("object-storage:admin: its holder can leave something behind"), "{before}");
    assert!(!printed("", PROFILE, "", &BUCKETS, None).unwrap().contains("lasting_or_wide"));
}

#[test]
fn trust_goes_to_the_base_alone_and_as_far_as_is_configured() {
    let trust = |account: &str, base: &str, role: &str, given: Option<&str>| -> Value {
        let text = printed(account, base, role, &BUCKETS, given).unwrap();
        let role = text.split("assume_role_policy   = ").nth(1).unwrap();
        documents(role)[0]["Statement"].clone()
    };
    let plain = trust("", PROFILE, "", None);
    assert_eq!(plain[0]["Principal"]["AWS"], "arn:aws:iam::123456789012:user/grantd-base");
    assert_eq!(strings(&plain[0]["Action"]), ["sts:AssumeRole"]);
    let more = "tags = true\nsource_identity = true\nexternal_id = \"abc-1\"\nmax_session = \"2h\"";
    let more = trust("", PROFILE, more, Some("arn:aws:iam::123456789012:role/x/ci"));
    assert_eq!(more[0]["Principal"]["AWS"], "arn:aws:iam::123456789012:role/x/ci");
    assert_eq!(strings(&more[0]["Action"]), ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]);
    assert_eq!(more[0]["Condition"]["StringEquals"]["sts:ExternalId"], "abc-1");
}

#[test]
fn a_base_that_cannot_be_told_has_to_be_named() {
    let container = "type = \"container\"\nuri = \"http://169.254.170.2/x\"";
    let error = printed("", container, "", &BUCKETS, None).unwrap_err();
    assert!(error.contains("--base ARN"), "{error}");
    for foreign in ["arn:aws:iam::999999999999:user/a", "arn:aws:sts::123456789012:assumed-role/a/b", "arn:aws:s3:::a"]
    {
        assert!(printed("", container, "", &BUCKETS, Some(foreign)).is_err(), "{foreign} was taken");
    }
    assert!(printed("", container, "", &BUCKETS, Some("arn:aws:iam::123456789012:role/task")).is_ok());
}

#[test]
fn many_resources_are_spread_over_policies_and_too_many_are_refused() {
    let natives: Vec<String> =
        (0..3000).map(|n| format!("arn:aws:s3:::a-bucket-with-a-rather-long-name-{n:04}")).collect();
    let wanted = |count: usize| -> Vec<(&str, &str)> {
        natives.iter().take(count).map(|native| ("object-storage:read", native.as_str())).collect()
    };
    let text = printed("", PROFILE, "", &wanted(300), None).unwrap();
    assert!(text.contains("\"grantd_prod_sessions_2\"") && text.contains("\"grantd_prod_role_reader_sessions_2\""));
    for document in documents(&text) {
        assert!(document.to_string().chars().count() <= 6_144);
    }
    let error = printed("", PROFILE, "", &wanted(3000), None).unwrap_err();
    assert!(error.contains("managed policies") && error.contains("10"), "{error}");
}

#[test]
fn the_boundary_is_printed_as_the_daemon_would_write_it() {
    let text = printed("", PROFILE, "", &BUCKETS, None).unwrap();
    let boundary = text.split("\"grantd_prod_boundary_grantd_boundary\"").nth(1).unwrap();
    let document = documents(boundary).remove(0).to_string();
    assert!(
        crate::document::Document::parse(crate::document::Kind::Boundary, &document).unwrap().is_ours(),
        "{document}"
    );
}

#[test]
fn with_tokens_each_role_trusts_one_audience_and_one_subject_and_nobody_else() {
    let account =
        "issue = \"web_identity\"\nrevoker = { role_arn = \"arn:aws:iam::123456789012:role/grantd-revoker\" }";
    let text = toml_with(account, "", "tags = true").replace("[aws.account.base]", "");
    let config = parse(&text).unwrap();
    let account = config.accounts.values().next().unwrap();
    let needs = AccountNeeds { account: "prod".to_owned(), base: None, needs: Vec::new() };
    let text = terraform(&[(account, &needs)], "https://tokens.example.com/grantd").unwrap();
    for line in [
        "resource \"aws_iam_openid_connect_provider\" \"grantd_prod_issuer\"",
        "  url            = \"https://tokens.example.com/grantd\"\n",
        "  client_id_list = [\"sts.amazonaws.com\"]\n",
    ] {
        assert!(text.contains(line), "{line:?} is not in:\n{text}");
    }
    assert!(!text.contains("aws_iam_user") && !text.contains("\"AWS\""), "{text}");
    let trusts: Vec<Value> = documents(&text)
        .into_iter()
        .filter(|document| document["Statement"][0]["Principal"].is_object())
        .map(|document| document["Statement"][0].clone())
        .collect();
    assert_eq!(trusts.len(), 2);
    for (trust, subject, actions) in [
        (&trusts[0], "grantd:prod", vec!["sts:AssumeRoleWithWebIdentity", "sts:TagSession"]),
        (&trusts[1], "grantd:prod:revoker", vec!["sts:AssumeRoleWithWebIdentity"]),
    ] {
        let provider = "arn:aws:iam::123456789012:oidc-provider/tokens.example.com/grantd";
        assert_eq!(trust["Principal"]["Federated"], provider);
        assert_eq!(strings(&trust["Action"]), actions);
        let condition = &trust["Condition"]["StringEquals"];
        assert_eq!(condition["tokens.example.com/grantd:aud"], "sts.amazonaws.com");
        assert_eq!(condition["tokens.example.com/grantd:sub"], subject);
    }
}
