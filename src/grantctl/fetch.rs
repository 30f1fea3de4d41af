//! What the command line takes of commands by which other clients fetch credentials, and of those that configure them.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::Wanted;
use crate::words::GrantChoice;

/// Take a credential for an AWS client.
#[derive(Debug, Args)]
pub struct CredentialProcess {
    /// Under which grant, and for how long.
    #[command(flatten)]
    pub what: Wanted,
}

/// Take a token for a Kubernetes cluster.
#[derive(Debug, Args)]
pub struct KubectlToken {
    /// Under which grant, and for how long.
    #[command(flatten)]
    pub what: Wanted,
    /// The name of the EKS cluster. GKE and AKS need none.
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// The region of the EKS cluster, where it is not that of the account.
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
}

/// Take an access token of Google Cloud.
#[derive(Debug, Args)]
pub struct GcpToken {
    /// Under which grant, and for how long.
    #[command(flatten)]
    pub what: Wanted,
}

/// Take a token of the daemon's own.
#[derive(Debug, Args)]
pub struct Token {
    /// Under which grant, and for how long.
    #[command(flatten)]
    pub what: Wanted,
    /// How to print it.
    #[arg(long, value_enum, default_value = "bare")]
    pub format: TokenFormat,
}

/// How to print a token of the daemon's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TokenFormat {
    /// The token alone.
    Bare,
    /// As Google's libraries read it from a command (`credential_source.executable`). What went wrong is told in the answer,
    /// and the exit code is 0.
    Executable,
}

/// Have a client fetch its credentials from here.
#[derive(Debug, Subcommand)]
pub enum Configure {
    /// Write a profile for AWS clients: a section of ~/.aws/config, or of AWS_CONFIG_FILE.
    Aws(ConfigureAws),
    /// Print how to start the clients of Google Cloud; with --audience, write a credential file by which Google's libraries
    /// start `grantctl token`.
    Gcp(ConfigureGcp),
    /// Print how to start Azure's clients.
    Azure(ConfigureExec),
    /// Write a user for kubectl: a kubeconfig that is read beside that of the clusters.
    Kubernetes(ConfigureKubernetes),
}

/// A profile for AWS clients.
#[derive(Debug, Args)]
pub struct ConfigureAws {
    /// The profile's name.
    #[arg(long, value_name = "NAME", default_value = "grantd")]
    pub profile: String,
    /// Write into this file.
    #[arg(long, value_name = "PATH")]
    pub file: Option<PathBuf>,
    /// What to write.
    #[command(flatten)]
    pub what: Written,
}

/// How to start clients.
#[derive(Debug, Args)]
pub struct ConfigureExec {
    /// What to write.
    #[command(flatten)]
    pub what: Written,
}

/// Google Cloud, for access tokens of a grant, or for tokens of the daemon's own that Google exchanges.
#[derive(Debug, Args)]
pub struct ConfigureGcp {
    /// For a grant on tokens of the daemon's own: the provider of the workload identity pool that takes them, as
    /// //iam.googleapis.com/projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER.
    #[arg(long, value_name = "NAME")]
    pub audience: Option<String>,
    /// With --audience: act as this service account.
    #[arg(long, value_name = "EMAIL", requires = "audience")]
    pub service_account: Option<String>,
    /// With --audience: where tokens are exchanged.
    #[arg(long, value_name = "URL", default_value = "https://sts.googleapis.com/v1/token")]
    pub token_url: String,
    /// With --audience: write this file; ~/.config/grantd/gcp.json when left out.
    #[arg(long, value_name = "PATH", requires = "audience")]
    pub file: Option<PathBuf>,
    /// What to write.
    #[command(flatten)]
    pub what: Written,
}

/// A user for kubectl.
#[derive(Debug, Args)]
pub struct ConfigureKubernetes {
    /// The user's name in the kubeconfig.
    #[arg(long, value_name = "NAME", default_value = "grantd")]
    pub user: String,
    /// The name of the EKS cluster. GKE and AKS need none.
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// The region of the EKS cluster, where it is not that of the account.
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// Write this file; ~/.kube/grantd-USER.yaml when left out.
    #[arg(long, value_name = "PATH")]
    pub file: Option<PathBuf>,
    /// What to write.
    #[command(flatten)]
    pub what: Written,
}

/// What goes into a client's configuration.
#[derive(Debug, Args)]
pub struct Written {
    /// The grant's id, or `auto`: then no id is written, and whichever grant is active at the time is used.
    #[arg(long, value_name = "ID|auto", default_value = "auto")]
    pub grant: GrantChoice,
    /// With `auto`: only a grant on this resource.
    #[arg(long)]
    pub resource: Option<String>,
    /// Print what would be written, and write nothing.
    #[arg(long)]
    pub print: bool,
    /// Replace what somebody else wrote.
    #[arg(long)]
    pub force: bool,
}
