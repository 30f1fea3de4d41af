//! Grant documents as signed text: reading what a configured issuer signed, and signing our own.
//!
//! Of the header only `alg`, `kid` and `typ` are taken, and a header with anything else is refused: a key comes from
//! configuration and from nowhere else (RFC 8725, sections 3.1 and 3.10). Pure: no I/O, no clock.

mod key;

use data_encoding::BASE64URL_NOPAD;
use grantd_model::document::{Document, LONGEST, TYPE};
use jsonwebtoken::crypto;
use serde::{Deserialize, Serialize};

pub use key::{SigningKey, VerifyingKey};

/// The header, and everything that may be in it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    alg: String,
    kid: String,
    typ: String,
}

/// A document as it stands there, of which nobody knows yet who signed it.
#[derive(Debug)]
pub struct Unverified<'a> {
    document: Document,
    head: Head,
    signed: &'a str,
    signature: &'a str,
}

impl<'a> Unverified<'a> {
    /// Takes the text apart.
    ///
    /// # Errors
    /// In words: it is not the compact form of a grant document, or holds something that this version does not know.
    pub fn read(text: &'a str) -> Result<Self, String> {
        let text = text.trim();
        if text.len() > LONGEST {
            return Err(format!("it is longer than {LONGEST} bytes"));
        }
        let form = || "it is not a JSON Web Token in compact form: three parts with two dots between".to_owned();
        let (signed, signature) = text.rsplit_once('.').ok_or_else(form)?;
        let (head, claims) = signed.split_once('.').ok_or_else(form)?;
        let decoded = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| form());
        let head: Head = serde_json::from_slice(&decoded(head)?)
            .map_err(|error| format!("its header has to have alg, kid and typ and nothing else: {}", short(&error)))?;
        if head.typ != TYPE {
            return Err(format!("its typ is {:?}, and a grant document is {TYPE}", short(&head.typ)));
        }
        let claims = decoded(claims)?;
        let document: Document = serde_json::from_slice(&claims)
            .map_err(|error| format!("what it says cannot be read: {}", short(&error)))?;
        // What the types above would pass over is not passed over.
        let again = serde_json::to_value(&document).ok();
        if again.is_none() || again != serde_json::from_slice::<serde_json::Value>(&claims).ok() {
            return Err("it holds something that this version does not know".to_owned());
        }
        Ok(Self { document, head, signed, signature })
    }

    /// Who is said to have signed it.
    #[must_use]
    pub fn iss(&self) -> &str {
        &self.document.iss
    }

    /// The document, if one of `keys` signed it, with that key's id.
    ///
    /// # Errors
    /// In words: no key has its `kid`, or the signature is not that key's.
    pub fn verify(self, keys: &[VerifyingKey]) -> Result<(Document, String), String> {
        let kid = self.head.kid;
        let key = keys
            .iter()
            .find(|key| key.id == kid)
            .ok_or_else(|| format!("no key {:?} of its issuer is configured", short(&kid)))?;
        if self.head.alg != key.algorithm() {
            let alg = short(&self.head.alg);
            return Err(format!("its alg is {alg:?}, and the key {kid:?} signs with {}", key.algorithm()));
        }
        match crypto::verify(self.signature, self.signed.as_bytes(), &key.key, key.algorithm) {
            Ok(true) => Ok((self.document, kid)),
            Ok(false) | Err(_) => Err(format!("its signature is not that of the key {kid:?}")),
        }
    }
}

/// As much of what somebody wrote as is told again.
fn short(text: &dyn std::fmt::Display) -> String {
    text.to_string().chars().take(200).collect()
}

/// Signs a document.
///
/// # Errors
/// In words: it cannot be signed.
pub fn sign(document: &Document, key: &SigningKey) -> Result<String, String> {
    let head = Head { alg: key.algorithm().to_owned(), kid: key.id.clone(), typ: TYPE.to_owned() };
    let part = |bytes: Result<Vec<u8>, serde_json::Error>| {
        bytes.map(|bytes| BASE64URL_NOPAD.encode(&bytes)).map_err(|error| error.to_string())
    };
    let signed = format!("{}.{}", part(serde_json::to_vec(&head))?, part(serde_json::to_vec(document))?);
    let signature = crypto::sign(signed.as_bytes(), &key.key, key.algorithm);
    signature.map(|signature| format!("{signed}.{signature}")).map_err(|_| format!("key {} cannot sign", key.id))
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
