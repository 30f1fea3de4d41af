//! Which signals a policy rests on, read from the policy itself: there is nothing to declare that could be forgotten.
//!
//! What was not looked up is not in the context, and whoever reads it then fails to evaluate - a forbid as much as a
//! permit - which says that it is needed, and denies when it cannot be had (promises P6, P7). That holds as long as a
//! policy cannot see an absence without failing: so it may neither ask with `has` for a signal, nor use the context as a whole.

use std::collections::BTreeSet;

use cedar_policy::Policy;
use grantd_model::SignalFact;
use serde_json::Value;

/// Every fact of a signal that `policy` reads.
///
/// # Errors
/// When it could tell that one is absent.
pub(super) fn of(policy: &Policy) -> Result<BTreeSet<SignalFact>, String> {
    let json = policy.to_json().map_err(|error| error.to_string())?;
    let mut facts = BTreeSet::new();
    if let Some(conditions) = json.get("conditions") {
        walk(conditions, &mut facts)?;
    }
    Ok(facts)
}

/// Walks an expression (Cedar documentation, "JSON policy format").
fn walk(expression: &Value, facts: &mut BTreeSet<SignalFact>) -> Result<(), String> {
    match expression {
        Value::Array(all) => all.iter().try_for_each(|one| walk(one, facts)),
        Value::Object(members) if is_context(expression) && members.len() == 1 => {
            Err("it uses the context as a whole: read what it needs of it, such as context.uid".to_owned())
        }
        Value::Object(members) => members.iter().try_for_each(|(operator, operands)| {
            if !operands.get("left").is_some_and(is_context) {
                return walk(operands, facts);
            }
            let attribute = operands.get("attr").and_then(Value::as_str);
            match (operator.as_str(), attribute.map(SignalFact::named)) {
                (".", Some(fact)) => {
                    facts.extend(fact);
                    Ok(())
                }
                ("has", Some(None)) => Ok(()),
                ("has", Some(Some(fact))) => Err(format!(
                    "it asks whether the context has {fact}: what cannot be looked up is denied, so read it without asking"
                )),
                _ => walk(operands, facts),
            }
        }),
        _ => Ok(()),
    }
}

fn is_context(expression: &Value) -> bool {
    expression.get("Var").and_then(Value::as_str) == Some("context")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_text(condition: &str) -> Result<BTreeSet<SignalFact>, String> {
        of(&Policy::parse(None, format!("forbid(principal, action, resource) {condition};")).unwrap())
    }

    #[test]
    fn what_a_policy_reads_is_found_wherever_it_stands() {
        for (condition, expected) in [
            ("", [].as_slice()),
            ("when { context.uid == 1 && context has uid }", &[]),
            ("when { resource.sensitive && context.in_freeze }", &[SignalFact::InFreeze]),
            ("unless { !(if context.on_call then true else 1 < 2) }", &[SignalFact::OnCall]),
            (
                "when { [context.in_freeze].contains({a: context.in_change_window}.a) } unless { context[\"on_call\"] }",
                &[SignalFact::OnCall, SignalFact::InChangeWindow, SignalFact::InFreeze],
            ),
            ("when { \"context.on_call\" == \"context\" }", &[]),
        ] {
            assert_eq!(of_text(condition), Ok(expected.iter().copied().collect()), "{condition}");
        }
    }

    #[test]
    fn p7_an_absence_cannot_be_seen_without_failing() {
        for bad in [
            "when { context has in_freeze && context.in_freeze }",
            "unless { context has \"ticket_state\" }",
            "when { (if true then context else context).in_freeze }",
            "when { context == context }",
            "when { [context].isEmpty() }",
            "when { {a: context}.a.in_freeze }",
        ] {
            assert!(of_text(bad).is_err(), "{bad}");
        }
    }
}
