//! A PostgreSQL of another major version than the one that is installed.

use anyhow::{Context, Result, ensure};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// A copy where the account that runs the server can reach it, wherever the repository stands.
pub(crate) fn installation(version: u32) -> Result<tempfile::TempDir> {
    let packaged = Path::new(REPOSITORY).join(format!(
        "tests/postgres/node_modules/postgres-{version}/native"
    ));
    ensure!(
        packaged.join("bin/postgres").is_file(),
        "no PostgreSQL {version} in {}; `make setup` installs it",
        packaged.display()
    );
    let copy = tempfile::Builder::new()
        .prefix("poolwright-pg")
        .tempdir_in("/var/tmp")?;
    std::fs::set_permissions(copy.path(), std::fs::Permissions::from_mode(0o755))?;
    let status = Command::new("cp")
        .args(["--recursive", "--no-target-directory"])
        .args([&packaged, copy.path()])
        .status()
        .context("copying the installation")?;
    ensure!(status.success(), "cp {}: {status}", packaged.display());
    Ok(copy)
}
