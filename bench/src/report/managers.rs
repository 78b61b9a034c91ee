//! Both process managers, in words.

use std::fmt::Write;

use anyhow::Result;

use super::plot::{Pair, bars};
use super::{Spread, not_ahead, number};
use crate::managers::{
    ASKED, Managers, ORDERS_ONE_IN, Rate, Reload, SAMPLED, STEP, STUCK_AFTER, Serving, THINKING,
    WARM_UP,
};
use crate::stacks::{CLIENTS, WORKERS};

/// One line of the table of fleets that serve.
struct Line {
    name: &'static str,
    figure: fn(&Serving) -> f64,
    /// Whether more is better.
    more: bool,
}

const fn more(name: &'static str, figure: fn(&Serving) -> f64) -> Line {
    let more = true;
    Line { name, figure, more }
}

const fn less(name: &'static str, figure: fn(&Serving) -> f64) -> Line {
    let more = false;
    Line { name, figure, more }
}

const LINES: [Line; 15] = [
    more(
        "`GET /healthz`, a connection per request, requests/s",
        |s| s.health_fresh.per_second,
    ),
    less("– median time, ms", |s| s.health_fresh.p50_ms),
    less("– 99th percentile, ms", |s| s.health_fresh.p99_ms),
    more("`GET /healthz`, keep-alive, requests/s", |s| {
        s.health_kept.per_second
    }),
    less("– median time, ms", |s| s.health_kept.p50_ms),
    less("– 99th percentile, ms", |s| s.health_kept.p99_ms),
    more(
        "`GET /api/orders`, a connection per request, requests/s",
        |s| s.orders_fresh.per_second,
    ),
    less("– median time, ms", |s| s.orders_fresh.p50_ms),
    less("– 99th percentile, ms", |s| s.orders_fresh.p99_ms),
    more("`GET /api/orders`, keep-alive, requests/s", |s| {
        s.orders_kept.per_second
    }),
    less("– median time, ms", |s| s.orders_kept.p50_ms),
    less("– 99th percentile, ms", |s| s.orders_kept.p99_ms),
    less("memory of the manager when all are ready, MiB", |s| {
        s.manager_mib
    }),
    less("memory of the manager after load, MiB", |s| {
        s.manager_loaded_mib
    }),
    less("from the command to all ready, s", |s| s.start_s),
];

/// One line of the table of reloads.
type ReloadLine = (&'static str, fn(&Reload) -> f64);

const RELOADS: [ReloadLine; 9] = [
    ("requests", |r| r.requests),
    ("failed requests", |r| r.failed),
    ("answers slower than 1 s", |r| r.slow),
    ("slowest answer, s", |r| r.slowest_s),
    ("peak of backends, 18 declared", |r| r.peak),
    ("steps run", |r| r.steps),
    ("steps run twice", |r| r.twice),
    ("orders stuck", |r| r.stuck),
    ("duration, s", |r| r.duration_s),
];

pub(super) fn section(managers: &Managers) -> Result<String> {
    let mut table = String::new();
    let mut behind = Vec::new();
    let mut parent = "";
    for Line { name, figure, more } in LINES {
        let pm2 = Spread::over(&managers.pm2, figure)?;
        let poolwright = Spread::over(&managers.poolwright, figure)?;
        let ratio = match more {
            true => poolwright.median / pm2.median,
            false => pm2.median / poolwright.median,
        };
        let named = match name.strip_prefix("– ") {
            Some(detail) => format!("{parent}: {detail}"),
            None => {
                parent = name.split(", requests").next().unwrap_or(name);
                name.to_owned()
            }
        };
        if ratio < 1.0 {
            let (pm2, poolwright) = (number(pm2.median), number(poolwright.median));
            behind.push(format!("{named} ({poolwright} against {pm2})"));
        }
        let (pm2, poolwright) = (pm2.cell(), poolwright.cell());
        writeln!(table, "| {name} | {pm2} | {poolwright} | {ratio:.2} × |")?;
    }
    let mut reloads = String::new();
    for (name, figure) in RELOADS {
        let of = |rounds: &[Reload]| Spread::over(rounds, figure).map(Spread::cell);
        let as_it_comes = of(&managers.reload_of_pm2_as_it_comes)?;
        let with_locks = of(&managers.reload_of_pm2_with_locks)?;
        let poolwright = of(&managers.reload_of_poolwright)?;
        writeln!(
            reloads,
            "| {name} | {as_it_comes} | {with_locks} | {poolwright} |"
        )?;
    }
    let duration = |rounds: &[Reload]| Spread::over(rounds, |r| r.duration_s);
    let pm2 = duration(&managers.reload_of_pm2_as_it_comes)?.median;
    let poolwright = duration(&managers.reload_of_poolwright)?.median;
    if poolwright > pm2 {
        let (pm2, poolwright) = (number(pm2), number(poolwright));
        behind.push(format!(
            "the duration of a reload ({poolwright} s against {pm2} s of PM2 as it comes)"
        ));
    }
    let behind = not_ahead("Poolwright", &behind);
    let generator = |rate: fn(&Serving) -> &Rate, rounds: &[Serving]| {
        Spread::over(rounds, |s| rate(s).generator_cores).map(|spread| spread.median)
    };
    Ok(format!(
        "\
## PM2's cluster mode and `poolwright up`

The same build of the SvelteKit app, {WORKERS} workers, {CLIENTS} clients.

![Requests per second under PM2 and under Poolwright](benchmarks/managers.svg)

| | PM2 | Poolwright | Poolwright is better by |
| --- | ---: | ---: | ---: |
{table}
A reload of all {WORKERS} workers while users are at work and orders are in flight:

| | PM2 as it comes | PM2, the app with its locks | Poolwright |
| --- | ---: | ---: | ---: |
{reloads}
{behind}

- *Requests/s*: {asked} s after {warm_up} s of warm-up, from clients that ask again as soon as they are answered. `/healthz` is what the
  web server costs without a database, and so shows most of what the manager adds: under PM2 its daemon accepts every connection and
  passes it on, under Poolwright the workers accept from one socket. `/api/orders` is as above. The generator took {fresh_pm2:.2} of a
  core against PM2 and {fresh_poolwright:.2} against Poolwright with a connection per request, {kept_pm2:.2} and {kept_poolwright:.2} with
  keep-alive (`/healthz`).
- *Memory of the manager* is the proportional set size of PM2's daemon, which is the cluster's primary, and of the supervisor.
- *From the command to all ready*: `pm2 start`, with the start of its daemon, and `poolwright up --no-prepare`, on databases that are prepared,
  until every worker has answered `/readyz` with 200. PM2 launches all workers at once; Poolwright lets one at a time open its connections.
- *Reload*: {CLIENTS} users, half of which keep their connection, ask, think for {thinking} ms, and ask again; one request in {ORDERS_ONE_IN}
  places an order, whose workflow has three steps of {step} ms and a durable sleep of 1 s. They begin 1 s before the command and end 1 s after
  the last worker is replaced and ready, which is when the duration ends. Failed is everything but an answer of 2xx within 20 s, without a retry.
  Backends are counted every {sampled} ms, in `pg_stat_activity`, and count when two samples in a row show them; Poolwright's own
  control connection is one of them. Steps run twice are those with two rows in the table of effects. Orders are stuck that are not shipped
  {stuck} s after the last request.
- *PM2 as it comes* runs the same build from an ecosystem file with script, `exec_mode: 'cluster'` and `instances`, and nothing else that
  matters: no `wait_ready`, `kill_timeout` 1.6 s. Its processes do not see each other's locks (`POOLWRIGHT_LOCK_NAMESPACE`), as no
  app without [executor locks](executor-ids.md) does. *PM2, the app with its locks* is the repository's own `ecosystem.config.cjs`.
",
        asked = ASKED.as_secs(),
        warm_up = WARM_UP.as_secs(),
        thinking = THINKING.as_millis(),
        step = STEP.as_millis(),
        sampled = SAMPLED.as_millis(),
        stuck = STUCK_AFTER.as_secs(),
        fresh_pm2 = generator(|s| &s.health_fresh, &managers.pm2)?,
        fresh_poolwright = generator(|s| &s.health_fresh, &managers.poolwright)?,
        kept_pm2 = generator(|s| &s.health_kept, &managers.pm2)?,
        kept_poolwright = generator(|s| &s.health_kept, &managers.poolwright)?,
    ))
}

/// The lines that are rates.
pub(super) fn picture(managers: &Managers) -> Result<String> {
    let mut pairs = Vec::new();
    for Line { name, figure, more } in LINES {
        if more {
            pairs.push(Pair {
                name: name.replace('`', ""),
                own: Spread::over(&managers.poolwright, figure)?.median,
                other: Spread::over(&managers.pm2, figure)?.median,
            });
        }
    }
    let title = "Requests per second of one app under both managers";
    bars(title, ("Poolwright", "PM2"), &pairs)
}
