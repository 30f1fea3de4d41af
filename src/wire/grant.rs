//! Requests and grants on the wire.

use serde::{Deserialize, Serialize};

use crate::{GlassView, ImportedView};

/// `POST /v1/grants`: ask for a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantCreate {
    /// The catalogue's name of the resource.
    pub resource: String,
    /// The capability, e.g. `object-storage:read`.
    pub capability: String,
    /// Less than the whole resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub narrowing: Option<NarrowingBody>,
    /// Why, in a sentence.
    pub justification: String,
    /// The ticket it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// How long, in seconds; each time, where it recurs.
    pub duration_seconds: u64,
    /// How often it is to open, if more than once: for pipelines and services, where policy lets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recurrence: Option<RecurrenceBody>,
    /// Not before this moment (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// The configured name of who will use it; the caller itself when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The piece of work it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskBody>,
}

/// How often a grant opens. The first time is its activation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecurrenceBody {
    /// From the start of one time to the start of the next, in seconds.
    pub every_seconds: u64,
    /// How many times in all.
    pub times: u32,
}

/// Where a grant that recurs stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OccurrenceView {
    /// Whether it can be used now.
    pub open: bool,
    /// Until when it can, or when it opens again.
    pub at: String,
}

/// Less than the whole resource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NarrowingBody {
    /// Only keys that start with this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Only from these networks (CIDR).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_networks: Vec<String>,
}

/// A piece of work, as the caller claims it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskBody {
    /// The system that runs it.
    pub system: String,
    /// Its run.
    pub run: String,
    /// Which attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<String>,
    /// Which job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
}

/// Who.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectView {
    /// `human`, `service`, `agent` or `pipeline`.
    pub kind: String,
    /// Who vouches for the id.
    pub issuer: String,
    /// The id.
    pub id: String,
    /// The configured name.
    pub name: String,
}

/// What a grant is in the cloud.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanView {
    /// The cloud.
    pub cloud: String,
    /// The configured account.
    pub account: String,
    /// The native identities that may carry it.
    pub targets: Vec<String>,
    /// In words.
    pub words: Vec<String>,
    /// The native document.
    pub native: serde_json::Value,
    /// How it can be taken back.
    pub revocation: String,
    /// What may outlive it: `none` or `can_create`.
    pub persistence: String,
    /// What the cloud cannot express narrowly.
    pub widens: Vec<String>,
    /// How late access may be felt after its time, in seconds, where grantd takes it away; left out where the cloud ends it
    /// itself, to the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlives_seconds: Option<u64>,
}

/// A grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantView {
    /// Its name.
    pub id: String,
    /// `pending`, `scheduled`, `active`, `ended`, `denied`, `cancelled`, `lapsed` or `revoked`.
    pub state: String,
    /// Why it is over, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was requested.
    pub created_at: String,
    /// Since when it may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_since: Option<String>,
    /// Until when it may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_until: Option<String>,
    /// The catalogue's name of the resource.
    pub resource: String,
    /// How sensitive it is.
    pub tier: String,
    /// The capability.
    pub capability: String,
    /// Less than the whole resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub narrowing: Option<NarrowingBody>,
    /// Why.
    pub justification: String,
    /// The ticket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// How long, in seconds; each time, where it recurs.
    pub duration_seconds: u64,
    /// How often it opens, if more than once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recurrence: Option<RecurrenceBody>,
    /// The occurrence that is open or comes next, if it recurs and is active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurrence: Option<OccurrenceView>,
    /// Who uses it.
    pub subject: SubjectView,
    /// Who asked.
    pub requested_by: SubjectView,
    /// The piece of work, as claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskBody>,
    /// What it is in the cloud.
    pub plan: PlanView,
    /// The digest of everything asked and planned.
    pub digest: String,
    /// The policy under which it was decided.
    pub policy_version: String,
    /// The longest TTL of one lease, in seconds, if policy sets one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ttl_seconds: Option<u64>,
    /// How many tasks may use it in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_uses: Option<u32>,
    /// How many tasks may hold a lease at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<u32>,
    /// How many tasks have used it.
    pub uses: u64,
    /// The approval it needs and has, where policy asks for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalView>,
    /// What makes it a use of break-glass, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<GlassView>,
    /// Its extensions, oldest first; the one that waits for approval is the last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<ExtensionView>,
    /// The document that it came in, where it was approved on another installation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<ImportedView>,
}

/// The way to the decision on a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalView {
    /// What is needed, one member for each capacity; all of them must be met.
    pub quorum: Vec<QuorumView>,
    /// What was given, oldest first.
    pub given: Vec<GivenApprovalView>,
    /// When the request lapses without it, while it is pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lapses_at: Option<String>,
    /// Why it would not be given today whoever approved it, while it is pending: the plan changed, policy says no now, or
    /// too few people can approve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<String>,
    /// Whether stewards are asked in the owner's place, where policy lets them be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalation: Option<EscalationView>,
    /// Whether only approvals count that were signed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub signed: bool,
}

/// Asking the stewards when no owner answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EscalationView {
    /// `due`, `asked` or `not_asked`.
    pub state: String,
    /// When it is due, or when it was decided.
    pub at: String,
    /// The stewards who were asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stewards: Vec<String>,
    /// Why nobody was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// More time for an active grant, beside which the grant goes on as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtensionView {
    /// `pending`, `granted`, `denied`, `cancelled` or `lapsed`.
    pub state: String,
    /// When it was asked for.
    pub asked_at: String,
    /// Who asked.
    pub asked_by: SubjectView,
    /// Why it was asked for.
    pub justification: String,
    /// The new end.
    pub until: String,
    /// Covers the grant's digest, the new end, who asked and why: what an approval of it is bound to.
    pub digest: String,
    /// Why it was not given, where an approver said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The approval it needs and has.
    pub approval: ApprovalView,
}

/// `POST /v1/grants/{id}/extend`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtendRequest {
    /// How much longer than its present end, in seconds.
    pub duration_seconds: u64,
    /// Why.
    pub reason: String,
}

/// How many people must approve in one capacity, and who could.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuorumView {
    /// `owner`, `security`, `steward` or `delegated_admin`.
    pub capacity: String,
    /// How many are needed.
    pub needed: u32,
    /// How many count today.
    pub given: u32,
    /// The people who can still approve in it: those of the requester set and those who did are left out. Who would speak
    /// for an absent person is written `dora for bruno`.
    pub can_approve: Vec<String>,
}

/// One person's approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenApprovalView {
    /// The person.
    pub person: String,
    /// The identity that acted, as `issuer:id`.
    pub identity: String,
    /// In which capacity.
    pub capacity: String,
    /// The other capacities in which it counts where it is needed there instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// The absent person for whom it was given; it is that person's one voice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<String>,
    /// By which delegation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegation: Option<String>,
    /// When.
    pub at: String,
    /// What the person said to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Why it does not count today, if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub void: Option<String>,
    /// What the person signed, if it was signed: enough to verify it with `ssh-keygen -Y verify`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<SignedBody>,
    /// Who handed in what was signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carried_by: Option<String>,
}

/// `GET /v1/grants/{id}/request-file`: what somebody needs to judge what waits without believing the daemon, and to sign
/// a decision on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestFile {
    /// The version of this form: 1.
    pub version: u32,
    /// The node on which it was requested.
    pub installation: String,
    /// The request's id.
    pub id: String,
    /// When it was requested.
    pub created_at: String,
    /// Everything that is asked, as the digest covers it.
    pub request: serde_json::Value,
    /// What it is in the cloud, as the digest covers it.
    pub plan: serde_json::Value,
    /// How sensitive the resource is, as the digest covers it.
    pub tier: String,
    /// The digest of these three.
    pub digest: String,
    /// What waits is more time: the extension, as its own digest covers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension: Option<ExtensionFile>,
    /// What is needed, one member for each capacity.
    pub quorum: Vec<QuorumView>,
    /// When it lapses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lapses_at: Option<String>,
}

/// An extension in a request file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtensionFile {
    /// The new end.
    pub until: String,
    /// Who asks.
    pub asked_by: serde_json::Value,
    /// Why.
    pub reason: String,
    /// The digest of these and the grant's.
    pub digest: String,
}

/// `POST /v1/grants/{id}/approve`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApproveRequest {
    /// The digest of what the approver saw; an approval of anything else is refused. With `signed` it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// What the approver wants to have on record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// In which capacity, for who has several; where it is left out the daemon takes the one that is needed most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<String>,
    /// What the approver signed, in place of all of the above: whoever hands it in may be anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<SignedBody>,
}

/// A decision that was signed with an SSH key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedBody {
    /// The text that was signed, byte for byte.
    pub statement: String,
    /// The signature as `ssh-keygen -Y sign` writes it.
    pub signature: String,
}

/// `POST /v1/grants/{id}/deny`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenyRequest {
    /// Why; the requester reads it.
    pub reason: String,
    /// What the one who denies signed: whoever hands it in may be anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<SignedBody>,
}

/// `GET /v1/grants`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantQuery {
    /// Only these states, separated by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Only this resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Those of everybody; for administrators and auditors.
    #[serde(default)]
    pub all: bool,
    /// Those of others on which something waits that the caller can approve.
    #[serde(default)]
    pub approvable: bool,
    /// At most this many, newest first; 100 when left out, 1000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Some grants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantList {
    /// Newest first.
    pub grants: Vec<GrantView>,
}

/// `POST /v1/grants/{id}/revoke`, `/complete` and the same of leases.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndRequest {
    /// Why; needed to revoke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the CI templates are tested with is what the daemon sends.
    #[test]
    fn the_waiting_grant_of_the_github_action_is_one() {
        let text = include_str!("../../config/ci/github/testdata/pending.json");
        let grant: GrantView = serde_json::from_str(text).unwrap();
        let sent: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_value(&grant).unwrap(), sent, "a member is not known, or not sent so");
        assert_eq!(grant.approval.unwrap().quorum[0].can_approve, ["bruno", "carla"]);
    }
}
