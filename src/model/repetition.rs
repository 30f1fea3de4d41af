//! What was granted again and again, what was used of it, and what would be enough. Pure. A proposal is a text for people to
//! review as a change of policy; nothing here, and nobody who calls this, applies one.

use std::collections::{BTreeMap, BTreeSet};

use grantd_provider_api::Capability;
use jiff::Timestamp;

use crate::{Digest, Grant, GrantId, GrantState, Lease, LeaseState, Subject, Tier};

/// Fewer grants than this are no habit, and nothing is proposed for them.
const HABIT: u64 = 3;

/// Proposed times are rounded up to so many seconds, so that they leave room and read well.
const STEP: u64 = 5 * 60;

/// The same access of the same subject, over a stretch of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repetition {
    /// Who used it.
    pub subject: Subject,
    /// The catalogue's name of the resource.
    pub resource: String,
    /// How sensitive it was the last time.
    pub tier: Tier,
    /// What was granted.
    pub capability: Capability,
    /// How often it was granted.
    pub grants: u64,
    /// How many of those are not over, so that they may come to be used.
    pub active: u64,
    /// How many of those were uses of break-glass.
    pub break_glass: u64,
    /// Under how many of them anything was taken.
    pub used_grants: u64,
    /// How many leases were taken.
    pub leases: u64,
    /// How long all of them together were approved for, in seconds.
    pub approved_seconds: u64,
    /// For how much of that a lease lived, in seconds.
    pub used_seconds: u64,
    /// The longest that one of them was approved for, in seconds.
    pub longest_approved: u64,
    /// The longest from the beginning of a grant to the end of its last lease, in seconds.
    pub longest_used: u64,
    /// The longest lease, in seconds.
    pub longest_lease: u64,
    /// To which key prefixes it was narrowed; empty where the whole of the resource was granted at least once.
    pub prefixes: Vec<String>,
    /// How many capabilities on the resource were granted to the subject in all.
    pub capabilities_approved: u64,
    /// How many of those were used.
    pub capabilities_used: u64,
    /// When it was last granted.
    pub last_at: Timestamp,
}

/// What would be enough, as a change of policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Of what kind.
    pub kind: ProposalKind,
    /// In words.
    pub words: String,
    /// The file of the bundle that it adds.
    pub file: String,
    /// What stands in it.
    pub rules: String,
}

/// Of what kind a proposal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProposalKind {
    /// Nothing of it was used: it is not to be requested any more.
    Drop,
    /// At tier low: exactly this without anybody's approval, for as long as it was used.
    SelfService,
    /// For no longer than it was used.
    Shorter,
}

impl ProposalKind {
    /// As the wire writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::SelfService => "self_service",
            Self::Shorter => "shorter",
        }
    }
}

impl Proposal {
    /// The change as a unified diff against the policy bundle, for `git apply` or `patch`.
    #[must_use]
    pub fn diff(&self) -> String {
        let lines: Vec<&str> = self.rules.lines().collect();
        let added: String = lines.iter().map(|line| format!("+{line}\n")).collect();
        format!("--- /dev/null\n+++ b/{}\n@@ -0,0 +1,{} @@\n{added}", self.file, lines.len())
    }
}

/// Groups grants by subject, resource and capability, those granted most often first. Grants that never began are left out.
#[must_use]
pub fn repetitions(grants: &[Grant], leases: &[Lease], now: Timestamp) -> Vec<Repetition> {
    let mut taken: BTreeMap<GrantId, Vec<&Lease>> = BTreeMap::new();
    for lease in leases.iter().filter(|lease| !matches!(lease.state, LeaseState::Failed { .. })) {
        taken.entry(lease.grant).or_default().push(lease);
    }
    let mut groups: BTreeMap<(String, String, String), Vec<&Grant>> = BTreeMap::new();
    for grant in grants.iter().filter(|grant| began(grant)) {
        let request = &grant.request;
        let subject = format!("{}:{}:{}", request.subject.kind, request.subject.issuer, request.subject.id);
        let key = (subject, request.resource.clone(), request.entitlement.capability.to_string());
        groups.entry(key).or_default().push(grant);
    }
    let mut breadth: BTreeMap<(&String, &String), (u64, u64)> = BTreeMap::new();
    for ((subject, resource, _), grants) in &groups {
        let (approved, used) = breadth.entry((subject, resource)).or_default();
        *approved = approved.saturating_add(1);
        *used = used.saturating_add(u64::from(grants.iter().any(|grant| taken.contains_key(&grant.id))));
    }
    let of = |((subject, resource, _), grants): (&(String, String, String), &Vec<&Grant>)| {
        let breadth = breadth.get(&(subject, resource)).copied().unwrap_or_default();
        repetition(grants, &taken, breadth, now)
    };
    let mut all: Vec<Repetition> = groups.iter().filter_map(of).collect();
    all.sort_by_key(|one| std::cmp::Reverse(one.grants));
    all
}

fn repetition(
    grants: &[&Grant],
    taken: &BTreeMap<GrantId, Vec<&Lease>>,
    (capabilities_approved, capabilities_used): (u64, u64),
    now: Timestamp,
) -> Option<Repetition> {
    let last = grants.iter().max_by_key(|grant| grant.created_at)?;
    let request = &last.request;
    let mut one = Repetition {
        subject: request.subject.clone(),
        resource: request.resource.clone(),
        tier: last.tier,
        capability: request.entitlement.capability.clone(),
        grants: count(grants.len()),
        active: count(grants.iter().filter(|grant| matches!(grant.state, GrantState::Active { .. })).count()),
        break_glass: count(grants.iter().filter(|grant| grant.request.break_glass.is_some()).count()),
        used_grants: 0,
        leases: 0,
        approved_seconds: 0,
        used_seconds: 0,
        longest_approved: 0,
        longest_used: 0,
        longest_lease: 0,
        prefixes: Vec::new(),
        capabilities_approved,
        capabilities_used,
        last_at: last.created_at,
    };
    let mut prefixes = BTreeSet::new();
    for grant in grants {
        let approved = grant.request.duration_seconds;
        let times = grant.request.recurrence.map_or(1, |recurs| u64::from(recurs.times));
        one.approved_seconds = one.approved_seconds.saturating_add(approved.saturating_mul(times));
        one.longest_approved = one.longest_approved.max(approved);
        prefixes.insert(grant.request.entitlement.narrowing.prefix.clone());
        let Some(leases) = taken.get(&grant.id) else { continue };
        one.used_grants = one.used_grants.saturating_add(1);
        one.leases = one.leases.saturating_add(count(leases.len()));
        let lived: Vec<(Timestamp, Timestamp)> =
            leases.iter().map(|lease| (lease.created_at, end(lease, now))).collect();
        let longest = lived.iter().map(|(from, to)| seconds(*from, *to)).max().unwrap_or_default();
        one.longest_lease = one.longest_lease.max(longest);
        let begun = lived.iter().map(|(from, _)| *from).min().unwrap_or(grant.created_at);
        let over = lived.iter().map(|(_, to)| *to).max().unwrap_or(begun);
        let since = match grant.state {
            GrantState::Active { since, .. } => since,
            _ => begun,
        };
        // What recurs is as long as each of its times, and no lease goes on over two of them.
        let span = if grant.request.recurrence.is_some() { approved } else { seconds(since.min(begun), over) };
        one.longest_used = one.longest_used.max(span);
        one.used_seconds = one.used_seconds.saturating_add(together(lived));
    }
    if !prefixes.contains(&None) {
        one.prefixes = prefixes.into_iter().flatten().collect();
    }
    Some(one)
}

fn began(grant: &Grant) -> bool {
    match grant.state {
        GrantState::Active { .. } | GrantState::Ended { .. } => true,
        // What was revoked before it began had not been used either.
        GrantState::Revoked { .. } => grant.has_quorum(),
        _ => false,
    }
}

/// When a lease ended, as far as it did.
fn end(lease: &Lease, now: Timestamp) -> Timestamp {
    let end = match &lease.state {
        LeaseState::Issuing | LeaseState::Active => now,
        LeaseState::Revoking { requested_at, .. }
        | LeaseState::Expiring { requested_at, .. }
        | LeaseState::RevokeFailed { requested_at, .. } => *requested_at,
        LeaseState::Revoked { confirmed_at, .. } => *confirmed_at,
        LeaseState::Expired { at, .. } | LeaseState::Failed { at, .. } => *at,
    };
    end.min(lease.access_until)
}

/// How long any of these lasted, what overlaps counted once, in seconds.
fn together(mut spans: Vec<(Timestamp, Timestamp)>) -> u64 {
    spans.sort_unstable();
    let (mut total, mut covered) = (0_u64, Timestamp::MIN);
    for (from, to) in spans {
        total = total.saturating_add(seconds(from.max(covered), to));
        covered = covered.max(to);
    }
    total
}

fn seconds(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.duration_since(from).as_secs()).unwrap_or_default()
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

impl Repetition {
    /// What would be enough, if that is less than what was granted, or if at tier low nobody would have to be asked.
    /// Nothing for break-glass: that is reviewed use by use. Nothing either for a name that would have to be quoted.
    #[must_use]
    pub fn proposal(&self) -> Option<Proposal> {
        let subject = format!("{}:{}:{}", self.subject.kind, self.subject.issuer, self.subject.id);
        let capability = self.capability.to_string();
        let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "._:-".contains(c));
        // A second colon in the issuer would be written otherwise.
        let issuer = !self.subject.issuer.contains(':');
        if self.grants < HABIT || self.break_glass > 0 || !issuer || !plain(&subject) || !plain(&self.resource) {
            return None;
        }
        let topic = format!("{subject}\n{}\n{capability}", self.resource);
        let digest = Digest::of("grantd-proposal-v1", topic.as_bytes()).to_string();
        let id = format!("proposed-{}", digest.rsplit(':').next().and_then(|hex| hex.get(..12))?);
        let who = format!("{} on {} by {}", capability, self.resource, self.subject.name);
        let enough = self.longest_used.div_ceil(STEP).max(1).saturating_mul(STEP);
        if self.leases == 0 && self.active > 0 {
            return None;
        }
        let (kind, words, rules) = if self.leases == 0 {
            let words = format!("{who} was granted {} times and never used: it is not needed", self.grants);
            let rules = refuse(&id, (&subject, &self.resource, &capability), &words, None);
            (ProposalKind::Drop, words, rules)
        } else if self.tier == Tier::Low {
            let ttl = self.longest_lease.div_ceil(STEP).max(1).saturating_mul(STEP).min(enough);
            let words = format!(
                "{who} was granted {} times at tier low: let it be self-service, for {} at most in leases of {}",
                self.grants,
                minutes(enough),
                minutes(ttl)
            );
            let rules = permit(&id, (&subject, &self.resource, &capability), &words, (ttl, enough));
            (ProposalKind::SelfService, words, rules)
        } else if enough < self.longest_approved {
            let words = format!(
                "{who} was approved for up to {} and used for {} at most: grant {}",
                minutes(self.longest_approved),
                minutes(self.longest_used.div_ceil(60).max(1).saturating_mul(60)),
                minutes(enough)
            );
            let rules = refuse(&id, (&subject, &self.resource, &capability), &words, Some(enough));
            (ProposalKind::Shorter, words, rules)
        } else {
            return None;
        };
        Some(Proposal { kind, words, file: format!("policies/{id}.cedar"), rules })
    }
}

fn minutes(seconds: u64) -> String {
    format!("{}m", seconds.div_ceil(60))
}

fn permit(
    id: &str,
    (subject, resource, capability): (&str, &str, &str),
    words: &str,
    (ttl, duration): (u64, u64),
) -> String {
    let one = |action: &str| {
        format!(
            "@id(\"{id}-{action}\")\n@max_duration(\"{}\")\n@max_ttl(\"{}\")\npermit (\n  \
             principal == Grantd::Subject::\"{subject}\",\n  action == Grantd::Action::\"{action}\",\n  \
             resource == Grantd::Resource::\"{resource}\"\n)\nwhen\n{{\n  \
             context.capability.name == \"{capability}\" &&\n  resource.tier == Grantd::Tier::\"low\" &&\n  \
             context.self_subject &&\n  context.persistence == Grantd::Persistence::\"none\" &&\n  !context.widens\n}};\n",
            minutes(duration),
            minutes(ttl)
        )
    };
    format!("// {words}.\n\n{}\n{}", one("request"), one("issue"))
}

/// A forbid, and so never more than there was: of requests for longer than `most` seconds, or of all.
fn refuse(id: &str, (subject, resource, capability): (&str, &str, &str), words: &str, most: Option<u64>) -> String {
    let (next, longer) = match most {
        Some(most) => {
            (format!("ask for {} or less", minutes(most)), format!(" &&\n  context.duration_seconds > {most}"))
        }
        None => ("ask the owners of {resource} to have this rule removed".to_owned(), String::new()),
    };
    format!(
        "@id(\"{id}\")\n@reason(\"{words}\")\n@who_can_fix(\"the owners of {{resource}}: {{owners}}\")\n\
         @next(\"{next}\")\nforbid (\n  principal,\n  action == Grantd::Action::\"request\",\n  \
         resource == Grantd::Resource::\"{resource}\"\n)\nwhen\n{{\n  \
         context.subject == Grantd::Subject::\"{subject}\" &&\n  context.capability.name == \"{capability}\"{longer}\n}};\n"
    )
}
