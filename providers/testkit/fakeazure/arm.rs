//! Resource Manager: role assignments in version 2022-04-01, and the rights of a caller on a scope (Azure REST API
//! reference, "Role Assignments", "Permissions").

use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::condition::Condition;
use super::entra::answer;
use super::roles::{FakeAssignment, Question, allowed, is_at_or_below};
use super::{Fake, State};
use crate::serve::{Call, Reply};

/// Whose tokens Resource Manager takes.
const AUDIENCES: [&str; 2] = ["https://management.azure.com", "https://management.core.windows.net"];

const ASSIGNMENTS: &str = "/providers/Microsoft.Authorization/roleAssignments";
const PERMISSIONS: &str = "/providers/Microsoft.Authorization/permissions";
const DEFINITIONS: &str = "/providers/Microsoft.Authorization/roleDefinitions/";

/// An error answer: status, code, message.
pub(super) struct Refusal(u16, &'static str, String);

impl Refusal {
    pub(super) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self(status, code, message.into())
    }
}

impl Fake {
    /// Answers a call to Resource Manager.
    pub(super) fn resource_manager(&self, call: &Call, path: &str) -> Reply {
        match self.manage(call, path) {
            Ok((204, _)) => Reply::of(StatusCode::NO_CONTENT, "application/json", ""),
            Ok((status, body)) => answer(status, &body),
            Err(Refusal(status, code, message)) => {
                answer(status, &json!({ "error": { "code": code, "message": message } }))
            }
        }
    }

    fn manage(&self, call: &Call, path: &str) -> Result<(u16, Value), Refusal> {
        let query = self.query(call);
        let authorization = call.head.headers.get("authorization").and_then(|value| value.to_str().ok());
        let own = self.base_url();
        let audiences = [AUDIENCES[0], AUDIENCES[1], own.as_str()];
        let caller = self.principal(authorization, &audiences).map_err(|why| {
            let code = if why == "Expired" { "ExpiredAuthenticationToken" } else { "InvalidAuthenticationToken" };
            Refusal::new(401, code, format!("The access token is invalid: {why}."))
        })?;
        let version = query.get("api-version").map(String::as_str);
        match version {
            None => {
                return Err(Refusal::new(
                    400,
                    "MissingApiVersionParameter",
                    "The api-version query parameter is required.",
                ));
            }
            Some("2022-04-01") if !scheduled(path) => {}
            Some("2020-10-01") if scheduled(path) => {}
            Some(other) => {
                let text = format!("No registered resource provider found for API version '{other}'.");
                return Err(Refusal::new(400, "InvalidApiVersionParameter", text));
            }
        }
        let mut state = self.state();
        if let Some(answered) = self.schedules(&mut state, caller, path, call) {
            return answered;
        }
        if let Some(scope) = path.strip_suffix(PERMISSIONS) {
            return self.permissions(&state, caller, scope);
        }
        if let Some((scope, name)) = path.split_once(DEFINITIONS) {
            return self.definition(&state, caller, scope, name);
        }
        let (scope, name) = path.rsplit_once(ASSIGNMENTS).ok_or_else(|| {
            Refusal::new(404, "InvalidResourceType", format!("The resource type of '{path}' is not known."))
        })?;
        self.must_exist(&state, scope)?;
        match (&call.head.method, name.strip_prefix('/')) {
            (&Method::GET, None) => self.list(&state, caller, scope, query.get("$filter").map(String::as_str)),
            (method, Some(name)) => {
                if Uuid::try_parse(name).is_err() || name.len() != 36 {
                    let text =
                        format!("The role assignment ID '{name}' is not valid. The role assignment ID must be a GUID.");
                    return Err(Refusal::new(400, "InvalidRoleAssignmentId", text));
                }
                match *method {
                    Method::GET => self.get(&state, caller, scope, name),
                    Method::PUT => self.put(&mut state, caller, scope, name, call),
                    Method::DELETE => self.delete(&mut state, caller, scope, name),
                    _ => Err(Refusal::new(405, "MethodNotAllowed", "The method is not allowed.")),
                }
            }
            _ => Err(Refusal::new(405, "MethodNotAllowed", "The method is not allowed.")),
        }
    }

    pub(super) fn may(
        &self,
        state: &State,
        caller: Uuid,
        action: &str,
        scope: &str,
        attributes: &[(&str, &str, String)],
    ) -> Result<(), Refusal> {
        let (now, suboperation) = (self.elapsed(), None);
        let question = Question { principal: caller, action, data: false, suboperation, scope, attributes, now };
        if allowed(&question, &state.roles, &state.assignments) {
            return Ok(());
        }
        let text = format!(
            "The client '{caller}' with object id '{caller}' does not have authorization to perform action '{action}' over \
             scope '{scope}' or the scope is invalid. If access was recently granted, please refresh your credentials."
        );
        Err(Refusal::new(403, "AuthorizationFailed", text))
    }

    pub(super) fn must_exist(&self, state: &State, scope: &str) -> Result<(), Refusal> {
        let subscription = scope.split('/').nth(2).unwrap_or_default();
        if !self.settings.subscriptions.iter().any(|one| one.to_string().eq_ignore_ascii_case(subscription)) {
            let text = format!("The subscription '{subscription}' could not be found.");
            return Err(Refusal::new(404, "SubscriptionNotFound", text));
        }
        let known = scope.split('/').count() == 3 || state.resources.iter().any(|one| is_at_or_below(one, scope));
        if known {
            Ok(())
        } else {
            Err(Refusal::new(404, "ResourceNotFound", format!("The Resource '{scope}' was not found.")))
        }
    }

    fn permissions(&self, state: &State, caller: Uuid, scope: &str) -> Result<(u16, Value), Refusal> {
        self.must_exist(state, scope)?;
        let now = self.elapsed();
        let own = state.assignments.iter().filter(|one| {
            one.principal == caller
                && one.covers(scope)
                && one.felt_from <= now
                && one.felt_until.is_none_or(|until| now < until)
        });
        let listed: Vec<Value> = own
            .filter_map(|one| state.roles.iter().find(|role| role.id == one.role))
            .map(|role| {
                json!({
                    "actions": role.actions, "notActions": [], "dataActions": role.data_actions, "notDataActions": [],
                })
            })
            .collect();
        Ok((200, json!({ "value": listed })))
    }

    fn definition(&self, state: &State, caller: Uuid, scope: &str, name: &str) -> Result<(u16, Value), Refusal> {
        self.may(state, caller, "Microsoft.Authorization/roleDefinitions/read", scope, &[])?;
        let role = state.roles.iter().find(|role| role.id.to_string() == name);
        let role = role.ok_or_else(|| {
            Refusal::new(
                404,
                "RoleDefinitionDoesNotExist",
                format!("The specified role definition '{name}' does not exist."),
            )
        })?;
        Ok((
            200,
            json!({
                "id": format!("{scope}{DEFINITIONS}{name}"), "name": name, "type": "Microsoft.Authorization/roleDefinitions",
                "properties": { "roleName": role.name, "permissions": [{
                    "actions": role.actions, "notActions": [], "dataActions": role.data_actions, "notDataActions": [],
                }] },
            }),
        ))
    }

    fn list(&self, state: &State, caller: Uuid, scope: &str, filter: Option<&str>) -> Result<(u16, Value), Refusal> {
        self.may(state, caller, "Microsoft.Authorization/roleAssignments/read", scope, &[])?;
        let principal = match filter {
            None | Some("atScope()") => None,
            Some(filter) => {
                let quoted = filter.strip_prefix("principalId eq '").and_then(|rest| rest.strip_suffix('\''));
                let id = quoted.and_then(|id| Uuid::try_parse(id).ok());
                Some(id.ok_or_else(|| {
                    Refusal::new(400, "InvalidFilter", format!("The filter '{filter}' is not supported."))
                })?)
            }
        };
        let standing = state.assignments.iter().filter(|one| one.felt_until.is_none());
        let found: Vec<Value> = standing
            .filter(|one| principal.is_none_or(|id| one.principal == id))
            // At, above or below the scope.
            .filter(|one| one.covers(scope) || is_at_or_below(&one.scope, scope))
            .map(FakeAssignment::shown)
            .collect();
        Ok((200, json!({ "value": found })))
    }

    fn get(&self, state: &State, caller: Uuid, scope: &str, name: &str) -> Result<(u16, Value), Refusal> {
        self.may(state, caller, "Microsoft.Authorization/roleAssignments/read", scope, &[])?;
        let found = state.standing(scope, name);
        found.map(|one| (200, one.shown())).ok_or_else(|| {
            Refusal::new(404, "RoleAssignmentNotFound", format!("The role assignment '{name}' is not found."))
        })
    }

    fn put(
        &self,
        state: &mut State,
        caller: Uuid,
        scope: &str,
        name: &str,
        call: &Call,
    ) -> Result<(u16, Value), Refusal> {
        let wanted = self.wanted(state, scope, name, call)?;
        let attributes = of("Request", &wanted);
        self.may(state, caller, "Microsoft.Authorization/roleAssignments/write", scope, &attributes)?;
        if !self.settings.applications.iter().any(|one| one.object_id == wanted.principal) {
            let text = format!("Principal {} does not exist in the directory.", wanted.principal);
            return Err(Refusal::new(400, "PrincipalNotFound", text));
        }
        let standing = state.assignments.iter().filter(|one| one.felt_until.is_none()).collect::<Vec<_>>();
        if let Some(twin) = standing.iter().find(|one| one.id.eq_ignore_ascii_case(&wanted.id)) {
            let same = twin.role == wanted.role
                && twin.principal == wanted.principal
                && twin.condition == wanted.condition
                && twin.description == wanted.description;
            if same {
                return Ok((200, twin.shown()));
            }
            let text = "Tenant ID, application ID, principal ID, and scope are not allowed to be updated.";
            return Err(Refusal::new(409, "RoleAssignmentUpdateNotPermitted", text));
        }
        let same_triple = |one: &&FakeAssignment| {
            one.principal == wanted.principal
                && one.role == wanted.role
                && one.scope.eq_ignore_ascii_case(&wanted.scope)
        };
        if standing.into_iter().any(|one| same_triple(&one)) {
            return Err(Refusal::new(409, "RoleAssignmentExists", "The role assignment already exists."));
        }
        let shown = wanted.shown();
        state.assignments.push(wanted);
        Ok((201, shown))
    }

    /// The assignment that a request asks for, if the request is in the contract.
    fn wanted(&self, state: &State, scope: &str, name: &str, call: &Call) -> Result<FakeAssignment, Refusal> {
        let bad = |text: String| Refusal::new(400, "InvalidRequestContent", text);
        let content = call.head.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !content.starts_with("application/json") {
            return Err(Refusal::new(415, "UnsupportedMediaType", "The content media type is not supported."));
        }
        let body: Value = serde_json::from_slice(&call.body)
            .map_err(|_| bad("The request content was invalid and could not be deserialized.".to_owned()))?;
        let only = |value: &Value, known: &[&str]| -> Result<(), Refusal> {
            let fields = value.as_object().ok_or_else(|| bad("An object is expected.".to_owned()))?;
            match fields.keys().find(|name| !known.contains(&name.as_str())) {
                Some(name) => Err(bad(format!("Could not find member '{name}' on object of type 'RoleAssignment'."))),
                None => Ok(()),
            }
        };
        only(&body, &["properties"])?;
        let properties = body.get("properties").cloned().unwrap_or_default();
        only(
            &properties,
            &[
                "roleDefinitionId",
                "principalId",
                "principalType",
                "description",
                "condition",
                "conditionVersion",
                "delegatedManagedIdentityResourceId",
            ],
        )?;
        let text = |name: &str| match properties.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(bad(format!("'{name}' is not text."))),
        };
        let need = |name: &str| text(name)?.ok_or_else(|| bad(format!("'{name}' is required.")));
        let principal = Uuid::try_parse(&need("principalId")?)
            .map_err(|_| Refusal::new(400, "InvalidPrincipalId", "A valid principal ID must be provided."))?;
        let definition = need("roleDefinitionId")?;
        let role = definition.rsplit_once('/').and_then(|(_, id)| Uuid::try_parse(id).ok());
        let well_named = definition.contains(DEFINITIONS.trim_end_matches('/'));
        let role = role.filter(|id| well_named && state.roles.iter().any(|role| role.id == *id)).ok_or_else(|| {
            let text = format!("The specified role definition with ID '{definition}' does not exist.");
            Refusal::new(404, "RoleDefinitionDoesNotExist", text)
        })?;
        if let Some(kind) = text("principalType")?
            && kind != "ServicePrincipal"
        {
            return Err(Refusal::new(
                400,
                "UnmatchedPrincipalType",
                format!("The PrincipalType '{kind}' does not match."),
            ));
        }
        let (condition, version) = (text("condition")?, text("conditionVersion")?);
        match (&condition, version.as_deref()) {
            (None, None) => {}
            (Some(condition), Some("2.0")) => {
                Condition::parse(condition).map_err(|why| {
                    let text = format!("The role assignment condition is invalid: {why}");
                    Refusal::new(400, "InvalidRoleAssignmentCondition", text)
                })?;
            }
            _ => return Err(bad("A condition needs conditionVersion 2.0, and none without it.".to_owned())),
        }
        let now = self.elapsed();
        Ok(FakeAssignment {
            id: format!("{scope}{ASSIGNMENTS}/{name}"),
            scope: scope.to_owned(),
            role,
            principal,
            condition,
            description: text("description")?,
            felt_from: now + state.effect_delay,
            felt_until: None,
            ends: f64::INFINITY,
        })
    }

    fn delete(&self, state: &mut State, caller: Uuid, scope: &str, name: &str) -> Result<(u16, Value), Refusal> {
        let action = "Microsoft.Authorization/roleAssignments/delete";
        let Some(found) = state.standing(scope, name).cloned() else {
            // There is nothing that a condition could speak of.
            self.may(state, caller, "Microsoft.Authorization/roleAssignments/read", scope, &[])?;
            return Ok((204, Value::Null));
        };
        self.may(state, caller, action, scope, &of("Resource", &found))?;
        let until = self.elapsed() + state.effect_delay;
        for one in state.assignments.iter_mut().filter(|one| one.id == found.id && one.felt_until.is_none()) {
            one.felt_until = Some(until);
        }
        Ok((200, found.shown()))
    }
}

/// Whether it is about Privileged Identity Management, which has a version of its own.
fn scheduled(path: &str) -> bool {
    path.contains("/Microsoft.Authorization/roleAssignmentSchedule")
}

/// What a condition of delegation can speak of (Azure RBAC, "Authorization actions and attributes").
fn of<'a>(source: &'a str, assignment: &FakeAssignment) -> [(&'a str, &'a str, String); 3] {
    [
        (source, "Microsoft.Authorization/roleAssignments:RoleDefinitionId", assignment.role.to_string()),
        (source, "Microsoft.Authorization/roleAssignments:PrincipalId", assignment.principal.to_string()),
        (source, "Microsoft.Authorization/roleAssignments:PrincipalType", "ServicePrincipal".to_owned()),
    ]
}
