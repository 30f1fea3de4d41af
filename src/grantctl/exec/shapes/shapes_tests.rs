//! Tests of what is answered to whom, and in which words.

use hyper::Request;

use super::*;
use crate::testserver::{vended, vended_azure, vended_gcp};

fn secret(vended: &Value) -> Secret {
    Secret::from(serde_json::from_value::<grantd_wire::Vended>(vended.clone()).unwrap().credential)
}

/// Asks a front of the cloud of `vended`; gives the status and the body.
fn ask(vended: &Value, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
    let secret = secret(vended);
    let shape = Shape(secret.cloud());
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (head, ()) = request.body(()).unwrap().into_parts();
    let now = "2026-11-22T09:00:00Z".parse().unwrap();
    let asked = shape.asked(&Asking { head: &head, body: body.as_bytes(), token: "t0ken" });
    let said = asked.and_then(|wanted| Shape::given(&wanted, &secret, now));
    let reply = said.unwrap_or_else(|problem| shape.refused(head.uri.path(), &problem));
    (reply.status.as_u16(), String::from_utf8(reply.body.to_vec()).unwrap())
}

fn body(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn aws_wants_the_whole_token_once() {
    let token = ("authorization", "t0ken");
    let (status, said) = ask(&vended(), "GET", "/credentials", &[token], "");
    assert_eq!((status, &body(&said)["AccessKeyId"]), (200, &"ASIAEXAMPLE".into()));
    for (expected, method, target, headers) in [
        (401, "GET", "/credentials", &[][..]),
        (401, "GET", "/credentials", &[("authorization", "Bearer t0ken")]),
        (401, "GET", "/credentials", &[("authorization", "t0kem")]),
        (401, "GET", "/credentials", &[("authorization", "t0ken2")]),
        (401, "GET", "/credentials", &[token, ("authorization", "t0ken")]),
        (404, "GET", "/", &[token]),
        (405, "POST", "/credentials", &[token]),
    ] {
        let (status, said) = ask(&vended(), method, target, headers, "");
        assert_eq!(status, expected, "{method} {target} {headers:?}");
        assert!(body(&said)["code"].is_string() && body(&said)["message"].is_string(), "{said}");
    }
}

#[test]
fn azure_wants_the_key_of_each_shape_and_says_no_in_its_words() {
    let key = ("x-identity-header", "t0ken");
    let metadata = ("metadata", "true");
    let site = "/msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fstorage.azure.com%2F";
    let machine = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net";
    for (target, header) in [(site, key), (machine, metadata)] {
        let (status, said) = ask(&vended_azure(), "GET", target, &[header], "");
        let said = body(&said);
        assert_eq!(
            (status, said["expires_in"].as_str(), said["client_id"].as_str()),
            (200, Some("252"), Some("slot-1"))
        );
        let (_, ours) = ask(&vended_azure(), "GET", &format!("{target}&client_id=SLOT-1"), &[header], "");
        assert_eq!(body(&ours)["access_token"], said["access_token"]);
    }
    for (expected, target, headers, words) in [
        (401, site, &[][..], "X-IDENTITY-HEADER"),
        (401, site, &[("x-identity-header", "t0kem")], "X-IDENTITY-HEADER"),
        (401, site, &[metadata], "X-IDENTITY-HEADER"),
        (400, machine, &[], "Metadata: true"),
        (400, machine, &[("metadata", "no")], "Metadata: true"),
        (403, machine, &[metadata, ("x-forwarded-for", "10.0.0.1")], "proxy"),
        (400, "/msi/token?api-version=2017-09-01&resource=x", &[key], "2019-08-01"),
        (400, "/msi/token?api-version=2019-08-01", &[key], "no resource"),
        (400, "/msi/token?api-version=2019-08-01&resource=a&resource=b", &[key], "no resource"),
        (400, &format!("{site}&client_id=other"), &[key], "slot-1"),
        (400, &format!("{machine}&object_id=o"), &[metadata], "object_id"),
        (
            400,
            "/msi/token?api-version=2019-08-01&resource=https://management.azure.com",
            &[key],
            "it has https://storage.azure.com, https://vault.azure.net",
        ),
        (400, "/elsewhere", &[key, metadata], "/msi/token"),
    ] {
        let (status, said) = ask(&vended_azure(), "GET", target, headers, "");
        assert_eq!(status, expected, "{target} {headers:?}");
        let problem = body(&said);
        let message = if target.starts_with("/metadata/") {
            assert!(problem["error"].is_string());
            problem["error_description"].as_str()
        } else {
            assert_eq!(problem["statusCode"], expected);
            problem["message"].as_str()
        };
        assert!(message.unwrap().contains(words), "{said}");
        assert!(!said.contains("access_token"), "{said}");
    }
    assert_eq!(ask(&vended_azure(), "POST", site, &[key], "").0, 405);
}

#[test]
fn gcp_wants_the_flavor_and_says_what_a_metadata_server_says() {
    let flavor = ("metadata-flavor", "Google");
    let root = "/computeMetadata/v1/";
    let get = |path: &str| ask(&vended_gcp(), "GET", path, &[flavor], "");
    assert_eq!(get("/").0, 200);
    assert_eq!(get(&format!("{root}project/project-id")), (200, "shop-prod".to_owned()));
    let account = format!("{root}instance/service-accounts/default");
    assert_eq!(get(&format!("{account}/email")), (200, "lease-bbbb".to_owned()));
    let whole = body(&get(&format!("{account}/?recursive=true")).1);
    assert_eq!((&whole["email"], &whole["aliases"][0]), (&"lease-bbbb".into(), &"default".into()));
    let all = body(&get(&format!("{root}instance/service-accounts/?recursive=true")).1);
    assert_eq!(all["default"], whole);
    for account in ["default", "lease-bbbb"] {
        let (status, said) = get(&format!("{root}instance/service-accounts/{account}/token?scopes=a,b"));
        assert_eq!((status, &body(&said)["expires_in"]), (200, &252.into()));
    }
    for (expected, path, headers) in [
        (403, format!("{account}/token"), &[][..]),
        (403, format!("{account}/token"), &[("metadata-flavor", "google")]),
        (403, format!("{account}/token"), &[flavor, ("x-forwarded-for", "10.0.0.1")]),
        (404, format!("{root}instance/service-accounts/other@p.iam.gserviceaccount.com/token"), &[flavor]),
        (404, format!("{account}/identity?audience=a"), &[flavor]),
        (404, format!("{root}instance/attributes/kube-env"), &[flavor]),
        (404, "/computeMetadata/v1beta1/".to_owned(), &[flavor]),
    ] {
        let (status, said) = ask(&vended_gcp(), "GET", &path, headers, "");
        assert_eq!(status, expected, "{path} {headers:?}");
        assert!(said.starts_with("grantctl: ") && !said.contains("access_token"), "{said}");
    }
    assert_eq!(ask(&vended_gcp(), "PUT", &format!("{account}/token"), &[flavor], "").0, 405);
}

#[test]
fn p9_only_the_fronts_own_token_is_exchanged() {
    let form = |token: &str| {
        format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&audience=a&subject_token={token}")
    };
    let exchange = |body: &str| ask(&vended_gcp(), "POST", "/v1/token", &[], body);
    let (status, said) = exchange(&form("t0ken"));
    assert_eq!((status, &body(&said)["expires_in"]), (200, &252.into()));
    for (form, error) in [
        (form("t0kem"), "invalid_grant"),
        (form(""), "invalid_grant"),
        (format!("{}&subject_token=t0ken", form("t0ken")), "invalid_grant"),
        ("subject_token=t0ken".to_owned(), "unsupported_grant_type"),
    ] {
        let (status, said) = exchange(&form);
        assert_eq!((status, &body(&said)["error"]), (400, &error.into()), "{form}");
        assert!(body(&said)["error_description"].is_string() && !said.contains("access_token"), "{said}");
    }
    assert_eq!(ask(&vended_gcp(), "GET", "/v1/token", &[("metadata-flavor", "Google")], "").0, 405);
}

#[test]
fn p9_whose_a_token_is_is_told_of_the_leases_own_alone() {
    let whose = |form: &str| ask(&vended_gcp(), "POST", "/v1/introspect", &[], form);
    let own = vended_gcp()["credential"]["access_token"].as_str().unwrap().replace('=', "%3D");
    let (status, said) = whose(&format!("token_type_hint=x&token={own}"));
    let known = body(&said);
    assert_eq!((status, &known["active"]), (200, &true.into()));
    assert!(known["username"].as_str().unwrap().ends_with("/subject/lease-bbbb"), "{said}");
    assert!(!said.contains(vended_gcp()["credential"]["access_token"].as_str().unwrap()), "{said}");
    for other in ["token=other", "token="] {
        assert_eq!(whose(other), (200, r#"{"active":false}"#.to_owned()));
    }
    assert_eq!(whose("").0, 400);
    assert_eq!(ask(&vended_gcp(), "GET", "/v1/introspect", &[("metadata-flavor", "Google")], "").0, 405);
}

#[test]
fn a_query_is_decoded_and_a_member_that_stands_twice_is_none() {
    assert_eq!(member("a=1&b=%2F+x", "b").as_deref(), Some("/ x"));
    assert_eq!(member("%61=1", "a").as_deref(), Some("1"));
    for text in ["", "b=1", "a=1&a=2", "a=%2", "a=%zz", "a=%ff"] {
        assert_eq!(member(text, "a"), None, "{text}");
    }
}
