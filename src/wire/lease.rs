//! Leases and credentials on the wire.

use std::fmt;

use serde::{Deserialize, Serialize};

/// `POST /v1/leases`: take a credential under a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vend {
    /// The grant's id, or `auto` for the caller's one matching active grant.
    pub grant: String,
    /// How long access is wanted, in seconds; the daemon's default when left out. Asking for more than is allowed is
    /// refused with the number that would be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
    /// What ends the lease before that.
    #[serde(default)]
    pub anchor: AnchorChoice,
    /// With `auto`: only grants on this resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
}

/// What is to end a lease early.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnchorChoice {
    /// The registered ancestor of the caller if there is one, else nothing but the TTL; the reply says which.
    #[default]
    Auto,
    /// As `auto`, but without a registered ancestor the lease may be handed again to other children of the caller's
    /// parent: for helpers that a client starts anew at each use.
    Parent,
    /// The calling process itself.
    Caller,
    /// This connection: the reply is a stream that stays open ([`NDJSON`](crate::NDJSON)).
    Connection,
}

/// A lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseView {
    /// Its name.
    pub id: String,
    /// The grant it was taken under.
    pub grant: String,
    /// `issuing`, `active`, `revoking`, `revoked`, `expiring`, `expired`, `failed` or `revoke_failed`.
    pub state: String,
    /// Why it ended or is to end early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// More about that: the rule of a new policy, or what somebody said who took it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// `requested`, `accepted` or `confirmed`, once it is to end early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation: Option<String>,
    /// The latest moment at which it may still be able to do something, if it may at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst_case_until: Option<String>,
    /// When it was asked for.
    pub created_at: String,
    /// When access ends at the latest.
    pub access_until: String,
    /// What ends it: `process`, `connection` or `unwatched`.
    pub anchor: String,
    /// The pid behind the anchor.
    pub anchor_pid: i32,
    /// Who uses it.
    pub subject: String,
    /// The native identity that carries it.
    pub target: String,
    /// Its cloud-side name.
    pub session_name: String,
    /// What the cloud said last, if it did not take a revocation or refused to issue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The answer to [`Vend`].
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vended {
    /// The lease.
    pub lease: LeaseView,
    /// Whether it is a live lease handed out again.
    pub reused: bool,
    /// What the caller should know, e.g. that nothing but the TTL ends the lease.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The secret.
    pub credential: CredentialBody,
}

/// A credential. `Debug` redacts it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CredentialBody {
    /// An AWS session.
    Aws {
        /// Public by itself.
        access_key_id: String,
        /// Secret.
        secret_access_key: String,
        /// Secret.
        session_token: String,
        /// When access ends (RFC 3339): what a client is to be told as expiration.
        expiration: String,
        /// The region to use, if the account has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        region: Option<String>,
    },
    /// Access tokens of a principal in Azure.
    Azure {
        /// The directory (tenant) that issued them.
        tenant: String,
        /// The principal's client (application) id.
        client_id: String,
        /// The subscription of the resource.
        subscription: String,
        /// One for each audience; the first is the one for whoever does not name any.
        tokens: Vec<AzureTokenBody>,
        /// When access ends (RFC 3339): what a client is to be told as expiration.
        expiration: String,
    },
    /// An access token of Google Cloud.
    Gcp {
        /// Secret.
        access_token: String,
        /// Whose it is: `principal://...`, or a service account's address.
        principal: String,
        /// The project of the resource.
        project: String,
        /// When access ends (RFC 3339): what a client is to be told as expiration.
        expiration: String,
    },
    /// A JSON Web Token (RFC 7519) that the daemon itself signed.
    Token {
        /// Secret.
        token: String,
        /// For whom it is: its claim `aud`.
        audience: String,
        /// The issuer's URL: its claim `iss`.
        issuer: String,
        /// About whom it is: its claim `sub`.
        subject: String,
        /// When it ends (RFC 3339): its claim `exp`. Nobody can take it back before that.
        expiration: String,
    },
}

/// An access token for one audience. `Debug` redacts it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AzureTokenBody {
    /// For whom it is, e.g. `https://storage.azure.com`.
    pub audience: String,
    /// Secret.
    pub token: String,
}

impl fmt::Debug for AzureTokenBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureTokenBody").field("audience", &self.audience).finish_non_exhaustive()
    }
}

impl fmt::Debug for CredentialBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aws { access_key_id, expiration, .. } => f
                .debug_struct("Aws")
                .field("access_key_id", access_key_id)
                .field("expiration", expiration)
                .finish_non_exhaustive(),
            Self::Azure { client_id, tokens, expiration, .. } => f
                .debug_struct("Azure")
                .field("client_id", client_id)
                .field("tokens", tokens)
                .field("expiration", expiration)
                .finish_non_exhaustive(),
            Self::Gcp { principal, expiration, .. } => f
                .debug_struct("Gcp")
                .field("principal", principal)
                .field("expiration", expiration)
                .finish_non_exhaustive(),
            Self::Token { audience, issuer, subject, expiration, .. } => f
                .debug_struct("Token")
                .field("audience", audience)
                .field("issuer", issuer)
                .field("subject", subject)
                .field("expiration", expiration)
                .finish_non_exhaustive(),
        }
    }
}

/// The lines after the first of a held vend's stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum HoldEvent {
    /// The lease ended.
    Ended {
        /// Why.
        reason: String,
    },
}

/// `GET /v1/leases`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseQuery {
    /// Only those of this grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// Ended ones too.
    #[serde(default)]
    pub ended: bool,
    /// Those of everybody; for administrators and auditors.
    #[serde(default)]
    pub all: bool,
    /// At most this many, newest first; 100 when left out, 1000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Some leases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseList {
    /// Newest first.
    pub leases: Vec<LeaseView>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p9_debug_of_tokens_redacts() {
        let expiration = "2030-01-01T00:00:00Z".to_owned();
        let azure = CredentialBody::Azure {
            tenant: "t".to_owned(),
            client_id: "slot-1".to_owned(),
            subscription: "s".to_owned(),
            tokens: vec![AzureTokenBody { audience: "https://vault".to_owned(), token: "t0k3n".to_owned() }],
            expiration: expiration.clone(),
        };
        let gcp = CredentialBody::Gcp {
            access_token: "t0k3n".to_owned(),
            principal: "principal://p".to_owned(),
            project: "p".to_owned(),
            expiration: expiration.clone(),
        };
        let token = CredentialBody::Token {
            token: "t0k3n".to_owned(),
            audience: "https://billing".to_owned(),
            issuer: "https://tokens".to_owned(),
            subject: "grantd:pipeline:deploy".to_owned(),
            expiration,
        };
        let shown = format!("{azure:?} {gcp:?} {token:?}");
        for there in ["slot-1", "https://vault", "principal://p", "https://billing", "grantd:pipeline:deploy"] {
            assert!(shown.contains(there), "{shown}");
        }
        assert!(!shown.contains("t0k3n"), "{shown}");
    }

    #[test]
    fn p9_debug_of_a_credential_redacts() {
        let body = CredentialBody::Aws {
            access_key_id: "ASIAX".to_owned(),
            secret_access_key: "s3cr3t".to_owned(),
            session_token: "t0k3n".to_owned(),
            expiration: "2030-01-01T00:00:00Z".to_owned(),
            region: None,
        };
        let shown = format!("{body:?}");
        assert!(shown.contains("ASIAX") && !shown.contains("s3cr3t") && !shown.contains("t0k3n"), "{shown}");
    }

    #[test]
    fn unknown_members_of_a_request_are_refused() {
        let error = serde_json::from_str::<Vend>(r#"{"grant":"g","admin":true}"#).unwrap_err().to_string();
        assert!(error.contains("admin"), "{error}");
    }
}
