//! Where the programs under test stand.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The repository's root.
#[must_use]
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// A program that this workspace builds, from the directory (`target/debug`, `target/release`) that
/// the running program was built into, so that both are of the same build.
pub fn program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let directory = own
        .parent()
        .context("the running program has no directory")?;
    // Tests stand in `deps` below the programs.
    let directory = match directory.file_name() {
        Some(last) if last == "deps" => directory.parent().unwrap_or(directory),
        _ => directory,
    };
    let program = directory.join(name);
    ensure!(
        program.is_file(),
        "{} is not built; run `make build` first (it does `cargo build --workspace --bins`)",
        program.display()
    );
    Ok(program)
}

/// The SvelteKit app, built and with its dependencies installed.
pub fn sveltekit() -> Result<PathBuf> {
    let app = repository().join("apps/sveltekit");
    for (needed, target) in [
        ("node_modules/.bin/node", "setup"),
        ("build/handler.js", "build"),
    ] {
        ensure!(
            app.join(needed).exists(),
            "{} is missing; run `make {target}` first",
            app.join(needed).display()
        );
    }
    Ok(app)
}

/// The Node that the SvelteKit app runs on.
pub fn node() -> Result<PathBuf> {
    Ok(sveltekit()?.join("node_modules/.bin/node"))
}

/// PM2, as the SvelteKit app installs it.
pub fn pm2() -> Result<PathBuf> {
    let pm2 = sveltekit()?.join("node_modules/.bin/pm2");
    ensure!(
        pm2.exists(),
        "{} is missing; run `make setup` first",
        pm2.display()
    );
    Ok(pm2)
}
