//! What clients of Google Cloud read.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::exit::Failure;
use crate::secret::json;

/// An access token. It has no `Debug`.
pub(crate) struct Gcp {
    pub access_token: Zeroizing<String>,
    /// A service account's address, or `principal://…` of a federated identity.
    pub principal: String,
    pub project: String,
    pub expiration: String,
}

impl Gcp {
    /// What a metadata server answers with at `…/token` (Compute Engine, "Authenticate workloads directly", access token
    /// from the metadata server).
    pub(crate) fn metadata_json(&self, now: Timestamp) -> Result<Zeroizing<Vec<u8>>, Failure> {
        #[derive(Serialize)]
        struct Document<'a> {
            access_token: &'a str,
            expires_in: i64,
            token_type: &'a str,
        }
        let document =
            Document { access_token: &self.access_token, expires_in: self.expires_in(now), token_type: "Bearer" };
        json(&document)
    }

    /// All of it.
    pub(crate) fn document(&self) -> Result<Zeroizing<Vec<u8>>, Failure> {
        #[derive(Serialize)]
        struct Document<'a> {
            access_token: &'a str,
            token_type: &'a str,
            principal: &'a str,
            project: &'a str,
            expiration: &'a str,
        }
        json(&Document {
            access_token: &self.access_token,
            token_type: "Bearer",
            principal: &self.principal,
            project: &self.project,
            expiration: &self.expiration,
        })
    }

    /// Whole seconds until access ends.
    pub(crate) fn expires_in(&self, now: Timestamp) -> i64 {
        let until = self.expiration.parse::<Timestamp>().unwrap_or(now);
        until.as_second().saturating_sub(now.as_second()).max(0)
    }

    /// Environment variables: Terraform's google provider reads the first, gcloud the second. Google's libraries read no
    /// token from the environment.
    pub(crate) fn variables(&self) -> Vec<(Cow<'static, str>, &str)> {
        let tokens = [
            ("GOOGLE_OAUTH_ACCESS_TOKEN", self.access_token.as_str()),
            ("CLOUDSDK_AUTH_ACCESS_TOKEN", &self.access_token),
        ];
        tokens.into_iter().chain(self.context()).map(|(name, value)| (name.into(), value)).collect()
    }

    /// The project, as the libraries and gcloud name it.
    pub(crate) fn context(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [("GOOGLE_CLOUD_PROJECT", self.project.as_str()), ("CLOUDSDK_CORE_PROJECT", &self.project)]
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
    }
}
