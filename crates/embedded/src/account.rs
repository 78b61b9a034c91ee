//! Who the server runs as.
//!
//! Postgres refuses to run as root, so root steps down to an unprivileged account; everybody else
//! runs it as themselves.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::Error;

/// The account of the server's processes and files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Whether we have to change into it.
    pub(crate) step_down: bool,
}

impl Account {
    /// Ourselves, or for root `postgres`, or failing that `nobody`.
    pub(crate) fn choose() -> Result<Self, Error> {
        let uid = rustix::process::geteuid();
        if !uid.is_root() {
            let gid = rustix::process::getegid().as_raw();
            return Ok(Self {
                uid: uid.as_raw(),
                gid,
                step_down: false,
            });
        }
        let path = Path::new("/etc/passwd");
        let passwd = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        let (uid, gid) = ["postgres", "nobody"]
            .iter()
            .find_map(|name| entry(&passwd, name))
            .ok_or(Error::NoAccount)?;
        Ok(Self {
            uid,
            gid,
            step_down: true,
        })
    }

    /// Whether the account may pass through every directory from the root down to `path`, which
    /// is absolute. Group rights by membership and ACLs are not looked at: a wrong "no" costs a
    /// detour, a wrong "yes" would cost the start.
    pub(crate) fn can_reach(&self, path: &Path) -> bool {
        path.ancestors().filter(|part| part.exists()).all(|part| {
            let Ok(found) = part.metadata() else {
                return false;
            };
            let search = if found.uid() == self.uid {
                0o100
            } else if found.gid() == self.gid {
                0o010
            } else {
                0o001
            };
            found.mode() & search != 0
        })
    }

    /// A command that runs `program` as this account, in its own process group (a Ctrl-C at the
    /// terminal is for the supervisor, which stops the server last), and that receives SIGINT when
    /// the *thread* that spawns it ends.
    ///
    /// Both are `setpriv`'s work (util-linux): the parent-death signal can otherwise only be set
    /// between fork and exec, which is `unsafe`. Without `setpriv` the step-down still works, and
    /// the server outlives a killed parent, about which we warn.
    pub(crate) fn command(&self, program: &OsStr) -> Command {
        let mut command = if has_setpriv() {
            let mut command = Command::new("setpriv");
            // SIGINT is Postgres's fast shutdown; SIGTERM would wait for the clients to leave.
            command.args(["--pdeathsig", "INT"]);
            if self.step_down {
                command.arg("--reuid").arg(self.uid.to_string());
                command.arg("--regid").arg(self.gid.to_string());
                command.arg("--clear-groups");
            }
            command.arg("--").arg(program);
            command
        } else {
            tracing::warn!(
                "no `setpriv` (util-linux) found: should this process be killed, its Postgres \
                 server will go on running"
            );
            let mut command = Command::new(program);
            if self.step_down {
                command.uid(self.uid).gid(self.gid);
            }
            command
        };
        command.process_group(0);
        // Nothing of ours (PGDATA, PGPORT, PGOPTIONS, secrets) is the server's business.
        command.env_clear();
        for name in ["PATH", "LD_LIBRARY_PATH", "TZ"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.env("LC_ALL", "C.UTF-8");
        command
    }
}

fn has_setpriv() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join("setpriv").is_file())
}

fn entry(passwd: &str, name: &str) -> Option<(u32, u32)> {
    let line = passwd
        .lines()
        .find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn finds_an_account_by_its_whole_name() {
        let passwd =
            "root:x:0:0::/root:/bin/sh\npostgresql:x:1:2::/:/x\npostgres:x:101:104::/:/x\n";
        assert_eq!(entry(passwd, "postgres"), Some((101, 104)));
        assert_eq!(entry(passwd, "nobody"), None);
    }

    #[test]
    fn a_private_directory_on_the_way_cannot_be_passed_by_a_stranger() {
        let directory = tempfile::tempdir().unwrap();
        let stranger = Account {
            uid: 54_321,
            gid: 54_321,
            step_down: true,
        };
        let inside = directory.path().join("not").join("there yet");
        let closed = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(directory.path(), closed).unwrap();
        assert!(!stranger.can_reach(&inside));
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        assert!(stranger.can_reach(&inside));
    }
}
