//! The command line: global options, and one variant per command. Each command's arguments stand in its file.

use crate::commands::{
    doctor, init, logs, plan, prepare, recover, reload, restart, scale, status, stop, top, tune,
    up, verify,
};
use crate::exit_codes;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Keeps a fleet's Postgres connections at the number that was declared.
///
/// A web application runs as N identical processes, each with its pools. `poolwright.toml` declares how many
/// of each; everything else follows from it: `plan` shows the sum, `up` runs it, `verify` has Postgres
/// confirm it.
#[derive(Debug, Parser)]
#[command(name = "poolwright", version, after_help = exit_codes::HELP, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which fleet is meant.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// The manifest [default: poolwright.toml here or in a folder above, else ecosystem.config.cjs]
    #[arg(
        long,
        short,
        global = true,
        value_name = "PATH",
        env = "POOLWRIGHT_FILE"
    )]
    pub(crate) file: Option<PathBuf>,
    /// Lay env_<NAME> of an ecosystem file over its env, as `pm2 start --env` does
    #[arg(
        long = "env",
        global = true,
        value_name = "NAME",
        env = "POOLWRIGHT_ENV"
    )]
    pub(crate) profile: Option<String>,
    /// Folder of the control socket and the embedded server [default: .poolwright beside the manifest]
    #[arg(long, global = true, value_name = "PATH", env = "POOLWRIGHT_STATE_DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Plan(plan::Plan),
    Prepare(prepare::Prepare),
    Up(up::Up),
    Status(status::Status),
    Top(top::Top),
    Logs(logs::Logs),
    Reload(reload::Reload),
    Restart(restart::Restart),
    Scale(scale::Scale),
    Stop(stop::Stop),
    Verify(verify::Verify),
    Recover(recover::Recover),
    Doctor(doctor::Doctor),
    Init(init::Init),
    Tune(tune::Tune),
}
