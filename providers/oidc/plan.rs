//! From an entitlement to the token that it becomes. Pure: it names no lease and no time, so that approvers and the digest
//! see the same as the verifier.

use grantd_provider_api::{CapabilityMap, Cloud, Ending, Entitlement, ErrorKind, Plan, ProviderError};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::config::{AccountConfig, Taker};
use crate::map::{check_permission, taker_of};

/// What every token says (RFC 7519, section 4.1), and the one claim beyond that.
pub(crate) const CLAIMS: [&str; 8] = ["iss", "sub", "aud", "iat", "nbf", "exp", "jti", OURS];

/// The claim that holds what is grantd's to tell.
pub(crate) const OURS: &str = "grantd";

/// The native document of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Native {
    /// Whose token it is.
    pub issuer: String,
    /// For whom.
    pub audience: String,
    /// About whom, as a template: the kind and the configured name of whoever uses it are put in their places.
    pub subject: String,
    /// What it says.
    pub claims: Vec<String>,
    /// How long it lives at most.
    pub max_lifetime_seconds: u64,
    /// Whether whoever takes it gives something else for it.
    pub exchange: bool,
}

impl Native {
    /// The document of a plan that this adapter made.
    ///
    /// # Errors
    /// `Config` when it is none.
    pub fn of(plan: &Plan) -> Result<Self, ProviderError> {
        Self::deserialize(&plan.native).map_err(|_| {
            ProviderError::new(
                ErrorKind::Config,
                "the plan is not one that the oidc adapter made: ask again, so that it is planned anew",
            )
        })
    }

    /// The subject of whoever uses it.
    pub fn subject_of(&self, kind: &str, name: &str) -> String {
        self.subject.replace("{kind}", kind).replace("{name}", name)
    }
}

/// Computes the plan of `entitlement` in `account`, for tokens of `issuer`.
pub(crate) fn plan(
    account: &AccountConfig,
    issuer: &str,
    entitlement: &Entitlement,
    map: &CapabilityMap,
) -> Result<Plan, ProviderError> {
    let (capability, resource) = (&entitlement.capability, &entitlement.resource);
    let unsupported = |text: String| Err(ProviderError::new(ErrorKind::Unsupported, text));
    if resource.cloud != Cloud::Oidc {
        return unsupported(format!("{} is in {}, and no audience of tokens", resource.native, resource.cloud));
    }
    if resource.kind != capability.resource_type() {
        let (native, kind) = (&resource.native, &resource.kind);
        return unsupported(format!("{capability} does not apply to {native}, which is catalogued as {kind}"));
    }
    let Some(permission) = map.capability.get(capability) else {
        return unsupported(format!(
            "{capability} is not in the entitlement map of oidc: ask for one that is, or add it there"
        ));
    };
    check_permission(capability, permission)?;
    if entitlement.narrowing.prefix.is_some() {
        let text =
            format!("{capability} cannot be narrowed to a prefix: a token says for whom it is; ask without the prefix");
        return Err(ProviderError::new(ErrorKind::Invalid, text));
    }
    if !entitlement.narrowing.source_networks.is_empty() {
        return unsupported("a token does not say from where it may be used: ask without source networks".to_owned());
    }
    let asked = taker_of(capability).map_err(|why| ProviderError::new(ErrorKind::Unsupported, why))?;
    let audience = &resource.native;
    match (asked, account.audiences.get(audience)) {
        (_, None) => {
            return unsupported(format!(
                "account \"{}\" makes no tokens for {audience}: an administrator adds it to its audiences",
                account.name
            ));
        }
        (Taker::Service, Some(Taker::TokenService)) => {
            return unsupported(format!(
                "{audience} gives something else for a token: that is oidc-audience:exchange, not {capability}"
            ));
        }
        (Taker::TokenService, Some(Taker::Service)) => {
            return unsupported(format!(
                "{audience} is not among the exchange_audiences of account \"{}\": ask for oidc-audience:token",
                account.name
            ));
        }
        (Taker::Service, Some(Taker::Service)) | (Taker::TokenService, Some(Taker::TokenService)) => {}
    }
    let native = Native {
        issuer: issuer.to_owned(),
        audience: audience.clone(),
        subject: format!("{}:{{kind}}:{{name}}", account.prefix),
        claims: CLAIMS.map(str::to_owned).to_vec(),
        max_lifetime_seconds: account.max_lifetime.as_secs(),
        exchange: asked == Taker::TokenService,
    };
    Ok(Plan {
        cloud: Cloud::Oidc,
        account: account.name.clone(),
        targets: vec![issuer.to_owned()],
        words: words(&permission.summary, &native),
        native: json!(native),
        revocation: permission.revocation.clone(),
        persistence: permission.persistence,
        widens: permission.widens.clone(),
        ending: Ending::Verifier,
    })
}

fn words(summary: &str, native: &Native) -> Vec<String> {
    let mut words = vec![
        format!("{summary}: for {}", native.audience),
        format!(
            "a signed token (JWT) of {}, about {} with the kind and the name of whoever uses it",
            native.issuer, native.subject
        ),
        format!(
            "it tells its reader {}; {OURS} holds grant, lease, resource, subject and the task as the caller claims it",
            native.claims.join(", ")
        ),
        format!(
            "it lives {} s at most and cannot be taken back: if it is to end early it shows as expiring until its end, and \
             whoever verifies it allows for clocks that differ",
            native.max_lifetime_seconds
        ),
    ];
    if native.exchange {
        words.push(format!(
            "{} gives credentials of its own for it, as often as it is asked: grantd sees none of them, cannot take one back, \
             and they may outlive the lease",
            native.audience
        ));
    }
    words
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
