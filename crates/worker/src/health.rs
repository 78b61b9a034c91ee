//! The routes that every worker answers, whatever its service does: liveness, readiness, metrics.

use crate::executor::Executor;
use crate::gauges::{Gauges, Reading};
use crate::metrics::{Metrics, prometheus};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long readiness waits for the DBOS pool to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// What the routes need of the worker.
#[derive(Debug, Clone)]
pub struct Health {
    pub(crate) executor: &'static Executor,
    pub(crate) gauges: Gauges,
    pub(crate) draining: CancellationToken,
}

#[derive(Debug, Deserialize)]
struct Format {
    format: Option<String>,
}

/// `GET /healthz`, `/readyz` and `/metrics`.
pub fn routes(health: Health) -> Router {
    Router::new()
        .route("/healthz", get(|| async { Json(json!({"status": "ok"})) }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health)
}

async fn ready(State(health): State<Health>) -> Response {
    let reading = health.gauges.read().await;
    let status = if health.draining.is_cancelled() {
        "draining"
    } else if reading.answered && dbos_answers(health.executor).await {
        "ready"
    } else {
        "unavailable"
    };
    let code = match status {
        "ready" => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, Json(body(status, &health, &reading))).into_response()
}

fn body(status: &str, health: &Health, reading: &Reading) -> Value {
    let identity = &health.executor.settings().identity;
    json!({
        "status": status,
        "slot": identity.slot().to_string(),
        "executor_id": identity.executor_id(),
        "pid": identity.pid(),
        "pools": reading.by_name(),
    })
}

async fn dbos_answers(executor: &Executor) -> bool {
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, executor.answers()).await;
    matches!(answer, Ok(Ok(())))
}

async fn metrics(State(health): State<Health>, Query(query): Query<Format>) -> Response {
    let reading = health.gauges.read().await;
    let opened = health.gauges.orm_opened_total();
    if query.format.as_deref() == Some("json") {
        return Json(Metrics::of(&reading, opened)).into_response();
    }
    let slot = health.executor.settings().identity.slot().to_string();
    let text = prometheus(&slot, &reading, opened);
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
        .into_response()
}
