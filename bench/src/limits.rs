//! Orders against the commits that the same server takes at all: what `pgbench` reaches with as many connections, one small row to a
//! commit, is the limit of everything that is durable.
//!
//! Where a flush takes no time it is the processors' limit, and says how much more than commits an order is. Where it takes
//! [`SLOW_FLUSH`] it is the disk's.

use std::time::{Duration, Instant};

use acceptance::{Cell, Fleet, Manager, Setup, Stack};
use anyhow::Result;
use poolwright_embedded::Options;
use poolwright_testkit::TestServer;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::client::per_second;
use crate::meter::{Shares, shares};
use crate::pgbench;
use crate::report::say;
use crate::stacks::{WORKERS, pids, place, shipped};

/// As many connections as the fleet has.
pub(crate) const CONNECTIONS: u32 = 18;
/// How long commits are counted.
pub(crate) const COMMITS: Duration = Duration::from_secs(4);
/// What a flush takes on a disk that turns, or where a second server in another place has to have it. Postgres itself waits for so
/// long before each (`commit_delay`), and takes along who commits meanwhile, as such a disk would.
pub(crate) const SLOW_FLUSH: Duration = Duration::from_millis(10);
/// As many connections for each worker in another division, of the ORM and of DBOS: most of an order's commits are DBOS's, and it
/// listens on one of its own.
pub(crate) const DIVIDED: [u32; 2] = [2, 4];
/// How many orders are placed in each round.
pub(crate) const ORDERS: usize = 800;
/// Orders before those that count: Node needs them to compile what is hot.
const WARM_UP: usize = 200;

/// Every round, on servers of every kind.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Limits {
    pub(crate) flushing: Kind,
    pub(crate) not_flushing: Kind,
    pub(crate) slow: Kind,
    /// The same, with the connections divided as [`DIVIDED`].
    pub(crate) slow_divided: Kind,
}

/// What a commit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flush {
    Disk,
    Nothing,
    Slow,
    SlowDivided,
}

/// Every round of one kind of server.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Kind {
    pub(crate) axum: Vec<Round>,
    pub(crate) sveltekit: Vec<Round>,
}

/// A stack and the limit of the very server that it ran on, one after the other.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Round {
    pub(crate) commits_per_second: f64,
    pub(crate) commits_shares: Shares,
    pub(crate) orders_per_second: f64,
    pub(crate) orders_shares: Shares,
    /// Transactions that wrote, for each order.
    pub(crate) commits_per_order: f64,
    /// Those that only read as well.
    pub(crate) transactions_per_order: f64,
}

impl Round {
    /// What of the limit is reached, in commits.
    pub(crate) fn reached(&self) -> f64 {
        self.orders_per_second * self.commits_per_order / self.commits_per_second
    }

    /// Orders that the limit would allow.
    pub(crate) fn allowed(&self) -> f64 {
        self.commits_per_second / self.commits_per_order
    }
}

/// Measures all, alternating.
pub(crate) async fn compare(rounds: usize) -> Result<Limits> {
    let mut limits = Limits::default();
    for _ in 0..rounds {
        for flush in [Flush::Disk, Flush::Nothing, Flush::Slow, Flush::SlowDivided] {
            for stack in [Stack::Axum, Stack::Sveltekit] {
                let round = measure(stack, flush).await?;
                say(&format!(
                    "{:<10} {flush:?}: {:.0} commits/s, {:.0} orders/s of {:.1} commits: {:.0} %",
                    stack.name(),
                    round.commits_per_second,
                    round.orders_per_second,
                    round.commits_per_order,
                    round.reached() * 100.0
                ));
                let kind = match flush {
                    Flush::Disk => &mut limits.flushing,
                    Flush::Nothing => &mut limits.not_flushing,
                    Flush::Slow => &mut limits.slow,
                    Flush::SlowDivided => &mut limits.slow_divided,
                };
                match stack {
                    Stack::Axum => kind.axum.push(round),
                    Stack::Sveltekit => kind.sveltekit.push(round),
                }
            }
        }
    }
    Ok(limits)
}

async fn measure(stack: Stack, flush: Flush) -> Result<Round> {
    let server = TestServer::embedded(options(flush)).await?;
    let (commits_per_second, commits_shares) =
        pgbench::commits(&server, CONNECTIONS, COMMITS).await?;

    let mut setup = Setup::on(stack, server)?
        .env("FULFIL_SLEEP_MS", "0")
        .env("NODE_ENV", "production");
    if flush == Flush::SlowDivided {
        let [orm, dbos] = DIVIDED;
        setup = setup
            .env("PRISMA_POOL_MAX", orm.to_string())
            .env("DBOS_POOL_MAX", dbos.to_string());
    }
    let manager = Manager::Poolwright;
    let fleet = Fleet::from(Cell { stack, manager }, setup, WORKERS).await?;
    let port = fleet.setup.port;
    let mut admin = fleet.setup.server.connect("order_desk").await?;
    let mut meter = fleet.setup.server.admin().await?;
    placed(port, &mut admin, WARM_UP, WARM_UP).await?;

    let workers = pids(&fleet)?;
    let written = transaction_ids(&mut admin).await?;
    let (took, orders_shares) = shares(&mut meter, &workers, async {
        let begin = Instant::now();
        placed(port, &mut admin, ORDERS, WARM_UP + ORDERS).await?;
        Ok(begin.elapsed())
    })
    .await?;
    let written = transaction_ids(&mut admin).await? - written;
    drop(admin);
    let server = fleet.halted().await?.server;
    let all = transactions(&mut meter).await?;
    drop(meter);
    server.stop().await?;
    Ok(Round {
        commits_per_second,
        commits_shares,
        orders_per_second: per_second(ORDERS, took)?,
        orders_shares,
        commits_per_order: each(written, ORDERS)?,
        transactions_per_order: each(all, WARM_UP + ORDERS)?,
    })
}

fn options(flush: Flush) -> Options {
    let switch = if flush == Flush::Nothing { "off" } else { "on" };
    let settings = ["fsync", "synchronous_commit", "full_page_writes"];
    let switched = |options: Options, name| options.setting(name, switch);
    let options = settings.into_iter().fold(Options::test(), switched);
    match flush {
        Flush::Disk | Flush::Nothing => options,
        Flush::Slow | Flush::SlowDivided => options
            .setting("commit_delay", SLOW_FLUSH.as_micros().to_string())
            .setting("commit_siblings", "0"),
    }
}

/// Places `orders`, and waits until `all` are shipped.
async fn placed(port: u16, admin: &mut PgConnection, orders: usize, all: usize) -> Result<()> {
    place(port, orders).await?;
    shipped(admin, all).await
}

/// How many transactions have written so far: each of them has a number, and nothing else does.
async fn transaction_ids(admin: &mut PgConnection) -> Result<i64> {
    let query = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint";
    Ok(sqlx::query_scalar(query).fetch_one(admin).await?)
}

/// Commits in the databases of a fleet that has ended: a backend that lives keeps what it has to say for up to ten seconds.
async fn transactions(admin: &mut PgConnection) -> Result<i64> {
    let query =
        "SELECT sum(xact_commit)::bigint FROM pg_stat_database WHERE datname LIKE 'order_desk%'";
    Ok(sqlx::query_scalar(query).fetch_one(admin).await?)
}

fn each(count: i64, of: usize) -> Result<f64> {
    Ok(f64::from(i32::try_from(count)?) / f64::from(u32::try_from(of)?))
}
