//! What is read is what a configured key signed, in the one form there is.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use grantd_model::document::Approved;
use grantd_model::{Digest, NodeId};
use grantd_provider_api::Secret;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use super::*;
use crate::store::contract::samples;

/// A key pair: what signs, and its public half as a JWK.
fn pair() -> (SigningKey, String) {
    let made = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let pem = pem::encode(&pem::Pem::new("PRIVATE KEY", made.to_pkcs8v1().unwrap().as_ref()));
    let public = Jwk::from_encoding_key(&EncodingKey::from_ec_pem(pem.as_bytes()).unwrap(), Algorithm::ES256).unwrap();
    (SigningKey::parse(&Secret::new(pem)).unwrap(), serde_json::to_string(&public).unwrap())
}

fn document() -> Document {
    let grant = samples::grant(1);
    Document {
        iss: "urn:a".to_owned(),
        aud: "fleet".to_owned(),
        jti: "1".to_owned(),
        iat: 0,
        nbf: 0,
        exp: 60,
        grant: Approved {
            version: 1,
            id: grant.id,
            installation: NodeId("node-1".to_owned()),
            request: grant.request,
            tier: grant.tier,
            digest: Digest::ZERO,
            approvals: Vec::new(),
            hosts: Vec::new(),
            max_uses: None,
        },
    }
}

/// The same token with another header.
fn headed(text: &str, change: impl Fn(&mut Value)) -> String {
    let (head, rest) = text.split_once('.').unwrap();
    let mut head: Value = serde_json::from_slice(&BASE64URL_NOPAD.decode(head.as_bytes()).unwrap()).unwrap();
    change(&mut head);
    format!("{}.{rest}", BASE64URL_NOPAD.encode(head.to_string().as_bytes()))
}

#[test]
fn p12_only_what_a_configured_key_signed_is_read() {
    let (key, public) = pair();
    let keys = [VerifyingKey::parse(&public, None).unwrap()];
    assert_eq!(keys[0].id, key.id, "the thumbprint is the name where none is given");
    let text = sign(&document(), &key).unwrap();
    let read = Unverified::read(&text).unwrap();
    assert_eq!(read.iss(), "urn:a");
    assert_eq!(read.verify(&keys), Ok((document(), key.id.clone())));
    let other = sign(&Document { exp: 61, ..document() }, &key).unwrap();
    let swapped = format!("{}.{}", other.rsplit_once('.').unwrap().0, text.rsplit_once('.').unwrap().1);
    assert!(Unverified::read(&swapped).unwrap().verify(&keys).unwrap_err().contains("not that of the key"));
    let (stranger, _) = pair();
    let strange = sign(&document(), &stranger).unwrap();
    assert!(Unverified::read(&strange).unwrap().verify(&keys).unwrap_err().contains("no key"));
    let named = headed(&strange, |head| head["kid"] = json!(key.id));
    assert!(Unverified::read(&named).unwrap().verify(&keys).unwrap_err().contains("not that of the key"));
    for alg in ["none", "HS256", "RS256", "EdDSA"] {
        let headed = headed(&text, |head| head["alg"] = json!(alg));
        assert!(Unverified::read(&headed).unwrap().verify(&keys).unwrap_err().contains("alg"), "{alg}");
    }
}

#[test]
fn p12_a_header_names_a_configured_key_and_says_nothing_else() {
    let (key, _) = pair();
    let text = sign(&document(), &key).unwrap();
    for member in ["jku", "x5u", "x5c", "jwk", "crit", "cty", "b64", "zip"] {
        let why = Unverified::read(&headed(&text, |head| head[member] = json!("x"))).unwrap_err();
        assert!(why.contains("nothing else") && why.contains(member), "{why}");
    }
    for typ in ["JWT", "at+jwt", ""] {
        assert!(
            Unverified::read(&headed(&text, |head| head["typ"] = json!(typ))).unwrap_err().contains("typ"),
            "{typ}"
        );
    }
    for text in ["", "a.b", "a.b.c", "....", "e30.e30.e30", &"a".repeat(LONGEST + 1)] {
        assert!(Unverified::read(text).is_err());
    }
}

#[test]
fn a_key_of_another_kind_is_no_key_of_documents() {
    for text in [
        "",
        "{}",
        r#"{"kty":"oct","k":"c2VjcmV0"}"#,
        r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#,
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    ] {
        assert!(VerifyingKey::parse(text, None).unwrap_err().contains("P-256 or Ed25519"), "{text}");
    }
    assert!(SigningKey::parse(&Secret::new("no key".to_owned())).unwrap_err().contains("openssl genpkey"));
}
