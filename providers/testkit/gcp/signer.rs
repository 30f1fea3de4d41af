//! An issuer of tokens for tests: one key, made anew each time, and the key set that tells of it.

use std::io;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use data_encoding::BASE64URL_NOPAD;
use grantd_provider_api::{Assertion, Assertions, ErrorKind, ProviderError, Secret};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Map, Value, json};

/// Signs what it is asked to, with ES256.
pub struct Signer {
    issuer: String,
    key: EncodingKey,
    pkcs8: Vec<u8>,
    jwks: Value,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the test issuer {}", self.issuer)
    }
}

impl Signer {
    /// An issuer with a new key.
    ///
    /// # Errors
    /// No key can be made.
    pub fn new(issuer: &str) -> io::Result<Self> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(io::Error::other)?;
        let pkcs8 = pair.to_pkcs8v1().map_err(io::Error::other)?.as_ref().to_vec();
        let point = pair.public_key().as_ref();
        let (x, y) = (point.get(1..33).unwrap_or_default(), point.get(33..65).unwrap_or_default());
        let jwks = json!({ "keys": [{
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "test",
            "x": BASE64URL_NOPAD.encode(x), "y": BASE64URL_NOPAD.encode(y),
        }] });
        Ok(Self { issuer: issuer.to_owned(), key: EncodingKey::from_ec_der(&pkcs8), pkcs8, jwks })
    }

    /// The issuer's URL.
    #[must_use]
    pub fn issuer_url(&self) -> &str {
        &self.issuer
    }

    /// The published key set.
    #[must_use]
    pub fn jwks(&self) -> Value {
        self.jwks.clone()
    }

    /// The private key as PKCS#8, for a daemon that is to sign with it.
    #[must_use]
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// A token with exactly these claims.
    ///
    /// # Errors
    /// They cannot be signed.
    pub fn sign(&self, claims: &Value) -> io::Result<String> {
        let header = Header { kid: Some("test".to_owned()), ..Header::new(Algorithm::ES256) };
        encode(&header, claims, &self.key).map_err(io::Error::other)
    }
}

impl Assertions for Signer {
    fn issuer(&self) -> &str {
        &self.issuer
    }

    #[expect(clippy::disallowed_methods, reason = "the fake that reads these tokens goes by the machine's clock too")]
    fn mint(&self, assertion: &Assertion<'_>) -> Result<Secret, ProviderError> {
        let now = Timestamp::now().as_second();
        let mut claims: Map<String, Value> =
            assertion.claims.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
        let lifetime = i64::try_from(assertion.lifetime.as_secs()).unwrap_or(60);
        let standard = json!({
            "iss": self.issuer, "sub": assertion.subject, "aud": assertion.audience,
            "iat": now, "nbf": now, "exp": now.saturating_add(lifetime),
        });
        claims.extend(standard.as_object().cloned().unwrap_or_default());
        let signed = self.sign(&Value::Object(claims));
        signed.map(Secret::new).map_err(|error| ProviderError::new(ErrorKind::Config, error))
    }
}
