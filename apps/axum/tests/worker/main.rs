//! A worker process from its start to its end, on a real Postgres: the real program, the real channel.

mod desk;

use anyhow::Result;
use desk::{Desk, PATIENCE, TENANT};
use poolwright_testkit::Process;
use poolwright_testkit::process::{command, run};
use poolwright_testkit::wait::{Seen, wait_until};
use poolwright_topology::channel::{FromWorker, ToWorker};
use rustix::process::Signal;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

const PROGRAM: &str = env!("CARGO_BIN_EXE_order-desk-axum");

fn both_pools(size: usize) -> BTreeMap<String, usize> {
    [("web-1:dbos", size), ("web-1:prisma", size)]
        .map(|(name, size)| (name.to_owned(), size))
        .into()
}

#[tokio::test]
async fn a_wrong_environment_ends_with_2_and_every_mistake_before_anything_is_opened() -> Result<()>
{
    let environment = [
        ("PM2_INSTANCES", "three"),
        ("FULFIL_SLEEP_MS", "soon"),
        ("DATABASE_URL", "postgres://desk:s3cret@127.0.0.1:1/"),
    ];
    let output = run(
        command(Path::new(PROGRAM), Path::new("."), environment),
        PATIENCE,
    )
    .await?;
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        String::from_utf8(output.stderr)?,
        "invalid environment, 4 mistakes:\n  \
         PM2_INSTANCES: found \"three\", expected a whole number from 1 to 512\n  \
         DATABASE_URL: found \"postgres://desk:***@127.0.0.1:1/\", expected a postgres:// or \
         postgresql:// URL with host, user and database\n  \
         DBOS_SYSTEM_DATABASE_URL: not set, expected a postgres:// URL\n  \
         FULFIL_SLEEP_MS: found \"soon\", expected a whole number from 0 to 3600000\n"
    );
    Ok(())
}

#[tokio::test]
async fn a_worker_opens_nothing_before_launch_then_all_and_leaves_nothing_behind() -> Result<()> {
    let desk = Desk::prepared().await?;
    let (mut worker, mut supervisor) = desk.supervised([("PRISMA_POOL_MAX", "4")])?;
    assert_eq!(supervisor.hear().await?, FromWorker::Booted);
    assert!(desk.sessions().await?.is_empty());

    supervisor.say(&ToWorker::Launch).await?;
    let pid = worker.pid().unwrap_or_default();
    assert_eq!(
        supervisor.hear().await?,
        FromWorker::Started {
            pid,
            executor_id: "web-1".into(),
            pools: [("dbos".into(), 3), ("prisma".into(), 4)].into(),
        }
    );
    let line = worker
        .line("worker started", PATIENCE, |line| {
            line.contains("worker started")
        })
        .await?;
    let line: serde_json::Value = serde_json::from_str(&line)?;
    assert_eq!(
        (&line["level"], &line["instance_id"]),
        (&json!("info"), &json!("1"))
    );
    assert_eq!(
        (&line["prisma_pool_max"], &line["dbos_pool_max"]),
        (&json!(4), &json!(3))
    );
    assert_eq!(supervisor.hear().await?, FromWorker::Ready);
    let mut expected = both_pools(3);
    expected.insert("web-1:prisma".into(), 4);
    assert_eq!(desk.sessions().await?, expected);
    let FromWorker::Gauges { pools } = supervisor.hear().await? else {
        anyhow::bail!("expected gauges");
    };
    assert_eq!((pools["prisma"].max, pools["prisma"].open), (4, 4));
    assert_eq!((pools["dbos"].open, pools["dbos"].busy >= 1), (3, true));

    drop(supervisor);
    assert_eq!(worker.exited(PATIENCE).await?.code(), Some(0));
    desk.no_sessions_left().await?;
    desk.stop().await
}

#[tokio::test]
async fn a_supervisor_that_goes_away_before_launch_takes_the_worker_with_it() -> Result<()> {
    let desk = Desk::prepared().await?;
    let (mut worker, mut supervisor) = desk.supervised([])?;
    assert_eq!(supervisor.hear().await?, FromWorker::Booted);
    drop(supervisor);
    assert_eq!(worker.exited(PATIENCE).await?.code(), Some(0));
    desk.stop().await
}

#[tokio::test]
async fn a_worker_without_a_schema_says_why_and_exits_with_1() -> Result<()> {
    let desk = Desk::unmigrated().await?;
    let mut worker = Process::spawn(desk.command([]))?;
    let why = "executor web-1 could not be launched";
    worker
        .line("why", PATIENCE, |line| line.contains(why))
        .await?;
    assert_eq!(worker.exited(PATIENCE).await?.code(), Some(1));
    let tail = worker.tail();
    assert!(!tail.contains(desk::PASSWORD), "{tail}");
    desk.no_sessions_left().await?;
    desk.stop().await
}

#[tokio::test]
async fn a_drain_lets_a_running_workflow_finish_and_runs_no_step_twice() -> Result<()> {
    let desk = Desk::prepared().await?;
    let mut worker = Process::spawn(desk.command([("FULFIL_SLEEP_MS", "1500")]))?;
    desk.ready().await?;
    let placed = desk.place(TENANT).await?;
    let order = placed["order_id"].as_str().unwrap_or_default().to_owned();
    desk.until_status(&order, "charged").await?;

    worker.signal(Signal::TERM)?;
    assert_eq!(worker.exited(PATIENCE).await?.code(), Some(0));
    assert_eq!(desk.steps_of(&order).await?, ["reserve", "charge", "ship"]);
    desk.no_sessions_left().await?;
    desk.stop().await
}

#[tokio::test]
async fn what_a_drain_had_no_time_for_is_finished_by_the_next_launch() -> Result<()> {
    let desk = Desk::prepared().await?;
    let slow = [("FULFIL_SLEEP_MS", "2000"), ("DRAIN_TIMEOUT_MS", "100")];
    let mut worker = Process::spawn(desk.command(slow))?;
    desk.ready().await?;
    let placed = desk.place(TENANT).await?;
    let order = placed["order_id"].as_str().unwrap_or_default().to_owned();
    desk.until_status(&order, "charged").await?;
    worker.signal(Signal::TERM)?;
    assert_eq!(worker.exited(PATIENCE).await?.code(), Some(0));
    assert_eq!(desk.steps_of(&order).await?, ["reserve", "charge"]);

    let mut next = Process::spawn(desk.command(slow))?;
    desk.ready().await?;
    desk.until_status(&order, "shipped").await?;
    assert_eq!(desk.steps_of(&order).await?, ["reserve", "charge", "ship"]);
    next.signal(Signal::TERM)?;
    assert_eq!(next.exited(PATIENCE).await?.code(), Some(0));
    desk.stop().await
}

#[tokio::test]
async fn the_routes_answer_as_the_contract_says() -> Result<()> {
    let desk = Desk::prepared().await?;
    let mut worker = Process::spawn(desk.command([]))?;
    desk.ready().await?;
    let other = "33333333-3333-4333-8333-333333333333";

    let ready = desk.get("/readyz", None).await?;
    assert_eq!((ready.status, ready.worker.as_str()), (200, "web-1"));
    assert_eq!(ready.json()["pools"]["prisma"]["max"], 3);
    let placed = desk.place(TENANT).await?;
    let order = placed["order_id"].as_str().unwrap_or_default().to_owned();
    assert_eq!(placed["workflow_id"], format!("order-{order}"));
    desk.until_status(&order, "shipped").await?;

    let path = format!("/api/orders/{order}");
    let details = wait_until(
        "the workflow's end is recorded",
        PATIENCE,
        async || match desk.get(&path, Some(TENANT)).await {
            Ok(answer) if answer.json()["workflow"]["status"] == "SUCCESS" => Seen::Yes(answer),
            other => Seen::NotYet(other.map_err(|error| error.to_string())),
        },
    )
    .await?
    .json();
    assert_eq!(details["workflow"]["progress"], "shipped");
    assert_eq!(details["order"]["tenant_id"], TENANT);
    assert_eq!(details["steps"][2]["step"], "ship");
    assert_eq!(details["steps"][2]["executor_id"], "web-1");

    let cases = [
        (path.as_str(), Some(other), 404, "not_found"),
        (path.as_str(), None, 404, "not_found"),
        ("/api/orders/nonsense", Some(TENANT), 404, "not_found"),
        ("/api/orders", Some("nonsense"), 400, "bad_request"),
        ("/nowhere", None, 404, "not_found"),
    ];
    for (path, tenant, status, code) in cases {
        let answer = desk.get(path, tenant).await?;
        assert_eq!(answer.status, status, "{path} {tenant:?}");
        assert_eq!(answer.json()["error"]["code"], code, "{path} {tenant:?}");
        assert_eq!(answer.worker, "web-1");
    }
    for tenant in [Some(other), None] {
        let answer = desk.get("/api/orders", tenant).await?;
        assert_eq!(answer.json(), json!({"orders": []}), "{tenant:?}");
    }
    let page = desk.get(&format!("/?tenant={TENANT}"), None).await?;
    assert!(
        page.body.contains(&format!("data-order-id=\"{order}\"")),
        "{}",
        page.body
    );
    let metrics = desk.get("/metrics", None).await?.body;
    assert!(
        metrics.contains("prisma_pool_connections_open{slot=\"web-1\",pool=\"prisma\"} 3"),
        "{metrics}"
    );

    worker.signal(Signal::TERM)?;
    assert_eq!(worker.exited(PATIENCE).await?.code(), Some(0));
    desk.stop().await
}

#[tokio::test]
async fn a_socket_that_is_handed_down_is_served_and_outlives_the_worker() -> Result<()> {
    let desk = Desk::prepared().await?;
    let (mut worker, held) = desk.handed_down()?;
    desk.ready().await?;
    worker.signal(Signal::TERM)?;
    assert_eq!(worker.exited(PATIENCE).await?.code(), Some(0));
    // Nobody accepts, but the socket still listens: a client waits instead of being refused.
    std::net::TcpStream::connect(held.local_addr()?)?;
    desk.stop().await
}
