//! From nothing to a serving fleet, and back (H1, H2, B11).

use std::collections::BTreeMap;

use acceptance::{Cell, Fleet, Manager, Setup, Stack};
use anyhow::{Result, ensure};
use futures::future::join_all;

acceptance::matrix!(
    from_an_empty_server_three_of_three_workers_become_ready_five_times_out_of_five
);
acceptance::both_stacks!(
    ten_hosts_that_prepare_at_once_leave_what_one_leaves,
    a_second_up_is_refused_and_the_first_goes_on
);

/// Ready as the workers say it, on the fleet's port; and when stopped, nothing of it is left.
async fn from_an_empty_server_three_of_three_workers_become_ready_five_times_out_of_five(
    cell: Cell,
) -> Result<()> {
    for _ in 0..5 {
        let fleet = Fleet::start(cell).await?;
        let slots: Vec<_> = fleet.ready.keys().map(String::as_str).collect();
        ensure!(slots == ["web-0", "web-1", "web-2"], "{slots:?}");
        fleet.stop().await?;
    }
    Ok(())
}

async fn ten_hosts_that_prepare_at_once_leave_what_one_leaves(stack: Stack) -> Result<()> {
    let setup = Setup::new(stack).await?;
    let poolwright = setup.poolwright()?;
    for answer in join_all((0..10).map(|_| poolwright.run(&["prepare"]))).await {
        answer?.expect(0)?;
    }
    let again = poolwright.json(&["prepare"]).await?;
    ensure!(
        again["changed"] == false,
        "a later run changed something: {again}"
    );
    let cell = Cell {
        stack,
        manager: Manager::Poolwright,
    };
    Fleet::from(cell, setup, 3).await?.stop().await
}

async fn a_second_up_is_refused_and_the_first_goes_on(stack: Stack) -> Result<()> {
    let fleet = Fleet::start(Cell {
        stack,
        manager: Manager::Poolwright,
    })
    .await?;
    fleet.setup.poolwright()?.run(&["up"]).await?.expect(1)?;
    let status = fleet.setup.poolwright()?.json(&["status"]).await?;
    let slots = status["apps"][0]["slots"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let states: BTreeMap<_, _> = slots
        .iter()
        .map(|slot| (slot["slot"].as_str(), slot["state"].as_str()))
        .collect();
    let serving = Some("serving");
    let expected = ["web-0", "web-1", "web-2"].map(|slot| (Some(slot), serving));
    ensure!(states == expected.into(), "{status}");
    for slot in &slots {
        ensure!(
            slot["executor_id"] == slot["slot"] && slot["pid"].is_u64(),
            "{slot}"
        );
    }
    fleet.stop().await
}
