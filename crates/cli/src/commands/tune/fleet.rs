//! A fleet that runs for as long as it is asked.

use super::load::{Load, Measured};
use crate::cli::Place;
use crate::failure::Failure;
use crate::manifest::Located;
use poolwright_supervisor::control::Client;
use poolwright_topology::handover::SlotState;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// From the command to all workers serving.
const SERVES: Duration = Duration::from_secs(120);
/// How often it is asked whether they do.
const LOOK: Duration = Duration::from_millis(100);
/// From the order to stop to its end: drains may take half a minute.
const ENDS: Duration = Duration::from_secs(60);
/// How much of what it said is repeated when it fails.
const LAST: usize = 2000;

/// A fleet with a pool of one size. Dropped, its supervisor is killed, and the workers with it.
pub(super) struct Trial {
    up: Child,
    state_dir: PathBuf,
}

/// Fails if the manifest's fleet runs: it has the address, and the executor ids.
pub(super) async fn none_runs(located: &Located) -> Result<(), Failure> {
    match Client::connect(&located.state_dir).await {
        Ok(_) => Err(Failure::said(
            "the fleet of this manifest runs; expected it stopped (`poolwright stop`): tune starts its own, one for each size",
        )),
        Err(_) => Ok(()),
    }
}

impl Trial {
    /// Starts it, and waits until every worker serves.
    pub(super) async fn start(
        place: &Place,
        located: &Located,
        variable: &str,
        size: u32,
    ) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(Failure::source("finding this programme"))?;
        let mut command = Command::new(program);
        command
            .arg("--file")
            .arg(&located.file)
            .arg("--state-dir")
            .arg(&located.state_dir);
        if let Some(profile) = &place.profile {
            command.args(["--env", profile]);
        }
        let up = command
            .arg("up")
            .env(variable, size.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(Failure::source("starting the fleet"))?;
        let mut trial = Self {
            up,
            state_dir: located.state_dir.clone(),
        };
        trial.serves(size).await?;
        Ok(trial)
    }

    async fn serves(&mut self, size: u32) -> Result<(), Failure> {
        let mut words = self.up.stderr.take();
        let reading = tokio::spawn(async move {
            let mut said = Vec::new();
            if let Some(words) = &mut words {
                words.read_to_end(&mut said).await.ok();
            }
            String::from_utf8_lossy(&said).into_owned()
        });
        let deadline = Instant::now() + SERVES;
        loop {
            if let Ok(mut fleet) = Client::connect(&self.state_dir).await
                && let Ok(status) = fleet.status().await
                && status
                    .apps
                    .iter()
                    .flat_map(|app| &app.slots)
                    .all(|slot| slot.state == SlotState::Serving)
            {
                return Ok(());
            }
            let ended = self.up.try_wait();
            let ended = ended.map_err(Failure::source("waiting for the fleet"))?;
            if let Some(status) = ended {
                let said = reading.await.unwrap_or_default();
                let from = said.len().saturating_sub(LAST);
                let last = said.get(from..).unwrap_or(&said).trim();
                return Err(Failure::said(format!(
                    "the fleet with {size} connections ended with {status}:\n{last}"
                )));
            }
            if Instant::now() > deadline {
                return Err(Failure::said(format!(
                    "the fleet with {size} connections does not serve after {} s; `poolwright up` shows why",
                    SERVES.as_secs()
                )));
            }
            sleep(LOOK).await;
        }
    }

    /// Asks it, and stops it.
    pub(super) async fn measure(mut self, load: &Load, size: u32) -> Result<Measured, Failure> {
        let measured = load.run(size).await;
        Client::connect(&self.state_dir)
            .await
            .map_err(Failure::source("asking the fleet"))?
            .stop(false)
            .await
            .map_err(Failure::source("stopping the fleet"))?;
        timeout(ENDS, self.up.wait())
            .await
            .map_err(|_| Failure::said("the fleet does not end"))?
            .map_err(Failure::source("waiting for the fleet's end"))?;
        measured
    }
}
