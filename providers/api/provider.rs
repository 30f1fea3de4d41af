//! The trait that each cloud implements.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    AccountNeeds, CapabilityMap, Cloud, Entitlement, Finding, LeaseId, Plan, ProviderError, ResourceRef, Secret, Trial,
};

/// One cloud's adapter.
///
/// The broker decides; a provider only does. It keeps no state that matters: every name is computed from the lease
/// id, every cloud-side document is rendered from what the caller passes in, and every method may be called again
/// after a crash.
#[async_trait]
pub trait Provider: fmt::Debug + Send + Sync {
    /// Which cloud this is.
    fn cloud(&self) -> Cloud;

    /// What differs between clouds, as data, for one configured account.
    ///
    /// # Errors
    /// `Config` when no such account is configured.
    fn capabilities(&self, account: &str) -> Result<Capabilities, ProviderError>;

    /// Looks over a whole map before a policy that holds it comes into force. Pure.
    ///
    /// # Errors
    /// `Config`, naming the capability and what is wrong with it.
    fn check_map(&self, map: &CapabilityMap) -> Result<(), ProviderError>;

    /// Computes the native grant. Pure.
    ///
    /// # Errors
    /// `Unsupported` when the entitlement cannot be expressed; `Config` when the account is not configured.
    fn plan(&self, entitlement: &Entitlement, map: &CapabilityMap) -> Result<Plan, ProviderError>;

    /// The targets of a plan that are still configured, each with the deny scope in which its sessions are revoked and
    /// the places that scope has.
    ///
    /// # Errors
    /// `Config` when the account is no longer configured.
    fn targets(&self, plan: &Plan) -> Result<Vec<Target>, ProviderError>;

    /// Every deny scope that is configured, whether or not it is in use. Where revocations are written to the resources
    /// themselves, those scopes come with the plans and are not among these.
    fn scopes(&self) -> Vec<DenyScope>;

    /// How many leases a deny scope has room for, live and revoked-unexpired together.
    ///
    /// # Errors
    /// `Config` when the scope is not configured.
    fn capacity(&self, scope: &DenyScope) -> Result<u32, ProviderError>;

    /// What the session of this lease will be, before anything exists: its cloud-side name and worst-case end.
    ///
    /// # Errors
    /// `Unsupported` when a documented limit would be broken, with the number that would be allowed.
    fn place(&self, request: &IssueRequest<'_>) -> Result<Placement, ProviderError>;

    /// Creates the session. Must be called only after the intent is on disk.
    ///
    /// # Errors
    /// Any; [`ProviderError::may_have_happened`] tells whether the session must be presumed to exist.
    async fn issue(&self, request: &IssueRequest<'_>) -> Result<Issued, ProviderError>;

    /// Makes the cloud refuse exactly `entries` in `scope` - the complete list, rendered from what the store said at
    /// `as_of` or later. Idempotent: one write for any number of revocations. Only the elected writer of the scope
    /// calls this.
    ///
    /// Entries that [may be collapsed](DenyForm::MayCollapse) can be refused by one rule for their whole identity, if
    /// that rule refuses no session that is not among them, nor any that is made after `as_of`, whatever the clocks:
    /// the receipt says which were. Those that [are collapsed](DenyForm::Collapsed) must be covered by such a rule.
    ///
    /// # Errors
    /// `Conflict` when another writer interfered; it must then be called again with a fresh list.
    async fn deny(
        &self,
        scope: &DenyScope,
        entries: &[DenyEntry],
        as_of: Timestamp,
    ) -> Result<RevokeReceipt, ProviderError>;

    /// Asks the cloud what it refuses in `scope`, for the given entries, in their order. "Forbidden" proves nothing
    /// and is an error, never a confirmation.
    ///
    /// # Errors
    /// Any.
    async fn confirm(&self, scope: &DenyScope, entries: &[DenyEntry]) -> Result<Vec<Confirmation>, ProviderError>;

    /// What stands in `scope` and bears grantd's mark, with the lease that it was made for. What bears no such mark is never
    /// told of.
    ///
    /// # Errors
    /// Any; then nothing is known.
    async fn marked(&self, scope: &DenyScope) -> Result<Vec<Mark>, ProviderError>;

    /// Removes what [`Provider::marked`] told of and no living lease owns. What is gone already is no error.
    ///
    /// # Errors
    /// Any; some may have been removed.
    async fn remove(&self, scope: &DenyScope, marks: &[Mark]) -> Result<(), ProviderError>;

    /// How each account is doing, for `status`.
    fn health(&self) -> Vec<AccountHealth>;

    /// What sets `accounts` up so that the daemon can serve them, and with no more rights than their needs: text for
    /// the cloud's usual tool. Pure: it asks and changes nothing.
    ///
    /// # Errors
    /// `Config` when an account is not configured or its base identity has to be named; `Unsupported` when the needs
    /// do not fit into one of the cloud's documented limits.
    fn bootstrap(&self, accounts: &[AccountNeeds]) -> Result<String, ProviderError>;

    /// Looks over what is there: whether the account is as configured, and as revocation needs it. Changes nothing;
    /// what may not be looked at is told as not checked. `resources` are those that the catalogue has in it.
    ///
    /// # Errors
    /// `Config` when no such account is configured.
    async fn examine(&self, account: &str, resources: &[ResourceRef]) -> Result<Vec<Finding>, ProviderError>;

    /// The native name of a read that sessions of `plan` may do, harms nobody and is refused once they are denied; none
    /// when there is no such read.
    fn harmless(&self, plan: &Plan) -> Option<String>;

    /// Whether the cloud lets a session of `plan` do that now.
    ///
    /// # Errors
    /// Any; the answer was neither, which proves nothing.
    async fn try_session(&self, plan: &Plan, credential: &Credential) -> Result<Trial, ProviderError>;
}

/// What an account can do, as data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// The shortest access that can be enforced to the second.
    pub min_ttl: Duration,
    /// The longest session.
    pub max_ttl: Duration,
    /// How long a revocation usually takes to be felt after the cloud accepted it.
    pub expected_propagation: Duration,
    /// How long it takes at worst.
    pub worst_propagation: Duration,
    /// How long after the token's expiry an entry stays in the deny scope.
    pub entry_grace: Duration,
    /// How long to gather revocations before one write.
    pub batch_window: Duration,
}

/// Where revocations of a set of sessions are written: on AWS one boundary policy, or one role's inline policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DenyScope {
    /// The cloud.
    pub cloud: Cloud,
    /// The configured account.
    pub account: String,
    /// The native name of the document.
    pub name: String,
}

impl fmt::Display for DenyScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.cloud, self.account, self.name)
    }
}

/// Something in the cloud that was made for a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The lease that its mark names.
    pub lease: LeaseId,
    /// Its native name.
    pub name: String,
}

/// A native identity that can carry sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its native name: a role ARN.
    pub name: String,
    /// Where its sessions are revoked.
    pub scope: DenyScope,
    /// How many leases that deny scope has room for, live and revoked-unexpired together; what is collapsed does not
    /// count, room for it is set aside.
    pub capacity: u32,
}

/// Everything that a session is made from.
#[derive(Debug, Clone)]
pub struct IssueRequest<'a> {
    /// The lease; cloud-side names are computed from it.
    pub lease: LeaseId,
    /// A readable word for the session name, ours and not the caller's: the subject's configured name.
    pub slug: &'a str,
    /// The plan.
    pub plan: &'a Plan,
    /// Which of the plan's targets.
    pub target: &'a str,
    /// Now.
    pub now: Timestamp,
    /// When access must end, to the second.
    pub access_until: Timestamp,
    /// Session tags, where configuration allows them: grant id, resource.
    pub tags: &'a [(String, String)],
    /// The source identity, where configuration allows it: the subject's name.
    pub source_identity: &'a str,
    /// For whom and what it is, for credentials that say so.
    pub bearer: Bearer<'a>,
}

/// For whom and what a session is. Never secret.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bearer<'a> {
    /// The grant it is taken under.
    pub grant: &'a str,
    /// The catalogue's name of the resource.
    pub resource: &'a str,
    /// What kind of subject uses it, e.g. `pipeline`.
    pub kind: &'a str,
    /// The subject's configured name.
    pub name: &'a str,
    /// The piece of work, as the caller claims it: parts by name. Nobody has proved it.
    pub task: &'a [(&'static str, &'a str)],
}

/// What is known of a session before it exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Its cloud-side name: the role session name.
    pub session_name: String,
    /// The latest moment at which its token can still be alive, if the call is made now.
    pub token_until: Timestamp,
}

/// A session that exists.
#[derive(Debug)]
pub struct Issued {
    /// The secret and its public parts.
    pub credential: Credential,
    /// When the cloud's token expires; access may end before that.
    pub token_until: Timestamp,
    /// The native name of the session, e.g. the assumed-role ARN.
    pub native_id: String,
    /// Where and when the cloud made it, if its answer tells.
    pub origin: Option<Origin>,
    /// Native facts worth keeping in audit, e.g. the packed policy size. Never secret.
    pub facts: Vec<(String, String)>,
    /// What the caller should know, e.g. that the access is not felt yet. Never secret.
    pub notes: Vec<String>,
}

/// Where and when the cloud made a session, by its own names and its own clock. Sessions of which both are known can be
/// refused together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The cloud's unique id of the identity that carries the session; never used again for another one.
    pub identity: String,
    /// When the cloud made the session, rounded down to what the cloud tells.
    pub issued_at: Timestamp,
}

/// A cloud credential, in memory only.
#[derive(Debug)]
pub enum Credential {
    /// An AWS session.
    Aws {
        /// Public by itself.
        access_key_id: String,
        /// Secret.
        secret_access_key: Secret,
        /// Secret.
        session_token: Secret,
        /// The account's region, for clients that name none.
        region: String,
    },
    /// Access tokens of a principal in Azure.
    Azure {
        /// The directory (tenant) that issued them.
        tenant: String,
        /// The principal's client (application) id.
        client_id: String,
        /// The subscription of the resource.
        subscription: String,
        /// One for each audience of the plan, in its order.
        tokens: Vec<AzureToken>,
    },
    /// An access token of Google Cloud.
    Gcp {
        /// Secret.
        access_token: Secret,
        /// Whose it is: `principal://...`, or a service account's address.
        principal: String,
        /// The project of the resource.
        project: String,
    },
    /// A token that the daemon itself signed.
    Token {
        /// Secret.
        token: Secret,
        /// For whom it is.
        audience: String,
        /// The issuer's URL.
        issuer: String,
        /// About whom it is.
        subject: String,
    },
}

/// An access token for one audience.
#[derive(Debug)]
pub struct AzureToken {
    /// For whom it is, e.g. `https://storage.azure.com`.
    pub audience: String,
    /// Secret.
    pub token: Secret,
}

/// One session that the cloud must refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DenyEntry {
    /// The lease.
    pub lease: LeaseId,
    /// The cloud-side name under which it was, or may have been, issued.
    pub session_name: String,
    /// The native identity that carries it.
    pub target: String,
    /// Where and when the cloud made it; `None` when that it was made at all is not certain.
    pub origin: Option<Origin>,
    /// How it is to be refused.
    pub form: DenyForm,
}

/// How a session is to be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenyForm {
    /// By its own name; it takes a place of its own.
    Single,
    /// By its own name, or by one rule together with others of its identity: at the moment of reading, nothing on its
    /// target was live or in the making.
    MayCollapse,
    /// By one rule together with others of its identity: the cloud took that rule once, and it takes no place of its
    /// own any more.
    Collapsed,
}

/// The cloud took a deny document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokeReceipt {
    /// The cloud's name of the version now in force, e.g. `v7`.
    pub version: String,
    /// Whether the cloud already held exactly this, so that nothing was written.
    pub unchanged: bool,
    /// The entries that might be collapsed, and are: they are refused by a rule for their identity now.
    pub collapsed: Vec<LeaseId>,
    /// When asking again may collapse more.
    pub collapse_at: Option<Timestamp>,
}

/// What the cloud says of one revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmation {
    /// The document in force refuses it.
    InForce,
    /// The document in force does not mention it (yet).
    Absent,
}

/// How one account is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountHealth {
    /// The cloud.
    pub cloud: Cloud,
    /// The configured account.
    pub account: String,
    /// The last error that has not been followed by a success.
    pub last_error: Option<String>,
}
