//! The part of the command line that `request` and the one-step form of `exec` share: what narrows a request, and for which
//! piece of work it is.

use clap::Args;
use grantd_wire::{NarrowingBody, TaskBody};

/// What narrows a request, and what it is for. None of it means anything without a capability.
#[derive(Debug, Clone, Default, Args)]
pub struct Detail {
    /// Only keys that start with this.
    #[arg(long, requires = "capability")]
    pub prefix: Option<String>,
    /// Only from this network; may be given more than once.
    #[arg(long = "source-network", value_name = "CIDR", requires = "capability")]
    pub source_networks: Vec<String>,
    /// The ticket it is for.
    #[arg(long, requires = "capability")]
    pub ticket: Option<String>,
    /// The system that runs the work, e.g. `github`.
    #[arg(long, value_name = "SYSTEM", requires_all = ["capability", "task_run"])]
    pub task_system: Option<String>,
    /// Its run.
    #[arg(long, value_name = "RUN", requires = "task_system")]
    pub task_run: Option<String>,
    /// Which attempt of the run.
    #[arg(long, value_name = "ATTEMPT", requires = "task_run")]
    pub task_attempt: Option<String>,
    /// Which job of the run.
    #[arg(long, value_name = "JOB", requires = "task_run")]
    pub task_job: Option<String>,
}

impl Detail {
    /// Less than the whole resource, if it is.
    pub(crate) fn narrowing(&self) -> Option<NarrowingBody> {
        (self.prefix.is_some() || !self.source_networks.is_empty())
            .then(|| NarrowingBody { prefix: self.prefix.clone(), source_networks: self.source_networks.clone() })
    }

    /// The piece of work, if one is named.
    pub(crate) fn task(&self) -> Option<TaskBody> {
        self.task_system.clone().zip(self.task_run.clone()).map(|(system, run)| TaskBody {
            system,
            run,
            attempt: self.task_attempt.clone(),
            job: self.task_job.clone(),
        })
    }
}
