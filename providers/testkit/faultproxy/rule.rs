//! Which requests go wrong, and how. Pure but for the state of its own generator.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What goes wrong with a request. Times are milliseconds.
///
/// Whatever is forwarded reaches the cloud and takes effect even if the client has given up by then, as it would in a
/// real network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// The request reaches the cloud late.
    DelayBefore {
        /// How late.
        millis: u64,
    },
    /// The request reaches the cloud at once, the answer reaches the client late.
    DelayAfter {
        /// How late.
        millis: u64,
    },
    /// The cloud does it; the client sees a connection reset.
    DropAfter,
    /// The cloud never hears of it; the client sees a connection reset.
    Reset,
    /// The cloud never hears of it, the client no answer.
    Stall,
    /// The cloud never hears of it; the client gets a 200 with a body that is no XML.
    Garbage,
    /// The cloud never hears of it; the client gets this error in AWS's XML.
    Status {
        /// The HTTP status, 400 to 599.
        status: u16,
        /// The AWS error code; by default the one that AWS would send with this status.
        #[serde(default)]
        code: Option<String>,
    },
    /// Success is answered at once, the write forwarded later. For `CreatePolicyVersion` and `DeletePolicyVersion`.
    DelayedEffect {
        /// How much later.
        millis: u64,
    },
    /// The answer is the one that the same read had this long ago. For `GetPolicy`, `GetPolicyVersion` and
    /// `ListPolicyVersions`. The proxy knows only what went through it; see `history.rs`.
    StaleRead {
        /// How old.
        millis: u64,
    },
}

impl Fault {
    /// The actions to which this can happen; `None` for all.
    fn possible_for(&self) -> Option<&'static [&'static str]> {
        match self {
            Self::DelayedEffect { .. } => Some(&["CreatePolicyVersion", "DeletePolicyVersion"]),
            Self::StaleRead { .. } => Some(&["GetPolicy", "GetPolicyVersion", "ListPolicyVersions"]),
            _ => None,
        }
    }

    /// The AWS error code that goes with an HTTP status (AWS IAM and STS API References, "Common Error Types").
    pub(super) fn usual_code(status: u16) -> &'static str {
        match status {
            403 => "AccessDenied",
            404 => "NoSuchEntity",
            409 => "LimitExceeded",
            429 => "Throttling",
            503 => "ServiceUnavailable",
            500.. => "InternalFailure",
            _ => "ValidationError",
        }
    }
}

/// Applies a fault to some requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The `Action` parameters it is for, or `*` for every request, those to S3 included.
    pub actions: Vec<String>,
    /// What happens to them.
    pub fault: Fault,
    /// How many matching requests pass before it begins.
    #[serde(default)]
    pub skip: u32,
    /// How often it happens; without it, until the rule is removed.
    #[serde(default)]
    pub times: Option<u32>,
    /// The share of matching requests, 0 to 1, to which it happens.
    #[serde(default = "always")]
    pub probability: f64,
}

fn always() -> f64 {
    1.0
}

impl Rule {
    /// Every request with this action, until removed.
    #[must_use]
    pub fn on(action: &str, fault: Fault) -> Self {
        Self { actions: vec![action.to_owned()], fault, skip: 0, times: None, probability: 1.0 }
    }

    /// Every request, until removed.
    #[must_use]
    pub fn on_all(fault: Fault) -> Self {
        Self::on("*", fault)
    }

    /// `CreatePolicyVersion` succeeds at once and takes effect after `delay`.
    #[must_use]
    pub fn delayed_effect(delay: Duration) -> Self {
        Self::on("CreatePolicyVersion", Fault::DelayedEffect { millis: millis(delay) })
    }

    /// Every read of a policy and its versions shows what was true `age` ago.
    #[must_use]
    pub fn stale_reads(age: Duration) -> Self {
        let actions = ["GetPolicy", "GetPolicyVersion", "ListPolicyVersions"].map(str::to_owned).to_vec();
        Self { actions, ..Self::on("", Fault::StaleRead { millis: millis(age) }) }
    }

    /// The same, `times` times.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times: Some(times), ..self }
    }

    /// The same, after `skip` requests have passed.
    #[must_use]
    pub fn skip(self, skip: u32) -> Self {
        Self { skip, ..self }
    }

    /// The same, for this share of the requests, 0 to 1.
    #[must_use]
    pub fn probability(self, probability: f64) -> Self {
        Self { probability, ..self }
    }

    fn check(&self) -> Result<(), InvalidRule> {
        if self.actions.is_empty() {
            return Err(InvalidRule("a rule needs an action, or * for all".to_owned()));
        }
        if !(0.0..=1.0).contains(&self.probability) {
            return Err(InvalidRule(format!("probability {} is not between 0 and 1", self.probability)));
        }
        if let Fault::Status { status, .. } = self.fault
            && !(400..=599).contains(&status)
        {
            return Err(InvalidRule(format!("status {status} is no error")));
        }
        match self.fault.possible_for() {
            Some(possible) => match self.actions.iter().find(|action| !possible.contains(&action.as_str())) {
                Some(action) => Err(InvalidRule(format!("this fault cannot happen to {action}, only to {possible:?}"))),
                None => Ok(()),
            },
            None => Ok(()),
        }
    }

    fn matches(&self, action: &str) -> bool {
        self.actions.iter().any(|wanted| wanted == "*" || wanted == action)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A rule that makes no sense, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidRule(String);

impl std::fmt::Display for InvalidRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidRule {}

/// The name of a rule in one proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RuleId(u64);

/// A rule and what it has done so far. A test that relies on a fault checks `fired`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RuleState {
    /// Its name.
    pub id: RuleId,
    /// The rule.
    pub rule: Rule,
    /// How many requests matched.
    pub matched: u32,
    /// To how many of them the fault happened.
    pub fired: u32,
}

/// All rules of one proxy. The first that fires decides.
#[derive(Debug)]
pub(super) struct Rules {
    rules: Vec<RuleState>,
    next: u64,
    generator: u64,
}

impl Rules {
    /// No rules. Equal seeds make equal choices.
    pub(super) fn new(seed: u64) -> Self {
        Self { rules: Vec::new(), next: 1, generator: seed }
    }

    pub(super) fn add(&mut self, rule: Rule) -> Result<RuleId, InvalidRule> {
        rule.check()?;
        let id = RuleId(self.next);
        self.next += 1;
        self.rules.push(RuleState { id, rule, matched: 0, fired: 0 });
        Ok(id)
    }

    pub(super) fn remove(&mut self, id: RuleId) {
        self.rules.retain(|state| state.id != id);
    }

    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    pub(super) fn states(&self) -> Vec<RuleState> {
        self.rules.clone()
    }

    /// What happens to a request with this action.
    pub(super) fn pick(&mut self, action: &str) -> Option<Fault> {
        let generator = &mut self.generator;
        self.rules.iter_mut().filter(|state| state.rule.matches(action)).find_map(|state| {
            state.matched += 1;
            let over = state.rule.times.is_some_and(|times| state.fired >= times);
            let fires = state.matched > state.rule.skip && !over && unit(generator) < state.rule.probability;
            fires.then(|| {
                state.fired += 1;
                state.rule.fault.clone()
            })
        })
    }
}

/// A number in 0..1 (SplitMix64, Steele et al. 2014).
fn unit(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    f64::from(u32::try_from(z >> 32).unwrap_or(u32::MAX)) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_skips_fires_and_ends() {
        let mut rules = Rules::new(1);
        rules.add(Rule::on("AssumeRole", Fault::Reset).skip(1).times(2)).unwrap();
        let picked: Vec<bool> = (0..5).map(|_| rules.pick("AssumeRole").is_some()).collect();
        assert_eq!(picked, [false, true, true, false, false]);
        assert_eq!(rules.pick("GetPolicy"), None);
        assert_eq!((rules.states()[0].matched, rules.states()[0].fired), (5, 2));
    }

    #[test]
    fn a_share_is_about_that_share() {
        let mut rules = Rules::new(7);
        rules.add(Rule::on_all(Fault::Reset).probability(0.25)).unwrap();
        let fired = (0..4000).filter(|_| rules.pick("AssumeRole").is_some()).count();
        assert!((850..1150).contains(&fired), "{fired} of 4000");
    }

    #[test]
    fn rules_that_cannot_work_are_refused() {
        let mut rules = Rules::new(1);
        assert!(rules.add(Rule::on("AssumeRole", Fault::DelayedEffect { millis: 1 })).is_err());
        assert!(rules.add(Rule::on_all(Fault::StaleRead { millis: 1 })).is_err());
        assert!(rules.add(Rule::on_all(Fault::Status { status: 200, code: None })).is_err());
        assert!(rules.add(Rule::on_all(Fault::Reset).probability(1.5)).is_err());
    }
}
