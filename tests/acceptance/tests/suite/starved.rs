//! A pool whose borrowers wait for each other is found within ten seconds, with the statements that hold it, and cured where
//! the manifest says so (H3).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use acceptance::{Poolwright, Project};
use anyhow::{Context, Result, ensure};
use poolwright_testkit::load::{self, Connections};
use poolwright_testkit::wait::Seen;
use poolwright_testkit::{Process, wait_until};
use serde_json::Value;
use sqlx::PgConnection;
use tokio::time::Instant;

/// A fleet's start or end, on two busy cores.
const LIMIT: Duration = Duration::from_secs(60);

/// From the burst to the word.
const FOUND: Duration = Duration::from_secs(10);

/// How many workflows one burst begins.
const BURST: i64 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_starved_pool_is_named_with_what_holds_it_and_left_alone() -> Result<()> {
    let mut fleet = Fleet::start("").await?;
    let before = fleet.pids().await?;
    let (slot, message) = fleet.starve().await?;
    for part in [
        format!("{slot}:dbos is starved: all its 3 connections are lent out, "),
        " callers wait, and none has moved for ".to_owned(),
        // Literals are left out.
        "idle in transaction after `SELECT '…' AS debited, $1::int AS number`".to_owned(),
    ] {
        ensure!(message.contains(&part), "no {part} in {message}");
    }
    ensure!(fleet.pids().await? == before, "somebody was restarted");
    ensure!(fleet.finished().await? == 0, "it moves");
    let status = fleet.tool.json(&["status"]).await?;
    let findings = status["findings"].as_array().context("findings")?;
    let found = findings
        .iter()
        .find(|found| found["kind"] == "pool_starved");
    let found = found.with_context(|| format!("{status:#}"))?;
    ensure!(found["slot"] == slot.as_str() && found["pool"] == "dbos");
    let status = fleet.tool.run(&["status"]).await?.expect(0)?;
    let words = format!("error: {slot}:dbos is starved: all its 3 connections");
    ensure!(status.stdout.contains(&words), "{status:?}");
    let doctor = fleet.tool.run(&["doctor", "--json"]).await?;
    let report = doctor.expect(5)?.json()?;
    let findings = report["findings"].as_array().context("findings")?;
    let found = findings.iter().find(|found| found["code"] == "PW701");
    let found = found.with_context(|| format!("{report:#}"))?;
    // The seconds go on.
    let said = found["message"].as_str().unwrap_or_default();
    let starved = format!("{slot}:dbos is starved: ");
    ensure!(said.starts_with(&starved), "{found:#}");
    fleet.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_starved_worker_is_replaced_where_that_is_declared_and_what_it_had_is_finished()
-> Result<()> {
    let mut fleet = Fleet::start("on_starved = \"restart\"").await?;
    let before = fleet.pids().await?;
    let (slot, _) = fleet.starve().await?;
    fleet
        .says(&slot, "is restarted, because its pool dbos is starved")
        .await?;
    wait_until("every workflow is finished", LIMIT, async || {
        match fleet.finished().await {
            Ok(BURST) => Seen::Yes(()),
            other => Seen::NotYet((other, fleet.up.tail())),
        }
    })
    .await?;
    let after = fleet.pids().await?;
    for (name, pid) in &before {
        let same = after.get(name) == Some(pid);
        ensure!(same == (*name != slot), "{before:?}, then {after:?}");
    }

    // The same again at once is no accident, and restarts without end would be none either. Which of the two takes a burst is the
    // system's choice.
    let mut replaced = BTreeSet::from([slot]);
    loop {
        let (again, _) = fleet.starve().await?;
        if !replaced.insert(again.clone()) {
            let words = "is not restarted again within 5 min";
            fleet.says(&again, words).await?;
            break;
        }
        fleet
            .says(&again, "is restarted, because its pool dbos is starved")
            .await?;
        // A burst that the predecessor still took would be lost with it.
        fleet.says(&again, " serving").await?;
    }
    fleet.stop().await
}

/// Two workers of the program in `programs/starving`.
struct Fleet {
    up: Process,
    tool: Poolwright,
    project: Project,
    /// Lines that were looked at.
    told: usize,
}

impl Fleet {
    async fn start(declared: &str) -> Result<Self> {
        let project = Project::new("starving").await?;
        let manifest = format!(
            r#"
            [apps.web]
            command = ["node", "server.js"]
            instances = 2
            listen = "127.0.0.1:{}"
            drain_timeout = "1s"
            {declared}
            [apps.web.pools.dbos]
            max = {{ env = "DBOS_POOL_MAX", default = 3 }}
            url = {{ env = "DBOS_SYSTEM_DATABASE_URL" }}
            executor = true
            [prepare]
            url = {{ env = "ADMIN_DATABASE_URL" }}
            "#,
            project.port,
        );
        let project = project.declared(&manifest)?;
        let tool = project.poolwright()?;
        let up = tool.start(&["up"])?;
        let serves = |line: &str| line.contains(" connections at most of ");
        up.line("that it serves", LIMIT, serves).await?;
        Ok(Self {
            up,
            tool,
            project,
            told: 0,
        })
    }

    /// Has one worker starve itself; answers with its slot and what is said of it.
    async fn starve(&mut self) -> Result<(String, String)> {
        self.told = self.up.lines().len();
        let client = load::client(Connections::PerRequest)?;
        let url = format!("{}burst", self.project.url());
        let answer = client.post(url).send().await?;
        let begun = Instant::now();
        let slot = answer.headers().get("x-worker").context("who answered?")?;
        let slot = slot.to_str()?.to_owned();
        let message = self.says(&slot, ":dbos is starved").await?;
        let took = begun.elapsed();
        ensure!(took < FOUND, "found after {took:?}");
        Ok((slot, message))
    }

    /// Waits for a line of the supervisor's on this slot, after the last burst.
    async fn says(&self, slot: &str, words: &str) -> Result<String> {
        let mut passed = 0;
        let said = self.up.line(words, LIMIT, |line| {
            passed += 1;
            passed > self.told && line.starts_with(slot) && line.contains(words)
        });
        said.await
    }

    async fn pids(&self) -> Result<BTreeMap<String, u64>> {
        let status = self.tool.json(&["status"]).await?;
        let slots = status["apps"][0]["slots"].as_array().context("no slots")?;
        let pid = |slot: &Value| Some((slot["slot"].as_str()?.to_owned(), slot["pid"].as_u64()?));
        Ok(slots.iter().filter_map(pid).collect())
    }

    /// How many workflows are done.
    async fn finished(&self) -> Result<i64> {
        let mut db: PgConnection = self.project.server.connect("order_desk_dbos").await?;
        let done = "SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS'";
        Ok(sqlx::query_scalar(done).fetch_one(&mut db).await?)
    }

    async fn stop(mut self) -> Result<()> {
        self.tool.run(&["stop"]).await?.expect(0)?;
        let ended = self.up.exited(LIMIT).await?;
        ensure!(ended.success(), "{ended}: {}", self.up.tail());
        self.project.server.stop().await
    }
}
