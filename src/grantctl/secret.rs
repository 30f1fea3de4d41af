//! A credential as this program holds it, of whichever cloud. The forms in which clients read it are in
//! [`forms`](crate::forms), one file for each cloud.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use zeroize::Zeroizing;

use grantd_wire::CredentialBody;

use crate::exit::{Exit, Failure};
use crate::forms::aws::Aws;
use crate::forms::azure::Azure;
use crate::forms::gcp::Gcp;
use crate::forms::token::Token;

/// Room for a credential, so that its buffer does not grow and leave copies behind. Tokens have no fixed size, and those
/// of Azure come in numbers.
const ROOM: usize = 32 * 1024;

/// A credential whose secret parts are wiped when dropped. It has no `Debug`.
pub(crate) enum Secret {
    /// A session of Amazon Web Services.
    Aws(Aws),
    /// Access tokens of a principal in Azure.
    Azure(Azure),
    /// An access token of Google Cloud.
    Gcp(Gcp),
    /// A token of the daemon's own.
    Token(Token),
}

/// Whose clients read a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cloud {
    Aws,
    Azure,
    Gcp,
    /// No cloud: whoever takes tokens of the daemon's own.
    Oidc,
}

/// A form of one cloud was asked of a credential of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OtherCloud {
    /// What the credential is of.
    pub is: Cloud,
    /// What the form is of.
    pub wanted: Cloud,
}

impl fmt::Display for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aws => "AWS",
            Self::Azure => "Azure",
            Self::Gcp => "Google Cloud",
            Self::Oidc => "tokens of grantd's own",
        })
    }
}

impl OtherCloud {
    /// What a person is told who asked for this form by `command`.
    pub(crate) fn failure(self, grant: &str, command: &str) -> Failure {
        let Self { is, wanted } = self;
        let one_shot = match is {
            Cloud::Aws => format!("grantctl credential-process {grant}"),
            Cloud::Azure | Cloud::Gcp => format!("grantctl vend {grant} --format env"),
            Cloud::Oidc => format!("grantctl token {grant}"),
        };
        let what = match wanted {
            Cloud::Oidc => wanted.to_string(),
            of => format!("what clients of {of} read"),
        };
        let line = format!(
            "{grant} is for {is}, and {command} hands out {what} (next: grantctl exec --grant {grant} -- COMMAND, or \
             {one_shot})"
        );
        Failure::new(Exit::Usage, line)
    }
}

impl From<CredentialBody> for Secret {
    fn from(body: CredentialBody) -> Self {
        match body {
            CredentialBody::Aws { access_key_id, secret_access_key, session_token, expiration, region } => {
                Self::Aws(Aws {
                    access_key_id,
                    secret_access_key: Zeroizing::new(secret_access_key),
                    session_token: Zeroizing::new(session_token),
                    expiration,
                    region,
                })
            }
            CredentialBody::Azure { tenant, client_id, subscription, tokens, expiration } => {
                Self::Azure(Azure { tenant, client_id, subscription, tokens: wiped(tokens), expiration })
            }
            CredentialBody::Gcp { access_token, principal, project, expiration } => {
                Self::Gcp(Gcp { access_token: Zeroizing::new(access_token), principal, project, expiration })
            }
            CredentialBody::Token { token, audience, issuer, subject, expiration } => {
                Self::Token(Token { token: Zeroizing::new(token), audience, issuer, subject, expiration })
            }
        }
    }
}

fn wiped(tokens: Vec<grantd_wire::AzureTokenBody>) -> Vec<crate::forms::azure::Token> {
    let each = tokens.into_iter();
    each.map(|body| crate::forms::azure::Token { audience: body.audience, token: Zeroizing::new(body.token) }).collect()
}

impl Secret {
    /// What it is of.
    pub(crate) fn cloud(&self) -> Cloud {
        match self {
            Self::Aws(_) => Cloud::Aws,
            Self::Azure(_) => Cloud::Azure,
            Self::Gcp(_) => Cloud::Gcp,
            Self::Token(_) => Cloud::Oidc,
        }
    }

    /// The session of AWS.
    pub(crate) fn aws(&self) -> Result<&Aws, OtherCloud> {
        match self {
            Self::Aws(aws) => Ok(aws),
            other => Err(OtherCloud { is: other.cloud(), wanted: Cloud::Aws }),
        }
    }

    /// The environment variables that the cloud's clients read, as far as there are any.
    pub(crate) fn variables(&self) -> Vec<(Cow<'static, str>, &str)> {
        match self {
            Self::Aws(aws) => aws.variables(),
            Self::Azure(azure) => azure.variables(),
            Self::Gcp(gcp) => gcp.variables(),
            Self::Token(token) => token.variables(),
        }
    }

    /// The document that stands in the file of `exec --format json`, and a line break: for AWS what `credential_process`
    /// prints, else all that there is.
    pub(crate) fn document(&self) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let mut bytes = match self {
            Self::Aws(aws) => return aws.process_json(),
            Self::Azure(azure) => azure.document()?,
            Self::Gcp(gcp) => gcp.document()?,
            Self::Token(token) => token.document()?,
        };
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The region of the account, if it has one.
    pub(crate) fn region(&self) -> Option<&str> {
        match self {
            Self::Aws(aws) => aws.region.as_deref(),
            Self::Azure(_) | Self::Gcp(_) | Self::Token(_) => None,
        }
    }

    /// When access ends, as the daemon wrote it.
    pub(crate) fn expiration(&self) -> &str {
        match self {
            Self::Aws(aws) => &aws.expiration,
            Self::Azure(azure) => &azure.expiration,
            Self::Gcp(gcp) => &gcp.expiration,
            Self::Token(token) => &token.expiration,
        }
    }

    /// Lines for `eval` in a POSIX shell.
    pub(crate) fn env(&self, lease: &str) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(ROOM));
        for (name, value) in self.variables().into_iter().chain([("GRANTD_LEASE".into(), lease)]) {
            text.push_str("export ");
            text.push_str(&name);
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

/// A JSON document with secrets in it, in a buffer that is wiped and does not grow.
pub(crate) fn json(document: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(ROOM));
    serde_json::to_writer(&mut *bytes, document)
        .map_err(|_| Failure::new(Exit::Unexpected, "cannot write the credential down"))?;
    Ok(bytes)
}

#[cfg(test)]
#[path = "secret_tests.rs"]
mod tests;
