//! `poolwright`: declares, plans, launches and verifies the Postgres connections of a fleet.
//!
//! The program is [`main`]; a library beside it lets the fuzzer drive what reads other people's files.

mod aside;
#[doc(hidden)]
pub mod assembled;
mod backends;
mod background;
mod cli;
mod cluster;
mod commands;
mod ecosystem;
mod environment;
mod exit_codes;
mod failure;
#[doc(hidden)]
pub mod fuzzed;
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
mod web;

use clap::Parser;
use std::process::ExitCode;

/// Runs the command line that the process was started with, and says how to exit.
#[must_use]
pub fn main() -> ExitCode {
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
