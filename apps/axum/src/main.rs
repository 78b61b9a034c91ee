//! The order desk on axum, DBOS and SeaORM: one worker process of it.

mod api;
mod entity;
mod failure;
mod fulfil;
mod migrate;
mod orders;
mod page;
mod settings;

use crate::settings::DeskSettings;
use poolwright_worker::worker::{Booting, Service, WorkerError, run};
use std::process::ExitCode;

/// Workflows are recovered only by code of the same version. The name is part of it because DBOS
/// keeps one list of versions for all applications of a database.
const SERVICE: Service = Service {
    name: "order-desk-axum",
    version: concat!("order-desk-axum-", env!("CARGO_PKG_VERSION")),
};

/// A read is many small allocations (rows, values, JSON); glibc's allocator took a quarter of a worker's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        None => run(SERVICE, DeskSettings::read, serve),
        Some("migrate") => migrate::main(),
        Some(other) => migrate::usage(other),
    }
}

async fn serve(worker: Booting, settings: DeskSettings) -> Result<(), WorkerError> {
    let opened = worker.booted().await?.open().await?;
    let fulfil = fulfil::register(&opened, settings)?;
    let desk = orders::Desk::new(opened.tenants(), opened.dbos().clone(), fulfil);
    let running = opened.launch().await?;
    running
        .serve(api::routes(desk.clone()).merge(page::routes(desk)))
        .await
}
