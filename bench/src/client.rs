//! A client that costs next to nothing.
//!
//! The generator shares two cores with what it measures, and what it takes it takes from the faster
//! side: so it writes fixed bytes, and reads a status and a `content-length`, instead of being a
//! whole HTTP client. How much of a core it took is part of the report.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(20);

/// How clients treat their connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connections {
    /// One per client, kept.
    Kept,
    /// One per request, closed by the server after its answer.
    Fresh,
}

/// When clients stop asking.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    /// After this time.
    Time(Duration),
    /// When together they have asked this often.
    Requests(usize),
}

/// What came of it: only answers of the expected status, anything else is an error.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// From the first request to the last answer; of several times together, their sum.
    pub(crate) elapsed: Duration,
    /// The time of each answer, ascending.
    pub(crate) latencies: Vec<Duration>,
}

impl Answers {
    /// These, too.
    pub(crate) fn add(&mut self, more: Self) {
        self.elapsed += more.elapsed;
        self.latencies.extend(more.latencies);
        self.latencies.sort_unstable();
    }

    pub(crate) fn per_second(&self) -> Result<f64> {
        per_second(self.latencies.len(), self.elapsed)
    }

    /// The time that `percent` of the answers did not exceed, in milliseconds.
    pub(crate) fn percentile_ms(&self, percent: usize) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        let at = self.latencies.get(last * percent / 100);
        at.copied().unwrap_or_default().as_secs_f64() * 1000.0
    }
}

pub(crate) fn per_second(count: usize, time: Duration) -> Result<f64> {
    Ok(f64::from(u32::try_from(count)?) / time.as_secs_f64())
}

/// Lets `clients` ask the same at once, as fast as they are answered.
pub(crate) async fn ask(
    port: u16,
    connections: Connections,
    clients: usize,
    until: Until,
    request: String,
    status: u16,
) -> Result<Answers> {
    let request = Arc::new(Request::new(request, connections));
    let asked = Arc::new(AtomicUsize::new(0));
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let (request, asked) = (Arc::clone(&request), Arc::clone(&asked));
        tasks.spawn(async move {
            let mut client = Client::new(port);
            let mut latencies = Vec::new();
            loop {
                let more = match until {
                    Until::Time(time) => begin.elapsed() < time,
                    Until::Requests(count) => asked.fetch_add(1, Ordering::Relaxed) < count,
                };
                if !more {
                    return Ok::<_, anyhow::Error>(latencies);
                }
                let start = Instant::now();
                let answered = client.ask(&request).await?;
                ensure!(
                    answered == status,
                    "answered with {answered}, expected {status}"
                );
                latencies.push(start.elapsed());
            }
        });
    }
    let mut latencies = Vec::new();
    while let Some(finished) = tasks.join_next().await {
        latencies.extend(finished.context("a client panicked")??);
    }
    let elapsed = begin.elapsed();
    latencies.sort_unstable();
    Ok(Answers { elapsed, latencies })
}

/// What users do: each asks, thinks, and asks again, whatever became of the last answer.
#[derive(Debug, Clone)]
pub(crate) struct Users {
    /// Half of them keep their connection, half open one for each request.
    pub(crate) count: usize,
    /// How long each thinks.
    pub(crate) pause: Duration,
    /// What they ask mostly.
    pub(crate) often: String,
    /// What they ask once in so many times.
    pub(crate) seldom: (usize, String),
}

/// Users at work. When dropped, requests in flight are abandoned.
#[derive(Debug)]
pub(crate) struct AtWork {
    users: JoinSet<Served>,
    stop: Arc<AtomicBool>,
}

/// What users got.
#[derive(Debug, Default)]
pub(crate) struct Served {
    /// The time of each answer with a status of 2xx, ascending.
    pub(crate) latencies: Vec<Duration>,
    /// Everything else, by cause.
    pub(crate) failed: BTreeMap<String, usize>,
}

impl Users {
    /// Sets them to work.
    pub(crate) fn begin(self, port: u16) -> AtWork {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(AtomicUsize::new(0));
        let (every, seldom) = self.seldom;
        let request =
            |text: &str, connections| Arc::new(Request::new(text.to_owned(), connections));
        let mut users = JoinSet::new();
        for number in 0..self.count {
            let connections = match number % 2 {
                0 => Connections::Kept,
                _ => Connections::Fresh,
            };
            let often = request(&self.often, connections);
            let seldom = request(&seldom, connections);
            let (stop, asked) = (Arc::clone(&stop), Arc::clone(&asked));
            users.spawn(async move {
                let mut client = Client::new(port);
                let mut served = Served::default();
                while !stop.load(Ordering::Relaxed) {
                    let request = match asked.fetch_add(1, Ordering::Relaxed) % every {
                        0 => &seldom,
                        _ => &often,
                    };
                    served.ask(&mut client, request).await;
                    sleep(self.pause).await;
                }
                served
            });
        }
        AtWork { users, stop }
    }
}

impl AtWork {
    /// No new requests; waits for the answers that are under way.
    pub(crate) async fn finish(mut self) -> Result<Served> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Served::default();
        while let Some(one) = self.users.join_next().await {
            let one = one.context("a user panicked")?;
            all.latencies.extend(one.latencies);
            for (cause, count) in one.failed {
                *all.failed.entry(cause).or_default() += count;
            }
        }
        all.latencies.sort_unstable();
        Ok(all)
    }
}

impl Served {
    async fn ask(&mut self, client: &mut Client, request: &Request) {
        let start = Instant::now();
        let failed = match timeout(PATIENCE, client.ask(request)).await {
            Ok(Ok(200..300)) => {
                self.latencies.push(start.elapsed());
                return;
            }
            Ok(Ok(status)) => format!("status {status}"),
            Ok(Err(error)) => error.root_cause().to_string(),
            Err(_) => "no answer".to_owned(),
        };
        client.connection = None;
        *self.failed.entry(failed).or_default() += 1;
    }
}

/// The bytes of a request.
struct Request(String);

impl Request {
    fn new(text: String, connections: Connections) -> Self {
        Self(match connections {
            Connections::Kept => text,
            Connections::Fresh => text.replacen("\r\n", "\r\nconnection: close\r\n", 1),
        })
    }
}

/// A client, with its connection while it has one.
struct Client {
    port: u16,
    connection: Option<Connection>,
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// What an answer begins with.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Of the body.
    length: usize,
    /// The server closes the connection after it.
    closes: bool,
}

impl Client {
    const fn new(port: u16) -> Self {
        let connection = None;
        Self { port, connection }
    }

    /// Asks, reads the whole answer, and says its status. A connection that the server has closed since the last
    /// answer is replaced, as every client does it; one that closes under a request is an error.
    async fn ask(&mut self, request: &Request) -> Result<u16> {
        let mut connection = match self.connection.take() {
            Some(connection) if connection.is_open() => connection,
            _ => Connection::open(self.port).await?,
        };
        let head = connection.ask(request.0.as_bytes()).await?;
        if !head.closes {
            self.connection = Some(connection);
        }
        Ok(head.status)
    }
}

impl Connection {
    async fn open(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(32 * 1024),
        })
    }

    /// Between two answers nothing comes but the end.
    fn is_open(&self) -> bool {
        let read = self.stream.try_read(&mut [0]);
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    async fn ask(&mut self, request: &[u8]) -> Result<Head> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let end = loop {
            ensure!(
                self.stream.read_buf(&mut self.buffer).await? > 0,
                "the connection was closed"
            );
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
        };
        let head = parse(self.buffer.get(..end).unwrap_or_default())?;
        while self.buffer.len() < end + head.length {
            ensure!(
                self.stream.read_buf(&mut self.buffer).await? > 0,
                "the answer was cut short"
            );
        }
        Ok(head)
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

fn parse(head: &[u8]) -> Result<Head> {
    let text = std::str::from_utf8(head)?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let status = status.context("no status line")?.parse()?;
    let (mut length, mut closes) = (None, false);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse()?);
        } else if name.eq_ignore_ascii_case("connection") {
            closes = value.trim().eq_ignore_ascii_case("close");
        }
    }
    let Some(length) = length else {
        bail!("an answer without content-length:\n{text}")
    };
    Ok(Head {
        status,
        length,
        closes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_length_are_found_whatever_the_case_of_the_header() {
        for name in ["content-length", "Content-Length"] {
            let head = format!("HTTP/1.1 202 Accepted\r\nx: y\r\n{name}: 17\r\n\r\n");
            let expected = Head {
                status: 202,
                length: 17,
                closes: false,
            };
            assert_eq!(parse(head.as_bytes()).unwrap(), expected);
        }
    }

    #[test]
    fn a_server_that_closes_after_its_answer_is_heard() {
        let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        assert!(parse(head).unwrap().closes);
    }

    #[test]
    fn an_answer_of_unknown_length_is_refused() {
        assert!(parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }

    #[test]
    fn a_fresh_connection_is_asked_to_be_closed_and_a_kept_one_is_not() {
        let text = || "GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_owned();
        let fresh = Request::new(text(), Connections::Fresh);
        assert_eq!(
            fresh.0,
            "GET / HTTP/1.1\r\nconnection: close\r\nhost: x\r\n\r\n"
        );
        assert_eq!(Request::new(text(), Connections::Kept).0, text());
    }
}
