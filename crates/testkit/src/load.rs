//! Concurrent clients.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::{Client, RequestBuilder};
use tokio::time::Instant;

/// A single request's limit: far above any answer, far below a test's patience.
const REQUEST_LIMIT: Duration = Duration::from_secs(20);

/// How clients treat their connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// One per client, kept.
    KeepAlive,
    /// One per request.
    PerRequest,
}

/// How much load.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Concurrent clients; each waits for an answer before it asks again.
    pub clients: usize,
    /// How they treat their connections.
    pub connections: Connections,
    /// How long new requests are sent.
    pub time: Duration,
    /// At most this many requests altogether.
    pub requests: usize,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// How many answers of each status.
    pub statuses: BTreeMap<u16, usize>,
    /// How many requests got no answer, by cause.
    pub errors: BTreeMap<String, usize>,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// Every answer's time, ascending.
    pub latencies: Vec<Duration>,
}

impl Outcome {
    /// Answers with status 2xx.
    #[must_use]
    pub fn succeeded(&self) -> usize {
        self.statuses.range(200..300).map(|(_, count)| count).sum()
    }

    /// Everything else.
    #[must_use]
    pub fn failed(&self) -> usize {
        let answered: usize = self.statuses.values().sum();
        answered - self.succeeded() + self.errors.values().sum::<usize>()
    }

    /// The answer time that `percent` of the answers did not exceed.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Option<Duration> {
        let last = self.latencies.len().checked_sub(1)?;
        self.latencies.get(last * percent.min(100) / 100).copied()
    }

    fn merge(&mut self, other: Self) {
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        for (error, count) in other.errors {
            *self.errors.entry(error).or_default() += count;
        }
        self.latencies.extend(other.latencies);
    }
}

/// An HTTP client as the load has it.
pub fn client(connections: Connections) -> Result<Client> {
    let mut builder = Client::builder().no_proxy().timeout(REQUEST_LIMIT);
    if connections == Connections::PerRequest {
        builder = builder.pool_max_idle_per_host(0);
    }
    builder.build().context("cannot make an HTTP client")
}

/// Sends requests from concurrent clients until time or count is used up. `request` makes the one
/// with the given number; an answer counts once its body has arrived.
///
/// Cancel safety: when dropped, requests in flight are abandoned.
pub async fn run(
    load: Load,
    request: impl Fn(&Client, usize) -> RequestBuilder + Send + Sync + 'static,
) -> Result<Outcome> {
    start(load, request)?.ended().await
}

/// Clients that ask while something else happens. When dropped, requests in flight are abandoned.
#[derive(Debug)]
pub struct Running {
    clients: tokio::task::JoinSet<Outcome>,
    begin: Instant,
    stop: Arc<AtomicBool>,
    next: Arc<AtomicUsize>,
}

impl Running {
    /// How many requests have been sent so far.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.next.load(Ordering::Relaxed)
    }

    /// No new requests; waits for the answers that are under way.
    pub async fn finish(self) -> Result<Outcome> {
        self.stop.store(true, Ordering::Relaxed);
        self.ended().await
    }

    async fn ended(mut self) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        while let Some(finished) = self.clients.join_next().await {
            outcome.merge(finished.context("a client panicked")?);
        }
        outcome.elapsed = self.begin.elapsed();
        outcome.latencies.sort_unstable();
        Ok(outcome)
    }
}

/// The same as [`run`], in the background.
///
/// Has to be called in a tokio runtime.
pub fn start(
    load: Load,
    request: impl Fn(&Client, usize) -> RequestBuilder + Send + Sync + 'static,
) -> Result<Running> {
    let stop = Arc::new(AtomicBool::new(false));
    let request = Arc::new(request);
    let next = Arc::new(AtomicUsize::new(0));
    let begin = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..load.clients {
        let client = client(load.connections)?;
        let (request, next) = (Arc::clone(&request), Arc::clone(&next));
        let stop = Arc::clone(&stop);
        clients.spawn(async move {
            let mut outcome = Outcome::default();
            while begin.elapsed() < load.time && !stop.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= load.requests {
                    break;
                }
                outcome.record(request(&client, number)).await;
            }
            outcome
        });
    }
    Ok(Running {
        clients,
        begin,
        stop,
        next,
    })
}

impl Outcome {
    async fn record(&mut self, request: RequestBuilder) {
        let asked = Instant::now();
        let answer = async {
            let response = request.send().await?;
            let status = response.status().as_u16();
            response.bytes().await?;
            Ok::<_, reqwest::Error>(status)
        };
        match answer.await {
            Ok(status) => {
                *self.statuses.entry(status).or_default() += 1;
                self.latencies.push(asked.elapsed());
            }
            Err(error) => *self.errors.entry(cause(&error)).or_default() += 1,
        }
    }
}

/// The innermost cause, which says most ("connection reset by peer").
fn cause(error: &reqwest::Error) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn refused_connections_are_counted_by_their_cause() {
        let port = crate::ports::free_port().unwrap();
        let load = Load {
            clients: 3,
            connections: Connections::PerRequest,
            time: Duration::from_secs(10),
            requests: 7,
        };
        let url = format!("http://127.0.0.1:{port}/");
        let outcome = run(load, move |client, _| client.get(&url)).await.unwrap();
        assert_eq!((outcome.succeeded(), outcome.failed()), (0, 7));
        assert!(
            outcome.errors.keys().all(|cause| cause.contains("refused")),
            "{outcome:?}"
        );
    }
}
