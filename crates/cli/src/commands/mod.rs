//! One command, one file.

pub(crate) mod doctor;
pub(crate) mod exec_worker;
pub(crate) mod init;
pub(crate) mod logs;
pub(crate) mod plan;
pub(crate) mod prepare;
pub(crate) mod recover;
pub(crate) mod reload;
pub(crate) mod restart;
mod rolling;
pub(crate) mod scale;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod top;
pub(crate) mod tune;
pub(crate) mod up;
pub(crate) mod verify;

use crate::cli::{Arguments, Command};
use crate::exit_codes::Exit;
use crate::failure::Failure;
use serde::Serialize;
use std::pin::Pin;

/// A command at work. By itself: in one future with the others it would take what the largest takes.
type Running<'a> = Pin<Box<dyn Future<Output = Result<Exit, Failure>> + 'a>>;

/// Runs what was asked for.
pub(crate) async fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let (place, command) = (&arguments.place, &arguments.command);
    let running: Running<'_> = match command {
        Command::Plan(plan) => apart(|| plan.run(place)),
        Command::Prepare(prepare) => apart(|| prepare.run(place)),
        Command::Up(up) => apart(|| up.run(place)),
        Command::Status(status) => apart(|| status.run(place)),
        Command::Top(top) => apart(|| top.run(place)),
        Command::Logs(logs) => apart(|| logs.run(place)),
        Command::Reload(reload) => apart(|| reload.run(place)),
        Command::Restart(restart) => apart(|| restart.run(place)),
        Command::Scale(scale) => apart(|| scale.run(place)),
        Command::Stop(stop) => apart(|| stop.run(place)),
        Command::Verify(verify) => apart(|| verify.run(place)),
        Command::Recover(recover) => apart(|| recover.run(place)),
        Command::Doctor(doctor) => apart(|| doctor.run(place)),
        Command::Init(init) => apart(|| init.run(place)),
        Command::Tune(tune) => apart(|| tune.run(place)),
    };
    running.await
}

/// Work on the heap. It is made on a part of the stack that is used again afterwards: what stands in the caller's own frame on its way to the heap
/// would be a process's for good.
#[inline(never)]
pub(crate) fn apart<F: Future>(work: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::pin(work())
}

/// One line of JSON on standard output.
fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(Failure::source("writing JSON"))?;
    anstream::println!("{text}");
    Ok(())
}
