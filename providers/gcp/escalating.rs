//! Predefined roles whose holder can make sessions that no lease bounds, or write policies and so leave access behind. They are
//! those that hold such a permission in what Google publishes (IAM, "IAM basic and predefined roles reference");
//! `tests/catalog/roles.py` holds the list to that. Pure.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Role and what it can, one a line.
const LIST: &str = include_str!("escalating.txt");

/// What the holder of a role can do besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Escalates {
    /// Become another identity, or make a key of one: `iam.serviceAccounts.actAs`, `getAccessToken`, `signBlob` and the like.
    Sessions,
    /// Write an allow policy: `*.setIamPolicy`.
    Policies,
}

static ROLES: LazyLock<BTreeMap<&'static str, Escalates>> = LazyLock::new(|| {
    let one = |line: &'static str| match line.split_once(' ')? {
        (role, "policies") => Some((role, Escalates::Policies)),
        (role, _) => Some((role, Escalates::Sessions)),
    };
    LIST.lines().filter_map(one).collect()
});

/// What a role can besides, if anything. Roles of Google's own agents are for nobody else, listed or not.
pub(crate) fn of(role: &str) -> Option<Escalates> {
    let agent = role.to_ascii_lowercase().ends_with("serviceagent");
    ROLES.get(role).copied().or(agent.then_some(Escalates::Sessions))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_a_role() {
        assert_eq!(ROLES.len(), LIST.lines().count());
        assert!(ROLES.len() >= 70 && ROLES.keys().all(|role| role.starts_with("roles/")));
        assert!(LIST.lines().all(|line| line.ends_with(" policies") || line.ends_with(" sessions")));
        assert_eq!(of("roles/iam.serviceAccountTokenCreator"), Some(Escalates::Sessions));
        assert_eq!(of("roles/storage.objectAdmin"), Some(Escalates::Policies));
        assert_eq!(of("roles/somenew.serviceAgent"), Some(Escalates::Sessions));
        assert_eq!(of("roles/storage.objectViewer"), None);
    }
}
