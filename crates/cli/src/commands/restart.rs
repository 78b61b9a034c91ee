//! `poolwright restart`: stops and starts one worker of the running fleet, or one after the other.

use crate::cli::Place;
use crate::commands::rolling::{self, Telling};
use crate::exit_codes::Exit;
use crate::failure::Failure;
use clap::Args;
use poolwright_topology::tag::SlotId;

/// Stop and start one worker, or all of them one after the other
///
/// The worker finishes its requests and leaves before the new one is started. A slot that was parked after too many
/// failures is tried again. To put a new release into service, `reload` is the better one: it finds out that a release
/// does not boot while the old one still serves.
#[derive(Debug, Args)]
#[command(after_help = rolling::JSON_HELP)]
pub(crate) struct Restart {
    /// The slot, such as web-0 [default: every slot]
    #[arg(value_name = "APP-N")]
    slot: Option<SlotId>,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

impl Restart {
    pub(crate) async fn run(&self, place: &Place) -> Result<Exit, Failure> {
        let telling = Telling::new("restart", self.json);
        let mut fleet = rolling::connect(place).await?;
        let end = fleet
            .restart(self.slot.clone(), |step| telling.step(&step))
            .await;
        telling.end(end)
    }
}
