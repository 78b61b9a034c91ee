//! A Postgres that restarts or is away: no worker is lost for good, and the bound holds when it comes back.

use std::time::Duration;

use acceptance::{Fleet, Setup, Stack};
use anyhow::{Context, Result, ensure};
use poolwright_testkit::TestServer;
use poolwright_testkit::wait::Seen;
use poolwright_testkit::wait_until;
use tokio::time::sleep;

use crate::reload::{lines, steps, under_poolwright, watch, within_bound};

acceptance::both_stacks!(
    after_postgres_was_restarted_or_away_every_worker_serves_again_within_the_bound,
);

/// How long Postgres is away. This time is the claim, not a wait for something.
const AWAY: Duration = Duration::from_secs(30);

/// From the return of Postgres until every worker serves: the longest pause of a failed worker and its launch,
/// and the longest that a driver waits before it tries again.
const BACK: Duration = Duration::from_secs(75);

const TENANT: &str = "11111111-1111-4111-8111-111111111111";

async fn after_postgres_was_restarted_or_away_every_worker_serves_again_within_the_bound(
    stack: Stack,
) -> Result<()> {
    let cell = under_poolwright(stack);
    let setup = Setup::on(stack, TestServer::lasting().await?)?;
    let mut fleet = Fleet::from(cell, setup, 3).await?;
    let poolwright = fleet.setup.poolwright()?;

    fleet.setup.server.down().await?;
    fleet.setup.server.up().await?;
    recovered(&fleet).await.context("after a restart")?;

    fleet.setup.server.down().await?;
    sleep(AWAY).await;
    fleet.setup.server.up().await?;
    recovered(&fleet).await.context("after 30 s without it")?;

    let reload = poolwright.start(&["reload", "--json"])?;
    reload
        .line("a worker leaves", BACK, |line| line.contains("\"drains\""))
        .await?;
    fleet.setup.server.down().await?;
    sleep(AWAY).await;
    fleet.setup.server.up().await?;
    recovered(&fleet)
        .await
        .context("after 30 s without it during a reload")?;

    // Whatever came of that reload, the next one is whole.
    let mut reload = reload;
    reload.exited(BACK).await?;
    let again = poolwright.run(&["reload", "--json"]).await?.expect(0)?;
    let serving = steps(&lines(&again.stdout)?, "serves");
    ensure!(serving == ["web-0", "web-1", "web-2"], "{again:#?}");
    recovered(&fleet).await.context("after another reload")?;
    fleet.stop().await
}

/// Watches from the return of Postgres on, until every worker serves: no more connections than declared, then exactly as
/// many, and orders are fulfilled.
async fn recovered(fleet: &Fleet) -> Result<()> {
    let sampler = watch(fleet.cell, &fleet.setup, 3).await?;
    let all = async {
        fleet.desk.ready_workers(3, BACK).await?;
        wait_until("every slot serves", BACK, async || {
            match fleet.slots().await {
                Ok(slots) if slots.values().all(|slot| slot["state"] == "serving") => Seen::Yes(()),
                other => Seen::NotYet(other),
            }
        })
        .await?;
        let order = fleet.desk.placed("Espresso beans", TENANT).await?;
        fleet.desk.shipped(&order, TENANT, BACK).await?;
        let poolwright = fleet.setup.poolwright()?;
        wait_until(
            "the declared connections are there",
            BACK,
            async || match poolwright.json(&["verify"]).await {
                Ok(verdict) if verdict["holds"] == true && verdict["peak"] == 18 => Seen::Yes(()),
                other => Seen::NotYet(other),
            },
        )
        .await
    };
    all.await.with_context(|| fleet.said())?;
    within_bound(&sampler.finish().await?, fleet.cell, &fleet.setup, 3).await
}
