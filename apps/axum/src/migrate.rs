//! `order-desk-axum migrate`: creates or updates the DBOS schema, once, before the first worker.

use poolwright_worker::executor;
use poolwright_worker::settings::{Mistakes, Reader};
use poolwright_worker::telemetry::chain;
use std::io::Write;
use std::process::ExitCode;

/// What went wrong, in the words for whoever ran the command.
#[derive(Debug, thiserror::Error)]
enum MigrateError {
    #[error(transparent)]
    Environment(#[from] Mistakes),
    #[error("the DBOS schema could not be created or updated")]
    Schema(#[from] dbos::sysdb::Error),
    #[error("the runtime cannot start")]
    Runtime(#[from] std::io::Error),
}

/// Migrates the database of `DBOS_SYSTEM_DATABASE_URL`, as that URL's role, and nothing else.
pub(crate) fn main() -> ExitCode {
    match migrate() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = if matches!(error, MigrateError::Environment(_)) {
                2
            } else {
                1
            };
            writeln!(std::io::stderr(), "{}", chain(&error)).ok();
            ExitCode::from(code)
        }
    }
}

/// Says what there is instead of `command`.
pub(crate) fn usage(command: &str) -> ExitCode {
    writeln!(
        std::io::stderr(),
        "unknown command \"{command}\", expected \"migrate\" (creates the DBOS schema), or none \
         (runs a worker)"
    )
    .ok();
    ExitCode::from(2)
}

fn migrate() -> Result<(), MigrateError> {
    let environment = |name: &str| std::env::var(name).ok();
    let mut reader = Reader::new(&environment);
    let url = reader.database_url("DBOS_SYSTEM_DATABASE_URL", "DBOS_POOL_MAX");
    let url = reader.finish(url)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(executor::migrate(&url))?;
    Ok(())
}
