//! A credential as this program holds it, and the forms in which clients read it.

use serde::Serialize;
use zeroize::Zeroizing;

use grantd_wire::CredentialBody;

use crate::exit::{Exit, Failure};

/// Room for a credential, so that its buffer does not grow and leave copies behind. Session tokens have no fixed size.
const ROOM: usize = 16 * 1024;

/// A credential whose secret parts are wiped when dropped. It has no `Debug`.
pub(crate) struct Secret {
    access_key_id: String,
    secret_access_key: Zeroizing<String>,
    session_token: Zeroizing<String>,
    expiration: String,
    region: Option<String>,
}

impl TryFrom<CredentialBody> for Secret {
    type Error = Failure;

    fn try_from(body: CredentialBody) -> Result<Self, Failure> {
        let CredentialBody::Aws { access_key_id, secret_access_key, session_token, expiration, region } = body else {
            let words =
                "the grant is for another cloud, and this is how AWS clients take a credential: use --format json";
            return Err(Failure::new(Exit::Unexpected, words));
        };
        Ok(Self {
            access_key_id,
            secret_access_key: Zeroizing::new(secret_access_key),
            session_token: Zeroizing::new(session_token),
            expiration,
            region,
        })
    }
}

impl Secret {
    /// The document that AWS clients read, and a line break.
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
        let document = Document {
            version: 1,
            access_key_id: &self.access_key_id,
            secret_access_key: &self.secret_access_key,
            session_token: &self.session_token,
            expiration: &self.expiration,
        };
        let mut bytes = Zeroizing::new(Vec::with_capacity(ROOM));
        serde_json::to_writer(&mut *bytes, &document).map_err(|_| unwritable())?;
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
        let document = Document {
            access_key_id: &self.access_key_id,
            secret_access_key: &self.secret_access_key,
            token: &self.session_token,
            expiration: &self.expiration,
        };
        let mut bytes = Zeroizing::new(Vec::with_capacity(ROOM));
        serde_json::to_writer(&mut *bytes, &document).map_err(|_| unwritable())?;
        Ok(bytes)
    }

    /// An AWS credentials file with this as its default profile.
    pub(crate) fn credentials_file(&self) -> Zeroizing<Vec<u8>> {
        let lines = [
            ("aws_access_key_id", self.access_key_id.as_str()),
            ("aws_secret_access_key", &self.secret_access_key),
            ("aws_session_token", &self.session_token),
        ];
        let mut bytes = Zeroizing::new(Vec::with_capacity(ROOM));
        bytes.extend_from_slice(b"[default]\n");
        for (name, value) in lines {
            for piece in [name, " = ", value, "\n"] {
                bytes.extend_from_slice(piece.as_bytes());
            }
        }
        bytes
    }

    /// The environment variables that AWS clients read.
    pub(crate) fn variables<'a>(&'a self, lease: Option<&'a str>) -> impl Iterator<Item = (&'static str, &'a str)> {
        let region = self.region.as_deref();
        [
            ("AWS_ACCESS_KEY_ID", Some(self.access_key_id.as_str())),
            ("AWS_SECRET_ACCESS_KEY", Some(self.secret_access_key.as_str())),
            ("AWS_SESSION_TOKEN", Some(self.session_token.as_str())),
            ("AWS_CREDENTIAL_EXPIRATION", Some(self.expiration.as_str())),
            ("AWS_REGION", region),
            ("AWS_DEFAULT_REGION", region),
            ("GRANTD_LEASE", lease),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }

    /// The region of the account, if it has one.
    pub(crate) fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// When access ends, as the daemon wrote it.
    pub(crate) fn expiration(&self) -> &str {
        &self.expiration
    }

    /// Lines for `eval` in a POSIX shell.
    pub(crate) fn env(&self, lease: &str) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(ROOM));
        for (name, value) in self.variables(Some(lease)) {
            text.push_str("export ");
            text.push_str(name);
            text.push_str("='");
            for c in value.chars() {
                match c {
                    '\'' => text.push_str("'\\''"),
                    c => text.push(c),
                }
            }
            text.push_str("'\n");
        }
        text
    }
}

fn unwritable() -> Failure {
    Failure::new(Exit::Unexpected, "cannot write the credential down")
}
