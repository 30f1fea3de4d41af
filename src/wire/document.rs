//! Grant documents on the wire.

use serde::{Deserialize, Serialize};

/// `POST /v1/grants/{id}/export`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportRequest {
    /// The nodes that may import it; any that the audience means when there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
}

/// A grant document that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportView {
    /// The document: a JSON Web Token in compact form.
    pub document: String,
    /// Its id.
    pub jti: String,
    /// Its end, and that of whatever is vended on it.
    pub until: String,
}

/// `POST /v1/documents`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportRequest {
    /// The document.
    pub document: String,
}

/// Where a grant came from that was approved elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedView {
    /// Who signed the document.
    pub issuer: String,
    /// The document's id.
    pub jti: String,
    /// When it ends at the latest.
    pub until: String,
}
