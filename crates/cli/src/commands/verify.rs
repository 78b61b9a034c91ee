//! `poolwright verify`: declared against observed, from Postgres itself.

use crate::cli::Place;
use crate::commands;
use crate::environment::Environment;
use crate::exit_codes::Exit;
use crate::failure::Failure;
use crate::manifest::{self, Declared};
use crate::servers::{self, Control};
use crate::style::{self, paint};
use clap::Args;
use poolwright_supervisor::control::Client;
use poolwright_topology::budget;
use poolwright_topology::census::{Census, Verdict};
use poolwright_topology::declare::Topology;
use poolwright_topology::finding::{Finding, Severity};
use poolwright_topology::handover::SlotState;
use poolwright_topology::status::SlotStatus;
use poolwright_topology::tag::{COMMAND, Name, SlotId};
use poolwright_topology::units::Workers;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often `pg_stat_activity` is read: often enough to catch what lasts a tenth of a second, at the
/// cost of a few milliseconds of the server's time per second.
const INTERVAL: Duration = Duration::from_millis(50);

/// Have Postgres confirm the declared connections
///
/// Reads pg_stat_activity every 50 ms and compares, per worker and pool, what is declared with what is there. It needs no
/// running supervisor: a fleet under PM2 or systemd is verified the same. Where a supervisor runs, `scale` counts as
/// declared. Exits with 4 when the declaration does not hold.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  poolwright verify                 one second
  poolwright verify --for 10m       while a load test or a reload runs
  poolwright verify --json | jq -e .holds")]
pub(crate) struct Verify {
    /// How long to observe, as in 10s or 5m
    #[arg(long = "for", value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    time: Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(crate) async fn run(&self, place: &Place) -> Result<Exit, Failure> {
        let located = manifest::locate(place)?;
        let environment =
            Environment::beside(&located.folder)?.with_embedded(&located.state_dir)?;
        let mut declared = manifest::read(located, environment)?;
        servers::refuse_without_urls(&declared.topology)?;
        let on_demand = as_running(&mut declared).await;
        let mut control = Control::connect(&declared.topology, |_| Ok(COMMAND.into())).await?;
        let verdict = observe(&mut control, &declared.topology, on_demand, self.time).await?;
        if self.json {
            commands::print_json(&verdict)?;
        } else {
            anstream::print!("{}", render(&verdict, &Executors::new(), self.time));
        }
        Ok(if verdict.holds {
            Exit::Success
        } else {
            Exit::Violated
        })
    }
}

/// What `scale` said last is what is declared, until the fleet stops. Without a supervisor to be asked, or with one that
/// does not talk to this user, it is the manifest's number. Answers with the slots that serve and report no pool: their
/// program opens connections when it likes.
pub(crate) async fn as_running(declared: &mut Declared) -> Vec<SlotId> {
    let Ok(mut fleet) = Client::connect(&declared.located.state_dir).await else {
        return Vec::new();
    };
    let Ok(status) = fleet.status().await else {
        return Vec::new();
    };
    let mut on_demand = Vec::new();
    for running in status.apps {
        let app = declared.topology.apps.iter_mut();
        if let Some(app) = app.into_iter().find(|app| app.name == running.app) {
            app.instances.value = Workers(running.instances);
        }
        let quiet = |slot: &SlotStatus| slot.state == SlotState::Serving && slot.gauges.is_empty();
        let slots = running.slots.into_iter().filter(quiet);
        on_demand.extend(slots.map(|status| status.slot));
    }
    on_demand
}

/// Samples for `time`, at least twice: what is seen once may be a closing backend. Slots that serve and whose program opens its
/// pools `on_demand` may hold no connection.
pub(crate) async fn observe(
    control: &mut Control,
    topology: &Topology,
    on_demand: Vec<SlotId>,
    time: Duration,
) -> Result<Verdict, Failure> {
    let plan = budget::plan(topology, &|_| {
        Some(budget::ServerLimits::assumed(
            poolwright_topology::units::Connections(u32::MAX),
        ))
    })
    .map_err(Failure::source("summing up the plan"))?;
    let mut census = Census::new(topology, &plan).with_pools_on_demand(on_demand);
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = Instant::now() + time;
    let mut samples = 0;
    while samples < 2 || Instant::now() < end {
        ticks.tick().await;
        census.sample(&control.sample().await?);
        samples += 1;
    }
    Ok(census.verdict())
}

/// The executor id of each slot that has one.
pub(crate) type Executors = BTreeMap<SlotId, String>;

/// The verdict as `verify` and `up` print it; with the executors of its slots where those are known.
pub(crate) fn render(verdict: &Verdict, executors: &Executors, time: Duration) -> String {
    let heads = [
        "slot", "process", "executor", "pool", "declared", "peak", "now",
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for slot in &verdict.slots {
        let executor = executors.get(&slot.slot).map_or("-", String::as_str);
        let pids: Vec<String> = slot.pids.iter().map(u32::to_string).collect();
        let pids = match pids.as_slice() {
            [] => "-".to_owned(),
            pids => pids.join(" "),
        };
        let pools = slot.pools.iter().map(|pool| {
            let name = pool.pool.to_string();
            [
                name,
                pool.declared.to_string(),
                pool.peak.to_string(),
                pool.now.to_string(),
            ]
        });
        let unnamed = slot.unnamed.iter().map(|unnamed| {
            let (peak, now) = (unnamed.peak.to_string(), unnamed.now.to_string());
            [either(&unnamed.among), String::new(), peak, now]
        });
        for (index, cells) in pools.chain(unnamed).enumerate() {
            let whose = match index {
                0 => [slot.slot.to_string(), pids.clone(), executor.to_owned()],
                _ => Default::default(),
            };
            rows.push(whose.into_iter().chain(cells).collect());
        }
    }
    let numbers = match executors.is_empty() {
        true => {
            for row in &mut rows {
                row.remove(2);
            }
            [3, 4, 5]
        }
        false => [4, 5, 6],
    };
    let mut text = format!("{}\n\n", style::table(rows, &numbers));
    for finding in &verdict.findings {
        text += &render_finding(finding);
    }
    let (mark, word) = if verdict.holds {
        (style::GOOD, "holds")
    } else {
        (style::BAD, "violated")
    };
    // `write!` to a String cannot fail.
    let _infallible = writeln!(
        text,
        "{}: {} connections at most of {} declared, and {} of overhead, in {} samples over {}",
        paint(mark, word),
        verdict.peak,
        verdict.bound,
        verdict.overhead,
        verdict.samples,
        humantime::format_duration(time)
    );
    text
}

/// What sessions may be of that name no pool.
fn either(among: &[Name]) -> String {
    match among {
        [] => "none of them".to_owned(),
        among => {
            let names: Vec<&str> = among.iter().map(Name::as_str).collect();
            format!("{}?", names.join(" or "))
        }
    }
}

/// A finding with its cure.
pub(crate) fn render_finding(finding: &Finding) -> String {
    let (mark, word) = match finding.severity {
        Severity::Error => (style::BAD, "error"),
        Severity::Warning => (style::WARN, "warning"),
        Severity::Info => (style::QUIET, "note"),
    };
    format!(
        "{}: {}\n  {}\n",
        paint(mark, word),
        finding.message,
        paint(style::QUIET, &finding.cure)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use poolwright_topology::census::{PoolVerdict, SlotVerdict, UnnamedVerdict};
    use poolwright_topology::units::Connections;

    #[test]
    fn sessions_that_name_no_pool_stand_in_a_row_of_their_own() {
        let name = |text: &str| text.parse::<Name>().unwrap();
        let pool = |pool: &str| PoolVerdict {
            pool: name(pool),
            declared: Connections(3),
            peak: Connections(1),
            now: Connections(1),
        };
        let unnamed = |among: &[&str]| UnnamedVerdict {
            among: among.iter().map(|pool| name(pool)).collect(),
            declared: Connections(6),
            peak: Connections(2),
            now: Connections(2),
        };
        let verdict = Verdict {
            holds: true,
            bound: Connections(6),
            peak: Connections(4),
            overhead: Connections(1),
            samples: 2,
            slots: vec![SlotVerdict {
                slot: "web-0".parse().unwrap(),
                pids: vec![7],
                pools: vec![pool("audit"), pool("orm")],
                unnamed: vec![unnamed(&[]), unnamed(&["orm", "audit"])],
            }],
            findings: Vec::new(),
        };
        let table = |executors| {
            let text = render(&verdict, &executors, Duration::from_secs(1));
            let lines = text.lines().skip(1).take(4);
            let words = lines.map(|line| line.split_whitespace().map(str::to_owned).collect());
            words.collect::<Vec<Vec<String>>>()
        };
        let rows = table(Executors::new());
        assert_eq!(rows[0], ["web-0", "7", "audit", "3", "1", "1"]);
        assert_eq!(rows[1], ["orm", "3", "1", "1"]);
        assert_eq!(rows[2], ["none", "of", "them", "2", "2"]);
        assert_eq!(rows[3], ["orm", "or", "audit?", "2", "2"]);
        let known = [("web-0".parse().unwrap(), "worker-seven".to_owned())];
        let rows = table(known.into());
        assert_eq!(
            rows[0],
            ["web-0", "7", "worker-seven", "audit", "3", "1", "1"]
        );
        assert_eq!(rows[1], ["orm", "3", "1", "1"]);
    }
}
