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
    /// Whether it admits the issuer's tokens without demanding their audience and subject.
    pub loose: bool,
    /// Whether it has a form that is not understood here: `NotPrincipal`, or an `Allow` of `NotAction`.
    pub unclear: bool,
}

/// Whom a role is to trust, and nobody else.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expected<'a> {
    /// The identity that `GetCallerIdentity` tells.
    Base(&'a str),
    /// Tokens of the daemon's own, with exactly this audience and subject.
    Token {
        /// The ARN of the identity provider.
        provider: &'a str,
        /// What stands before the names of its claims.
        host: &'a str,
        /// For whom they are.
        audience: &'a str,
        /// About whom they are.
        subject: &'a str,
    },
}

impl Expected<'_> {
    /// Whether a statement demands the audience and the subject, in so many words.
    fn is_demanded(&self, statement: &Value) -> bool {
        let Self::Token { host, audience, subject, .. } = self else { return true };
        let equals = statement.get("Condition").and_then(|condition| condition.get("StringEquals"));
        let demands = |claim: &str, value: &str| {
            let found = equals.and_then(|equals| equals.get(format!("{host}:{claim}")));
            found.is_some_and(|found| strings(found) == [value])
        };
        demands("aud", audience) && demands("sub", subject)
    }
}

/// Reads a trust policy as IAM returns it: percent-encoded JSON (IAM API Reference, `GetRole`).
pub(crate) fn read(encoded: &str, expected: &Expected<'_>) -> Result<Trust, String> {
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
                            ("AWS", name) if matches!(expected, Expected::Base(base) if is_same(name, base)) => {}
                            ("Federated", name) if matches!(expected, Expected::Token { provider, .. } if *provider == name) =>
                            {
                                trust.loose |= !expected.is_demanded(statement);
                            }
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
        read(&text.to_string(), &Expected::Base(BASE)).unwrap()
    }

    #[test]
    fn a_token_is_trusted_by_its_audience_and_subject_only() {
        let provider = "arn:aws:iam::123456789012:oidc-provider/tokens.example.com";
        let expected = Expected::Token {
            provider,
            host: "tokens.example.com",
            audience: "sts.amazonaws.com",
            subject: "grantd:prod",
        };
        let of = |principal: Value, condition: Value| {
            let text = json!({ "Statement": [{ "Effect": "Allow", "Principal": principal, "Condition": condition }] });
            read(&text.to_string(), &expected).unwrap()
        };
        let both = json!({ "StringEquals": {
            "tokens.example.com:aud": "sts.amazonaws.com", "tokens.example.com:sub": ["grantd:prod"] } });
        assert_eq!(of(json!({ "Federated": provider }), both.clone()), Trust::default());
        for loose in [
            json!({}),
            json!({ "StringEquals": { "tokens.example.com:aud": "sts.amazonaws.com" } }),
            json!({ "StringLike": both["StringEquals"] }),
            json!({ "StringEquals": { "tokens.example.com:aud": "sts.amazonaws.com",
                "tokens.example.com:sub": ["grantd:prod", "grantd:prod:revoker"] } }),
        ] {
            assert!(of(json!({ "Federated": provider }), loose.clone()).loose, "{loose}");
        }
        let other = of(json!({ "Federated": format!("{provider}2"), "AWS": BASE }), both);
        assert_eq!(other.foreign.len(), 2, "{other:?}");
    }

    #[test]
    fn the_base_alone_is_nobody_else() {
        assert_eq!(of(json!({ "AWS": BASE })), Trust::default());
        assert_eq!(of(json!({ "AWS": [BASE] })), Trust::default());
        let encoded = "%7B%22Statement%22%3A%7B%22Effect%22%3A%22Allow%22%2C%22Principal%22%3A%22%2A%22%7D%7D";
        assert!(read(encoded, &Expected::Base(BASE)).unwrap().everybody);
    }

    #[test]
    fn everybody_else_is_found() {
        let found = of(json!({ "AWS": [BASE, "arn:aws:iam::123456789012:root"], "Service": "ec2.amazonaws.com" }));
        assert_eq!(found.foreign, ["AWS arn:aws:iam::123456789012:root", "Service ec2.amazonaws.com"]);
        assert!(of(json!("*")).everybody && of(json!({ "AWS": "*" })).everybody);
        let not = json!({ "Statement": { "Effect": "Allow", "NotPrincipal": { "AWS": BASE }, "Action": "*" } });
        assert!(read(&not.to_string(), &Expected::Base(BASE)).unwrap().unclear);
        assert!(read("{}", &Expected::Base(BASE)).is_err() && read("<html>", &Expected::Base(BASE)).is_err());
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
