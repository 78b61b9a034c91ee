//! What telemetry's claims share: a worker that exports, and what a collector was sent of one trace.

use std::collections::BTreeSet;
use std::time::Duration;

use acceptance::{Desk, Setup, Stack};
use anyhow::{Context, Result, ensure};
use poolwright_testkit::collector::Span;
use poolwright_testkit::wait::Seen;
use poolwright_testkit::{Collector, Process, ports, wait_until};
use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};

pub(crate) const TENANT: &str = "11111111-1111-4111-8111-111111111111";
pub(crate) const ITEM: &str = "a very special item";

/// The trace and the span of whoever calls, as W3C's header has them.
pub(crate) const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// A start, a workflow or a batch of telemetry, on two busy cores.
pub(crate) const SOON: Duration = Duration::from_secs(30);

pub(crate) const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// One worker without a manager, and whoever talks to it.
pub(crate) struct Bare {
    pub(crate) worker: Process,
    pub(crate) desk: Desk,
}

/// A prepared database for bare workers that send to this endpoint, and do so at once.
pub(crate) async fn exporting(stack: Stack, endpoint: &str) -> Result<Setup> {
    settings(Setup::new(stack).await?, endpoint)
        .prepared()
        .await
}

pub(crate) fn settings(setup: Setup, endpoint: &str) -> Setup {
    setup
        .env(ENDPOINT, endpoint)
        .env("OTEL_BSP_SCHEDULE_DELAY", "100")
        .env("OTEL_METRIC_EXPORT_INTERVAL", "300")
}

impl Bare {
    pub(crate) async fn start(setup: &Setup, changes: &[(&str, Option<&str>)]) -> Result<Self> {
        let port = ports::free_port()?;
        let text = port.to_string();
        let mut changes = changes.to_vec();
        changes.push(("PORT", Some(&text)));
        let worker = setup.bare_worker(&changes)?;
        let desk = Desk::new(port)?;
        if let Err(error) = desk.ready_workers(1, SOON).await {
            return Err(error.context(worker.tail()));
        }
        Ok(Self { worker, desk })
    }

    /// Stops it in order; answers with everything that it said.
    pub(crate) async fn stop(mut self) -> Result<Vec<String>> {
        self.worker.signal(Signal::TERM)?;
        let status = self.worker.exited(SOON).await?;
        ensure!(status.success(), "{status}: {}", self.worker.tail());
        Ok(self.worker.lines())
    }
}

/// Places an order as part of the caller's trace; answers with its id.
pub(crate) async fn placed_in_the_trace(desk: &Desk) -> Result<String> {
    let request = desk.request(Method::POST, "/api/orders", Some(TENANT));
    let request = request.header("traceparent", traceparent());
    let answer = request.json(&json!({ "item": ITEM, "quantity": 7 }));
    let body: Value = answer.send().await?.json().await?;
    let id = body["order_id"].as_str();
    Ok(id.with_context(|| format!("no order: {body}"))?.to_owned())
}

pub(crate) fn traceparent() -> String {
    format!("00-{TRACE}-{CALLER}-01")
}

pub(crate) fn of_the_trace(collector: &Collector) -> Vec<Span> {
    let mut spans = collector.spans();
    spans.retain(|span| span.trace_id == TRACE);
    spans
}

/// The caller's trace once the workflow's span has come, which is last, and with it every span's parent.
pub(crate) async fn whole_trace(collector: &Collector) -> Result<Vec<Span>> {
    wait_until("one connected trace with its workflow", SOON, async || {
        let spans = of_the_trace(collector);
        let ids: BTreeSet<&str> = spans.iter().map(|span| span.span_id.as_str()).collect();
        let roots: Vec<&Span> = spans
            .iter()
            .filter(|span| !ids.contains(span.parent_span_id.as_str()))
            .collect();
        let connected = matches!(roots[..], [root] if root.parent_span_id == CALLER);
        if connected && named(&spans, "fulfil").is_some() {
            Seen::Yes(spans.clone())
        } else {
            Seen::NotYet(tree(&spans))
        }
    })
    .await
}

pub(crate) fn named<'a>(spans: &'a [Span], name: &str) -> Option<&'a Span> {
    spans.iter().find(|span| span.name == name)
}

pub(crate) fn only<'a>(spans: &'a [Span], name: &str) -> Result<&'a Span> {
    let mut all = spans.iter().filter(|span| span.name == name);
    let first = all.next();
    let first = first.with_context(|| format!("no span {name} in {:#?}", tree(spans)))?;
    ensure!(
        all.next().is_none(),
        "more than one span {name} in {:#?}",
        tree(spans)
    );
    Ok(first)
}

pub(crate) fn is_below(spans: &[Span], span: &Span, above: &Span) -> bool {
    let mut at = span;
    loop {
        if at.parent_span_id == above.span_id {
            return true;
        }
        match spans
            .iter()
            .find(|parent| parent.span_id == at.parent_span_id)
        {
            Some(parent) => at = parent,
            None => return false,
        }
    }
}

/// Each span with its ancestors, for errors.
pub(crate) fn tree(spans: &[Span]) -> Vec<String> {
    let of_span = |span: &Span| {
        let mut path = vec![span.name.clone()];
        let mut at = span;
        while let Some(parent) = spans.iter().find(|s| s.span_id == at.parent_span_id) {
            path.push(parent.name.clone());
            at = parent;
        }
        path.push(at.parent_span_id.clone());
        path.join(" < ")
    };
    spans.iter().map(of_span).collect()
}

/// The newest number of a metric of a slot's pool.
pub(crate) fn latest(
    collector: &Collector,
    metric: &str,
    slot: &str,
    pool: &str,
    state: Option<&str>,
) -> Option<f64> {
    let points = collector.points().into_iter().filter(|point| {
        point.metric == metric
            && point.resource["service.instance.id"] == slot
            && point.attributes["db.client.connection.pool.name"] == pool
            && state.is_none_or(|state| point.attributes["db.client.connection.state"] == state)
    });
    points.max_by_key(|point| point.at).map(|point| point.value)
}
