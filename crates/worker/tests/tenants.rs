//! Tenants' transactions over a network that counts and fails, to a real Postgres.

use anyhow::{Context, Result};
use poolwright_testkit::proxy::Proxy;
use poolwright_testkit::wait::{Seen, wait_until};
use poolwright_testkit::{TestServer, sampler};
use poolwright_worker::gauges::Gauges;
use poolwright_worker::pools::OrmPool;
use poolwright_worker::settings::{DatabaseUrl, Reader};
use poolwright_worker::tenant::TenantTransaction;
use poolwright_worker::{Tenant, Tenants};
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use std::time::Duration;
use tokio::time::timeout;
use url::Url;
use uuid::Uuid;

const NAME: &str = "web-0:prisma";
const PATIENCE: Duration = Duration::from_secs(20);

/// How long something that cannot end is waited for.
const NEVER: Duration = Duration::from_millis(200);

/// A pool behind a network.
struct Far {
    server: TestServer,
    network: Proxy,
    pool: OrmPool,
    gauges: Gauges,
    tenants: Tenants,
}

impl Far {
    async fn start(max: u32) -> Result<Self> {
        let server = TestServer::start().await?;
        let network = Proxy::start(([127, 0, 0, 1], server.port()?).into()).await?;
        let mut url = Url::parse(&server.admin_url()?)?;
        url.set_port(Some(network.port()))
            .and_then(|()| url.set_ip_host([127, 0, 0, 1].into()))
            .ok()
            .context("the server's URL has no host")?;
        let pool = OrmPool::open(&checked(url.as_str())?, NAME, max).await?;
        let gauges = Gauges::new(pool.clone(), "web-0:dbos", 3, true);
        let tenants = Tenants::new(pool.clone(), gauges.lending());
        let far = Self {
            server,
            network,
            pool,
            gauges,
            tenants,
        };
        far.at_rest().await?;
        Ok(far)
    }

    /// Waits until every connection is back in the pool.
    async fn at_rest(&self) -> Result<()> {
        wait_until("every connection is back", PATIENCE, async || {
            match self.gauges.orm() {
                gauge if gauge.busy == 0 => Seen::Yes(()),
                gauge => Seen::NotYet(gauge),
            }
        })
        .await
    }

    async fn begin(&self, tenant: Option<Uuid>) -> Result<TenantTransaction> {
        Ok(self.tenants.begin(tenant.map(Tenant)).await?)
    }

    /// How many round trips connections were held for while `uses` times `work` was done, once it has become a habit.
    async fn round_trips(&self, uses: u32, work: impl AsyncFn() -> Result<()>) -> Result<f64> {
        work().await?;
        self.at_rest().await?;
        let before = self.network.round_trips();
        for _ in 0..uses {
            work().await?;
            self.at_rest().await?;
        }
        let trips = u32::try_from(self.network.round_trips() - before)?;
        Ok(f64::from(trips) / f64::from(uses))
    }

    async fn stop(self) -> Result<()> {
        self.pool.close().await;
        self.server.stop().await
    }
}

fn checked(url: &str) -> Result<DatabaseUrl> {
    let source = |_: &str| Some(url.to_owned());
    let mut reader = Reader::new(&source);
    let url = reader.database_url("DATABASE_URL", "PRISMA_POOL_MAX");
    Ok(reader.finish(url)?)
}

/// What `app.tenant_id` says on whatever connection answers.
async fn setting(connection: &impl ConnectionTrait) -> Result<String> {
    let ask = Statement::from_string(
        DbBackend::Postgres,
        "SELECT coalesce(current_setting('app.tenant_id', true), '') AS tenant",
    );
    let row = connection.query_one_raw(ask).await?;
    Ok(row.context("no row")?.try_get("", "tenant")?)
}

#[tokio::test]
async fn a_tenants_read_holds_its_connection_for_three_round_trips_and_a_write_for_four()
-> Result<()> {
    let far = Far::start(1).await?;
    let tenant = Uuid::new_v4();
    let create = "CREATE TABLE notes (tenant uuid, text text)";
    far.pool.orm().execute_unprepared(create).await?;

    let read = far.round_trips(100, async || {
        let transaction = far.begin(Some(tenant)).await?;
        assert_eq!(setting(&transaction).await?, tenant.to_string());
        transaction.end_read();
        Ok(())
    });
    let read = read.await?;
    assert!(read <= 3.2, "a read took {read} round trips");

    let write = far.round_trips(100, async || {
        let transaction = far.begin(Some(tenant)).await?;
        let insert = Statement::from_sql_and_values(
            DbBackend::Postgres,
            "INSERT INTO notes VALUES ($1, $2)",
            [tenant.into(), "beans".into()],
        );
        let written = transaction.execute_raw(insert).await?;
        assert_eq!(written.rows_affected(), 1);
        Ok(transaction.commit().await?)
    });
    let write = write.await?;
    assert!(write <= 4.2, "a write took {write} round trips");
    far.stop().await
}

/// sqlx counts a transaction when `BEGIN` is answered, and rolls back what it counts.
#[tokio::test]
async fn a_request_that_is_cut_off_anywhere_leaves_no_tenant_to_the_next_borrower() -> Result<()> {
    // One connection: whatever is left on it, the next borrower finds.
    let far = Far::start(1).await?;
    let tenant = Some(Uuid::new_v4());
    let clean = async |when: &str| {
        assert_eq!(setting(far.pool.orm()).await?, "", "{when}");
        let nobody = far.begin(None).await?;
        assert_eq!(setting(&nobody).await?, "", "{when}");
        anyhow::Ok(())
    };

    far.network.swallow();
    assert!(timeout(NEVER, far.begin(tenant)).await.is_err());
    far.network.carry();
    clean("cut off as it began").await?;

    let transaction = far.begin(tenant).await?;
    far.network.swallow();
    assert!(timeout(NEVER, setting(&transaction)).await.is_err());
    drop(transaction);
    far.network.carry();
    clean("cut off in a query").await?;

    let transaction = far.begin(tenant).await?;
    assert!(
        timeout(NEVER, transaction.execute_unprepared("SELECT pg_sleep(1)"))
            .await
            .is_err()
    );
    drop(transaction);
    clean("cut off in a query that went on").await?;

    let transaction = far.begin(tenant).await?;
    far.network.swallow();
    assert!(timeout(NEVER, transaction.commit()).await.is_err());
    far.network.carry();
    clean("cut off as it committed").await?;

    assert_eq!(far.pool.opened_total(), 1, "it was another connection");
    far.stop().await
}

#[tokio::test]
async fn of_connections_that_a_network_has_forgotten_none_fails_a_request_and_all_are_replaced()
-> Result<()> {
    let far = Far::start(3).await?;
    far.network.forget();
    let tenant = Uuid::new_v4();
    let begun = far.begin(Some(tenant)).await?;
    assert_eq!(setting(&begun).await?, tenant.to_string());
    begun.end_read();
    far.pool.refill().await.map_err(anyhow::Error::msg)?;
    far.at_rest().await?;
    assert_eq!(far.gauges.orm().open, 3);
    assert_eq!(far.pool.opened_total(), 6);

    // Also those that are given back when it happens.
    let held = [
        far.begin(None).await?,
        far.begin(None).await?,
        far.begin(None).await?,
    ];
    far.network.forget();
    drop(held);
    let begun = far.begin(Some(tenant)).await?;
    assert_eq!(setting(&begun).await?, tenant.to_string());
    drop(begun);
    let backends = sampler::backends(&far.server.admin_url()?).await?;
    assert!(sampler::count(&backends).contains_key(NAME), "{backends:?}");
    far.stop().await
}
