//! One executor per process, each with an id of its own, and a line that says so (S2, S3, S6).

use std::collections::BTreeSet;

use acceptance::{Cell, Fleet, Setup};
use anyhow::{Context, Result, ensure};
use serde_json::Value;

acceptance::matrix!(
    each_worker_launches_once_under_its_own_id_and_says_so_in_one_line,
    an_instance_id_in_the_surrounding_environment_decides_nothing,
);

async fn each_worker_launches_once_under_its_own_id_and_says_so_in_one_line(
    cell: Cell,
) -> Result<()> {
    let fleet = Fleet::start(cell).await?;
    let lines = start_up_lines(&fleet, 3).await?;
    for (number, line) in lines.iter().enumerate() {
        let (slot, instance) = (format!("web-{number}"), number.to_string());
        let ready = fleet
            .ready
            .get(&slot)
            .with_context(|| format!("no {slot}"))?;
        ensure!(line["level"] == "info", "{line}");
        ensure!(line["instance_id"] == instance.as_str(), "{line}");
        ensure!(line["executor_id"] == slot.as_str(), "{line}");
        ensure!(
            line["prisma_pool_max"] == 3 && line["dbos_pool_max"] == 3,
            "{line}"
        );
        ensure!(
            line["pid"] == ready["pid"] && line["pid"].is_u64(),
            "{line} {ready}"
        );
        ensure!(
            ready["slot"] == slot.as_str() && ready["executor_id"] == slot.as_str(),
            "{ready}"
        );
    }
    distinct_processes(&lines, 3)?;
    fleet.stop().await
}

/// H5: what surrounds the manager would make every worker the same executor.
async fn an_instance_id_in_the_surrounding_environment_decides_nothing(cell: Cell) -> Result<()> {
    let setup = Setup::new(cell.stack).await?;
    let setup = setup
        .env("PM2_INSTANCE_ID", "7")
        .env("NODE_APP_INSTANCE", "7");
    let fleet = Fleet::from(cell, setup, 3).await?;
    distinct_processes(&start_up_lines(&fleet, 3).await?, 3)?;
    let slots: Vec<_> = fleet.ready.keys().map(String::as_str).collect();
    ensure!(slots == ["web-0", "web-1", "web-2"], "{slots:?}");
    fleet.stop().await
}

/// Exactly this many, sorted by slot.
async fn start_up_lines(fleet: &Fleet, expected: usize) -> Result<Vec<Value>> {
    let mut lines = fleet.start_up_lines().await?;
    ensure!(
        lines.len() == expected,
        "{} start-up lines: {lines:#?}",
        lines.len()
    );
    lines.sort_by_key(|line| line["executor_id"].to_string());
    Ok(lines)
}

fn distinct_processes(lines: &[Value], expected: usize) -> Result<()> {
    let distinct = |field: &str| -> BTreeSet<String> {
        lines.iter().map(|line| line[field].to_string()).collect()
    };
    ensure!(distinct("pid").len() == expected, "{lines:#?}");
    ensure!(distinct("executor_id").len() == expected, "{lines:#?}");
    Ok(())
}
