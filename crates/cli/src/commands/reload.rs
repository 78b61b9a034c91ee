//! `poolwright reload`: replaces every worker of the running fleet, one slot after the other.

use crate::cli::Place;
use crate::commands::rolling::{self, Telling};
use crate::exit_codes::Exit;
use crate::failure::Failure;
use clap::Args;

/// Replace every worker by one of the present release, one after the other
///
/// A successor boots beside its predecessor and opens nothing; the predecessor finishes its requests and leaves; when
/// Postgres shows that its connections are gone, the successor is launched. The declared bound holds all the while, and
/// no request is refused. The first slot that fails stops the reload with 1: the slots after it keep their workers.
/// Programs that do not speak the channel are stopped first and started then.
///
/// What is reloaded is the program. The manifest and the environment are read by `up`.
#[derive(Debug, Args)]
#[command(after_help = rolling::JSON_HELP)]
pub(crate) struct Reload {
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

impl Reload {
    pub(crate) async fn run(&self, place: &Place) -> Result<Exit, Failure> {
        let telling = Telling::new("reload", self.json);
        let mut fleet = rolling::connect(place).await?;
        let end = fleet.reload(|step| telling.step(&step)).await;
        telling.end(end)
    }
}
