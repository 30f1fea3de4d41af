//! What a policy's annotations mean. An annotation that is not understood is never skipped: it could be an obligation.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{Effect, Policy};
use grantd_model::{Capacity, Obligations, OnPolicyChange, Quorum, Signal};

use super::refusal::{DEFAULT_DENY, POLICY_ERROR, Template};
use crate::config::seconds;

/// The oldest that a looked-up fact may be, in seconds.
const OLDEST: u64 = 24 * 60 * 60;

/// What follows when a policy determines a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Consequence {
    /// A permit's conditions.
    Permit(Obligations),
    /// A forbid's words.
    Forbid(Words),
}

/// What a forbid says to whom it refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words {
    /// `@reason`.
    pub(super) reason: Template,
    /// `@who_can_fix`.
    pub(super) who_can_fix: Template,
    /// `@next`.
    pub(super) next: Template,
}

/// The policy's id: lowercase letters, digits and hyphens, and none of the ids that the daemon itself gives.
pub(super) fn id(policy: &Policy) -> Result<String, String> {
    let Some(id) = policy.annotation("id") else {
        return Err("a policy has no @id: give it one, because refusals and the audit name it".to_owned());
    };
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if id.is_empty() || id.len() > 64 || !id.bytes().all(good) {
        return Err(format!("@id({id:?}): write 1 to 64 lowercase letters, digits and hyphens"));
    }
    if [DEFAULT_DENY, POLICY_ERROR].contains(&id) {
        return Err(format!("@id({id:?}) is what the daemon itself says: choose another"));
    }
    Ok(id.to_owned())
}

/// Reads every annotation of `policy` but its id.
pub(super) fn consequence(policy: &Policy) -> Result<Consequence, String> {
    let annotations = policy.annotations().filter(|(key, _)| *key != "id");
    match policy.effect() {
        Effect::Permit => permit(annotations).map(Consequence::Permit),
        Effect::Forbid => forbid(annotations).map(Consequence::Forbid),
    }
}

fn permit<'a>(annotations: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Obligations, String> {
    let mut obligations = Obligations::default();
    for (key, value) in annotations {
        let wrong = |problem: String| format!("@{key}({value:?}): {problem}");
        match key {
            "approvals" => obligations.approvals = approvals(value).map_err(wrong)?,
            "max_ttl" => obligations.max_ttl = Some(seconds(value).map_err(wrong)?),
            "max_duration" => obligations.max_duration = Some(seconds(value).map_err(wrong)?),
            "max_recurrence" => obligations.max_recurrence = Some(seconds(value).map_err(wrong)?),
            "max_concurrent" => obligations.max_concurrent = Some(count(value).map_err(wrong)?),
            "max_uses" => obligations.max_uses = Some(count(value).map_err(wrong)?),
            "approve_within" => obligations.approve_within = Some(seconds(value).map_err(wrong)?),
            "signal_max_age" => obligations.signal_max_age = Some(age(value).map_err(wrong)?),
            "renew_signal_max_age" => obligations.renew_signal_max_age = Some(age(value).map_err(wrong)?),
            "signed_approval" => {
                obligations.signed_approval = match value {
                    "" => true,
                    _ => return Err(wrong("write it without anything in brackets".to_owned())),
                }
            }
            "escalate" => {
                obligations.escalate = match value {
                    "steward" => true,
                    _ => {
                        return Err(wrong(
                            "write \"steward\": nobody else can be asked in the owner's place".to_owned(),
                        ));
                    }
                }
            }
            "on_policy_change" => obligations.on_policy_change = end_or_keep(value).map_err(wrong)?,
            "on_signal_change" => obligations.on_signal_change = end_or_keep(value).map_err(wrong)?,
            "notify" => obligations.notify = notify(value).map_err(wrong)?,
            "review_within" => obligations.review_within = Some(seconds(value).map_err(wrong)?),
            "may_lack" => obligations.may_lack = signals(value).map_err(wrong)?,
            "reason" | "who_can_fix" | "next" => {
                return Err(format!("@{key} belongs on a forbid: a permit has nothing to refuse"));
            }
            _ => return Err(unknown(key)),
        }
    }
    Ok(obligations)
}

fn forbid<'a>(annotations: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Words, String> {
    let mut words = BTreeMap::new();
    for (key, value) in annotations {
        match key {
            "reason" | "who_can_fix" | "next" => {
                let template = Template::parse(value).map_err(|problem| format!("@{key}({value:?}): {problem}"))?;
                words.insert(key, template);
            }
            "approvals"
            | "max_ttl"
            | "max_duration"
            | "max_recurrence"
            | "max_concurrent"
            | "max_uses"
            | "approve_within"
            | "escalate"
            | "signed_approval"
            | "on_policy_change"
            | "notify"
            | "review_within"
            | "may_lack"
            | "signal_max_age"
            | "renew_signal_max_age"
            | "on_signal_change" => {
                return Err(format!("@{key} belongs on a permit: a forbid allows nothing that it could oblige"));
            }
            _ => return Err(unknown(key)),
        }
    }
    let mut take = |key: &str| {
        words.remove(key).ok_or_else(|| {
            format!("a forbid needs @{key}: whom it refuses must learn why, who can fix it and what to do")
        })
    };
    Ok(Words { reason: take("reason")?, who_can_fix: take("who_can_fix")?, next: take("next")? })
}

fn unknown(key: &str) -> String {
    format!("@{key} is not an annotation that this version knows: correct it, or remove it if it means nothing here")
}

/// `owner:1, security:1`.
fn approvals(value: &str) -> Result<Quorum, String> {
    let mut approvals = Quorum::new();
    for part in value.split(',') {
        let Some((capacity, number)) = part.split_once(':') else {
            return Err("write capacities with their numbers, such as \"owner:1, security:1\"".to_owned());
        };
        let capacity: Capacity = capacity.trim().parse()?;
        if approvals.insert(capacity, count(number.trim())?).is_some() {
            return Err(format!("{capacity} stands twice"));
        }
    }
    Ok(approvals)
}

fn count(value: &str) -> Result<u32, String> {
    match value.parse() {
        Ok(number) if number > 0 && value.bytes().all(|b| b.is_ascii_digit()) => Ok(number),
        _ => Err(format!("\"{value}\" is not a count: write a whole number, 1 or more")),
    }
}

fn end_or_keep(value: &str) -> Result<OnPolicyChange, String> {
    match value {
        "end" => Ok(OnPolicyChange::End),
        "keep" => Ok(OnPolicyChange::Keep),
        _ => Err("write \"end\" or \"keep\"".to_owned()),
    }
}

/// How old a fact may be: what is older than a day is no fact of today. None at all: it is looked up for each decision.
fn age(value: &str) -> Result<u64, String> {
    if value == "0s" {
        return Ok(0);
    }
    match seconds(value)? {
        age if age <= OLDEST => Ok(age),
        _ => Err("write 24h or less".to_owned()),
    }
}

/// `ticket, on_call`.
fn signals(value: &str) -> Result<BTreeSet<Signal>, String> {
    let mut signals = BTreeSet::new();
    for name in value.split(',').map(str::trim) {
        let Some(signal) = Signal::ALL.into_iter().find(|signal| signal.as_str() == name) else {
            let all: Vec<&str> = Signal::ALL.iter().map(|signal| signal.as_str()).collect();
            return Err(format!("\"{name}\" is no signal: write some of {}, with commas between", all.join(", ")));
        };
        if !signals.insert(signal) {
            return Err(format!("{signal} stands twice"));
        }
    }
    Ok(signals)
}

/// `security, data-owners`.
fn notify(value: &str) -> Result<BTreeSet<String>, String> {
    let mut targets = BTreeSet::new();
    for target in value.split(',').map(str::trim) {
        if target.is_empty() || !targets.insert(target.to_owned()) {
            return Err("write each target once, with commas between".to_owned());
        }
    }
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(annotations: &str, effect: &str) -> Result<Consequence, String> {
        let text = format!("@id(\"x\") {annotations} {effect}(principal, action, resource);");
        consequence(&Policy::parse(None, text).unwrap())
    }

    #[test]
    fn every_obligation_of_the_model_can_be_written() {
        let text = r#"@approvals("owner:1, security:2") @max_ttl("30m") @max_duration("8h") @max_recurrence("720h") @max_concurrent("1")
            @max_uses("3") @approve_within("4h") @escalate("steward") @on_policy_change("keep") @notify("a, b")
            @signal_max_age("60s") @renew_signal_max_age("15m") @on_signal_change("keep") @review_within("24h")
            @may_lack("ticket, on_call") @signed_approval"#;
        let expected = Obligations {
            approvals: Quorum::from([(Capacity::Owner, 1), (Capacity::Security, 2)]),
            max_ttl: Some(1800),
            max_duration: Some(28800),
            max_recurrence: Some(30 * 86400),
            max_concurrent: Some(1),
            max_uses: Some(3),
            approve_within: Some(14400),
            escalate: true,
            signed_approval: true,
            on_policy_change: OnPolicyChange::Keep,
            on_signal_change: OnPolicyChange::Keep,
            signal_max_age: Some(60),
            renew_signal_max_age: Some(900),
            notify: BTreeSet::from(["a".to_owned(), "b".to_owned()]),
            review_within: Some(86400),
            may_lack: BTreeSet::from([Signal::Ticket, Signal::OnCall]),
        };
        assert_eq!(parse(text, "permit"), Ok(Consequence::Permit(expected)));
    }

    #[test]
    fn what_is_unknown_malformed_or_misplaced_is_refused_by_name() {
        let refused = |annotations: &str, effect: &str, word: &str| {
            let error = parse(annotations, effect).unwrap_err();
            assert!(error.contains(word), "{annotations}: {error}");
        };
        for bad in [
            r#"@max_tll("30m")"#,
            r#"@max_ttl("30")"#,
            r#"@max_ttl("0s")"#,
            "@max_ttl",
            r#"@max_duration("-1h")"#,
            r#"@max_recurrence("often")"#,
            r#"@approve_within("soon")"#,
            r#"@escalate("owner")"#,
            r#"@max_uses("0")"#,
            r#"@max_uses("+1")"#,
            r#"@max_concurrent("1.5")"#,
            r#"@approvals("owner")"#,
            r#"@approvals("owner:0")"#,
            r#"@approvals("boss:1")"#,
            r#"@approvals("owner:1, owner:2")"#,
            r#"@approvals("")"#,
            r#"@on_policy_change("never")"#,
            r#"@notify("a,,b")"#,
            r#"@signed_approval("yes")"#,
            r#"@signal_max_age("soon")"#,
            r#"@on_signal_change("never")"#,
            r#"@renew_signal_max_age("25h")"#,
            r#"@reason("no")"#,
            r#"@review_within("0s")"#,
            r#"@may_lack("tickets")"#,
            r#"@may_lack("ticket, ticket")"#,
        ] {
            let key = bad.trim_start_matches('@').split('(').next().unwrap();
            refused(bad, "permit", key);
        }
        refused(r#"@max_ttl("30m") @reason("a") @who_can_fix("b") @next("c")"#, "forbid", "max_ttl");
        refused(r#"@reason("a") @who_can_fix("b")"#, "forbid", "@next");
        refused(r#"@reason("{secret}") @who_can_fix("b") @next("c")"#, "forbid", "secret");
        refused(r#"@reason("a") @who_can_fix("b") @next("c") @hint("d")"#, "forbid", "hint");
    }

    #[test]
    fn an_id_is_there_and_is_not_one_of_the_daemons_own() {
        let of = |annotation: &str| {
            id(&Policy::parse(None, format!("{annotation} permit(principal, action, resource);")).unwrap())
        };
        assert_eq!(of(r#"@id("low-1")"#), Ok("low-1".to_owned()));
        for bad in
            ["", r#"@id("")"#, r#"@id("Low")"#, r#"@id("a b")"#, r#"@id("default-deny")"#, r#"@id("policy-error")"#]
        {
            assert!(of(bad).is_err_and(|error| error.contains("@id")), "{bad}");
        }
    }
}
