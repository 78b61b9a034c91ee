//! The two process managers: the same build of the SvelteKit app under PM2's cluster mode and under `poolwright up`.
//!
//! PM2 is reloaded in two ways. The app holds a lock on its executor id that makes even PM2's overlapping reload
//! behave; that is the app's doing, so PM2 is measured *as it comes*, too: with an ecosystem file of nothing but the
//! script and the number of instances, and processes that do not see each other's locks.

use std::fs;
use std::time::{Duration, Instant};

use acceptance::{Cell, Fleet, Manager, Setup, Stack};
use anyhow::{Context, Result, ensure};
use poolwright_testkit::sampler::{Limits, Sampler};
use poolwright_testkit::wait::Seen;
use poolwright_testkit::{built, wait_until};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;
use tempfile::TempDir;

use crate::client::{Connections, Until, Users, ask};
use crate::process::{memory_mib, own_cpu};
use crate::report::say;
use crate::stacks::{CLIENTS, LISTED, WORKERS, get, post, shipped};

/// How long each kind of request is asked, after the warm-up.
pub(crate) const ASKED: Duration = Duration::from_secs(4);
pub(crate) const WARM_UP: Duration = Duration::from_secs(2);
/// Of the users during a reload: what they leave of two cores is enough for processes to start.
pub(crate) const THINKING: Duration = Duration::from_millis(60);
/// Of the requests during a reload.
pub(crate) const ORDERS_ONE_IN: usize = 20;
/// Of a step of a workflow: about what asking another service takes.
pub(crate) const STEP: Duration = Duration::from_millis(50);
/// What belongs to a reload: users are at work before it begins and after it has ended.
const AROUND: Duration = Duration::from_secs(1);
/// How often backends are counted.
pub(crate) const SAMPLED: Duration = Duration::from_millis(5);
/// When nobody asks any more, orders that are not shipped after this long are stuck.
pub(crate) const STUCK_AFTER: Duration = Duration::from_secs(12);
/// An answer that takes longer is slow.
const SLOW: Duration = Duration::from_secs(1);
const REPLACED: Duration = Duration::from_secs(60);

/// Every round of all.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Managers {
    pub(crate) pm2: Vec<Serving>,
    pub(crate) poolwright: Vec<Serving>,
    pub(crate) reload_of_pm2_as_it_comes: Vec<Reload>,
    pub(crate) reload_of_pm2_with_locks: Vec<Reload>,
    pub(crate) reload_of_poolwright: Vec<Reload>,
}

/// A fleet that serves.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Serving {
    /// From the command to the readiness of the last worker; the databases are prepared.
    pub(crate) start_s: f64,
    /// Of the manager's own process, when all workers are ready.
    pub(crate) manager_mib: f64,
    /// The same after all load.
    pub(crate) manager_loaded_mib: f64,
    pub(crate) health_fresh: Rate,
    pub(crate) health_kept: Rate,
    pub(crate) orders_fresh: Rate,
    pub(crate) orders_kept: Rate,
}

/// How fast one kind of request is answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Rate {
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// What of one core the load generator itself took.
    pub(crate) generator_cores: f64,
}

/// A reload while users are at work.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Reload {
    /// From the command until every worker is replaced, the new ones are ready, and the command has returned.
    pub(crate) duration_s: f64,
    pub(crate) requests: f64,
    pub(crate) failed: f64,
    pub(crate) slow: f64,
    pub(crate) slowest_s: f64,
    /// The most backends at one time, in two samples in a row.
    pub(crate) peak: f64,
    pub(crate) steps: f64,
    pub(crate) twice: f64,
    pub(crate) stuck: f64,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variant {
    Pm2AsItComes,
    Pm2WithLocks,
    Poolwright,
}

/// Measures all, alternating.
pub(crate) async fn compare(rounds: usize) -> Result<Managers> {
    let mut managers = Managers::default();
    for _ in 0..rounds {
        for variant in [
            Variant::Pm2WithLocks,
            Variant::Poolwright,
            Variant::Pm2AsItComes,
        ] {
            let (serving, reload) = measure(variant)
                .await
                .with_context(|| format!("{variant:?}"))?;
            if let Some(Serving {
                start_s,
                manager_mib,
                health_fresh,
                health_kept,
                ..
            }) = &serving
            {
                say(&format!(
                    "{variant:?}: {start_s:.1} s, {manager_mib:.1} MiB, {:.0}/s fresh, {:.0}/s kept",
                    health_fresh.per_second, health_kept.per_second
                ));
            }
            say(&format!("{variant:?}: {reload:?}"));
            let (served, reloaded) = match variant {
                Variant::Pm2AsItComes => (None, &mut managers.reload_of_pm2_as_it_comes),
                Variant::Pm2WithLocks => (
                    Some(&mut managers.pm2),
                    &mut managers.reload_of_pm2_with_locks,
                ),
                Variant::Poolwright => (
                    Some(&mut managers.poolwright),
                    &mut managers.reload_of_poolwright,
                ),
            };
            reloaded.push(reload);
            if let Some(served) = served {
                served.extend(serving);
            }
        }
    }
    Ok(managers)
}

async fn measure(variant: Variant) -> Result<(Option<Serving>, Reload)> {
    let setup = Setup::new(Stack::Sveltekit)
        .await?
        // As the demo has it; steps take a little, so that a reload meets some.
        .env("FULFIL_SLEEP_MS", "1000")
        .env("FULFIL_STEP_MS", STEP.as_millis().to_string())
        .env("NODE_ENV", "production")
        .prepared()
        .await?;
    let files = TempDir::new()?;
    let (manager, setup) = match variant {
        Variant::Pm2AsItComes => {
            let ecosystem = write_ecosystem(&files, &setup)?;
            (Manager::Pm2, setup.ecosystem(ecosystem))
        }
        Variant::Pm2WithLocks => (Manager::Pm2, setup),
        Variant::Poolwright => (Manager::Poolwright, setup),
    };
    let stack = Stack::Sveltekit;
    let fleet = Fleet::from(Cell { stack, manager }, setup, WORKERS).await?;
    let mut admin = fleet.setup.server.connect("order_desk").await?;
    let kept = Connections::Kept;
    let until = Until::Requests(LISTED);
    ask(fleet.setup.port, kept, CLIENTS, until, post(), 202).await?;
    shipped(&mut admin, LISTED).await?;
    let serving = match variant {
        Variant::Pm2AsItComes => None,
        Variant::Pm2WithLocks | Variant::Poolwright => Some(serve(&fleet).await?),
    };
    let reload = reload(&fleet, &mut admin).await?;
    drop(admin);
    fleet.stop().await?;
    Ok((serving, reload))
}

/// The ecosystem file of somebody who knows PM2 and nothing of this repository.
fn write_ecosystem(files: &TempDir, setup: &Setup) -> Result<std::path::PathBuf> {
    let directory = setup.directory()?;
    let server = format!("file://{}", directory.join("server.js").display());
    let script = files.path().join("server.cjs");
    fs::write(
        &script,
        format!(
            "process.env.POOLWRIGHT_LOCK_NAMESPACE = `alone-${{process.pid}}`;\nimport({});\n",
            json!(server)
        ),
    )?;
    let app = json!({
        "name": "web",
        "script": script,
        "cwd": directory,
        "interpreter": built::node()?,
        "exec_mode": "cluster",
        "instances": WORKERS,
        "instance_var": "PM2_INSTANCE_ID",
        "env_production": { "NODE_ENV": "production" },
    });
    let file = files.path().join("ecosystem.config.cjs");
    fs::write(
        &file,
        format!("module.exports = {};\n", json!({ "apps": [app] })),
    )?;
    Ok(file)
}

async fn serve(fleet: &Fleet) -> Result<Serving> {
    let (manager, port) = (fleet.manager_pid()?, fleet.setup.port);
    let manager_mib = memory_mib(manager)?;
    Ok(Serving {
        start_s: fleet.took.as_secs_f64(),
        manager_mib,
        health_fresh: rate(port, Connections::Fresh, health()).await?,
        health_kept: rate(port, Connections::Kept, health()).await?,
        orders_fresh: rate(port, Connections::Fresh, get()).await?,
        orders_kept: rate(port, Connections::Kept, get()).await?,
        manager_loaded_mib: memory_mib(manager)?,
    })
}

pub(crate) fn health() -> String {
    "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned()
}

pub(crate) async fn rate(port: u16, connections: Connections, request: String) -> Result<Rate> {
    let until = Until::Time(WARM_UP);
    ask(port, connections, CLIENTS, until, request.clone(), 200).await?;
    let before = own_cpu()?;
    let until = Until::Time(ASKED);
    let answers = ask(port, connections, CLIENTS, until, request, 200).await?;
    Ok(Rate {
        per_second: answers.per_second()?,
        p50_ms: answers.percentile_ms(50),
        p99_ms: answers.percentile_ms(99),
        generator_cores: (own_cpu()? - before) / answers.elapsed.as_secs_f64(),
    })
}

async fn reload(fleet: &Fleet, admin: &mut PgConnection) -> Result<Reload> {
    let limits = Limits::default();
    let sampler = Sampler::start(&fleet.setup.server.admin_url()?, SAMPLED, limits).await?;
    let users = Users {
        count: CLIENTS,
        pause: THINKING,
        often: get(),
        seldom: (ORDERS_ONE_IN, post()),
    };
    let users = users.begin(fleet.setup.port);
    tokio::time::sleep(AROUND).await;

    let begin = Instant::now();
    fleet.reload().await?;
    replaced(fleet).await?;
    let duration = begin.elapsed();

    tokio::time::sleep(AROUND).await;
    let served = users.finish().await?;
    let sampled = sampler.finish().await?;
    let all_shipped = wait_until(
        "every order is shipped",
        STUCK_AFTER,
        async || match stuck(admin).await {
            Ok(0) => Seen::Yes(()),
            other => Seen::NotYet(other),
        },
    );
    // Not an error: that some are not is what is measured.
    all_shipped.await.ok();
    let (steps, twice): (i64, i64) =
        sqlx::query_as("SELECT count(*), count(*) - count(DISTINCT (order_id, step)) FROM effects")
            .fetch_one(&mut *admin)
            .await?;
    let slow = served.latencies.iter().filter(|time| **time > SLOW).count();
    let failed: usize = served.failed.values().sum();
    if failed > 0 {
        say(&format!("  failed: {:?}", served.failed));
    }
    Ok(Reload {
        duration_s: duration.as_secs_f64(),
        requests: count(served.latencies.len() + failed)?,
        failed: count(failed)?,
        slow: count(slow)?,
        slowest_s: served.latencies.last().map_or(0.0, Duration::as_secs_f64),
        peak: count(sampled.fleet.confirmed)?,
        steps: count(usize::try_from(steps)?)?,
        twice: count(usize::try_from(twice)?)?,
        stuck: count(usize::try_from(stuck(admin).await?)?)?,
    })
}

/// Waits until every slot is served by another process than when the fleet had started.
async fn replaced(fleet: &Fleet) -> Result<()> {
    let before = &fleet.ready;
    wait_until("every worker is replaced", REPLACED, async || {
        match fleet.desk.ready_workers(WORKERS, REPLACED).await {
            Ok(now)
                if now.iter().all(|(slot, now)| {
                    before.get(slot).is_some_and(|old| old["pid"] != now["pid"])
                }) =>
            {
                Seen::Yes(())
            }
            other => Seen::NotYet(other),
        }
    })
    .await
}

async fn stuck(admin: &mut PgConnection) -> Result<i64> {
    let query = "SELECT count(*) FROM orders WHERE status <> 'shipped'";
    Ok(sqlx::query_scalar(query).fetch_one(admin).await?)
}

fn count(count: usize) -> Result<f64> {
    let count = u32::try_from(count);
    ensure!(count.is_ok(), "more than anybody can count");
    Ok(f64::from(count?))
}
