//! Orders against what limits them, in words.

use std::fmt::Write;

use anyhow::Result;

use super::{Spread, number};
use crate::limits::{COMMITS, CONNECTIONS, DIVIDED, Kind, Limits, ORDERS, Round, SLOW_FLUSH};
use crate::stacks::WORKERS;

/// One line of the table of rates.
type Line = (&'static str, fn(&Round) -> f64);

const LINES: [Line; 6] = [
    ("commits/s that `pgbench` reaches", |r| r.commits_per_second),
    ("commits that an order needs", |r| r.commits_per_order),
    ("orders/s that this would allow", Round::allowed),
    ("completed orders/s", |r| r.orders_per_second),
    ("of the limit, %", |r| r.reached() * 100.0),
    ("transactions of an order, those that only read too", |r| {
        r.transactions_per_order
    }),
];

const SHARES: [Line; 5] = [
    ("the workers", |r| r.orders_shares.programs),
    ("Postgres", |r| r.orders_shares.postgres),
    ("the load generator", |r| r.orders_shares.generator),
    ("the kernel, the supervisor and everything else", |r| {
        r.orders_shares.others
    }),
    ("nobody", |r| r.orders_shares.idle),
];

/// The same while `pgbench` commits.
const LIMIT: [fn(&Round) -> f64; 5] = [
    |r| r.commits_shares.programs,
    |r| r.commits_shares.postgres,
    |r| r.commits_shares.generator,
    |r| r.commits_shares.others,
    |r| r.commits_shares.idle,
];

pub(super) fn section(limits: &Limits) -> Result<String> {
    let Limits {
        flushing,
        not_flushing,
        slow,
        slow_divided,
    } = limits;
    let here = table([
        &flushing.axum,
        &flushing.sveltekit,
        &not_flushing.axum,
        &not_flushing.sveltekit,
    ])?;
    let there = table([
        &slow.axum,
        &slow_divided.axum,
        &slow.sveltekit,
        &slow_divided.sveltekit,
    ])?;
    let reached = |rounds: &[Round]| {
        let reached = Spread::over(rounds, Round::reached)?.median * 100.0;
        anyhow::Ok(number(reached))
    };
    let [orm, dbos] = DIVIDED;
    let [equal, divided] = [[3, 3], DIVIDED].map(|[orm, dbos]| format!("{orm} + {dbos}"));
    Ok(format!(
        "\
## Orders and the limit of commits

An order is durable when its commits are: what `pgbench` commits on the same server, over {CONNECTIONS} connections and with one small row each, is
as much as there can be. The limit is the disk's where a flush takes its time: here {flush} ms, as on a disk that turns, or where a second server
elsewhere has to have it (Postgres itself waits for so long before each flush, `commit_delay`, and takes along who commits meanwhile).

| {flush} ms a flush | axum, {equal} | axum, {divided} | SvelteKit, {equal} | SvelteKit, {divided} |
| --- | ---: | ---: | ---: | ---: |
{there}
The Rust stack reaches {slow_divided} % of what that disk allows for the commits that its orders need, with {orm} connections of each worker for the
ORM and {dbos} for DBOS, and {slow} % with 3 for each. The rest goes to connections that have nothing to commit: of the {CONNECTIONS} the
{WORKERS} on which DBOS listens never do, and the ORM's rest while those of DBOS, where most of an order's commits are, are all at work.

On this machine's own disk, which flushes in no time (`fsync` and `synchronous_commit` on), and without any flush, the limit is the processors':

| | axum, flushed | SvelteKit, flushed | axum, not flushed | SvelteKit, not flushed |
| --- | ---: | ---: | ---: | ---: |
{here}
The Rust stack reaches {flushing} % of that, because an order is more than its commits: the processors that `pgbench` has for its commits alone
do all the rest of the work as well. In cores, flushed:

{shares}
- `pgbench` runs for {commits} s before each fleet is started, with one thread and prepared statements, and has the machine for itself; the fleet
  shares it with its workers, whose processor time is what the limit does not have to spend.
- Orders are placed over a connection for each, and so spread over the workers: the one that takes an order runs its workflow.
- *Commits that an order needs* are the transactions that wrote while {ORDERS} orders were placed and shipped, by the numbers that Postgres gives
  them. With those that only read (`pg_stat_database.xact_commit`, over the fleet's whole life) there are more, which the disk does not see.
- *Everything else* is what the machine did beside those processes: the kernel's own work for disk and network, the supervisor.
",
        flush = SLOW_FLUSH.as_millis(),
        slow_divided = reached(&slow_divided.axum)?,
        slow = reached(&slow.axum)?,
        flushing = reached(&flushing.axum)?,
        shares = shares(flushing)?,
        commits = COMMITS.as_secs(),
    ))
}

/// All lines, with a column for each of these.
fn table(columns: [&Vec<Round>; 4]) -> Result<String> {
    let mut table = String::new();
    for (name, figure) in LINES {
        write!(table, "| {name} |")?;
        for rounds in columns {
            write!(table, " {} |", Spread::over(rounds, figure)?.cell())?;
        }
        table.push('\n');
    }
    Ok(table)
}

/// Who has the processors, flushed.
fn shares(kind: &Kind) -> Result<String> {
    let mut table = "| | `pgbench` | axum | SvelteKit |\n| --- | ---: | ---: | ---: |\n".to_owned();
    for ((name, figure), limit) in SHARES.into_iter().zip(LIMIT) {
        let limit = Spread::over(&kind.axum, limit)?.cell();
        let axum = Spread::over(&kind.axum, figure)?.cell();
        let sveltekit = Spread::over(&kind.sveltekit, figure)?.cell();
        let name = match name {
            "the workers" => "the workers, or `pgbench`",
            name => name,
        };
        writeln!(table, "| {name} | {limit} | {axum} | {sveltekit} |")?;
    }
    Ok(table)
}
