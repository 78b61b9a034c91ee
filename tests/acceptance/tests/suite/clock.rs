//! A wall clock that is set while the fleet runs: nothing that the fleet waits for is measured by it.

use std::collections::BTreeMap;
use std::time::Duration;

use acceptance::chaos::{Campaign, Episode, Fault};
use acceptance::{Fleet, Setup, Stack};
use anyhow::{Context, Result, ensure};
use poolwright_testkit::wait::Seen;
use poolwright_testkit::wait_until;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::reload::under_poolwright;

acceptance::both_stacks!(
    a_wall_clock_that_is_set_while_workers_are_replaced_costs_no_request,
    a_wall_clock_that_is_set_back_by_a_day_holds_nothing_up,
);

const DAY: i64 = 24 * 60 * 60;

/// From an order until the predecessor of a slot drains.
const LATER: Duration = Duration::from_millis(700);

const SAID: Duration = Duration::from_secs(20);
const TENANT: &str = "11111111-1111-4111-8111-111111111111";

async fn a_wall_clock_that_is_set_while_workers_are_replaced_costs_no_request(
    stack: Stack,
) -> Result<()> {
    let meets = |fault, seconds| Episode {
        faults: vec![
            (Duration::ZERO, fault),
            (LATER, Fault::SetClock(seconds)),
            (LATER, Fault::SetClock(seconds)),
        ],
    };
    let campaign = Campaign {
        stack,
        seed: 0,
        first: vec![
            meets(Fault::Reload, DAY),
            meets(Fault::Restart(1), DAY),
            meets(Fault::Scale(2), DAY),
            // No further: a workflow that is taken up sleeps as long as the clock says.
            meets(Fault::Reload, -2),
        ],
        time: Duration::ZERO,
        without: None,
    };
    campaign.run(|_| ()).await.map(drop)
}

async fn a_wall_clock_that_is_set_back_by_a_day_holds_nothing_up(stack: Stack) -> Result<()> {
    let cell = under_poolwright(stack);
    let fleet = Fleet::from(cell, Setup::new(stack).await?.clocked()?, 3).await?;
    let clock = fleet.setup.clock()?;
    let since = |slots: &BTreeMap<String, Value>| {
        slots["web-1"]["since_unix_ms"].as_i64().context("no time")
    };
    let before = since(&fleet.slots().await?)?;

    clock.step(-DAY)?;
    let slots = fleet.slots().await?;
    let pid = slots["web-1"]["pid"].as_i64().context("no process")?;
    let pid = Pid::from_raw(i32::try_from(pid)?).context("no process")?;
    kill_process(pid, Signal::KILL)?;
    let again = wait_until("the killed worker serves again", SAID, async || match fleet
        .slots()
        .await
    {
        Ok(slots) if slots["web-1"]["state"] == "serving" && slots["web-1"]["restarts"] == 1 => {
            Seen::Yes(slots)
        }
        other => Seen::NotYet(other),
    })
    .await?;
    // It is the supervisor's own clock that was set.
    ensure!(since(&again)? < before, "{again:?}");
    fleet.reload().await?;
    clock.step(-DAY)?;
    let order = fleet.desk.placed("Espresso beans", TENANT).await?;
    fleet.desk.shipped(&order, TENANT, SAID).await?;
    fleet.stop().await
}
