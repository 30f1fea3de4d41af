//! Reading who is on call. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Failure;
use super::look::Party;

/// What those who are on call are called there, in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct OnCall(BTreeSet<String>);

/// Reads `answer`: a list at the JSON pointer `list`, and in each of it who it is at `person`.
pub(super) fn read(answer: &str, list: &str, person: &str) -> Result<OnCall, Failure> {
    let answer: Value = serde_json::from_str(answer).map_err(|_| Failure::away("its answer is not JSON"))?;
    let Some(Value::Array(all)) = answer.pointer(list) else {
        return Err(Failure::away(format!("its answer has no list at {list:?}")));
    };
    let name = |one: &Value| match one.pointer(person) {
        Some(Value::String(name)) => Ok(name.to_lowercase()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        _ => Err(Failure::away(format!("its list has an entry with no text at {person:?}"))),
    };
    all.iter().map(name).collect::<Result<_, _>>().map(OnCall)
}

impl OnCall {
    /// Whether `party` is. A workload never is; a person whom that source is not told of is not known to be or not to be.
    pub fn includes(&self, party: &Party<'_>, accounts: &BTreeMap<String, String>) -> Option<bool> {
        if !party.human {
            return Some(false);
        }
        accounts.get(party.name).map(|account| self.0.contains(&account.to_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_of_pagerduty_and_opsgenie_are_read() {
        let accounts =
            BTreeMap::from([("anna".to_owned(), "PANNA".to_owned()), ("ben".to_owned(), "ben@example.com".to_owned())]);
        let (anna, ben) = (Party { name: "anna", human: true }, Party { name: "ben", human: true });
        let pagerduty = r#"{"oncalls":[{"user":{"id":"PANNA","type":"user_reference"},"escalation_level":1}]}"#;
        let on_call = read(pagerduty, "/oncalls", "/user/id").unwrap();
        assert_eq!(on_call.includes(&anna, &accounts), Some(true));
        assert_eq!(on_call.includes(&ben, &accounts), Some(false));
        assert_eq!(on_call.includes(&Party { name: "carl", human: true }, &accounts), None);
        assert_eq!(on_call.includes(&Party { name: "anna", human: false }, &accounts), Some(false));
        let opsgenie = r#"{"data":{"onCallRecipients":["Ben@example.com"]}}"#;
        assert_eq!(read(opsgenie, "/data/onCallRecipients", "").unwrap().includes(&ben, &accounts), Some(true));
        assert_eq!(read("[]", "", "").unwrap().includes(&ben, &accounts), Some(false));
    }

    #[test]
    fn what_is_no_such_list_is_refused() {
        for answer in ["<html>", "{}", r#"{"oncalls":{}}"#, r#"{"oncalls":[{"user":{}}]}"#, r#"{"oncalls":[null]}"#] {
            assert!(read(answer, "/oncalls", "/user/id").is_err(), "{answer}");
        }
    }
}
