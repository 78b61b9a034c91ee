//! A network that says nothing any more: no data, no end of a connection. Nobody is told, and everybody serves again in bounded time.

use std::time::Duration;

use acceptance::{Fleet, Setup, Stack};
use anyhow::{Context, Result};
use poolwright_testkit::TestServer;
use poolwright_testkit::proxy::Proxy;
use poolwright_testkit::sampler::count;
use poolwright_testkit::wait::Seen;
use poolwright_testkit::wait_until;
use sqlx::Connection;
use tokio::time::sleep;

use crate::reload::under_poolwright;

acceptance::both_stacks!(
    after_the_network_forgot_every_connection_every_worker_reads_soon_and_serves,
    after_a_network_that_swallowed_everything_carries_again_every_worker_serves,
    after_everybody_was_cut_off_for_a_while_what_was_in_flight_is_fulfilled,
);

/// Until an order's workflow asks DBOS' tables.
const ASKED: Duration = Duration::from_secs(20);

/// Until every worker answers reads. An idle connection is asked for a sign of life every 5 seconds and has one to give it; a
/// request finds it lost in 2, and in axum tries the next; the connection of a look at the pools takes a second; what was
/// asked before is waited for as long as a statement may run, 30 seconds. On a busy machine.
const READS: Duration = Duration::from_secs(45);

/// Until everything is as before: a statement in flight is waited for as long as Postgres lets one run, 30 seconds, and DBOS tries
/// again; and what the DBOS pool in axum has asked over a connection that is gone for good for 40 seconds and a look, before its
/// worker ends and another one recovers its work. On a busy machine.
const BACK: Duration = Duration::from_secs(90);

/// Until a place is missed that nobody asks anything over: 30 seconds in which Postgres does not know of it, and another worker's
/// start. On a busy machine.
const WHOLE: Duration = Duration::from_secs(75);

/// How long nothing is carried. This time is the claim, not a wait for something.
const AWAY: Duration = Duration::from_secs(15);

/// How long everybody is cut off: longer than an order in flight goes without asking DBOS. This time is the claim, not a wait for something.
const CUT_OFF: Duration = Duration::from_secs(4);

const TENANT: &str = "11111111-1111-4111-8111-111111111111";

/// The connections that there are are lost, new ones are not: as behind a firewall that lost its table, or an address that
/// has moved to another server.
async fn after_the_network_forgot_every_connection_every_worker_reads_soon_and_serves(
    stack: Stack,
) -> Result<()> {
    let (fleet, network) = far_away(stack).await?;
    // A question of the DBOS pool is under way when its connection is lost: it waits for this lock.
    let mut dbos = fleet.setup.server.connect("order_desk_dbos").await?;
    let mut lock = dbos.begin().await?;
    sqlx::query("LOCK TABLE dbos.operation_outputs IN EXCLUSIVE MODE")
        .execute(&mut *lock)
        .await?;
    let in_flight = fleet.desk.placed("Espresso beans", TENANT).await?;
    asked_of_dbos(&fleet).await?;
    let forgotten = fleet.backends().await?;
    network.forget();
    lock.rollback().await?;
    dbos.close().await?;
    let again = async {
        fleet
            .desk
            .from_every_worker("/api/orders", 3, READS)
            .await
            .context("reads")?;
        fleet.desk.ready_workers(3, BACK).await?;
        let shipped = fleet.desk.shipped(&in_flight, TENANT, BACK);
        shipped.await.context("an order in flight")?;
        if stack == Stack::Axum {
            // It cannot be told from outside, so its worker tells.
            let lost = "a connection of the DBOS pool is lost";
            let told = fleet.line(lost, BACK, |line| line.contains(lost));
            told.await?;
        }
        fulfils(&fleet).await?;
        fleet.given_up(&forgotten).await?;
        whole(&fleet).await
    };
    let again: Result<()> = again.await;
    again.with_context(|| fleet.said())
}

async fn after_a_network_that_swallowed_everything_carries_again_every_worker_serves(
    stack: Stack,
) -> Result<()> {
    let (fleet, network) = far_away(stack).await?;
    let in_flight = fleet.desk.placed("Espresso beans", TENANT).await?;
    network.swallow();
    sleep(AWAY).await;
    network.carry();
    let again = async {
        fleet.desk.ready_workers(3, BACK).await?;
        let shipped = fleet.desk.shipped(&in_flight, TENANT, BACK);
        shipped.await.context("an order in flight")?;
        fulfils(&fleet).await
    };
    again.await.with_context(|| fleet.said())?;
    fleet.stop().await
}

/// Connections are made and closed at once, as by a proxy whose server restarts: not one that is refused.
async fn after_everybody_was_cut_off_for_a_while_what_was_in_flight_is_fulfilled(
    stack: Stack,
) -> Result<()> {
    let (fleet, network) = far_away(stack).await?;
    let mut in_flight = Vec::new();
    for _ in 0..9 {
        in_flight.push(fleet.desk.placed("Espresso beans", TENANT).await?);
    }
    network.refuse();
    sleep(CUT_OFF).await;
    network.carry();
    let again = async {
        fleet.desk.ready_workers(3, BACK).await?;
        for order in &in_flight {
            let shipped = fleet.desk.shipped(order, TENANT, BACK);
            shipped.await.context("an order in flight")?;
        }
        fulfils(&fleet).await
    };
    again.await.with_context(|| fleet.said())?;
    fleet.stop().await
}

async fn far_away(stack: Stack) -> Result<(Fleet, Proxy)> {
    let server = TestServer::start().await?;
    let network = Proxy::start(([127, 0, 0, 1], server.port()?).into()).await?;
    let setup = Setup::on(stack, server)?
        .through(network.port())?
        // An order is in flight for that long.
        .env("FULFIL_SLEEP_MS", "2000");
    let fleet = Fleet::from(under_poolwright(stack), setup, 3).await?;
    Ok((fleet, network))
}

/// Waits until a worker waits for a lock in DBOS' tables.
async fn asked_of_dbos(fleet: &Fleet) -> Result<()> {
    let mut admin = fleet.setup.server.admin().await?;
    let asked = wait_until("a worker asks DBOS' tables", ASKED, async || {
        let waiting = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE application_name LIKE 'web-%:dbos' AND wait_event_type = 'Lock'",
        );
        match waiting.fetch_one(&mut admin).await {
            Ok(1..) => Seen::Yes(()),
            other => Seen::<_, Result<i64, _>>::NotYet(other),
        }
    });
    asked.await?;
    Ok(admin.close().await?)
}

/// Every pool has all its connections, also in place of one that only listened.
async fn whole(fleet: &Fleet) -> Result<()> {
    wait_until("every pool is whole", WHOLE, async || {
        let backends = match fleet.backends().await {
            Ok(backends) => count(&backends),
            Err(error) => return Seen::NotYet(format!("{error:#}")),
        };
        let of_worker = |worker| ["prisma", "dbos"].map(|pool| format!("web-{worker}:{pool}"));
        let mut pools = (0..3).flat_map(of_worker);
        if pools.all(|pool| backends.get(&pool) == Some(&3)) {
            Seen::Yes(())
        } else {
            Seen::NotYet(format!("{backends:?}"))
        }
    })
    .await
}

/// More orders than workers are accepted and fulfilled.
async fn fulfils(fleet: &Fleet) -> Result<()> {
    for _ in 0..6 {
        let accepted = async || match fleet.desk.placed("Filter papers", TENANT).await {
            Ok(order) => Seen::Yes(order),
            Err(refused) => Seen::NotYet(refused.to_string()),
        };
        let order = wait_until("an order is accepted", BACK, accepted).await?;
        fleet.desk.shipped(&order, TENANT, BACK).await?;
    }
    Ok(())
}
