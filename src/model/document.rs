//! A grant document: an approval that was made elsewhere, as its issuer signs it. Pure.
//!
//! It is a JSON Web Token (RFC 7519) in compact form, signed with ES256 or `EdDSA` and nothing else, of the type [`TYPE`]. What
//! it holds is published as `config/grant-document.schema.json`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Capacity, Digest, GrantId, NodeId, Request, Tier};

/// The `typ` of a grant document (RFC 8725, section 3.11: explicit typing).
pub const TYPE: &str = "grantd-grant+jwt";

/// The longest document that is read, in bytes.
pub const LONGEST: usize = 48 * 1024;

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Who signs it.
    pub iss: String,
    /// For whom: one audience.
    pub aud: String,
    /// Its own id, used once on each installation.
    pub jti: String,
    /// When it was made, in seconds since 1970.
    pub iat: i64,
    /// Not before this.
    pub nbf: i64,
    /// It may be imported before this, and what is made of it alone ends then.
    pub exp: i64,
    /// What it is about.
    pub grant: Approved,
}

/// What was approved, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approved {
    /// The version of this form: 1.
    pub version: u32,
    /// The grant, by the id that it has where it was requested.
    pub id: GrantId,
    /// The node on which it was requested.
    pub installation: NodeId,
    /// Everything that was asked.
    pub request: Request,
    /// How sensitive the resource is.
    pub tier: Tier,
    /// Covers request, plan and tier: whoever imports it has to come to the same.
    pub digest: Digest,
    /// Who approved it.
    pub approvals: Vec<Attested>,
    /// The only nodes that may import it; any that the audience means when there is none. A counted grant names one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<NodeId>,
    /// How many tasks may use it in all, where that is counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_uses: Option<u32>,
}

/// An approval as the issuer tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attested {
    /// The person, by the name in the people table of whoever imports it.
    pub person: String,
    /// The capacities in which it may count, the one in which it was given first.
    pub capacities: Vec<Capacity>,
    /// When.
    pub at: Timestamp,
    /// What the person signed, where the person did: then the issuer's word is not needed for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<AttestedSignature>,
}

/// What a person signed with an SSH key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestedSignature {
    /// The text.
    pub statement: String,
    /// The signature of it.
    pub signature: String,
}

/// Whose word an approval is that was told in a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attestation {
    /// The issuer.
    pub iss: String,
    /// The key that signed the document.
    pub kid: String,
    /// The document.
    pub jti: String,
}

/// Where a grant came from that was approved elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// The document.
    #[serde(flatten)]
    pub document: Attestation,
    /// When it ends at the latest: the document's own end.
    pub until: Timestamp,
}
