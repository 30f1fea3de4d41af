//! What Azure's clients read: tokens by audience, as managed identity endpoints answer.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::exit::Failure;
use crate::secret::json;

/// Access tokens of a principal. It has no `Debug`.
pub(crate) struct Azure {
    pub tenant: String,
    pub client_id: String,
    pub subscription: String,
    /// One for each audience; the first is for whoever names none.
    pub tokens: Vec<Token>,
    pub expiration: String,
}

/// A token for one audience. It has no `Debug`.
pub(crate) struct Token {
    pub audience: String,
    pub token: Zeroizing<String>,
}

impl Azure {
    /// The token for what a client names as resource or scope.
    ///
    /// # Errors
    /// What there is instead, for the person.
    pub(crate) fn token_for(&self, resource: &str) -> Result<&Token, String> {
        let wanted = audience(resource);
        self.tokens.iter().find(|token| audience(&token.audience) == wanted).ok_or_else(|| {
            let has: Vec<&str> = self.tokens.iter().map(|token| token.audience.as_str()).collect();
            let has = if has.is_empty() { "none".to_owned() } else { has.join(", ") };
            format!(
                "the lease has no token for the audience {resource}: it has {has}; request a grant on that resource"
            )
        })
    }

    /// What a managed identity endpoint answers with. App Service's reads `expires_on`, the virtual machine's `expires_in`;
    /// the numbers are text ("How to use managed identities for App Service", REST endpoint reference; "Use managed
    /// identities on a virtual machine to acquire an access token", response).
    pub(crate) fn identity_json(
        &self,
        token: &Token,
        resource: &str,
        now: Timestamp,
    ) -> Result<Zeroizing<Vec<u8>>, Failure> {
        #[derive(Serialize)]
        struct Document<'a> {
            access_token: &'a str,
            client_id: &'a str,
            expires_in: String,
            expires_on: String,
            not_before: String,
            resource: &'a str,
            token_type: &'a str,
        }
        let until = self.expiration.parse::<Timestamp>().unwrap_or(now);
        json(&Document {
            access_token: &token.token,
            client_id: &self.client_id,
            expires_in: until.as_second().saturating_sub(now.as_second()).max(0).to_string(),
            expires_on: until.as_second().to_string(),
            not_before: now.as_second().to_string(),
            resource,
            token_type: "Bearer",
        })
    }

    /// All of it.
    pub(crate) fn document(&self) -> Result<Zeroizing<Vec<u8>>, Failure> {
        #[derive(Serialize)]
        struct Document<'a> {
            tenant: &'a str,
            client_id: &'a str,
            subscription: &'a str,
            tokens: Vec<One<'a>>,
            expiration: &'a str,
        }
        #[derive(Serialize)]
        struct One<'a> {
            audience: &'a str,
            token: &'a str,
        }
        let tokens = self.tokens.iter().map(|one| One { audience: &one.audience, token: &one.token }).collect();
        json(&Document {
            tenant: &self.tenant,
            client_id: &self.client_id,
            subscription: &self.subscription,
            tokens,
            expiration: &self.expiration,
        })
    }

    /// Environment variables. Azure's clients read who and where from them, and no token: those are for scripts, the first
    /// under a plain name, each under that of its audience too.
    pub(crate) fn variables(&self) -> Vec<(Cow<'static, str>, &str)> {
        let mut variables: Vec<(Cow<'static, str>, &str)> =
            self.context().map(|(name, value)| (name.into(), value)).collect();
        if let Some(first) = self.tokens.first() {
            variables.push(("AZURE_ACCESS_TOKEN".into(), &first.token));
        }
        for one in &self.tokens {
            variables.push((format!("AZURE_ACCESS_TOKEN_{}", shouted(&one.audience)).into(), &one.token));
        }
        variables.push(("AZURE_ACCESS_TOKEN_EXPIRATION".into(), &self.expiration));
        variables
    }

    /// Who and where, as the SDKs (`AZURE_`) and Terraform's azurerm (`ARM_`) name it. Nothing of it is secret.
    pub(crate) fn context(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("AZURE_TENANT_ID", self.tenant.as_str()),
            ("AZURE_CLIENT_ID", &self.client_id),
            ("AZURE_SUBSCRIPTION_ID", &self.subscription),
            ("ARM_TENANT_ID", &self.tenant),
            ("ARM_CLIENT_ID", &self.client_id),
            ("ARM_SUBSCRIPTION_ID", &self.subscription),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
    }
}

/// An audience without what clients write differently: a scope's `/.default`, a slash at the end, the case of an address,
/// and the older of the two names of Azure Resource Manager, which the Azure CLI asks for and either token of which it
/// takes. Application ids are kept apart from addresses: `api://ID` is not `ID`.
fn audience(text: &str) -> String {
    let text = text.strip_suffix("/.default").unwrap_or(text);
    match text.trim_end_matches('/').to_ascii_lowercase() {
        old if old == "https://management.core.windows.net" => "https://management.azure.com".to_owned(),
        other => other,
    }
}

/// `https://storage.azure.com` as `STORAGE_AZURE_COM`.
fn shouted(audience: &str) -> String {
    let name = audience.split_once("://").map_or(audience, |(_, rest)| rest).trim_matches('/');
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

#[cfg(test)]
#[path = "azure_tests.rs"]
mod tests;
