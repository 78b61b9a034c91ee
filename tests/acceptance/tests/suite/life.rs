//! The life of a fleet beside its terminal: in the background, as a service of systemd, and its log.

use std::path::Path;
use std::time::Duration;

use acceptance::{Poolwright, Setup, Stack};
use anyhow::{Context, Result, ensure};
use poolwright_testkit::wait::Seen;
use poolwright_testkit::wait_until;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::net::UnixDatagram;
use tokio::time::timeout;

acceptance::both_stacks!(
    a_detached_fleet_serves_when_the_command_returns_and_its_log_is_read_by_slot_and_age,
);

/// A fleet's start, or its end, on two busy cores.
const LIMIT: Duration = Duration::from_secs(60);

async fn a_detached_fleet_serves_when_the_command_returns_and_its_log_is_read_by_slot_and_age(
    stack: Stack,
) -> Result<()> {
    let setup = Setup::new(stack).await?;
    let poolwright = setup.poolwright()?;
    let seen = detached(&poolwright).await;
    // Nobody's child any more: whatever was seen, it must not outlive the test.
    let stopped = poolwright.run(&["stop"]).await;
    seen?;
    stopped?.expect(0)?;
    setup.server.stop().await
}

async fn detached(poolwright: &Poolwright) -> Result<()> {
    let up = poolwright.run(&["up", "--detach"]).await?.expect(0)?;
    ensure!(up.stdout.contains("holds"), "no verdict: {up:#?}");
    let status = poolwright.json(&["status"]).await?;
    one_table(&up.stdout, &status)?;
    let slots = status["apps"][0]["slots"].as_array().context("no slots")?;
    ensure!(
        slots.len() == 3 && slots.iter().all(|slot| slot["state"] == "serving"),
        "{status:#}"
    );

    let all = records(poolwright, &["logs", "--json"]).await?;
    for slot in ["web-0", "web-1", "web-2"] {
        let wrote = |stream: &str, words: &str| {
            all.iter().any(|record| {
                let line = record["line"].as_str().unwrap_or_default();
                record["slot"] == slot && record["stream"] == stream && line.contains(words)
            })
        };
        ensure!(
            wrote("stdout", "\"worker started\"") && wrote("supervisor", "serving"),
            "{slot}: {all:#?}"
        );
    }
    let sorted = all.is_sorted_by_key(|record| record["at"].as_str().map(str::to_owned));
    ensure!(sorted, "not in the order of time: {all:#?}");
    let one = records(poolwright, &["logs", "web-1", "--json", "--since", "10m"]).await?;
    ensure!(
        !one.is_empty() && one.iter().all(|record| record["slot"] == "web-1"),
        "{one:#?}"
    );
    let nothing = records(poolwright, &["logs", "web-1", "--json", "--since", "0s"]).await?;
    ensure!(nothing.is_empty(), "{nothing:#?}");

    let following = poolwright.start(&["logs", "--follow", "--since", "0s"])?;
    poolwright.run(&["restart", "web-2"]).await?.expect(0)?;
    let started = |line: &str| line.contains("web-2") && line.contains("\"worker started\"");
    following
        .line("the new worker's start", LIMIT, started)
        .await?;
    Ok(())
}

/// The table that `up` ends its start with: of each slot its process, its executor and its pools as Postgres shows them.
fn one_table(printed: &str, status: &Value) -> Result<()> {
    let rows: Vec<Vec<&str>> = printed
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    for slot in ["web-0", "web-1", "web-2"] {
        let slots = status["apps"][0]["slots"].as_array();
        let said = slots.and_then(|slots| slots.iter().find(|said| said["slot"] == slot));
        let pid = said.context("no such slot")?["pid"].to_string();
        let first = [slot, &pid, slot, "dbos", "3", "3", "3"];
        let row = rows.iter().position(|row| *row == first);
        let row = row.with_context(|| format!("no row {first:?} in {printed}"))?;
        ensure!(rows[row + 1] == ["prisma", "3", "3", "3"], "{printed}");
    }
    Ok(())
}

async fn records(poolwright: &Poolwright, arguments: &[&str]) -> Result<Vec<Value>> {
    let printed = poolwright.run(arguments).await?.expect(0)?.stdout;
    crate::reload::lines(&printed)
}

#[tokio::test]
async fn a_detached_fleet_that_cannot_start_says_why_and_leaves_nothing_behind() -> Result<()> {
    let setup = Setup::new(Stack::Axum).await?;
    let taken = std::net::TcpListener::bind(("127.0.0.1", setup.port))?;
    let poolwright = setup.poolwright()?;
    let up = poolwright.run(&["up", "--detach"]).await?.expect(1)?;
    ensure!(up.stderr.contains(&setup.port.to_string()), "{up:#?}");
    let status = poolwright.run(&["status"]).await?.expect(1)?;
    ensure!(status.stderr.contains("no fleet is running"), "{status:#?}");
    drop(taken);
    setup.server.stop().await
}

#[tokio::test]
async fn systemd_is_told_ready_stopping_and_that_the_supervisor_lives_and_workers_do_not_get_its_socket()
-> Result<()> {
    let place = tempfile::TempDir::new()?;
    let path = place.path().join("notify");
    let systemd = UnixDatagram::bind(&path)?;
    let setup = Setup::new(Stack::Axum)
        .await?
        .env("NOTIFY_SOCKET", path.display().to_string())
        .env("WATCHDOG_USEC", "500000");
    let poolwright = setup.poolwright()?;
    let mut up = poolwright.start(&["up"])?;
    told(&systemd, "READY=1").await?;
    told(&systemd, "WATCHDOG=1").await?;
    let status = poolwright.json(&["status"]).await?;
    for slot in status["apps"][0]["slots"].as_array().context("no slots")? {
        ensure!(slot["state"] == "serving", "ready too early: {status:#}");
        let environ = Path::new("/proc")
            .join(slot["pid"].to_string())
            .join("environ");
        let environ = String::from_utf8_lossy(&std::fs::read(environ)?).into_owned();
        ensure!(
            !environ.contains("NOTIFY_SOCKET") && !environ.contains("WATCHDOG_USEC"),
            "{slot} could speak for the fleet"
        );
    }
    up.signal(Signal::TERM)?;
    told(&systemd, "STOPPING=1").await?;
    let ended = up.exited(LIMIT).await?;
    ensure!(ended.success(), "{ended}: {}", up.tail());
    setup.server.stop().await
}

#[tokio::test]
async fn as_process_1_it_reaps_what_others_left_and_a_signal_drains_the_fleet() -> Result<()> {
    // A command that leaves a child behind, which ends a moment later as nobody's.
    let orphan = r#"commands = [["sh", "-c", "(sh -c 'sleep 0.3; touch orphan-ended' &)"]]"#;
    let setup = Setup::new(Stack::Axum).await?.dotenv("")?;
    let manifest = setup.directory()?.join("poolwright.toml");
    let declared = std::fs::read_to_string(&manifest)?;
    let more = orphan.replace(
        "commands = [",
        "commands = [[{ env = \"ORDER_DESK_BIN\" }, \"migrate\"], ",
    );
    let lines = declared
        .lines()
        .map(|line| match line.starts_with("commands = ") {
            true => more.as_str(),
            false => line,
        });
    std::fs::write(&manifest, lines.collect::<Vec<_>>().join("\n"))?;

    let poolwright = setup.poolwright()?;
    let mut up = poolwright.start_as_first(&["up"])?;
    up.line("the verdict", LIMIT, |line| line.contains("holds:"))
        .await?;
    let outside = up.pid().context("no process")?;
    let first = children(outside)?;
    let [(first, _)] = first[..] else {
        anyhow::bail!("{first:?}")
    };
    let ended = setup.directory()?.join("orphan-ended");
    wait_until("the orphan has ended and is reaped", LIMIT, async || {
        let unreaped = children(first).map(|all| all.iter().filter(|(_, ended)| *ended).count());
        match (ended.exists(), unreaped) {
            (true, Ok(0)) => Seen::Yes(()),
            other => Seen::NotYet(other),
        }
    })
    .await?;

    kill_process(
        Pid::from_raw(first.try_into()?).context("no pid")?,
        Signal::TERM,
    )?;
    let ended = up.exited(LIMIT).await?;
    ensure!(ended.success(), "{ended}: {}", up.tail());
    let stopped = up
        .lines()
        .iter()
        .filter(|line| line.contains("worker stopped"))
        .count();
    ensure!(
        stopped == 3,
        "{stopped} of 3 workers were drained: {}",
        up.tail()
    );
    setup.server.stop().await
}

/// The processes whose parent this one is, and whether each has ended without being reaped.
fn children(parent: u32) -> Result<Vec<(u32, bool)>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|pid| pid.parse().ok()) else {
            continue;
        };
        // Gone meanwhile: nobody's child.
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some((_, fields)) = stat.rsplit_once(')') else {
            continue;
        };
        let mut fields = fields.split_whitespace();
        let ended = fields.next() == Some("Z");
        if fields.next() == Some(&parent.to_string()) {
            all.push((pid, ended));
        }
    }
    Ok(all)
}

/// Reads until systemd is told this.
async fn told(systemd: &UnixDatagram, word: &str) -> Result<()> {
    let mut message = [0; 4096];
    let told = async {
        loop {
            let length = systemd.recv(&mut message).await?;
            let text = String::from_utf8_lossy(message.get(..length).unwrap_or_default());
            if text.lines().any(|line| line == word) {
                return Ok(());
            }
        }
    };
    timeout(LIMIT, told)
        .await
        .with_context(|| format!("systemd was not told {word}"))?
}
