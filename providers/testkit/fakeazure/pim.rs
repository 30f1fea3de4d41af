//! Privileged Identity Management for Azure resources: schedule requests for active assignments, and what becomes of them, in
//! version 2020-10-01 (Azure REST API reference, "Role Assignment Schedule Requests", "Role Assignment Schedule Instances").

use hyper::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use super::arm::Refusal;
use super::condition::Condition;
use super::roles::{FakeAssignment, is_at_or_below};
use super::{Fake, State};
use crate::serve::Call;

const REQUESTS: &str = "/providers/Microsoft.Authorization/roleAssignmentScheduleRequests";
const INSTANCES: &str = "/providers/Microsoft.Authorization/roleAssignmentScheduleInstances";
const SCHEDULES: &str = "/providers/Microsoft.Authorization/roleAssignmentSchedules";
const ASSIGNMENTS: &str = "/providers/Microsoft.Authorization/roleAssignments";

/// The shortest active assignment, and how long one stands at least until PIM itself takes it back.
const SHORTEST: f64 = 300.0;

/// A request that was let through.
#[derive(Debug, Clone)]
pub(super) struct FakeRequest {
    id: String,
    scope: String,
    body: Value,
    status: &'static str,
    role: Uuid,
    principal: Uuid,
    schedule: Uuid,
    /// The role assignment that it made.
    origin: String,
    made: f64,
}

impl Fake {
    /// Answers a call about schedules, if it is one.
    pub(super) fn schedules(
        &self,
        state: &mut State,
        caller: Uuid,
        path: &str,
        call: &Call,
    ) -> Option<Result<(u16, Value), Refusal>> {
        if let Some((scope, rest)) = path.split_once(INSTANCES) {
            return Some(self.instances(state, caller, scope, rest, call));
        }
        let (scope, rest) = path.split_once(REQUESTS)?;
        if let Err(refusal) = self.must_exist(state, scope) {
            return Some(Err(refusal));
        }
        let name = rest.strip_prefix('/');
        Some(match (&call.head.method, name) {
            (&Method::GET, None) => self.requests_of(state, caller, scope, call),
            (&Method::GET, Some(name)) => self.one_request(state, caller, scope, name),
            (&Method::PUT, Some(name)) if Uuid::try_parse(name).is_ok() => self.ask(state, caller, scope, name, call),
            (&Method::PUT, _) => Err(Refusal::new(400, "InvalidRequestId", "The request id must be a GUID.")),
            _ => Err(Refusal::new(405, "MethodNotAllowed", "The method is not allowed.")),
        })
    }

    fn licensed(&self, state: &State) -> Result<(), Refusal> {
        if state.licensed {
            return Ok(());
        }
        let text = "The tenant needs to have Microsoft Entra ID P2 or Microsoft Entra ID Governance license.";
        Err(Refusal::new(400, "AadPremiumLicenseRequired", text))
    }

    fn principal_of(&self, call: &Call) -> Result<Uuid, Refusal> {
        let filter = self.query(call).get("$filter").cloned().unwrap_or_default();
        let quoted = filter.strip_prefix("principalId eq '").and_then(|rest| rest.strip_suffix('\''));
        quoted
            .and_then(|id| Uuid::try_parse(id).ok())
            .ok_or_else(|| Refusal::new(400, "InvalidFilter", format!("The filter '{filter}' is not supported.")))
    }

    fn requests_of(&self, state: &State, caller: Uuid, scope: &str, call: &Call) -> Result<(u16, Value), Refusal> {
        self.may(state, caller, "Microsoft.Authorization/roleAssignmentScheduleRequests/read", scope, &[])?;
        self.licensed(state)?;
        let principal = self.principal_of(call)?;
        let own = state.schedules.iter().filter(|one| one.principal == principal && is_at_or_below(&one.scope, scope));
        Ok((200, json!({ "value": own.map(FakeRequest::shown).collect::<Vec<_>>() })))
    }

    fn one_request(&self, state: &State, caller: Uuid, scope: &str, name: &str) -> Result<(u16, Value), Refusal> {
        self.may(state, caller, "Microsoft.Authorization/roleAssignmentScheduleRequests/read", scope, &[])?;
        let id = format!("{scope}{REQUESTS}/{name}");
        let found = state.schedules.iter().find(|one| one.id.eq_ignore_ascii_case(&id));
        found.map(|one| (200, one.shown())).ok_or_else(|| {
            Refusal::new(404, "RoleAssignmentScheduleRequestNotFound", format!("The request '{name}' is not found."))
        })
    }

    fn instances(
        &self,
        state: &State,
        caller: Uuid,
        scope: &str,
        rest: &str,
        call: &Call,
    ) -> Result<(u16, Value), Refusal> {
        if call.head.method != Method::GET || !rest.is_empty() {
            return Err(Refusal::new(405, "MethodNotAllowed", "The method is not allowed."));
        }
        self.may(state, caller, "Microsoft.Authorization/roleAssignmentScheduleInstances/read", scope, &[])?;
        self.licensed(state)?;
        let principal = self.principal_of(call)?;
        let standing = state.assignments.iter().filter(|one| one.principal == principal && one.felt_until.is_none());
        let inside = standing.filter(|one| one.covers(scope) || is_at_or_below(&one.scope, scope));
        // An assignment that nobody scheduled has an instance too, with the assignment's own name as its schedule's.
        let shown = inside.map(|one| {
            let made = state.schedules.iter().find(|request| request.origin == one.id);
            let name = one.id.rsplit('/').next().unwrap_or_default();
            let schedule = made.map_or_else(|| name.to_owned(), |request| request.schedule.to_string());
            json!({
                "id": format!("{}{INSTANCES}/{name}", one.scope), "name": name,
                "type": "Microsoft.Authorization/roleAssignmentScheduleInstances",
                "properties": {
                    "roleAssignmentScheduleId": format!("{}{SCHEDULES}/{schedule}", one.scope),
                    "originRoleAssignmentId": one.id, "scope": one.scope, "principalId": one.principal,
                    "principalType": "ServicePrincipal", "status": "Provisioned", "memberType": "Direct",
                    "assignmentType": "Assigned", "condition": one.condition,
                    "roleDefinitionId": definition(&one.scope, one.role),
                },
            })
        });
        Ok((200, json!({ "value": shown.collect::<Vec<_>>() })))
    }

    fn ask(
        &self,
        state: &mut State,
        caller: Uuid,
        scope: &str,
        name: &str,
        call: &Call,
    ) -> Result<(u16, Value), Refusal> {
        let bad = |text: &str| Refusal::new(400, "InvalidRequestContent", text.to_owned());
        let body: Value = serde_json::from_slice(&call.body).map_err(|_| bad("The request content was invalid."))?;
        let properties =
            body.get("properties").and_then(Value::as_object).ok_or_else(|| bad("properties are required"))?;
        const KNOWN: [&str; 9] = [
            "principalId",
            "roleDefinitionId",
            "requestType",
            "justification",
            "scheduleInfo",
            "ticketInfo",
            "condition",
            "conditionVersion",
            "linkedRoleEligibilityScheduleId",
        ];
        if let Some(other) = properties.keys().find(|key| !KNOWN.contains(&key.as_str())) {
            return Err(bad(&format!(
                "Could not find member '{other}' on object of type 'RoleAssignmentScheduleRequest'."
            )));
        }
        let text = |name: &str| properties.get(name).and_then(Value::as_str);
        let need = |name: &str| text(name).ok_or_else(|| bad(&format!("'{name}' is required.")));
        let principal = Uuid::try_parse(need("principalId")?).map_err(|_| bad("principalId is no GUID"))?;
        let given = need("roleDefinitionId")?;
        let role = given.rsplit('/').next().and_then(|id| Uuid::try_parse(id).ok());
        let role = role.filter(|id| state.roles.iter().any(|one| one.id == *id)).ok_or_else(|| {
            Refusal::new(404, "RoleDefinitionDoesNotExist", format!("The role definition '{given}' does not exist."))
        })?;
        // Conditions of delegation speak of role assignments; that they reach schedule requests is documented nowhere.
        self.may(state, caller, "Microsoft.Authorization/roleAssignmentScheduleRequests/write", scope, &[])?;
        self.licensed(state)?;
        let id = format!("{scope}{REQUESTS}/{name}");
        if state.schedules.iter().any(|one| one.id.eq_ignore_ascii_case(&id)) {
            return Err(Refusal::new(
                409,
                "RoleAssignmentRequestExists",
                "The role assignment request already exists.",
            ));
        }
        let same = |one: &FakeAssignment| {
            one.felt_until.is_none()
                && one.principal == principal
                && one.role == role
                && one.scope.eq_ignore_ascii_case(scope)
        };
        let standing = state.assignments.iter().find(|one| same(one)).cloned();
        let (schedule, origin, status) = match need("requestType")? {
            "AdminAssign" => {
                if standing.is_some() {
                    return Err(Refusal::new(400, "RoleAssignmentExists", "The Role assignment already exists."));
                }
                let made = self.assigned(state, scope, (role, principal), properties)?;
                let (origin, schedule) = (made.id.clone(), Uuid::new_v4_of(state));
                state.assignments.push(made);
                (schedule, origin, "Provisioned")
            }
            "AdminRemove" => {
                let one = standing.ok_or_else(|| {
                    Refusal::new(400, "RoleAssignmentDoesNotExist", "The Role assignment does not exist.")
                })?;
                let made = state.schedules.iter().find(|request| request.origin == one.id).cloned();
                if made.as_ref().is_some_and(|made| self.elapsed() - made.made < SHORTEST) {
                    let text = "The active duration is too short. Minimum required is 5 minutes.";
                    return Err(Refusal::new(400, "ActiveDurationTooShort", text));
                }
                let until = self.elapsed() + state.effect_delay;
                for found in state.assignments.iter_mut().filter(|found| found.id == one.id) {
                    found.felt_until = Some(until);
                }
                (made.map_or(Uuid::nil(), |made| made.schedule), String::new(), "Revoked")
            }
            other => return Err(bad(&format!("requestType '{other}' is not played here"))),
        };
        let request = FakeRequest {
            id,
            scope: scope.to_owned(),
            body: Value::Object(properties.clone()),
            status,
            role,
            principal,
            schedule,
            origin,
            made: self.elapsed(),
        };
        let shown = request.shown();
        state.schedules.push(request);
        Ok((201, shown))
    }

    /// The assignment that a request makes, under the rules of a role's PIM policy as it is unless somebody changes it.
    fn assigned(
        &self,
        state: &State,
        scope: &str,
        (role, principal): (Uuid, Uuid),
        properties: &serde_json::Map<String, Value>,
    ) -> Result<FakeAssignment, Refusal> {
        let rule = |name: &str| {
            let text = format!("The following policy rules failed: [\"{name}\"]");
            Refusal::new(400, "RoleAssignmentRequestPolicyValidationFailed", text)
        };
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        if text(properties.get("justification")).trim().is_empty() {
            return Err(rule("JustificationRule"));
        }
        if !self.settings.applications.iter().any(|one| one.object_id == principal) {
            return Err(Refusal::new(404, "SubjectNotFound", "The subject is not found."));
        }
        let info = properties.get("scheduleInfo").cloned().unwrap_or_default();
        let start: Timestamp = text(info.get("startDateTime")).parse().unwrap_or_else(|_| self.moment());
        let expiration = info.get("expiration").cloned().unwrap_or_default();
        let end = match expiration.get("type").and_then(Value::as_str) {
            Some("AfterDateTime") => text(expiration.get("endDateTime")).parse::<Timestamp>().ok(),
            Some("AfterDuration") => {
                let duration: Option<SignedDuration> = text(expiration.get("duration")).parse().ok();
                duration.and_then(|duration| start.max(self.moment()).checked_add(duration).ok())
            }
            _ => None,
        };
        let end = end.ok_or_else(|| rule("ExpirationRule"))?;
        let lasts = end.duration_since(start.max(self.moment())).as_secs_f64();
        // A second for the way of the request.
        if !(SHORTEST - 1.0..=180.0 * 86_400.0).contains(&lasts) {
            return Err(rule("ExpirationRule"));
        }
        let condition = properties.get("condition").and_then(Value::as_str).map(str::to_owned);
        if let Some(condition) = &condition {
            Condition::parse(condition)
                .map_err(|why| Refusal::new(400, "InvalidRoleAssignmentCondition", format!("the condition: {why}")))?;
        }
        let now = self.elapsed();
        Ok(FakeAssignment {
            id: format!("{scope}{ASSIGNMENTS}/{}", Uuid::new_v4_of(state)),
            scope: scope.to_owned(),
            role,
            principal,
            condition,
            description: None,
            felt_from: now + state.effect_delay,
            felt_until: None,
            ends: now + end.duration_since(self.moment()).as_secs_f64(),
        })
    }
}

/// Names that nobody can foretell, as Azure draws them; the same in each run.
trait Drawn {
    fn new_v4_of(state: &State) -> Self;
}

impl Drawn for Uuid {
    fn new_v4_of(state: &State) -> Self {
        let count = state.schedules.len() * 2 + state.assignments.len();
        Self::from_u128(0xd1ce_0000_0000_4000_8000_0000_0000_0000 + u128::try_from(count).unwrap_or_default())
    }
}

impl State {
    /// Why each role assignment was asked for that stands because of a request.
    pub(super) fn justified(&self) -> Vec<String> {
        let stands = |request: &&FakeRequest| {
            self.assignments.iter().any(|one| one.felt_until.is_none() && one.id == request.origin)
        };
        let why = |request: &FakeRequest| request.body.get("justification").and_then(Value::as_str).map(str::to_owned);
        self.schedules.iter().filter(stands).filter_map(why).collect()
    }
}

impl FakeRequest {
    fn shown(&self) -> Value {
        let mut properties = self.body.clone();
        if let Some(fields) = properties.as_object_mut() {
            fields.insert("scope".to_owned(), json!(self.scope));
            fields.insert("status".to_owned(), json!(self.status));
            fields.insert("principalType".to_owned(), json!("ServicePrincipal"));
            fields.insert("roleDefinitionId".to_owned(), json!(definition(&self.scope, self.role)));
            fields.insert("createdOn".to_owned(), json!("2026-01-01T00:00:00.0000000Z"));
            let target = format!("{}{SCHEDULES}/{}", self.scope, self.schedule);
            fields.insert("targetRoleAssignmentScheduleId".to_owned(), json!(target));
        }
        let name = self.id.rsplit('/').next().unwrap_or_default();
        json!({
            "id": self.id, "name": name, "properties": properties,
            "type": "Microsoft.Authorization/roleAssignmentScheduleRequests",
        })
    }
}

fn definition(scope: &str, role: Uuid) -> String {
    let subscription = scope.split('/').nth(2).unwrap_or_default();
    format!("/subscriptions/{subscription}/providers/Microsoft.Authorization/roleDefinitions/{role}")
}
