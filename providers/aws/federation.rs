//! The daemon's own tokens as AWS takes them: `AssumeRoleWithWebIdentity`, so that no secret of AWS stands on the host. Pure
//! but for the mint.

use std::time::Duration;

use aws_sdk_sts::types::Tag;
use grantd_provider_api::{Assertion, Assertions, ProviderError, Secret};
use serde_json::{Map, Value, json};

use crate::config::{AccountConfig, WebIdentity};

/// The action.
pub(crate) const ACTION: &str = "sts:AssumeRoleWithWebIdentity";

/// How long a token lives. It goes to STS at once and nowhere else.
const TOKEN_LIFE: Duration = Duration::from_secs(60);

/// Session tags in a token (IAM User Guide, "Pass session tags in AWS STS").
const TAGS: &str = "https://aws.amazon.com/tags";

/// The source identity in a token (IAM User Guide, "Monitor and control actions taken with assumed roles").
const SOURCE_IDENTITY: &str = "https://aws.amazon.com/source_identity";

/// A token about `subject` that carries what the session is to carry: with this API, tags and source identity come from the
/// token alone.
pub(crate) fn token(
    assertions: &dyn Assertions,
    audience: &str,
    subject: &str,
    tags: &[Tag],
    source_identity: Option<&str>,
) -> Result<Secret, ProviderError> {
    let mut claims: Vec<(&str, Value)> = Vec::new();
    if !tags.is_empty() {
        let of = |tag: &Tag| (tag.key().to_owned(), json!([tag.value()]));
        let principal: Map<String, Value> = tags.iter().map(of).collect();
        let keys: Vec<&str> = tags.iter().map(Tag::key).collect();
        // What a session becomes through this one keeps them, and cannot change them.
        claims.push((TAGS, json!({ "principal_tags": principal, "transitive_tag_keys": keys })));
    }
    claims.extend(source_identity.map(|name| (SOURCE_IDENTITY, json!(name))));
    assertions.mint(&Assertion { audience, subject, lifetime: TOKEN_LIFE, claims: &claims })
}

/// The subject of the tokens by which the daemon becomes the revoker: a role that trusts one subject does not trust the other.
pub(crate) fn revoker_subject(web: &WebIdentity) -> String {
    format!("{}:revoker", web.subject)
}

/// What a trust policy calls the issuer: its URL without the scheme.
pub(crate) fn host(url: &str) -> &str {
    url.strip_prefix("https://").unwrap_or(url)
}

/// The identity provider of the issuer in an account (IAM User Guide, "IAM identifiers").
pub(crate) fn provider_arn(account: &AccountConfig, url: &str) -> String {
    format!("arn:{}:iam::{}:oidc-provider/{}", account.partition, account.id, host(url))
}

/// The statement by which a role trusts the tokens about one subject, for one audience, and no other.
pub(crate) fn trust(account: &AccountConfig, url: &str, web: &WebIdentity, subject: &str, more: &[&str]) -> Value {
    let actions: Vec<&str> = std::iter::once(ACTION).chain(more.iter().copied()).collect();
    let host = host(url);
    json!({
        "Effect": "Allow",
        "Principal": { "Federated": provider_arn(account, url) },
        "Action": actions,
        "Condition": { "StringEquals": {
            (format!("{host}:aud")): web.audience,
            (format!("{host}:sub")): subject,
        } },
    })
}
