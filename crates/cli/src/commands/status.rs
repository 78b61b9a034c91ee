//! `poolwright status`: what the supervisor of a running fleet says.

use crate::cli::Place;
use crate::exit_codes::Exit;
use crate::failure::Failure;
use crate::{commands, manifest, style};
use clap::Args;
use poolwright_supervisor::control::Client;

/// Show the slots of the running fleet
///
/// What the supervisor knows of its workers. What Postgres knows of them is `verify`.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(crate) async fn run(&self, place: &Place) -> Result<Exit, Failure> {
        let located = manifest::locate(place)?;
        let status = Client::connect(&located.state_dir)
            .await
            .map_err(Failure::source("asking the fleet"))?
            .status()
            .await
            .map_err(Failure::source("asking the fleet"))?;
        if self.json {
            commands::print_json(&status)?;
            return Ok(Exit::Success);
        }
        let heads = ["slot", "state", "pid", "executor", "restarts", "pools"];
        let mut rows = vec![heads.map(str::to_owned).to_vec()];
        // A column that few programs fill stands only where one does.
        let slots = || status.apps.iter().flat_map(|app| &app.slots);
        let talkative = slots().any(|slot| slot.says.is_some());
        if talkative && let Some(heads) = rows.first_mut() {
            heads.push("says".to_owned());
        }
        for slot in slots() {
            let pools: Vec<String> = slot
                .pools
                .iter()
                .map(|(pool, max)| match slot.gauges.get(pool) {
                    Some(gauge) => format!("{pool} {}/{max} ({} busy)", gauge.open, gauge.busy),
                    None => format!("{pool} ?/{max}"),
                })
                .collect();
            rows.push(vec![
                slot.slot.to_string(),
                slot.state.to_string(),
                slot.pid.map_or_else(|| "-".into(), |pid| pid.to_string()),
                slot.executor_id.clone().unwrap_or_else(|| "-".into()),
                slot.restarts.to_string(),
                pools.join(", "),
            ]);
            if talkative && let Some(row) = rows.last_mut() {
                row.push(slot.says.clone().unwrap_or_default());
            }
        }
        anstream::println!("{}", style::table(rows, &[2, 4]));
        Ok(Exit::Success)
    }
}
