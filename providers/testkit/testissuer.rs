//! An issuer for tests: it signs what it is asked to, as the daemon's own issuer does, and shows its key set.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use grantd_provider_api::{Assertion, Assertions, Clock, ErrorKind, ProviderError, Secret, SystemClock};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use serde_json::{Value, json};

/// A key and the name of whoever signs with it.
pub struct TestIssuer {
    issuer: String,
    pair: KeyPair,
    clock: SystemClock,
}

impl fmt::Debug for TestIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the test issuer {}", self.issuer)
    }
}

impl TestIssuer {
    /// An issuer with a fresh key.
    ///
    /// # Panics
    /// The machine has no randomness.
    #[must_use]
    #[expect(clippy::expect_used, reason = "test support")]
    pub fn new(issuer: &str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key can be made");
        Self { issuer: issuer.to_owned(), pair, clock: SystemClock::new() }
    }

    /// The same issuer with a key that was made before.
    ///
    /// # Panics
    /// It is no P-256 key in PEM.
    #[must_use]
    #[expect(clippy::expect_used, reason = "test support")]
    pub fn with_key(issuer: &str, pem: &str) -> Self {
        let pair = KeyPair::from_pkcs8_pem_and_sign_algo(pem, &PKCS_ECDSA_P256_SHA256).expect("a P-256 key");
        Self { issuer: issuer.to_owned(), pair, clock: SystemClock::new() }
    }

    /// Its private key in PEM, for whoever is to sign with it too.
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.pair.serialize_pem()
    }

    /// Its key set, as a cloud reads it.
    #[must_use]
    pub fn key_set(&self) -> Value {
        // An uncompressed point: 4, and 32 bytes for each coordinate (SEC 1, section 2.3.3).
        let point = self.pair.der_bytes();
        let coordinate =
            |from: usize| BASE64URL_NOPAD.encode(point.get(from..from.saturating_add(32)).unwrap_or_default());
        json!({ "keys": [{
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "test",
            "x": coordinate(1), "y": coordinate(33),
        }] })
    }

    /// Signs exactly these claims.
    ///
    /// # Panics
    /// They cannot be signed.
    #[must_use]
    #[expect(clippy::expect_used, reason = "test support")]
    pub fn sign(&self, claims: &Value) -> String {
        let key = EncodingKey::from_ec_pem(self.pair.serialize_pem().as_bytes()).expect("a P-256 key");
        let header = Header { kid: Some("test".to_owned()), ..Header::new(Algorithm::ES256) };
        encode(&header, claims, &key).expect("claims can be signed")
    }
}

impl TestIssuer {
    /// Whether a token was signed with this key.
    pub(crate) fn sign_check(&self, token: &str) -> Result<(), jsonwebtoken::errors::Error> {
        let key = jsonwebtoken::DecodingKey::from_ec_pem(self.pair.public_key_pem().as_bytes())?;
        let mut validation = jsonwebtoken::Validation::new(Algorithm::ES256);
        (validation.validate_exp, validation.validate_aud) = (false, false);
        validation.required_spec_claims.clear();
        jsonwebtoken::decode::<Value>(token, &key, &validation).map(|_| ())
    }
}

impl Assertions for TestIssuer {
    fn issuer(&self) -> &str {
        &self.issuer
    }

    fn mint(&self, assertion: &Assertion<'_>) -> Result<Secret, ProviderError> {
        let now = self.clock.now().as_second();
        let lives = i64::try_from(assertion.lifetime.as_secs())
            .map_err(|error| ProviderError::new(ErrorKind::Invalid, error))?;
        let mut claims = json!({
            "iss": self.issuer, "sub": assertion.subject, "aud": assertion.audience,
            "iat": now, "nbf": now, "exp": now.saturating_add(lives), "jti": now.to_string(),
        });
        if let Some(fields) = claims.as_object_mut() {
            for (name, value) in assertion.claims {
                fields.entry((*name).to_owned()).or_insert_with(|| value.clone());
            }
        }
        Ok(Secret::new(self.sign(&claims)))
    }
}
