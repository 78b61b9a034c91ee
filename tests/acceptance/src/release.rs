//! Releases of an application, good and bad, and putting one in another's place.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::{Setup, Stack};

/// The program that the manifest of a [`Setup::releasable`] names.
const PROGRAM: &str = "release";

/// What stands where the fleet's program is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// The application itself.
    Good,
    /// It ends before it has said anything on the channel, with a word on standard error.
    FailsToBoot,
    /// It says that it booted, and nothing after that.
    NeverReady,
    /// It says everything that a worker has to say, and ends.
    DiesAfterReady,
}

impl Setup {
    /// Runs in a copy of the application, whose program can be replaced by [`Setup::release`] and whose workers
    /// have `ready_timeout` to boot and again to become ready.
    pub fn releasable(self, ready_timeout: &str) -> Result<Self> {
        let setup = self
            .declaring("command", &format!("[\"./{PROGRAM}\"]"))?
            .declaring("ready_timeout", &format!("{ready_timeout:?}"))?;
        setup.release(Release::Good)?;
        Ok(setup)
    }

    /// Puts a release where the fleet's program is looked for. The file is replaced, not written over: what runs
    /// goes on.
    pub fn release(&self, release: Release) -> Result<()> {
        let program = self.directory()?.join(PROGRAM);
        let written: PathBuf = program.with_extension("new");
        fs::write(
            &written,
            format!("#!/bin/sh\n{}\n", script(release, self.stack)),
        )?;
        fs::set_permissions(&written, fs::Permissions::from_mode(0o755))?;
        fs::rename(&written, &program)
            .with_context(|| format!("cannot replace {}", program.display()))
    }
}

fn script(release: Release, stack: Stack) -> &'static str {
    match (release, stack) {
        (Release::Good, Stack::Axum) => r#"exec "$ORDER_DESK_BIN""#,
        (Release::Good, Stack::Sveltekit) => "exec node_modules/.bin/node server.js",
        (Release::FailsToBoot, _) => "echo 'no such module: order-desk-v2' >&2\nexit 3",
        (Release::NeverReady, _) => {
            r#"echo '{"type":"booted"}' >&4
read -r launch <&4
exec sleep 600"#
        }
        (Release::DiesAfterReady, _) => {
            r#"echo '{"type":"booted"}' >&4
read -r launch <&4
echo "{\"type\":\"started\",\"pid\":$$,\"executor_id\":\"$DBOS__VMID\",\"pools\":{\"prisma\":3,\"dbos\":3}}" >&4
echo '{"type":"ready"}' >&4
echo 'out of luck' >&2
exit 7"#
        }
    }
}
