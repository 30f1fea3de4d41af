//! What somebody has to hear of when it happens in an account: the events that `bootstrap` makes alarms of. Pure.

use serde_json::{Value, json};

/// Each with its name, what it means, and what of a CloudTrail record it matches (Amazon EventBridge User Guide, "Event
/// patterns"). `revoker` is the ARN of the one session that may write denials.
pub(crate) fn events(revoker: &str, boundaries: &[&str], roles: &[&str]) -> Vec<(&'static str, &'static str, Value)> {
    // An event without a caller's ARN is nobody's that is known here.
    let others = json!([{ "anything-but": [revoker] }, { "exists": false }]);
    let mut events = vec![
        (
            "roles",
            "a role lost or changed its boundary, its trust or its rights",
            json!({
                "eventName": [
                    "AttachRolePolicy", "DeleteRole", "DeleteRolePermissionsBoundary", "PutRolePermissionsBoundary",
                    "UpdateAssumeRolePolicy",
                ],
                "requestParameters": { "roleName": roles },
            }),
        ),
        (
            "inline",
            "somebody else wrote or removed an inline policy of a role",
            json!({
                "eventName": ["DeleteRolePolicy", "PutRolePolicy"],
                "requestParameters": { "roleName": roles },
                "userIdentity": { "arn": others },
            }),
        ),
    ];
    // A pattern that names nothing is refused.
    if !boundaries.is_empty() {
        events.push((
            "versions",
            "somebody else wrote, chose or removed a version of a boundary: sessions may be alive that were ended",
            json!({
                "eventName": ["CreatePolicyVersion", "DeletePolicy", "DeletePolicyVersion", "SetDefaultPolicyVersion"],
                "requestParameters": { "policyArn": boundaries },
                "userIdentity": { "arn": others },
            }),
        ));
        events.push((
            "attached",
            "a boundary was attached as a permissions policy: it allows everything to whoever carries it",
            json!({
                "eventName": ["AttachGroupPolicy", "AttachRolePolicy", "AttachUserPolicy"],
                "requestParameters": { "policyArn": boundaries },
            }),
        ));
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    const REVOKER: &str = "arn:aws:sts::123456789012:assumed-role/grantd-revoker/grantd";

    #[test]
    fn what_the_revoker_does_all_day_sets_nothing_off_and_anybody_else_does() {
        let boundary = "arn:aws:iam::123456789012:policy/grantd-boundary";
        for (name, _, detail) in events(REVOKER, &[boundary], &["grantd-1"]) {
            let acts: Vec<&str> = detail["eventName"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            let its_work =
                acts.iter().any(|act| ["CreatePolicyVersion", "DeletePolicyVersion", "PutRolePolicy"].contains(act));
            let spares = detail["userIdentity"]["arn"][0]["anything-but"] == json!([REVOKER]);
            assert_eq!(its_work, spares, "{name}: {detail}");
        }
    }

    #[test]
    fn without_a_boundary_no_alarm_names_one() {
        let events = events(REVOKER, &[], &["grantd-1"]);
        assert_eq!(events.iter().map(|(name, ..)| *name).collect::<Vec<_>>(), ["roles", "inline"]);
        assert!(events.iter().all(|(_, _, detail)| detail["requestParameters"]["policyArn"].is_null()));
    }
}
