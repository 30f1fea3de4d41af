//! `request-file`, `review-request`: what waits, judged without believing the daemon that says it.
//!
//! The digest is recomputed here from what the file asks and plans. That the plan is what the entitlement means, and no
//! more, cannot be known here without the organisation's entitlement map: this says so and shows the native document.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::{Command, Stdio};

use grantd_model::statement::Word;
use grantd_model::{
    Capacity, Digest, Justification, NodeId, Request, Statement, Subject, Tier, extension_digest, request_digest,
};
use grantd_provider_api::{Ending, Persistence, Plan};
use grantd_wire::RequestFile;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::approve::confirmed;
use super::{Context, approvals, signing};
use crate::client::Answer;
use crate::elsewhere::ReviewRequest;
use crate::exit::{Exit, Failure};
use crate::print::{Facts, absolute, pretty, span};

/// Prints the request file of what waits on a grant.
pub(super) async fn request_file(context: &mut Context<'_>, id: &str) -> Result<(), Failure> {
    let answer: Answer<RequestFile> = context.client.get(&format!("/v1/grants/{id}/request-file"), &()).await?;
    context.raw(&answer.raw)
}

/// Shows a request file and signs a decision on it.
pub(super) fn review(context: &mut Context<'_>, asked: &ReviewRequest) -> Result<(), Failure> {
    let text = signing::read(&asked.file)?;
    let file: RequestFile = serde_json::from_str(&text)
        .map_err(|error| Failure::new(Exit::Usage, format!("{} is no request file: {error}", asked.file.display())))?;
    let mut review = Review::of(file)?;
    if let (Some(policy), Some(config)) = (&asked.policy, &asked.config) {
        review.plan_again(&asked.planner, config, policy, &text)?;
    }
    let shown = review.text(context.now);
    let decides = asked.signing.key.is_some() || asked.statement;
    if !decides {
        return context
            .say(&format!("{shown}next: grantctl review-request FILE --key ~/.ssh/id_ed25519 > FILE.signed\n"));
    }
    context.err_text(&shown);
    let word = if asked.deny { Word::Deny } else { Word::Approve };
    review.agreed(asked.digest.as_deref(), asked.yes, word)?;
    let statement = review.statement(word, asked.capacity.as_deref(), asked.signing.valid_for, context.now)?;
    match &asked.signing.key {
        Some(key) => context.say(&signing::together(&signing::with_key(&statement, key)?)),
        None => context.say(&statement),
    }
}

/// A request file whose digest was recomputed.
pub(super) struct Review {
    file: RequestFile,
    request: Request,
    plan: Plan,
    more: Option<More>,
    /// Whether the plan was recomputed, too.
    planned: bool,
    /// The digest of request, plan and tier.
    base: Digest,
    /// Of what waits: the request, or its extension.
    pub digest: Digest,
}

/// What `grantd --plan` prints.
#[derive(Deserialize)]
struct Planned {
    plan: Plan,
    tier: Tier,
    digest: Digest,
}

/// More time.
struct More {
    until: Timestamp,
    asked_by: Subject,
    reason: Justification,
}

impl Review {
    /// Reads it, and recomputes its digests: what this version cannot read, or what does not fit its digest, is refused.
    pub(super) fn of(file: RequestFile) -> Result<Self, Failure> {
        let wrong = |what: &str, error: &dyn std::fmt::Display| {
            Failure::new(Exit::Usage, format!("the request file cannot be judged: its {what}: {error}"))
        };
        if file.version != 1 {
            return Err(wrong("version", &"this grantctl knows version 1"));
        }
        let request: Request =
            serde_json::from_value(file.request.clone()).map_err(|error| wrong("request", &error))?;
        let plan: Plan = serde_json::from_value(file.plan.clone()).map_err(|error| wrong("plan", &error))?;
        let tier = serde_json::Value::String(file.tier.clone());
        let tier: Tier = serde_json::from_value(tier).map_err(|error| wrong("tier", &error))?;
        let digest = request_digest(&request, &plan, tier).map_err(|error| wrong("request", &error))?;
        same(digest, &file.digest, "request, plan and tier")?;
        let more = match &file.extension {
            None => None,
            Some(more) => {
                let read = More {
                    until: more.until.parse().map_err(|error: jiff::Error| wrong("extension", &error))?,
                    asked_by: serde_json::from_value(more.asked_by.clone())
                        .map_err(|error| wrong("extension", &error))?,
                    reason: more
                        .reason
                        .parse()
                        .map_err(|error: grantd_provider_api::InvalidName| wrong("reason", &error))?,
                };
                let own = extension_digest(digest, read.until, &read.asked_by, &read.reason);
                let own = own.map_err(|error| wrong("extension", &error))?;
                same(own, &more.digest, "extension")?;
                Some((read, own))
            }
        };
        let (base, planned) = (digest, false);
        let digest = more.as_ref().map_or(digest, |(_, own)| *own);
        Ok(Self { file, request, plan, more: more.map(|(more, _)| more), planned, base, digest })
    }

    /// Has `grantd` plan the request anew by the organisation's own catalogue, maps and accounts: it has to come to the
    /// same digest, and so to the same plan and tier, to the letter.
    fn plan_again(&mut self, planner: &Path, config: &Path, policy: &Path, text: &str) -> Result<(), Failure> {
        let failed = |why: &dyn std::fmt::Display| {
            Failure::new(Exit::Usage, format!("the plan cannot be recomputed with {}: {why}", planner.display()))
        };
        let mut command = Command::new(planner);
        command.arg("--plan").arg("--config").arg(config).arg("--policy").arg(policy).stderr(Stdio::piped());
        let output = signing::piped(&mut command, text).map_err(|error| failed(&error))?;
        if !output.status.success() {
            return Err(failed(&String::from_utf8_lossy(&output.stderr)));
        }
        let planned: Planned = serde_json::from_slice(&output.stdout).map_err(|error| failed(&error))?;
        if planned.digest != self.base {
            let ours = planned.plan.words.join("; ");
            return Err(Failure::new(
                Exit::State,
                format!(
                    "your organisation's own catalogue and maps plan something else than this file says, of tier {}: {ours};                      nothing was signed",
                    planned.tier
                ),
            ));
        }
        self.planned = true;
        Ok(())
    }

    /// For the approver: everything that is asked and planned, and what of it was checked here.
    pub(super) fn text(&self, now: Timestamp) -> String {
        let (request, plan) = (&self.request, &self.plan);
        let mut facts = Facts::titled(&self.file.id);
        facts.fact("installation", &self.file.installation);
        facts.fact("requested by", format!("{}, {}", request.requested_by, absolute(&self.file.created_at, now)));
        facts.fact("used by", request.subject.to_string());
        facts.fact("resource", format!("{} (tier {})", request.resource, self.file.tier));
        facts.fact("is", &request.entitlement.resource.native);
        facts.fact("can", request.entitlement.capability.as_str());
        let narrowing = &request.entitlement.narrowing;
        facts.maybe("only keys", narrowing.prefix.as_ref());
        if !narrowing.source_networks.is_empty() {
            facts.fact("only from", narrowing.source_networks.join(", "));
        }
        let each = span(request.duration_seconds);
        facts.fact(
            "for",
            match request.recurrence {
                None => each,
                Some(recurs) => format!("{each} every {}, {} times in all", span(recurs.every_seconds), recurs.times),
            },
        );
        facts.maybe(
            "break-glass",
            request.break_glass.as_ref().map(|glass| format!("profile {}, incident {}", glass.profile, glass.incident)),
        );
        facts.maybe("not before", request.not_before.map(|at| absolute(&at.to_string(), now)));
        facts.fact("why", request.justification.as_str());
        facts.maybe("ticket", request.ticket.as_ref());
        facts.maybe(
            "task claimed",
            request.task.as_ref().map(|task| {
                let part =
                    |name, value: &Option<String>| value.as_ref().map_or(String::new(), |v| format!(", {name} {v}"));
                let (attempt, job) = (part("attempt", &task.attempt), part("job", &task.job));
                format!("{} run {}{attempt}{job}", task.system, task.run)
            }),
        );
        facts.each("plan", &plan.words, "nothing");
        facts.fact("account", format!("{} {}", plan.cloud, plan.account));
        facts.each("carried by", &plan.targets, "nothing");
        facts.each("widens", &plan.widens, "nothing");
        facts.fact("expiry", ending(plan.ending));
        let behind = match plan.persistence {
            Persistence::None => "none",
            Persistence::CanCreate => "what it creates may outlive it",
        };
        facts.fact("persistence", behind);
        facts.raw("  native\n");
        facts.raw(&pretty(&plan.native, "    "));
        if let Some(more) = &self.more {
            facts.raw("to decide is more time\n");
            facts.fact("until", absolute(&more.until.to_string(), now));
            facts.fact("requested by", more.asked_by.to_string());
            facts.fact("why", more.reason.as_str());
        }
        facts.fact("digest", self.digest.to_string());
        for one in &self.file.quorum {
            facts.fact("needs", format!("{}, has {}", approvals::people(one.needed, &one.capacity), one.given));
        }
        facts.maybe("lapses", self.file.lapses_at.as_ref().map(|at| absolute(at, now)));
        facts.raw("checked here\n");
        facts.fact("digest", "recomputed from what is asked and planned above: it is what a signature is bound to");
        if self.planned {
            facts.fact(
                "plan",
                "recomputed by your organisation's catalogue, maps and accounts: it is the same, as is the tier",
            );
        }
        facts.raw("not checked here\n");
        if !self.planned {
            facts.fact(
                "plan",
                "that the native document grants what its words say, and only the capability: read it, or",
            );
            facts.fact("", "have it recomputed with --policy DIR --config FILE");
        }
        facts.fact("who", "that these are who asked and who uses it, and what else is needed: the daemon says so");
        facts.text()
    }

    /// That the approver wants what was shown.
    pub(super) fn agreed(&self, digest: Option<&str>, yes: bool, word: Word) -> Result<(), Failure> {
        match digest {
            Some(wanted) if wanted == self.digest.to_string() => return Ok(()),
            Some(_) => {
                let said =
                    format!("what waits has the digest {}, and not the one you gave: nothing was signed", self.digest);
                return Err(Failure::new(Exit::State, said));
            }
            None if yes => return Ok(()),
            None => {}
        }
        if !io::stdin().is_terminal() {
            return Err(Failure::new(
                Exit::Usage,
                "there is no terminal to ask on: sign exactly what you saw with --digest DIGEST, or what is shown with --yes",
            ));
        }
        let question = match word {
            Word::Approve => "Approve exactly this, and sign it?",
            Word::Deny => "Deny this, and sign that?",
        };
        if confirmed(question, &mut io::stdin().lock(), &mut io::stderr())? {
            return Ok(());
        }
        Err(Failure::new(Exit::Usage, "nothing was signed"))
    }

    /// The text that is signed.
    pub(super) fn statement(
        &self,
        decision: Word,
        capacity: Option<&str>,
        valid_for: u64,
        now: Timestamp,
    ) -> Result<String, Failure> {
        let usage = |said: String| Failure::new(Exit::Usage, said);
        let open = self.file.quorum.iter().filter(|one| one.given < one.needed);
        let open: Vec<&str> = open.map(|one| one.capacity.as_str()).collect();
        let capacity = match (capacity, open.as_slice()) {
            (Some(named), _) => named,
            (None, [only]) => only,
            (None, _) => {
                let which = if open.is_empty() { "owner".to_owned() } else { open.join(" or ") };
                return Err(usage(format!("say in which capacity you decide: --capacity {which}")));
            }
        };
        let seconds = i64::try_from(valid_for).unwrap_or(i64::MAX);
        let expiry = now.checked_add(SignedDuration::from_secs(seconds));
        Ok(Statement {
            installation: NodeId(self.file.installation.clone()),
            request: self.file.id.parse().map_err(|_| usage(format!("{} is not the id of a grant", self.file.id)))?,
            digest: self.digest,
            decision,
            capacity: capacity.parse::<Capacity>().map_err(usage)?,
            expiry: expiry.map_err(|error| usage(error.to_string()))?,
        }
        .to_string())
    }
}

fn same(own: Digest, stated: &str, what: &str) -> Result<(), Failure> {
    if own.to_string() == stated {
        return Ok(());
    }
    Err(Failure::new(
        Exit::State,
        format!(
            "the digest of its {what} is {own}, and the file says {stated}: it was changed, or is of another version"
        ),
    ))
}

fn ending(ending: Ending) -> String {
    match ending {
        Ending::Cloud => "the cloud ends it, to the second".to_owned(),
        Ending::Verifier => "whoever verifies the token ends it, by the end that is written in it".to_owned(),
        Ending::Daemon { outlives } | Ending::Backed { outlives, .. } => {
            format!("grantd takes it away, which may be felt up to {outlives} s late, and later while grantd is down")
        }
    }
}

#[cfg(test)]
#[path = "elsewhere_tests.rs"]
mod tests;
