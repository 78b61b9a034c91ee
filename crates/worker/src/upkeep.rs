//! What a worker does beside its work, for as long as it serves: it reports its gauges, prints its metrics and keeps its pools full.

use crate::channel::Channel;
use crate::executor::Executor;
use crate::gauges::Gauges;
use crate::metrics::Metrics;
use crate::pools::OrmPool;
use crate::telemetry::announce;
use crate::unanswered::Unanswered;
use crate::worker::object;
use poolwright_topology::channel::FromWorker;
use serde_json::json;
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::{Instant, interval, interval_at, timeout};
use tracing::Level;

/// How often the gauges are sent to the supervisor.
const GAUGES_EVERY: Duration = Duration::from_secs(1);

/// How often the pool's metrics are printed.
const METRICS_EVERY: Duration = Duration::from_secs(10);

/// How often both pools are filled again. Far below the 10 minutes after which the SDK's pool closes an
/// idle connection; and for so long it may be short of those that it closes every 30 minutes for
/// their age.
const FILL_EVERY: Duration = Duration::from_secs(5);

/// How often in a row the DBOS pool may be short of a connection right after it was filled. In between the SDK connects again what
/// listens, within a second or so.
const SHORT_FOR: u32 = 6;

/// How often to look whether the end of workflows that have ended is recorded.
const TAKEN_UP_EVERY: Duration = Duration::from_secs(5);

/// How often to look whether what the DBOS pool has asked was answered.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long the DBOS pool may wait for an answer while Postgres gives others. Longer than a statement of the ORM's may run
/// (30 s); and of the SDK's none takes a tenth of it.
const LOST_AFTER: Duration = Duration::from_secs(40);

/// How long Postgres may take to show that it answers others.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends the gauges to the supervisor, for ever. Without one nobody asks, and no query is made.
pub(crate) async fn report(channel: &Channel, gauges: &Gauges) -> Infallible {
    if !channel.is_supervised() {
        return std::future::pending().await;
    }
    let mut tick = interval(GAUGES_EVERY);
    loop {
        tick.tick().await;
        let pools = gauges.read().await.by_name();
        channel.send(&FromWorker::Gauges { pools }).await;
    }
}

/// Prints the ORM pool's metrics, for ever, if they are wanted.
pub(crate) async fn print(gauges: &Gauges, wanted: bool) -> Infallible {
    if !wanted {
        return std::future::pending().await;
    }
    let mut tick = interval(METRICS_EVERY);
    loop {
        tick.tick().await;
        let reading = gauges.read().await;
        let line = json!({
            "prisma_pool_connections_open": reading.orm.open,
            "prisma_pool_connections_busy": reading.orm.busy,
            "prisma_pool_connections_idle": reading.orm.idle,
            "metrics": Metrics::of(&reading, gauges.orm_opened_total()),
        });
        announce(Level::INFO, "prisma pool metrics", object(line));
    }
}

/// Opens what the ORM pool has lost, for ever.
pub(crate) async fn keep_full(orm: &OrmPool) -> Infallible {
    // Half a beat beside the gauges: for the time of a test the pool's idle connections are lent out.
    let mut tick = interval_at(Instant::now() + FILL_EVERY + GAUGES_EVERY / 2, FILL_EVERY);
    loop {
        tick.tick().await;
        if let Err(cause) = orm.refill().await {
            tracing::warn!(%cause, "the ORM pool could not be filled again");
        }
    }
}

/// Opens what the DBOS pool has lost, until one of its places is.
///
/// A connection that only listens asks nothing, so that its loss is noticed by nobody but Postgres, which has not heard of it for long
/// enough ([`crate::pools::WHEN_CLIENTS_GO`]): from then on the pool is short of a connection, whenever it was filled.
async fn keep_executor_full(executor: &Executor, gauges: &Gauges) {
    let mut tick = interval_at(Instant::now() + FILL_EVERY + GAUGES_EVERY / 2, FILL_EVERY);
    let mut short = 0;
    while short < SHORT_FOR {
        tick.tick().await;
        match executor.fill().await {
            Ok(()) => {
                let reading = gauges.read().await;
                let full = reading.dbos.open >= reading.dbos.max;
                short = if full || !reading.answered {
                    0
                } else {
                    short + 1
                };
            }
            Err(error) => {
                tracing::warn!(%error, "the DBOS pool could not be filled again");
                short = 0;
            }
        }
    }
}

/// Has workflows go on that the SDK has given up, for ever.
async fn keep_workflows_going(executor: &Executor) -> Infallible {
    let mut tick = interval(TAKEN_UP_EVERY);
    loop {
        tick.tick().await;
        match executor.take_up_abandoned().await {
            Ok(ids) if ids.is_empty() => {}
            Ok(ids) => {
                tracing::warn!(workflows = ?ids, "runs had ended without a record, they are resumed")
            }
            Err(error) => tracing::warn!(%error, "cannot see whether workflows were abandoned"),
        }
    }
}

/// Keeps the DBOS pool full and its workflows going, and returns when it has lost a connection and does not know.
///
/// The SDK makes that pool and waits for an answer without a limit. Where the network has forgotten its connections nothing in this
/// process can close them, but its end does.
pub(crate) async fn until_executor_is_lost(executor: &Executor, gauges: &Gauges) {
    tokio::select! {
        () = keep_executor_full(executor, gauges) => {}
        () = until_unanswered(executor, gauges) => {}
        never = keep_workflows_going(executor) => match never {},
    }
}

/// Returns when something that the DBOS pool has asked will never be answered: when a connection has waited for [`LOST_AFTER`] while
/// Postgres answered others, and not for a statement of the application's which Postgres still works at.
async fn until_unanswered(executor: &Executor, gauges: &Gauges) {
    let mut unanswered = Unanswered::by(&executor.settings().url);
    let mut tick = interval(LOOK_EVERY);
    let mut complained = false;
    loop {
        tick.tick().await;
        let waiting = match unanswered.since(LOST_AFTER).await {
            Ok(waiting) => waiting,
            Err(error) => {
                if !complained {
                    tracing::warn!(%error, "cannot see whether the DBOS pool is answered; this is not said again");
                }
                complained = true;
                continue;
            }
        };
        if waiting > 0 && waiting > still_worked_at(executor, gauges).await {
            return;
        }
    }
}

/// How many questions to the DBOS pool's server may still be answered: all, while it answers nobody.
async fn still_worked_at(executor: &Executor, gauges: &Gauges) -> usize {
    let asked = async {
        if gauges.same_server() {
            gauges.long_statements(LOST_AFTER - LOOK_EVERY).await.ok()
        } else {
            executor.answers().await.ok().map(|()| 0)
        }
    };
    let answer = timeout(ANSWER_TIMEOUT, asked).await;
    answer.ok().flatten().unwrap_or(usize::MAX)
}
