//! What the supervisor of 50 workers takes while nothing happens: with nobody looking, and with the page open in a browser and `top` on a
//! terminal.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use poolwright_testkit::ports::free_port;
use poolwright_testkit::proxy::Proxy;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::process::{cpu, memory_mib};
use crate::report::say;
use crate::small::{self, Small};

pub(crate) const WORKERS: u32 = 50;
/// How long each round is.
pub(crate) const IDLE: Duration = Duration::from_secs(10);
/// What comes before it does not count: screens that are drawn for the first time.
const SETTLES: Duration = Duration::from_secs(2);
/// Until the first picture is there.
const SHOWS: Duration = Duration::from_secs(20);
/// Of the terminal, in rows and columns: a large one.
const SIZE: (u16, u16) = (60, 160);

/// Every round of both.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Watched {
    pub(crate) by_nobody: Vec<Idle>,
    pub(crate) by_both: Vec<Idle>,
}

/// What was taken while nothing happened.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Idle {
    /// Of one core.
    pub(crate) cores: f64,
    /// At the end.
    pub(crate) memory_mib: f64,
    /// Round trips to Postgres in a second, of all connections.
    pub(crate) trips_per_second: f64,
    /// Events that came to the page, and pictures that `top` wrote, in a second.
    pub(crate) events_per_second: f64,
    pub(crate) frames_per_second: f64,
}

/// One fleet, looked at and left alone by turns.
pub(crate) async fn watch(rounds: usize) -> Result<Watched> {
    let server = small::server(WORKERS).await?;
    let network = Proxy::start((Ipv4Addr::LOCALHOST, server.port()?).into()).await?;
    let through = format!(":{}/", network.port());
    let url = server
        .admin_url()?
        .replace(&format!(":{}/", server.port()?), &through);
    ensure!(url.contains(&through), "the server's URL has no port");
    let port = free_port()?;
    let observe = ["--observe", &format!("127.0.0.1:{port}")];
    let fleet = Small::start(url, WORKERS, &observe).await?;
    let mut watched = Watched::default();
    for _ in 0..rounds {
        watched.by_nobody.push(idle(&fleet, &network, None).await?);
        watched
            .by_both
            .push(idle(&fleet, &network, Some(port)).await?);
    }
    fleet.stop().await?;
    drop(network);
    server.stop().await?;
    Ok(watched)
}

async fn idle(fleet: &Small, network: &Proxy, page: Option<u16>) -> Result<Idle> {
    let watchers = match page {
        None => None,
        Some(port) => {
            let top = fleet.poolwright.on_terminal(&["top"], SIZE)?;
            top.shows(&format!("web {WORKERS}/{WORKERS}"), SHOWS)
                .await?;
            Some((Page::open(port).await?, top))
        }
    };
    let shown = || match &watchers {
        None => (0, 0),
        Some((page, top)) => (page.events(), top.frames().len()),
    };
    tokio::time::sleep(SETTLES).await;
    let begin = Instant::now();
    let (before, trips, (events, frames)) =
        (cpu(fleet.supervisor)?, network.round_trips(), shown());
    tokio::time::sleep(IDLE).await;
    let elapsed = begin.elapsed().as_secs_f64();
    let rate = |count: usize| Ok::<_, anyhow::Error>(f64::from(u32::try_from(count)?) / elapsed);
    let idle = Idle {
        cores: (cpu(fleet.supervisor)? - before) / elapsed,
        memory_mib: memory_mib(fleet.supervisor)?,
        trips_per_second: rate(usize::try_from(network.round_trips() - trips)?)?,
        events_per_second: rate(shown().0 - events)?,
        frames_per_second: rate(shown().1 - frames)?,
    };
    ensure!(
        page.is_none() || (idle.events_per_second > 0.0 && idle.frames_per_second > 0.0),
        "nobody was shown anything: {idle:?}"
    );
    say(&format!("{idle:?}"));
    Ok(idle)
}

/// The page's stream of events, as a browser holds it.
struct Page {
    events: Arc<AtomicUsize>,
    reading: JoinHandle<()>,
}

impl Page {
    async fn open(port: u16) -> Result<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let request = format!(
            "GET /api/events HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\naccept: text/event-stream\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut lines = BufReader::new(stream).lines();
        let status = lines.next_line().await?.context("no answer")?;
        ensure!(status.contains(" 200 "), "the page answered {status:?}");
        let events = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&events);
        let reading = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if line.starts_with("data:") {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Ok(Self { events, reading })
    }

    fn events(&self) -> usize {
        self.events.load(Ordering::Relaxed)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.reading.abort();
    }
}
