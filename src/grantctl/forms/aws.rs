//! What AWS clients read.

use std::borrow::Cow;

use serde::Serialize;
use zeroize::Zeroizing;

use crate::exit::Failure;
use crate::secret::json;

/// A session. It has no `Debug`.
pub(crate) struct Aws {
    pub access_key_id: String,
    pub secret_access_key: Zeroizing<String>,
    pub session_token: Zeroizing<String>,
    pub expiration: String,
    pub region: Option<String>,
}

impl Aws {
    /// The document that `credential_process` prints, and a line break (AWS SDKs and Tools Reference Guide, "Process
    /// credential provider").
    pub(crate) fn process_json(&self) -> Result<Zeroizing<Vec<u8>>, Failure> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Document<'a> {
            version: u8,
            access_key_id: &'a str,
            secret_access_key: &'a str,
            session_token: &'a str,
            expiration: &'a str,
        }
        let mut bytes = json(&Document {
            version: 1,
            access_key_id: &self.access_key_id,
            secret_access_key: &self.secret_access_key,
            session_token: &self.session_token,
            expiration: &self.expiration,
        })?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The document that a container's credential endpoint answers with (AWS SDKs and Tools Reference Guide, "Container
    /// credential provider").
    pub(crate) fn container_json(&self) -> Result<Zeroizing<Vec<u8>>, Failure> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Document<'a> {
            access_key_id: &'a str,
            secret_access_key: &'a str,
            token: &'a str,
            expiration: &'a str,
        }
        json(&Document {
            access_key_id: &self.access_key_id,
            secret_access_key: &self.secret_access_key,
            token: &self.session_token,
            expiration: &self.expiration,
        })
    }

    /// An AWS credentials file with this as its default profile.
    pub(crate) fn credentials_file(&self) -> Zeroizing<Vec<u8>> {
        let lines = [
            ("aws_access_key_id", self.access_key_id.as_str()),
            ("aws_secret_access_key", &self.secret_access_key),
            ("aws_session_token", &self.session_token),
        ];
        let room = lines.iter().map(|(name, value)| name.len().saturating_add(value.len()).saturating_add(4)).sum();
        let mut bytes = Zeroizing::new(Vec::with_capacity(usize::saturating_add(room, 16)));
        bytes.extend_from_slice(b"[default]\n");
        for (name, value) in lines {
            for piece in [name, " = ", value, "\n"] {
                bytes.extend_from_slice(piece.as_bytes());
            }
        }
        bytes
    }

    /// The environment variables that AWS clients read.
    pub(crate) fn variables(&self) -> Vec<(Cow<'static, str>, &str)> {
        let region = self.region.as_deref();
        [
            ("AWS_ACCESS_KEY_ID", Some(self.access_key_id.as_str())),
            ("AWS_SECRET_ACCESS_KEY", Some(self.secret_access_key.as_str())),
            ("AWS_SESSION_TOKEN", Some(self.session_token.as_str())),
            ("AWS_CREDENTIAL_EXPIRATION", Some(self.expiration.as_str())),
            ("AWS_REGION", region),
            ("AWS_DEFAULT_REGION", region),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.into(), value?)))
        .collect()
    }
}
