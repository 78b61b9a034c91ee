//! People who use the desk all the while, and what became of each thing they asked.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use poolwright_testkit::load::{self, Connections};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How many of each kind: with a connection that is kept, and with one for each request.
const OF_EACH_KIND: usize = 5;
/// How long each thinks between an answer and the next question.
const THINKS: Duration = Duration::from_millis(15);
/// One request of this many places an order.
const PLACES_ONE_IN: usize = 20;
/// One order of this many is of an item that takes its time: a query of seconds in the worker's own session.
const SLOW_ONE_IN: usize = 4;
/// So many requests, and the next ones are the same again.
const ROUND: usize = PLACES_ONE_IN * SLOW_ONE_IN;
pub(super) const SLOW: &str = "Slow roast";

const TENANT: &str = "11111111-1111-4111-8111-111111111111";

/// Users at work. Dropped, they leave.
#[derive(Debug)]
pub(super) struct Users {
    tasks: JoinSet<()>,
    leave: watch::Sender<bool>,
    asked: Arc<Mutex<Asked>>,
}

/// What became of it.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// How many requests were answered as they should be.
    pub(super) answered: usize,
    /// The orders that were accepted.
    pub(super) accepted: Vec<String>,
    /// The others.
    pub(super) failed: Vec<Failed>,
}

/// A request without its answer.
#[derive(Debug, Clone)]
pub(super) struct Failed {
    pub(super) began: Instant,
    pub(super) cause: String,
}

impl Users {
    pub(super) fn begin(url: &str) -> Result<Self> {
        let (leave, stay) = watch::channel(false);
        let asked = Arc::new(Mutex::new(Asked::default()));
        let mut tasks = JoinSet::new();
        let kinds = [Connections::KeepAlive, Connections::PerRequest];
        for (number, kind) in kinds.into_iter().cycle().take(2 * OF_EACH_KIND).enumerate() {
            let client = load::client(kind)?;
            let (url, stay, asked) = (url.to_owned(), stay.clone(), Arc::clone(&asked));
            tasks.spawn(async move {
                // Each at another place of the round: there is somebody who places an order at any time.
                let mut next = number * ROUND / (2 * OF_EACH_KIND);
                while !*stay.borrow() {
                    next += 1;
                    ask(&client, &url, next, &asked).await;
                    tokio::time::sleep(THINKS).await;
                }
            });
        }
        Ok(Self {
            tasks,
            leave,
            asked,
        })
    }

    /// What failed so far and was not taken before.
    pub(super) fn failures(&self) -> Vec<Failed> {
        std::mem::take(&mut lock(&self.asked).failed)
    }

    /// How many requests have been answered so far.
    pub(super) fn answered(&self) -> usize {
        lock(&self.asked).answered
    }

    /// Has everybody get the answer that is under way, and leave.
    pub(super) async fn leave(mut self) -> Result<Asked> {
        self.leave.send_replace(true);
        while let Some(user) = self.tasks.join_next().await {
            user.context("a user panicked")?;
        }
        Ok(std::mem::take(&mut *lock(&self.asked)))
    }
}

async fn ask(client: &Client, url: &str, number: usize, asked: &Mutex<Asked>) {
    let began = Instant::now();
    let answer = match number.is_multiple_of(PLACES_ONE_IN) {
        true => {
            let slow = number.is_multiple_of(ROUND);
            let item = if slow { SLOW } else { "Espresso beans" };
            place(client, url, item).await.map(Some)
        }
        false => list(client, url).await.map(|()| None),
    };
    let mut asked = lock(asked);
    match answer {
        Ok(order) => {
            asked.answered += 1;
            asked.accepted.extend(order);
        }
        Err(error) => asked.failed.push(Failed {
            began,
            cause: format!("{error:#}"),
        }),
    }
}

async fn place(client: &Client, url: &str, item: &str) -> Result<String> {
    let request = client
        .request(Method::POST, url)
        .header("x-tenant-id", TENANT);
    let order = json!({ "item": item, "quantity": 2 });
    let answer = request.json(&order).send().await?;
    let (status, body) = (answer.status(), answer.text().await?);
    ensure!(status == 202, "{status}: {body}");
    let body: Value = serde_json::from_str(&body)?;
    let order = body["order_id"].as_str();
    Ok(order
        .with_context(|| format!("no order_id: {body}"))?
        .to_owned())
}

async fn list(client: &Client, url: &str) -> Result<()> {
    let answer = client.get(url).header("x-tenant-id", TENANT).send().await?;
    let (status, body) = (answer.status(), answer.text().await?);
    ensure!(status == 200, "{status}: {body}");
    Ok(())
}

fn lock(asked: &Mutex<Asked>) -> std::sync::MutexGuard<'_, Asked> {
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}
