//! `poolwright top` on a terminal: it follows what happens within a second, its keys do what they say after a yes, and it leaves the
//! terminal as it found it (B9).

use std::fs;
use std::time::Duration;

use acceptance::terminal::Terminal;
use acceptance::{Fleet, Setup, Stack};
use anyhow::{Context, Result, ensure};
use poolwright_testkit::load::{self, Connections, Load};
use poolwright_testkit::svg::{Cell, Ink, svg};
use poolwright_testkit::wait::Seen;
use poolwright_testkit::{built, wait_until};
use rustix::process::Signal;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::reload::under_poolwright;

acceptance::both_stacks!(the_screen_follows_every_step_of_a_reload_under_load_within_a_second);

/// From a step to its line on the screen.
const FOLLOWS: Duration = Duration::from_secs(1);

/// From a key to what it does on the screen, on two busy cores.
const SOON: Duration = Duration::from_secs(10);

/// A reload of three workers, or a fleet's start or end.
const LIMIT: Duration = Duration::from_secs(60);

/// How large the terminal is, unless a test says otherwise: rows and columns.
const SIZE: (u16, u16) = (24, 80);

const ESCAPE: &str = "\u{1b}";
const TENANT: &str = "11111111-1111-4111-8111-111111111111";

async fn the_screen_follows_every_step_of_a_reload_under_load_within_a_second(
    stack: Stack,
) -> Result<()> {
    let fleet = Fleet::start(under_poolwright(stack)).await?;
    let confirmed = |line: &str| line.contains(" connections at most of ");
    fleet.line("its verdict", LIMIT, confirmed).await?;
    let load = Load {
        clients: 10,
        connections: Connections::PerRequest,
        time: LIMIT,
        requests: usize::MAX,
    };
    let url = fleet.desk.url("/api/orders");
    let asking = load::start(load, move |client, _| {
        client.get(&url).header("x-tenant-id", TENANT)
    })?;
    let tool = fleet.setup.poolwright()?.env("NO_COLOR", "");
    let top = tool.on_terminal(&["top"], (40, 100))?;
    top.shows("web 3/3", SOON).await?;

    // Ordered by somebody else: the screen has nothing but the supervisor's pictures to follow.
    let reload = fleet.setup.poolwright()?.start(&["reload", "--json"])?;
    let mut steps: Vec<(Instant, String)> = Vec::new();
    let done = loop {
        let mut passed = 0;
        let next = |line: &str| {
            passed += usize::from(line.starts_with('{'));
            passed > steps.len()
        };
        let line = reload.line("the next step", LIMIT, next).await?;
        let at = Instant::now();
        let step: Value = serde_json::from_str(&line)?;
        let Some(slot) = step["slot"].as_str() else {
            break step;
        };
        let does = match step["step"].as_str() {
            Some("boots") => "the successor boots",
            Some("drains") => "the predecessor drains",
            _ => "serves",
        };
        steps.push((at, format!("{slot} {does}")));
    };
    ensure!(done["failure"].is_null(), "{done}");
    ensure!(steps.len() == 9, "{steps:?}");
    let (_, last) = steps.last().context("no step")?;
    top.shows(last, SOON).await?;
    let frames = top.frames();
    let mut slowest = Duration::ZERO;
    for (at, step) in &steps {
        let frame = frames.iter().find(|frame| frame.text.contains(step));
        let frame = frame.with_context(|| format!("{step} never stood there:\n{}", top.text()))?;
        slowest = slowest.max(frame.at.saturating_duration_since(*at));
    }
    keep(&top, &format!("top-reload-{}", stack.name()), slowest)?;
    ensure!(slowest < FOLLOWS, "the slowest step came after {slowest:?}");
    let outcome = asking.finish().await?;
    ensure!(outcome.failed() == 0, "{outcome:?}");
    drop(top);
    fleet.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_are_given_after_a_yes_with_their_progress_and_their_refusals() -> Result<()> {
    let fleet = Fleet::start(under_poolwright(Stack::Axum)).await?;
    let tool = fleet.setup.poolwright()?;
    let mut top = tool.on_terminal(&["top"], SIZE)?;
    top.shows("18 of 18 connections", SOON).await?;
    let coloured = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains("\u{1b}[38;5;2m");
    ensure!(!coloured(&top.written()), "NO_COLOR is set");

    // A no is a no.
    top.press("r").await?;
    top.shows("Replace every worker, one after the other?", SOON)
        .await?;
    top.press(ESCAPE).await?;
    top.until("the question is gone", SOON, |text| {
        !text.contains("Replace every worker")
    })
    .await?;
    ensure!(generations(&fleet).await? == [1, 1, 1]);

    top.press("ry").await?;
    top.shows("reload 1/3: ", LIMIT).await?;
    top.shows("reload: done", LIMIT).await?;
    ensure!(generations(&fleet).await? == [2, 2, 2]);

    // One of them, and then another number of them.
    top.press("jR").await?;
    top.shows("Stop web-1 when it has finished", SOON).await?;
    top.press("y").await?;
    top.shows("restart web-1: done", LIMIT).await?;
    ensure!(generations(&fleet).await? == [2, 3, 2]);
    top.press("s50\r").await?;
    top.shows("They may open 300 connections then", SOON)
        .await?;
    top.press("y").await?;
    top.shows("scale web=50: web=50 does not fit", SOON).await?;
    top.press("s2\ry").await?;
    top.shows("scale web=2: done", LIMIT).await?;
    top.shows("web-2 left, and its connections are gone", SOON)
        .await?;

    // What a slot does, and only what one looks for.
    top.press("g\r").await?;
    top.shows("LISTEN", SOON).await?;
    top.press(ESCAPE).await?;
    top.press("/web-1\r").await?;
    top.until("only web-1 is shown", SOON, |text| {
        serves(text, "web-1") && !serves(text, "web-0")
    })
    .await?;
    top.press(ESCAPE).await?;

    // Another size, in the middle of it all.
    top.resize(12, 40)?;
    top.until("it fits 40 columns", SOON, |text| {
        text.contains("q quit") && serves(text, "web-0") && !text.contains("restarts")
    })
    .await?;
    top.resize(40, 120)?;
    top.until("it fits 120 columns", SOON, |text| {
        serves(text, "web-0") && text.contains("restarts")
    })
    .await?;

    top.shows("12 of 12 connections", SOON).await?;
    let once = tool.run(&["top", "--once"]).await?.expect(0)?;
    for part in ["web 2/2", "12 of 12 connections", "web-1"] {
        ensure!(once.stdout.contains(part), "no {part}: {once:?}");
    }
    top.press("q").await?;
    ensure!(top.ended(SOON).await?.success());
    top.is_as_before().await?;
    fleet.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_terminal_is_as_before_however_it_ends() -> Result<()> {
    let fleet = Fleet::start(under_poolwright(Stack::Axum)).await?;
    let tool = fleet.setup.poolwright()?;
    let shown = async || {
        let top = tool.on_terminal(&["top"], SIZE)?;
        top.shows("web 3/3", SOON).await?;
        let screen = top.screen();
        ensure!(screen.alternate_screen() && screen.hide_cursor());
        ensure!(top.has_its_modes().is_err(), "keys come one by one");
        anyhow::Ok(top)
    };
    for key in ["q", "\u{3}"] {
        let mut top = shown().await?;
        top.press(key).await?;
        ensure!(top.ended(SOON).await?.success());
        top.is_as_before().await?;
    }
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let mut top = shown().await?;
        top.signal(signal)?;
        ensure!(top.ended(SOON).await?.success());
        top.is_as_before().await?;
    }

    // A line that takes nothing any more keeps what stands on it, and nothing else.
    let mut top = shown().await?;
    top.take_output(false);
    for _ in 0..20 {
        top.press("\u{c}").await?;
        sleep(Duration::from_millis(110)).await;
    }
    top.signal(Signal::TERM)?;
    ensure!(top.ended(SOON).await?.success());
    top.has_its_modes()?;

    // A fleet that changes nothing costs next to nothing to look at.
    let top = shown().await?;
    let before = top.written().len();
    sleep(Duration::from_secs(5)).await;
    let a_second = (top.written().len() - before) / 5;
    ensure!(a_second < 1_000, "{a_second} bytes a second");
    println!("{a_second} bytes a second of a fleet that changes nothing");
    drop(top);
    fleet.stop().await
}

/// A shell of a person's, who looks at something else in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shell_gets_its_terminal_while_top_is_stopped_and_top_gets_it_back() -> Result<()> {
    let fleet = Fleet::start(under_poolwright(Stack::Axum)).await?;
    let tool = fleet.setup.poolwright()?;
    let mut shell = tool.shell_on_terminal(SIZE)?;
    shell.press("echo before\r").await?;
    shell.shows("before\n", SOON).await?;
    let top = tool.line(&["top"]);
    shell.press(&format!("{top}\r")).await?;
    shell.shows("web 3/3", SOON).await?;
    shell.press("\u{1a}").await?;
    shell.shows("Stopped", SOON).await?;
    ensure!(!shell.screen().alternate_screen());
    shell.press("echo between\r").await?;
    shell.shows("between\n", SOON).await?;
    shell.press("fg\r").await?;
    shell.shows("web 3/3", SOON).await?;
    ensure!(shell.screen().alternate_screen());
    shell.press("?").await?;
    shell.shows("this help", SOON).await?;
    shell.press("q").await?;
    shell
        .until("the shell is back", SOON, |text| {
            text.contains("between\n") && !text.contains("this help")
        })
        .await?;
    shell.press("exit\r").await?;
    shell.ended(SOON).await?;
    fleet.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_that_ends_is_said_to_and_the_next_one_is_shown() -> Result<()> {
    let setup = Setup::new(Stack::Axum).await?;
    let fleet = Fleet::from(under_poolwright(Stack::Axum), setup, 3).await?;
    let mut top = fleet.setup.poolwright()?.on_terminal(&["top"], SIZE)?;
    top.shows("web 3/3", SOON).await?;
    let first = format!("process {}", fleet.manager_pid()?);
    top.shows(&first, SOON).await?;
    let setup = fleet.killed().await?;
    top.shows("is gone", SOON).await?;
    top.shows("waiting for it", SOON).await?;
    top.press("ry").await?;
    top.shows("reload: no fleet is running here", SOON).await?;

    let fleet = Fleet::from(under_poolwright(Stack::Axum), setup, 3).await?;
    let next = format!("process {}", fleet.manager_pid()?);
    top.shows(&next, SOON).await?;
    top.until("nothing is missed any more", SOON, |text| {
        !text.contains("waiting for it")
    })
    .await?;
    fleet.setup.poolwright()?.run(&["stop"]).await?.expect(0)?;
    top.shows("waiting for it", SOON).await?;
    top.press("q").await?;
    ensure!(top.ended(SOON).await?.success());
    top.is_as_before().await
}

/// Whether a slot's row says that it serves.
fn serves(text: &str, slot: &str) -> bool {
    let mut lines = text.lines();
    lines.any(|line| line.starts_with(slot) && line.contains(" serving "))
}

/// Which reload or restart each worker is of.
async fn generations(fleet: &Fleet) -> Result<Vec<u64>> {
    wait_until("every slot has a process", SOON, async || {
        match fleet.slots().await {
            Ok(slots) => {
                let generations = slots.values().map(|slot| slot["generation"].as_u64());
                match generations.collect::<Option<Vec<u64>>>() {
                    Some(all) => Seen::Yes(all),
                    None => Seen::NotYet(format!("{slots:?}")),
                }
            }
            Err(error) => Seen::NotYet(error.to_string()),
        }
    })
    .await
}

/// The screen as it is, under `artifacts`, and how far it was behind.
fn keep(top: &Terminal, name: &str, slowest: Duration) -> Result<()> {
    let folder = built::repository().join("artifacts");
    fs::create_dir_all(&folder)?;
    let screen = top.screen();
    let (rows, columns) = screen.size();
    let cell = |row, column| {
        let Some(cell) = screen.cell(row, column) else {
            return Cell::empty();
        };
        let ink = match cell.fgcolor() {
            vt100::Color::Idx(1 | 9) => Ink::Red,
            vt100::Color::Idx(2 | 10) => Ink::Green,
            vt100::Color::Idx(3 | 11) => Ink::Yellow,
            vt100::Color::Idx(8) => Ink::Grey,
            _ => Ink::Text,
        };
        let symbol = match cell.contents() {
            "" if !cell.is_wide_continuation() => " ",
            symbol => symbol,
        };
        Cell {
            symbol: symbol.to_owned(),
            ink,
            bold: cell.bold(),
            reversed: cell.inverse(),
        }
    };
    let rows: Vec<Vec<Cell>> = (0..rows.get())
        .map(|row| (0..columns.get()).map(|column| cell(row, column)).collect())
        .collect();
    let title = format!("poolwright top, {slowest:?} behind at most");
    fs::write(folder.join(format!("{name}.svg")), svg(&title, &rows))?;
    Ok(())
}
