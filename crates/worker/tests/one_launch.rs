//! One executor per process, on a real Postgres. Alone in its file: the executor is the process's.

use anyhow::Result;
use futures::future::join_all;
use poolwright_testkit::sampler::{self, Limits, PERIOD};
use poolwright_testkit::wait::{Seen, wait_until};
use poolwright_testkit::{Sampler, TestServer};
use poolwright_worker::executor::{self, ExecutorSettings, LaunchError};
use poolwright_worker::identity::Identity;
use poolwright_worker::settings::{DatabaseUrl, Reader};
use std::time::Duration;

const MAX: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(20);

fn checked(url: &str) -> Result<DatabaseUrl> {
    let source = |_: &str| Some(url.to_owned());
    let mut reader = Reader::new(&source);
    let url = reader.database_url("DBOS_SYSTEM_DATABASE_URL", "DBOS_POOL_MAX");
    Ok(reader.finish(url)?)
}

fn settings(url: DatabaseUrl) -> Result<ExecutorSettings> {
    Ok(ExecutorSettings {
        app_name: "one-launch".into(),
        app_version: "one-launch-1".into(),
        identity: Identity::new("web", 0, std::process::id())?,
        url,
        max: MAX,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_concurrent_calls_make_one_launch_of_exactly_the_declared_size() -> Result<()> {
    let server = TestServer::start().await?;
    let url = checked(&server.create_database("dbos").await?)?;
    executor::migrate(&url).await?;
    let admin = server.admin_url()?;

    assert!(matches!(
        executor::ensure_dbos_launched().await,
        Err(LaunchError::Undeclared)
    ));
    let declared = executor::declare(settings(url.clone())?)?;
    let again = executor::declare(settings(url)?);
    assert!(matches!(again, Err(LaunchError::Declared { .. })));

    let limits = Limits {
        fleet: Some(usize::try_from(MAX)?),
        ..Limits::default()
    };
    let sampler = Sampler::start(&admin, PERIOD, limits).await?;
    let calls = (0..50).map(|_| tokio::spawn(executor::ensure_dbos_launched()));
    for call in join_all(calls).await {
        assert!(std::ptr::eq(call??, declared));
    }
    let whole = [("web-0:dbos".to_owned(), usize::try_from(MAX)?)].into();
    // The SDK's listener may still be opening the connection it has taken a place for.
    wait_until(
        "the pool is full",
        PATIENCE,
        async || match sampler::backends(&admin)
            .await
            .map(|backends| sampler::count(&backends))
        {
            Ok(counts) if counts == whole => Seen::Yes(()),
            other => Seen::NotYet(other.map_err(|error| error.to_string())),
        },
    )
    .await?;
    let report = sampler.finish().await?;
    assert!(report.violations.is_empty(), "{report:#?}");
    assert_eq!(declared.dbos().executor_id()?, "web-0");

    declared.shutdown().await;
    assert!(!declared.dbos().is_launched());
    server.stop().await
}
