//! Role assignments that Azure ends by itself: active assignments of Privileged Identity Management, asked for by schedule
//! requests (Azure REST API reference, "Role Assignment Schedule Requests" and "Role Assignment Schedule Instances", version
//! 2020-10-01). What is asked for becomes a schedule, the schedule an instance, and the instance a role assignment of an
//! ordinary kind, whose name Azure draws: it is known by the request alone, whose name is computed.

use std::collections::BTreeMap;

use azure_core::http::{Method, RawResponse};
use grantd_provider_api::{ErrorKind, ProviderError};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::arm::{Arm, Removed, Wanted, parsed};
use crate::error::code_of;
use crate::names::{REQUESTS, removal};

/// The version of the interface.
const VERSION: &str = "2020-10-01";

const INSTANCES: &str = "/providers/Microsoft.Authorization/roleAssignmentScheduleInstances";

/// The shortest active assignment: five minutes (Privileged Identity Management, "Assign Azure resource roles"), and one more
/// for clocks that disagree.
pub(crate) const SHORTEST: SignedDuration = SignedDuration::from_secs(6 * 60);

/// States of a request that was let through (`Status` of the interface).
const TAKEN: [&str; 7] = [
    "Accepted",
    "Granted",
    "PendingProvisioning",
    "PendingScheduleCreation",
    "Provisioned",
    "ProvisioningStarted",
    "ScheduleCreated",
];

/// Answers that say that the name, or what it is for, is taken.
const EXISTS: [&str; 3] =
    ["RoleAssignmentExists", "RoleAssignmentRequestExists", "RoleAssignmentScheduleRequestExists"];

/// Answers that prove that there is no such request, or nothing that it could be about.
const ABSENT: [&str; 4] = [
    "RoleAssignmentScheduleRequestNotFound",
    "ResourceNotFound",
    "ResourceGroupNotFound",
    "RoleAssignmentDoesNotExist",
];

/// A schedule request as Azure tells of it. It stays to be read when what it asked for is over.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Request {
    /// Its resource ID.
    pub id: String,
    /// What it says.
    pub properties: RequestProperties,
}

/// What a schedule request says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RequestProperties {
    pub role_definition_id: String,
    pub principal_id: String,
    #[serde(default)]
    pub status: String,
    /// For people, and our mark.
    #[serde(default)]
    pub justification: Option<String>,
    #[serde(default)]
    pub condition: Option<String>,
    /// The schedule that it made.
    #[serde(default)]
    pub target_role_assignment_schedule_id: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Instance {
    properties: InstanceProperties,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct InstanceProperties {
    principal_id: String,
    #[serde(default)]
    role_assignment_schedule_id: Option<String>,
    /// The role assignment that it is.
    #[serde(default)]
    origin_role_assignment_id: Option<String>,
}

/// Asks for an active assignment until `until`. What was asked for already and is exactly this is as good.
///
/// # Errors
/// `Unknown` when it may stand there; `Conflict` when something else is in its way; else nothing was made.
pub(crate) async fn assign(arm: &Arm, wanted: &Wanted, now: Timestamp, until: Timestamp) -> Result<(), ProviderError> {
    let call = arm.call("ask for the role assignment", &wanted.id);
    let answer = send(arm, Method::Put, &wanted.id, &call, Some(&body(wanted, now, until))).await?;
    match u16::from(answer.status()) {
        200 | 201 => {
            let made: Request = parsed(&call, &answer)?;
            if !is(&made, wanted) {
                return Err(call.error(ErrorKind::Unknown, "what azure says that it made is not what was asked for"));
            }
            if !TAKEN.contains(&made.properties.status.as_str()) {
                let why =
                    "azure does not assign it at once: the role's PIM policy on the resource must want no approval";
                return Err(call.error(ErrorKind::Unknown, why));
            }
            Ok(())
        }
        status if EXISTS.contains(&code_of(answer.body().as_ref()).as_str()) => match request(arm, &wanted.id).await {
            Ok(Some(found)) if is(&found, wanted) => Ok(()),
            Ok(_) => Err(call.refused(status, answer.body().as_ref())),
            Err(error) => Err(call.error(ErrorKind::Unknown, format!("it may stand there already: {error}"))),
        },
        status => Err(call.refused(status, answer.body().as_ref())),
    }
}

/// Ends what a request made. PIM refuses that in the first five minutes; then the role assignment itself is removed.
///
/// # Errors
/// Any; it may still stand.
pub(crate) async fn remove(arm: &Arm, id: &str) -> Result<Removed, ProviderError> {
    let Some(made) = request(arm, id).await? else { return Ok(Removed::Before) };
    let call = arm.call("end the role assignment of", id);
    let name = removal(id).ok_or_else(|| call.error(ErrorKind::Config, "it is no schedule request"))?;
    let body = json!({ "properties": {
        "principalId": made.properties.principal_id,
        "roleDefinitionId": made.properties.role_definition_id,
        "requestType": "AdminRemove",
        "justification": made.properties.justification,
    } });
    let answer = send(arm, Method::Put, &name, &call, Some(&body)).await?;
    let status = u16::from(answer.status());
    let code = code_of(answer.body().as_ref());
    match (status, code.as_str()) {
        (200 | 201, _) => Ok(Removed::Now),
        (_, "ActiveDurationTooShort") => match origin(arm, id, &made).await? {
            Some(assignment) => arm.remove(&assignment).await,
            // It is about to become one: the next round finds it.
            None => Err(call.error(ErrorKind::Conflict, "azure has not made the role assignment yet")),
        },
        // An earlier try got through.
        (_, code) if ABSENT.contains(&code) || EXISTS.contains(&code) => Ok(Removed::Before),
        _ => Err(call.refused(status, answer.body().as_ref())),
    }
}

/// Whether nothing stands any more of what a request asked for: no instance, and no role assignment under any name.
///
/// # Errors
/// Any; then nothing is known.
pub(crate) async fn is_gone(arm: &Arm, id: &str) -> Result<bool, ProviderError> {
    let Some(made) = request(arm, id).await? else { return Ok(true) };
    if origin(arm, id, &made).await?.is_some() {
        return Ok(false);
    }
    let (scope, subscription, principal) = place(arm, id, &made)?;
    let same = |one: &crate::arm::Assignment| {
        one.properties.scope.eq_ignore_ascii_case(scope)
            && last(&one.properties.role_definition_id) == last(&made.properties.role_definition_id)
    };
    Ok(!arm.assignments(subscription, principal).await?.iter().any(same))
}

/// The request of that name; `None` when it is certain that there is none. "Forbidden" proves nothing.
///
/// # Errors
/// Any; then nothing is known.
pub(crate) async fn request(arm: &Arm, id: &str) -> Result<Option<Request>, ProviderError> {
    let call = arm.call("read the schedule request", id);
    let answer = send(arm, Method::Get, id, &call, None).await?;
    match u16::from(answer.status()) {
        200 => parsed(&call, &answer).map(Some),
        404 if ABSENT.contains(&code_of(answer.body().as_ref()).as_str()) => Ok(None),
        status => Err(call.refused(status, answer.body().as_ref())),
    }
}

/// The role assignments of a principal that stand because of schedule requests, by their resource IDs in lowercase: for each
/// its request.
///
/// # Errors
/// Any; then nothing is known.
pub(crate) async fn standing(
    arm: &Arm,
    subscription: Uuid,
    principal: Uuid,
) -> Result<BTreeMap<String, Request>, ProviderError> {
    let path = format!("/subscriptions/{subscription}{}", REQUESTS.trim_end_matches('/'));
    let call = arm.call("list the schedule requests of a slot in", &path);
    let filter = format!("principalId eq '{principal}'");
    let requests: Vec<Request> = arm.listed(&call, VERSION, &path, &filter).await?;
    let mut found = BTreeMap::new();
    for instance in instances(arm, subscription, principal).await? {
        let schedule = instance.properties.role_assignment_schedule_id.unwrap_or_default();
        let of = |request: &&Request| {
            let target = request.properties.target_role_assignment_schedule_id.as_deref();
            target.is_some_and(|target| target.eq_ignore_ascii_case(&schedule))
        };
        if let (Some(request), Some(origin)) = (requests.iter().find(of), instance.properties.origin_role_assignment_id)
        {
            found.insert(origin.to_ascii_lowercase(), request.clone());
        }
    }
    Ok(found)
}

/// Whether a request asked for exactly this.
pub(crate) fn is(found: &Request, wanted: &Wanted) -> bool {
    let there = &found.properties;
    found.id.eq_ignore_ascii_case(&wanted.id)
        && last(&there.role_definition_id) == last(&wanted.role_definition_id)
        && there.principal_id.eq_ignore_ascii_case(&wanted.principal_id.to_string())
        && there.condition == wanted.condition
        && there.justification.as_deref() == Some(wanted.description.as_str())
}

/// The role assignment that a request has become, while it stands.
async fn origin(arm: &Arm, id: &str, made: &Request) -> Result<Option<String>, ProviderError> {
    let (_, subscription, principal) = place(arm, id, made)?;
    let target = made.properties.target_role_assignment_schedule_id.as_deref().unwrap_or_default();
    let mut all = instances(arm, subscription, principal).await?.into_iter();
    let own = all.find(|one| {
        one.properties.role_assignment_schedule_id.as_deref().is_some_and(|of| of.eq_ignore_ascii_case(target))
    });
    Ok(own.map(|one| one.properties.origin_role_assignment_id.unwrap_or_default()))
}

async fn instances(arm: &Arm, subscription: Uuid, principal: Uuid) -> Result<Vec<Instance>, ProviderError> {
    let path = format!("/subscriptions/{subscription}{INSTANCES}");
    let call = arm.call("list the schedule instances of a slot in", &path);
    let filter = format!("principalId eq '{principal}'");
    let all: Vec<Instance> = arm.listed(&call, VERSION, &path, &filter).await?;
    // What a filter lets through is believed only where it is what was asked for.
    match all.iter().all(|one| one.properties.principal_id.eq_ignore_ascii_case(&principal.to_string())) {
        true => Ok(all),
        false => Err(call.error(ErrorKind::Unknown, "the answer tells of others than were asked for")),
    }
}

/// Where and for whom a request is.
fn place<'a>(arm: &Arm, id: &'a str, made: &Request) -> Result<(&'a str, Uuid, Uuid), ProviderError> {
    let call = arm.call("find", id);
    let wrong = || call.error(ErrorKind::Unknown, "it makes no sense");
    let (scope, _) = id.rsplit_once(REQUESTS).ok_or_else(wrong)?;
    let subscription = crate::names::ResourceId::parse(scope)?.subscription;
    let principal = Uuid::try_parse(&made.properties.principal_id).map_err(|_| wrong())?;
    Ok((scope, subscription, principal))
}

fn body(wanted: &Wanted, now: Timestamp, until: Timestamp) -> Value {
    let mut properties = json!({
        "roleDefinitionId": wanted.role_definition_id,
        "principalId": wanted.principal_id,
        "requestType": "AdminAssign",
        "justification": wanted.description,
        "scheduleInfo": {
            "startDateTime": now.to_string(),
            "expiration": { "type": "AfterDateTime", "endDateTime": until.to_string() },
        },
    });
    if let (Some(condition), Some(fields)) = (&wanted.condition, properties.as_object_mut()) {
        fields.insert("condition".to_owned(), json!(condition));
        fields.insert("conditionVersion".to_owned(), json!("2.0"));
    }
    json!({ "properties": properties })
}

async fn send(
    arm: &Arm,
    method: Method,
    path: &str,
    call: &crate::error::Call<'_>,
    body: Option<&Value>,
) -> Result<RawResponse, ProviderError> {
    arm.send_as(call, VERSION, method, path, &[], body).await
}

fn last(id: &str) -> String {
    id.rsplit('/').next().unwrap_or_default().to_ascii_lowercase()
}

#[cfg(test)]
#[path = "pim_tests.rs"]
mod tests;
