//! The part of the command line for emergencies and for looking at them afterwards.

use std::ffi::OsString;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use grantd_wire::GlassCreate;

use crate::detail::Detail;
use crate::exec::args::{Exec, ExecFormat};
use crate::words::{is_id, patience, whole_seconds};

/// What `break-glass --help` says beyond the flags.
pub(crate) const HELP: &str = "\
For an emergency, by people whom the catalogue enrolled before, for exactly what the profile names, for a very short time.
Nobody has to approve it, except at tier critical, where another enrolled person confirms it while this command waits; and
except while a review of your last use is overdue: then security has to.

Everybody whom grantd tells is told at once. Every step is on record as break-glass. Somebody else reviews the use by a
deadline; standard error says who and when.

The command gets its credential as under grantctl exec, and everything ends with it: the credential, the grant. Exit codes
are those of grantctl exec.";

/// Use break-glass for one command.
#[derive(Debug, Args)]
pub struct BreakGlass {
    /// The profile's name in the catalogue.
    pub profile: String,
    /// The incident's reference.
    #[arg(long, value_name = "ID")]
    pub incident: String,
    /// What is broken and what is to be done, for whoever reviews it.
    #[arg(long, value_name = "TEXT")]
    pub why: String,
    /// On which resource, where the profile gives several things.
    #[arg(long)]
    pub resource: Option<String>,
    /// Which capability, where the profile gives several things.
    #[arg(long = "can", value_name = "CAPABILITY")]
    pub capability: Option<String>,
    /// For how long at most, e.g. `10m`; as long as the profile allows when left out.
    #[arg(long = "for", value_name = "DURATION", value_parser = whole_seconds)]
    pub duration_seconds: Option<u64>,
    /// How the command gets the credential, as for `exec`.
    #[arg(long, value_enum, default_value = "front")]
    pub format: ExecFormat,
    /// How long to wait for another person, where one has to confirm it.
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = patience)]
    pub wait: Duration,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

impl BreakGlass {
    /// As what runs a command with a credential.
    pub(crate) fn into_exec(self) -> Exec {
        Exec {
            grant: None,
            ttl: None,
            format: self.format,
            keep_aws_config: false,
            keep_gcloud_config: false,
            keep_azure_config: false,
            wait: self.wait,
            resource: None,
            capability: None,
            duration_seconds: None,
            why: None,
            detail: Detail::default(),
            glass: Some(GlassCreate {
                profile: self.profile,
                incident: self.incident,
                justification: self.why,
                resource: self.resource,
                capability: self.capability,
                duration_seconds: self.duration_seconds,
                task: None,
            }),
            command: self.command,
        }
    }
}

/// Look at what was done: uses of break-glass, and what is granted again and again.
#[derive(Debug, Subcommand)]
pub enum Review {
    /// List those that are open, newest first: of your own use, and those that you can complete.
    List {
        /// Completed ones too.
        #[arg(long)]
        completed: bool,
        /// At most this many.
        #[arg(long, value_name = "N")]
        limit: Option<u32>,
    },
    /// Show one, with the grant that it looks at and what was done with it.
    Show {
        /// Which.
        id: ReviewName,
    },
    /// Report what is granted again and again, with what was used of it and what would be enough, as policy diffs for people
    /// to review. For administrators and auditors; for stewards and owners what is on their resources.
    Report {
        /// How far back to look, e.g. `24h` or `30d`; up to 366 days.
        #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = days)]
        since: u64,
        /// How to print it.
        #[arg(long, value_enum, default_value = "table")]
        format: ReportFormat,
    },
    /// Complete one: say what came of it, and what you found.
    Complete {
        /// Which.
        id: ReviewName,
        /// What came of it.
        #[arg(long, value_enum)]
        outcome: OutcomeName,
        /// What you found, in a line; the audit keeps it.
        #[arg(long, value_name = "TEXT")]
        findings: String,
    },
}

/// How the report is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For a terminal.
    Table,
    /// As the daemon answered.
    Json,
    /// For a spreadsheet.
    Csv,
    /// A page of its own to read or to send.
    Html,
}

/// What came of a review.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutcomeName {
    /// The use was what it was for.
    Ok,
    /// It was not.
    Misuse,
    /// Something has to be done about it.
    FollowUp,
}

impl OutcomeName {
    /// The name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Misuse => "misuse",
            Self::FollowUp => "follow_up",
        }
    }
}

/// Days such as `30d`, or any other duration.
fn days(text: &str) -> Result<u64, String> {
    let days = text.strip_suffix('d').and_then(|number| number.parse::<u64>().ok());
    days.map_or_else(|| whole_seconds(text), |days| Ok(days.saturating_mul(24 * 60 * 60)))
}

/// A review's id as far as the command line can tell. It is safe as a path segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReviewName(String);

impl FromStr for ReviewName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || "a review's id begins with review-; grantctl review list lists them".to_owned();
        is_id(text, "review").then(|| Self(text.to_owned())).ok_or_else(wrong)
    }
}

impl fmt::Display for ReviewName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::Cli;

    #[test]
    fn break_glass_names_its_profile_its_incident_and_why() {
        let accepted = |line: &str| Cli::try_parse_from(line.split(' ')).is_ok();
        assert!(accepted("grantctl break-glass repair --incident INC-1 --why x -- true"));
        assert!(accepted(
            "grantctl break-glass repair --incident INC-1 --why x --resource r --can a:b --for 5m -- true"
        ));
        assert!(!accepted("grantctl break-glass repair --why x -- true"));
        assert!(!accepted("grantctl break-glass repair --incident INC-1 -- true"));
        assert!(!accepted("grantctl break-glass --incident INC-1 --why x -- true"));
        assert!(!accepted("grantctl break-glass repair --incident INC-1 --why x"));
    }

    #[test]
    fn a_review_is_completed_with_an_outcome_and_findings() {
        let accepted = |line: &str| Cli::try_parse_from(line.split(' ')).is_ok();
        assert!(accepted("grantctl review list --completed"));
        assert!(accepted("grantctl review report --since 24h --format html"));
        assert!(accepted("grantctl review report --since 90d") && !accepted("grantctl review report --since soon"));
        assert!(accepted("grantctl review show review-aa1"));
        assert!(accepted("grantctl review complete review-aa1 --outcome follow-up --findings x"));
        assert!(!accepted("grantctl review complete review-aa1 --findings x"));
        assert!(!accepted("grantctl review complete review-aa1 --outcome ok"));
        assert!(!accepted("grantctl review show ../status"));
    }
}
