//! `poolwright recover`: re-enqueue what dead executors left, by hand.

use crate::cli::Place;
use crate::environment::Environment;
use crate::exit_codes::Exit;
use crate::failure::Failure;
use crate::manifest::{self, Declared};
use crate::recovery::{self, Roll, describe_stuck, workflows};
use crate::style::{self, paint};
use crate::{commands, servers};
use clap::Args;
use poolwright_recover::{Intent, Left, Outcome, Report, Sign, Standing};
use poolwright_supervisor::control::Client;
use serde::Serialize;
use std::collections::BTreeSet;

/// Re-enqueue the workflows of executors that will not come back
///
/// Finds what is PENDING under executor ids that the fleet does not have, or whose slot is parked, and gives it back to the
/// queue, as a launch under that id would do. An executor that lives keeps its work: one whose id a process of this host holds, or that is
/// connected from wherever. `up` does this by itself; by hand it is for fleets under PM2 and systemd, and for executors
/// that are named with --executor.
///
/// Also lists work that waits for a version of the application which no living executor runs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  poolwright recover --dry-run           what would be re-enqueued
  poolwright recover                     what nobody comes back for
  poolwright recover --executor web-0    PM2 scaled it away, although the ecosystem file has it

With --json:
  {\"dry_run\":false,\"reenqueued\":20,\"stores\":[{\"store\":\"127.0.0.1:5432/desk_dbos\",
    \"executors\":[{\"executor_id\":\"web-2\",\"workflows\":20,\"versions\":[\"desk-1\"],\"outcome\":\"reenqueued\"}],
    \"versions\":[{\"version\":\"desk-1\",\"assumed\":false}],
    \"stuck\":[{\"application\":\"desk\",\"version\":\"desk-0\",\"status\":\"ENQUEUED\",\"workflows\":1}]}]}
  outcome: reenqueued; abandoned (with --dry-run: it would be); living, with \"sign\":\"held\" or \"connected\";
    expected (the fleet has it: its next process takes the work up); foreign (none of this fleet's)

Exits with 1 when an executor that was named lives.")]
pub(crate) struct Recover {
    /// Only say what would be re-enqueued
    #[arg(long)]
    dry_run: bool,
    /// Only these executors, also when the fleet has them
    #[arg(long = "executor", value_name = "ID", num_args = 1..)]
    executors: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Recovered {
    dry_run: bool,
    reenqueued: u64,
    stores: Vec<Report>,
}

impl Recover {
    pub(crate) async fn run(&self, place: &Place) -> Result<Exit, Failure> {
        let located = manifest::locate(place)?;
        let environment =
            Environment::beside(&located.folder)?.with_embedded(&located.state_dir)?;
        let declared = manifest::read(located, environment)?;
        servers::refuse_without_urls(&declared.topology)?;
        let places = recovery::places(&declared.topology);
        if places.is_empty() {
            return Err(Failure::declaration(
                "no pool with executor = true, expected one: that is where workflows are kept",
            ));
        }
        let roll = roll(&declared).await;
        let named: BTreeSet<&str> = self.executors.iter().map(String::as_str).collect();
        let standing = |executor_id: &str| match named.contains(executor_id) {
            true => Standing::GivenUp,
            false if named.is_empty() => roll.standing(executor_id),
            false => Standing::Foreign,
        };
        let intent = match self.dry_run {
            true => Intent::Look,
            false => Intent::Recover,
        };
        let mut stores = recovery::recover(&places, intent, &standing).await?;
        if !named.is_empty() {
            for report in &mut stores {
                let named = |left: &Left| named.contains(left.executor_id.as_str());
                report.executors.retain(named);
            }
        }
        let recovered = Recovered {
            dry_run: self.dry_run,
            reenqueued: stores.iter().map(Report::reenqueued).sum(),
            stores,
        };
        let living = living(&recovered.stores).await?;
        if self.json {
            commands::print_json(&recovered)?;
        } else {
            recovered.print(&living);
        }
        let named_lives = !named.is_empty() && !living.is_empty();
        match named_lives {
            true => Err(Failure::said(living.join("\n  "))),
            false => Ok(Exit::Success),
        }
    }
}

/// What `scale` said last is what the fleet has, until it stops. Without a supervisor to be asked it is the manifest's word.
async fn roll(declared: &Declared) -> Roll {
    let roll = Roll::declared(&declared.topology);
    let Ok(mut fleet) = Client::connect(&declared.located.state_dir).await else {
        return roll;
    };
    match fleet.status().await {
        Ok(status) => roll.running(&status),
        Err(_) => roll,
    }
}

/// Why each executor that lives keeps its work, in words.
async fn living(stores: &[Report]) -> Result<Vec<String>, Failure> {
    let mut words = Vec::new();
    for report in stores {
        for left in &report.executors {
            let Outcome::Living { sign } = left.outcome else {
                continue;
            };
            let id = &left.executor_id;
            let why = match sign {
                Sign::Connected => format!("it has a session in {}", report.store),
                Sign::Held => {
                    let (id, store) = (id.clone(), report.store.clone());
                    let asked = tokio::task::spawn_blocking(move || {
                        poolwright_recover::holder(&id, &store)
                    });
                    let holder = asked
                        .await
                        .map_err(Failure::source("asking who holds it"))?;
                    match holder {
                        Some(holder) => format!("{holder} holds its id"),
                        None => "a process of this host holds its id".to_owned(),
                    }
                }
            };
            let count = workflows(left.workflows);
            words.push(format!("{id} lives and keeps its {count}: {why}"));
        }
    }
    Ok(words)
}

impl Recovered {
    fn print(&self, living: &[String]) {
        for report in &self.stores {
            for left in &report.executors {
                let said = describe(left);
                if let Some(said) = said {
                    let id = paint(style::STRONG, &left.executor_id);
                    anstream::println!("{id} {said}");
                }
            }
        }
        for living in living {
            anstream::println!("{living}");
        }
        for report in &self.stores {
            for stuck in &report.stuck {
                let words = describe_stuck(stuck, report);
                anstream::println!("{}: {words}", paint(style::WARN, "warning"));
            }
        }
        let outcomes = self.stores.iter().flat_map(|report| &report.executors);
        let abandoned = outcomes.filter(|left| left.outcome == Outcome::Abandoned);
        let abandoned: u64 = abandoned.map(|left| left.workflows).sum();
        match (self.dry_run, self.reenqueued, abandoned) {
            (true, _, 0) | (false, 0, _) => anstream::println!("nothing to re-enqueue"),
            (true, _, n) => anstream::println!("would re-enqueue {}", workflows(n)),
            (false, n, _) => {
                let done = paint(style::GOOD, "re-enqueued");
                anstream::println!("{done} {}", workflows(n));
            }
        }
    }
}

/// One executor's part, after its id; of one that lives [`living`] says it.
fn describe(left: &Left) -> Option<String> {
    let count = workflows(left.workflows);
    let versions = left.versions.join(", ");
    let what = format!("{count} of {versions}");
    Some(match left.outcome {
        Outcome::Living { .. } => return None,
        Outcome::Reenqueued => format!("left {what}: re-enqueued"),
        Outcome::Abandoned => format!("left {what}: would be re-enqueued"),
        Outcome::Expected => {
            let id = &left.executor_id;
            format!(
                "does not run and left {what}: its next process takes them up; if there will be none, `poolwright recover --executor {id}`"
            )
        }
        Outcome::Foreign => format!("is none of this fleet's and has {what}: not touched"),
    })
}
