//! One private key: made, read, and used to sign. Its secret part leaves through [`PrivateKey::pem`] alone, to be kept.

use std::fmt;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use grantd_model::KeyAlgorithm;
use grantd_provider_api::Secret;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

/// The label of a private key of either kind (RFC 7468, section 10).
const LABEL: &str = "PRIVATE KEY";

/// The least size of an RSA key, in bytes of its modulus: 2048 bits (RFC 7518, section 3.3).
const LEAST_MODULUS: usize = 256;

/// A key that can sign.
pub(super) struct PrivateKey {
    /// The thumbprint of its public part (RFC 7638).
    pub id: String,
    /// How it signs.
    pub algorithm: KeyAlgorithm,
    /// Its public part, as it is published (RFC 7517).
    pub public: Value,
    pem: Secret,
    signer: EncodingKey,
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey").field("id", &self.id).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl PrivateKey {
    /// A new one, from the random numbers of aws-lc. An RSA key takes a while: not for an async thread.
    pub fn generate(algorithm: KeyAlgorithm) -> Result<Self, String> {
        let der = match algorithm {
            KeyAlgorithm::Es256 => EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
                .and_then(|key| key.to_pkcs8v1())
                .map(|der| Zeroizing::new(der.as_ref().to_vec())),
            KeyAlgorithm::Rs256 => RsaKeyPair::generate(KeySize::Rsa3072)
                .and_then(|key| key.as_der())
                .map(|der| Zeroizing::new(der.as_ref().to_vec())),
        };
        let der = der.map_err(|_| format!("no {} key can be made", algorithm.as_str()))?;
        Self::parse(Secret::new(pem::encode(&pem::Pem::new(LABEL, der.as_slice()))))
    }

    /// Reads one in the form that `openssl genpkey` writes. What is wrong is told without any of its text.
    pub fn parse(pem: Secret) -> Result<Self, String> {
        let bytes = pem.expose().as_bytes();
        let read = EncodingKey::from_ec_pem(bytes)
            .and_then(|key| Ok((KeyAlgorithm::Es256, Jwk::from_encoding_key(&key, Algorithm::ES256)?, key)))
            .or_else(|_| {
                let key = EncodingKey::from_rsa_pem(bytes)?;
                Ok((KeyAlgorithm::Rs256, Jwk::from_encoding_key(&key, Algorithm::RS256)?, key))
            });
        let (algorithm, mut public, signer) = read.map_err(|_: jsonwebtoken::errors::Error| {
            "it is no private key in PEM form (PKCS#8) for RS256 or ES256: make one with openssl genpkey".to_owned()
        })?;
        if let AlgorithmParameters::RSA(parameters) = &public.algorithm {
            // Base64url without padding: four characters for three bytes.
            if parameters.n.len() < LEAST_MODULUS * 4 / 3 {
                return Err("it is an RSA key of less than 2048 bits: make a longer one".to_owned());
            }
        }
        let odd = |error: &dyn fmt::Display| format!("its public part cannot be told: {error}");
        let id = public.thumbprint(ThumbprintHash::SHA256).map_err(|error| odd(&error))?;
        public.common.key_id = Some(id.clone());
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        let public = serde_json::to_value(&public).map_err(|error| odd(&error))?;
        let key = Self { id, algorithm, public, pem, signer };
        // A key that cannot sign is found now and not when somebody needs it.
        key.sign(&()).map(|_| key)
    }

    /// Its secret part, to be kept where nobody else can read it.
    pub fn pem(&self) -> &Secret {
        &self.pem
    }

    /// The claims as a token (RFC 7515, compact form).
    pub fn sign<T: Serialize>(&self, claims: &T) -> Result<Secret, String> {
        let algorithm = match self.algorithm {
            KeyAlgorithm::Rs256 => Algorithm::RS256,
            KeyAlgorithm::Es256 => Algorithm::ES256,
        };
        let header = Header { kid: Some(self.id.clone()), ..Header::new(algorithm) };
        let token = encode(&header, claims, &self.signer);
        token.map(Secret::new).map_err(|_| format!("key {} cannot sign", self.id))
    }
}
