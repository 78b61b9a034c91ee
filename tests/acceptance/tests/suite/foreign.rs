//! Programs that were not written for Poolwright run under it, are reloaded under load, and every session of theirs is
//! attributed to its slot and its pool. `programs/README.md` says what they are.
//!
//! What a reload may cost is the program's own drain, since Poolwright can only ask it to leave:
//!
//! - *A connection per request costs nothing* where the supervisor holds the socket. While no worker accepts, the kernel
//!   queues, and a program that stops accepting answers what it has.
//! - *A kept connection may be cut under a request.* A program that closes its idle connections when it is told to leave, as
//!   `server.close()` and axum's graceful shutdown do, may do so at the very moment at which a request arrives. The client
//!   sees the connection end without an answer and may ask again; it is never told something wrong. So each client may
//!   lose one request for each worker that is replaced, by the end of its connection and in no other way.
//! - *A program that binds by itself takes its queue with it.* With `SO_REUSEPORT` each worker has a queue of its own, which
//!   the kernel resets with the socket: the same holds for its clients, whether they keep connections or not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use acceptance::{Poolwright, Project};
use anyhow::{Context, Result, ensure};
use poolwright_testkit::load::{self, Connections, Load, Outcome};
use poolwright_testkit::sampler::{self, Limits, Report, Sampler};
use poolwright_testkit::wait::Seen;
use poolwright_testkit::{Process, built, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::time::Instant;

/// A fleet's start or end, on two busy cores.
const LIMIT: Duration = Duration::from_secs(60);

/// Within this a slot whose worker was killed in mid-query has sessions again: the orphans are terminated after 1.5 s, and their
/// query would take 20.
const SUCCEEDED: Duration = Duration::from_secs(12);

/// How often the sessions are looked at.
const PERIOD: Duration = Duration::from_millis(5);

const WORKERS: usize = 3;
const POOL: usize = 3;
const RELOADS: usize = 3;
const CLIENTS: usize = 8;

/// What is known of a program's sessions beforehand.
struct Expected {
    /// What its figures are kept under.
    case: &'static str,
    app: &'static str,
    pool: &'static str,
    /// What its sessions are called in Postgres after the slot's name.
    name: &'static str,
    /// Whether a client that opens a connection for each request may lose one now and then.
    loses_fresh_connections: bool,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_node_server_shares_the_held_socket_without_its_doing() -> Result<()> {
    let project = Project::new("node-pg").await?;
    let declared = format!("cluster = true\n{}", node(&project));
    let fleet = Fleet::start(project.declared(&manifest("web", &declared))?).await?;
    let expected = Expected {
        case: "node-held-socket",
        app: "web",
        pool: "orm",
        name: ":orm",
        loses_fresh_connections: false,
    };
    fleet.lives(&expected).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_server_that_binds_its_port_beside_its_likes_is_seen_listening() -> Result<()> {
    let project = Project::new("node-pg").await?.env("REUSE_PORT", "yes");
    let declared = manifest("web", &node(&project));
    let fleet = Fleet::start(project.declared(&declared)?).await?;
    let expected = Expected {
        case: "node-reuse-port",
        app: "web",
        pool: "orm",
        name: ":orm",
        loses_fresh_connections: true,
    };
    fleet.lives(&expected).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rust_server_with_listenfd_is_seen_accepting_and_its_bare_names_are_attributed()
-> Result<()> {
    let project = Project::new("axum-listenfd").await?;
    axum(project.env("LINGER_MS", "100"), "accepting", false).await
}

/// As soon as it is told to leave, hyper closes what it has accepted and not read from yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_axum_server_that_says_it_serves_by_sd_notify_loses_what_its_own_graceful_shutdown_cuts()
-> Result<()> {
    axum(Project::new("axum-listenfd").await?, "notify", true).await
}

async fn axum(project: Project, ready: &str, loses_fresh_connections: bool) -> Result<()> {
    let declared = ledger(&project, ready)?;
    let project = project.with_libpq_variables()?;
    let fleet = Fleet::start(project.declared(&manifest("ledger", &declared))?).await?;
    if ready == "notify" {
        for (_, slot) in fleet.slots().await? {
            ensure!(slot["says"] == "ready to count", "{slot:#}");
        }
    }
    let expected = Expected {
        case: match loses_fresh_connections {
            true => "axum-stock",
            false => "axum-lingering",
        },
        app: "ledger",
        pool: "db",
        name: "",
        loses_fresh_connections,
    };
    fleet.lives(&expected).await
}

/// Its sessions are called `ledger-0` and nothing else, and Postgres works on for it when it is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_in_mid_query_is_succeeded_when_postgres_shows_none_of_its_bare_names()
-> Result<()> {
    let project = Project::new("axum-listenfd")
        .await?
        .with_libpq_variables()?;
    let declared = manifest("ledger", &ledger(&project, "accepting")?);
    let alone = declared.replace(&format!("instances = {WORKERS}"), "instances = 1");
    let mut fleet = Fleet::start(project.declared(&alone)?).await?;
    let url = fleet.project.server.admin_url()?;
    let sessions = async || -> Result<BTreeSet<(i32, i64)>> {
        let all = sampler::backends(&url).await?;
        let own = all.iter().filter(|one| one.name == "ledger-0");
        Ok(own.map(|one| (one.pid, one.started)).collect())
    };
    let client = load::client(Connections::PerRequest)?;
    let slow: Vec<_> = (0..POOL)
        .map(|_| tokio::spawn(client.get(format!("{}slow", fleet.project.url())).send()))
        .collect();
    let before = wait_until(
        "every connection of its pool is busy",
        LIMIT,
        async || match sessions().await {
            Ok(found) if found.len() == POOL => Seen::Yes(found),
            other => Seen::NotYet(other),
        },
    )
    .await?;
    let pids = fleet.pids().await?;
    let pid = Pid::from_raw(i32::try_from(pids["ledger-0"])?).context("no pid")?;
    kill_process(pid, Signal::KILL)?;
    let killed = Instant::now();
    // It waits in the held socket's queue for whoever comes.
    let next = tokio::spawn(client.get(fleet.project.url()).send());
    loop {
        let now = sessions().await?;
        let (old, new) = (
            now.intersection(&before).count(),
            now.difference(&before).count(),
        );
        ensure!(
            old == 0 || new == 0,
            "{new} sessions were opened beside {old} orphans"
        );
        ensure!(
            killed.elapsed() < SUCCEEDED,
            "after {:?}: {now:?}",
            killed.elapsed()
        );
        if new > 0 {
            break;
        }
    }
    ensure!(
        next.await??.status().is_success(),
        "the successor does not answer"
    );
    for request in slow {
        ensure!(
            request.await?.is_err(),
            "the worker that was killed answered"
        );
    }
    ensure!(fleet.pids().await? != pids, "the same process");
    fleet.stop().await
}

fn ledger(project: &Project, ready: &str) -> Result<String> {
    let program = built::program("foreign-axum")?;
    Ok(format!(
        r#"
        command = ["{}"]
        ready = "{ready}"
        listen = "127.0.0.1:{}"
        [apps.ledger.pools.db]
        max = {{ env = "POOL_SIZE", default = {POOL} }}
        url = {{ env = "ORM_URL" }}
        "#,
        program.display(),
        project.port,
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pm2_project_with_an_unmodified_dbos_program_starts_on_an_empty_server_from_its_own_file()
-> Result<()> {
    let fleet = Fleet::start(Project::new("pm2-dbos").await?.of_pm2()).await?;
    let expected = ["app-0", "app-1", "app-2"].map(str::to_owned);
    wait_until("every executor has answered", LIMIT, {
        let mut met = BTreeSet::new();
        let url = fleet.project.url();
        async move || {
            let answer = answer(&url).await.unwrap_or_default();
            met.extend(answer["executor"].as_str().map(str::to_owned));
            match met == BTreeSet::from(expected.clone()) {
                true => Seen::Yes(()),
                false => Seen::NotYet((met.clone(), answer)),
            }
        }
    })
    .await?;
    for (slot, status) in fleet.slots().await? {
        ensure!(status["executor_id"] == slot, "{status:#}");
    }
    let expected = Expected {
        case: "pm2-dbos",
        app: "app",
        pool: "dbos",
        name: ":dbos",
        loses_fresh_connections: false,
    };
    fleet.lives(&expected).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_bind_one_port_each_for_itself_are_told_what_would_do() -> Result<()> {
    let project = Project::new("node-pg").await?;
    let declared = manifest("web", &node(&project));
    let project = project.declared(&declared)?;
    let up = project.poolwright()?.run(&["up"]).await?.expect(1)?;
    for part in [
        "EADDRINUSE",
        "reusePort: true",
        "\"accepting\"",
        "cluster = true",
    ] {
        ensure!(up.stderr.contains(part), "no {part} in:\n{}", up.stderr);
    }
    project.server.stop().await
}

fn manifest(app: &str, declared: &str) -> String {
    format!(
        "[apps.{app}]\ninstances = {WORKERS}\ndrain_timeout = \"10s\"\n{declared}\n[prepare]\nurl = {{ env = \"ADMIN_DATABASE_URL\" }}\n"
    )
}

fn node(project: &Project) -> String {
    let url = "{ env = \"DATABASE_URL\" }";
    format!(
        r#"
        command = ["node", "server.js"]
        ready = "listening"
        listen = "127.0.0.1:{}"
        [apps.web.pools.orm]
        max = {{ env = "DB_POOL_SIZE", default = {POOL} }}
        url = {url}
        "#,
        project.port,
    )
}

/// A program under `poolwright up`.
struct Fleet {
    up: Process,
    tool: Poolwright,
    project: Project,
}

impl Fleet {
    /// Ready when Postgres' verdict was printed.
    async fn start(project: Project) -> Result<Self> {
        let tool = project.poolwright()?;
        let up = tool.start(&["up"])?;
        let verdict = up.line("the verdict", LIMIT, |line| {
            line.contains(" connections at most of ")
        });
        let verdict = verdict.await.with_context(|| up.tail())?;
        ensure!(verdict.starts_with("holds: "), "{}", up.tail());
        Ok(Self { up, tool, project })
    }

    /// Serves, is reloaded under load, is attributed, and ends.
    async fn lives(mut self, expected: &Expected) -> Result<()> {
        let seen = self.watch(expected).await?;
        let fresh = self.ask(Connections::PerRequest)?;
        let kept = self.ask(Connections::KeepAlive)?;
        self.is_attributed(expected).await?;

        let mut pids = self.pids().await?;
        for reload in 1..=RELOADS {
            let told = self.tool.run(&["reload"]).await?.expect(0);
            told.with_context(|| format!("reload {reload}: {}", self.up.tail()))?;
            let after = self.pids().await?;
            let replaced = after.iter().all(|(slot, pid)| pids.get(slot) != Some(pid));
            ensure!(
                after.len() == WORKERS && replaced,
                "reload {reload}: {pids:?}, then {after:?}"
            );
            pids = after;
        }
        self.is_attributed(expected).await?;

        let (fresh, kept) = (fresh.finish().await?, kept.finish().await?);
        if expected.loses_fresh_connections {
            lost_by_the_end_of_connections_alone("fresh", &fresh)?;
        } else {
            ensure!(
                fresh.failed() == 0,
                "{}: {:?} {:?}",
                self.up.tail(),
                fresh.statuses,
                fresh.errors
            );
        }
        lost_by_the_end_of_connections_alone("kept", &kept)?;
        let seen = seen.finish().await?;
        record(expected, &fresh, &kept, &seen)?;
        ensure!(seen.violations.is_empty(), "{:#?}", seen.violations);
        let known = sessions(expected);
        let strange = seen.peaks.iter().filter(|(name, peak)| {
            !known.contains_key(*name) && *name != "poolwright" && peak.confirmed > 0
        });
        let strange: Vec<_> = strange.collect();
        ensure!(strange.is_empty(), "sessions of nobody: {strange:?}");
        self.stop().await
    }

    /// No pool may ever have more than its number.
    async fn watch(&self, expected: &Expected) -> Result<Sampler> {
        let limits = Limits {
            names: sessions(expected),
            fleet: None,
        };
        Sampler::start(&self.project.server.admin_url()?, PERIOD, limits).await
    }

    fn ask(&self, connections: Connections) -> Result<load::Running> {
        let load = Load {
            clients: CLIENTS,
            connections,
            time: Duration::MAX,
            requests: usize::MAX,
        };
        let url = self.project.url();
        load::start(load, move |client, _| client.get(&url))
    }

    /// Under load: the declaration holds, every slot has sessions of its pool, and none of them names no pool.
    async fn is_attributed(&self, expected: &Expected) -> Result<()> {
        let verdict = self.tool.json(&["verify"]).await?;
        ensure!(verdict["holds"] == true, "{verdict:#}");
        ensure!(verdict["bound"] == WORKERS * POOL, "{verdict:#}");
        let slots = verdict["slots"].as_array().context("no slots")?;
        ensure!(slots.len() == WORKERS, "{verdict:#}");
        let mut now = 0;
        for slot in slots {
            let pool = &slot["pools"][0];
            ensure!(
                pool["pool"] == expected.pool && slot.get("unnamed").is_none(),
                "{slot:#}"
            );
            now += pool["now"].as_u64().unwrap_or(0);
        }
        ensure!(now > 0, "no session under load: {verdict:#}");
        // Which worker accepts is the kernel's choice.
        wait_until("the status shows the sessions", LIMIT, async || {
            let slots = self.slots().await.unwrap_or_default();
            let open = |slot: &Value| slot["shown"][expected.pool].as_u64() > Some(0);
            match slots.values().any(open) {
                true => Seen::Yes(()),
                false => Seen::NotYet(slots),
            }
        })
        .await
    }

    async fn slots(&self) -> Result<BTreeMap<String, Value>> {
        let status = self.tool.json(&["status"]).await?;
        let slots = status["apps"][0]["slots"].as_array();
        let slots = slots.with_context(|| format!("no slots: {status}"))?;
        let named = |slot: &Value| Some((slot["slot"].as_str()?.to_owned(), slot.clone()));
        Ok(slots.iter().filter_map(named).collect())
    }

    async fn pids(&self) -> Result<BTreeMap<String, u64>> {
        let slots = self.slots().await?;
        let pid = |slot: &Value| {
            slot["pid"]
                .as_u64()
                .with_context(|| format!("no pid: {slot}"))
        };
        slots
            .iter()
            .map(|(name, slot)| Ok((name.clone(), pid(slot)?)))
            .collect()
    }

    async fn stop(&mut self) -> Result<()> {
        self.tool.run(&["stop"]).await?.expect(0)?;
        let ended = self.up.exited(LIMIT).await?;
        ensure!(ended.success(), "{ended}: {}", self.up.tail());
        let url = self.project.server.admin_url()?;
        wait_until(
            "no session is left",
            LIMIT,
            async || match sampler::backends(&url).await {
                Ok(backends) if backends.is_empty() => Seen::Yes(()),
                other => Seen::NotYet(other),
            },
        )
        .await
    }
}

/// The sessions that there may be, by name.
fn sessions(expected: &Expected) -> BTreeMap<String, usize> {
    let Expected { app, name, .. } = expected;
    let slots = (0..WORKERS).map(|slot| (format!("{app}-{slot}{name}"), POOL));
    slots.chain([(format!("{app}:poolwright"), 1)]).collect()
}

/// Every request was answered well or lost with its connection, at most one by each client for each worker that left.
fn lost_by_the_end_of_connections_alone(clients: &str, outcome: &Outcome) -> Result<()> {
    let by_the_end = |cause: &String| {
        [
            "connection closed",
            "reset by peer",
            "Broken pipe",
            "end of file",
        ]
        .iter()
        .any(|end| cause.contains(end))
    };
    ensure!(
        outcome.statuses.keys().all(|status| *status == 200)
            && outcome.errors.keys().all(by_the_end),
        "{clients}: {:?} {:?}",
        outcome.statuses,
        outcome.errors
    );
    let most = CLIENTS * WORKERS * RELOADS;
    ensure!(
        outcome.failed() <= most && outcome.succeeded() > most,
        "{clients}: {} lost of {}, expected at most {most}: {:?}",
        outcome.failed(),
        outcome.succeeded(),
        outcome.errors
    );
    Ok(())
}

/// Leaves what was counted for whoever wants to write it down.
fn record(expected: &Expected, fresh: &Outcome, kept: &Outcome, seen: &Report) -> Result<()> {
    let of =
        |outcome: &Outcome| json!({ "answered": outcome.succeeded(), "lost": outcome.failed() });
    let pools = sessions(expected);
    let pools = pools
        .keys()
        .filter_map(|name| Some((name, seen.peaks.get(name)?.confirmed)));
    let counted = json!({
        "reloads": RELOADS,
        "workers": WORKERS,
        "a_connection_each": of(fresh),
        "kept_connections": of(kept),
        "samples": seen.samples,
        "peaks": pools.collect::<BTreeMap<_, _>>(),
    });
    let folder = built::repository().join("artifacts");
    std::fs::create_dir_all(&folder)?;
    let file = folder.join(format!("foreign-{}.json", expected.case));
    Ok(std::fs::write(file, format!("{counted:#}\n"))?)
}

async fn answer(url: &str) -> Result<Value> {
    let client = load::client(Connections::PerRequest)?;
    Ok(client.get(url).send().await?.json().await?)
}
