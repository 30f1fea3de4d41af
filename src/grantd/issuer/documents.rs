//! What is served at the issuer's URL: its description and its public keys. Pure, and never secret.

use grantd_model::KeyRing;
use serde_json::{Value, json};

/// Where the description is, below the issuer's URL (OpenID Connect Discovery 1.0, section 4).
const DESCRIPTION: &str = ".well-known/openid-configuration";

/// Where the description says that the keys are.
const KEYS: &str = ".well-known/jwks.json";

/// One document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its path below the issuer's URL.
    pub path: &'static str,
    /// What it says.
    pub content: Value,
}

/// The keys first: whoever reads the description finds what it names.
pub(super) fn of(url: &str, ring: &KeyRing) -> Vec<Document> {
    let keys: Vec<&Value> = ring.keys().iter().map(|key| &key.public).collect();
    let mut algorithms: Vec<&str> = ring.keys().iter().map(|key| key.algorithm.as_str()).collect();
    algorithms.sort_unstable();
    algorithms.dedup();
    let description = json!({
        "issuer": url,
        "jwks_uri": format!("{url}/{KEYS}"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms,
        "claims_supported": ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"],
    });
    vec![
        Document { path: KEYS, content: json!({ "keys": keys }) },
        Document { path: DESCRIPTION, content: description },
    ]
}
