//! What can be asked for. All of it is documented in `docs/observe.md`.

use super::Feed;
use super::access::{Access, Refused, error, guard};
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use poolwright_supervisor::control::SlotFailure;
use poolwright_topology::picture::View;
use poolwright_topology::tag::{Name, SlotId};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// The largest body that is read, in bytes: a name and a number.
const BODY: usize = 4096;

/// How long a stream may be silent: while nothing is looked at yet, or Postgres takes its time.
const SILENCE: Duration = Duration::from_secs(10);

/// The page: as it was written, none of it made by anything.
const FILES: [(&str, &str, &str); 8] = [
    ("/", HTML, include_str!("page/page.html")),
    ("/page.css", CSS, include_str!("page/page.css")),
    ("/page.js", SCRIPT, include_str!("page/page.js")),
    ("/dom.js", SCRIPT, include_str!("page/dom.js")),
    ("/fleet.js", SCRIPT, include_str!("page/fleet.js")),
    ("/plots.js", SCRIPT, include_str!("page/plots.js")),
    ("/tables.js", SCRIPT, include_str!("page/tables.js")),
    ("/topology.js", SCRIPT, include_str!("page/topology.js")),
];
const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const ICON: &str = include_str!("page/icon.svg");

#[derive(Clone)]
struct Shared {
    feed: Arc<Feed>,
    access: Arc<Access>,
}

/// Every route, behind the guard.
pub(super) fn all(feed: Arc<Feed>, access: Access) -> Router {
    let access = Arc::new(access);
    let shared = Shared {
        feed,
        access: Arc::clone(&access),
    };
    let mut routes = Router::new();
    for (path, kind, text) in FILES {
        let file = ([(header::CONTENT_TYPE, kind)], text);
        routes = routes.route(path, get(async move || file));
    }
    let icon = ([(header::CONTENT_TYPE, "image/svg+xml")], ICON);
    routes
        .route("/icon.svg", get(async move || icon))
        .route("/metrics", get(metrics))
        .route("/api/picture", get(picture))
        .route("/api/sessions/{slot}", get(sessions))
        .route("/api/history", get(history))
        .route("/api/events", get(events))
        .route("/api/reload", post(reload))
        .route("/api/scale", post(scale))
        .fallback(nothing)
        .method_not_allowed_fallback(not_so)
        .with_state(shared)
        .layer(DefaultBodyLimit::max(BODY))
        .layer(middleware::from_fn_with_state(access, guard))
}

async fn metrics(State(shared): State<Shared>) -> Response {
    const KIND: &str = "text/plain; version=0.0.4; charset=utf-8";
    match shared.feed.view() {
        Some(view) => ([(header::CONTENT_TYPE, KIND)], view.picture.prometheus()).into_response(),
        None => not_yet(),
    }
}

async fn picture(State(shared): State<Shared>) -> Response {
    match shared.feed.view() {
        Some(view) => Json(&view.picture).into_response(),
        None => not_yet(),
    }
}

async fn sessions(State(shared): State<Shared>, Path(slot): Path<String>) -> Response {
    let Some(view) = shared.feed.view() else {
        return not_yet();
    };
    let slot = slot.parse::<SlotId>().ok();
    match slot.filter(|slot| is_there(&view, slot)) {
        Some(slot) => {
            let sessions = view.sessions.get(&slot).map(Vec::as_slice);
            Json(json!({ "slot": slot, "sessions": sessions.unwrap_or_default() })).into_response()
        }
        None => error(StatusCode::NOT_FOUND, "there is no such slot"),
    }
}

fn is_there(view: &View, slot: &SlotId) -> bool {
    let mut slots = view.picture.apps.iter().flat_map(|app| &app.slots);
    slots.any(|found| found.status.slot == *slot)
}

async fn history(State(shared): State<Shared>) -> Response {
    match shared.feed.last_hour() {
        Some(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        None => not_yet(),
    }
}

async fn events(State(shared): State<Shared>) -> Response {
    let events = shared.feed.watch(shared.access.writes());
    let alive = KeepAlive::new().interval(SILENCE);
    Sse::new(events).keep_alive(alive).into_response()
}

/// A request that may change the fleet. Taken before the body is looked at.
struct Authorised;

impl FromRequestParts<Shared> for Authorised {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Refused> {
        shared.access.authorise(&parts.headers).map(|()| Self)
    }
}

/// `{}`: a body at all, so that no form of another page's can send one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reload {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scale {
    app: Name,
    instances: u32,
}

/// Answers when it has ended. It goes on when whoever asked goes away.
async fn reload(
    State(shared): State<Shared>,
    _: Authorised,
    body: Result<Json<Reload>, JsonRejection>,
) -> Response {
    match body {
        Ok(Json(Reload {})) => ended(shared.feed.inquirer().reload().await),
        Err(rejection) => error(rejection.status(), rejection.body_text()),
    }
}

async fn scale(
    State(shared): State<Shared>,
    _: Authorised,
    body: Result<Json<Scale>, JsonRejection>,
) -> Response {
    match body {
        Ok(Json(Scale { app, instances })) => {
            ended(shared.feed.inquirer().scale(app, instances).await)
        }
        Err(rejection) => error(rejection.status(), rejection.body_text()),
    }
}

/// The same whether it failed or not: what was asked for has been tried, and `failure` says how it went.
fn ended(outcome: Result<Option<SlotFailure>, String>) -> Response {
    match outcome {
        Ok(failure) => Json(json!({ "failure": failure })).into_response(),
        Err(reason) => error(StatusCode::CONFLICT, reason),
    }
}

fn not_yet() -> Response {
    let reason = "the fleet has not been looked at yet; ask again in a second";
    error(StatusCode::SERVICE_UNAVAILABLE, reason)
}

async fn nothing() -> Response {
    let reason = "there is nothing here; docs/observe.md has what there is";
    error(StatusCode::NOT_FOUND, reason)
}

async fn not_so() -> Response {
    let reason = "found another method; what reads takes GET, what changes takes POST";
    error(StatusCode::METHOD_NOT_ALLOWED, reason)
}
