//! What `reload`, `restart` and `scale` have in common: they ask the supervisor, tell every step, and end with a
//! slot's failure or without.

use crate::cli::Place;
use crate::commands::print_json;
use crate::exit_codes::Exit;
use crate::failure::Failure;
use crate::manifest;
use crate::style::{self, paint};
use poolwright_supervisor::control::{Client, ClientError, Progress, SlotFailure, Step};
use serde::Serialize;
use std::time::Instant;

/// For the help of those that tell steps.
pub(crate) const JSON_HELP: &str = "\
With --json, one object a line:
  {\"event\":\"progress\",\"slot\":\"web-0\",\"step\":\"boots\",\"done\":0,\"of\":3}    step: boots, drains, serves
  {\"event\":\"done\",\"failure\":null}
  {\"event\":\"done\",\"failure\":{\"slot\":\"web-1\",\"reason\":\"web-1 …\",\"last_words\":[\"…\"]}}";

/// Connects to the fleet that is running here.
pub(crate) async fn connect(place: &Place) -> Result<Client, Failure> {
    let located = manifest::locate(place)?;
    Client::connect(&located.state_dir)
        .await
        .map_err(Failure::source("asking the fleet"))
}

/// How a command that changes the fleet tells what happens.
pub(crate) struct Telling {
    command: &'static str,
    json: bool,
    began: Instant,
}

/// A line of `--json`.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line<'a> {
    Progress(&'a Progress),
    Done { failure: Option<&'a SlotFailure> },
}

impl Telling {
    pub(crate) fn new(command: &'static str, json: bool) -> Self {
        let began = Instant::now();
        Self {
            command,
            json,
            began,
        }
    }

    pub(crate) fn step(&self, progress: &Progress) {
        if self.json {
            // A line that cannot be written is no reason to stop listening: the exit code still tells the end.
            let _unwritten = print_json(&Line::Progress(progress));
            return;
        }
        let words = match progress.step {
            Step::Serves => paint(style::GOOD, words(progress.step)),
            Step::Boots | Step::Drains => words(progress.step).to_owned(),
        };
        let count = format!("{}/{}", progress.done, progress.of);
        anstream::println!(
            "{} {} {words}",
            paint(style::QUIET, count),
            paint(style::STRONG, &progress.slot)
        );
    }

    /// Tells the end, and which exit code it is.
    pub(crate) fn end(
        &self,
        end: Result<Option<SlotFailure>, ClientError>,
    ) -> Result<Exit, Failure> {
        let failure = match end {
            Ok(failure) => failure,
            Err(ClientError::DoesNotFit { reason }) => {
                return Err(Failure::Said {
                    exit: Exit::Over,
                    message: reason,
                });
            }
            Err(error) => {
                let doing = format!("{}: nothing more is known of it", self.command);
                return Err(match error {
                    ClientError::Refused { reason } => Failure::said(reason),
                    other => Failure::source(doing)(other),
                });
            }
        };
        if self.json {
            print_json(&Line::Done {
                failure: failure.as_ref(),
            })?;
        }
        match failure {
            None => {
                if !self.json {
                    let took = self.began.elapsed().as_secs_f64();
                    anstream::println!("{} in {took:.1} s", paint(style::GOOD, "done"));
                }
                Ok(Exit::Success)
            }
            Some(failure) => Err(Failure::said(said(self.command, &failure))),
        }
    }
}

/// What a slot does.
pub(super) const fn words(step: Step) -> &'static str {
    match step {
        Step::Boots => "the successor boots",
        Step::Drains => "the predecessor drains",
        Step::Serves => "serves",
    }
}

/// Which slot stopped it, why, and what its worker had to say.
pub(super) fn said(command: &str, failure: &SlotFailure) -> String {
    let words: String = failure
        .last_words
        .iter()
        .map(|line| format!("\n  | {line}"))
        .collect();
    format!(
        "{command} stopped: {}; the other workers serve on{words}",
        failure.reason
    )
}
