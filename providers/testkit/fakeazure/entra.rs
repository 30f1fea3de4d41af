//! Tokens: the client credentials flow with a client assertion, and the documents that clients look at before it
//! (Microsoft identity platform, "Use the OAuth 2.0 client credentials flow"; RFC 7523).

use std::collections::BTreeMap;

use hyper::StatusCode;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Value, json};

use super::{Fake, FakeApplication};
use crate::query::parse_form;
use crate::serve::Reply;

/// For whom Entra's tokens can be in the tenant.
const AUDIENCES: [&str; 6] = [
    "https://management.azure.com",
    "https://management.core.windows.net",
    "https://storage.azure.com",
    "https://vault.azure.net",
    "https://database.windows.net",
    super::cluster::SERVER,
];

/// What an assertion has to be for (Microsoft Entra workload ID).
const EXCHANGE: &str = "api://AzureADTokenExchange";

/// A refusal: status, Entra's own number, OAuth's word, and words.
struct Refusal(u16, u32, &'static str, String);

type Form = BTreeMap<String, String>;

impl Fake {
    /// What MSAL reads first.
    pub(super) fn openid_configuration(&self, tenant: &str) -> Reply {
        let base = self.base_url();
        answer(
            200,
            &json!({
                "token_endpoint": format!("{base}/{tenant}/oauth2/v2.0/token"),
                "authorization_endpoint": format!("{base}/{tenant}/oauth2/v2.0/authorize"),
                "jwks_uri": format!("{base}/{tenant}/discovery/v2.0/keys"),
                "issuer": format!("{base}/{tenant}/v2.0"),
                "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
                "response_types_supported": ["code", "id_token"],
                "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }),
        )
    }

    /// `POST /{tenant}/oauth2/v2.0/token`.
    pub(super) fn token(&self, tenant: &str, body: &[u8]) -> Reply {
        match self.grant(tenant, &parse_form(body)) {
            Ok(token) => answer(200, &token),
            Err(Refusal(status, code, error, text)) => answer(
                status,
                &json!({
                    "error": error,
                    "error_description": format!(
                        "AADSTS{code}: {text} Trace ID: 0 Correlation ID: 0 Timestamp: 2026-01-01 00:00:00Z"
                    ),
                    "error_codes": [code],
                    "timestamp": "2026-01-01 00:00:00Z",
                    "trace_id": "00000000-0000-0000-0000-000000000000",
                    "correlation_id": "00000000-0000-0000-0000-000000000000",
                }),
            ),
        }
    }

    fn grant(&self, tenant: &str, form: &Form) -> Result<Value, Refusal> {
        let settings = &self.settings;
        if tenant != settings.tenant.to_string() {
            return Err(Refusal(400, 90_002, "invalid_request", format!("Tenant '{tenant}' not found.")));
        }
        let field = |name: &str| {
            let missing = || {
                let text = format!("The request body must contain the following parameter: '{name}'.");
                Refusal(400, 900_144, "invalid_request", text)
            };
            form.get(name).filter(|value| !value.is_empty()).cloned().ok_or_else(missing)
        };
        if field("grant_type")? != "client_credentials" {
            return Err(Refusal(400, 70_003, "unsupported_grant_type", "The grant type is not supported.".to_owned()));
        }
        let client = field("client_id")?;
        let application = settings.applications.iter().find(|one| one.client_id.to_string() == client);
        let application = application.ok_or_else(|| {
            let text = format!("Application with identifier '{client}' was not found in the directory.");
            Refusal(400, 700_016, "unauthorized_client", text)
        })?;
        if field("client_assertion_type")? != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
            return Err(Refusal(400, 50_027, "invalid_request", "The assertion type is not known.".to_owned()));
        }
        self.check_assertion(application, &field("client_assertion")?)?;
        let scope = field("scope")?;
        let audience = scope.strip_suffix("/.default").ok_or_else(|| {
            let text = "Client credential flows must have a scope value with /.default suffixed.".to_owned();
            Refusal(400, 1_002_012, "invalid_scope", text)
        })?;
        let base = self.base_url();
        let known = AUDIENCES.contains(&audience.trim_end_matches('/')) || audience == base;
        if !known {
            let text = format!("The resource principal named {audience} was not found in the tenant.");
            return Err(Refusal(400, 500_011, "invalid_resource", text));
        }
        let lives = self.token_lifetime();
        let now = self.now();
        let claims = json!({
            "aud": audience, "iss": format!("https://sts.windows.net/{tenant}/"), "iat": now, "nbf": now,
            "exp": now.saturating_add(lives), "appid": application.client_id, "oid": self.oid_of(application),
            "tid": settings.tenant, "sub": application.object_id, "idtyp": "app", "ver": "1.0",
        });
        let token = self.signer.sign(&claims);
        Ok(json!({ "token_type": "Bearer", "expires_in": lives, "ext_expires_in": lives, "access_token": token }))
    }

    /// The assertion against the federated credentials of the application.
    fn check_assertion(&self, application: &FakeApplication, assertion: &str) -> Result<(), Refusal> {
        let refuse = |code: u32, text: &str| Err(Refusal(401, code, "invalid_client", text.to_owned()));
        let Some(claims) = payload(assertion) else {
            return refuse(50_027, "JWT token is invalid or malformed.");
        };
        let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
        let (issuer, subject) = (text("iss"), text("sub"));
        // Exactly one, and as text: no list.
        if text("aud") != EXCHANGE {
            return refuse(700_212, "No matching federated identity record found for presented assertion audience.");
        }
        let federated = self.state().federated.get(&application.client_id).cloned().unwrap_or_default();
        let trusted: Vec<_> = federated.iter().filter(|one| one.issuer == issuer).collect();
        if trusted.is_empty() {
            return refuse(700_211, "No matching federated identity record found for presented assertion issuer.");
        }
        if !trusted.iter().any(|one| one.subject == subject) {
            return refuse(700_213, "No matching federated identity record found for presented assertion subject.");
        }
        let keys: Option<JwkSet> = self.state().key_set(issuer).and_then(|keys| serde_json::from_value(keys).ok());
        let header = decode_header(assertion).ok();
        let key = keys.zip(header.as_ref()).and_then(|(keys, header)| {
            let key = keys.keys.iter().find(|key| key.common.key_id == header.kid)?;
            DecodingKey::from_jwk(key).ok()
        });
        let Some(key) = key else {
            return refuse(5_000_611, "The key was not found in the issuer's key set.");
        };
        let algorithm = header.map_or(Algorithm::RS256, |header| header.alg);
        let mut validation = Validation::new(algorithm);
        (validation.validate_exp, validation.validate_aud, validation.validate_nbf) = (false, false, false);
        validation.required_spec_claims.clear();
        if !matches!(algorithm, Algorithm::RS256 | Algorithm::ES256)
            || decode::<Value>(assertion, &key, &validation).is_err()
        {
            return refuse(50_013, "Assertion failed signature validation.");
        }
        let number = |name: &str| claims.get(name).and_then(Value::as_i64);
        let now = self.now();
        // Five minutes, which is how far clocks may be apart.
        let valid = number("exp").is_some_and(|exp| now < exp.saturating_add(300))
            && number("nbf").is_none_or(|nbf| nbf <= now.saturating_add(300));
        if !valid {
            return refuse(700_024, "Client assertion is not within its valid time range.");
        }
        Ok(())
    }

    /// The principal of an access token for one of `audiences`, or why there is none.
    pub(super) fn principal(
        &self,
        authorization: Option<&str>,
        audiences: &[&str],
    ) -> Result<uuid::Uuid, &'static str> {
        let token = authorization.and_then(|value| value.strip_prefix("Bearer ")).ok_or("MissingToken")?;
        let claims = payload(token).ok_or("Malformed")?;
        if self.signer.sign_check(token).is_err() {
            return Err("SignatureInvalid");
        }
        let audience = claims.get("aud").and_then(Value::as_str).unwrap_or_default().trim_end_matches('/');
        if !audiences.contains(&audience) {
            return Err("AudienceInvalid");
        }
        if claims.get("exp").and_then(Value::as_i64).is_none_or(|exp| exp <= self.now()) {
            return Err("Expired");
        }
        let oid = claims.get("oid").and_then(Value::as_str).and_then(|oid| uuid::Uuid::try_parse(oid).ok());
        oid.ok_or("NoPrincipal")
    }
}

/// The claims of a JWT, unchecked.
fn payload(token: &str) -> Option<Value> {
    let middle = token.split('.').nth(1)?;
    serde_json::from_slice(&data_encoding::BASE64URL_NOPAD.decode(middle.as_bytes()).ok()?).ok()
}

/// An answer in JSON.
pub(super) fn answer(status: u16, body: &Value) -> Reply {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Reply::of(status, "application/json; charset=utf-8", body.to_string())
}
