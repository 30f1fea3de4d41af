//! A directory that the test users can enter, with copies of the built binaries.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use grantd_testkit::repository_root;
use tempfile::TempDir;

use crate::{Caller, User};

/// One test's place: `bin/`, `config/` (root's), `state/` and `run/` (the daemon's), `log/`, `home/USER/`. Removed at the
/// end unless `GRANTD_KEEP_SCENES` is set.
#[derive(Debug)]
pub struct Scene {
    directory: TempDir,
}

impl Scene {
    /// A scene with `grantd` and `grantctl` from `GRANTD_BIN_DIR`, by default the workspace's `target/debug`.
    ///
    /// # Panics
    /// A binary has not been built.
    #[must_use]
    pub fn new() -> Self {
        let scene = Self::bare();
        let built =
            std::env::var_os("GRANTD_BIN_DIR").map_or_else(|| repository_root().join("target/debug"), PathBuf::from);
        for name in ["grantd", "grantctl"] {
            let from = built.join(name);
            assert!(from.is_file(), "{} is not there: run make build, or set GRANTD_BIN_DIR", from.display());
            fs::copy(&from, scene.bin(name)).expect("a binary can be copied");
        }
        scene
    }

    /// A scene without binaries, for tests that are not about them.
    ///
    /// # Panics
    /// The directory cannot be made.
    #[must_use]
    pub fn bare() -> Self {
        let mut directory = tempfile::Builder::new().prefix("grantd-").tempdir_in("/tmp").expect("/tmp can be written");
        directory.disable_cleanup(std::env::var_os("GRANTD_KEEP_SCENES").is_some());
        let scene = Self { directory };
        set_mode(scene.path(), 0o755);
        for name in ["bin", "config", "log", "home"] {
            scene.make(name, User::Root, 0o755);
        }
        scene.make("state", User::Daemon, 0o700);
        scene.make("run", User::Daemon, 0o755);
        for user in User::ALL {
            scene.make(&format!("home/{}", user.name()), user, 0o700);
        }
        scene
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A copied binary.
    #[must_use]
    pub fn bin(&self, name: &str) -> PathBuf {
        self.path().join("bin").join(name)
    }

    /// The directory for configuration, root's and readable for all.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.path().join("config")
    }

    /// The daemon's state directory, mode 0700.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    /// Where the daemon's socket belongs.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.path().join("run/grantd.sock")
    }

    /// Where output is kept.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path().join("log")
    }

    /// The private home of a user.
    #[must_use]
    pub fn home(&self, user: User) -> PathBuf {
        self.path().join("home").join(user.name())
    }

    /// Acts as `user`.
    pub fn caller(&self, user: User) -> Caller<'_> {
        Caller::new(self, user)
    }

    /// Writes a file, with parents made, that belongs to `owner`; `path` is relative to the scene. Returns where it is.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn write(&self, path: &str, contents: &str, owner: User, mode: u32) -> PathBuf {
        let path = self.path().join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect("a directory can be made");
        }
        fs::write(&path, contents).expect("a file can be written");
        own(&path, owner);
        set_mode(&path, mode);
        path
    }

    fn make(&self, name: &str, owner: User, mode: u32) {
        let path = self.path().join(name);
        fs::create_dir(&path).expect("a directory can be made");
        own(&path, owner);
        set_mode(&path, mode);
    }
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

fn own(path: &Path, owner: User) {
    chown(path, Some(owner.uid()), Some(owner.gid())).expect("root can give files away: run the tests as root");
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode can be set");
}
