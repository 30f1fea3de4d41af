//! The command line of `exec`.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, ValueEnum};
use grantd_wire::{GlassCreate, GrantCreate};

use crate::detail::Detail;
use crate::words::{GrantChoice, patience, whole_seconds};

/// What `exec --help` says beyond the flags.
pub(crate) const HELP: &str = "\
The command gets its credential from a front on the loopback interface that is there for it alone: a random token, the
kernel's word that the caller is of this user and was started by the command. AWS SDKs and command lines find it by
AWS_CONTAINER_CREDENTIALS_FULL_URI, Azure's by IDENTITY_ENDPOINT and AZURE_POD_IDENTITY_AUTHORITY_HOST, Google's by
GOOGLE_APPLICATION_CREDENTIALS and GCE_METADATA_HOST. Short leases are renewed for as long as the command runs and the grant is active;
they end when the command does, also when grantctl itself is killed: the command is then sent SIGTERM.

Cloud credentials that are already in the environment (AWS_ACCESS_KEY_ID, AWS_PROFILE, AZURE_CLIENT_SECRET,
GOOGLE_APPLICATION_CREDENTIALS, ...) are kept from the command. Because AWS clients prefer ~/.aws/credentials and
~/.aws/config to a container's credentials, AWS_SHARED_CREDENTIALS_FILE, AWS_CONFIG_FILE and BOTO_CONFIG point to an
empty file, unless --keep-aws-config says that yours hold nothing that would win. Whoever is logged in to gcloud and to
the Azure CLI is kept from it too: CLOUDSDK_CONFIG and AZURE_CONFIG_DIR point to empty directories, unless
--keep-gcloud-config or --keep-azure-config is given. KUBECONFIG stays.

Formats:
  front  as above: refreshed by itself, no key in the environment or in a file
  env    AWS_ACCESS_KEY_ID, GOOGLE_OAUTH_ACCESS_TOKEN, AZURE_ACCESS_TOKEN and so on in the environment: never
         refreshed; standard error says until when it holds
  file   AWS_SHARED_CREDENTIALS_FILE, or for gcloud CLOUDSDK_AUTH_ACCESS_TOKEN_FILE beside the front, names a private
         file that is replaced at each renewal and removed at the end. Most clients read it once: each program that the
         command starts sees the latest. Azure's clients read none
         For a token of the daemon's own this is the same as front: GRANTD_TOKEN_FILE names the file, and where the token
         is for the token service of Azure or AWS, AZURE_FEDERATED_TOKEN_FILE or AWS_WEB_IDENTITY_TOKEN_FILE too; then
         AZURE_TENANT_ID and AZURE_CLIENT_ID, or AWS_ROLE_ARN, are left to the command
  json   GRANTD_CREDENTIALS_FILE names a private file with all there is (for AWS what credential-process prints), kept
         in the same way

With --resource, --can, --for and --why a grant is requested first; it is ended when the command ends. While it is
pending, standard error says who can approve it. A grant named with --grant, or found by auto, stays as it is: only the
leases taken here end. Two minutes before the grant is over (or a tenth of it, up to ten minutes) standard error says
so; the command keeps running.

Signals are passed on. With a terminal the command stays in the foreground with grantctl, so that Ctrl-C reaches both
and is not passed on twice; without one it has a process group of its own, and signals go to all of it.

Exit codes:
  the command's own; 128+N when signal N ended it
  126  the command cannot be run          127  the command is not found
  When the command was not started because of grantctl or the daemon, 100 is added to the codes that grantctl --help
  lists: 103 is denied by policy, 105 a request that lapsed or --wait was over, 109 a daemon that cannot be reached.";

/// Run a command with a credential that lives as long as the command.
#[derive(Debug, Args)]
pub struct Exec {
    /// The grant's id, or `auto` for your one active grant; `auto` when left out.
    #[arg(long, value_name = "ID|auto", conflicts_with = "capability")]
    pub grant: Option<GrantChoice>,
    /// How long one lease is to be, e.g. `5m`; the daemon's default when left out. It is renewed.
    #[arg(long, value_name = "DURATION", value_parser = whole_seconds)]
    pub ttl: Option<u64>,
    /// How the command gets the credential.
    #[arg(long, value_enum, default_value = "front")]
    pub format: ExecFormat,
    /// Leave the command your AWS configuration files.
    #[arg(long)]
    pub keep_aws_config: bool,
    /// Leave the command your gcloud configuration, with whoever is logged in there.
    #[arg(long)]
    pub keep_gcloud_config: bool,
    /// Leave the command your Azure CLI configuration, with whoever is logged in there.
    #[arg(long)]
    pub keep_azure_config: bool,
    /// How long to wait for a grant that is pending, or that begins later.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = patience)]
    pub wait: Duration,
    /// With --can: request a grant on this resource. Without: only a grant on it, where `auto` chooses.
    #[arg(long)]
    pub resource: Option<String>,
    /// Request a grant that lets you do this, e.g. `object-storage:read`.
    #[arg(long = "can", value_name = "CAPABILITY", requires_all = ["resource", "duration_seconds", "why"])]
    pub capability: Option<String>,
    /// For how long, e.g. `30m`.
    #[arg(long = "for", value_name = "DURATION", value_parser = whole_seconds, requires = "capability")]
    pub duration_seconds: Option<u64>,
    /// Why, in a sentence.
    #[arg(long, value_name = "TEXT", requires = "capability")]
    pub why: Option<String>,
    /// What narrows the request, and what it is for.
    #[command(flatten)]
    pub detail: Detail,
    /// What of break-glass is used instead: `grantctl break-glass`.
    #[arg(skip)]
    pub glass: Option<GlassCreate>,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

impl Exec {
    /// Whether a grant is requested for the command, and ends with it.
    pub(crate) fn requests(&self) -> bool {
        self.capability.is_some() || self.glass.is_some()
    }

    /// What to request, if this is the one-step form.
    pub(crate) fn request(&self) -> Option<GrantCreate> {
        let capability = self.capability.clone()?;
        Some(GrantCreate {
            resource: self.resource.clone()?,
            capability,
            narrowing: self.detail.narrowing(),
            justification: self.why.clone()?,
            ticket: self.detail.ticket.clone(),
            duration_seconds: self.duration_seconds?,
            recurrence: None,
            not_before: None,
            subject: None,
            task: self.detail.task(),
        })
    }
}

/// How the command of `exec` gets its credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExecFormat {
    /// From the front on the loopback interface.
    Front,
    /// As environment variables, never refreshed.
    Env,
    /// As a JSON file, kept current.
    Json,
    /// As a file that the cloud's clients read, kept current: AWS and Google Cloud.
    File,
}

/// What runs between `exec` and its command: ties itself to its parent and becomes the command.
#[derive(Debug, Args)]
pub struct ExecChild {
    /// The process that has to be the parent.
    #[arg(long)]
    pub parent: i32,
    /// The command and its arguments.
    #[arg(last = true, required = true)]
    pub command: Vec<OsString>,
}
