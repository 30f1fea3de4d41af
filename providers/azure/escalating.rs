//! Built-in roles whose holder can hand out roles, and so make access last or wider: no map may assign one, whatever it is
//! meant for. They are those that hold `Microsoft.Authorization/roleAssignments/write`, or another way to the same, in what
//! Microsoft publishes (Azure RBAC, "Azure built-in roles"); `tests/catalog/roles.py` holds the list to that. Pure.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use uuid::Uuid;

/// Id and title, one a line.
const LIST: &str = include_str!("escalating.txt");

static ROLES: LazyLock<BTreeMap<Uuid, &'static str>> = LazyLock::new(|| {
    let one = |line: &'static str| {
        let (id, title) = line.split_once(' ')?;
        Some((Uuid::try_parse(id).ok()?, title))
    };
    LIST.lines().filter_map(one).collect()
});

/// The title of a role that can hand out roles.
pub(crate) fn title(role: Uuid) -> Option<&'static str> {
    ROLES.get(&role).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_a_role() {
        assert_eq!(ROLES.len(), LIST.lines().count());
        assert!(ROLES.len() >= 28 && ROLES.values().all(|title| !title.trim().is_empty()));
        let known = |id: &str| title(id.parse().unwrap());
        assert_eq!(known("8e3af657-a8ff-443c-a75c-2fe8c4bcb635"), Some("Owner"));
        assert_eq!(known("18d7d88d-d35e-4fb5-a5c3-7773c20a72d9"), Some("User Access Administrator"));
        assert_eq!(known("4c6569b6-f23e-4295-9b90-bd4cc4ff3292"), Some("DevCenter Owner"));
        assert_eq!(known("acdd72a7-3385-48ef-bd42-f606fba81ae7"), None, "Reader");
    }
}
