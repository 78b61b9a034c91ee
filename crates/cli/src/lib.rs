//! `poolwright`: declares, plans, launches and verifies the Postgres connections of a fleet.

mod aside;
mod backends;
mod background;
mod cli;
mod cluster;
mod commands;
mod ecosystem;
mod environment;
mod exit_codes;
mod failure;
mod hint;
mod init;
mod live;
mod logs;
mod manifest;
mod narrator;
mod news;
mod passwords;
mod recovery;
mod servers;
mod service;
mod starvation;
mod style;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = commands::exec_worker::intercept() {
        return code;
    }
    if init::is_needed() {
        return init::run()
            .unwrap_or_else(|error| failure::Failure::runtime(error).report().into());
    }
    let arguments = cli::Arguments::parse();
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failure::Failure::runtime)
        .and_then(|runtime| runtime.block_on(commands::run(arguments)));
    match outcome {
        Ok(code) => code.into(),
        Err(failure) => failure.report().into(),
    }
}
