//! OpenTelemetry: what a collector gets from both stacks over HTTP, and that nobody notices when there is none.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use acceptance::{Cell, Desk, Fleet, Manager, Setup, Stack};
use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use poolwright_testkit::collector::{Point, Span};
use poolwright_testkit::sampler::Backend;
use poolwright_testkit::wait::Seen;
use poolwright_testkit::{Collector, Process, ports, sampler, wait_until};
use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use sqlx::Connection;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::reload::under_poolwright;

acceptance::both_stacks!(
    a_request_that_starts_a_workflow_is_one_connected_trace,
    a_workflow_that_another_process_finishes_stays_in_the_trace_of_its_request,
    the_exported_pools_agree_with_postgres_at_rest_and_at_work,
    a_caller_who_is_lent_no_connection_is_counted_and_its_line_in_the_log_has_its_trace,
    a_burst_is_told_of_by_a_few_whole_traces,
    a_collector_is_trusted_by_the_certificate_that_is_named_and_only_then,
    a_collector_that_is_down_costs_one_line,
    a_collector_that_never_answers_holds_no_request_and_no_drain_up,
    without_an_endpoint_nothing_is_exported_and_nothing_of_it_is_there,
);

const TENANT: &str = "11111111-1111-4111-8111-111111111111";
const ITEM: &str = "a very special item";

/// The trace and the span of whoever calls, as W3C's header has them.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// A start, a workflow or a batch of telemetry, on two busy cores.
const SOON: Duration = Duration::from_secs(30);

/// What a drain pauses for idle connections, what it gives the last telemetry, and a busy machine on top.
const DRAINED: Duration = Duration::from_secs(9);

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";
const SERVER: i32 = 2;

/// One worker without a manager, and whoever talks to it.
struct Bare {
    worker: Process,
    desk: Desk,
}

async fn a_request_that_starts_a_workflow_is_one_connected_trace(stack: Stack) -> Result<()> {
    let collector = Collector::start().await?;
    let setup = exporting(stack, collector.url()).await?;
    let bare = Bare::start(&setup, &[]).await?;
    let order = placed_in_the_trace(&bare.desk).await?;
    bare.desk.shipped(&order, TENANT, SOON).await?;

    let spans = whole_trace(&collector).await?;
    let request = only(&spans, "POST /api/orders")?;
    ensure!(request.kind == SERVER, "{request:#?}");
    ensure!(
        request.attributes["http.route"] == "/api/orders",
        "{request:#?}"
    );
    ensure!(
        request.attributes["http.response.status_code"] == 202,
        "{request:#?}"
    );
    let workflow = only(&spans, "fulfil")?;
    let id = format!("order-{order}");
    ensure!(
        workflow.attributes["dbos.operation.workflow_id"] == id,
        "{workflow:#?}"
    );
    for step in ["reserve", "charge", "ship"] {
        let span = only(&spans, step)?;
        ensure!(
            span.parent_span_id == workflow.span_id,
            "{span:#?} of {workflow:#?}"
        );
        ensure!(
            span.attributes["dbos.operation.type"] == "step",
            "{span:#?}"
        );
        let queries = spans.iter().filter(|query| {
            query.attributes.contains_key("db.query.text") && is_below(&spans, query, span)
        });
        ensure!(
            queries.count() >= 2,
            "no queries below {step}: {:#?}",
            tree(&spans)
        );
    }
    let inserts = spans
        .iter()
        .filter(|span| span.attributes.contains_key("db.query.text"))
        .filter(|span| is_below(&spans, span, request) && !is_below(&spans, span, workflow));
    ensure!(
        inserts.count() >= 1,
        "no query of the request: {:#?}",
        tree(&spans)
    );
    no_values_in_queries(&spans, &order)?;
    says_who_it_is(&spans, &bare.worker)?;
    bare.stop().await?;
    setup.server.stop().await
}

/// PM2 hands its environment on, and its cluster accepts the connections of its workers.
#[tokio::test]
async fn under_pm2_too_a_request_that_starts_a_workflow_is_one_connected_trace() -> Result<()> {
    let collector = Collector::start().await?;
    let cell = Cell {
        stack: Stack::Sveltekit,
        manager: Manager::Pm2,
    };
    let setup = exporting(cell.stack, collector.url()).await?;
    let fleet = Fleet::from(cell, setup, 3).await?;
    let order = placed_in_the_trace(&fleet.desk).await?;
    fleet.desk.shipped(&order, TENANT, SOON).await?;
    let spans = whole_trace(&collector).await?;
    let workflow = only(&spans, "fulfil")?;
    let slot = workflow.resource["service.instance.id"].clone();
    let slots = ["web-0", "web-1", "web-2"];
    ensure!(slots.iter().any(|name| slot == *name), "{workflow:#?}");
    let senders = spans
        .iter()
        .map(|span| &span.resource["service.instance.id"]);
    ensure!(senders.clone().all(|sender| *sender == slot), "{spans:#?}");
    fleet.stop().await
}

/// Killed between two steps; whoever starts under its id goes on, and its spans with it.
async fn a_workflow_that_another_process_finishes_stays_in_the_trace_of_its_request(
    stack: Stack,
) -> Result<()> {
    let collector = Collector::start().await?;
    let setup = exporting(stack, collector.url()).await?;
    let setup = setup.env("FULFIL_SLEEP_MS", "3000");
    let mut first = Bare::start(&setup, &[]).await?;
    let order = placed_in_the_trace(&first.desk).await?;
    // All that comes before the workflow sleeps has arrived; the workflow's own span has not, it is not over.
    wait_until(
        "the trace up to the second step",
        SOON,
        async || match of_the_trace(&collector) {
            spans
                if named(&spans, "charge").is_some()
                    && named(&spans, "POST /api/orders").is_some() =>
            {
                Seen::Yes(())
            }
            spans => Seen::NotYet(tree(&spans)),
        },
    )
    .await?;
    first.worker.signal(Signal::KILL)?;
    first.worker.exited(SOON).await?;

    let second = Bare::start(&setup, &[]).await?;
    second.desk.shipped(&order, TENANT, SOON).await?;
    let ship = wait_until(
        "the last step in the trace of the request",
        SOON,
        async || {
            let spans = of_the_trace(&collector);
            let ship = named(&spans, "ship").cloned();
            match ship.filter(|ship| {
                let request = named(&spans, "POST /api/orders");
                request.is_some_and(|request| is_below(&spans, ship, request))
            }) {
                Some(ship) => Seen::Yes(ship),
                None => Seen::NotYet(tree(&spans)),
            }
        },
    )
    .await?;
    let pid = second.worker.pid().context("the worker has ended")?;
    ensure!(ship.resource["process.pid"] == pid, "{ship:#?}");
    second.stop().await?;
    setup.server.stop().await
}

/// As `metrics`' claim of the same shape, seen from the collector.
async fn the_exported_pools_agree_with_postgres_at_rest_and_at_work(stack: Stack) -> Result<()> {
    let collector = Collector::start().await?;
    let setup = settings(Setup::new(stack).await?, collector.url());
    let fleet = Fleet::from(under_poolwright(stack), setup, 3).await?;
    agree(&fleet, &collector, 0).await?;
    for (slot, pool) in slots_and_pools() {
        for metric in ["db.client.connection.max", "db.client.connection.idle.max"] {
            let max = latest(&collector, metric, &slot, pool, None);
            ensure!(max == Some(3.0), "{metric} of {slot}:{pool} is {max:?}");
        }
    }

    fleet
        .while_three_wait(TENANT, async || agree(&fleet, &collector, 3).await)
        .await?;
    agree(&fleet, &collector, 0).await?;
    for metric in [
        "db.client.connection.wait_time",
        "db.client.connection.use_time",
    ] {
        wait_until(&format!("{metric} was recorded"), SOON, async || {
            let points = collector.points().into_iter();
            let recorded: Vec<Point> = points.filter(|point| point.metric == metric).collect();
            match recorded.iter().any(|p| p.count > 0 && p.unit == "s") {
                true => Seen::Yes(()),
                false => Seen::NotYet(recorded),
            }
        })
        .await?;
    }
    fleet.stop().await
}

async fn a_caller_who_is_lent_no_connection_is_counted_and_its_line_in_the_log_has_its_trace(
    stack: Stack,
) -> Result<()> {
    let collector = Collector::start().await?;
    let setup = exporting(stack, collector.url()).await?;
    let bare = Bare::start(&setup, &[("PRISMA_POOL_MAX", Some("1"))]).await?;
    let mut admin = setup.server.connect("order_desk").await?;
    let mut lock = admin.begin().await?;
    sqlx::raw_sql("LOCK TABLE orders")
        .execute(&mut *lock)
        .await?;
    let first = bare.desk.get("/api/orders", Some(TENANT));
    let second = async {
        let url = setup.server.admin_url()?;
        wait_until(
            "the one connection is taken",
            SOON,
            async || match sampler::backends(&url).await {
                Ok(all)
                    if all
                        .iter()
                        .any(|b| b.name == "web-0:prisma" && b.state != "idle") =>
                {
                    Seen::Yes(())
                }
                other => Seen::NotYet(other),
            },
        )
        .await?;
        let asked = bare.desk.request(Method::GET, "/api/orders", Some(TENANT));
        let answer = asked.header("traceparent", traceparent()).send().await?;
        lock.rollback().await?;
        Ok::<_, anyhow::Error>(answer.status().as_u16())
    };
    let (first, second) = tokio::join!(first, second);
    ensure!(
        first?.status == 200,
        "the one who had the connection failed"
    );
    ensure!(second? == 503, "the other one was not refused");

    wait_until("a timeout is counted", SOON, async || {
        match latest(
            &collector,
            "db.client.connection.timeouts",
            "web-0",
            "prisma",
            None,
        ) {
            Some(count) if count >= 1.0 => Seen::Yes(()),
            other => Seen::NotYet(other),
        }
    })
    .await?;
    let refused = wait_until("the refused request's span", SOON, async || {
        let spans = of_the_trace(&collector);
        match named(&spans, "GET /api/orders") {
            Some(span) => Seen::Yes(span.clone()),
            None => Seen::NotYet(tree(&spans)),
        }
    })
    .await?;
    ensure!(refused.failed, "{refused:#?}");
    let lines = bare.worker.json_lines();
    let line = lines.iter().find(|line| line["level"] == "error");
    let line = line.with_context(|| format!("no error was logged: {lines:#?}"))?;
    ensure!(line["trace_id"] == TRACE, "{line}");
    ensure!(line["span_id"].is_string(), "{line}");
    bare.stop().await?;
    setup.server.stop().await
}

/// More than anybody reads: what is left out is left out whole.
async fn a_burst_is_told_of_by_a_few_whole_traces(stack: Stack) -> Result<()> {
    let collector = Collector::start().await?;
    let setup = exporting(stack, collector.url()).await?;
    let bare = Bare::start(&setup, &[]).await?;
    let begun = Instant::now();
    let order = bare.desk.placed(ITEM, TENANT).await?;
    for _ in 0..6 {
        let burst = (0..20).map(|_| bare.desk.get("/api/orders", Some(TENANT)));
        for answer in join_all(burst).await {
            ensure!(answer?.status == 200, "a read failed");
        }
    }
    let seconds = usize::try_from(begun.elapsed().as_secs())?;
    bare.desk.shipped(&order, TENANT, SOON).await?;
    bare.stop().await?;

    let spans = collector.spans();
    let ids: BTreeSet<&str> = spans.iter().map(|span| span.span_id.as_str()).collect();
    let roots = spans.iter().filter(|span| span.parent_span_id.is_empty());
    let reads = roots.filter(|span| span.name == "GET /api/orders");
    let reads = reads.count();
    // Ten in each ten seconds that it touched.
    let most = 10 * (seconds / 10 + 2);
    ensure!((1..=most).contains(&reads), "{reads} traces in {seconds} s");
    let pieces: Vec<&Span> = spans
        .iter()
        .filter(|span| !span.parent_span_id.is_empty())
        .filter(|span| !ids.contains(span.parent_span_id.as_str()))
        .collect();
    ensure!(pieces.is_empty(), "{pieces:#?}");
    let whole = spans.iter().filter(|span| span.parent_span_id.is_empty());
    let kinds: BTreeSet<&str> = whole.map(|span| span.name.as_str()).collect();
    let requests = kinds
        .iter()
        .all(|name| name.starts_with("GET ") || name.starts_with("POST "));
    ensure!(requests, "traces that are no requests: {kinds:?}");
    setup.server.stop().await
}

async fn a_collector_is_trusted_by_the_certificate_that_is_named_and_only_then(
    stack: Stack,
) -> Result<()> {
    let (collector, certificate) = Collector::secured().await?;
    let directory = TempDir::new()?;
    let file = directory.path().join("collector.pem");
    std::fs::write(&file, certificate)?;
    let setup = exporting(stack, collector.url()).await?;

    let bare = Bare::start(&setup, &[]).await?;
    let complains = |line: &str| is_complaint(line);
    bare.worker
        .line("that it trusts nobody", SOON, complains)
        .await?;
    bare.stop().await?;
    ensure!(collector.requests() == 0, "it was sent something");

    let trusted = [(CERTIFICATE, file.to_str())];
    let bare = Bare::start(&setup, &trusted).await?;
    let order = placed_in_the_trace(&bare.desk).await?;
    bare.desk.shipped(&order, TENANT, SOON).await?;
    whole_trace(&collector).await?;
    let lines = bare.stop().await?;
    ensure!(!collector.points().is_empty(), "no metrics: {lines:#?}");
    ensure!(!lines.iter().any(|line| is_complaint(line)), "{lines:#?}");
    setup.server.stop().await
}

async fn a_collector_that_is_down_costs_one_line(stack: Stack) -> Result<()> {
    let nobody = format!("http://127.0.0.1:{}", ports::free_port()?);
    let setup = exporting(stack, &nobody).await?;
    let bare = Bare::start(&setup, &[]).await?;
    let complains = |line: &str| is_complaint(line);
    bare.worker
        .line("that it cannot deliver", SOON, complains)
        .await?;
    let order = bare.desk.placed(ITEM, TENANT).await?;
    bare.desk.shipped(&order, TENANT, SOON).await?;
    let lines = bare.stop().await?;
    let said = lines.iter().filter(|line| is_complaint(line)).count();
    ensure!(said == 1, "said {said} times: {lines:#?}");
    ensure!(
        !lines.iter().any(|line| line.contains("panicked")),
        "{lines:#?}"
    );
    setup.server.stop().await
}

/// The worst collector: it takes the connection, and nothing comes back.
async fn a_collector_that_never_answers_holds_no_request_and_no_drain_up(
    stack: Stack,
) -> Result<()> {
    let silent = TcpListener::bind(("127.0.0.1", 0)).await?;
    let setup = exporting(stack, &format!("http://{}", silent.local_addr()?)).await?;
    let bare = Bare::start(&setup, &[]).await?;
    let order = bare.desk.placed(ITEM, TENANT).await?;
    bare.desk.shipped(&order, TENANT, SOON).await?;
    let begun = Instant::now();
    let lines = bare.stop().await?;
    ensure!(
        begun.elapsed() < DRAINED,
        "it took {:?} to stop: {lines:#?}",
        begun.elapsed()
    );
    let said = lines.iter().filter(|line| is_complaint(line)).count();
    ensure!(said <= 1, "said {said} times: {lines:#?}");
    setup.server.stop().await
}

async fn without_an_endpoint_nothing_is_exported_and_nothing_of_it_is_there(
    stack: Stack,
) -> Result<()> {
    let collector = Collector::start().await?;
    let setup = exporting(stack, collector.url()).await?;
    let loaded = TempDir::new()?;
    let script = loaded.path().join("loaded.cjs");
    std::fs::write(
        &script,
        "process.on('exit', () => { const all = Object.keys(require.cache); \
         console.log(JSON.stringify({ loaded: all.length, telemetry: all.filter((file) => /opentelemetry/.test(file)) })); });\n",
    )?;
    let options = format!("--require={}", script.display());
    for changes in [
        [(ENDPOINT, None), ("NODE_OPTIONS", Some(options.as_str()))],
        [
            ("OTEL_SDK_DISABLED", Some("true")),
            ("NODE_OPTIONS", Some(options.as_str())),
        ],
    ] {
        let bare = Bare::start(&setup, &changes).await?;
        let order = placed_in_the_trace(&bare.desk).await?;
        bare.desk.shipped(&order, TENANT, SOON).await?;
        let pid = bare.worker.pid().context("the worker has ended")?;
        let threads = threads(pid)?;
        ensure!(
            !threads.iter().any(|name| name.starts_with("OpenTelemetry")),
            "{threads:?}"
        );
        let lines = bare.stop().await?;
        ensure!(
            !lines.iter().any(|line| line.contains("trace_id")),
            "{lines:#?}"
        );
        if stack == Stack::Sveltekit {
            let said = lines.iter().find_map(|line| {
                serde_json::from_str::<Value>(line)
                    .ok()
                    .filter(|line| line["loaded"].is_u64())
            });
            let said = said.with_context(|| format!("nothing was said of modules: {lines:#?}"))?;
            ensure!(
                said["loaded"].as_u64() > Some(0) && said["telemetry"] == json!([]),
                "{said:#}"
            );
        }
    }
    ensure!(
        collector.requests() == 0,
        "the collector was sent {} requests",
        collector.requests()
    );
    setup.server.stop().await
}

/// A prepared database for bare workers that send to this endpoint, and do so at once.
async fn exporting(stack: Stack, endpoint: &str) -> Result<Setup> {
    settings(Setup::new(stack).await?, endpoint)
        .prepared()
        .await
}

fn settings(setup: Setup, endpoint: &str) -> Setup {
    setup
        .env(ENDPOINT, endpoint)
        .env("OTEL_BSP_SCHEDULE_DELAY", "100")
        .env("OTEL_METRIC_EXPORT_INTERVAL", "300")
}

impl Bare {
    async fn start(setup: &Setup, changes: &[(&str, Option<&str>)]) -> Result<Self> {
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
    async fn stop(mut self) -> Result<Vec<String>> {
        self.worker.signal(Signal::TERM)?;
        let status = self.worker.exited(SOON).await?;
        ensure!(status.success(), "{status}: {}", self.worker.tail());
        Ok(self.worker.lines())
    }
}

/// Places an order as part of the caller's trace; answers with its id.
async fn placed_in_the_trace(desk: &Desk) -> Result<String> {
    let request = desk.request(Method::POST, "/api/orders", Some(TENANT));
    let request = request.header("traceparent", traceparent());
    let answer = request.json(&json!({ "item": ITEM, "quantity": 7 }));
    let body: Value = answer.send().await?.json().await?;
    let id = body["order_id"].as_str();
    Ok(id.with_context(|| format!("no order: {body}"))?.to_owned())
}

fn traceparent() -> String {
    format!("00-{TRACE}-{CALLER}-01")
}

fn is_complaint(line: &str) -> bool {
    line.contains("the telemetry collector does not take what it is sent")
}

fn of_the_trace(collector: &Collector) -> Vec<Span> {
    let mut spans = collector.spans();
    spans.retain(|span| span.trace_id == TRACE);
    spans
}

/// The caller's trace once the workflow's span has come, which is last, and with it every span's parent.
async fn whole_trace(collector: &Collector) -> Result<Vec<Span>> {
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

fn named<'a>(spans: &'a [Span], name: &str) -> Option<&'a Span> {
    spans.iter().find(|span| span.name == name)
}

fn only<'a>(spans: &'a [Span], name: &str) -> Result<&'a Span> {
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

fn is_below(spans: &[Span], span: &Span, above: &Span) -> bool {
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
fn tree(spans: &[Span]) -> Vec<String> {
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

fn no_values_in_queries(spans: &[Span], order: &str) -> Result<()> {
    for span in spans {
        if !span.attributes.contains_key("db.query.text") {
            continue;
        }
        let said = serde_json::to_string(&span.attributes)?;
        for value in [ITEM, TENANT, order] {
            ensure!(!said.contains(value), "{value} in {span:#?}");
        }
    }
    Ok(())
}

fn says_who_it_is(spans: &[Span], worker: &Process) -> Result<()> {
    let expected = [
        ("service.name", json!("web")),
        ("service.instance.id", json!("web-0")),
        ("dbos.executor.id", json!("web-0")),
        ("process.pid", json!(worker.pid())),
    ];
    for span in spans {
        for (name, value) in &expected {
            ensure!(
                span.resource.get(*name) == Some(value),
                "{name} of {span:#?}"
            );
        }
    }
    Ok(())
}

fn slots_and_pools() -> impl Iterator<Item = (String, &'static str)> {
    let slots = (0..3).map(|index| format!("web-{index}"));
    slots.flat_map(|slot| ["prisma", "dbos"].map(|pool| (slot.clone(), pool)))
}

/// Looks at both sides until the newest numbers of every worker are Postgres' own and so many of the ORM's connections are used.
async fn agree(fleet: &Fleet, collector: &Collector, used: usize) -> Result<()> {
    wait_until(
        &format!("the exported pools are Postgres' own, {used} connections used"),
        SOON,
        async || {
            let shown = match fleet.backends().await {
                Ok(backends) => shown(&backends),
                Err(error) => return Seen::NotYet(error.to_string()),
            };
            let said = said(collector);
            let busy: usize = shown
                .iter()
                .filter(|((name, state), _)| name.ends_with(":prisma") && *state == "used")
                .map(|(_, count)| count)
                .sum();
            if said == shown && busy == used {
                Seen::Yes(())
            } else {
                Seen::NotYet(format!("{said:?} and {shown:?}"))
            }
        },
    )
    .await
}

/// Connections by name and state. Of the DBOS pool the sum alone: what LISTEN pins is used to one side and idle to the other.
type Counts = BTreeMap<(String, &'static str), usize>;

fn shown(backends: &[Backend]) -> Counts {
    let mut counts = Counts::new();
    for (slot, pool) in slots_and_pools() {
        let name = format!("{slot}:{pool}");
        for state in states(pool) {
            let of_state = |backend: &&Backend| {
                backend.name == name
                    && match *state {
                        "idle" => backend.state == "idle",
                        "used" => backend.state != "idle",
                        _ => true,
                    }
            };
            let count = backends.iter().filter(of_state).count();
            counts.insert((name.clone(), *state), count);
        }
    }
    counts
}

fn said(collector: &Collector) -> Counts {
    let mut counts = Counts::new();
    for (slot, pool) in slots_and_pools() {
        let count = |state| {
            latest(
                collector,
                "db.client.connection.count",
                &slot,
                pool,
                Some(state),
            )
        };
        for state in states(pool) {
            let number = match *state {
                "open" => count("idle")
                    .zip(count("used"))
                    .map(|(idle, used)| idle + used),
                state => count(state),
            };
            // What was not exported yet is no number of connections.
            let number = number.map_or(usize::MAX, whole);
            counts.insert((format!("{slot}:{pool}"), *state), number);
        }
    }
    counts
}

fn states(pool: &str) -> &'static [&'static str] {
    match pool {
        "dbos" => &["open"],
        _ => &["idle", "used"],
    }
}

#[expect(
    clippy::as_conversions,
    reason = "a count of connections, sent as a whole number"
)]
fn whole(number: f64) -> usize {
    number as usize
}

/// The newest number of a metric of a slot's pool.
fn latest(
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

/// The names of a process's threads.
fn threads(pid: u32) -> Result<Vec<String>> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))?;
    let name = |task: std::io::Result<std::fs::DirEntry>| {
        let name = std::fs::read_to_string(task?.path().join("comm"))?;
        Ok(name.trim_end().to_owned())
    };
    tasks.map(name).collect()
}
