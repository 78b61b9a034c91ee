//! The order desk over HTTP, as `apps/README.md` promises it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use poolwright_testkit::load::{self, Connections};
use poolwright_testkit::wait::Seen;
use poolwright_testkit::wait_until;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

/// How many requests at once are enough to reach every worker of a shared socket soon.
const BURST: usize = 16;

/// A client of one fleet.
#[derive(Debug, Clone)]
pub struct Desk {
    client: Client,
    base: String,
}

/// An answer of the desk.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Who answered (`x-worker`).
    pub worker: String,
    /// The body, when it is JSON.
    pub body: Value,
}

impl Desk {
    /// The desk on this port of 127.0.0.1. Every request opens a connection, so that every worker
    /// gets its share.
    pub fn new(port: u16) -> Result<Self> {
        let client = load::client(Connections::PerRequest)?;
        let base = format!("http://127.0.0.1:{port}");
        Ok(Self { client, base })
    }

    /// The address of a route.
    #[must_use]
    pub fn url(&self, route: &str) -> String {
        format!("{}{route}", self.base)
    }

    /// A request, of a tenant or of nobody.
    pub fn request(&self, method: Method, route: &str, tenant: Option<&str>) -> RequestBuilder {
        let request = self.client.request(method, self.url(route));
        match tenant {
            Some(tenant) => request.header("x-tenant-id", tenant),
            None => request,
        }
    }

    /// Asks a route.
    pub async fn get(&self, route: &str, tenant: Option<&str>) -> Result<Answer> {
        answer(self.request(Method::GET, route, tenant)).await
    }

    /// Places an order.
    pub async fn place(&self, item: &str, quantity: u32, tenant: Option<&str>) -> Result<Answer> {
        let request = self.request(Method::POST, "/api/orders", tenant);
        answer(request.json(&json!({ "item": item, "quantity": quantity }))).await
    }

    /// Places an order that has to be accepted; answers with its id.
    pub async fn placed(&self, item: &str, tenant: &str) -> Result<String> {
        let answer = self.place(item, 1, Some(tenant)).await?;
        ensure!(
            answer.status == 202,
            "an order was not accepted: {answer:?}"
        );
        let id = answer.body["order_id"].as_str();
        Ok(id
            .with_context(|| format!("no order_id: {answer:?}"))?
            .to_owned())
    }

    /// Waits until an order is shipped and its workflow is done; answers with the whole of it.
    pub async fn shipped(&self, id: &str, tenant: &str, limit: Duration) -> Result<Value> {
        let route = format!("/api/orders/{id}");
        wait_until(
            "the order is shipped and its workflow is done",
            limit,
            async || match self.get(&route, Some(tenant)).await {
                Ok(Answer { body, .. })
                    if body["order"]["status"] == "shipped"
                        && body["workflow"]["status"] == "SUCCESS" =>
                {
                    Seen::Yes(body)
                }
                other => Seen::NotYet(other),
            },
        )
        .await
    }

    /// Waits until `workers` different slots have said on `/readyz` that they are ready.
    pub async fn ready_workers(
        &self,
        workers: usize,
        limit: Duration,
    ) -> Result<BTreeMap<String, Value>> {
        self.from_every_worker("/readyz", workers, limit)
            .await
            .with_context(|| format!("not all of {workers} workers are ready"))
    }

    /// Asks a route until `workers` different workers have answered with 200; answers by slot.
    pub async fn from_every_worker(
        &self,
        route: &str,
        workers: usize,
        limit: Duration,
    ) -> Result<BTreeMap<String, Value>> {
        let mut answers = BTreeMap::new();
        wait_until(
            &format!("{workers} workers answer {route}"),
            limit,
            async || {
                let burst = (0..BURST).map(|_| self.get(route, None));
                let mut last = None;
                for answer in futures::future::join_all(burst).await {
                    match answer {
                        Ok(Answer {
                            status: 200,
                            worker,
                            body,
                        }) => {
                            answers.insert(worker, body);
                        }
                        other => last = Some(other),
                    }
                }
                if answers.len() >= workers {
                    Seen::Yes(std::mem::take(&mut answers))
                } else {
                    Seen::NotYet((answers.keys().cloned().collect::<Vec<_>>(), last))
                }
            },
        )
        .await
    }
}

async fn answer(request: RequestBuilder) -> Result<Answer> {
    let response = request.send().await?;
    let status = response.status().as_u16();
    let worker = response.headers().get("x-worker");
    let worker = worker
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let text = response.text().await?;
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Ok(Answer {
        status,
        worker,
        body,
    })
}
