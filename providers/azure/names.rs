//! Names: native ones that are taken, and those that are computed before anything exists. Pure.

use grantd_provider_api::{ErrorKind, LeaseId, ProviderError};
use uuid::Uuid;

use crate::limits::NATIVE_CHARACTERS;

/// What every name of ours is computed in (RFC 9562, section 5.5). Never to be changed: after an upgrade, what was made
/// before could not be found again.
const NAMESPACE: Uuid = Uuid::from_u128(0x5d0f_6a3b_41c7_4f0e_9a52_77c9_1f2e_8b64);

/// What an assignment's description begins with.
const MARK: &str = "grantd ";

/// The resource provider of roles, as every path to an assignment has it.
pub(crate) const ASSIGNMENTS: &str = "/providers/Microsoft.Authorization/roleAssignments/";

/// The same of requests to Privileged Identity Management.
pub(crate) const REQUESTS: &str = "/providers/Microsoft.Authorization/roleAssignmentScheduleRequests/";

/// An Azure resource ID that means itself in a path, a filter and a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResourceId<'a> {
    /// The whole of it.
    pub text: &'a str,
    /// Its subscription.
    pub subscription: Uuid,
}

impl<'a> ResourceId<'a> {
    /// Takes a resource, resource group or subscription.
    ///
    /// # Errors
    /// `Unsupported`, with what it should look like.
    pub fn parse(text: &'a str) -> Result<Self, ProviderError> {
        let wrong = |why: &str| {
            let text =
                format!("{text:?} {why}: a resource ID is /subscriptions/ID/resourceGroups/NAME/providers/TYPE/NAME");
            ProviderError::new(ErrorKind::Unsupported, text)
        };
        if text.len() > NATIVE_CHARACTERS {
            return Err(wrong("is too long"));
        }
        let mut segments = text.strip_prefix('/').ok_or_else(|| wrong("does not begin with /"))?.split('/');
        let plain = |s: &str| {
            !s.is_empty()
                && !s.bytes().all(|b| b == b'.')
                && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.()$".contains(&b))
        };
        if !segments.clone().all(plain) || !segments.clone().count().is_multiple_of(2) {
            return Err(wrong("holds what no resource ID holds"));
        }
        let named = segments.next().is_some_and(|s| s.eq_ignore_ascii_case("subscriptions"));
        let subscription = segments.next().and_then(|s| Uuid::try_parse(s).ok()).filter(|_| named);
        let subscription = subscription.ok_or_else(|| wrong("is in no subscription"))?;
        Ok(Self { text, subscription })
    }

    /// The segment after the one that is called `kind`, whatever its case.
    pub fn segment(&self, kind: &str) -> Option<&'a str> {
        let mut segments = self.text.split('/').skip_while(|s| !s.eq_ignore_ascii_case(kind));
        segments.nth(1)
    }

    /// The last segment.
    pub fn name(&self) -> &'a str {
        self.text.rsplit('/').next().unwrap_or_default()
    }
}

/// The id of a custom role that [bootstrap](crate::bootstrap) defines in a subscription.
pub(crate) fn custom_role(subscription: Uuid, name: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("role {subscription} {name}").as_bytes())
}

/// The resource ID of a role definition, as assignments in that subscription name it.
pub(crate) fn role_definition(subscription: Uuid, role: Uuid) -> String {
    format!("/subscriptions/{subscription}/providers/Microsoft.Authorization/roleDefinitions/{role}")
}

/// The resource ID of a lease's assignment: its `index`-th, on `scope`.
pub(crate) fn assignment(scope: &str, lease: LeaseId, index: usize) -> String {
    let name = Uuid::new_v5(&NAMESPACE, format!("assignment {lease} {index}").as_bytes());
    format!("{scope}{ASSIGNMENTS}{name}")
}

/// The resource ID of the request for a lease's assignment, where Azure ends it too: its `index`-th, on `scope`.
pub(crate) fn request(scope: &str, lease: LeaseId, index: usize) -> String {
    let name = Uuid::new_v5(&NAMESPACE, format!("assignment {lease} {index}").as_bytes());
    format!("{scope}{REQUESTS}{name}")
}

/// The resource ID of the request that ends what another one made.
pub(crate) fn removal(request: &str) -> Option<String> {
    let (scope, name) = request.rsplit_once(REQUESTS)?;
    let name = Uuid::new_v5(&NAMESPACE, format!("removal {}", name.to_ascii_lowercase()).as_bytes());
    Some(format!("{scope}{REQUESTS}{name}"))
}

/// The session name of a lease: its assignments, from which it is taken away again.
pub(crate) fn session_name(assignments: &[String]) -> String {
    assignments.join(" ")
}

/// The assignments of a session name.
///
/// # Errors
/// `Config` when it is none of this adapter's.
pub(crate) fn assignments_of(session_name: &str) -> Result<Vec<&str>, ProviderError> {
    let ids: Vec<&str> = session_name.split(' ').collect();
    let known = ids.iter().all(|id| is_assignment(id) || is_request(id));
    if known {
        return Ok(ids);
    }
    Err(ProviderError::new(ErrorKind::Config, format!("session name {session_name:?} names no role assignments")))
}

/// Whether it is the resource ID of a role assignment, at any scope.
pub(crate) fn is_assignment(id: &str) -> bool {
    is_of(id, ASSIGNMENTS)
}

/// Whether it is the resource ID of a schedule request, at any scope.
pub(crate) fn is_request(id: &str) -> bool {
    is_of(id, REQUESTS)
}

fn is_of(id: &str, kind: &str) -> bool {
    let Some((scope, name)) = id.rsplit_once(kind) else { return false };
    let guid = name.len() == 36 && Uuid::try_parse(name).is_ok();
    guid && ResourceId::parse(scope).is_ok()
}

/// The description of an assignment, by which it is known again.
pub(crate) fn mark(lease: LeaseId) -> String {
    format!("{MARK}{lease}")
}

/// The lease that a description marks, if it is one of ours.
pub(crate) fn marked_lease(description: &str) -> Option<LeaseId> {
    description.strip_prefix(MARK)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use grantd_provider_api::{IdSource, RandomIds};

    use super::*;

    const SUBSCRIPTION: &str = "/subscriptions/11111111-1111-1111-1111-111111111111";

    #[test]
    fn a_native_name_means_itself() {
        let text = format!("{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/v1/secrets/db");
        let id = ResourceId::parse(&text).unwrap();
        assert_eq!((id.segment("vaults"), id.segment("VAULTS"), id.name()), (Some("v1"), Some("v1"), "db"));
        assert_eq!(id.subscription.to_string(), "11111111-1111-1111-1111-111111111111");
        for bad in [
            "",
            "/subscriptions/none/resourceGroups/rg",
            "subscriptions/11111111-1111-1111-1111-111111111111",
            "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups",
            "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/..",
            "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/a'b",
            "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/a b",
            "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/a?b",
            "/providers/Microsoft.Management/managementGroups/root",
        ] {
            assert_eq!(ResourceId::parse(bad).unwrap_err().kind, ErrorKind::Unsupported, "{bad}");
        }
    }

    #[test]
    fn p2_names_are_computed_from_the_lease_alone_and_found_again() {
        let lease = LeaseId::new(RandomIds.fresh());
        let ids = [assignment(SUBSCRIPTION, lease, 0), assignment(SUBSCRIPTION, lease, 1)];
        assert_ne!(ids[0], ids[1]);
        assert_eq!(ids[0], assignment(SUBSCRIPTION, lease, 0));
        assert_eq!(assignments_of(&session_name(&ids)).unwrap(), ids);
        assert_eq!(marked_lease(&mark(lease)), Some(lease));
        for foreign in ["", "grantd", "grantd lease-x", "by hand"] {
            assert_eq!(marked_lease(foreign), None, "{foreign}");
        }
        for bad in ["", "x", SUBSCRIPTION, &format!("{SUBSCRIPTION}{ASSIGNMENTS}x"), &format!("{} ", ids[0])] {
            assert!(assignments_of(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_stay_what_they_were_in_earlier_versions() {
        let lease: LeaseId = "lease-aaaaaaaaaaaaaaaaaaaaaaaaaa".parse().unwrap();
        let subscription = Uuid::from_u128(1);
        let seen = (assignment("/s", lease, 0), custom_role(subscription, "reader").to_string());
        let (first, second) = ("1cb55bda-876a-5d84-bc82-33ca0551c98b", "cefaffd5-559c-5015-bf1e-ef1d733c5de9");
        assert_eq!(seen, (format!("/s{ASSIGNMENTS}{first}"), second.to_owned()));
    }
}
