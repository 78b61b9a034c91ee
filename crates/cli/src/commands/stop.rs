//! `poolwright stop`: drains the running fleet and waits for its end.

use crate::cli::Place;
use crate::exit_codes::Exit;
use crate::failure::Failure;
use crate::{commands, manifest};
use clap::Args;
use poolwright_supervisor::control::Client;

/// Stop the running fleet and wait for its end
///
/// Workers stop accepting, finish what they have within their drain_timeout, close their pools and exit.
#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// Kill the workers instead of letting them finish
    #[arg(long)]
    now: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Stop {
    pub(crate) async fn run(&self, place: &Place) -> Result<Exit, Failure> {
        let located = manifest::locate(place)?;
        let end = Client::connect(&located.state_dir)
            .await
            .map_err(Failure::source("asking the fleet"))?
            .stop(self.now)
            .await
            .map_err(Failure::source("stopping the fleet"))?;
        if self.json {
            commands::print_json(&end)?;
        } else if let Some(failure) = &end.failure {
            anstream::println!("stopped; before that {failure}");
        } else {
            anstream::println!("stopped");
        }
        Ok(Exit::Success)
    }
}
