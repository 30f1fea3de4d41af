//! What stands in the file: a credential in the form that its cloud's clients read. Pure.

use zeroize::Zeroizing;

use super::args::AgentFormat;
use crate::exit::{Exit, Failure};
use crate::secret::{Cloud, OtherCloud, Secret};

/// The form that was asked for.
#[derive(Debug, Clone)]
pub(super) struct Form {
    /// Which.
    pub format: AgentFormat,
    /// For Azure: whose token, where there are several.
    pub audience: Option<String>,
}

impl Form {
    /// A credential in this form.
    ///
    /// # Errors
    /// The credential is another cloud's, or has no token for that audience; `grant` is what it was taken under.
    pub(super) fn of(&self, secret: &Secret, grant: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let other = |wanted| {
            let words = format!("agent --format {}", self.format.name());
            Err(OtherCloud { is: secret.cloud(), wanted }.failure(grant, &words))
        };
        let bytes = |token: &str| Ok(Zeroizing::new(token.as_bytes().to_vec()));
        match (self.format, secret) {
            (AgentFormat::Json, any) => any.document(),
            (AgentFormat::Aws, Secret::Aws(aws)) => Ok(aws.credentials_file()),
            (AgentFormat::GcpAccessToken, Secret::Gcp(gcp)) => bytes(&gcp.access_token),
            (AgentFormat::Token, Secret::Token(token)) => bytes(&token.token),
            (AgentFormat::AzureToken, Secret::Azure(azure)) => match (&self.audience, azure.tokens.as_slice()) {
                (Some(audience), _) => match azure.token_for(audience) {
                    Ok(found) => bytes(&found.token),
                    Err(why) => Err(Failure::new(Exit::Usage, why)),
                },
                (None, [only]) => bytes(&only.token),
                (None, tokens) => {
                    let audiences: Vec<&str> = tokens.iter().map(|token| token.audience.as_str()).collect();
                    let line = format!("say with --audience which token is wanted: {}", audiences.join(", "));
                    Err(Failure::new(Exit::Usage, line))
                }
            },
            (AgentFormat::Aws, _) => other(Cloud::Aws),
            (AgentFormat::GcpAccessToken, _) => other(Cloud::Gcp),
            (AgentFormat::AzureToken, _) => other(Cloud::Azure),
            (AgentFormat::Token, _) => other(Cloud::Oidc),
        }
    }
}

#[cfg(test)]
mod tests {
    use grantd_wire::CredentialBody;
    use serde_json::json;

    use super::*;

    fn secret(body: serde_json::Value) -> Secret {
        Secret::from(serde_json::from_value::<CredentialBody>(body).unwrap())
    }

    fn each() -> [Secret; 4] {
        let until = "2026-11-22T09:15:00Z";
        [
            json!({ "type": "aws", "access_key_id": "ASIA", "secret_access_key": "s3cret", "session_token": "t0ken",
                    "expiration": until }),
            json!({ "type": "azure", "tenant": "t", "client_id": "c", "subscription": "s", "expiration": until,
                    "tokens": [{ "audience": "https://vault.azure.net", "token": "vault-token" },
                               { "audience": "https://storage.azure.com", "token": "storage-token" }] }),
            json!({ "type": "gcp", "access_token": "ya29.token", "principal": "p", "project": "x", "expiration": until }),
            json!({ "type": "token", "token": "a.b.c", "audience": "https://billing", "issuer": "https://tokens",
                    "subject": "grantd:pipeline:deploy", "expiration": until }),
        ]
        .map(secret)
    }

    fn form(format: AgentFormat, audience: Option<&str>) -> Form {
        Form { format, audience: audience.map(str::to_owned) }
    }

    fn text(form: &Form, secret: &Secret) -> Result<String, String> {
        let bytes = form.of(secret, "grant-aaaa").map_err(|failure| failure.line().unwrap_or_default().to_owned())?;
        Ok(String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[test]
    fn a_file_is_for_its_own_clouds_clients_and_json_for_any() {
        let [aws, azure, gcp, token] = each();
        let ini = "[default]\naws_access_key_id = ASIA\naws_secret_access_key = s3cret\naws_session_token = t0ken\n";
        assert_eq!(text(&form(AgentFormat::Aws, None), &aws).as_deref(), Ok(ini));
        assert_eq!(text(&form(AgentFormat::GcpAccessToken, None), &gcp).as_deref(), Ok("ya29.token"));
        assert_eq!(text(&form(AgentFormat::Token, None), &token).as_deref(), Ok("a.b.c"));
        let storage = form(AgentFormat::AzureToken, Some("https://storage.azure.com/"));
        assert_eq!(text(&storage, &azure).as_deref(), Ok("storage-token"));
        let said = text(&form(AgentFormat::AzureToken, None), &azure).unwrap_err();
        assert!(said.contains("--audience") && said.contains("https://vault.azure.net"), "{said}");
        for secret in [&aws, &azure, &gcp, &token] {
            assert!(text(&form(AgentFormat::Json, None), secret).unwrap().ends_with("}\n"));
        }
        for (format, others) in [
            (AgentFormat::Aws, [&azure, &gcp, &token]),
            (AgentFormat::AzureToken, [&aws, &gcp, &token]),
            (AgentFormat::GcpAccessToken, [&aws, &azure, &token]),
            (AgentFormat::Token, [&aws, &azure, &gcp]),
        ] {
            for other in others {
                let said = text(&form(format, None), other).unwrap_err();
                assert!(said.contains("grant-aaaa is for") && said.contains(format.name()), "{said}");
            }
        }
    }
}
