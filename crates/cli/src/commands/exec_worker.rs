//! The hidden command that the supervisor starts workers through; see `poolwright_supervisor::shim`.
//!
//! Taken before clap sees the command line: the worker's own arguments are not ours to parse, and the
//! start of a worker should cost nothing.

use poolwright_supervisor::shim;
use std::ffi::OsString;
use std::process::ExitCode;

/// The first argument that means "become a worker".
const NAME: &str = "__exec-worker";

/// The command line that leads here.
pub(crate) fn command() -> std::io::Result<Vec<OsString>> {
    Ok(vec![std::env::current_exe()?.into_os_string(), NAME.into()])
}

/// Becomes a worker if that is what was asked for; returns only when it failed.
pub(crate) fn intercept() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    (arguments.next()? == NAME).then(|| {
        let error = shim::exec(arguments);
        anstream::eprintln!("poolwright: {error}");
        ExitCode::from(error.exit_code())
    })
}
