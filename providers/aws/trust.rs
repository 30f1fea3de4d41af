//! Who else a role's trust policy lets in. Pure.

use percent_encoding::percent_decode_str;
use serde_json::Value;

/// What a trust policy says beside the base identity.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Trust {
    /// Others that it names: ARNs, account ids, services, identity providers.
    pub foreign: Vec<String>,
    /// Whether it admits everybody.
    pub everybody: bool,
    /// Whether it has a form that is not understood here: `NotPrincipal`, or an `Allow` of `NotAction`.
    pub unclear: bool,
}

/// Reads a trust policy as IAM returns it: percent-encoded JSON (IAM API Reference, `GetRole`). `base` is the ARN that
/// `GetCallerIdentity` tells.
pub(crate) fn read(encoded: &str, base: &str) -> Result<Trust, String> {
    let decoded = if encoded.trim_start().starts_with('{') {
        encoded.into()
    } else {
        percent_decode_str(encoded).decode_utf8().map_err(|_| "it is not UTF-8".to_owned())?
    };
    let document: Value = serde_json::from_str(&decoded).map_err(|error| format!("it is not JSON: {error}"))?;
    let statements = match document.get("Statement") {
        Some(Value::Array(list)) => list.clone(),
        Some(one @ Value::Object(_)) => vec![one.clone()],
        _ => return Err("it has no statements".to_owned()),
    };
    let mut trust = Trust::default();
    for statement in statements.iter().filter(|s| s.get("Effect").and_then(Value::as_str) == Some("Allow")) {
        trust.unclear |= statement.get("NotPrincipal").is_some() || statement.get("NotAction").is_some();
        match statement.get("Principal") {
            Some(Value::String(all)) => trust.everybody |= all == "*",
            Some(Value::Object(kinds)) => {
                for (kind, named) in kinds {
                    for name in strings(named) {
                        match (kind.as_str(), name) {
                            ("AWS", "*") => trust.everybody = true,
                            ("AWS", name) if is_same(name, base) => {}
                            (kind, name) => trust.foreign.push(format!("{kind} {name}")),
                        }
                    }
                }
            }
            _ => {}
        }
    }
    trust.foreign.sort();
    trust.foreign.dedup();
    Ok(trust)
}

/// Whether a principal is the identity that calls itself `base`. A session calls itself by its role's name without the
/// role's path (IAM User Guide, "IAM identifiers").
pub(crate) fn is_same(principal: &str, base: &str) -> bool {
    if principal == base {
        return true;
    }
    let session = base.split_once(":assumed-role/").and_then(|(head, rest)| Some((head, rest.split('/').next()?)));
    let Some((head, name)) = session else { return false };
    let role = principal.split_once(":role/").map(|(head, path)| (head, path.rsplit('/').next().unwrap_or_default()));
    role.is_some_and(|(role_head, role_name)| role_head.replacen(":iam:", ":sts:", 1) == head && role_name == name)
}

fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const BASE: &str = "arn:aws:iam::123456789012:user/grantd-base";

    fn of(principal: Value) -> Trust {
        let text = json!({ "Statement": [{ "Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole" }] });
        read(&text.to_string(), BASE).unwrap()
    }

    #[test]
    fn the_base_alone_is_nobody_else() {
        assert_eq!(of(json!({ "AWS": BASE })), Trust::default());
        assert_eq!(of(json!({ "AWS": [BASE] })), Trust::default());
        let encoded = "%7B%22Statement%22%3A%7B%22Effect%22%3A%22Allow%22%2C%22Principal%22%3A%22%2A%22%7D%7D";
        assert!(read(encoded, BASE).unwrap().everybody);
    }

    #[test]
    fn everybody_else_is_found() {
        let found = of(json!({ "AWS": [BASE, "arn:aws:iam::123456789012:root"], "Service": "ec2.amazonaws.com" }));
        assert_eq!(found.foreign, ["AWS arn:aws:iam::123456789012:root", "Service ec2.amazonaws.com"]);
        assert!(of(json!("*")).everybody && of(json!({ "AWS": "*" })).everybody);
        let not = json!({ "Statement": { "Effect": "Allow", "NotPrincipal": { "AWS": BASE }, "Action": "*" } });
        assert!(read(&not.to_string(), BASE).unwrap().unclear);
        assert!(read("{}", BASE).is_err() && read("<html>", BASE).is_err());
    }

    #[test]
    fn a_session_is_its_role_and_no_other() {
        let session = "arn:aws:sts::123456789012:assumed-role/ci/job-1";
        assert!(is_same("arn:aws:iam::123456789012:role/path/ci", session));
        for other in [
            "arn:aws:iam::123456789012:role/ci2",
            "arn:aws:iam::999999999999:role/ci",
            "arn:aws:iam::123456789012:user/ci",
        ] {
            assert!(!is_same(other, session), "{other}");
        }
    }
}
