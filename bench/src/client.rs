//! A client that costs next to nothing.
//!
//! The generator shares two cores with what it measures, and what it takes it takes from the faster
//! stack: so it writes fixed bytes, and reads a status and a `content-length`, instead of being a
//! whole HTTP client. How much of a core it took is part of the report.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// When clients stop asking.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    /// After this time.
    Time(Duration),
    /// When together they have asked this often.
    Requests(usize),
}

/// What came of it: only answers of the expected status, anything else is an error.
#[derive(Debug)]
pub(crate) struct Answers {
    /// From the first request to the last answer.
    pub(crate) elapsed: Duration,
    /// The time of each answer, ascending.
    pub(crate) latencies: Vec<Duration>,
}

impl Answers {
    /// The time that `percent` of the answers did not exceed, in milliseconds.
    pub(crate) fn percentile_ms(&self, percent: usize) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        let at = self.latencies.get(last * percent / 100);
        at.copied().unwrap_or_default().as_secs_f64() * 1000.0
    }
}

/// Lets `clients` ask the same at once, each on a connection that it keeps.
pub(crate) async fn ask(
    port: u16,
    clients: usize,
    until: Until,
    request: String,
    status: u16,
) -> Result<Answers> {
    let request: Arc<str> = request.into();
    let asked = Arc::new(AtomicUsize::new(0));
    let begin = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..clients {
        let (request, asked) = (Arc::clone(&request), Arc::clone(&asked));
        tasks.spawn(async move {
            let mut connection = Connection::open(port).await?;
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
                let answered = connection.ask(request.as_bytes()).await?;
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

/// A kept connection.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
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

    /// Asks, reads the whole answer, and says its status.
    async fn ask(&mut self, request: &[u8]) -> Result<u16> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let head = loop {
            ensure!(
                self.stream.read_buf(&mut self.buffer).await? > 0,
                "the connection was closed"
            );
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
        };
        let (status, length) = parse(self.buffer.get(..head).unwrap_or_default())?;
        while self.buffer.len() < head + length {
            ensure!(
                self.stream.read_buf(&mut self.buffer).await? > 0,
                "the answer was cut short"
            );
        }
        Ok(status)
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

/// Status and length of the body.
fn parse(head: &[u8]) -> Result<(u16, usize)> {
    let text = std::str::from_utf8(head)?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let status = status.context("no status line")?.parse()?;
    for line in lines {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            return Ok((status, value.trim().parse()?));
        }
    }
    bail!("an answer without content-length:\n{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_length_are_found_whatever_the_case_of_the_header() {
        for name in ["content-length", "Content-Length"] {
            let head = format!("HTTP/1.1 202 Accepted\r\nx: y\r\n{name}: 17\r\n\r\n");
            assert_eq!(parse(head.as_bytes()).unwrap(), (202, 17));
        }
    }

    #[test]
    fn an_answer_of_unknown_length_is_refused() {
        assert!(parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }
}
