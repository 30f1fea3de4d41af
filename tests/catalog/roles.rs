//! That `roles.py`, which holds the maps of Azure and Google Cloud to the published lists of roles, notices what it is for.
//! The lists are not part of the repository: it is run where somebody has them, by `make roles`. Here it gets small ones.

use std::io::Write;
use std::process::Command;

use grantd_provider_api::Cloud;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::maps::map;
use crate::tool;

/// What it says of a map, and whether it found the map right.
fn held(cloud: &str, map: &str, roles: &Value) -> (bool, String) {
    let file = |text: &str| {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    };
    let (map, roles) = (file(map), file(&roles.to_string()));
    let mut command = Command::new(tool::interpreter());
    let output = command.arg(tool::script("roles.py")).arg(cloud).args([map.path(), roles.path()]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.is_empty(), output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

fn with(role: &str, title: &str, permissions: &str) -> String {
    format!(
        "[capability.\"a:b\"]\n[[capability.\"a:b\".roles]]\nrole = \"{role}\"\ntitle = \"{title}\"\n{permissions}\non = \"x\"\n"
    )
}

#[test]
fn azure_roles_have_their_title_and_give_what_they_are_given_for() {
    let id = "00000000-1111-2222-3333-444444444444";
    let roles = json!([{
        "id": id, "roleName": "Queue Reader", "permissions": [{
            "actions": ["Microsoft.Q/*/read"], "notActions": ["Microsoft.Q/secrets/*"],
            "dataActions": ["Microsoft.Q/queues/receive/action"], "notDataActions": [],
        }],
    }]);
    let good =
        "permissions = [\"microsoft.q/queues/read\"]\ndata_permissions = [\"Microsoft.Q/queues/receive/action\"]";
    assert!(held("azure", &with(id, "Queue Reader", good), &roles).0);
    for (role, title, permissions, says) in [
        (id, "Queue reader", good, "has the title 'Queue Reader'"),
        ("00000000-1111-2222-3333-555555555555", "Queue Reader", good, "there is no built-in role"),
        (id, "Queue Reader", "permissions = [\"Microsoft.Q/secrets/read\"]", "does not give"),
        (id, "Queue Reader", "permissions = [\"Microsoft.Q/queues/write\"]", "does not give"),
        (id, "Queue Reader", "data_permissions = [\"Microsoft.Q/queues/read\"]", "does not give"),
        ("custom:x", "X", "permissions = [\"Microsoft.Q/queues/receive/action\"]", "no built-in role names"),
        ("custom:x", "X", "data_permissions = [\"Microsoft.Q/queues/recieve/action\"]", "no built-in role names"),
    ] {
        let (right, said) = held("azure", &with(role, title, permissions), &roles);
        assert!(!right && said.contains(says), "{role} {permissions}: {said}");
    }
    assert!(
        held("azure", &with("custom:x", "X", "data_permissions = [\"Microsoft.Q/queues/Receive/action\"]"), &roles).0
    );
}

#[test]
fn google_roles_have_their_title_and_give_what_they_are_given_for() {
    let roles = json!([{ "name": "roles/q.reader", "title": "Q Reader", "includedPermissions": ["q.queues.get"] }]);
    let good = "permissions = [\"q.queues.get\"]";
    assert!(held("gcp", &with("roles/q.reader", "Q Reader", good), &roles).0);
    assert!(held("gcp", &with("custom:x", "X", good), &roles).0);
    for (role, title, permissions, says) in [
        ("roles/q.reader", "Queue Reader", good, "has the title 'Q Reader'"),
        ("roles/q.writer", "Q Reader", good, "there is no role"),
        ("roles/q.reader", "Q Reader", "permissions = [\"q.queues.set\"]", "does not have"),
        ("custom:x", "X", "permissions = [\"q.queues.set\"]", "no role has"),
    ] {
        let (right, said) = held("gcp", &with(role, title, permissions), &roles);
        assert!(!right && said.contains(says), "{role} {permissions}: {said}");
    }
}

/// A role of the published list that hands out access has to be among those that the adapter refuses.
#[test]
fn a_role_that_escalates_and_is_not_refused_is_noticed() {
    let azure = |id: &str, action: &str, withheld: &str| {
        let block = json!({ "actions": [action], "notActions": [withheld], "dataActions": [], "notDataActions": [] });
        held("azure", "capability = {}", &json!([{ "id": id, "roleName": "R", "permissions": [block] }]))
    };
    let (known, new) = ("8e3af657-a8ff-443c-a75c-2fe8c4bcb635", "00000000-1111-2222-3333-444444444444");
    assert!(azure(known, "*", "").0);
    assert!(azure(new, "*", "Microsoft.Authorization/*").0, "as Contributor has it");
    for action in ["*", "microsoft.authorization/*", "Microsoft.Authorization/roleAssignments/write", "*/write"] {
        let (right, said) = azure(new, action, "");
        assert!(!right && said.contains("hands out access"), "{action}: {said}");
    }
    let gcp = |name: &str, permission: &str| {
        held("gcp", "capability = {}", &json!([{ "name": name, "title": "T", "includedPermissions": [permission] }]))
    };
    assert!(gcp("roles/storage.admin", "storage.buckets.setIamPolicy").0);
    assert!(gcp("roles/new.viewer", "new.things.get").0);
    for (name, permission) in [
        ("roles/new.admin", "new.things.setIamPolicy"),
        ("roles/new.runner", "iam.serviceAccounts.actAs"),
        ("roles/storage.admin", "storage.hmacKeys.create"),
    ] {
        let (right, said) = gcp(name, permission);
        assert!(!right && said.contains(name), "{name}: {said}");
    }
}

/// Every role of the shipped maps is looked at: against a list without any role, each is wrong.
#[test]
fn no_role_of_the_shipped_maps_is_passed_over() {
    for cloud in [Cloud::Azure, Cloud::Gcp] {
        let (right, said) = held(&cloud.to_string(), &crate::maps::text(cloud), &json!([]));
        assert!(!right);
        for (capability, permission) in map(cloud).capability {
            // Actions that only the list of operations has need no role to name them.
            let listed = permission.roles.iter().all(|r| r.permissions.iter().all(|p| p.contains("dnszones")))
                && permission.roles.iter().all(|r| r.data_permissions.is_empty());
            assert!(listed || said.contains(&format!("{capability}:")), "{capability} was not looked at: {said}");
        }
    }
}
