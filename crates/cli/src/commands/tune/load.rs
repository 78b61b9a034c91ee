//! Asking a fleet: by clients of our own, or by somebody else's command.

use crate::failure::Failure;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Url};
use serde::Serialize;
use std::time::Duration;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// What is asked before it counts: pools and caches fill.
const WARM_UP: Duration = Duration::from_secs(1);

/// A request that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// The size that a command is run for.
const SIZE: &str = "POOLWRIGHT_POOL_MAX";

/// What is asked.
pub(super) enum Load {
    /// Our own clients, each again as soon as it is answered.
    Requests {
        request: Box<Request>,
        clients: u16,
        time: Duration,
    },
    /// A command, whose time is what counts.
    Command(String),
}

/// One request, as often as needed.
#[derive(Debug, Clone)]
pub(super) struct Request {
    url: Url,
    method: Method,
    headers: HeaderMap,
    body: Option<String>,
}

/// What came of a load.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Measured {
    /// Requests with an answer of 2xx or 3xx, or runs of the command, in a second.
    pub(super) per_second: f64,
    /// The median time of an answer, in milliseconds; none of a command.
    pub(super) median_ms: Option<f64>,
    /// The 99th percentile.
    pub(super) p99_ms: Option<f64>,
    /// Requests without such an answer.
    pub(super) failed: u64,
}

impl Request {
    pub(super) fn read(
        url: &str,
        method: &str,
        headers: &[String],
        body: Option<&str>,
    ) -> Result<Self, Failure> {
        let mut mistakes = Vec::new();
        let found = Url::parse(url).ok();
        let found = found.filter(|url| url.scheme() == "http" && url.has_host());
        if found.is_none() {
            mistakes.push("--url: expected http://host:port/path".to_owned());
        }
        let method_read = Method::from_bytes(method.as_bytes());
        if method_read.is_err() {
            mistakes.push(format!("--method: found {method:?}, expected GET, POST, …"));
        }
        let mut all = HeaderMap::new();
        for header in headers {
            let pair = header.split_once(':').and_then(|(name, value)| {
                let name: HeaderName = name.trim().parse().ok()?;
                Some((name, HeaderValue::from_str(value.trim()).ok()?))
            });
            match pair {
                Some((name, value)) => drop(all.append(name, value)),
                // Its value may be a token.
                None => mistakes.push("--header: expected 'name: value'".to_owned()),
            }
        }
        match (found, method_read) {
            (Some(url), Ok(method)) if mistakes.is_empty() => Ok(Self {
                url,
                method,
                headers: all,
                body: body.map(str::to_owned),
            }),
            _ => Err(Failure::declaration(mistakes.join("; "))),
        }
    }

    fn send(&self, client: &Client) -> reqwest::RequestBuilder {
        let request = client
            .request(self.method.clone(), self.url.clone())
            .headers(self.headers.clone());
        match &self.body {
            Some(body) => request.body(body.clone()),
            None => request,
        }
    }
}

impl Measured {
    pub(super) fn in_words(&self) -> String {
        let failed = match self.failed {
            0 => String::new(),
            n => format!(", {n} failed"),
        };
        format!("{:.2} per second{failed}", self.per_second)
    }
}

impl Load {
    /// Asks. Cancel safe: requests in flight are dropped, a command is killed.
    pub(super) async fn run(&self, size: u32) -> Result<Measured, Failure> {
        match self {
            Self::Command(command) => run_command(command, size).await,
            Self::Requests {
                request,
                clients,
                time,
            } => {
                ask(request, *clients, WARM_UP).await?;
                ask(request, *clients, *time).await
            }
        }
    }
}

async fn run_command(command: &str, size: u32) -> Result<Measured, Failure> {
    let begin = Instant::now();
    let status = Command::new("sh")
        .args(["-c", command])
        .env(SIZE, size.to_string())
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .map_err(Failure::source("running --command"))?;
    let seconds = begin.elapsed().as_secs_f64();
    match status.success() {
        true => Ok(Measured {
            per_second: 1.0 / seconds,
            median_ms: None,
            p99_ms: None,
            failed: 0,
        }),
        false => Err(Failure::said(format!(
            "the command ended with {status} at {size} connections, expected 0"
        ))),
    }
}

async fn ask(request: &Request, clients: u16, time: Duration) -> Result<Measured, Failure> {
    let end = Instant::now() + time;
    let begin = Instant::now();
    let mut asking = JoinSet::new();
    for _ in 0..clients {
        let client = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(Failure::source("making an HTTP client"))?;
        let request = request.clone();
        asking.spawn(async move {
            let mut times = Vec::new();
            let mut failed = 0_u64;
            while Instant::now() < end {
                let asked = Instant::now();
                match timeout(PATIENCE, answered(request.send(&client))).await {
                    Ok(true) => times.push(asked.elapsed()),
                    Ok(false) | Err(_) => failed += 1,
                }
            }
            (times, failed)
        });
    }
    let mut times = Vec::new();
    let mut failed = 0;
    while let Some(client) = asking.join_next().await {
        let (its, without) = client.map_err(Failure::source("asking"))?;
        times.extend(its);
        failed += without;
    }
    let seconds = begin.elapsed().as_secs_f64();
    times.sort_unstable();
    let answers = u32::try_from(times.len()).unwrap_or(u32::MAX);
    let at = |percent: usize| {
        let last = times.len().checked_sub(1)?;
        let time = times.get(last * percent / 100)?;
        Some(time.as_secs_f64() * 1000.0)
    };
    Ok(Measured {
        per_second: f64::from(answers) / seconds,
        median_ms: at(50),
        p99_ms: at(99),
        failed,
    })
}

/// Whether an answer came, and a good one. Refused at once, it is asked again only after a moment: that is no load.
async fn answered(request: reqwest::RequestBuilder) -> bool {
    let Ok(answer) = request.send().await else {
        tokio::time::sleep(Duration::from_millis(20)).await;
        return false;
    };
    let good = answer.status().is_success() || answer.status().is_redirection();
    answer.bytes().await.is_ok() && good
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_of_a_request_is_told_and_no_token() {
        let headers = ["authorization Bearer s3cret".to_owned()];
        let said = Request::read("https://h/", "G T", &headers, None).unwrap_err();
        let said = said.words();
        for part in ["--url", "--method", "--header"] {
            assert!(said.contains(part), "{said}");
        }
        assert!(!said.contains("s3cret"), "{said}");
    }

    #[tokio::test]
    async fn a_command_is_measured_by_its_time_and_told_the_size() {
        let load = Load::Command(format!("test \"${SIZE}\" = 4"));
        let measured = load.run(4).await.unwrap();
        assert!(measured.per_second > 0.0 && measured.failed == 0);
        let failure = load.run(5).await.unwrap_err().words();
        assert!(failure.contains("at 5 connections"), "{failure}");
    }
}
