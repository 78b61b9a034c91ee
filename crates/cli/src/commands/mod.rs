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

/// Runs what was asked for.
pub(crate) async fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let place = arguments.place;
    match arguments.command {
        Command::Plan(plan) => plan.run(&place).await,
        Command::Prepare(prepare) => prepare.run(&place).await,
        Command::Up(up) => up.run(&place).await,
        Command::Status(status) => status.run(&place).await,
        Command::Top(top) => top.run(&place).await,
        Command::Logs(logs) => logs.run(&place).await,
        Command::Reload(reload) => reload.run(&place).await,
        Command::Restart(restart) => restart.run(&place).await,
        Command::Scale(scale) => scale.run(&place).await,
        Command::Stop(stop) => stop.run(&place).await,
        Command::Verify(verify) => verify.run(&place).await,
        Command::Recover(recover) => recover.run(&place).await,
        Command::Doctor(doctor) => doctor.run(&place).await,
        Command::Init(init) => init.run(&place).await,
        Command::Tune(tune) => tune.run(&place).await,
    }
}

/// One line of JSON on standard output.
fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(Failure::source("writing JSON"))?;
    anstream::println!("{text}");
    Ok(())
}
