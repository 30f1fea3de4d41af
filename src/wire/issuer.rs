//! `/v1/issuers`: the daemon's own issuers of tokens, and what is published of them. Nothing here is secret.

use serde::{Deserialize, Serialize};

/// Every issuer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuerList {
    /// Them.
    pub issuers: Vec<IssuerView>,
}

/// One issuer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuerView {
    /// `federation`, whose tokens clouds take for a session, or `oidc`, whose tokens are handed out.
    pub name: String,
    /// Its URL, as verifiers have it configured.
    pub url: String,
    /// Where its keys come from, in words.
    pub source: String,
    /// Whether what was published last is what is to be published now.
    pub published: bool,
    /// Its keys, oldest first.
    pub keys: Vec<KeyView>,
}

/// One key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyView {
    /// Its id: the thumbprint of its public part (RFC 7638).
    pub id: String,
    /// `RS256` or `ES256`.
    pub algorithm: String,
    /// `next`, `signing` or `retired`.
    pub state: String,
    /// Since when it is here.
    pub made_at: String,
    /// When an administrator first said that it is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_at: Option<String>,
    /// Of a next one that is published: when it begins to sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signs_from: Option<String>,
    /// Of the signing one: since when; when the next one is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signs_since: Option<String>,
    /// Of a retired one: until when it has to be published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_until: Option<String>,
}

/// What is to be served at an issuer's URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuerDocuments {
    /// The issuer.
    pub issuer: IssuerView,
    /// The documents, in the order in which they are to be put in their places.
    pub documents: Vec<DocumentView>,
}

/// One document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentView {
    /// Its path below the issuer's URL.
    pub path: String,
    /// What it says.
    pub content: serde_json::Value,
}

/// An administrator says that these keys are published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedRequest {
    /// The ids of all of them.
    pub keys: Vec<String>,
}

/// A new key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateRequest {
    /// Whether the key that signs leaked: then the new one signs at once.
    #[serde(default)]
    pub leaked: bool,
}
