//! What readers of a token of the daemon's own read: the token alone, or told as a program is told that starts a command for
//! it.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::exit::Failure;
use crate::secret::json;

/// A JSON Web Token for one audience. It has no `Debug`.
pub(crate) struct Token {
    pub token: Zeroizing<String>,
    pub audience: String,
    pub issuer: String,
    pub subject: String,
    pub expiration: String,
}

/// Whose token service an audience is, as far as it is one whose clients read a token from a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exchange {
    /// AWS Security Token Service.
    Aws,
    /// Microsoft Entra.
    Azure,
}

/// The type of token that Google's clients are told (RFC 8693, section 3), unless they ask for the other one.
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// The other one that is a JSON Web Token, too.
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";

impl Token {
    /// The token and nothing else, and a line break.
    pub(crate) fn line(&self) -> Zeroizing<Vec<u8>> {
        let mut line = Zeroizing::new(Vec::with_capacity(self.token.len().saturating_add(1)));
        line.extend_from_slice(self.token.as_bytes());
        line.push(b'\n');
        line
    }

    /// All of it.
    pub(crate) fn document(&self) -> Result<Zeroizing<Vec<u8>>, Failure> {
        #[derive(Serialize)]
        struct Document<'a> {
            token: &'a str,
            audience: &'a str,
            issuer: &'a str,
            subject: &'a str,
            expiration: &'a str,
        }
        json(&Document {
            token: &self.token,
            audience: &self.audience,
            issuer: &self.issuer,
            subject: &self.subject,
            expiration: &self.expiration,
        })
    }

    /// Environment variables, of a name that no client knows: a token in the environment is for scripts.
    pub(crate) fn variables(&self) -> Vec<(Cow<'static, str>, &str)> {
        let all = [
            ("GRANTD_TOKEN", self.token.as_str()),
            ("GRANTD_TOKEN_AUDIENCE", &self.audience),
            ("GRANTD_TOKEN_EXPIRATION", &self.expiration),
        ];
        all.into_iter().map(|(name, value)| (name.into(), value)).collect()
    }

    /// What Google's libraries read from a command (AIP-4117, "Determining the subject token in executable-sourced
    /// credentials"): version 1 of the answer, `asked` is the type of token that they want.
    pub(crate) fn executable_json(&self, asked: Option<&str>) -> Result<Zeroizing<Vec<u8>>, Failure> {
        #[derive(Serialize)]
        struct Answer<'a> {
            version: u32,
            success: bool,
            token_type: &'a str,
            id_token: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            expiration_time: Option<i64>,
        }
        let token_type = if asked == Some(ID_TOKEN) { ID_TOKEN } else { JWT };
        let expiration_time = self.expiration.parse::<Timestamp>().ok().map(Timestamp::as_second);
        let mut bytes =
            json(&Answer { version: 1, success: true, token_type, id_token: &self.token, expiration_time })?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Whose clients can exchange it when they find it in a file.
    pub(crate) fn exchange(&self) -> Option<Exchange> {
        let audience = self.audience.to_ascii_lowercase();
        if audience.starts_with("api://azureadtokenexchange") {
            return Some(Exchange::Azure);
        }
        let aws = audience == "sts.amazonaws.com" || audience.starts_with("sts.amazonaws.com.");
        aws.then_some(Exchange::Aws)
    }
}

/// The same answer when there is no token: the libraries show code and message to the person, if the command did not fail.
pub(crate) fn executable_refusal(code: u8, message: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    #[derive(Serialize)]
    struct Answer<'a> {
        version: u32,
        success: bool,
        code: String,
        message: &'a str,
    }
    let mut bytes = json(&Answer { version: 1, success: false, code: code.to_string(), message })?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn token(audience: &str) -> Token {
        Token {
            token: Zeroizing::new("a.b.c".to_owned()),
            audience: audience.to_owned(),
            issuer: "https://tokens".to_owned(),
            subject: "grantd:pipeline:deploy".to_owned(),
            expiration: "2026-11-22T09:05:00Z".to_owned(),
        }
    }

    #[test]
    fn a_command_answers_as_googles_libraries_read_it() {
        let told = |asked| -> Value { serde_json::from_slice(&token("x").executable_json(asked).unwrap()).unwrap() };
        assert_eq!(
            told(None),
            json!({ "version": 1, "success": true, "token_type": JWT, "id_token": "a.b.c", "expiration_time": 1_795_338_300 })
        );
        assert_eq!(told(Some(ID_TOKEN))["token_type"], ID_TOKEN);
        assert_eq!(told(Some("urn:ietf:params:oauth:token-type:saml2"))["token_type"], JWT);
        let refusal: Value = serde_json::from_slice(&executable_refusal(3, "no \"grant\"").unwrap()).unwrap();
        assert_eq!(refusal, json!({ "version": 1, "success": false, "code": "3", "message": "no \"grant\"" }));
    }

    #[test]
    fn clients_are_led_to_a_token_that_is_for_them_alone() {
        assert_eq!(token("sts.amazonaws.com").exchange(), Some(Exchange::Aws));
        assert_eq!(token("api://AzureADTokenExchange").exchange(), Some(Exchange::Azure));
        for other in ["https://billing.example.com", "sts.amazonaws.community", "//iam.googleapis.com/x", ""] {
            assert_eq!(token(other).exchange(), None, "{other}");
        }
    }
}
