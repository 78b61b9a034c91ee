//! What a fleet may hold, by the names of its sessions, and whether it did.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use poolwright_testkit::sampler::Report;

use crate::{Cell, Manager, Setup};

/// The connections of every pool, by `application_name`.
#[must_use]
pub fn declared(workers: usize, orm: usize, dbos: usize) -> BTreeMap<String, usize> {
    let pools = |slot| {
        [
            (format!("web-{slot}:prisma"), orm),
            (format!("web-{slot}:dbos"), dbos),
        ]
    };
    (0..workers).flat_map(pools).collect()
}

/// What comes on top, as `plan` names it: the supervisor's connection, where there is a supervisor.
pub async fn overhead(cell: Cell, setup: &Setup) -> Result<BTreeMap<String, usize>> {
    let plan = setup.poolwright()?.json(&["plan"]).await?;
    let overhead = plan["overhead"]
        .as_u64()
        .with_context(|| format!("no overhead: {plan}"))?;
    Ok(match cell.manager {
        Manager::Pm2 => BTreeMap::new(),
        Manager::Poolwright => [("web:poolwright".to_owned(), usize::try_from(overhead)?)].into(),
    })
}

/// Fails unless no name had more than its number and no session was nobody's: together that is the bound. `known` are the names
/// that the sampler was given.
pub fn held(seen: &Report, known: &BTreeMap<String, usize>) -> Result<()> {
    ensure!(
        seen.violations.is_empty(),
        "bound exceeded: {:#?}",
        seen.violations
    );
    let strange: BTreeMap<_, _> = seen
        .peaks
        .iter()
        // The tool's own questions, for as long as they are asked.
        .filter(|(name, _)| !known.contains_key(*name) && !name.starts_with("poolwright"))
        .filter(|(_, peak)| peak.confirmed > 0)
        .collect();
    ensure!(strange.is_empty(), "sessions of nobody: {strange:?}");
    Ok(())
}
