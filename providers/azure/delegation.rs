//! What the daemon's own right to assign roles is bound by: these roles, to these principals, and no others. Pure.

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::escalating;

/// The condition of the daemon's right to assign roles (Azure RBAC, "Delegate Azure role assignment management to others
/// with conditions"). What it writes is judged by the request, what it removes by what stands there: so it can neither
/// hand out another role nor take away what is not a slot's.
pub(crate) fn condition(roles: &BTreeSet<Uuid>, principals: &BTreeSet<Uuid>) -> String {
    let part = |action: &str, source: &str| {
        format!(
            "((!(ActionMatches{{'Microsoft.Authorization/roleAssignments/{action}'}})) OR \
             (@{source}[Microsoft.Authorization/roleAssignments:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {{{}}} AND \
             @{source}[Microsoft.Authorization/roleAssignments:PrincipalId] ForAnyOfAnyValues:GuidEquals {{{}}}))",
            list(roles),
            list(principals)
        )
    };
    format!("({} AND {})", part("write", "Request"), part("delete", "Resource"))
}

/// Whether a condition that stands there binds its holder to slots and to roles that hand out no roles: which roles those
/// are, or none if it is for slots of other accounts alone. `slots` are the account's, `known` those of all that the same
/// base serves.
///
/// # Errors
/// In words: how it does not.
pub(crate) fn judge(
    found: &str,
    slots: &BTreeSet<Uuid>,
    known: &BTreeSet<Uuid>,
) -> Result<Option<BTreeSet<Uuid>>, String> {
    let roles = listed(found, "RoleDefinitionId");
    let principals = listed(found, "PrincipalId");
    if plain(found) != plain(&condition(&roles, &principals)) {
        return Err(
            "its condition is not of the form that grantctl bootstrap prints, so what it allows is not known here"
                .to_owned(),
        );
    }
    if let Some(title) = roles.iter().find_map(|id| escalating::title(*id)) {
        return Err(format!("its condition lets it hand out {title}, and so everything"));
    }
    if let Some(other) = principals.iter().find(|id| !known.contains(id) && !slots.contains(id)) {
        return Err(format!("its condition lets it assign roles to {other}, which is no configured slot"));
    }
    if !principals.is_empty() && principals.is_disjoint(slots) {
        return Ok(None);
    }
    match slots.difference(&principals).next() {
        Some(slot) => Err(format!("its condition does not name slot {slot}, so nothing can be assigned to that one")),
        None => Ok(Some(roles)),
    }
}

/// The ids of the first list that an attribute is compared with.
fn listed(condition: &str, attribute: &str) -> BTreeSet<Uuid> {
    let after = condition.split_once(&format!(":{attribute}]")).map(|(_, rest)| rest).unwrap_or_default();
    let inside = after.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(ids, _)| ids);
    inside.unwrap_or_default().split(',').filter_map(|id| Uuid::try_parse(id.trim()).ok()).collect()
}

/// Azure keeps a condition as it was written; white space and case of names mean nothing.
fn plain(condition: &str) -> String {
    condition.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_lowercase()
}

fn list(ids: &BTreeSet<Uuid>) -> String {
    ids.iter().map(Uuid::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_printed_form_with_our_slots_is_taken_for_bounded() {
        let id = Uuid::from_u128;
        let slots = BTreeSet::from([id(1), id(2)]);
        let good = condition(&BTreeSet::from([id(7)]), &slots);
        assert_eq!(judge(&good.replace(" AND ", "\n  AND "), &slots, &slots), Ok(Some(BTreeSet::from([id(7)]))));
        // Another account with the same base has a right of its own, which is none of this one.
        let both = BTreeSet::from([id(1), id(2), id(3)]);
        let other = condition(&BTreeSet::from([id(7)]), &BTreeSet::from([id(3)]));
        assert_eq!(judge(&other, &slots, &both), Ok(None));
        assert!(judge(&other, &slots, &slots).unwrap_err().contains("no configured slot"));
        let owner = Uuid::try_parse("8e3af657-a8ff-443c-a75c-2fe8c4bcb635").unwrap();
        let more: Vec<(String, &str)> = vec![
            (String::new(), "not of the form"),
            (format!("{good} OR (@Request[a:b] StringEquals 'x')"), "not of the form"),
            (good.replacen("@Resource", "@Request", 1), "not of the form"),
            (condition(&BTreeSet::from([owner]), &slots), "Owner"),
            (condition(&BTreeSet::from([id(7)]), &BTreeSet::from([id(1), id(2), id(3)])), "no configured slot"),
            (condition(&BTreeSet::from([id(7)]), &BTreeSet::from([id(1)])), "does not name slot"),
        ];
        for (bad, says) in more {
            let why = judge(&bad, &slots, &slots).unwrap_err();
            assert!(why.contains(says), "{bad}: {why}");
        }
    }
}
