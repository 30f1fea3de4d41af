//! The command line of `agent`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use nix::unistd::{Group, User};

use crate::words::{GrantChoice, patience, whole_seconds};

/// What `agent --help` says beyond the flags.
pub(crate) const HELP: &str = "\
For programs that read a credential from a file and cannot be started under exec. The file is there from the first
credential on, holds a live one for as long as the grant is active, and is removed at the end; each new one takes the
place of the old one in a single step, so that a reader sees one or the other, whole. Short leases are renewed while a
sixth of their life is left: a reader that keeps what it read has to read again within that time. The leases end with
this process, also when it is killed; a file that a killed one left holds a dead credential, and the next one removes it.

The directory must be there, and nobody but root, this user and the one that --owner names may be able to write to it or
to change the way to it; symbolic links are not followed. A directory in memory is best: RuntimeDirectory= of a unit. A
file that agent did not write is left alone. Beside the file, .NAME.grantctl keeps two agents from keeping the same one.

Formats:
  aws   an AWS credentials file with the profile default
  json  what credential-process prints; for Azure and Google Cloud all that there is
  gcp-access-token  the bare token, as gcloud reads it (CLOUDSDK_AUTH_ACCESS_TOKEN_FILE)
  azure-token       the bare token for --audience
  token             a bare token of the daemon's own, as AZURE_FEDERATED_TOKEN_FILE and AWS_WEB_IDENTITY_TOKEN_FILE name it.
                    Nobody can take one back: the lease of a file that was removed is expiring until its end

At each change the reader can be told, by a signal, a command, or both: when the file was written first, when it was
renewed, and when it was removed. The command gets no terminal and no secret, but GRANTD_CHANGE (written, renewed or
removed), GRANTD_FILE and GRANTD_GRANT. That nobody could be told is said on standard error, and nothing ends by it.

A daemon that is away is waited for; the file is removed when its credential is over. SIGHUP puts the file in its place
again and tells the reader. Under systemd (Type=notify or notify-reload) the unit is ready when the file is there.

Exit codes, after the file was removed:
   0  SIGTERM or SIGINT; the lease was given back
   1  the file cannot be written, or is no longer the one that agent wrote (that one stays)
   3  policy or a freeze allows no other credential, and the last one is over
   5  the grant is over: its time has passed, or it was completed
  13  the grant was revoked
  When there never was a file, those that grantctl --help lists: 4 without an active grant, 9 without a daemon.";

/// Keep a credential file current.
#[derive(Debug, Args)]
pub struct Agent {
    /// The grant's id, or `auto` for your one active grant.
    #[arg(long, value_name = "ID|auto", default_value = "auto")]
    pub grant: GrantChoice,
    /// With `auto`: only a grant on this resource.
    #[arg(long)]
    pub resource: Option<String>,
    /// How long one lease is to be, e.g. `5m`; the daemon's default when left out. It is renewed.
    #[arg(long, value_name = "DURATION", value_parser = whole_seconds)]
    pub ttl: Option<u64>,
    /// The file to keep.
    #[arg(long, value_name = "PATH")]
    pub file: PathBuf,
    /// What stands in it.
    #[arg(long, value_enum, default_value = "aws")]
    pub format: AgentFormat,
    /// With `azure-token`: for which service, e.g. `https://storage.azure.com`, where the grant is for several.
    #[arg(long, value_name = "URI")]
    pub audience: Option<String>,
    /// Whose the file is, by names or numbers; yours when left out. Another user takes the right to give files away.
    #[arg(long, value_name = "[USER][:GROUP]")]
    pub owner: Option<Owner>,
    /// Who can read it: 0600 and 0400 for its owner, 0640 and 0440 for the group that --owner names as well.
    #[arg(long, value_name = "MODE", default_value = "0600", value_parser = mode)]
    pub mode: u32,
    /// Take the place of a file that something else wrote. It is not kept.
    #[arg(long)]
    pub force: bool,
    /// Tell the reader by this signal.
    #[arg(long, value_enum, ignore_case = true, value_name = "NAME", requires = "pid_file")]
    pub signal: Option<SignalName>,
    /// Where the reader's process id stands. It must be a process of the file's owner that ran when that was written.
    #[arg(long, value_name = "PATH", requires = "signal")]
    pub pid_file: Option<PathBuf>,
    /// How long the command that --run names may take before it is killed.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = patience, requires = "run")]
    pub run_timeout: Duration,
    /// Tell the reader by running a command, without a shell. It takes all that follows, so that it has to come last.
    #[arg(long, value_name = "COMMAND", num_args = 1.., allow_hyphen_values = true)]
    pub run: Vec<OsString>,
}

/// What stands in the file of `agent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AgentFormat {
    /// An AWS credentials file.
    Aws,
    /// What credential-process prints; for other clouds all that there is.
    Json,
    /// The access token of Google Cloud, alone.
    GcpAccessToken,
    /// The token for one service of Azure, alone.
    AzureToken,
    /// A token of the daemon's own, alone.
    Token,
}

impl AgentFormat {
    /// As the command line says it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Json => "json",
            Self::GcpAccessToken => "gcp-access-token",
            Self::AzureToken => "azure-token",
            Self::Token => "token",
        }
    }
}

/// A signal by which programs are told to read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SignalName {
    /// SIGHUP.
    #[value(name = "HUP", alias = "SIGHUP")]
    Hup,
    /// SIGUSR1.
    #[value(name = "USR1", alias = "SIGUSR1")]
    Usr1,
    /// SIGUSR2.
    #[value(name = "USR2", alias = "SIGUSR2")]
    Usr2,
}

/// Whose a file is to be, as far as that was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
}

impl FromStr for Owner {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
        if (user.is_empty() && group.is_none()) || group == Some("") {
            return Err("write USER, USER:GROUP or :GROUP".to_owned());
        }
        let uid = if user.is_empty() { None } else { Some(user_id(user)?) };
        Ok(Self { uid, gid: group.map(group_id).transpose()? })
    }
}

fn user_id(name: &str) -> Result<u32, String> {
    match (User::from_name(name), name.parse()) {
        (Ok(Some(user)), _) => Ok(user.uid.as_raw()),
        (_, Ok(number)) => Ok(number),
        (Ok(None), Err(_)) => Err(format!("there is no user {name}")),
        (Err(errno), Err(_)) => Err(format!("the user {name} cannot be looked up: {errno}")),
    }
}

fn group_id(name: &str) -> Result<u32, String> {
    match (Group::from_name(name), name.parse()) {
        (Ok(Some(group)), _) => Ok(group.gid.as_raw()),
        (_, Ok(number)) => Ok(number),
        (Ok(None), Err(_)) => Err(format!("there is no group {name}")),
        (Err(errno), Err(_)) => Err(format!("the group {name} cannot be looked up: {errno}")),
    }
}

fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode @ (0o400 | 0o440 | 0o600 | 0o640)) => Ok(mode),
        Ok(mode) if mode & 0o007 != 0 => Err("a credential is not for everybody: 0600, 0400, 0640 or 0440".to_owned()),
        _ => Err("give 0600, 0400, 0640 or 0440".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_names_or_numbers_and_a_group_can_be_named_alone() {
        assert_eq!("root".parse(), Ok(Owner { uid: Some(0), gid: None }));
        assert_eq!("root:root".parse(), Ok(Owner { uid: Some(0), gid: Some(0) }));
        assert_eq!(":0".parse(), Ok(Owner { uid: None, gid: Some(0) }));
        assert_eq!("4711:4712".parse(), Ok(Owner { uid: Some(4711), gid: Some(4712) }));
        for text in ["", ":", "root:", "no-such-user", "root:no-such-group", "-1"] {
            assert!(text.parse::<Owner>().is_err(), "{text}");
        }
    }

    #[test]
    fn nobody_but_owner_and_group_reads_and_nobody_but_the_owner_writes() {
        assert_eq!([mode("0600"), mode("640"), mode("0400"), mode("440")], [0o600, 0o640, 0o400, 0o440].map(Ok));
        for text in ["0644", "0660", "0700", "04600", "0602", "600x", "", "0"] {
            assert!(mode(text).is_err(), "{text}");
        }
    }
}
