//! The Unix users of the tests. They are real: the daemon tells its callers apart by what the kernel says.

use std::process::Command;

use grantd_testkit::guarded;

/// A Unix user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// uid 0.
    Root,
    /// Runs the daemon.
    Daemon,
    /// A caller, in the group `gt-clients`.
    Alice,
    /// Another caller, in the group `gt-clients`.
    Bob,
    /// A person who owns what others ask for, in the group `gt-clients`.
    Olga,
    /// The same person's other user.
    OlgaAdm,
    /// Another person, in the group `gt-clients`.
    Otto,
}

impl User {
    /// Each of them.
    pub const ALL: [Self; 7] =
        [Self::Root, Self::Daemon, Self::Alice, Self::Bob, Self::Olga, Self::OlgaAdm, Self::Otto];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Daemon => "gt-daemon",
            Self::Alice => "gt-alice",
            Self::Bob => "gt-bob",
            Self::Olga => "gt-olga",
            Self::OlgaAdm => "gt-olga-adm",
            Self::Otto => "gt-otto",
        }
    }

    /// Its uid.
    ///
    /// # Panics
    /// The user does not exist.
    #[must_use]
    pub fn uid(self) -> u32 {
        self.entry().uid.as_raw()
    }

    /// The gid of its primary group.
    ///
    /// # Panics
    /// The user does not exist.
    #[must_use]
    pub fn gid(self) -> u32 {
        self.entry().gid.as_raw()
    }

    /// The gid of `gt-clients`, the group that may connect to the daemon.
    ///
    /// # Panics
    /// The group does not exist.
    #[must_use]
    pub fn clients_gid() -> u32 {
        let group = nix::unistd::Group::from_name("gt-clients").expect("the group database is readable");
        group.expect("no group gt-clients: run make setup").gid.as_raw()
    }

    /// `program` as this user with its groups, with an empty environment, killed when the test process ends.
    pub(crate) fn command(self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = if self == Self::Root {
            guarded(program)
        } else {
            assert!(
                nix::unistd::Uid::effective().is_root(),
                "only root can act as {}: run the tests as root",
                self.name()
            );
            let (uid, gid) = (self.uid().to_string(), self.gid().to_string());
            // setpriv and not Command::uid: that cannot set supplementary groups.
            let mut command = Command::new("setpriv");
            command.args(["--reuid", &uid, "--regid", &gid, "--init-groups", "--pdeathsig", "KILL", "--"]).arg(program);
            command
        };
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LANG", "C.UTF-8");
        command
    }

    fn entry(self) -> nix::unistd::User {
        let entry = nix::unistd::User::from_name(self.name()).expect("the user database is readable");
        entry.unwrap_or_else(|| panic!("no user {}: run make setup", self.name()))
    }
}
