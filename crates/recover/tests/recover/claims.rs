//! What recovery touches, and what it does not.

use crate::system::{VERSION, begin, held, migrated, open, poll, session, standing};
use anyhow::{Result, ensure};
use poolwright_lock::{Lock, LockName};
use poolwright_recover::{Error, Intent, Outcome, Report, Sign, Standing, Store, Stuck, Version};
use poolwright_testkit::proxy::Proxy;
use poolwright_testkit::wait::Seen;
use poolwright_testkit::{TestServer, wait_until};
use poolwright_topology::declare::DatabaseUrl;
use sqlx::postgres::PgConnection;
use sqlx::{Connection, query};
use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;
use tokio::task::JoinHandle;

const SOON: Duration = Duration::from_secs(20);

/// A fleet of two, that had more.
fn two(executor_id: &str) -> Standing {
    match executor_id {
        "web-0" | "web-1" => Standing::Expected,
        id if id.starts_with("web-") => Standing::GivenUp,
        _ => Standing::Foreign,
    }
}

fn outcomes(report: &Report) -> Vec<(&str, u64, Outcome)> {
    let executors = report.executors.iter();
    executors
        .map(|left| (left.executor_id.as_str(), left.workflows, left.outcome))
        .collect()
}

/// A server with one system database, and a connection to it that is called by no executor's name.
async fn system() -> Result<(TestServer, DatabaseUrl, PgConnection)> {
    let server = TestServer::start().await?;
    let url = migrated(&server, "desk_dbos").await?;
    let connection = session(&url, "poolwright").await?;
    Ok((server, url, connection))
}

async fn recover(store: &mut Store) -> Result<Report> {
    Ok(store.recover(Intent::Recover, &two).await?)
}

#[tokio::test]
async fn what_a_given_up_executor_left_is_reenqueued_once_and_nothing_else_is() -> Result<()> {
    let (server, url, mut db) = system().await?;
    for executor_id in ["web-0", "web-2", "web-3", "local"] {
        begin(&mut db, executor_id, VERSION, 2).await?;
    }
    begin(&mut db, "web-3", "desk-0", 1).await?;
    let mut store = open(&url).await?;
    let looked = store.recover(Intent::Look, &two).await?;
    let before = standing(&mut db).await?;
    assert_eq!(before.len(), 4, "looking changes nothing: {before:?}");

    let report = recover(&mut store).await?;
    let left = [
        ("local", 2, Outcome::Foreign),
        ("web-0", 2, Outcome::Expected),
        ("web-2", 2, Outcome::Reenqueued),
        ("web-3", 3, Outcome::Reenqueued),
    ];
    assert_eq!(outcomes(&report), left);
    assert_eq!(report.reenqueued(), 5);
    let foreseen = left.map(|(id, count, outcome)| match outcome {
        Outcome::Reenqueued => (id, count, Outcome::Abandoned),
        other => (id, count, other),
    });
    assert_eq!(outcomes(&looked), foreseen);
    let after = [
        (("local", "PENDING"), 2),
        (("web-0", "PENDING"), 2),
        (("web-2", "ENQUEUED"), 2),
        (("web-3", "ENQUEUED"), 3),
    ]
    .map(|((id, status), count)| ((id.to_owned(), status.to_owned()), count));
    assert_eq!(standing(&mut db).await?, after.into());

    assert_eq!(recover(&mut store).await?.reenqueued(), 0);
    // Taken up, they are another's work, also while the one that had them is still given up.
    assert_eq!(poll(&mut db, "web-1").await?, 5);
    assert_eq!(recover(&mut store).await?.reenqueued(), 0);
    store.close().await;
    server.stop().await
}

#[tokio::test]
async fn a_process_of_this_host_that_holds_its_id_keeps_its_work() -> Result<()> {
    let (server, url, mut db) = system().await?;
    begin(&mut db, "web-2", VERSION, 3).await?;
    let mut store = open(&url).await?;
    let lock = held(&url, "web-2")?;
    let sign = Sign::Held;
    let living = [("web-2", 3, Outcome::Living { sign })];
    assert_eq!(outcomes(&recover(&mut store).await?), living);
    drop(lock);
    assert_eq!(recover(&mut store).await?.reenqueued(), 3);
    // And it is given back.
    held(&url, "web-2")?;
    store.close().await;
    server.stop().await
}

#[tokio::test]
async fn an_executor_that_is_connected_keeps_its_work_wherever_it_runs() -> Result<()> {
    let (server, url, mut db) = system().await?;
    begin(&mut db, "web-2", VERSION, 3).await?;
    let mut store = open(&url).await?;
    let sign = Sign::Connected;
    for name in ["web-2:dbos", "web-2:prisma", "web-2"] {
        let there = session(&url, name).await?;
        let living = [("web-2", 3, Outcome::Living { sign })];
        assert_eq!(outcomes(&recover(&mut store).await?), living, "{name}");
        end(there, &mut db).await?;
    }
    // Under the same name in another database it is another executor.
    let elsewhere = session(&url.with_database("postgres"), "web-2:dbos").await?;
    assert_eq!(recover(&mut store).await?.reenqueued(), 3);
    elsewhere.close().await?;
    store.close().await;
    server.stop().await
}

/// Closed, and seen to be gone.
async fn end(session: PgConnection, db: &mut PgConnection) -> Result<()> {
    session.close().await?;
    let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'web-2%'";
    wait_until(
        "the session is gone",
        SOON,
        async || match sqlx::query_scalar::<_, i64>(left).fetch_one(&mut *db).await {
            Ok(0) => Seen::Yes(()),
            other => Seen::NotYet(other),
        },
    )
    .await
}

#[tokio::test]
async fn an_id_that_is_no_slots_may_be_behind_any_session_without_a_slots_name() -> Result<()> {
    let (server, url, mut db) = system().await?;
    begin(&mut db, "local", VERSION, 1).await?;
    let given_up = |_: &str| Standing::GivenUp;
    let mut store = open(&url).await?;
    let stranger = session(&url, "").await?;
    let report = store.recover(Intent::Recover, &given_up).await?;
    let sign = Sign::Connected;
    assert_eq!(outcomes(&report), [("local", 1, Outcome::Living { sign })]);
    stranger.close().await?;
    wait_until("nobody is connected", SOON, async || {
        match store.recover(Intent::Recover, &given_up).await {
            Ok(report) if report.reenqueued() == 1 => Seen::Yes(()),
            other => Seen::NotYet(other),
        }
    })
    .await?;
    server.stop().await
}

/// A recovery of three workflows of `web-2` that waits before it writes.
async fn held_up(
    url: &DatabaseUrl,
    db: &mut PgConnection,
) -> Result<(Gate, JoinHandle<Result<Report>>)> {
    begin(db, "web-2", VERSION, 3).await?;
    let mut gate = Gate::shut(url).await?;
    let mut store = open(url).await?;
    let recovery = tokio::spawn(async move { recover(&mut store).await });
    gate.until_somebody_waits().await?;
    Ok((gate, recovery))
}

/// A process that starts on this host in the middle of a recovery waits for its end, and then finds nothing to be its own.
#[tokio::test]
async fn a_start_on_this_host_waits_for_the_write_that_was_begun() -> Result<()> {
    let (server, url, mut db) = system().await?;
    let (gate, recovery) = held_up(&url, &mut db).await?;

    let name = LockName::here("web-2", &url.store());
    let (told, waits) = std::sync::mpsc::channel();
    let start = thread::spawn(move || {
        Lock::take("web-2", &name, SOON, |held| {
            told.send(held.clone()).unwrap()
        })
    });
    tokio::task::spawn_blocking(move || waits.recv_timeout(SOON)).await??;
    gate.open().await?;
    let _started = tokio::task::spawn_blocking(|| start.join().unwrap()).await??;
    // What it would re-enqueue at its launch is done already.
    let pending = standing(&mut db).await?;
    assert_eq!(pending, [(("web-2".into(), "ENQUEUED".into()), 3)].into());
    assert_eq!(recovery.await??.reenqueued(), 3);
    server.stop().await
}

/// On another host nobody waits for the lock of this one.
#[tokio::test]
async fn what_an_executor_of_another_host_begins_in_the_middle_is_left_to_it() -> Result<()> {
    let (server, url, mut db) = system().await?;
    let (gate, recovery) = held_up(&url, &mut db).await?;

    let mut there = session(&url, "web-2:dbos").await?;
    let begun = begin(&mut there, "web-2", VERSION, 4).await?;
    gate.open().await?;
    assert_eq!(recovery.await??.reenqueued(), 3, "those from before");
    let touched: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM dbos.workflow_status WHERE workflow_uuid = ANY($1) AND status <> 'PENDING'",
    )
    .bind(begun)
    .fetch_one(&mut db)
    .await?;
    assert_eq!(touched, 0);
    there.close().await?;
    server.stop().await
}

/// It re-enqueues what it left itself, and takes it again, before the recovery gets to write.
#[tokio::test]
async fn what_an_executor_of_another_host_took_up_in_the_middle_is_seen_and_left_to_it()
-> Result<()> {
    let (server, url, mut db) = system().await?;
    begin(&mut db, "web-2", VERSION, 3).await?;
    let mut launch = Gate::shut(&url).await?;
    let mut store = open(&url).await?;
    let recovery = tokio::spawn(async move { recover(&mut store).await });
    launch.until_somebody_waits().await?;

    let there = session(&url, "web-2:dbos").await?;
    launch.take_up("web-2").await?;
    launch.open().await?;
    let report = recovery.await??;
    let sign = Sign::Connected;
    assert_eq!(outcomes(&report), [("web-2", 3, Outcome::Living { sign })]);
    let pending = [(("web-2".into(), "PENDING".into()), 3)];
    assert_eq!(standing(&mut db).await?, pending.into());
    there.close().await?;
    server.stop().await
}

/// The network forgets a recovery in the middle of its transaction: Postgres ends that, and another recovery takes it up.
#[tokio::test]
async fn what_a_recovery_had_locked_is_free_soon_when_the_network_forgets_it() -> Result<()> {
    let (server, url, mut db) = system().await?;
    let network = Proxy::start((Ipv4Addr::LOCALHOST, server.port()?).into()).await?;
    let [near, far] = [server.port()?, network.port()].map(|port| format!(":{port}/"));
    let far = DatabaseUrl::parse(&url.expose().replace(&near, &far))?;
    assert_ne!(far.port(), url.port());
    begin(&mut db, "web-2", VERSION, 3).await?;
    let mut gate = Gate::shut(&url).await?;
    let mut store = open(&far).await?;
    let recovery = tokio::spawn(async move { recover(&mut store).await });
    gate.until_somebody_waits().await?;

    network.forget();
    gate.open().await?;
    // The transaction that is lost has what this one wants.
    query("SET lock_timeout = '20s'").execute(&mut db).await?;
    query("SELECT FROM dbos.workflow_status FOR UPDATE")
        .execute(&mut db)
        .await?;
    recovery.abort();
    // The locks of this host go with it.
    assert!(recovery.await.is_err());
    let pending = [(("web-2".into(), "PENDING".into()), 3)];
    assert_eq!(
        standing(&mut db).await?,
        pending.into(),
        "nothing half done"
    );
    let mut store = open(&url).await?;
    assert_eq!(recover(&mut store).await?.reenqueued(), 3);
    server.stop().await
}

/// A transaction that has every row locked: whoever wants to write waits, with his judgement made.
struct Gate {
    session: PgConnection,
    watch: PgConnection,
}

impl Gate {
    async fn shut(url: &DatabaseUrl) -> Result<Self> {
        let mut session = session(url, "poolwright").await?;
        query("BEGIN").execute(&mut session).await?;
        query("SELECT FROM dbos.workflow_status FOR UPDATE")
            .execute(&mut session)
            .await?;
        let watch = crate::system::session(url, "poolwright").await?;
        Ok(Self { session, watch })
    }

    async fn until_somebody_waits(&mut self) -> Result<()> {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                       AND wait_event_type = 'Lock'";
        wait_until("the recovery wants to write", SOON, async || {
            let found = sqlx::query_scalar::<_, i64>(waiting);
            match found.fetch_one(&mut self.watch).await {
                Ok(1) => Seen::Yes(()),
                other => Seen::NotYet(other),
            }
        })
        .await
    }

    /// What a launch and a poll come to.
    async fn take_up(&mut self, executor_id: &str) -> Result<()> {
        query("UPDATE dbos.workflow_status SET status = 'ENQUEUED' WHERE executor_id = $1")
            .bind(executor_id)
            .execute(&mut self.session)
            .await?;
        poll(&mut self.session, executor_id).await.map(drop)
    }

    async fn open(mut self) -> Result<()> {
        query("COMMIT").execute(&mut self.session).await?;
        Ok(())
    }
}

#[tokio::test]
async fn of_recoveries_at_once_one_changes_everything_and_the_others_nothing() -> Result<()> {
    let (server, url, mut db) = system().await?;
    for round in 0..10 {
        begin(&mut db, "web-2", VERSION, 20).await?;
        let (mut one, mut other, mut third) =
            (open(&url).await?, open(&url).await?, open(&url).await?);
        let (one, other, third) =
            tokio::try_join!(recover(&mut one), recover(&mut other), recover(&mut third))?;
        let mut moved = [one.reenqueued(), other.reenqueued(), third.reenqueued()];
        moved.sort_unstable();
        ensure!(moved == [0, 0, 20], "round {round}: {moved:?}");
        for report in [&one, &other, &third] {
            let living = |(_, _, outcome)| matches!(outcome, Outcome::Living { .. });
            ensure!(!outcomes(report).into_iter().any(living), "{report:?}");
        }
    }
    server.stop().await
}

#[tokio::test]
async fn work_of_versions_that_nobody_runs_is_listed() -> Result<()> {
    let (server, url, mut db) = system().await?;
    let running = |version: &str, assumed| Version {
        version: version.into(),
        assumed,
    };
    let stuck = |version: &str, status: &str, workflows| Stuck {
        application: None,
        version: Some(version.into()),
        status: status.into(),
        workflows,
    };
    query(
        "INSERT INTO dbos.application_versions (version_id, version_name) VALUES ('1', 'desk-2')",
    )
    .execute(&mut db)
    .await?;
    begin(&mut db, "web-2", "desk-1", 2).await?;
    let mut store = open(&url).await?;
    let report = recover(&mut store).await?;
    assert_eq!(report.versions, [], "nobody lives");
    assert_eq!(report.stuck, [stuck("desk-1", "ENQUEUED", 2)]);

    let there = session(&url, "web-0:dbos").await?;
    let report = recover(&mut store).await?;
    assert_eq!(report.versions, [running("desk-2", true)], "just started");
    assert_eq!(report.stuck, [stuck("desk-1", "ENQUEUED", 2)]);

    begin(&mut db, "web-0", "desk-1", 1).await?;
    let report = recover(&mut store).await?;
    assert_eq!(report.versions, [running("desk-1", false)]);
    assert_eq!(report.stuck, []);
    there.close().await?;
    server.stop().await
}

#[tokio::test]
async fn without_dbos_tables_nobody_left_anything_and_without_rights_it_is_said() -> Result<()> {
    let server = TestServer::start().await?;
    let url = DatabaseUrl::parse(&server.superuser_url("nowhere")?)?;
    assert!(Store::open(std::slice::from_ref(&url)).await?.is_none());
    let empty = DatabaseUrl::parse(&server.create_database("empty").await?)?;
    assert!(Store::open(std::slice::from_ref(&empty)).await?.is_none());

    let full = migrated(&server, "desk_dbos").await?;
    let name = server.name("reader");
    let create = format!("CREATE ROLE \"{name}\" LOGIN PASSWORD 'read'");
    query(sqlx::AssertSqlSafe(create))
        .execute(&mut server.admin().await?)
        .await?;
    let reader = full.with_user(&name, Some("read"));
    let refused = Store::open(std::slice::from_ref(&reader)).await;
    ensure!(
        matches!(&refused, Err(Error::Forbidden { role, .. }) if *role == name),
        "{refused:?}"
    );
    // Whoever may comes second.
    ensure!(Store::open(&[reader, full]).await?.is_some());
    server.stop().await
}
