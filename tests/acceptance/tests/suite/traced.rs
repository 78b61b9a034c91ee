//! Traces, as a collector gets them from both stacks: whole, of whom they say, and not too many.

use std::collections::BTreeSet;

use acceptance::{Cell, Fleet, Manager, Stack};
use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use poolwright_testkit::collector::Span;
use poolwright_testkit::wait::Seen;
use poolwright_testkit::{Collector, Process, sampler, wait_until};
use reqwest::Method;
use rustix::process::Signal;
use serde_json::json;
use sqlx::Connection;
use tokio::time::Instant;

use crate::collected::{
    Bare, ITEM, SOON, TENANT, TRACE, exporting, is_below, latest, named, of_the_trace, only,
    placed_in_the_trace, traceparent, tree, whole_trace,
};

acceptance::both_stacks!(
    a_request_that_starts_a_workflow_is_one_connected_trace,
    a_workflow_that_another_process_finishes_stays_in_the_trace_of_its_request,
    a_caller_who_is_lent_no_connection_is_counted_and_its_line_in_the_log_has_its_trace,
    a_burst_is_told_of_by_a_few_whole_traces,
    a_sampler_that_is_named_decides_about_every_request,
);

const SERVER: i32 = 2;

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
    // Ten in each minute that it touched.
    let most = 10 * (seconds / 60 + 2);
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

/// More than the limit, in force where none is named, would leave; and of probes none.
async fn a_sampler_that_is_named_decides_about_every_request(stack: Stack) -> Result<()> {
    const READS: usize = 25;
    let collector = Collector::start().await?;
    let setup = exporting(stack, collector.url()).await?;
    let named = [("OTEL_TRACES_SAMPLER", Some("parentbased_always_on"))];
    let bare = Bare::start(&setup, &named).await?;
    for _ in 0..READS {
        let read = bare.desk.get("/api/orders", Some(TENANT)).await?;
        ensure!(read.status == 200, "a read failed");
        bare.desk.get("/readyz", None).await?;
    }
    let order = bare.desk.placed(ITEM, TENANT).await?;
    bare.desk.shipped(&order, TENANT, SOON).await?;
    bare.stop().await?;

    let spans = collector.spans();
    let requests = spans.iter().filter(|span| span.kind == SERVER);
    let reads = requests
        .clone()
        .filter(|span| span.name == "GET /api/orders");
    let reads = reads.count();
    ensure!(reads == READS, "{reads} traces of {READS} reads");
    let probes = requests.filter(|span| span.name.contains("readyz"));
    ensure!(probes.count() == 0, "probes are traced");
    let fulfilled = spans.iter().filter(|span| span.name == "ship");
    ensure!(fulfilled.count() == 1, "{:#?}", tree(&spans));
    setup.server.stop().await
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
