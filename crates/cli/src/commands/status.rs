//! `poolwright status`: what the supervisor of a running fleet says.
//!
//! A worker that speaks the channel counts its pools itself. Of a foreign program's pools the supervisor knows what it last
//! saw of them in Postgres; that stands in their place.

use crate::cli::Place;
use crate::commands::verify;
use crate::exit_codes::Exit;
use crate::failure::Failure;
use crate::{commands, manifest, style};
use clap::Args;
use poolwright_supervisor::control::{Client, ClientError};
use poolwright_topology::finding::Finding;
use poolwright_topology::handover::SlotState;
use poolwright_topology::status::{FleetStatus, SlotStatus};
use poolwright_topology::tag::SlotId;
use serde::Serialize;
use std::collections::BTreeMap;

/// Show the slots of the running fleet
///
/// What the supervisor knows of its workers, of programs that report no pools what it last saw of them in Postgres, and what it
/// has found that is not as declared: a starved pool, a worker that counts other connections than Postgres, a parked slot.
/// What Postgres knows of all of them is `verify`.
#[derive(Debug, Args)]
#[command(after_help = "\
With --json:
  {\"pid\":4711,\"since_unix_ms\":…,\"apps\":[{\"app\":\"web\",\"slots\":[{\"slot\":\"web-0\",\"state\":\"serving\",…}]}],
   \"findings\":[{\"kind\":\"pool_starved\",\"severity\":\"error\",\"slot\":\"web-0\",\"pool\":\"dbos\",\"message\":\"…\",\"cure\":\"…\"}]}")]
pub(crate) struct Status {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The sessions of a slot whose worker does not count them.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Seen {
    /// By pool.
    shown: BTreeMap<String, usize>,
    /// Those that name the slot alone, where no single pool accounts for them.
    #[serde(skip_serializing_if = "is_none")]
    unnamed: usize,
}

impl Status {
    pub(crate) async fn run(&self, place: &Place) -> Result<Exit, Failure> {
        let located = manifest::locate(place)?;
        let failed = || Failure::source("asking the fleet");
        let mut fleet = Client::connect(&located.state_dir)
            .await
            .map_err(failed())?;
        let status = fleet.status().await.map_err(failed())?;
        let seen = seen(&mut fleet, &status).await.map_err(failed())?;
        let findings = fleet.findings().await.map_err(failed())?;
        if self.json {
            commands::print_json(&with_what_was_seen(&status, &seen, &findings)?)?;
        } else {
            anstream::println!("{}", table(&status, &seen));
            for finding in &findings {
                anstream::print!("\n{}", verify::render_finding(finding));
            }
        }
        Ok(Exit::Success)
    }
}

/// What was seen of the slots that serve and report no pool.
async fn seen(
    fleet: &mut Client,
    status: &FleetStatus,
) -> Result<BTreeMap<SlotId, Seen>, ClientError> {
    let mut all = BTreeMap::new();
    let slots = status.apps.iter().flat_map(|app| &app.slots);
    for slot in slots.filter(|slot| slot.state == SlotState::Serving && slot.gauges.is_empty()) {
        let mut seen = Seen::default();
        for session in fleet.sessions(slot.slot.clone()).await? {
            match session.pool {
                Some(pool) => *seen.shown.entry(pool).or_default() += 1,
                None => seen.unnamed += 1,
            }
        }
        all.insert(slot.slot.clone(), seen);
    }
    Ok(all)
}

/// The supervisor's own words, beside each slot's what was seen of it, and what was found in both.
fn with_what_was_seen(
    status: &FleetStatus,
    seen: &BTreeMap<SlotId, Seen>,
    findings: &[Finding],
) -> Result<serde_json::Value, Failure> {
    let failed = || Failure::source("writing JSON");
    let mut value = serde_json::to_value(status).map_err(failed())?;
    let apps = value.get_mut("apps").and_then(|apps| apps.as_array_mut());
    let slots = apps.into_iter().flatten().filter_map(|app| {
        let slots = app.get_mut("slots")?;
        slots.as_array_mut()
    });
    for slot in slots.flatten().filter_map(|slot| slot.as_object_mut()) {
        let name = slot.get("slot").and_then(|name| name.as_str());
        let name: Option<SlotId> = name.and_then(|name| name.parse().ok());
        if let Some(seen) = name.and_then(|name| seen.get(&name))
            && let serde_json::Value::Object(seen) = serde_json::to_value(seen).map_err(failed())?
        {
            slot.extend(seen);
        }
    }
    if let Some(fleet) = value.as_object_mut() {
        let findings = serde_json::to_value(findings).map_err(failed())?;
        fleet.insert("findings".to_owned(), findings);
    }
    Ok(value)
}

fn table(status: &FleetStatus, seen: &BTreeMap<SlotId, Seen>) -> String {
    let heads = ["slot", "state", "pid", "executor", "restarts", "pools"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    // A column that few programs fill stands only where one does.
    let slots = || status.apps.iter().flat_map(|app| &app.slots);
    let talkative = slots().any(|slot| slot.says.is_some());
    if talkative && let Some(heads) = rows.first_mut() {
        heads.push("says".to_owned());
    }
    for slot in slots() {
        rows.push(vec![
            slot.slot.to_string(),
            slot.state.to_string(),
            slot.pid.map_or_else(|| "-".into(), |pid| pid.to_string()),
            slot.executor_id.clone().unwrap_or_else(|| "-".into()),
            slot.restarts.to_string(),
            pools(slot, seen.get(&slot.slot)),
        ]);
        if talkative && let Some(row) = rows.last_mut() {
            row.push(slot.says.clone().unwrap_or_default());
        }
    }
    style::table(rows, &[2, 4])
}

/// Open and declared, pool by pool.
fn pools(slot: &SlotStatus, seen: Option<&Seen>) -> String {
    let pool = |(pool, max): (&String, &u32)| match (slot.gauges.get(pool), seen) {
        (Some(gauge), _) => format!("{pool} {}/{max} ({} busy)", gauge.open, gauge.busy),
        (None, Some(seen)) => {
            let open = seen.shown.get(pool).copied().unwrap_or(0);
            format!("{pool} {open}/{max} (seen)")
        }
        (None, None) => format!("{pool} ?/{max}"),
    };
    let mut pools: Vec<String> = slot.pools.iter().map(pool).collect();
    if let Some(unnamed) = seen.map(|seen| seen.unnamed).filter(|n| *n > 0) {
        pools.push(format!("{unnamed} of no pool's name"));
    }
    pools.join(", ")
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_none(count: &usize) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use poolwright_topology::finding::{Kind, Severity};

    #[test]
    fn what_was_found_stands_beside_the_apps_and_is_empty_when_all_is_well() {
        let status = FleetStatus {
            pid: 7,
            since_unix_ms: 1,
            apps: Vec::new(),
        };
        let starved = Finding {
            kind: Kind::PoolStarved,
            severity: Severity::Error,
            slot: Some("web-1".parse().unwrap()),
            pool: Some("dbos".into()),
            message: "web-1:dbos is starved".into(),
            cure: "give it more".into(),
        };
        let said = with_what_was_seen(&status, &BTreeMap::new(), &[starved]).unwrap();
        assert_eq!(said["pid"], 7);
        assert_eq!(said["findings"][0]["kind"], "pool_starved");
        assert_eq!(said["findings"][0]["slot"], "web-1");
        let said = with_what_was_seen(&status, &BTreeMap::new(), &[]).unwrap();
        assert_eq!(said["findings"], serde_json::json!([]));
    }
}
