//! The keys of grant documents: ES256 and `EdDSA`, no other.

use std::fmt;

use grantd_provider_api::Secret;
use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};

const WRONG: &str = "write a public key in PEM form (openssl pkey -pubout) or as a JWK, of P-256 or Ed25519";

/// A key whose signatures are believed.
#[derive(Clone)]
pub struct VerifyingKey {
    /// As documents name it: as configured, or the thumbprint (RFC 7638).
    pub id: String,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
    public: String,
}

impl VerifyingKey {
    /// Reads a public key in PEM form, or as a JWK, under `id` or its thumbprint.
    ///
    /// # Errors
    /// What to write.
    pub fn parse(text: &str, id: Option<String>) -> Result<Self, String> {
        let jwk = if text.trim_start().starts_with('{') {
            let jwk: Jwk = serde_json::from_str(text).map_err(|error| format!("{error}: {WRONG}"))?;
            jwk
        } else {
            let bytes = text.as_bytes();
            let made = |key: DecodingKey, algorithm| Jwk::from_decoding_key(&key, Some(algorithm));
            let read = DecodingKey::from_ec_pem(bytes)
                .and_then(|key| made(key, Algorithm::ES256))
                .or_else(|_| DecodingKey::from_ed_pem(bytes).and_then(|key| made(key, Algorithm::EdDSA)));
            read.map_err(|_| WRONG.to_owned())?
        };
        let value = serde_json::to_value(&jwk).map_err(|error| error.to_string())?;
        let word = |name: &str| value.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
        let algorithm = match (word("kty"), word("crv")) {
            ("EC", "P-256") => Algorithm::ES256,
            ("OKP", "Ed25519") => Algorithm::EdDSA,
            _ => return Err(WRONG.to_owned()),
        };
        let key = DecodingKey::from_jwk(&jwk).map_err(|_| WRONG.to_owned())?;
        let thumbprint = jwk.thumbprint(ThumbprintHash::SHA256).map_err(|_| WRONG.to_owned())?;
        let id = id.or_else(|| jwk.common.key_id.clone()).unwrap_or_else(|| thumbprint.clone());
        Ok(Self { id, algorithm, key, public: thumbprint })
    }

    pub(super) fn algorithm(&self) -> &'static str {
        name(self.algorithm)
    }
}

impl PartialEq for VerifyingKey {
    fn eq(&self, other: &Self) -> bool {
        (&self.id, &self.public) == (&other.id, &other.public)
    }
}

impl Eq for VerifyingKey {}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm())
            .finish_non_exhaustive()
    }
}

/// The key with which this daemon signs documents.
pub struct SigningKey {
    /// The thumbprint of its public part.
    pub id: String,
    pub(super) algorithm: Algorithm,
    pub(super) key: EncodingKey,
}

impl SigningKey {
    /// Reads a private key in PEM form, as `openssl genpkey` writes it. What is wrong is told without any of its text.
    ///
    /// # Errors
    /// What to write.
    pub fn parse(pem: &Secret) -> Result<Self, String> {
        let bytes = pem.expose().as_bytes();
        let read = EncodingKey::from_ec_pem(bytes)
            .and_then(|key| Ok((Algorithm::ES256, Jwk::from_encoding_key(&key, Algorithm::ES256)?, key)))
            .or_else(|_| {
                let key = EncodingKey::from_ed_pem(bytes)?;
                Ok((Algorithm::EdDSA, Jwk::from_encoding_key(&key, Algorithm::EdDSA)?, key))
            });
        let (algorithm, public, key) = read.map_err(|_: jsonwebtoken::errors::Error| {
            "it is no private key in PEM form (PKCS#8) of P-256 or Ed25519: make one with openssl genpkey".to_owned()
        })?;
        let id = public.thumbprint(ThumbprintHash::SHA256).map_err(|_| "its public part cannot be told".to_owned())?;
        Ok(Self { id, algorithm, key })
    }

    pub(super) fn algorithm(&self) -> &'static str {
        name(self.algorithm)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.id).finish_non_exhaustive()
    }
}

fn name(algorithm: Algorithm) -> &'static str {
    if algorithm == Algorithm::EdDSA { "EdDSA" } else { "ES256" }
}
