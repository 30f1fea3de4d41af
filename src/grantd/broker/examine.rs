//! Looking over the host and the accounts: what is as it should be, what is not, and what could not be seen. Changes
//! nothing but the audit.

use std::time::Duration;

use grantd_model::{Actor, LeaseState};
use grantd_provider_api::{Cloud, Confirmation, DenyScope, Finding, Provider, Standing};
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::prove::Proof;
use super::{Broker, BrokerError};
use crate::attest::Caller;
use crate::config::Resource;

/// How long the checks of the host may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is told while it happens.
#[derive(Debug)]
pub enum Told {
    /// One thing that was looked at.
    Finding(Finding),
    /// Something that is being done.
    Step(String),
    /// How long a revocation took.
    Proof(Box<Proof>),
    /// It did not come to its end.
    Failed(BrokerError),
    /// That was all.
    Done(Tally),
}

/// How many things stand how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// As they should be.
    pub ok: u64,
    /// Not looked at.
    pub not_checked: u64,
    /// Working, and not as they should be.
    pub warnings: u64,
    /// Not working, or dangerous.
    pub problems: u64,
}

impl Tally {
    /// Counts one more.
    pub fn count(&mut self, standing: Standing) {
        let counter = match standing {
            Standing::Ok => &mut self.ok,
            Standing::NotChecked => &mut self.not_checked,
            Standing::Warning => &mut self.warnings,
            Standing::Problem => &mut self.problems,
        };
        *counter = counter.saturating_add(1);
    }
}

/// Where it is told to. Nobody has to listen: the work goes on to its end.
pub(super) type Tell = UnboundedSender<Told>;

impl Broker {
    /// Looks over the host, by `host`, and every configured account or the one that is named.
    ///
    /// # Errors
    /// When the caller is no administrator, there is no such account, or nothing can be recorded.
    pub async fn examine(
        &self,
        caller: &Caller,
        account: Option<String>,
        host: impl FnOnce() -> Vec<Finding> + Send + 'static,
    ) -> Result<UnboundedReceiver<Told>, BrokerError> {
        self.on_record(caller, "doctor.refused", (None, None), move |broker, caller| async move {
            broker.must_be_administrator(&caller, "looking the accounts over")?;
            let mut accounts = Vec::new();
            for cloud in broker.inner.providers.keys() {
                let named = account.as_deref();
                match broker.accounts_of(*cloud, named) {
                    Ok(names) => accounts.extend(names.into_iter().map(|name| (*cloud, name))),
                    Err(BrokerError::NotFound(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            if let (Some(name), true) = (&account, accounts.is_empty()) {
                let text = format!("no account is configured under the name \"{name}\": see grantctl status");
                return Err(BrokerError::NotFound(text));
            }
            // Roles are tried with sessions: that they are to be is on disk before they are.
            broker.record("doctor.run", caller.actor(), (None, None), json!({ "accounts": accounts })).await?;
            let (tell, told) = unbounded_channel();
            let (worker, actor) = (broker.clone(), caller.actor());
            broker.inner.tasks.spawn(async move {
                let stopping = worker.stopping();
                tokio::select! {
                    () = worker.look_over(accounts, host, actor, tell) => {}
                    () = stopping.cancelled() => {}
                }
            });
            Ok(told)
        })
        .await
    }

    async fn look_over(
        &self,
        accounts: Vec<(Cloud, String)>,
        host: impl FnOnce() -> Vec<Finding> + Send + 'static,
        actor: Actor,
        tell: Tell,
    ) {
        let (mut tally, mut bad) = (Tally::default(), Vec::new());
        let mut take = |findings: Vec<Finding>| {
            for finding in findings {
                tally.count(finding.standing);
                if finding.standing == Standing::Problem {
                    bad.push(json!({ "about": finding.about, "check": finding.check, "found": finding.found }));
                }
                // Nobody may be listening any more.
                let _ = tell.send(Told::Finding(finding));
            }
        };
        // A file system that does not answer holds up a thread and nobody else.
        let host = tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(host)).await;
        let unseen = |why: &str| vec![Finding::not_checked("host", "host", why)];
        take(match host {
            Ok(Ok(findings)) => findings,
            Ok(Err(_)) => unseen("a check died: see the daemon's log"),
            Err(_) => unseen("a check does not end: does a file system not answer?"),
        });
        take(self.look_over_issuers());
        take(self.inner.lookout.examine().await);
        let mut work = tokio::task::JoinSet::new();
        for (cloud, account) in accounts {
            let broker = self.clone();
            work.spawn(async move { broker.look_over_account(cloud, &account).await });
        }
        while let Some(findings) = work.join_next().await {
            let died = |_| vec![Finding::not_checked("an account", "account", "a check died: see the daemon's log")];
            take(findings.unwrap_or_else(died));
        }
        let detail = json!({ "tally": tally, "problems": bad });
        let _ = tell.send(match self.record("doctor.found", actor, (None, None), detail).await {
            Ok(()) => Told::Done(tally),
            Err(error) => Told::Failed(error),
        });
    }

    async fn look_over_account(&self, cloud: Cloud, account: &str) -> Vec<Finding> {
        let about = format!("account \"{account}\"");
        let provider = match self.provider(cloud) {
            Ok(provider) => provider,
            Err(error) => return vec![Finding::not_checked(about, "account", error.to_string())],
        };
        let bundle = self.bundle();
        let here = bundle.catalog.iter().filter(|resource| resource.cloud == cloud && resource.account == account);
        let resources: Vec<_> = here.map(Resource::resource_ref).collect();
        let mut findings = match provider.examine(account, &resources).await {
            Ok(findings) => findings,
            Err(error) => return vec![Finding::not_checked(about, "account", error.message)],
        };
        for scope in provider.scopes().iter().filter(|scope| scope.account == account) {
            findings.push(self.still_refused(provider.as_ref(), scope).await);
        }
        findings.push(match self.measured(cloud, account) {
            Some(measured) => Finding::ok(
                about,
                "propagation",
                format!(
                    "a revocation was felt after {:?} at most, measured {} times",
                    measured.slowest(),
                    measured.samples
                ),
            ),
            None => Finding::not_checked(
                about,
                "propagation",
                format!("nobody measured how long a revocation takes: grantctl doctor --prove {cloud} does"),
            ),
        });
        findings
    }

    /// Whether the cloud still refuses what it was seen to refuse: somebody else may have lifted it.
    async fn still_refused(&self, provider: &dyn Provider, scope: &DenyScope) -> Finding {
        const CHECK: &str = "boundary.revocations";
        let about = scope.name.clone();
        let denied = match self.store().denied(scope, self.now()).await {
            Ok(denied) => denied,
            Err(error) => return Finding::not_checked(about, CHECK, error.to_string()),
        };
        let now = self.now();
        let entries: Vec<_> = denied
            .iter()
            .filter(|lease| matches!(lease.state, LeaseState::Revoked { .. }))
            .filter_map(|lease| lease.deny_entry(now))
            .collect();
        if entries.is_empty() {
            return Finding::ok(about, CHECK, "there is no ended session that it has to refuse");
        }
        match provider.confirm(scope, &entries).await {
            Err(error) => Finding::not_checked(about, CHECK, error.message),
            Ok(answers) => {
                let lifted = answers.iter().filter(|answer| **answer == Confirmation::Absent).count();
                if lifted == 0 {
                    return Finding::ok(about, CHECK, format!("it refuses each of {} ended sessions", entries.len()));
                }
                Finding::bad(
                    about,
                    CHECK,
                    Standing::Problem,
                    format!(
                        "it does not refuse {lifted} of {} sessions that were ended: somebody lifted that",
                        entries.len()
                    ),
                    "look in the cloud's own log who wrote it; the daemon writes it again within a minute",
                )
            }
        }
    }
}
