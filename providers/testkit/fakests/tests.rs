use super::*;
use crate::query::xml_text;
use crate::testing::{KEY, assume, authorization, post, post_with};

const ROLE: &str = "arn:aws:iam::123456789012:role/grantd-target-1";
const BOUNDARY: &str = "arn:aws:iam::123456789012:policy/grantd-boundary-1";

fn fake() -> FakeSts {
    FakeSts::start(FakeStsSettings::default()).unwrap()
}

/// Status and error code of `AssumeRole` with these parameters in place of, or beside, good ones.
fn assume_with(fake: &FakeSts, changes: &[(&str, &str)]) -> (u16, Option<String>) {
    let mut form = BTreeMap::from([("Action", "AssumeRole"), ("RoleArn", ROLE), ("RoleSessionName", "job-aaaaaaaaaa")]);
    form.extend(changes.iter().copied());
    let (status, body) = post(&fake.url(), &form.into_iter().collect::<Vec<_>>()).unwrap();
    (status, xml_text(&body, "Code"))
}

fn on_boundary(fake: &FakeSts, action: &str, more: &[(&str, &str)]) -> (u16, String) {
    let form: Vec<_> = [("Action", action), ("PolicyArn", BOUNDARY)].into_iter().chain(more.iter().copied()).collect();
    post(&fake.url(), &form).unwrap()
}

fn create(fake: &FakeSts, document: &str) -> (u16, Option<String>) {
    let more = [("PolicyDocument", document), ("SetAsDefault", "true")];
    let (status, body) = on_boundary(fake, "CreatePolicyVersion", &more);
    (status, xml_text(&body, "Code").or_else(|| xml_text(&body, "VersionId")))
}

fn code(code: &str) -> Option<String> {
    Some(code.to_owned())
}

/// A policy of exactly this many characters, white space not counted.
fn policy_of(characters: usize) -> String {
    let with = |filler: &str| {
        format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Sid":"{filler}","Effect":"Allow","Action":"s3:*","Resource":"*"}}]}}"#
        )
    };
    with(&"x".repeat(characters - with("").len()))
}

#[test]
fn a_good_request_gets_a_session() {
    let fake = fake();
    let (status, body) = assume(&fake.url(), "job-aaaaaaaaaa").unwrap();
    assert_eq!(status, 200, "{body}");
    let arn = "arn:aws:sts::123456789012:assumed-role/grantd-target-1/job-aaaaaaaaaa";
    assert_eq!(xml_text(&body, "Arn").as_deref(), Some(arn));
    assert!(xml_text(&body, "AssumedRoleId").unwrap().ends_with(":job-aaaaaaaaaa"));
    assert!(xml_text(&body, "AccessKeyId").unwrap().starts_with("ASIA"));
    assert_eq!(xml_text(&body, "PackedPolicySize").as_deref(), Some("0"));
    let (_, second) = assume(&fake.url(), "job-bbbbbbbbbb").unwrap();
    assert_ne!(xml_text(&body, "SessionToken"), xml_text(&second, "SessionToken"));
    assert_eq!(fake.issued(), 2);
}

#[test]
fn an_unsigned_request_is_refused() {
    let fake = fake();
    let form = [("Action", "AssumeRole"), ("RoleArn", ROLE), ("RoleSessionName", "job-aaaaaaaaaa")];
    let refused = |header: Option<&str>| {
        let (status, body) = post_with(&fake.url(), header, &form).unwrap();
        (status, xml_text(&body, "Code").unwrap())
    };
    assert_eq!(refused(None), (403, "MissingAuthenticationToken".to_owned()));
    assert_eq!(refused(Some("Bearer x")), (400, "IncompleteSignature".to_owned()));
    let short = authorization(KEY, "sts").replace(&"0".repeat(64), "00");
    assert_eq!(refused(Some(&short)), (400, "IncompleteSignature".to_owned()));
    assert_eq!(refused(Some(&authorization(KEY, "iam"))), (403, "SignatureDoesNotMatch".to_owned()));
    assert_eq!(refused(Some(&authorization("AKIAUNKNOWN", "sts"))), (403, "InvalidClientTokenId".to_owned()));
    assert_eq!(fake.issued(), 0);
}

#[test]
fn session_names_hold_to_the_pattern() {
    let fake = fake();
    for bad in ["a", "a b", "a/b", "a:b", "é2", &"x".repeat(65)] {
        assert_eq!(assume_with(&fake, &[("RoleSessionName", bad)]), (400, code("ValidationError")), "{bad}");
        assert_eq!(assume_with(&fake, &[("SourceIdentity", bad)]), (400, code("ValidationError")), "{bad}");
    }
    for good in ["ab", "A_1+=,.@-", &"x".repeat(64)] {
        assert_eq!(assume_with(&fake, &[("RoleSessionName", good)]).0, 200, "{good}");
    }
}

#[test]
fn durations_hold_to_the_range_and_to_the_role() {
    let fake = fake();
    for (seconds, status) in
        [("2", 400), ("899", 400), ("900", 200), ("3600", 200), ("3601", 400), ("43201", 400), ("x", 400)]
    {
        assert_eq!(assume_with(&fake, &[("DurationSeconds", seconds)]).0, status, "{seconds}");
    }
}

#[test]
fn session_policies_hold_to_2048_characters_and_are_policies() {
    let fake = fake();
    assert_eq!(assume_with(&fake, &[("Policy", &policy_of(2048))]).0, 200);
    assert_eq!(assume_with(&fake, &[("Policy", &policy_of(2049))]), (400, code("ValidationError")));
    assert_eq!(assume_with(&fake, &[("Policy", "{")]), (400, code("MalformedPolicyDocument")));
    assert_eq!(assume_with(&fake, &[("Policy", "{}")]), (400, code("MalformedPolicyDocument")));
    let no_resource = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*"}]}"#;
    assert_eq!(assume_with(&fake, &[("Policy", no_resource)]), (400, code("MalformedPolicyDocument")));
    assert_eq!(
        assume_with(&fake, &[("Policy", &policy_of(300).replace("xx", "\u{100}\u{100}"))]),
        (400, code("ValidationError"))
    );
}

#[test]
fn tags_hold_to_number_lengths_and_trust() {
    let role = FakeRole { name: "tagged".to_owned(), max_session_seconds: 3600, trusts: true, allows_tags: true };
    let fake = FakeSts::start(FakeStsSettings { roles: vec![role], ..FakeStsSettings::default() }).unwrap();
    let tagged = |count: usize, key: fn(usize) -> String| {
        let arn = "arn:aws:iam::123456789012:role/tagged".to_owned();
        let mut form = vec![("RoleArn".to_owned(), arn)];
        for n in 1..=count {
            form.push((format!("Tags.member.{n}.Key"), key(n)));
            form.push((format!("Tags.member.{n}.Value"), "v".to_owned()));
        }
        let changes: Vec<_> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assume_with(&fake, &changes)
    };
    assert_eq!(tagged(50, |n| format!("k{n}")).0, 200);
    assert_eq!(tagged(51, |n| format!("k{n}")), (400, code("ValidationError")));
    assert_eq!(tagged(1, |_| "k".repeat(129)), (400, code("ValidationError")));
    assert_eq!(tagged(2, |n| ["Key", "kEY"][n - 1].to_owned()), (400, code("InvalidParameterValue")));
    let full = policy_of(2048);
    let arn = "arn:aws:iam::123456789012:role/tagged";
    let over = [("RoleArn", arn), ("Policy", &full), ("Tags.member.1.Key", "k"), ("Tags.member.1.Value", "v")];
    assert_eq!(assume_with(&fake, &over), (400, code("PackedPolicyTooLarge")));

    let strict = self::fake();
    let one = [("Tags.member.1.Key", "k"), ("Tags.member.1.Value", "v")];
    assert_eq!(assume_with(&strict, &one), (403, code("AccessDenied")));
    assert_eq!(assume_with(&strict, &[("SourceIdentity", "me")]), (403, code("AccessDenied")));
}

#[test]
fn unknown_and_untrusting_roles_are_denied_alike() {
    let fake = fake();
    for role in ["nonesuch", "untrusting"] {
        let arn = format!("arn:aws:iam::123456789012:role/{role}");
        assert_eq!(assume_with(&fake, &[("RoleArn", &arn)]), (403, code("AccessDenied")), "{role}");
    }
    assert_eq!(assume_with(&fake, &[("RoleArn", "")]), (400, code("ValidationError")));
    assert_eq!(assume_with(&fake, &[("Action", "DoAnything")]), (400, code("InvalidAction")));
    assert_eq!(on_boundary(&fake, "PutRolePolicy", &[]).0, 400);
}

#[test]
fn a_policy_has_five_versions_and_keeps_its_default() {
    let fake = fake();
    for version in ["v2", "v3", "v4", "v5"] {
        assert_eq!(create(&fake, &policy_of(200)), (200, code(version)));
    }
    assert_eq!(create(&fake, &policy_of(200)), (409, code("LimitExceeded")));
    assert_eq!(on_boundary(&fake, "DeletePolicyVersion", &[("VersionId", "v5")]).0, 409);
    assert_eq!(on_boundary(&fake, "DeletePolicyVersion", &[("VersionId", "v1")]).0, 200);
    assert_eq!(on_boundary(&fake, "DeletePolicyVersion", &[("VersionId", "v1")]).0, 404);
    assert_eq!(create(&fake, &policy_of(201)), (200, code("v6")));
    let (_, policy) = on_boundary(&fake, "GetPolicy", &[]);
    assert_eq!(xml_text(&policy, "DefaultVersionId").as_deref(), Some("v6"));
    let (_, version) = on_boundary(&fake, "GetPolicyVersion", &[("VersionId", "v6")]);
    assert_eq!(parse_form(format!("d={}", xml_text(&version, "Document").unwrap()).as_bytes())["d"], policy_of(201));
    assert_eq!(fake.document(BOUNDARY).unwrap(), policy_of(201));
}

#[test]
fn managed_policies_hold_to_6144_characters_without_white_space() {
    let fake = fake();
    assert_eq!(create(&fake, &policy_of(6145)), (409, code("LimitExceeded")));
    assert_eq!(create(&fake, "nonsense"), (400, code("MalformedPolicyDocument")));
    assert_eq!(create(&fake, &policy_of(6144).replace(',', " ,\n ")), (200, code("v2")));
    let unknown = [("Action", "ListPolicyVersions"), ("PolicyArn", "arn:aws:iam::123456789012:policy/nonesuch")];
    assert_eq!(post(&fake.url(), &unknown).unwrap().0, 404);
}

#[test]
fn inline_policies_of_a_role_hold_to_10240_characters_together() {
    let fake = fake();
    let on_role = |action: &str, more: &[(&str, &str)]| {
        let mut form = vec![("Action", action), ("RoleName", "grantd-target-1")];
        form.extend(more);
        post(&fake.url(), &form).unwrap()
    };
    let put =
        |name: &str, document: &str| on_role("PutRolePolicy", &[("PolicyName", name), ("PolicyDocument", document)]);
    assert_eq!(on_role("GetRolePolicy", &[("PolicyName", "one")]).0, 404);
    assert_eq!(put("one", &policy_of(6_000)).0, 200);
    assert_eq!(put("two", &policy_of(4_240).replace(',', " ,\n ")).0, 200);
    assert_eq!(put("two", &policy_of(4_241)).0, 409);
    assert_eq!(put("one", "nonsense").0, 400);
    let (_, read) = on_role("GetRolePolicy", &[("PolicyName", "one")]);
    let document = xml_text(&read, "PolicyDocument").unwrap();
    assert_eq!(parse_form(format!("d={document}").as_bytes())["d"], policy_of(6_000));
    assert_eq!(fake.inline_document("grantd-target-1", "one"), Some(policy_of(6_000)));
    let (_, listed) = on_role("ListRolePolicies", &[]);
    assert!(listed.contains("<member>one</member><member>two</member>"), "{listed}");
    let missing = [("Action", "ListRolePolicies"), ("RoleName", "nonesuch")];
    assert_eq!(post(&fake.url(), &missing).unwrap().0, 404);
}
